"""All checks of a scene, in the order in which one needs what another found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moegs_ns.checking import epipolar, frozen, order, poses, synchrony
from moegs_ns.checking.bounds import check_bounds
from moegs_ns.checking.colours import check_colours
from moegs_ns.checking.cost import check_cost
from moegs_ns.checking.files import check_files
from moegs_ns.checking.geometry import centres_of, check_geometry, rig_size
from moegs_ns.checking.matching import Pair, match_views
from moegs_ns.checking.reading import read_scene
from moegs_ns.checking.result import CheckResult, Verdict, skipped, worst
from moegs_ns.checking.seeds import check_coverage, check_places
from moegs_ns.checking.sharpness import check_sharpness
from moegs_ns.checking.tracks import link
from moegs_ns.checking.views import Looks, View, look
from moegs_ns.scene.dataparsers.base import DynamicDataParserConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.parsed_scene import ParsedScene

OnStep = Callable[[str, float], None]
"""What is being done, and which share of it is done."""

_MOVING = "Cameras move, or are one: there are no cameras side by side to compare."


@dataclass(frozen=True)
class Report:
    """What all checks found.

    Attributes:
        results: in the order they were made.
        scene: None where the parser refuses it.
        views: of the scene, with the poses it states; empty where nothing could be looked at.
    """

    results: Sequence[CheckResult]
    scene: ParsedScene | None
    views: Sequence[View]

    @property
    def verdict(self) -> Verdict:
        return worst(self.results)

    @property
    def blamed(self) -> list[str]:
        """Names that results concern that are not fine."""
        return sorted({name for one in self.results if one.verdict > Verdict.FINE for name in one.cameras})


def check_scene(config: DynamicDataParserConfig, on_step: OnStep = lambda what, share: None) -> Report:
    """Everything there is to say about a scene before training.

    Faults do not raise: they are results. Cameras whose files cannot be read are left out, and the others checked.
    """
    results: list[CheckResult] = []
    on_step("files", 0.0)
    usable = config
    if isinstance(config, N3VDataParserConfig):
        results += check_files(config)
        bad = sorted({name for result in results for name in result.cameras})
        usable = replace(config, exclude_cams=(*config.exclude_cams, *bad)) if bad else config
    scene, said = read_scene(usable)
    if scene is None:
        # Where files are at fault the parser only repeats it, or has too few cameras left.
        refused = said if usable is config else read_scene(config)[1]
        return Report([*results, *refused], None, [])
    results += said

    cameras = len(set(scene.camera.tolist()))
    seen = 0

    def on_camera() -> None:
        nonlocal seen
        seen += 1
        on_step("decoding", min(1.0, seen / cameras))

    looks, failures = look(scene, on_camera)
    results += failures
    if len(looks.views) < 2:
        results.append(skipped(epipolar.NAME, "Fewer than two views are left to compare."))
        return Report(results, scene, looks.views)
    results.append(check_geometry(looks.views, scene.near_far, looks.stands_still))
    results += _compare(looks, config.random_points, on_step)
    on_step("cost", 0.0)
    results.append(check_cost(scene, config.downscale))
    return Report(results, scene, looks.views)


def _compare(looks: Looks, random_points: int, on_step: OnStep) -> list[CheckResult]:
    scene, views = looks.scene, looks.views
    coverage = check_coverage(views, scene.cloud, random_points)
    pairs = _with_baseline(views, match_views(views, lambda share: on_step("matching", share)))
    if not pairs:
        return [_nothing_matches(looks), *_over_time(looks, on_step), coverage]
    results = []
    on_step("poses", 0.0)
    if looks.stands_still:
        # What goes on is judged by the poses that fit: one fault should not look like many.
        assignment = order.assign(views, pairs)
        results.append(order.check_order(views, assignment))
        if assignment.moved:
            views = order.with_order(views, assignment)
    else:
        results.append(order.skip_order(_MOVING))
    on_step("poses", 0.3)
    errors = epipolar.pair_errors(views, pairs)
    results.append(_nothing_matches(looks) if not errors.pairs else epipolar.check_epipolar(views, errors))
    on_step("poses", 0.6)
    results.append(poses.check_poses(views, link(views, pairs), looks.stands_still))
    blamed = {name for result in results for name in result.cameras if result.name in (epipolar.NAME, poses.NAME)}
    sound = [index for index, view in enumerate(views) if view.name not in blamed]
    trusted, trusted_pairs = _only(views, pairs, sound)
    results += _over_time(replace(looks, views=trusted), on_step)
    on_step("colours and sharpness", 0.0)
    results += [check_colours(views, pairs), check_sharpness(views, pairs)]
    on_step("seed points", 0.0)
    tracks = link(trusted, trusted_pairs)
    results += [coverage, check_places(trusted, tracks, scene.cloud)]
    results.append(check_bounds(trusted, tracks, scene.cloud, scene.near_far))
    return results


def _over_time(looks: Looks, on_step: OnStep) -> list[CheckResult]:
    """Checks of whole clips of cameras that stand still."""
    if not looks.stands_still:
        return [skipped(synchrony.NAME, _MOVING), skipped(frozen.NAME, _MOVING)]
    results = [frozen.check_frozen(looks.footage)]
    if len(looks.views) < 2:
        return [*results, skipped(synchrony.NAME, "Fewer than two cameras have poses to be trusted.")]
    done = 0.0

    def on_pair(share: float) -> None:
        nonlocal done
        done += share
        on_step("synchrony", min(done, 1.0))

    if looks.scene.num_frames < synchrony.LEAST_FRAMES:
        return [
            *results,
            skipped(synchrony.NAME, f"Fewer than {synchrony.LEAST_FRAMES} frames are too few to compare."),
        ]
    offsets = synchrony.estimate_offsets(looks.views, looks.footage, on_pair)
    return [*results, synchrony.check_synchrony(offsets)]


def _nothing_matches(looks: Looks) -> CheckResult:
    said = "No two views show enough of the same things to hold their poses against"
    if looks.stands_still:
        return CheckResult(
            epipolar.NAME,
            Verdict.DOUBTFUL,
            f"{said}: cameras may be too far apart, pictures too soft or dark, or these no pictures of one scene; look "
            "at them, and add cameras between.",
        )
    return skipped(epipolar.NAME, f"{said}; with a moving camera that may be as it should.")


def _with_baseline(views: Sequence[View], pairs: Sequence[Pair]) -> list[Pair]:
    """Without pairs taken from one place, which no two views can be triangulated from."""
    centres = centres_of(views)
    size = rig_size(centres)
    return [pair for pair in pairs if np.linalg.norm(centres[pair.one] - centres[pair.other]) > 1e-4 * size > 0]


def _only(views: Sequence[View], pairs: Sequence[Pair], kept: Sequence[int]) -> tuple[list[View], list[Pair]]:
    position = {view: index for index, view in enumerate(kept)}
    return [views[index] for index in kept], [
        replace(pair, one=position[pair.one], other=position[pair.other])
        for pair in pairs
        if pair.one in position and pair.other in position
    ]
