# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The worst frames of a bag, kept as compressed pictures while it is replayed."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.replay.tally import FrameRow, Picture
from diffpixel_core.report import ReportFrame

REASONS = ('truth', 'flicker', 'confidence')  # the first of these that can be judged counts
_APART_NS = 1_000_000_000  # two bad frames in the same second show the same thing
_APART_SHARE = 1 / 16  # of a recording, if that is less

_U8 = npt.NDArray[np.uint8]


class WorstFrames:
    """Keeps the worst few of all frames offered.

    Args:
        bag: The bag they are from.
        number: How many to keep.
        bag_s: Length of the recording, seconds.
    """

    def __init__(self, bag: str, number: int, bag_s: float) -> None:
        self._bag = bag
        self._number = number
        self._apart_ns = min(_APART_NS, round(bag_s * 1e9 * _APART_SHARE))
        self._kept: dict[str, list[Picture]] = {reason: [] for reason in REASONS}

    def offer(self, row: FrameRow, *, place: int, rgb: _U8, depth_m: npt.NDArray[np.float32],
              labels: _U8, confidence: _U8, truth: _U8 | None) -> None:
        """Keep a frame if it is worse than the best of those kept.

        Args:
            row: Its figures.
            place: How many colour images the bag has before it.
            rgb: `(H, W, 3)`.
            depth_m: `(H, W)` metres.
            labels: `(H, W)`, the prediction.
            confidence: `(H, W)`.
            truth: `(H, W)` in the label space of the prediction, or None.
        """
        badness, reason = _judged(row)
        kept = self._kept[reason]
        near = [picture for picture in kept
                if abs(picture.row.stamp_ns - row.stamp_ns) < self._apart_ns]
        doomed = near
        if not near and len(kept) >= self._number:
            doomed = [min(kept, key=lambda picture: picture.badness)]
        if any(badness <= picture.badness for picture in doomed):
            return
        kept[:] = [picture for picture in kept if all(picture is not gone for gone in doomed)]
        kept.append(Picture(
            bag=self._bag, place=place, row=row, badness=badness, reason=reason,
            rgb=_encoded('.jpg', np.ascontiguousarray(rgb[..., ::-1])),
            depth_mm=_encoded('.png', depth_in_millimetres(depth_m)),
            labels=_encoded('.png', labels), confidence=_encoded('.png', confidence),
            truth=None if truth is None else _encoded('.png', truth)))

    def worst(self) -> list[Picture]:
        """Return them, the worst first; frames judged by truth before those judged otherwise."""
        ranked = [picture for reason in REASONS
                  for picture in sorted(self._kept[reason], key=lambda p: -p.badness)]
        return ranked[: self._number]


def report_frame(picture: Picture, title: str) -> ReportFrame:
    """Return a picture decoded, as the report shows it."""
    depth_m = _decoded(picture.depth_mm).astype(np.float32) / 1000.0
    rgb = cv2.cvtColor(_decoded(picture.rgb), cv2.COLOR_BGR2RGB)
    truth = None if picture.truth is None else _decoded(picture.truth)
    return ReportFrame(title, np.asarray(rgb, np.uint8), depth_m, _decoded(picture.labels), truth,
                       _decoded(picture.confidence))


def _judged(row: FrameRow) -> tuple[float, str]:
    if row.pixel_accuracy is not None:
        return 1.0 - row.pixel_accuracy, 'truth'
    if row.flicker is not None:
        return row.flicker, 'flicker'
    return 1.0 - row.confidence, 'confidence'


def _encoded(kind: str, image: npt.NDArray[Any]) -> bytes:
    done, data = cv2.imencode(kind, image)
    assert done, kind
    return data.tobytes()


def _decoded(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
