"""Gaussians in Spark's bytes: how much they lose, and that they are Spark's. Its own code is asked in a browser, in
test_splat_page_browser.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from moegs_ns.exporting.spark_packing import PACKED_BYTES, SH_BANDS, SparkEncoding, pack_splats, unpack_splats
from moegs_ns.splats.splats import Splats, sh_of
from tests.exporting.gaussian_sets import agreement, make_splats

CENTRE = torch.tensor([0.3, -0.2, 0.1])


def there_and_back(splats: Splats) -> Splats:
    encoding = SparkEncoding.of([splats])
    return unpack_splats(pack_splats(splats, encoding, CENTRE), encoding, CENTRE)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_rounding_loses(degree: int) -> None:
    splats = make_splats(400, degree)
    back, encoding = there_and_back(splats), SparkEncoding.of([splats])
    assert sh_of(back).shape == sh_of(splats).shape
    reach = (splats.means - CENTRE).abs().max()
    assert (back.means - splats.means).abs().max() <= reach / 2048 + 1e-6
    step = (encoding.lnScaleMax - encoding.lnScaleMin) / 254
    assert (back.scales.log() - splats.scales.log()).abs().quantile(0.99) <= 0.51 * step
    assert (back.opacities - splats.opacities).abs().max() <= 0.51 / 255
    assert (back.quats * splats.quats).sum(dim=1).abs().min() > 0.9998  # within 2.3 degrees
    assert (sh_of(back) - sh_of(splats)).abs().quantile(0.98) < 0.03
    assert agreement(splats, back) > 35.0


def test_bytes_are_a_fixed_point() -> None:
    splats = make_splats(300)
    encoding = SparkEncoding.of([splats])
    packed = pack_splats(splats, encoding, CENTRE)
    again = pack_splats(unpack_splats(packed, encoding, CENTRE), encoding, CENTRE)
    assert [*packed] == ["packed", "sh1", "sh2", "sh3"]
    assert packed["packed"].shape == (300, PACKED_BYTES)
    for name, _, _, size in SH_BANDS:
        assert packed[name].shape == (300, size)
        assert np.array_equal(again[name], packed[name])
    # An axis at the rim of the unfolded octahedron has two names; no rotation has all.
    same = (again["packed"] == packed["packed"]).all(axis=1)
    assert same.mean() > 0.97


def test_a_gaussian_worked_out_by_hand() -> None:
    splats = Splats(
        means=torch.tensor([[1.0, -2.0, 0.5]]),
        quats=torch.tensor([[0.0, 0.0, 1.0, 0.0]]),  # half a turn about y
        scales=torch.tensor([[1.0, np.e, 1e-9]]),
        opacities=torch.tensor([0.5]),
        sh=torch.zeros(1, 1, 3),
    )
    encoding = SparkEncoding(lnScaleMin=-1.0, lnScaleMax=1.0)
    (row,) = pack_splats(splats, encoding, torch.zeros(3))["packed"].tolist()
    # Grey, half opaque; half floats 0x3C00, 0xC000, 0x3800; axis (0, 1) of the octahedron; scales; pi.
    assert row == [128, 128, 128, 128, 0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38, 128, 255, 128, 255, 1, 255]


def test_ranges_cover_all_frames_but_for_outliers() -> None:
    splats = make_splats(1000, 1)
    wild = splats.sh.clone()  # type: ignore[union-attr]
    wild[0] = 100.0
    one, both = SparkEncoding.of([splats]), SparkEncoding.of([splats, replace(splats, scales=2 * splats.scales)])
    assert both.lnScaleMax == pytest.approx(one.lnScaleMax + np.log(2), abs=1e-5)
    assert both.lnScaleMin == one.lnScaleMin
    assert SparkEncoding.of([replace(splats, sh=wild)]).rgbMax < 3.0
    assert SparkEncoding.from_spark(one.as_spark()) == one
    assert one.as_spark()["sh1Min"] == -one.sh1Max
    assert SparkEncoding.of([]) == SparkEncoding()
