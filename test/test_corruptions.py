# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Every fault does what it says, by as much as it says, and the same every time."""

import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.evaluation.stress import colour_faults, depth_faults
from diffpixel_core.evaluation.stress.corruptions import CORRUPTIONS, Corruption
from diffpixel_core.geometry import NYU_CAMERA

ROWS = [pytest.param(row, id=row.name) for row in CORRUPTIONS]
SPOILED = [pytest.param(row, severity, id=f'{row.name}-{severity:g}') for row in CORRUPTIONS
           for severity in row.severities if severity != row.clean]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return colour and depth, 24 x 32, a quarter of the depth not measured."""
    random = rng(7)
    rgb = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    depth_m = random.uniform(0.6, 6, (24, 32)).astype(np.float32)
    depth_m[:, :8] = 0
    return rgb, depth_m


@pytest.mark.parametrize('row', ROWS)
def test_the_clean_severity_changes_nothing(row: Corruption) -> None:
    rgb, depth_m = images()
    same_rgb, same_depth_m = row.apply(rgb, depth_m, row.clean, rng())
    np.testing.assert_array_equal(same_rgb, rgb)
    np.testing.assert_array_equal(same_depth_m, depth_m)


@pytest.mark.parametrize(('row', 'severity'), SPOILED)
def test_a_fault_spoils_its_own_image_only_and_leaves_what_it_was_given(
        row: Corruption, severity: float) -> None:
    rgb, depth_m = images()
    before = rgb.copy(), depth_m.copy()
    spoiled_rgb, spoiled_depth_m = row.apply(rgb, depth_m, severity, rng())
    np.testing.assert_array_equal(rgb, before[0])
    np.testing.assert_array_equal(depth_m, before[1])
    assert (spoiled_rgb.dtype, spoiled_rgb.shape) == (np.uint8, rgb.shape)
    assert (spoiled_depth_m.dtype, spoiled_depth_m.shape) == (np.float32, depth_m.shape)
    assert np.isfinite(spoiled_depth_m).all()
    assert spoiled_depth_m.min() >= 0
    assert np.array_equal(spoiled_rgb, rgb) == (row.modality == 'depth')
    assert np.array_equal(spoiled_depth_m, depth_m) == (row.modality == 'colour')


@pytest.mark.parametrize(('row', 'severity'), SPOILED)
def test_the_same_seed_gives_the_same_images(row: Corruption, severity: float) -> None:
    once, again = (row.apply(*images(), severity, rng(3)) for _ in range(2))
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])


@pytest.mark.parametrize('row', [row for row in CORRUPTIONS if row.name in {
    'depth_noise', 'depth_scale', 'depth_unit', 'depth_steps'}], ids=lambda row: row.name)
def test_what_was_measured_stays_so_and_what_was_not_too(row: Corruption) -> None:
    rgb, depth_m = images()
    for severity in row.severities:
        _, spoiled = row.apply(rgb, depth_m, severity, rng())
        np.testing.assert_array_equal(spoiled > 0, depth_m > 0)


@pytest.mark.parametrize('name', ['depth_missing', 'depth_holes', 'depth_patch'])
def test_losing_depth_changes_no_other_pixel(name: str) -> None:
    (row,) = (row for row in CORRUPTIONS if row.name == name)
    rgb, depth_m = images()
    for severity in row.severities:
        _, spoiled = row.apply(rgb, depth_m, severity, rng())
        np.testing.assert_array_equal(spoiled[spoiled > 0], depth_m[spoiled > 0])


@pytest.mark.parametrize(('fault', 'down', 'right'), [
    (depth_faults.shifted_sideways, 0, 1), (depth_faults.shifted_vertically, 1, 0)])
@pytest.mark.parametrize('pixels', [-40, -6, -1, 2, 40])
def test_a_shift_moves_every_pixel_as_a_slow_loop_does(
        fault: object, down: int, right: int, pixels: int) -> None:
    assert callable(fault)
    _, depth_m = images()
    height, width = depth_m.shape
    expected = np.zeros_like(depth_m)
    for row in range(height):
        for column in range(width):
            to_row, to_column = row + down * pixels, column + right * pixels
            if 0 <= to_row < height and 0 <= to_column < width:
                expected[to_row, to_column] = depth_m[row, column]
    np.testing.assert_array_equal(fault(depth_m, pixels, rng()), expected)


@pytest.mark.parametrize('times', [1, 8])
@pytest.mark.parametrize('distance_m', [1.0, 4.0])
def test_noise_has_the_kinects_standard_deviation_times_severity(
        times: float, distance_m: float) -> None:
    flat = np.full((200, 300), distance_m, np.float32)
    error = depth_faults.noisy(flat, times, rng()) - flat
    sigma = times * (0.0012 + 0.0019 * (distance_m - 0.4) ** 2)
    assert error.std() == pytest.approx(sigma, rel=0.02)
    assert abs(error.mean()) < 0.02 * sigma


@pytest.mark.parametrize('share', [10, 25, 50, 75, 90])
def test_holes_take_exactly_their_share_of_what_was_measured(share: float) -> None:
    _, depth_m = images()
    spoiled = depth_faults.holes(depth_m, share, rng())
    lost = np.count_nonzero(depth_m) - np.count_nonzero(spoiled)
    assert abs(lost - share / 100 * np.count_nonzero(depth_m)) <= 0.5


def test_holes_are_patches_not_single_pixels() -> None:
    depth_m = np.ones((240, 320), np.float32)
    lost = depth_faults.holes(depth_m, 25, rng()) == 0
    changes = np.count_nonzero(lost[:, 1:] != lost[:, :-1]) / lost.size
    assert changes < 0.05  # single pixels strewn at random: 2 * 0.25 * 0.75


@pytest.mark.parametrize('fault', [depth_faults.holes, depth_faults.patch])
def test_holes_grow_with_severity(fault: object) -> None:
    assert callable(fault)
    depth_m = np.ones((60, 80), np.float32)
    lost = [fault(depth_m, severity, rng()) == 0 for severity in (10, 25, 50, 75)]
    for smaller, larger in itertools.pairwise(lost):
        assert larger.sum() > smaller.sum()
        assert not (smaller & ~larger).any()


def test_a_large_hole_is_one_rectangle_of_its_size() -> None:
    depth_m = np.ones((60, 80), np.float32)
    for seed in range(20):
        rows, columns = np.nonzero(depth_faults.patch(depth_m, 25, rng(seed)) == 0)
        assert len(rows) == 15 * 20
        assert (np.ptp(rows), np.ptp(columns)) == (14, 19)


def test_steps_are_the_nearest_multiple_and_never_zero() -> None:
    _, depth_m = images()
    depth_m[0, 10] = 0.05
    spoiled = depth_faults.in_steps(depth_m, 250, rng())
    for before, after in zip(depth_m.ravel(), spoiled.ravel(), strict=True):
        expected = 0 if before == 0 else max(1, round(float(before) / 0.25)) * 0.25
        assert after == pytest.approx(expected)


def test_scale_and_unit_multiply_every_distance() -> None:
    _, depth_m = images()
    np.testing.assert_allclose(depth_faults.scaled(depth_m, -10, rng()), 0.9 * depth_m, rtol=1e-6)
    np.testing.assert_allclose(depth_faults.in_wrong_unit(depth_m, 5, rng()), 5 * depth_m,
                               rtol=1e-6)


@pytest.mark.parametrize('light', [1 / 2, 1 / 16, 1 / 64])
def test_darkness_is_that_part_of_the_light_with_the_noise_of_its_electrons(light: float) -> None:
    value = 200
    white = colour_faults.WHITE_ELECTRONS
    grey = np.full((200, 300, 3), value, np.uint8)
    spoiled = colour_faults.dark(grey, light, rng()).astype(np.float64)
    electrons = white * (value / 255) ** 2.2
    expected = electrons * light
    sigma = math.sqrt(expected * (1 - light)
                      + colour_faults.READ_ELECTRONS**2 * (1 - light**2))
    seen = white * (spoiled / 255) ** 2.2
    assert seen.mean() == pytest.approx(expected, rel=0.02)
    assert seen.std() == pytest.approx(sigma, rel=0.05)


def test_more_light_saturates_and_never_wraps() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    spoiled = colour_faults.bright(ramp, 4, rng())
    expected = [min(255, round(255 * (4 * (v / 255) ** 2.2) ** (1 / 2.2))) for v in range(256)]
    assert np.abs(spoiled[0, :, 0].astype(int) - expected).max() <= 1
    assert spoiled[0, 255, 0] == 255


def test_noise_on_white_and_black_saturates_and_never_wraps() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[20:] = 255
    spoiled = colour_faults.noisy(image, 20, rng())
    assert spoiled[:20].max() < 128 < spoiled[20:].min()


def test_colour_noise_has_its_standard_deviation() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    assert colour_faults.noisy(grey, 10, rng()).std() == pytest.approx(10, rel=0.03)


def test_motion_blur_is_the_mean_of_a_row_of_pixels() -> None:
    rgb, _ = images()
    spoiled = colour_faults.motion_blurred(rgb, 5, rng())
    height, width, _ = rgb.shape
    for row in range(height):
        for column in range(width):
            seen = [rgb[row, min(max(column + step, 0), width - 1)] for step in range(-2, 3)]
            mean = np.mean(np.array(seen, np.float64), axis=0)
            assert np.abs(spoiled[row, column] - mean).max() <= 0.5 + 1e-9


@pytest.mark.parametrize('radius', [1, 3])
def test_defocus_is_the_mean_over_a_disc(radius: int) -> None:
    rgb, _ = images()
    spoiled = colour_faults.defocused(rgb, radius, rng())
    height, width, _ = rgb.shape
    for row in range(height):
        for column in range(width):
            total, weight = np.zeros(3), 0.0
            for down in range(-radius, radius + 1):
                for right in range(-radius, radius + 1):
                    # A pixel on the rim belongs to the disc in part.
                    part = min(1.0, max(0.0, radius + 0.5 - math.hypot(down, right)))
                    total += part * rgb[min(max(row + down, 0), height - 1),
                                        min(max(column + right, 0), width - 1)]
                    weight += part
            assert np.abs(spoiled[row, column] - total / weight).max() <= 0.5 + 1e-3


def test_compression_keeps_the_colours_in_their_order() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    spoiled = colour_faults.compressed(red, 50, rng())
    assert np.abs(spoiled.astype(int) - red).max() < 12


def test_lower_quality_is_further_from_the_picture() -> None:
    rgb = cv2.resize(images()[0], (160, 120), interpolation=cv2.INTER_CUBIC)
    away = [np.abs(colour_faults.compressed(rgb, quality, rng()).astype(int) - rgb).mean()
            for quality in (50, 30, 15, 5)]
    assert away == sorted(away)


@pytest.mark.parametrize('row', ROWS)
def test_a_row_is_complete_and_says_what_each_severity_means(row: Corruption) -> None:
    assert row.clean in row.severities
    assert row.severities[-1] != row.clean
    assert row.strength(row.clean) == 0
    ticks = [row.tick(severity) for severity in row.severities]
    words = [row.meaning(severity, NYU_CAMERA) for severity in row.severities]
    assert len(set(ticks)) == len(ticks)
    assert len(set(words)) == len(words)
    assert all([*ticks, *words, row.cause, row.remedy])


def test_a_shift_is_told_as_an_angle_and_a_length() -> None:
    (row,) = (row for row in CORRUPTIONS if row.name == 'depth_shift_x')
    # 518.86 px of focal length: 3 px are atan(3 / 518.86) = 0.331 degrees, 11.6 mm at 2 m.
    words = row.meaning(3, NYU_CAMERA)
    assert '3 px right' in words
    assert '0.33°' in words
    assert '12 mm at 2 m' in words
    assert '11 ms late' in words  # 0.331 degrees at 30 degrees a second


def test_names_are_unique() -> None:
    names = [row.name for row in CORRUPTIONS]
    assert len(set(names)) == len(names)
