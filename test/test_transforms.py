# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps the three images together, colour in range and labels unmixed."""

from collections.abc import Callable

import numpy as np
import pytest

from diffpixel_core.config import AugmentConfig
from diffpixel_core.transforms import (
    Colour,
    Sample,
    add_grain,
    augment,
    jitter_as_published,
    jitter_colour,
    pad,
    punch_holes,
    roughen_depth,
    scale_and_crop,
    vary_colour,
)

OFF = AugmentConfig(flip=0, scale=(1, 1), jitter=0, grey=0, blur=0, noise=0, jpeg=0, holes=0,
                    depth_noise=0, depth_scale=0, drop_depth=0, drop_colour=0)


def scene(height: int = 48, width: int = 64) -> Sample:
    """Return a sample whose labels can be read off its colour and its depth."""
    rows, columns = np.mgrid[:height, :width] // 8
    labels = ((rows * 3 + columns) % 10).astype(np.uint8)
    return Sample('scene', np.repeat((labels * 20 + 30)[..., None], 3, axis=2),
                  labels.astype(np.float32) / 10 + 1, labels)


def only(**changes: object) -> AugmentConfig:
    return AugmentConfig(**{**vars(OFF), **changes})


def test_everything_off_changes_nothing() -> None:
    sample = scene()
    out = augment(sample, OFF, crop=(48, 64), rng=np.random.default_rng(0))
    assert (out.rgb == sample.rgb).all()
    assert (out.depth_m == sample.depth_m).all()
    assert (out.labels == sample.labels).all()


@pytest.mark.parametrize('scale', [0.6, 0.75, 1.0, 1.3, 2.0])
def test_colour_depth_and_labels_stay_together(scale: float) -> None:
    sample = scene()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rgb, depth_m, labels = pad(*scale_and_crop(sample.rgb, sample.depth_m, sample.labels,
                                                   crop=(48, 64), scale=scale, rng=rng))
        inside = labels != 255
        assert labels.shape == (48, 64)
        # Nearest pixels: values that were there, never a mixture; metres are not scaled.
        assert np.allclose(depth_m[inside], labels[inside] / 10 + 1)
        assert (depth_m[~inside] == 0).all()
        assert (rgb[~inside] == 0).all()
        wrong = np.abs(rgb[..., 0].astype(int) - (labels.astype(int) * 20 + 30))[inside]
        assert np.mean(wrong > 15) < 0.35  # colour is interpolated at the borders of the squares
        assert np.median(wrong) <= 2
        if scale >= 1:
            assert inside.all()
        else:
            assert inside.mean() == pytest.approx(scale ** 2, abs=0.08)


def test_every_crop_position_is_as_likely_as_every_other() -> None:
    labels = (np.arange(48 * 64).reshape(48, 64) % 251).astype(np.uint8)
    rgb, depth_m = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32)
    counts = np.zeros((3, 3), int)
    rng = np.random.default_rng(0)
    for _ in range(900):
        _, _, crop, borders = scale_and_crop(rgb, depth_m, labels, crop=(46, 62), scale=1, rng=rng)
        assert borders == (0, 0, 0, 0)
        found = [(i, j) for i in range(3) for j in range(3)
                 if (crop == labels[i:i + 46, j:j + 62]).all()]
        assert len(found) == 1
        counts[found[0]] += 1
    assert counts.min() > 65  # nine positions, the last row and column included
    assert counts.max() < 135


def test_a_small_frame_lies_anywhere_in_the_crop() -> None:
    sample = scene(8, 16)
    places = set()
    rng = np.random.default_rng(0)
    for _ in range(300):
        rgb, depth_m, labels = pad(*scale_and_crop(sample.rgb, sample.depth_m, sample.labels,
                                                   crop=(10, 14), scale=1, rng=rng))
        rows = np.flatnonzero((labels != 255).any(1))
        assert len(rows) == 8
        assert (labels != 255)[rows].all()  # wider than the crop: no padding left and right
        assert (rgb[labels == 255] == 0).all()
        assert (depth_m[labels == 255] == 0).all()
        places.add(int(rows[0]))
    assert places == {0, 1, 2}


def test_padding_stays_black_whatever_the_light() -> None:
    sample = scene()
    settings = only(scale=(0.5, 0.5), jitter=1, noise=1, jpeg=1, blur=1, depth_noise=1)
    for seed in range(20):
        out = augment(sample, settings, crop=(48, 64), rng=np.random.default_rng(seed))
        outside = out.labels == 255
        assert outside.mean() == pytest.approx(0.75)
        assert (out.rgb[outside] == 0).all()
        assert (out.depth_m[outside] == 0).all()
        assert out.rgb[~outside].mean() > 30


