"""What a run left in its folder for a report: ``run.json`` and the stored scores. Standard library only, no YAML."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.record import RUN_RECORD_NAME, read_run_record

EVALUATION_NAME = "eval_test.json"
"""Scores of a run's newest checkpoint on the test cameras, as ``ns-eval`` writes them, in the run folder."""

_BYTES_PER_FLOAT = 4
_IDENTIFYING_PARTS = 3  # <scene>/<method>/<name>, below the output folder
_SAME_SCORE = 0.05  # dB; renders of one checkpoint by two programs differ by far less


@dataclass(frozen=True)
class RunResult:
    """A finished and evaluated run.

    Attributes:
        folder: its run folder.
        record: its ``run.json``.
        scores: the ``results`` of its evaluation.
    """

    folder: Path
    record: dict[str, Any]
    scores: dict[str, Any]

    @property
    def protocol(self) -> dict[str, Any]:
        """Split, cameras, frames, resolution and metrics the scores belong to."""
        return self.scores["protocol"]

    @property
    def scene(self) -> str:
        """Name of the scene."""
        return str(self.record["scene"].get("scene", "unknown scene"))

    @property
    def expert(self) -> str:
        """Family of a single expert; ``router`` for a mixture."""
        return str(self.record["expert"]["name"])

    @property
    def expert_names(self) -> list[str]:
        """Names of a mixture's experts, in gate order; empty for a single expert."""
        return list(self.record.get("model", {}).get("experts", []))

    @property
    def seed(self) -> int | None:
        """The seed it was trained with."""
        return self.record.get("seed")

    @property
    def training_seconds(self) -> float | None:
        """Wall-clock seconds of its training steps."""
        return self.record["progress"].get("training_seconds")

    @property
    def processor_seconds(self) -> float | None:
        """Processor time of its training steps, all threads together; None where it was not counted. On a CPU it says
        what a training costs even where other work made it wait; on a GPU it says little."""
        return self.record["progress"].get("processor_seconds")

    @property
    def num_gaussians(self) -> int | None:
        """Gaussians it renders with."""
        return self.record.get("model", {}).get("num_gaussians")

    @property
    def megabytes(self) -> float | None:
        """Size of its parameters as 32-bit floats, in MB (10^6 bytes); a mixture's include its experts'."""
        count = self.record.get("num_parameters")
        return None if count is None else count * _BYTES_PER_FLOAT / 1e6

    @property
    def experts_changed(self) -> bool:
        """Whether a mixture shows its experts otherwise than they were trained: they learnt on in it, or the volume
        router has one background for all."""
        config = self.record["expert"].get("config", {})
        return bool(config.get("experts_learn_from")) or config.get("router") == "volume"

    def experts(self) -> list["RunResult | str"]:
        """The runs a mixture's experts came from, each if it still scores what the mixture's copy of it does; where a
        mixture changes its experts, if it still ends with the step that the mixture started from.

        Returns:
            In gate order, the run, or in words why there is none.
        """
        folders = self.record["expert"].get("config", {}).get("experts", [])
        if len(folders) != len(self.expert_names):
            return [f"{name}: its run is not known" for name in self.expert_names]
        return [
            self._expert(name, self._where_now(Path(folder)))
            for name, folder in zip(self.expert_names, folders, strict=True)
        ]

    def _where_now(self, folder: Path) -> Path:
        """Where an expert's run lies: as recorded, or, where that is gone, in the output folder this run lies in, since
        those are moved and copied as a whole. `_expert` makes sure of it by its scores."""
        if folder.is_dir():
            return folder
        beside = self.folder.absolute().parents[_IDENTIFYING_PARTS - 1 :][:1]
        places = (place.joinpath(*folder.parts[-_IDENTIFYING_PARTS:]) for place in beside)
        return next((place for place in places if (place / RUN_RECORD_NAME).is_file()), folder)

    def _expert(self, name: str, folder: Path) -> "RunResult | str":
        if not folder.is_dir():
            return f"{name}: its run {folder} is gone"
        try:
            result = read_result(folder)
        except (FileNotFoundError, ValueError) as error:
            return f"{name}: {error}"
        if self.experts_changed:
            taken = self.record.get("model", {}).get("expert_origins", {}).get(name, {}).get("step")
            ends = result.protocol.get("step", -1) + 1
            return result if taken == ends else f"{name} has {ends} steps, the mixture began with {taken}"
        alone, inside = result.scores["psnr"], self.scores[f"expert_{name}/psnr"]
        if abs(alone - inside) > _SAME_SCORE:
            return (
                f"{name} scores {alone:.2f} dB alone and {inside:.2f} dB inside the mixture: its run was trained on "
                "since, or the mixture renders it otherwise (another background)"
            )
        return result


def read_result(run: Path) -> RunResult:
    """A run's record and scores.

    Raises:
        FileNotFoundError: no run, or one that was not evaluated.
        ValueError: the scores are not of the run's newest checkpoint, or were written by something else.
    """
    folder = Path(run)
    folder = folder if folder.is_dir() else folder.parent
    record = read_run_record(run)
    file = folder / EVALUATION_NAME
    again = f"ns-eval --load-config {folder / 'config.yml'} --output-path {file}"
    if not file.is_file():
        raise FileNotFoundError(f"expected the scores of {folder} in {file.name}, found none; evaluate it: {again}")
    try:
        content = json.loads(file.read_text("utf8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"expected what ns-eval writes in {file}, found no JSON ({error}); write it anew: {again}"
        ) from error
    scores = content.get("results", {}) if isinstance(content, dict) else {}
    needed = ["psnr", *(f"expert_{name}/psnr" for name in record.get("model", {}).get("experts", []))]
    if not isinstance(scores, dict) or not isinstance(scores.get("protocol"), dict):
        raise ValueError(f"expected what ns-eval writes in {file}, found other data; write it anew: {again}")
    wrong = [name for name in needed if type(scores.get(name)) not in (int, float)]
    if wrong:
        raise ValueError(
            f"expected what ns-eval writes in {file}, found no numbers for {', '.join(wrong)}; write it anew: {again}"
        )
    saved = list_checkpoints(folder / CHECKPOINT_FOLDER)
    if saved and max(saved) != scores["protocol"].get("step"):
        raise ValueError(
            f"expected the scores of step {max(saved)} in {file}, found those of step "
            f"{scores['protocol'].get('step')}; the run was trained on, evaluate it again: {again}"
        )
    return RunResult(folder, record, scores)
