"""A killed and resumed run equals the uninterrupted one, bit for bit; nothing a run writes can be half written."""

import errno
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from moegs_ns.folder_lock import LOCK_NAME, FolderIsBusyError, FolderLock
from moegs_ns.runs.checkpoint_files import find_checkpoint, list_checkpoints
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.divergence import TrainingDivergedError
from tests.training.inprocess import start_training, train_config
from tests.training.toy import Killed, toy_config


def assert_equal_state(first: object, second: object, where: str = "") -> None:
    """Bitwise equality of nested checkpoints; training time alone may differ."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            if key not in ("training_seconds", "processor_seconds"):
                assert_equal_state(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal_state(one, other, f"{where}/{index}")
    else:
        assert first == second, where


def load(run: Path) -> dict:
    return torch.load(find_checkpoint(run), map_location="cpu", weights_only=True)


@pytest.mark.parametrize("cameras_per_step", [1, 2])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, cameras_per_step: int) -> None:
    whole = start_training(toy_config(tmp_path, 20, "whole", cameras_per_step=cameras_per_step))
    # Checkpoints are written after steps 5, 10 ...; the kill at 13 loses what came after 10.
    killed = toy_config(tmp_path, 20, "killed", cameras_per_step=cameras_per_step, stop_at_step=13)
    with pytest.raises(Killed):
        start_training(killed)
    resumed = start_training(
        toy_config(tmp_path, 20, "resumed", cameras_per_step=cameras_per_step, load_dir=killed.get_base_dir())
    )
    assert resumed._start_step == 11
    assert_equal_state(load(whole.base_dir), load(resumed.base_dir))
    assert whole.pipeline.model.losses[11 * cameras_per_step :] == resumed.pipeline.model.losses
    assert len(resumed.pipeline.model.points) == 5 + 20 // 3


def test_total_steps_on_resume(tmp_path: Path) -> None:
    first = train_config(toy_config(tmp_path, 6, "first"))
    second = train_config(toy_config(tmp_path, 12, "second", load_dir=first))
    assert list(list_checkpoints(second / "nerfstudio_models")) == [11]
    config = yaml.load((second / "config.yml").read_text(), Loader=yaml.Loader)
    assert config.max_num_iterations == 12
    assert_equal_state(load(train_config(toy_config(tmp_path, 12, "whole"))), load(second))


def test_resuming_a_finished_run_keeps_it(tmp_path: Path) -> None:
    first = train_config(toy_config(tmp_path, 6, "first"))
    again = train_config(toy_config(tmp_path, 6, "again", load_dir=first))
    assert list(list_checkpoints(again / "nerfstudio_models")) == [5]
    assert_equal_state(load(first)["pipeline"], load(again)["pipeline"])


def test_load_dir_takes_run_folder_checkpoint_folder_or_file(tmp_path: Path) -> None:
    run = train_config(toy_config(tmp_path, 6, "first", save_only_latest_checkpoint=False))
    expected = load(train_config(toy_config(tmp_path, 8, "a", load_dir=run)))
    folder = toy_config(tmp_path, 8, "b", load_dir=run / "nerfstudio_models")
    file = toy_config(tmp_path, 8, "c", load_checkpoint=find_checkpoint(run))
    for config in (folder, file):
        assert_equal_state(expected, load(train_config(config)))
    config = yaml.load((tmp_path / "toy-scene/moegs-toy/a/config.yml").read_text(), Loader=yaml.Loader)
    assert (config.load_dir, config.load_step, config.load_checkpoint) == (None, None, find_checkpoint(run))
    with pytest.raises(FileNotFoundError, match=r"step 4.*found steps"):
        train_config(toy_config(tmp_path, 8, "d", load_dir=run, load_step=4))
    with pytest.raises(FileNotFoundError, match="found none"):
        train_config(toy_config(tmp_path, 8, "e", load_dir=tmp_path))
    with pytest.raises(FileNotFoundError, match="found nothing"):
        train_config(toy_config(tmp_path, 8, "f", load_dir=tmp_path / "absent"))
    with pytest.raises(ValueError, match="only one"):
        train_config(toy_config(tmp_path, 8, "g", load_dir=run, load_checkpoint=find_checkpoint(run)))


def test_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    run = train_config(toy_config(tmp_path, 6, "first"))
    config = toy_config(tmp_path, 8, "second", load_dir=run)
    config.optimizers["points"]["scheduler"] = None
    with pytest.raises(ValueError, match=re.escape("expected the scheduler groups ['pixels']")):
        train_config(config)


def test_only_checkpoints_in_their_folder_and_only_the_latest(tmp_path: Path) -> None:
    run = train_config(toy_config(tmp_path, 12))
    assert [path.name for path in (run / "nerfstudio_models").iterdir()] == ["step-000000011.ckpt"]
    run = train_config(toy_config(tmp_path, 12, "all", save_only_latest_checkpoint=False))
    assert list(list_checkpoints(run / "nerfstudio_models")) == [5, 10, 11]
    assert not list(run.glob("*.unfinished*"))


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes" / "dance").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "scenes" / "dance")
    run = train_config(toy_config(Path("../../outputs"), 2, data=Path()))
    assert run == tmp_path / "outputs" / "toy-scene" / "moegs-toy" / "run"
    monkeypatch.chdir("/")
    config = yaml.load((run / "config.yml").read_text(), Loader=yaml.Loader)
    assert config.output_dir == tmp_path / "outputs"
    assert config.data == tmp_path / "scenes" / "dance"
    assert config.pipeline.datamanager.data == tmp_path / "scenes" / "dance" / "toy-scene"
    assert config.get_checkpoint_dir() == run / "nerfstudio_models"


def test_a_relative_data_folder_names_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = toy_config(tmp_path, 2)
    config.pipeline.datamanager.data = Path()
    assert config.get_base_dir() == tmp_path / tmp_path.stem / "moegs-toy" / "run"


def test_the_data_parsers_path_counts_where_the_datamanager_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = toy_config(tmp_path, 2)
    datamanager = config.pipeline.datamanager
    datamanager.dataparser = SimpleNamespace(data=Path())
    config.make_paths_absolute()
    assert datamanager.dataparser.data == Path()
    datamanager.data = None
    config.make_paths_absolute()
    assert datamanager.dataparser.data == tmp_path


def test_learning_rates_are_scaled_once_and_recorded(tmp_path: Path) -> None:
    first = start_training(toy_config(tmp_path, 6, "first"))
    resumed = start_training(toy_config(tmp_path, 12, "resumed", load_dir=first.base_dir))
    for trainer, steps in ((first, 6), (resumed, 12)):
        rates = read_run_record(trainer.base_dir)["learning_rates"]
        assert rates["points"] == {"lr": 5e-3, "lr_final": 5e-5, "max_steps": 20, "restart_step": 0, "scale": 0.5}
        assert rates["pixels"]["lr"] == 1e-2
        assert trainer.config.optimizers["points"]["optimizer"].lr == 1e-2
        expected = 5e-3 * (5e-5 / 5e-3) ** (steps / 20)
        assert trainer.optimizers.optimizers["points"].param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 20, nan_loss_at_step=8)
    with pytest.raises(
        TrainingDivergedError, match=r"'color' is NaN.*at step 8; every parameter is finite.*step-000000005.ckpt"
    ):
        train_config(config)
    run = config.get_base_dir()
    assert list(list_checkpoints(run / "nerfstudio_models")) == [5]
    assert not any(torch.isnan(value).any() for value in load(run)["pipeline"].values() if value.is_floating_point())
    assert read_run_record(run)["progress"]["status"].startswith("failed: TrainingDivergedError")


def test_nan_parameter_is_never_saved(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 20, nan_parameter_at_step=10)  # the loss of step 10 itself is still finite
    with pytest.raises(TrainingDivergedError, match=r"'_model.points' holds NaN after step 10"):
        train_config(config)
    assert list(list_checkpoints(config.get_base_dir() / "nerfstudio_models")) == [5]


def test_run_record(tmp_path: Path) -> None:
    run = train_config(toy_config(tmp_path, 6, "first"))
    record = read_run_record(run)
    assert record["method"] == "moegs-toy"
    assert record["expert"]["name"] == "toy"
    assert record["expert"]["config"]["grow_every"] == 3
    assert record["scene"]["cameras"] == {"train": ["cam00", "cam01"], "val": ["cam02", "cam03"]}
    assert record["scene"]["resolution"] == [16, 12]
    assert record["scene"]["num_frames"] == 4
    assert record["seed"] == 3
    assert record["model"] == {"num_gaussians": 7, "raster_backend": "toy"}
    assert record["versions"]["torch"] == torch.__version__
    assert {"status": "finished", "steps_done": 6, "steps_total": 6}.items() <= record["progress"].items()
    seconds = record["progress"]["training_seconds"]
    assert seconds > 0
    second = read_run_record(train_config(toy_config(tmp_path, 8, "second", load_dir=run)))
    assert second["progress"]["training_seconds"] >= seconds
    assert second["resumed_from"] == str(run / "nerfstudio_models" / "step-000000005.ckpt")


def test_interrupted_run_says_so(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 20, stop_at_step=7)
    with pytest.raises(Killed):
        train_config(config)
    progress = read_run_record(config.get_base_dir())["progress"]
    assert (progress["status"], progress["steps_done"]) == ("failed: Killed: ", 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_devices": 2}, "one device per run"),
        ({"device_type": "cuda"}, "usable CUDA device"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = toy_config(tmp_path / "outputs", 2)
    for name, value in change.items():
        setattr(config.machine, name, value)
    with pytest.raises(ValueError, match=message):
        train_config(config)
    assert not (tmp_path / "outputs").exists()


def test_group_numbers_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    import tyro
    from nerfstudio.engine.trainer import TrainerConfig

    default = toy_config(tmp_path, 2)
    args = ["--optimizers.points.optimizer.lr", "0.125", "--optimizers.points.scheduler.lr-final", "0.5"]
    args += ["--optimizers.pixels.optimizer.betas", "0.5", "0.75", "--pipeline.model.grow-every", "9"]
    config = tyro.cli(tyro.conf.FlagConversionOff[type(default)], default=default, args=args)
    assert isinstance(config, TrainerConfig)
    assert config.optimizers["points"]["optimizer"].lr == 0.125
    assert config.optimizers["points"]["scheduler"].lr_final == 0.5
    assert config.optimizers["pixels"]["optimizer"].betas == (0.5, 0.75)
    assert config.pipeline.model.grow_every == 9


def test_run_record_is_valid_json_with_plain_data(tmp_path: Path) -> None:
    run = train_config(toy_config(tmp_path, 2))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (run / "run.json").read_text()
    json.loads(text, parse_constant=refuse)
    assert "!!python" not in text


def test_a_full_disk_stops_the_training_and_costs_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, []

    def full_from_the_second_checkpoint_on(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 2:  # a checkpoint's content, then its name
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    config = toy_config(tmp_path, 20, "filled")
    monkeypatch.setattr(os, "fsync", full_from_the_second_checkpoint_on)
    with pytest.raises(OSError, match=r"room for .*step-000000010.ckpt.*steps 6 to 10 are lost.*step 5 is whole"):
        train_config(config)
    monkeypatch.undo()
    run = config.get_base_dir()
    assert list(list_checkpoints(run / "nerfstudio_models")) == [5]
    assert not list(run.rglob("*unfinished*"))
    assert "full" in read_run_record(run)["progress"]["status"]
    resumed = train_config(toy_config(tmp_path, 20, "resumed", load_dir=run))
    assert_equal_state(load(train_config(toy_config(tmp_path, 20, "whole"))), load(resumed))


def test_a_second_training_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path, 20, "busy")
    run = config.get_base_dir()
    run.mkdir(parents=True)
    with FolderLock(run) as lock:
        lock.acquire()
        with pytest.raises(FolderIsBusyError, match="nobody at work"):
            train_config(toy_config(tmp_path, 20, "busy"))
        assert [path.name for path in run.iterdir()] == [LOCK_NAME]
    train_config(config)
    train_config(toy_config(tmp_path, 30, "busy", load_dir=run))  # a training that has ended holds nothing
