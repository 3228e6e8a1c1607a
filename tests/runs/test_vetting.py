"""A run is vetted without running any of it, and what every method writes passes."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from moegs_ns.cli.main import run as moegs
from moegs_ns.method_configs import moegs_stg
from moegs_ns.runs import vetting
from moegs_ns.runs.checkpoints import write_checkpoint
from moegs_ns.runs.config_tags import CONFIG_TAGS
from moegs_ns.runs.config_vetting import tags_of
from moegs_ns.runs.record import SCHEMA_VERSION, write_run_record
from moegs_ns.runs.vetting import vet_run


def config_of(run: Path) -> str:
    """What a run there has, as far as it matters here."""
    output_dir, experiment, method, timestamp = run.parents[2], run.parent.parent.name, run.parent.name, run.name
    names = {"experiment_name": experiment, "method_name": method, "timestamp": timestamp}
    return yaml.dump(dataclasses.replace(moegs_stg.config, output_dir=output_dir, vis="viewer", **names))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "scene" / "moegs-stg" / "demo"
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(config_of(folder))
    expert = {"name": "stg", "config": {}}
    record = {"method": "moegs-stg", "expert": expert, "scene": {}, "versions": {}, "progress": {}, "command": ""}
    write_run_record(folder / "run.json", {"schema_version": SCHEMA_VERSION, **record})
    write_checkpoint({"step": 1, "pipeline": {}, "optimizers": {}}, folder / "nerfstudio_models", 1, folder)
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
        "<<: {output_dir: elsewhere}",
        "!!python/object:moegs_ns.training.trainer_config.MoegsTrainerConfig {<<: {a: 1}}",
        "!!python/object/apply:pathlib.PosixPath {args: [a], state: {extend: !!python/name:builtins.exec ''}}",
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


def test_a_run_cannot_speak_for_its_check(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = json.loads((run / "run.json").read_text("utf8"))
    forged = {**record, "method": "moegs-stg\nfine  config.yml: names nothing\x1b[8m"}
    (run / "run.json").write_text(json.dumps(forged), "utf8")
    (run / "x\x1b[2K\rfine  all: good\x1b[8m").symlink_to("/etc")
    (run / "config.yml").write_text("!!python/name:os.system ''")
    assert moegs(["check-run", str(run)]) == 1
    said = capfd.readouterr().out
    assert "\x1b" not in said and "\r" not in said
    assert sorted(line.split()[0] for line in said.splitlines()) == ["fine", "refused", "refused", "refused"]
    assert "expected texts without control characters" in said


def test_logs_stay_in_the_run(run: Path) -> None:
    text = config_of(run)
    assert "relative_log_filename: viewer_log" in text and "relative_log_dir:" in text
    elsewhere = text.replace("relative_log_filename: viewer_log", "relative_log_filename: ../viewer_log")
    (run / "config.yml").write_text(elsewhere)
    assert "expected a place within the run folder for relative_log_filename, found ../viewer_log" in refused(run)
    elsewhere = re.sub(r"(relative_log_dir: \S+\n)\s+- .*", r"\1  - /tmp/elsewhere", text)
    elsewhere = re.sub(r"(relative_log_dir: \S+) \[\]", r"\1 [/tmp/elsewhere]", elsewhere)
    assert elsewhere != text
    (run / "config.yml").write_text(elsewhere)
    assert "expected a place within the run folder for relative_log_dir, found /tmp/elsewhere" in refused(run)


def test_nothing_but_checkpoints_lies_among_checkpoints(run: Path) -> None:
    file = next((run / "nerfstudio_models").iterdir())
    file.rename(file.with_name("step--00000005.ckpt"))
    assert "expected step-*.ckpt files only, found another name" in refused(run)
    (run / "nerfstudio_models" / "step--00000005.ckpt").unlink()
    assert "expected checkpoints of the run, found none" in refused(run)


def test_other_things_of_which_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "config.yml").write_text("a: [")
    assert "expected YAML" in refused(run)
    (run / "config.yml").unlink()
    assert "found none" in refused(run)
    (run / "config.yml").write_text(config_of(run))
    (run / "wandb").symlink_to(tmp_path)
    assert "expected links within the run" in refused(run)
    (run / "wandb").unlink()
    (run / "loop").symlink_to("loop")
    assert refused(run) == ""
    os.mkfifo(run / "pipe")
    assert "found a pipe" in refused(run)
    (run / "pipe").unlink()
    (run / "nerfstudio_models" / "step-000000001.ckpt").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    assert "expected a whole checkpoint of tensors" in refused(run)
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        vet_run(run / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("timestamp: demo", "timestamp: ../other", "by which ns-\\* commands write into .*/scene/other "),
        ("timestamp: demo", "timestamp: /etc", "write into /etc "),
        ("- nerfstudio_models", "- ../other/nerfstudio_models", "read checkpoints in .*/other/nerfstudio_models"),
        ("timestamp: demo", "timestamp: demo\ntimestamp: other", "found timestamp twice"),
        ("timestamp: demo", "timestamp: 5", "which say where a run lies, found others"),
        ("timestamp: demo", "", "which say where a run lies, found others"),
        ("vis: viewer", "vis: viewer+wandb", "reports to wandb"),
        ("vis: viewer", "vis: viewer # \u00c5", "expected YAML in plain ASCII"),
        ("vis: viewer", "vis: &a [*a]", "larger, or endless"),
        ("vis: viewer", "vis: " + "[" * 3000 + "]" * 3000, "expected YAML"),
        ("vis: viewer", "vis: viewer\n--- !!python/name:os.system ''", "expected YAML"),
        ("vis: viewer", f"vis: {'a' * 1_000_000}", "expected a config of kilobytes"),
    ],
)
def test_configs_that_lead_elsewhere_or_nowhere(run: Path, old: str, new: str, sentence: str) -> None:
    text = config_of(run)
    assert old in text
    (run / "config.yml").write_text(text.replace(old, new), "utf8")
    assert re.search(sentence, refused(run))


def test_aliases_may_not_multiply(run: Path) -> None:
    levels = ["a0: &a0 [x, x]", *(f"a{one}: &a{one} [*a{one - 1}, *a{one - 1}]" for one in range(1, 40))]
    (run / "config.yml").write_text(config_of(run) + "\n".join(levels) + "\n")
    assert "found aliases that make it larger" in refused(run)


def test_other_data_are_no_config(run: Path) -> None:
    part = "!!python/object:nerfstudio.configs.base_config.ViewerConfig {websocket_host: 0.0.0.0}"
    for text in ("", "[1, 2]", "just words", "a: 1", part):
        (run / "config.yml").write_text(text)
        assert "expected the config of a training" in refused(run)


def test_an_old_torch_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting.torch, "__version__", "2.5.1+cpu")
    assert "expected torch 2.6 or newer" in refused(run)


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
