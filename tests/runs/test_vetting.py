"""A run is vetted without running any of it, and what every method writes passes."""

import re
from pathlib import Path

import pytest
import yaml

from moegs_ns.cli.main import run as moegs
from moegs_ns.runs.config_tags import CONFIG_TAGS
from moegs_ns.runs.record import SCHEMA_VERSION, write_run_record
from moegs_ns.runs.vetting import tags_of, vet_run

GOOD = "!!python/object:moegs_ns.training.trainer_config.MoegsTrainerConfig\nmethod_name: moegs-stg\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yml").write_text(GOOD)
    record = {"method": "moegs-stg", "expert": {}, "scene": {}, "versions": {}, "progress": {}, "command": ""}
    write_run_record(folder / "run.json", {"schema_version": SCHEMA_VERSION, **record})
    return folder


def refused(run: Path) -> str:
    return " ".join(finding.sentence for finding in vet_run(run) if not finding.good)


def test_a_run_of_ours_passes(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert refused(run) == ""
    assert moegs(["check-run", str(run)]) == 0
    assert "fine  config.yml" in capfd.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch executed']",
        "!!python/object/new:os.system ['touch executed']",
        "a: [1, {b: !!python/name:os.system ''}]",
        "? !!python/object/apply:subprocess.call [[touch, executed]]\n: 1",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch executed']",
        "%TAG ! tag:yaml.org,2002:python/object/apply:\n---\n!os.system ['touch executed']",
        "!!python/module:antigravity ''",
        "!!python/object:moegs_ns.training.trainer.MoegsTrainer {}",
        "!custom 1",
    ],
)
def test_what_would_run_code_is_refused_and_not_run(
    run: Path, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run)
    (run / "config.yml").write_text(text)
    assert "expected only classes that moegs_ns writes" in refused(run)
    assert not (run / "executed").exists()
    assert moegs(["check-run", str(run)]) == 1
    assert "refused  config.yml" in capfd.readouterr().out


def test_other_things_of_which_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "config.yml").write_text("a: [")
    assert "expected YAML" in refused(run)
    (run / "config.yml").unlink()
    assert "found none" in refused(run)
    (run / "config.yml").write_text(GOOD)
    (run / "wandb").symlink_to(tmp_path)
    assert "expected links within the run" in refused(run)
    (run / "wandb").unlink()
    (run / "nerfstudio_models").mkdir()
    (run / "nerfstudio_models" / "step-000000001.ckpt").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    assert "expected a whole checkpoint of tensors" in refused(run)
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        vet_run(run / "nowhere")


def test_the_list_is_what_every_method_writes() -> None:
    from moegs_ns import dataparser_configs, method_configs
    from moegs_ns.experts.registry import EXPERTS

    known = [*vars(method_configs).values(), *vars(dataparser_configs).values()]
    configs = [one.config for one in known if hasattr(one, "config") and hasattr(one, "description")]
    configs += [family.model_config() for family in EXPERTS.values()]
    written = {tag for config in configs for tag, _ in tags_of(yaml.dump(config))}
    written = {tag for tag in written if tag.startswith("python/")}
    assert written | {"python/object/apply:pathlib.WindowsPath"} == CONFIG_TAGS
    assert not [tag for tag in CONFIG_TAGS if re.search(r"(os|subprocess|builtins|posix)\.", tag)]
