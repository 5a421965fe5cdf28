# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to measure on: drawn rooms of smooth surfaces and edges, or a folder of real ones.

Random noise would say nothing about agreement: a network answers it at random, too.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.frame import Frame
from diffpixel_core.image_folder import find_frames, load_pair

_BOXES = 7
_HOLES = 3


def drawn_frames(count: int, size: tuple[int, int], *, modality: str, seed: int) -> list[Frame]:
    """Return frames of a wall, a floor and some boxes: shaded, grained, with holes in the depth.

    Args:
        count: How many.
        size: `(height, width)`, pixels.
        modality: Name of the second one; its values are metres whatever it is.
        seed: The same frames for the same seed.
    """
    draw = np.random.default_rng(seed)
    return [_drawn(size, modality, draw) for _ in range(count)]


def real_frames(folder: Path, unit: str, *, size: tuple[int, int] | None, modality: str,
                most: int) -> list[Frame]:
    """Return frames of a folder, evenly spread over it.

    Args:
        folder: Pairs of images, see `image_folder`.
        unit: Of the depth images, a key of `depth.DEPTH_UNITS`.
        size: `(height, width)` to resize to, pixels; None = as they are.
        modality: Name of the second one.
        most: At most so many.

    Raises:
        ImageFolderError: If the folder holds no frames, or damaged ones.
    """
    files = find_frames(folder)
    chosen = np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).astype(int))
    frames = []
    for index in chosen:
        rgb, depth = load_pair(files[index], unit)
        if size is not None and rgb.shape[:2] != size:
            rgb = np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
            depth = np.asarray(cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST),
                               np.float32)
        frames.append(Frame(rgb, depth, modality))
    return frames


def _drawn(size: tuple[int, int], modality: str, draw: np.random.Generator) -> Frame:
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    horizon = draw.uniform(0.4, 0.6)
    wall = draw.uniform(3, 6) + draw.uniform(-1, 1) * x
    depth = np.minimum(wall, 0.6 / np.maximum(y - horizon + 0.12, 1e-3)).astype(np.float32)
    shade = 1 - 0.5 * (x - draw.uniform(0, 1)) ** 2 - 0.2 * y
    floor = (depth < wall)[..., None]
    colour = np.where(floor, draw.uniform(50, 160, 3), draw.uniform(110, 220, 3)) * shade[..., None]
    for distance in np.sort(draw.uniform(0.8, 3.0, _BOXES))[::-1]:
        _add_box(colour, depth, float(distance), draw)
    colour = cv2.GaussianBlur(colour.astype(np.float32), (0, 0), 0.7 + width / 2000)
    grain = cv2.GaussianBlur(draw.normal(0, 8, size).astype(np.float32), (0, 0), 1.2)
    colour += 2 * grain[..., None]
    depth += draw.normal(0, 0.002, size).astype(np.float32) * depth ** 2
    for _ in range(_HOLES):
        centre = (int(draw.integers(width)), int(draw.integers(height)))
        axes = (max(1, int(width * draw.uniform(0.01, 0.06))),
                max(1, int(height * draw.uniform(0.01, 0.06))))
        cv2.ellipse(depth, centre, axes, float(draw.uniform(0, 180)), 0, 360, 0.0, -1)
    return Frame(np.ascontiguousarray(colour.clip(0, 255).astype(np.uint8)),
                 depth.clip(0, None).astype(np.float32), modality)


def _add_box(colour: npt.NDArray[np.floating], depth: npt.NDArray[np.float32], distance: float,
             draw: np.random.Generator) -> None:
    """Draw a turned rectangle, striped at times, into both images."""
    height, width = depth.shape
    side = width / distance
    rectangle = ((float(draw.uniform(0, width)), float(draw.uniform(0.4, 1) * height)),
                 (float(side * draw.uniform(0.15, 0.5)), float(side * draw.uniform(0.15, 0.6))),
                 float(draw.normal(0, 8)))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [cv2.boxPoints(rectangle).astype(np.int32)], 1)
    inside = mask.astype(bool)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None].repeat(height, 0)
    paint = draw.uniform(20, 235, 3) * (1 + 0.25 * across[inside])[:, None]
    if draw.random() < 0.5:
        paint *= 1 + 0.2 * np.sin(across[inside] * draw.uniform(20, 60))[:, None]
    colour[inside] = paint
    depth[inside] = distance + 0.3 * draw.uniform(-1, 1) * across[inside]
