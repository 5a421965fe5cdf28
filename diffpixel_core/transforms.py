# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of colour, depth and labels together; NumPy and OpenCV, a few ms a frame.

Colour stays uint8 0..255 throughout: gains act on that range and saturate there. (A published
pipeline jitters 0..255 values and clamps them to 0..1, which blackens a fifth of its images.)
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.config import AugmentConfig
from diffpixel_core.labels import UNLABELLED

Colour = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled RGB-D frame.

    Attributes:
        name: What to call it in messages: the file it came from.
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8, 255 = unlabelled.
    """

    name: str
    rgb: Colour
    depth_m: Depth
    labels: Labels


def augment(sample: Sample, settings: AugmentConfig, *, crop: tuple[int, int],
            rng: np.random.Generator) -> Sample:
    """Return a varied sample of the crop's size; the same state of `rng` gives the same one.

    Sensor noise belongs before this, at the camera's own resolution.

    Args:
        sample: A frame of any size.
        settings: Probabilities and ranges.
        crop: `(height, width)` of the result, pixels.
        rng: Source of all choices.
    """
    rgb, depth_m, labels = scale_and_crop(sample.rgb, sample.depth_m, sample.labels, crop=crop,
                                          scale=_log_uniform(rng, *settings.scale), rng=rng)
    if rng.random() < settings.flip:
        rgb, depth_m, labels = rgb[:, ::-1], depth_m[:, ::-1], labels[:, ::-1]
    rgb, depth_m = np.ascontiguousarray(rgb), np.ascontiguousarray(depth_m)
    rgb = vary_colour(rgb, settings, rng)
    if rng.random() < settings.holes:
        depth_m = punch_holes(depth_m, rng)
    if settings.depth_scale > 0:
        # Cameras are calibrated to a few percent; 0 stays 0.
        depth_m = depth_m * np.float32(1 + settings.depth_scale * rng.uniform(-1, 1))
    lot = rng.random()
    if lot < settings.drop_depth:
        depth_m = np.zeros_like(depth_m)
    elif lot < settings.drop_depth + settings.drop_colour:  # never both
        rgb = np.zeros_like(rgb)
    return Sample(sample.name, rgb, depth_m, np.ascontiguousarray(labels))


def scale_and_crop(rgb: Colour, depth_m: Depth, labels: Labels, *, crop: tuple[int, int],
                   scale: float, rng: np.random.Generator) -> tuple[Colour, Depth, Labels]:
    """Return a random window of the images enlarged by `scale`, of the crop's size.

    Enlarging is what a lens of `scale` times the focal length does, so metres stay as they are.
    What lies outside the image is black, not measured and unlabelled. Depth and labels take the
    nearest pixel: an average of two surfaces, or of two class numbers, is neither.
    """
    height, width = labels.shape
    window = crop[0] / scale, crop[1] / scale  # in source pixels; may be larger than the image
    spare = height - window[0], width - window[1]
    top, left = (min(0.0, side) + abs(side) * rng.random() for side in spare)
    rows = _overlap(top, window[0], height, crop[0])
    columns = _overlap(left, window[1], width, crop[1])
    source = slice(*rows[0]), slice(*columns[0])
    target = slice(*rows[1]), slice(*columns[1])
    size = columns[1][1] - columns[1][0], rows[1][1] - rows[1][0]  # width, height

    colour = np.zeros((*crop, 3), np.uint8)
    depth = np.zeros(crop, np.float32)
    label = np.full(crop, UNLABELLED, np.uint8)
    shrinks = scale < 1
    colour[target] = cv2.resize(rgb[source], size,
                                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    depth[target] = cv2.resize(depth_m[source], size, interpolation=cv2.INTER_NEAREST_EXACT)
    label[target] = cv2.resize(labels[source], size, interpolation=cv2.INTER_NEAREST_EXACT)
    return colour, depth, label


def _overlap(start: float, length: float, source: int,
             target: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pixels of a window inside the image, and where they land in the crop.

    Args:
        start: First source pixel of the window; negative if it begins outside.
        length: Length of the window in source pixels.
        source: Length of the image, pixels.
        target: Length of the crop the window becomes, pixels.
    """
    first = max(0, min(source - 1, round(start)))
    last = max(first + 1, min(source, round(start + length)))
    ratio = target / length
    begin = max(0, min(target - 1, round((first - start) * ratio)))
    end = max(begin + 1, min(target, round((last - start) * ratio)))
    if start >= 0 and start + length <= source:
        begin, end = 0, target  # rounding must not leave a rim of padding
    return (first, last), (begin, end)


def vary_colour(rgb: Colour, settings: AugmentConfig, rng: np.random.Generator) -> Colour:
    """Return the picture another lens, light, sensor and codec would have made, uint8 0..255."""
    if rng.random() < settings.blur:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.5)), np.uint8)
    if rng.random() < settings.jitter:
        rgb = jitter_colour(rgb, rng)
    if rng.random() < settings.grey:
        rgb = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if rng.random() < settings.noise:
        grain = rng.standard_normal(rgb.shape, dtype=np.float32)
        grain *= np.float32(rng.uniform(1, 12))
        grain += rgb
        rgb = np.rint(np.clip(grain, 0, 255, out=grain), out=grain).astype(np.uint8)
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(25, 91))
        _, code = cv2.imencode('.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        rgb = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(rgb)


def jitter_colour(rgb: Colour, rng: np.random.Generator) -> Colour:
    """Return the picture with other brightness, contrast, gamma, white balance, saturation, hue.

    Everything that acts on a channel alone is one table, everything linear across channels one
    matrix: under a millisecond together.
    """
    levels = np.arange(256, dtype=np.float32) / 255
    middle = np.float32(cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[0] / 255)
    curve = levels ** np.float32(_log_uniform(rng, 0.7, 1.4))
    curve = (curve - middle) * np.float32(rng.uniform(0.7, 1.3)) + middle
    gains = _log_uniform(rng, 0.65, 1.4) * np.exp(rng.uniform(-0.1, 0.1, 3)).astype(np.float32)
    table = np.clip(curve[:, None] * gains * 255, 0, 255)
    tinted = cv2.LUT(rgb, np.rint(table).astype(np.uint8)[None])
    # Source: luma and chroma axes of the NTSC YIQ space; hue turns chroma, saturation scales it.
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    saturation, hue = rng.uniform(0.6, 1.4), rng.uniform(-0.15, 0.15)  # factor, radians
    c, s = saturation * np.cos(hue), saturation * np.sin(hue)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return np.asarray(cv2.transform(tinted, matrix), np.uint8)


def punch_holes(depth_m: Depth, rng: np.random.Generator) -> Depth:
    """Return a copy in which rectangles, or irregular blobs, were not measured (0)."""
    height, width = depth_m.shape
    depth_m = depth_m.copy()
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 6))):
            h, w = (max(1, int(side * rng.uniform(0.05, 0.4))) for side in (height, width))
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            depth_m[top:top + h, left:left + w] = 0
        return depth_m
    cells = max(2, round(height / rng.uniform(8, 40))), max(2, round(width / rng.uniform(8, 40)))
    field = cv2.resize(rng.random(cells, dtype=np.float32), (width, height),
                       interpolation=cv2.INTER_CUBIC)
    depth_m[field < rng.uniform(0.15, 0.45)] = 0
    return depth_m


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
