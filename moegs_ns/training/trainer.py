"""The trainer of every method: checkpoints that survive a kill, resuming that changes nothing, ``run.json``."""

import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.utils.writer import EventName, TimeWriter

from moegs_ns.files import written_whole
from moegs_ns.folder_lock import LOCK_NAME, FolderLock
from moegs_ns.runs import checkpoints
from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.runs.record import (
    RUN_RECORD_NAME,
    SCHEMA_VERSION,
    describe_command_line,
    describe_device,
    describe_scene,
    describe_source,
    describe_versions,
    plain,
    read_run_record,
    write_run_record,
)
from moegs_ns.runs.vetting import CONFIG_NAME
from moegs_ns.training.divergence import check_losses, check_parameters
from moegs_ns.training.optimizers import SinglePassOptimizers, describe_learning_rates, scaled_groups, used_groups
from moegs_ns.training.pipeline import describe_model
from moegs_ns.training.random_state import capture_random_state, restore_random_state
from moegs_ns.training.render_meter import peak_memory_mb
from moegs_ns.training.trainer_config import MoegsTrainerConfig


class MoegsTrainer(Trainer):
    """Trains for a total number of steps, through kills and resumes, as if it had never been interrupted."""

    config: MoegsTrainerConfig

    def __init__(self, config: MoegsTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        config.prepare()
        super().__init__(config, local_rank, world_size)
        self._training_seconds = 0.0
        self._processor_seconds: float | None = 0.0
        self._random_state: dict[str, Any] | None = None
        self._saved_step: int | None = None
        self._learning_rates: dict[str, Any] = {}
        self._resumed_from: Path | None = None
        self._record: dict[str, Any] = {}
        self._status = "running"

    # -- setting up ------------------------------------------------------------------------------------------------

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Build pipeline, optimizers, viewer and writers, load the checkpoint to resume from, write ``run.json``."""
        self.base_dir.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.base_dir)  # held until the training ends, or nobody holds the trainer any more
        self._lock.acquire()
        try:
            super().setup(test_mode)
        except BaseException:
            self._lock.release()
            self._take_back()
            raise
        self.pipeline.loss_watcher = self._check_losses
        checkpoints.remove_unfinished_checkpoints(self.base_dir)
        self._record = self._describe_run()
        self._update_record(self._start_step)

    def _take_back(self) -> None:
        """Remove what was written for a run that never came to be, and the folders that this empties."""
        if (self.base_dir / RUN_RECORD_NAME).exists() or list_checkpoints(self.checkpoint_dir):
            return  # there was a run before
        for name in (LOCK_NAME, CONFIG_NAME, "events.out.tfevents.*"):
            for file in self.base_dir.glob(name):
                file.unlink()
        for folder in (self.base_dir, *self.base_dir.parents[:2]):  # <output>/<scene>/<method>/<name>
            try:
                folder.rmdir()
            except OSError:  # there is more in it
                return

    def setup_optimizers(self) -> Optimizers:
        """One optimizer per group; the model's ``learning_rate_scales`` multiply ``lr`` and ``lr_final``, and its
        ``configured_group`` names the configured group of a parameter group where that is not its namesake."""
        model = self.pipeline.model
        scales = model.learning_rate_scales() if hasattr(model, "learning_rate_scales") else {}
        parameters = self.pipeline.get_param_groups()
        configured = {name: getattr(model, "configured_group", str)(name) for name in parameters}
        used = used_groups(scaled_groups(self.config.optimizers, scales), configured)
        self._learning_rates = describe_learning_rates({configured[name]: used[name] for name in used}, scales)
        return SinglePassOptimizers(used, parameters)

    def _load_checkpoint(self) -> None:
        path = self.config.load_checkpoint
        if path is None:
            return
        state = checkpoints.read_checkpoint(path)
        own, optimizers = state.get("moegs"), state["optimizers"]
        # What was made without training (a fused model) has no moments to go on with: other options may train it.
        begun = any(one["state"] for one in optimizers.values())
        trained = begun or set(optimizers) == set(self.optimizers.optimizers)
        if trained:
            self._check_groups(path, state)
        self.pipeline.load_pipeline(state["pipeline"], state["step"])
        if trained:
            self.optimizers.load_optimizers(state["optimizers"])
        if trained and self.config.load_scheduler:
            self.optimizers.load_schedulers(state.get("schedulers", {}))
        self.grad_scaler.load_state_dict(state.get("scalers", {}))
        self._start_step = int(state["step"]) + 1
        self._resumed_from = path
        if own is None:
            CONSOLE.print(f"[bold yellow]{path} holds no random state: training goes on, but not bit for bit")
        else:
            self._random_state = own["random"]
            self._training_seconds = float(own["training_seconds"])
            self._processor_seconds = own.get("processor_seconds")  # earlier versions did not count them
            if own["sampler"] is not None and hasattr(self.pipeline.datamanager, "load_sampler_state"):
                self.pipeline.datamanager.load_sampler_state(own["sampler"])
        CONSOLE.print(f"Resuming after {self._start_step} steps from {path}", soft_wrap=True)

    def _check_groups(self, path: Path, state: Mapping[str, Any]) -> None:
        for kind, present in (("optimizer", self.optimizers.optimizers), ("scheduler", self.optimizers.schedulers)):
            saved = state.get(f"{kind}s", {})
            if set(saved) != set(present) and (kind == "optimizer" or self.config.load_scheduler):
                raise ValueError(
                    f"expected the {kind} groups {sorted(present)} in {path}, found {sorted(saved)}; "
                    "resume with the method and options that wrote it"
                )

    # -- training --------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train up to ``max_num_iterations`` steps in all, then write the last checkpoint.

        Raises:
            TrainingDivergedError: a loss or a parameter became NaN; the checkpoints before it are kept.
        """
        self._save_dataparser_transform()
        self._init_viewer_state()
        self.stop_training = False
        self.step = self._start_step - 1
        try:
            with TimeWriter(writer, EventName.TOTAL_TRAIN_TIME):
                # Everything before this line may have drawn random numbers that an uninterrupted run did not draw.
                if self._random_state is not None:
                    restore_random_state(self._random_state)
                for step in range(self._start_step, self.config.max_num_iterations):
                    if not self._wait_while_paused():
                        break
                    self._train_and_log(step)
            self._finish()
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self._status = "interrupted" if interrupted else f"failed: {type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # a full disk: what stopped the training is to be told, not this
                self._update_record(self.step + 1)
            raise
        finally:
            self._lock.release()

    def _save_dataparser_transform(self) -> None:
        datamanager = self.pipeline.datamanager
        if hasattr(datamanager, "train_dataparser_outputs"):
            with written_whole(self.base_dir / "dataparser_transforms.json") as scratch:
                datamanager.train_dataparser_outputs.save_dataparser_transform(scratch)

    def finish_untrained(self) -> None:
        """Write the checkpoint of the step that was loaded, of a model that was changed since and is not to be trained.

        Raises:
            ValueError: nothing was loaded.
        """
        if self._resumed_from is None:
            raise ValueError("expected a loaded checkpoint to write a changed model of, found a new run; train it")
        self._save_dataparser_transform()
        if self._random_state is not None:
            restore_random_state(self._random_state)
        self.step, self._status = self._start_step - 1, "finished"
        self.save_checkpoint(self.step)
        self._lock.release()

    def _train_and_log(self, step: int) -> None:
        with self.train_lock, TimeWriter(writer, EventName.ITER_TRAIN_TIME, step=step) as timer:
            start, busy = time.perf_counter(), time.process_time()
            self.pipeline.train()
            self._run_callbacks(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            loss, losses, metrics = self.train_iteration(step)
            self._run_callbacks(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
            self._training_seconds += time.perf_counter() - start
            if self._processor_seconds is not None:
                self._processor_seconds += time.process_time() - busy
        self.step = step
        if step - self._start_step > 1:  # the first steps compile and allocate; the viewer plans with this rate
            pixels = self.pipeline.datamanager.get_train_rays_per_batch()
            writer.put_time(EventName.TRAIN_RAYS_PER_SEC, pixels / max(1e-3, timer.duration), step)
        self._update_viewer_state(step)
        if self._is_logged(step):
            writer.put_scalar("Train Loss", loss.detach(), step)
            writer.put_dict(
                "Train Loss Dict", {name: torch.as_tensor(value).detach() for name, value in losses.items()}, step
            )
            writer.put_dict("Train Metrics Dict", metrics, step)
            writer.put_dict("Memory (MB)", peak_memory_mb(self.device), step)
        if self._has_eval_images():
            with self.train_lock:
                self.eval_iteration(step)
        if self._is_saved(step):
            self.save_checkpoint(step)
        writer.write_out_storage()

    def _is_saved(self, step: int) -> bool:
        return bool(step_check(step, self.config.steps_per_save))

    def _is_logged(self, step: int) -> bool:
        return bool(step_check(step, self.config.logging.steps_per_log, run_at_zero=True)) or self._is_saved(step)

    def _check_losses(self, losses: Mapping[str, Any], step: int) -> None:
        """Before anything learns from the losses, while parameters still tell where NaN came from. Looking waits for
        the device: except on a CPU only steps whose loss is read anyway are looked at."""
        if torch.device(self.device).type == "cpu" or self._is_logged(step):
            check_losses(losses, step, self.checkpoint_dir, self.pipeline.named_parameters())

    def _run_callbacks(self, step: int, location: TrainingCallbackLocation) -> None:
        for callback in self.callbacks:
            callback.run_callback_at_location(step, location=location)

    def _has_eval_images(self) -> bool:
        dataset = self.pipeline.datamanager.eval_dataset
        return dataset is not None and len(dataset) > 0

    def _wait_while_paused(self) -> bool:
        """Wait for the viewer's pause button; False when training was stopped."""
        while self.training_state == "paused" and not self.stop_training:
            time.sleep(0.01)
        return not self.stop_training

    def _finish(self) -> None:
        """Save, tell, run the last callbacks and keep the viewer open if so configured."""
        complete = self.step + 1 >= self.config.max_num_iterations
        self._status = "finished" if complete else "stopped"
        if self.step < 0:
            CONSOLE.print("[bold yellow]No training step was taken, so there is nothing to save")
            self._update_record(0)
            return
        if self._start_step >= self.config.max_num_iterations:
            CONSOLE.print(
                f"[bold yellow]{self._resumed_from} already has {self._start_step} steps of "
                f"{self.config.max_num_iterations} in all; raise --max-num-iterations to train on",
                soft_wrap=True,
            )
            writer.GLOBAL_BUFFER.setdefault("step", self.step)  # the log's last lines count on a step having been timed
        self._after_train()

    # -- saving ------------------------------------------------------------------------------------------------------

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Write the checkpoint of ``step`` (its last finished step) and bring ``run.json`` up to date.

        Besides nerfstudio's keys it holds ``"moegs"``: the random generators, the datamanager's sampler and the
        training time so far, all tensors and plain data.
        """
        if step != self._saved_step:
            with self.train_lock:  # the viewer's thread switches the model's modes while it renders
                check_parameters(self.pipeline.named_parameters(), step, self.checkpoint_dir)
                checkpoints.write_checkpoint(
                    self._state(step),
                    self.checkpoint_dir,
                    step,
                    scratch_folder=self.base_dir,
                    only_latest=self.config.save_only_latest_checkpoint,
                )
            self._saved_step = step
        self._update_record(step + 1)

    def _state(self, step: int) -> dict[str, Any]:
        sampler_state = getattr(self.pipeline.datamanager, "sampler_state", None)
        return {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "moegs": {
                "random": capture_random_state(),
                "sampler": None if sampler_state is None else sampler_state(),
                "training_seconds": self._training_seconds,
                "processor_seconds": self._processor_seconds,
            },
        }

    def note_pruning(self, facts: Mapping[str, Any]) -> None:
        """Keep in ``run.json`` that the model was pruned: plain facts, among them the ``step`` after which."""
        self._record.setdefault("pruned", []).append(plain(facts))

    def _earlier_prunings(self) -> dict[str, Any]:
        """What the run that is resumed says of the steps that are kept."""
        if self._resumed_from is None:
            return {}
        try:
            record = read_run_record(self._resumed_from.parent.parent)
        except (FileNotFoundError, ValueError):  # a checkpoint that lies elsewhere; it says nothing of its past
            return {}
        kept = [one for one in record.get("pruned", []) if one["step"] <= self._start_step]
        return {"pruned": kept} if kept else {}

    def _describe_run(self) -> dict[str, Any]:
        model = self.pipeline.model
        expert = describe_model(model).get("expert", self.config.trained_expert)
        return {
            "schema_version": SCHEMA_VERSION,
            "method": self.config.method_name,
            "expert": {"name": expert, "config": plain(self.config.pipeline.model)},
            "scene": describe_scene(self.pipeline.datamanager),
            "datamanager": plain(self.config.pipeline.datamanager),
            "learning_rates": self._learning_rates,
            "seed": self.config.machine.seed,
            "versions": describe_versions(),
            "source": describe_source(),
            "device": describe_device(self.device),
            "command": describe_command_line(),
            "working_folder": str(Path.cwd()),
            "resumed_from": plain(self._resumed_from),
            **self._earlier_prunings(),
            **getattr(self.pipeline, "record_facts", dict)(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _update_record(self, steps_done: int) -> None:
        if not self._record:
            return
        self._record["model"] = describe_model(self.pipeline.model)
        self._record["num_parameters"] = sum(one.numel() for one in self.pipeline.model.parameters())
        self._record["progress"] = {
            "status": self._status,
            "steps_done": steps_done,
            "steps_total": self.config.max_num_iterations,
            "training_seconds": round(self._training_seconds, 3),
            "processor_seconds": None if self._processor_seconds is None else round(self._processor_seconds, 3),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "memory_mb": {name: round(value, 1) for name, value in peak_memory_mb(self.device).items()},
        }
        write_run_record(self.base_dir / RUN_RECORD_NAME, self._record)
