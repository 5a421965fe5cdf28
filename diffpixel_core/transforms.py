# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of colour, depth and labels together; NumPy and OpenCV, a few ms a frame.

Colour stays uint8 0..255 throughout: gains act on that range and saturate there. (A published
pipeline jitters 0..255 values and clamps them to 0..1, which blackens a fifth of its images.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.config import AugmentConfig
from diffpixel_core.labels import UNLABELLED

Colour = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Borders = tuple[int, int, int, int]  # pixels: top, bottom, left, right


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

    The noise of a simulated sensor belongs before this, at the camera's own resolution.

    Args:
        sample: A frame of any size.
        settings: Probabilities and ranges.
        crop: `(height, width)` of the result, pixels.
        rng: Source of all choices.
    """
    # A whole frame is scored at about the crop's size, so that is what scale 1 has to mean.
    scale = (min(crop) / min(sample.labels.shape)
             * _SCALE_DRAWS[settings.scale_draw](rng, *settings.scale))
    rgb, depth_m, labels, borders = scale_and_crop(sample.rgb, sample.depth_m, sample.labels,
                                                   crop=crop, scale=scale, rng=rng)
    if rng.random() < settings.flip:
        rgb, labels = (np.asarray(cv2.flip(image, 1), np.uint8) for image in (rgb, labels))
        depth_m = np.asarray(cv2.flip(depth_m, 1), np.float32)
    rgb = vary_colour(rgb, settings, rng)
    depth_m = vary_depth(depth_m, settings, rng)
    lot = rng.random()
    if lot < settings.drop_depth:
        depth_m = np.zeros_like(depth_m)
    elif lot < settings.drop_depth + settings.drop_colour:  # never both
        rgb = np.zeros_like(rgb)
    # Last: another light is no light where there is nothing.
    return Sample(sample.name, *pad(rgb, depth_m, labels, borders))


def scale_and_crop(rgb: Colour, depth_m: Depth, labels: Labels, *, crop: tuple[int, int],
                   scale: float,
                   rng: np.random.Generator) -> tuple[Colour, Depth, Labels, Borders]:
    """Return what a random crop shows of the images enlarged by `scale`, and what it lacks.

    Enlarging is what a lens of `scale` times the focal length does, so metres stay as they are.
    Depth and labels take the nearest pixel: an average of two surfaces, or of two class numbers,
    is neither.

    Returns:
        Copies of the three images, and the pixels by which they are smaller than the crop: top,
        bottom, left, right.
    """
    rows, columns = (_window(side, length, scale, rng)
                     for side, length in zip(labels.shape, crop, strict=True))
    source = slice(*rows[0]), slice(*columns[0])
    size = columns[1][1] - columns[1][0], rows[1][1] - rows[1][0]  # width, height
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    nearest = cv2.INTER_NEAREST_EXACT
    return (np.asarray(cv2.resize(rgb[source], size, interpolation=smooth), np.uint8),
            np.asarray(cv2.resize(depth_m[source], size, interpolation=nearest), np.float32),
            np.asarray(cv2.resize(labels[source], size, interpolation=nearest), np.uint8),
            (rows[1][0], crop[0] - rows[1][1], columns[1][0], crop[1] - columns[1][1]))


def pad(rgb: Colour, depth_m: Depth, labels: Labels,
        borders: Borders) -> tuple[Colour, Depth, Labels]:
    """Return the images with borders that are black, not measured and unlabelled.

    Args:
        rgb: `(H, W, 3)`.
        depth_m: `(H, W)`.
        labels: `(H, W)`.
        borders: Pixels at the top, bottom, left, right.
    """
    if not any(borders):
        return rgb, depth_m, labels
    padded = [cv2.copyMakeBorder(image, *borders, cv2.BORDER_CONSTANT, value=[value] * 3)
              for image, value in ((rgb, 0), (depth_m, 0), (labels, UNLABELLED))]
    return (np.asarray(padded[0], np.uint8), np.asarray(padded[1], np.float32),
            np.asarray(padded[2], np.uint8))


def _window(side: int, crop: int, scale: float,
            rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return which pixels of an image are shown, and where in the crop, along one axis.

    Every position is as likely as every other, the first and the last included.

    Args:
        side: Length of the image, pixels.
        crop: Length of the crop, pixels.
        scale: Enlargement.
        rng: Source of the position.
    """
    shown = max(1, round(crop / scale))
    if shown <= side:
        first = int(rng.integers(side - shown + 1))
        return (first, first + shown), (0, crop)
    filled = min(crop, max(1, round(side * scale)))
    first = int(rng.integers(crop - filled + 1))
    return (0, side), (first, first + filled)


def vary_colour(rgb: Colour, settings: AugmentConfig, rng: np.random.Generator) -> Colour:
    """Return the picture another lens, light, sensor and codec would have made, uint8 0..255."""
    if rng.random() < settings.blur:
        rgb = _BLURS[settings.blur_kind](rgb, rng)
    if rng.random() < settings.jitter:
        rgb = _JITTERS[settings.jitter_kind](rgb, rng)
    if rng.random() < settings.grey:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        rgb = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    if rng.random() < settings.noise:
        rgb = add_grain(rgb, rng.uniform(1, 12), rng)
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(25, 91))
        _, code = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                               [cv2.IMWRITE_JPEG_QUALITY, quality])
        coarse = cv2.imdecode(code, cv2.IMREAD_COLOR)
        assert coarse is not None
        rgb = np.asarray(cv2.cvtColor(coarse, cv2.COLOR_BGR2RGB), np.uint8)
    return rgb