def test_scale_one_shows_the_whole_frame_whatever_its_size() -> None:
    sample = scene(96, 128)
    out = augment(sample, OFF, crop=(48, 64), rng=np.random.default_rng(0))
    assert (out.labels == sample.labels[::2, ::2]).all()
    assert (out.depth_m == sample.depth_m[::2, ::2]).all()
    assert (out.rgb == sample.rgb[::2, ::2]).all()


@pytest.mark.parametrize(('draw', 'median'), [('uniform', 1.25), ('log_uniform', 1.0)])
def test_scale_is_drawn_as_named(draw: str, median: float) -> None:
    # Every column carries its number, so that the columns shown tell the enlargement.
    columns = np.tile(np.arange(240, dtype=np.uint8), (240, 1))
    sample = Sample('x', np.zeros((240, 240, 3), np.uint8), np.ones((240, 240), np.float32),
                    columns)
    settings = only(scale=(0.5, 2), scale_draw=draw)
    scales = []
    rng = np.random.default_rng(0)
    for _ in range(600):
        labels = augment(sample, settings, crop=(60, 60), rng=rng).labels
        inside = labels[(labels != 255).any(1)][0]
        inside = inside[inside != 255]
        scales.append((len(inside) - 1) / (int(inside[-1]) - int(inside[0])) * 4)
    assert np.median(scales) == pytest.approx(median, rel=0.06)
    assert 0.45 < min(scales) < 0.55
    assert 1.9 < max(scales) < 2.1


def test_labels_are_never_mixed() -> None:
    sample = scene()
    sample.labels[sample.labels == 5] = 37
    for seed in range(100):
        out = augment(sample, AugmentConfig(depth_noise=0.5), crop=(40, 56),
                      rng=np.random.default_rng(seed))
        assert set(np.unique(out.labels)) <= set(np.unique(sample.labels)) | {255}
        assert out.labels.shape == out.depth_m.shape == out.rgb.shape[:2] == (40, 56)
        assert (out.rgb.dtype, out.depth_m.dtype, out.labels.dtype) == (
            np.uint8, np.float32, np.uint8)


def test_flip_flips_all_three() -> None:
    sample = scene()
    out = augment(sample, only(flip=1), crop=(48, 64), rng=np.random.default_rng(0))
    assert (out.rgb == sample.rgb[:, ::-1]).all()
    assert (out.depth_m == sample.depth_m[:, ::-1]).all()
    assert (out.labels == sample.labels[:, ::-1]).all()


@pytest.mark.parametrize(('jitter', 'darkest', 'brightest'), [
    (jitter_colour, 0.45, 1.75), (jitter_as_published, 0.45, 1.6)])
def test_jitter_neither_blackens_nor_whitens(
        jitter: Callable[[Colour, np.random.Generator], Colour], darkest: float,
        brightest: float) -> None:
    rng = np.random.default_rng(0)
    rgb = np.clip(rng.normal(120, 50, (32, 48, 3)), 0, 255).astype(np.uint8)
    means = []
    for seed in range(300):
        out = jitter(rgb, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == rgb.shape
        assert out.std() > 8
        means.append(out.mean() / rgb.mean())
    assert min(means) > darkest
    assert max(means) < brightest
    assert 0.9 < np.mean(means) < 1.1
    assert np.std(means) > 0.1


def test_published_jitter_is_the_published_formula_on_0_to_255() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    for seed in range(20):
        out = jitter_as_published(rgb, np.random.default_rng(seed))
        brightness, contrast, saturation = np.random.default_rng(seed).uniform(0.5, 1.5, 3)
        image = np.clip(rgb * brightness, 0, 255)
        mean = (image @ (0.299, 0.587, 0.114)).mean()
        image = np.clip(contrast * image + (1 - contrast) * mean, 0, 255)
        grey = (image @ (0.299, 0.587, 0.114))[..., None]
        image = np.clip(saturation * image + (1 - saturation) * grey, 0, 255)
        assert np.abs(out - image).max() < 3  # rounded after each step


def test_published_blur_is_three_pixels_wide() -> None:
    rgb = np.zeros((7, 7, 3), np.uint8)
    rgb[3, 3] = 200
    out = vary_colour(rgb, only(blur=1, blur_kind='3x3'), np.random.default_rng(0))
    side = np.exp(-np.square(np.array([-1, 0, 1]) / 0.8) / 2)
    side /= side.sum()
    expected = np.zeros((7, 7))
    expected[2:5, 2:5] = 200 * side[:, None] * side
    assert np.abs(out - expected[..., None]).max() <= 1


def test_grain_is_normal_unbiased_and_saturates() -> None:
    for sigma in (1.0, 4.0, 12.0):
        grey = np.full((64, 64, 3), 128, np.uint8)
        error = add_grain(grey, sigma, np.random.default_rng(0)).astype(float) - 128
        assert error.std() == pytest.approx(np.hypot(sigma, 12 ** -0.5), rel=0.03)  # rounded
        assert abs(error.mean()) < 0.1 * sigma
        assert abs(np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1]) < 0.05
    for level in (0, 255):  # no wrap-around
        out = add_grain(np.full((32, 32, 3), level, np.uint8), 12, np.random.default_rng(0))
        assert np.abs(out.astype(int) - level).max() < 40


