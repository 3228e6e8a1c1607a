"""No source builds objects out of data, runs what data name, or opens files in ways that follow what is in them."""

import subprocess
from pathlib import Path

import pytest

from tests.security.forbidden import faults

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("moegs_ns", "integrations")


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_no_source_does_what_is_forbidden() -> None:
    files = sources()
    assert len(files) > 200
    found = [fault for path in files for fault in faults(path.read_text("utf8"), path.relative_to(ROOT).as_posix())]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import xml.etree.ElementTree as tree",
        "from urllib import request",
        "import tarfile",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text, yaml.Loader)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(file)",
        "Image.open(path)",
        "cv2.imread(path)",
        "av.open(path)",
        "av.open(path, 'r')",
    ],
)
def test_the_rule_sees(line: str) -> None:
    assert list(faults(f"def f():\n    {line}", "moegs_ns/somewhere.py"))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "av.open(path, 'w', options={})",
        "subprocess.run(command, check=False)",
        "re.compile(text)",
    ],
)
def test_the_rule_lets_pass(line: str) -> None:
    assert list(faults(line, "moegs_ns/somewhere.py")) == []


def test_exceptions_are_used() -> None:
    """A place that may import something and no longer does is taken off the list."""
    from tests.security.forbidden import MODULES

    for module, places in MODULES.items():
        for place in places:
            assert f"import {module}" in (ROOT / place).read_text("utf8"), (module, place)


def test_kept_data_hold_no_pickles() -> None:
    """Nothing in the repository needs more than tensors and plain data to be read; fixtures of checkpoints included."""
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    names = listing.stdout.split() if listing.returncode == 0 else []
    assert not [name for name in names if Path(name).suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib")]