def jitter_colour(rgb: Colour, rng: np.random.Generator) -> Colour:
    """Return the picture with other brightness, contrast, gamma, white balance, saturation, hue.

    Everything that acts on a channel alone is one table, everything linear across channels one
    matrix: about a millisecond together.
    """
    levels = np.arange(256, dtype=np.float32) / 255
    middle = np.float32(_mean_grey(rgb) / 255)
    curve = levels ** np.float32(_log_uniform(rng, 0.7, 1.4))
    curve = (curve - middle) * np.float32(rng.uniform(0.7, 1.3)) + middle
    gains = _log_uniform(rng, 0.65, 1.4) * np.exp(rng.uniform(-0.1, 0.1, 3)).astype(np.float32)
    tinted = _looked_up(rgb, curve[:, None] * gains * 255)
    # Source: luma and chroma axes of the NTSC YIQ space; hue turns chroma, saturation scales it.
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    saturation, hue = rng.uniform(0.6, 1.4), rng.uniform(-0.15, 0.15)  # factor, radians
    c, s = saturation * np.cos(hue), saturation * np.sin(hue)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return np.asarray(cv2.transform(tinted, matrix), np.uint8)


def jitter_as_published(rgb: Colour, rng: np.random.Generator) -> Colour:
    """Return the picture with brightness, contrast and saturation times 0.5 to 1.5 each, in turn.

    Source: RandomColorJitter of utils/augmentations_mm.py, GeminiFusion@5449fc10, which
    DiffPixelFormer trains with. Differs from it: 0..255 is clamped to 0..255, not to 0..1.
    """
    brightness, contrast, saturation = rng.uniform(0.5, 1.5, 3)
    levels = np.arange(256)
    rgb = _looked_up(rgb, levels * brightness)
    rgb = _looked_up(rgb, levels * contrast + (1 - contrast) * _mean_grey(rgb))
    luma = np.array([[0.299, 0.587, 0.114]] * 3)
    return np.asarray(cv2.transform(rgb, saturation * np.eye(3) + (1 - saturation) * luma),
                      np.uint8)


