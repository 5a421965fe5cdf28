# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps the three images together, colour in range and labels unmixed."""

import numpy as np
import pytest

from diffpixel_core.config import AugmentConfig
from diffpixel_core.transforms import (
    Sample,
    augment,
    jitter_colour,
    punch_holes,
    scale_and_crop,
    vary_colour,
)

OFF = AugmentConfig(flip=0, scale=(1, 1), jitter=0, grey=0, blur=0, noise=0, jpeg=0, holes=0,
                    depth_scale=0, drop_depth=0, drop_colour=0)


def scene(height: int = 48, width: int = 64) -> Sample:
    """Return a sample whose labels can be read off its colour and its depth."""
    rows, columns = np.mgrid[:height, :width] // 8
    labels = ((rows * 3 + columns) % 10).astype(np.uint8)
    return Sample('scene', np.repeat((labels * 20 + 30)[..., None], 3, axis=2),
                  labels.astype(np.float32) / 10 + 1, labels)


def only(**changes: float) -> AugmentConfig:
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
        rgb, depth_m, labels = scale_and_crop(sample.rgb, sample.depth_m, sample.labels,
                                              crop=(48, 64), scale=scale, rng=rng)
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


def test_crop_is_not_off_by_one() -> None:
    labels = np.arange(48 * 64).reshape(48, 64) % 251
    sample = Sample('x', np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32),
                    labels.astype(np.uint8))
    corners = set()
    for seed in range(400):
        _, _, crop = scale_and_crop(sample.rgb, sample.depth_m, sample.labels, crop=(46, 62),
                                    scale=1, rng=np.random.default_rng(seed))
        found = [(i, j) for i in range(3) for j in range(3)
                 if (crop == sample.labels[i:i + 46, j:j + 62]).all()]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) == 9  # every position, the last row and column included


def test_flip_flips_all_three() -> None:
    sample = scene()
    out = augment(sample, only(flip=1), crop=(48, 64), rng=np.random.default_rng(0))
    assert (out.rgb == sample.rgb[:, ::-1]).all()
    assert (out.depth_m == sample.depth_m[:, ::-1]).all()
    assert (out.labels == sample.labels[:, ::-1]).all()


def test_jitter_neither_blackens_nor_whitens() -> None:
    rng = np.random.default_rng(0)
    rgb = np.clip(rng.normal(120, 50, (32, 48, 3)), 0, 255).astype(np.uint8)
    means = []
    for seed in range(300):
        out = jitter_colour(rgb, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == rgb.shape
        assert out.std() > 15
        means.append(out.mean() / rgb.mean())
    assert min(means) > 0.45
    assert max(means) < 1.75
    assert 0.9 < np.mean(means) < 1.1
    assert np.std(means) > 0.1


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
