"""``moegs report gates`` on a trained mixture."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from moegs_ns.cli.main import run
from tests.exporting.html_pages import read_page

EXPERTS = ["stg", "4dgaussians"]


@pytest.mark.slow
def test_a_page_that_opens_from_its_folder(router_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--output", str(tmp_path), "--instants", "3", "--max-frames", "9", "--width", "40"]
    assert run(["report", "gates", str(router_run), *options]) == 0
    said = capsys.readouterr().out
    assert "Utilisation per expert" in said and str(tmp_path / "index.html") in said
    text = (tmp_path / "index.html").read_text("utf8")
    page = read_page(text)
    pictures = {tmp_path / unquote(one) for one in page.references}
    assert pictures == {*(tmp_path / "pictures").iterdir()}
    assert len(pictures) == 4 * (3 * (2 + len(EXPERTS)))  # three instants and the mean over the clip
    assert not re.search(r"https?:", text)
    assert all(name in " ".join(page.text) for name in EXPERTS)
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.size == (40, 30)
    numbers = json.loads((tmp_path / "gate_statistics.json").read_text("utf8"))
    assert numbers["experts"] == EXPERTS and numbers["camera"] == "cam00" and numbers["frames_apart"] == 3
    assert numbers["frames"] == [*range(0, 24, 3)]
    assert sum(numbers["overall"]["mean_gate"]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_what_cannot_be_reported_is_said(trained_run: Path, router_run: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in [
        ([trained_run], "expected the run of a mixture (moegs-router), found one of 'moegs-stg'"),
        ([router_run, "--camera", "cam07"], "expected a camera of the split (cam00), found 'cam07'"),
        ([router_run, "--instants", "0"], "expected --instants, --max-frames and --width of at least 1"),
    ]:
        assert run(["report", "gates", *map(str, arguments)]) == 1
        assert message in " ".join(capsys.readouterr().err.split())
