# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether depth and labels lie on the colour image: where their edges meet, by shift.

Where one object hides another, depth jumps, and colour mostly changes too. The mean strength of
colour edges along the jumps, in standard deviations, is highest at the shift that is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_LARGEST_SHIFT = 24  # pixels of the image as compared
_LONGEST_SIDE = 640  # larger images are compared at half, a third, ...
_SMALLEST_SIDE = 96
_FEWEST_EDGES = 300  # pixels, or a frame says nothing
_JUMP = 0.06  # of the nearer depth
_BLUR = 1.2

# Measured (see docs/data.md): registered sets reach 1.0 to 1.6, 7-Scenes and 3DMatch, whose depth
# is not registered, -0.1 to 0.4, frames that agree with one another on no shift.
_CLEAR_PEAK = 0.7
_HARDLY_MEET = 0.45
_FEWEST_FRAMES = 4
_FEWEST_FRAMES_UNREGISTERED = 8


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well edges meet in one frame.

    Attributes:
        scores: `(2R + 1, 2R + 1)` float32 mean strength of colour edges, by (down, right) that
            the other image is moved, the middle = as it is.
        scale: Pixels of the image per step.
    """

    scores: npt.NDArray[np.float32]
    scale: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """What many frames say together.

    Attributes:
        frames: How many had edges to compare.
        score: Agreement as it is, in standard deviations of the colour edges.
        best_score: Agreement at the best shift.
        down: Best shift of the other image, pixels; 0 if it is not clear.
        right: The same to the right.
        clear: Whether that shift is better than none beyond doubt: most frames say the same.
        hardly_meets: Whether edges hardly meet at any shift.
    """

    frames: int
    score: float
    best_score: float
    down: int
    right: int
    clear: bool
    hardly_meets: bool


def depth_edges(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return `(H, W)` bool: where measured depth jumps by more than 6 % within two pixels."""
    edges = np.zeros(depth_m.shape, bool)
    edges[1:-1] = _jumps(depth_m[:-2], depth_m[2:])
    columns = edges[:, 1:-1]
    np.logical_or(columns, _jumps(depth_m[:, :-2], depth_m[:, 2:]), out=columns)
    return edges


def _jumps(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    nearer = np.minimum(one, other)
    return np.asarray((nearer > 0) & (np.abs(one - other) > _JUMP * nearer), np.bool_)


def label_edges(ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return `(H, W)` bool: where neighbouring labels differ."""
    edges = np.zeros(ids.shape, bool)
    edges[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edges[1:] |= ids[1:] != ids[:-1]
    return edges


def agreement(rgb: npt.NDArray[np.uint8], edges: npt.NDArray[np.bool_]) -> Agreement | None:
    """Return how well edges meet those of the colour image; None if there are too few.

    Args:
        rgb: `(H, W, 3)` uint8.
        edges: `(H, W)` bool, of depth or labels.
    """
    scale = -(-max(edges.shape) // _LONGEST_SIDE)
    height, width = (side // scale for side in edges.shape)
    if min(height, width) < _SMALLEST_SIDE:
        return None
    if scale > 1:
        cut = (slice(0, height * scale), slice(0, width * scale))
        rgb = np.asarray(cv2.resize(rgb[cut], (width, height), interpolation=cv2.INTER_AREA),
                         np.uint8)
        blocks = edges[cut].reshape(height, scale, width, scale)
        edges = np.asarray(blocks.any(axis=(1, 3)), np.bool_)
    inner = slice(_LARGEST_SHIFT, -_LARGEST_SHIFT)
    template = edges[inner, inner].astype(np.float32)
    number = float(template.sum())
    if number < _FEWEST_EDGES:
        return None
    strength = _colour_edges(rgb)
    strength = (strength - strength.mean()) / max(float(strength.std()), 1e-6)
    scores = cv2.matchTemplate(strength, template, cv2.TM_CCORR) / number
    return Agreement(np.asarray(scores, np.float32), scale)


def combined(agreements: Sequence[Agreement]) -> Alignment | None:
    """Return what many frames say together; None if none had edges to compare."""
    if not agreements:
        return None
    scores = np.mean([one.scores for one in agreements], axis=0)
    middle = scores.shape[0] // 2
    best = _peak(scores)
    # A point of colour blur and the width of depth's own edges are no shift.
    as_is = float(scores[middle - 1:middle + 2, middle - 1:middle + 2].max())
    agreeing = sum(max(abs(one_peak[0] - best[0]), abs(one_peak[1] - best[1])) <= 3
                   for one_peak in (_peak(one.scores) for one in agreements))
    peak = float(scores[best])
    clear = (len(agreements) >= _FEWEST_FRAMES and agreeing >= 0.6 * len(agreements)
             and peak >= _CLEAR_PEAK and peak - as_is >= 0.1 * peak
             and max(abs(best[0] - middle), abs(best[1] - middle)) >= 3
             and max(abs(best[0] - middle), abs(best[1] - middle)) < middle)
    scale = int(np.median([one.scale for one in agreements]))
    return Alignment(
        len(agreements), as_is, peak,
        down=(best[0] - middle) * scale if clear else 0,
        right=(best[1] - middle) * scale if clear else 0, clear=clear,
        hardly_meets=len(agreements) >= _FEWEST_FRAMES_UNREGISTERED and as_is < _HARDLY_MEET)


def _peak(scores: npt.NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(row), int(column)


def _colour_edges(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return `(H, W)` strength of colour edges, the strongest tenth alike."""
    lab = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), _BLUR)
    squared = np.zeros(rgb.shape[:2], np.float32)
    for channel in cv2.split(lab):
        squared += np.square(cv2.Sobel(channel, cv2.CV_32F, 1, 0))
        squared += np.square(cv2.Sobel(channel, cv2.CV_32F, 0, 1))
    strength = np.sqrt(squared)
    return np.minimum(strength / max(float(np.percentile(strength, 90)), 1e-6),
                      np.float32(1))
