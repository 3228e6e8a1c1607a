"""A trained run brought back to life from ``run.json`` and its checkpoint alone: no YAML, no training cameras.

``ns-eval`` and ``ns-render`` load a run through its ``config.yml``, which names Python classes and runs code. What the
``moegs`` command shows or measures of a run goes through here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model
from torch import Tensor

from moegs_ns import compat
from moegs_ns.experts import plain_config
from moegs_ns.router.experts import model_state, read_expert
from moegs_ns.router.fused import FusedModelConfig
from moegs_ns.router.mixture import MixtureModelConfig
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.dataparsers.base import DynamicDataParserConfig
from moegs_ns.scene.dataparsers.layouts import Layout, find_layout
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.training.allocator import keep_freed_memory

Config = TypeVar("Config")
#: Models that hold experts, by what their records call them, with the options that say where those once were.
_ENSEMBLES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "router": (MixtureModelConfig, {"experts": ()}),
    "fused": (FusedModelConfig, {"experts": (), "source": None}),
}


@dataclass(frozen=True)
class View:
    """One image.

    Attributes:
        camera_name: of the camera.
        frame: number in the clip, from 0.
        camera: ``Cameras`` of size 1, on the model's device.
        truth: ``[H,W,3]`` float in [0,1], on the model's device.
    """

    camera_name: str
    frame: int
    camera: Cameras
    truth: Tensor


@dataclass(frozen=True)
class LoadedRun:
    """A run's model at its newest checkpoint, and images to compare it with.

    Attributes:
        folder: the run folder.
        record: its ``run.json``.
        step: of the checkpoint.
        model: in evaluation mode.
        dataset: of one split.
    """

    folder: Path
    record: dict[str, Any]
    step: int
    model: Model
    dataset: FrameDataset

    @property
    def fps(self) -> float:
        """Frames per second of the scene."""
        return float(self.dataset.metadata["fps"])

    def other_split(self, split: str) -> FrameDataset:
        """``train``, ``val`` or ``test`` of the same scene, with the run's options; nothing is decoded until asked for.

        Raises:
            FileNotFoundError: the data are gone.
            ValueError: a split without cameras.
        """
        return dataset_of(self.record, split)

    @property
    def images(self) -> list[tuple[str, int]]:
        """Camera name and frame of every image of the split, without reading any."""
        return images_of(self.dataset)

    def views(self, indices: Iterable[int] | None = None) -> Iterator[View]:
        """Images of the split by their number in `images`; all of them, camera by camera, by default."""
        images = self.images
        for index in range(len(images)) if indices is None else indices:
            camera_name, frame = images[index]
            yield View(
                camera_name=camera_name,
                frame=frame,
                camera=self.dataset.cameras[index : index + 1].to(self.model.device),
                truth=torch.from_numpy(self.dataset.get_numpy_image(index)).to(self.model.device).float() / 255.0,
            )


def load_run(run: Path, split: str = "test", device: str | None = None) -> LoadedRun:
    """Load the newest checkpoint of a run and one split of the scene it was trained on.

    Args:
        run: run folder.
        split: ``test``, ``val`` or ``train``.
        device: torch device; CUDA where there is one by default.

    Raises:
        FileNotFoundError: no run, checkpoint or data.
        ValueError: a run of another kind or version, or a split without cameras.
    """
    compat.apply()
    record = read_run_record(run)
    step, state = model_state(find_checkpoint(run))
    dataset = dataset_of(record, split)
    return LoadedRun(run, record, step, _model(run, record, state, device), dataset)


def load_model(run: Path, device: torch.device | str | None = None) -> Model:
    """The model of a run's newest checkpoint, in evaluation mode; neither its data nor other runs need be there.

    Raises:
        FileNotFoundError, ValueError: as `load_run`, but for data.
    """
    compat.apply()
    return _model(run, read_run_record(run), model_state(find_checkpoint(run))[1], device)


def _model(run: Path, record: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str | None) -> Model:
    try:
        model = _ensemble(run, record, state) if record["expert"]["name"] in _ENSEMBLES else _expert(run)
    except ValueError as error:
        raise ValueError(str(error) if str(run) in str(error) else f"{error}; the run is {run}") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory(device)
    return model.to(device).eval()


def _expert(run: Path) -> Model:
    spec, state = read_expert(run)
    expert = spec.build()
    _load(expert, state, run)
    return expert


def _ensemble(run: Path, record: Mapping[str, Any], state: Mapping[str, Any]) -> Model:
    # The checkpoint holds the experts; their runs are not looked for.
    kind, nowhere = _ENSEMBLES[record["expert"]["name"]]
    config = config_from_plain(kind, {**record["expert"]["config"], **nowhere})
    model = config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=1, metadata={})
    _load(model, {key.removeprefix("_model."): state[key] for key in state if key.startswith("_model.")}, run)
    return model


def _load(model: Model, state: Mapping[str, Any], run: Path) -> None:
    """Put a checkpoint's tensors into the model its record describes.

    Raises:
        ValueError: it holds another model's.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(
            f"expected the tensors of a {type(model).__name__} in {find_checkpoint(run)}, found others "
            f"({' '.join(str(error).split())[:200]}); its run.json is of another run, or another version wrote it"
        ) from error


def images_of(dataset: FrameDataset) -> list[tuple[str, int]]:
    """Camera name and frame of every image, without reading any."""
    metadata, cameras = dataset.metadata, dataset.cameras
    return [
        (metadata["camera_names"][camera], frame + int(metadata["first_frame"]))
        for camera, frame in zip(
            cameras.metadata["camera_index"][:, 0].tolist(),
            cameras.metadata["frame_index"][:, 0].tolist(),
            strict=True,
        )
    ]


def dataset_of(record: Mapping[str, Any], split: str) -> FrameDataset:
    """One split of the scene a run was trained on, with the run's options; nothing is decoded until asked for.

    Raises:
        FileNotFoundError: the data are gone.
        ValueError: a split without cameras, or as `dataparser_of`.
    """
    config = dataparser_of(record)
    outputs = config.setup().get_dataparser_outputs(split=split)
    if not len(outputs.image_filenames):
        raise ValueError(f"expected cameras in the {split} split of {config.data}, found none; name another split")
    return FrameDataset(outputs)


def layout_of(record: Mapping[str, Any]) -> Layout:
    """How the scene a run was trained on lies on disk.

    Raises:
        ValueError: it was read by a data parser that is none of this project's.
    """
    return find_layout(record["scene"].get("layout"))


def dataparser_of(record: Mapping[str, Any]) -> DynamicDataParserConfig:
    """The data parser's config as a run record holds it.

    Raises:
        ValueError: as `layout_of`, or another version made the record.
    """
    layout, options = layout_of(record), record.get("datamanager", {}).get("dataparser")
    if options is None or record["scene"].get("data") is None:
        raise ValueError(
            "expected the data folder and the data parser's options in the run record, found none; another version "
            "made it, or it was altered"
        )
    config = config_from_plain(layout.config, options)
    config.data = Path(record["scene"]["data"])
    return config


def config_from_plain(config: type[Config], values: Mapping[str, Any]) -> Config:
    """A config dataclass with the values a run record holds of it; JSON knows neither tuples nor paths.

    Raises:
        ValueError: the record names options this version does not know, or values they cannot have.
    """
    return plain_config.config_from_plain(config, values, config.__name__)
