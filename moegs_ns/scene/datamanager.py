"""The data manager of all methods: whole images with their time, one or several cameras a step.

Import this module only from method configurations and below, never from a data parser: it imports nerfstudio's list
of data parsers, which is being built while data parsers are loaded.
"""

import copy
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from tyro.conf import Suppress

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.error_sampler import ErrorSampler
from moegs_ns.scene.motion_seeds import carve_motion_seeds, check_carvable, fixed_cameras
from moegs_ns.scene.one_camera import one_camera
from moegs_ns.scene.sampler import GroupSampler

Item = tuple[Cameras, dict[str, Any]]
"""A camera of batch size 1 and ``{"image": uint8 [H,W,3], "image_idx": int}``, both on the device."""
# Far less than a frame of any clip, far more than float32 loses.
_TIME_TOLERANCE = 1e-5


@dataclass
class DynamicDataManagerConfig(FullImageDatamanagerConfig):
    """Whole images of a dynamic scene. ns-render asks for a subclass of FullImageDatamanagerConfig."""

    _target: type = field(default_factory=lambda: DynamicDataManager)
    data: Path | None = None
    """Folder of the scene, as a rule given as ns-train's --data."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=N3VDataParserConfig)
    """How the scene is laid out on disk. Choose it last on the command line: --data DIR n3v-data."""
    cameras_per_step: int = 1
    """Images a training step sees; their losses are averaged."""
    same_instant: bool = True
    """Whether all images of a step show the same instant from different cameras."""
    sampling_seed: int = 42
    """Seed of the order of training images, independent of every other random number."""
    error_sampling: bool = False
    """Draw the instant of every second step by how badly it was last rendered; a step's images show one instant."""
    error_sampling_start: int = 10000
    """With --error-sampling: instants are drawn plainly before this step."""
    hold_interval: int = 0
    """With --error-sampling, once in so many steps an instant is kept for several steps; 0 = never."""
    hold_steps: int = 5
    """With --error-sampling: how many steps show the instant that is kept, each from other cameras."""
    ram_budget: Annotated[float, tyro.conf.arg(prefix_name=False)] = 0.25
    """GB (10^9 bytes) of memory that a run's decoded frames may take, however long the clip and however many its
    cameras: half for training, half for evaluation images. Beyond it their pages go back to the system, which keeps
    them as long as memory is free; runs on one scene share them."""
    motion_seeds: int = 0
    """Add up to this many seed points on what moves, carved from the training videos (several fixed cameras needed);
    0 = none. Only where the seed cloud carries no times of its own."""
    motion_seed_times: int = 30
    """At how many times of the clip seeds on moving things are carved."""
    motion_seeds_per: Literal["instant", "place"] = "instant"
    """How they are shared out: equally among the places where something moves at an instant; or equally among places
    over the whole clip, so that what only passes gets its seeds while it does, what always moves few at a time."""
    motion_seed_surfaces: float = 1.0
    """Seeds come from this share of the places where something moves, those where the cameras agree best on a colour
    and so see a surface. Below 1 only for cameras of like exposure."""

    # Options of the parent that have no meaning here: images stay uint8 in the frame cache, whatever their number.
    camera_res_scale_factor: Suppress[float] = 1.0
    eval_num_images_to_sample_from: Suppress[int] = -1
    eval_num_times_to_repeat_images: Suppress[int] = -1
    eval_image_indices: Suppress[tuple[int, ...] | None] = None
    cache_images: Suppress[Literal["cpu", "gpu"]] = "cpu"
    cache_images_type: Suppress[Literal["uint8", "float32"]] = "uint8"
    max_thread_workers: Suppress[int | None] = None
    train_cameras_sampling_strategy: Suppress[Literal["random", "fps"]] = "random"
    train_cameras_sampling_seed: Suppress[int] = 42
    fps_reset_every: Suppress[int] = 100
    masks_on_gpu: Suppress[bool] = False
    images_on_gpu: Suppress[bool] = False

    def __setattr__(self, name: str, value: Any) -> None:
        # nerfstudio assigns --data after construction and saves config.yml before it builds anything: made absolute
        # here, the run can be evaluated from any folder.
        if name == "data" and value is not None:
            value = Path(value).expanduser().absolute()
        super().__setattr__(name, value)

    @property
    def resident_bytes(self) -> int:
        """Of decoded frames, per split.

        Raises:
            ValueError: a budget that holds nothing.
        """
        if not (self.ram_budget > 0 and math.isfinite(self.ram_budget)):
            raise ValueError(f"expected a --ram-budget in GB above 0, found {self.ram_budget}")
        return int(self.ram_budget / 2 * 1e9)

    def check_scene(self, outputs: DataparserOutputs) -> None:
        """Refuse options that these training images cannot serve, before anything is built or decoded.

        Raises:
            ValueError: too few images of an instant for a step, seeds from motion without fixed cameras, or no memory
                for frames.
        """
        _ = self.resident_bytes
        if outputs.cameras.times is not None:
            self.make_sampler(outputs.cameras.times)
        if self.motion_seeds and "points3D_time" not in outputs.metadata and "frame_sources" in outputs.metadata:
            check_carvable(outputs.metadata, outputs.cameras)

    def make_sampler(self, times: Tensor) -> GroupSampler | ErrorSampler:
        """Who draws the images of a step.

        Args:
            times: ``[N,1]`` of the training images.

        Raises:
            ValueError: too few images for ``cameras_per_step`` (see `GroupSampler`, `ErrorSampler`), or options that
                exclude each other.
        """
        # Instants as ranks of the times: float times of one frame are equal, whatever the data parser.
        instants = torch.unique(times[:, 0], return_inverse=True)[1].tolist()
        if not self.error_sampling:
            return GroupSampler(instants, self.cameras_per_step, self.same_instant, self.sampling_seed)
        if self.cameras_per_step > 1 and not self.same_instant:
            raise ValueError(
                "expected images of one instant per step for --pipeline.datamanager.error-sampling True, found "
                "same-instant False; change one of them"
            )
        return ErrorSampler(
            instants,
            self.cameras_per_step,
            self.sampling_seed,
            self.error_sampling_start,
            self.hold_interval,
            self.hold_steps,
        )

    def read_scene(self) -> DataparserOutputs:
        """What the data parser says of the training images, before anything is built; no video is decoded.

        Raises:
            FileNotFoundError, ValueError: there are no data, or data that do not fit the options.
        """
        dataparser = copy.copy(self.dataparser)
        if self.data is not None:
            dataparser.data = self.data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when the data manager is built
            return dataparser.setup().get_dataparser_outputs(split="train")