def test_all_colour_changes_together_keep_the_picture() -> None:
    settings = only(jitter=1, grey=0.2, blur=0.5, noise=0.5, jpeg=0.5)
    rgb = scene().rgb
    for seed in range(100):
        out = vary_colour(rgb, settings, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert 0.4 < out.mean() / rgb.mean() < 1.9
        assert np.corrcoef(out.ravel(), rgb.ravel())[0, 1] > 0.7


def test_neutral_hue_rotation_keeps_grey_grey() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    out = vary_colour(ramp, only(grey=1), np.random.default_rng(0))
    assert (out == ramp).all()


def test_holes_only_remove_depth() -> None:
    depth_m = np.full((48, 64), 2, np.float32)
    shares = []
    for seed in range(100):
        out = punch_holes(depth_m, np.random.default_rng(seed))
        assert set(np.unique(out)) <= {0, 2}
        shares.append(np.mean(out == 0))
    assert 0.05 < np.mean(shares) < 0.6
    assert max(shares) < 0.98
    assert (depth_m == 2).all()


def test_depth_noise_grows_with_the_square_of_distance_and_keeps_holes() -> None:
    depth_m = np.ones((64, 96), np.float32)
    depth_m[:, 48:] = 5
    depth_m[:4] = 0
    near, far, shift, levels = [], [], [], []
    for seed in range(60):
        out = roughen_depth(depth_m, np.random.default_rng(seed))
        assert out.dtype == np.float32
        assert (out[:4] == 0).all()
        assert (out[4:] > 0).all()
        error = out[4:] - depth_m[4:]
        near.append(error[:, :48].std())
        far.append(error[:, 48:].std())
        shift.append(error[:, 48:].mean())
        levels.append(len(np.unique(out[4:])))
    assert 0.0005 < np.mean(near) < 0.01
    assert 0.03 < np.mean(far) < 0.25
    assert abs(np.mean(shift)) < 0.03
    assert max(levels) < 60  # steps, not a continuum
    assert (depth_m[4:, :48] == 1).all()


def test_depth_scale_is_a_few_percent_and_keeps_holes() -> None:
    sample = scene()
    sample.depth_m[:5] = 0
    factors = []
    for seed in range(50):
        out = augment(sample, only(depth_scale=0.03), crop=(48, 64),
                      rng=np.random.default_rng(seed)).depth_m
        assert (out[:5] == 0).all()
        ratio = out[5:] / sample.depth_m[5:]
        assert np.ptp(ratio) < 1e-5
        factors.append(ratio.mean())
    assert 0.97 <= min(factors) < 0.985
    assert 1.015 < max(factors) <= 1.03


def test_one_modality_is_dropped_never_both() -> None:
    settings = only(drop_depth=0.3, drop_colour=0.2)
    colour = depth = 0
    for seed in range(1000):
        out = augment(scene(8, 8), settings, crop=(8, 8), rng=np.random.default_rng(seed))
        no_colour, no_depth = not out.rgb.any(), not out.depth_m.any()
        assert not (no_colour and no_depth)
        colour, depth = colour + no_colour, depth + no_depth
    assert 240 < depth < 360
    assert 150 < colour < 250


def test_same_state_same_sample() -> None:
    one, two, other = (augment(scene(), AugmentConfig(), crop=(32, 32),
                               rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one.rgb == two.rgb).all()
    assert (one.depth_m == two.depth_m).all()
    assert not (one.rgb == other.rgb).all()
