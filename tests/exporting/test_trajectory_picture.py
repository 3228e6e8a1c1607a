"""Trajectories: which are drawn, and where."""

import numpy as np

from moegs_ns.exporting.trajectory_picture import choose_trajectories, draw_trajectories


def test_long_ways_are_likelier_and_still_ones_never_drawn() -> None:
    lengths = np.concatenate([np.zeros(100), np.full(100, 1.0), np.full(100, 50.0)])
    chosen = choose_trajectories(lengths, 60)
    assert len(chosen) == 60 == len(set(chosen)) and chosen.min() >= 100
    assert (chosen >= 200).mean() > 0.8
    assert np.array_equal(chosen, choose_trajectories(lengths, 60))
    assert np.array_equal(choose_trajectories(lengths, 500), np.arange(100, 300))


def test_lines_run_from_blue_to_orange_where_they_are_shown() -> None:
    picture = np.full((40, 60, 3), 100, np.uint8)
    paths = np.stack([np.linspace(5, 55, 11), np.full(11, 20.0)], axis=-1)[:, None]
    shown = np.ones((11, 1), bool)
    shown[5] = False  # two stretches, 25 to 35, are missing
    drawn = draw_trajectories(picture, paths, shown).astype(int)
    assert drawn.shape == picture.shape
    assert drawn[20, 10, 2] > drawn[20, 10, 0] + 50 and drawn[20, 50, 0] > drawn[20, 50, 2] + 50
    assert np.abs(drawn[20, 28:33] - 60).max() <= 3  # dimmed picture only
    assert np.abs(drawn[5] - 60).max() <= 3