class EvalImages:
    """Sized iterable over the evaluation images, each read when its turn comes."""

    def __init__(self, datamanager: "DynamicDataManager") -> None:
        self._datamanager = datamanager

    def __len__(self) -> int:
        return len(self._datamanager.eval_dataset)

    def __iter__(self) -> Iterator[Item]:
        for index in range(len(self)):
            yield self._datamanager.eval_item(index)

    def get_camera(self, image_idx: int = 0) -> Item:
        """One of them; ns-render spiral begins at the first."""
        return self._datamanager.eval_item(image_idx)


class DynamicDataManager(FullImageDatamanager):
    """Serves images of any data parser that gives times.

    Videos are decoded once into the frame cache: in ns-train before the first step, elsewhere camera by camera when
    needed. A data parser without ``frame_sources`` in its metadata (nerfstudio's own) must name undistorted image
    files; these are read anew each time.

    nerfstudio's viewer reads every property of this object at start, so none of them decodes anything.
    """

    config: DynamicDataManagerConfig
    train_dataset: InputDataset
    eval_dataset: InputDataset

    def __init__(self, config: DynamicDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        if config.camera_res_scale_factor != 1.0:
            raise ValueError(
                f"expected camera_res_scale_factor = 1, found {config.camera_res_scale_factor}; use the data parser's "
                "--downscale"
            )
        if config.data is None:
            config.data = config.dataparser.data  # absolute from here on; the parent hands it back to the data parser
        super().__init__(config, *args, **kwargs)
        self._next_eval_index = 0

    # -- datasets ------------------------------------------------------------------------------------------------

    def create_train_dataset(self) -> InputDataset:
        return _dataset(self.train_dataparser_outputs, self.config.resident_bytes)

    def create_eval_dataset(self) -> InputDataset:
        """The val split in ns-train, where it may be empty (then nothing is evaluated); the test split elsewhere."""
        return _dataset(self.dataparser.get_dataparser_outputs(split=self.test_split), self.config.resident_bytes)

    @cached_property
    def dataset_type(self) -> type[InputDataset]:
        return FrameDataset if isinstance(self.train_dataset, FrameDataset) else InputDataset

    def setup_train(self) -> None:
        """Decode the training cameras, in ns-train only: nerfstudio says ``val`` there and ``test`` elsewhere."""
        if self.test_mode == "val" and isinstance(self.train_dataset, FrameDataset):
            self.train_dataset.frames.prepare()
        if self.test_mode == "val" and self.config.motion_seeds:
            self._add_motion_seeds(self.train_dataset)

    def _add_motion_seeds(self, dataset: InputDataset) -> None:
        """Append carved points to the seed cloud the model will be built from; its own have time and duration NaN."""
        if not isinstance(dataset, FrameDataset):
            raise ValueError(
                "seeds from motion need a data parser that names its cameras' frames (such as n3v-data); set "
                "--pipeline.datamanager.motion-seeds 0"
            )
        if "points3D_time" in dataset.metadata:
            CONSOLE.print("The seed cloud has times of its own; no seeds are carved from motion")
            return
        seeds = carve_motion_seeds(
            fixed_cameras(dataset),
            dataset.scene_box.aabb,
            self.config.motion_seeds,
            self.config.motion_seed_times,
            per=self.config.motion_seeds_per,
            surfaces=self.config.motion_seed_surfaces,
        )
        CONSOLE.print(f"Carved {len(seeds)} seed points on moving things from the training videos")
        for metadata in (self.train_dataparser_outputs.metadata, dataset.metadata):
            xyz = metadata.get("points3D_xyz", torch.zeros(0, 3))
            rgb = metadata.get("points3D_rgb", torch.zeros(0, 3, dtype=torch.uint8))
            unknown = torch.full((len(xyz), 1), torch.nan)
            metadata["points3D_xyz"] = torch.cat([xyz, seeds.points])
            metadata["points3D_rgb"] = torch.cat([rgb, (255 * seeds.colors).round().to(torch.uint8)])
            metadata["points3D_time"] = torch.cat([unknown, seeds.times[:, None]])
            metadata["points3D_duration"] = torch.cat([unknown, seeds.durations[:, None]])

    def setup_eval(self) -> None:
        if self.test_mode == "val" and isinstance(self.eval_dataset, FrameDataset):
            self.eval_dataset.frames.prepare()

    # -- training ------------------------------------------------------------------------------------------------

    def sample_train_cameras(self) -> list[int]:
        """Called once by the parent's constructor, which wants a list that is not empty; sampling is `GroupSampler`'s.

        Raises:
            ValueError: as `DynamicDataManagerConfig.make_sampler`.
        """
        times = self.train_dataset.cameras.times
        self._instants = torch.unique(times[:, 0])
        self._sampler = self.config.make_sampler(times)
        return list(range(len(self.train_dataset)))

    def next_train_group(self, step: int) -> list[Item]:
        """The images of the next training step: ``cameras_per_step`` of them, of one instant if ``same_instant``."""
        del step
        self.train_count += 1
        return [self.train_item(index) for index in self._sampler.next_group()]

    def next_train(self, step: int) -> Item:
        """The first image of the next group; for callers that know one image per step."""
        return self.next_train_group(step)[0]

    def limit_time(self, latest: float) -> None:
        """Train on images of times up to ``latest`` in [0,1] only; a new epoch begins where that changes which. Of the
        earliest instant there is, if all are later.

        Raises:
            ValueError: too few of them for ``cameras_per_step``.
        """
        self._sampler.limit(max(1, int((self._instants <= latest + _TIME_TOLERANCE).sum())))

    def report_rendering(self, batch: dict[str, Any], rgb: Tensor) -> None:
        """How a training image was rendered, ``rgb [H,W,3]``; reading the error of it waits for the device, so it is
        done for a sampler that asks only."""
        if isinstance(self._sampler, ErrorSampler):
            image = batch["image"][..., :3].to(rgb.device)
            truth = image / 255 if image.dtype == torch.uint8 else image
            self._sampler.observe(batch["image_idx"], float((rgb.detach() - truth).abs().mean()))

    def sampler_state(self) -> dict[str, Any]:
        """Where sampling stands, for a checkpoint: tensors and plain numbers, loadable with weights_only."""
        return {"train": self._sampler.state(), "next_eval_index": self._next_eval_index}

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        """Continue exactly where `sampler_state` was taken.

        Raises:
            ValueError: the state is of other images or another ``cameras_per_step``/``same_instant``.
        """
        self._sampler.load_state(state["train"])
        self._next_eval_index = int(state["next_eval_index"])

    def get_train_rays_per_batch(self) -> int:
        """Pixels per step, for nerfstudio's statistics."""
        cameras = self.train_dataset.cameras
        return int(cameras.width[0, 0]) * int(cameras.height[0, 0]) * self.config.cameras_per_step

    # -- evaluation ----------------------------------------------------------------------------------------------

    def next_eval_image(self, step: int) -> Item:
        """Evaluation images in turn.

        Raises:
            ValueError: the split is empty.
        """
        del step
        if not len(self.eval_dataset):
            raise ValueError(
                f"expected images in the {self.test_split} split, found none; name cameras with the data parser's "
                f"--{self.test_split}-cams"
            )
        index = self._next_eval_index % len(self.eval_dataset)
        self._next_eval_index = index + 1
        self.eval_count += 1
        return self.eval_item(index)

    def next_eval(self, step: int) -> Item:
        return self.next_eval_image(step)

    @property
    def fixed_indices_eval_dataloader(self) -> EvalImages:
        """All evaluation images in order, lazily."""
        return EvalImages(self)

    @property
    def eval_dataloader(self) -> EvalImages:
        """The same under the name ns-render spiral knows."""
        return EvalImages(self)

    def get_datapath(self) -> Path:
        """Folder in whose ``camera_paths`` ns-viewer keeps what "Generate Command" writes: that of the scene, or
        ``renders/<scene>`` here where the scene's may not be written to."""
        data = super().get_datapath()
        return data if os.access(data, os.W_OK) else Path("renders") / data.name

    # -- single images -------------------------------------------------------------------------------------------

    def train_item(self, index: int) -> Item:
        """Training image ``index``."""
        return self._item(self.train_dataset, index)

    def eval_item(self, index: int) -> Item:
        """Evaluation image ``index``."""
        return self._item(self.eval_dataset, index)

    def _item(self, dataset: InputDataset, index: int) -> Item:
        image = dataset.get_data(index, image_type="uint8")["image"]
        camera = one_camera(dataset.cameras, index)
        if camera.device != torch.device(self.device):  # copying all its parts takes as long as picking them
            camera = camera.to(self.device)
        return camera, {"image": image.to(self.device), "image_idx": index}


def _dataset(outputs: DataparserOutputs, resident_bytes: int) -> InputDataset:
    cameras = outputs.cameras
    if cameras.times is None:
        raise ValueError(
            "expected a data parser that gives each image a time, found none in its cameras; dynamic methods need "
            "n3v-data, dynamic-transforms-data or another with times"
        )
    if "frame_sources" in outputs.metadata:
        return FrameDataset(outputs, resident_bytes=resident_bytes)
    if cameras.distortion_params is not None and bool((cameras.distortion_params != 0).any()):
        raise ValueError(
            "expected undistorted images, found lens distortion parameters; undistort the images and set the "
            "parameters to zero"
        )
    return InputDataset(outputs)