def add_grain(rgb: Colour, sigma: float, rng: np.random.Generator) -> Colour:
    """Return the picture with normal noise of `sigma` of 255 on every pixel and channel.

    Random bytes pick one of 256 quantiles: six times as fast as drawing normal numbers.
    """
    draws = np.frombuffer(rng.bytes(rgb.size), np.uint8).reshape(rgb.shape)
    noise = cv2.LUT(draws, np.rint(_quantiles() * sigma).astype(np.int16))
    return np.asarray(cv2.add(rgb, noise, dtype=cv2.CV_8U), np.uint8)


@cache
def _quantiles() -> npt.NDArray[np.float64]:
    """Return the middles of 256 equally likely parts of the normal distribution."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def vary_depth(depth_m: Depth, settings: AugmentConfig, rng: np.random.Generator) -> Depth:
    """Return what a worse sensor, or a badly calibrated one, would have measured."""
    if rng.random() < settings.depth_noise:
        depth_m = roughen_depth(depth_m, rng)
    if rng.random() < settings.holes:
        depth_m = punch_holes(depth_m, rng)
    if settings.depth_scale > 0:
        # Cameras are calibrated to a few percent; 0 stays 0.
        depth_m = depth_m * np.float32(1 + settings.depth_scale * rng.uniform(-1, 1))
    return depth_m


def roughen_depth(depth_m: Depth, rng: np.random.Generator) -> Depth:
    """Return measured depth with half to three times a Kinect's noise, and as coarse steps.

    Noise and steps grow with the square of the distance; what was not measured stays so. Errors
    of pixels two to four apart are alike, as they are where a sensor matches windows.

    Source: axial noise of Nguyen, Izadi & Lovell, 3DIMPVT 2012; steps of a disparity of 351.3 px
    over metres, as in `synthetic.noise`.
    """
    height, width = depth_m.shape
    cell = rng.uniform(1.5, 4)
    coarse = rng.standard_normal((max(2, round(height / cell)), max(2, round(width / cell))),
                                 dtype=np.float32)
    # Linear interpolation of white noise leaves two thirds of its deviation.
    rough = np.asarray(cv2.resize(coarse * np.float32(1.5 * _log_uniform(rng, 0.5, 3)),
                                  (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    rough *= 0.0012 + 0.0019 * np.square(depth_m - np.float32(0.4))
    rough += depth_m
    fineness = np.float32(351.3 / _log_uniform(rng, 0.5, 3))
    np.divide(fineness, np.maximum(rough, np.float32(0.1), out=rough), out=rough)
    np.maximum(np.rint(rough, out=rough), np.float32(1), out=rough)
    np.divide(fineness, rough, out=rough)
    rough[depth_m <= 0] = 0
    return rough


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


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _blur_lens(rgb: Colour, rng: np.random.Generator) -> Colour:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.5)), np.uint8)


def _blur_3x3(rgb: Colour, rng: np.random.Generator) -> Colour:
    # Source: RandomGaussianBlur((3, 3)), same file as the jitter; torchvision's sigma for size 3.
    del rng
    return np.asarray(cv2.GaussianBlur(rgb, (3, 3), 0.8), np.uint8)


def _mean_grey(rgb: Colour) -> float:
    return float(cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))[0])


def _looked_up(rgb: Colour, table: npt.NDArray[np.floating]) -> Colour:
    """Return the picture through a table `(256,)` or `(256, 3)`, which saturates at 0 and 255."""
    return np.asarray(cv2.LUT(rgb, np.rint(np.clip(table, 0, 255)).astype(np.uint8)[None]),
                      np.uint8)


_ChangesColour = Callable[[Colour, np.random.Generator], Colour]
_JITTERS: Mapping[str, _ChangesColour] = {'camera': jitter_colour,
                                          'published': jitter_as_published}
_BLURS: Mapping[str, _ChangesColour] = {'lens': _blur_lens, '3x3': _blur_3x3}
_SCALE_DRAWS: Mapping[str, Callable[[np.random.Generator, float, float], float]] = {
    'log_uniform': _log_uniform, 'uniform': _uniform}
