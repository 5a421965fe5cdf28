# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether depth and labels lie on the colour image: where their edges meet, by shift.

Where one object hides another, depth jumps, and colour mostly changes too. The mean strength of
colour edges along the jumps, in standard deviations, is highest at the shift that is right.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.doctor.verdict import Verdict

_LARGEST_SHIFT = 24  # pixels of the image as compared
_LONGEST_SIDE = 640  # larger images are compared at half, a third, ...
_SMALLEST_SIDE = 96
_FEWEST_EDGES = 300  # pixels, or a frame says nothing
_JUMP = 0.06  # of the nearer depth
_BLUR = 1.2

# Measured: see docs/data.md, Alignment. Where depth is not registered, no shift does better either.
_CLEAR_PEAK = 0.7
_HARDLY_MEET = 0.45
_FEWEST_FRAMES = 4
_FEWEST_FRAMES_UNREGISTERED = 8
_FAR_SHIFT = 5  # pixels; a few occur in public data


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

    @property
    def tells(self) -> bool:
        """Whether there were frames enough to tell anything."""
        return self.frames >= _FEWEST_FRAMES

    def as_json(self) -> dict[str, Any]:
        """Return plain types, rounded to what is known."""
        return {key: round(value, 2) if isinstance(value, float) else value
                for key, value in asdict(self).items()}


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


def combined(of_frames: Sequence[Agreement | None]) -> Alignment | None:
    """Return what many frames say together; None if none had edges to compare."""
    agreements = [one for one in of_frames if one is not None]
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


def alignment_verdicts(depth: Alignment | None, labels: Alignment | None, *,
                       unit_is_right: bool) -> list[Verdict]:
    """Return whether depth and labels lie on the colour images, as far as that can be told.

    Args:
        depth: How edges of depth meet those of colour.
        labels: The same of labels.
        unit_is_right: Whether depth was read in its unit; in another, its edges may be any.
    """
    verdicts = []
    for what, found, remedy in (
            ('depth', depth, 'register depth to the colour camera'),
            ('labels', labels, 'check how the label images were made: cropped, resized?')):
        if found is not None and found.clear:
            far = max(abs(found.down), abs(found.right)) >= _FAR_SHIFT
            verdicts.append(Verdict(
                'error' if far else 'warning',
                f'{what} and colour do not lie on each other: moved {_direction(found)}, the edges '
                f'of {what} meet those of colour best ({found.best_score:.2f} instead of '
                f'{found.score:.2f} in {found.frames} frames)', remedy))
    if depth is not None and depth.hardly_meets and not depth.clear and unit_is_right:
        verdicts.append(Verdict(
            'warning', 'edges of depth and colour hardly meet at any shift (agreement '
            f'{depth.score:.2f} in {depth.frames} frames; registered data sets have about 1 or '
            'more): depth looks as if it was not registered to the colour camera, or was of other '
            'frames',
            'look at the sheet; register depth to the colour camera, or check which depth belongs '
            'to which colour'))
    return verdicts


def _direction(found: Alignment) -> str:
    down = f'{abs(found.down)} px {"down" if found.down > 0 else "up"}'
    right = f'{abs(found.right)} px to the {"right" if found.right > 0 else "left"}'
    return ' and '.join(text for text, shift in ((down, found.down), (right, found.right)) if shift)


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
