# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth becomes metres once, and what was not measured becomes 0."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import colormaps
from matplotlib.image import imsave

from diffpixel_core.depth import (
    NOMINAL_RANGE_M,
    READABLE_UNITS,
    DepthError,
    depth_in_metres,
    depth_in_millimetres,
    fill_nearest,
    picture_steps,
)


def test_units_agree_on_one_distance() -> None:
    rotated = np.uint16((1234 << 3) & 0xFFFF)
    for unit, raw in (('mm', np.uint16(1234)), ('m5000', np.uint16(6170)), ('sun', rotated),
                      ('m', np.float32(1.234)), ('m', np.float64(1.234))):
        metres = depth_in_metres(np.full((2, 3), raw), unit)
        assert metres.dtype == np.float32
        np.testing.assert_allclose(metres, 1.234, atol=1e-6)


def test_sun_rotation_carries_the_high_bits_round() -> None:
    millimetres = 40_000
    raw = np.array([[((millimetres << 3) | (millimetres >> 13)) & 0xFFFF]], np.uint16)
    np.testing.assert_allclose(depth_in_metres(raw, 'sun'), 40.0, atol=1e-4)


@pytest.mark.parametrize('unit', ['mm', 'm5000', 'sun'])
def test_zero_and_65535_are_not_measured(unit: str) -> None:
    raw = np.array([[0, 65535, 800]], np.uint16)
    assert list(depth_in_metres(raw, unit)[0] > 0) == [False, False, True]


def test_float_rubbish_is_not_measured_and_the_input_is_left_alone() -> None:
    raw = np.array([[np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0]], np.float32)
    before = raw.copy()
    np.testing.assert_array_equal(depth_in_metres(raw, 'm'), [[0, 0, 0, 0, 0, 2]])
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize(('raw', 'unit', 'word'), [
    (np.zeros((2, 2), np.uint16), 'cm', 'unknown'),
    (np.zeros((2, 2), np.uint16), 'm', 'float'),
    (np.zeros((2, 2), np.float32), 'mm', "unit 'm'"),
    (np.zeros((2, 2), np.uint8), 'mm', '8-bit'),
    (np.zeros((2, 2, 3), np.uint16), 'mm', 'shape'),
])
def test_images_a_unit_cannot_explain_are_refused(raw: np.ndarray, unit: str, word: str) -> None:
    with pytest.raises(DepthError, match=word):
        depth_in_metres(raw, unit)


def drawn(path: Path, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return depth as a picture of the kind that DFormer's data sets hold."""
    imsave(path, metres, cmap='Greys_r')
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_picture_of_depth_gives_an_affine_image_of_it(tmp_path: Path) -> None:
    metres = np.linspace(0.7, 5.3, 4096).reshape(64, 64)
    steps = picture_steps(drawn(tmp_path / 'd.png', metres))
    assert steps.min() == 1  # the nearest surface is black, and measured
    nominal = depth_in_metres(steps, 'relative')
    expected = (metres - 0.7) / (5.3 - 0.7) * NOMINAL_RANGE_M
    # Half an entry of the map, or half of three where so many have one grey.
    assert np.abs(nominal - expected).max() <= 1.51 * NOMINAL_RANGE_M / 256
    assert (np.diff(nominal.ravel()) >= 0).all()


def test_every_grey_of_the_map_stands_for_its_own_entries() -> None:
    greys = colormaps['Greys_r'](np.arange(256), bytes=True)[:, 0]
    steps = picture_steps(greys[None])[0]
    for grey in np.unique(greys):
        entries = np.flatnonzero(greys == grey)
        assert set(steps[greys == grey]) == {entries[0] + entries[-1] + 1}


def test_holes_of_a_picture_are_black_well_below_the_nearest_surface(tmp_path: Path) -> None:
    metres = np.linspace(0.7, 5.3, 4096).reshape(64, 64)
    metres[5:9, 5:9] = 0
    picture = drawn(tmp_path / 'd.png', metres)
    np.testing.assert_array_equal(picture_steps(picture) == 0, metres == 0)
    nominal = depth_in_metres(picture_steps(picture), 'relative')
    assert np.abs(nominal - metres / 5.3 * NOMINAL_RANGE_M).max() < 1.51 * NOMINAL_RANGE_M / 256


def test_other_greys_are_linear() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    steps = picture_steps(grey)
    np.testing.assert_array_equal(steps, 2 * grey.astype(int) + 1)
    np.testing.assert_array_equal(steps, picture_steps(np.dstack([grey] * 3)))


@pytest.mark.parametrize(('picture', 'word'), [
    (np.zeros((4, 4), np.uint16), '16-bit depth has a unit'),
    (np.zeros((4, 4, 2), np.uint8), 'shape'),
    (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), 'coloured'),
])
def test_what_is_no_grey_picture_is_refused(picture: np.ndarray, word: str) -> None:
    with pytest.raises(DepthError, match=word):
        picture_steps(picture)
    with pytest.raises(DepthError):
        depth_in_metres(np.zeros((2, 2), np.uint8), 'relative')
    assert 'relative' in READABLE_UNITS


def test_millimetres_round_and_come_back() -> None:
    depth = np.array([[0.0, 0.0014, 1.2346, 99.0, np.nan, -1]], np.float32)
    millimetres = depth_in_millimetres(depth)
    assert list(millimetres[0]) == [0, 1, 1235, 65534, 0, 0]
    np.testing.assert_allclose(depth_in_metres(millimetres, 'mm')[0, 1:3], [0.001, 1.235])


def test_holes_take_the_value_of_a_nearest_measured_pixel() -> None:
    rng = np.random.default_rng(0)
    depth = np.where(rng.random((24, 31)) < 0.03, rng.uniform(1, 9, (24, 31)), 0).astype(np.float32)
    depth[0, :4] = np.nan, np.inf, -1, 0
    before = depth.copy()
    filled = fill_nearest(depth)
    np.testing.assert_array_equal(depth, before)
    assert filled.dtype == np.float32
    places = np.argwhere((before > 0) & (before < np.inf))
    values = before[tuple(places.T)]
    assert len(set(values)) == len(values)  # so that a value names its pixel
    for row, column in np.ndindex(*depth.shape):
        distances = np.hypot(*(places - (row, column)).T)
        taken = distances[values == filled[row, column]]
        assert taken <= distances.min() * 1.05  # chamfer distances are that good


def test_nothing_measured_stays_nothing_and_everything_measured_stays() -> None:
    assert not fill_nearest(np.zeros((3, 4), np.float32)).any()
    full = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    filled = fill_nearest(full)
    np.testing.assert_array_equal(filled, full)
    assert filled is not full
