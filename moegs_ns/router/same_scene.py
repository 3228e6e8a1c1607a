"""Whether experts belong to the scene a router is trained on, as far as their run records tell."""

from collections.abc import Mapping, Sequence
from typing import Any

from moegs_ns.router.experts import ExpertSpec

# Facts that fix an expert's clock and world. Both come from the data, not from the choice of cameras or resolution.
_CLOCK = ("num_frames", "first_frame")
_BOUNDS = ("near", "far")
_WORLD = ("scene", *_BOUNDS)
# Depends on the choice of cameras: experts of other cameras are still of this scene.
_FILES = ("files_digest",)
# Depends on options: what transparent images were composited on.
_LOOK = ("background",)


def facts_of_training_data(pipeline: Any) -> dict[str, Any]:
    """`scene_facts` of a pipeline's training data."""
    dataset = getattr(getattr(pipeline, "datamanager", None), "train_dataset", None)
    return scene_facts(getattr(dataset, "metadata", None) or {}, getattr(dataset, "cameras", None))


def scene_facts(metadata: Mapping[str, Any], cameras: Any) -> dict[str, Any]:
    """What training data say of themselves, under the names of ``ExpertSpec.origin``.

    Args:
        metadata: of the data parser's training split.
        cameras: its nerfstudio cameras, one per image; None or empty when unknown.
    """
    facts = {key: metadata[key] for key in (*_CLOCK, *_WORLD, *_FILES, *_LOOK) if key in metadata}
    if "camera_names" in metadata:
        facts["train_cameras"] = [str(name) for name in metadata["camera_names"]]
    if "image_names" in metadata:
        facts["train_images"] = [str(name) for name in metadata["image_names"]]
    if cameras is not None and len(cameras):
        facts["resolution"] = [int(cameras.width.flatten()[0]), int(cameras.height.flatten()[0])]
    return facts


def check_same_scene(experts: Sequence[ExpertSpec], data: Mapping[str, Any]) -> list[str]:
    """Compare what experts were trained on with the router's data.

    Args:
        experts: with what is known of their training data in ``origin``.
        data: the same facts of the router's data. Facts that one side lacks are not compared.

    Returns:
        Warnings: things that are allowed but rarely meant.

    Raises:
        ValueError: other frames (the experts' clock would run wrong), or another scene.
    """
    warnings = []
    for expert in experts:
        origin = expert.origin
        who = f"expert '{expert.name}' ({origin.get('run', 'unknown run')})"
        differing = {key: (origin[key], data[key]) for key in (*_CLOCK, *_WORLD) if key in origin and key in data}
        differing = {key: pair for key, pair in differing.items() if pair[0] != pair[1]}
        if "scene" in differing and _is_another_scene(differing, origin, data):
            # Before the frames: frame options make no expert one of this scene.
            theirs, ours = differing["scene"]
            raise ValueError(
                f"expected experts of the scene '{ours}', found {who} trained on '{theirs}'; name other runs"
            )
        clock = [f"{key} {differing[key][0]} instead of {differing[key][1]}" for key in _CLOCK if key in differing]
        if clock:
            raise ValueError(
                f"expected experts trained on the frames of this data, found {who} with {', '.join(clock)}; train the "
                "router with the frame options of its experts, or the experts anew"
            )
        if "scene" in differing:
            theirs, ours = differing["scene"]
            warnings.append(f"{who} was trained on '{theirs}', this data is called '{ours}'")
        warnings += [f"{who} {text}" for text in _oddities(origin, data)]
    return warnings


def _is_another_scene(differing: Mapping[str, Any], origin: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether data of another name are no renamed copy: a copy has the same bounds, whatever frames are used of it."""
    bounds = [key for key in _BOUNDS if key in origin and key in data]
    return any(key in differing for key in bounds or _CLOCK)


def _oddities(origin: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    found = []
    done, total = origin.get("steps_done"), origin.get("steps_total")
    if done is not None and total is not None and done < total:
        found.append(f"was trained for {done} of {total} steps only")
    theirs, ours = origin.get("resolution"), data.get("resolution")
    if theirs and ours and list(theirs) != list(ours):
        found.append(
            f"was trained at {theirs[0]}x{theirs[1]}, the router's images have {ours[0]}x{ours[1]}: "
            "what it shows depends on the resolution"
        )
    leaked = sorted(set(origin.get("train_cameras", [])) - set(data.get("train_cameras", [])))
    if leaked and data.get("train_cameras"):
        found.append(
            f"was trained on {', '.join(leaked)}, which this router does not train on: scores on "
            f"{'it' if len(leaked) == 1 else 'them'} are not those of a held-out camera"
        )
    images = sorted(set(origin.get("train_images", [])) - set(data.get("train_images", [])))
    if images and data.get("train_images"):
        found.append(
            f"was trained on {len(images)} images that this router does not train on, such as {images[0]}: scores on "
            "them are not those of held-out images"
        )
    return found
