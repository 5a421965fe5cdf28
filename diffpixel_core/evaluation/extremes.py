# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The frames a model does worst and best on, kept while they are scored, to be looked at."""

import heapq
import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from lightning_fabric import Fabric

from diffpixel_core.evaluation.protocols import STREAMS, Seen
from diffpixel_core.evaluation.scoring import FrameScore, gather
from diffpixel_core.transforms import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One frame and what the ensemble made of it.

    Attributes:
        sample: Its images and its truth, at the size they were stored in.
        prediction: `(H, W)` uint8 labels of that size.
        row: How it went.
    """

    sample: Sample
    prediction: npt.NDArray[np.uint8]
    row: FrameScore


class Extremes:
    """Keeps the few frames of the lowest and of the highest mIoU.

    Args:
        number: How many of each.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._order = itertools.count()  # decides between equals, so that pictures never have to
        self._low: list[tuple[float, int, Picture]] = []
        self._high: list[tuple[float, int, Picture]] = []

    def offer(self, sample: Sample, seen: Seen, row: FrameScore) -> None:
        """Keep a frame if it is among the worst or best so far; one without labels is neither."""
        if row.miou is None:
            return
        picture = Picture(sample, _stored_size(seen.labels[STREAMS.index('ensemble')], sample), row)
        for kept, value in ((self._low, -row.miou), (self._high, row.miou)):
            heapq.heappush(kept, (value, next(self._order), picture))
            if len(kept) > self._number:
                heapq.heappop(kept)

    def reduce(self, fabric: Fabric) -> tuple[list[Picture], list[Picture]]:
        """Return the worst, worst first, and the best, best first, of all processes together.

        No frame is in both: where there are few, the worse half counts as worst.

        Args:
            fabric: Launched; every process calls this.
        """
        own = {picture.row.name: picture for _, _, picture in (*self._low, *self._high)}
        every = {name: picture for part in gather(own, fabric) for name, picture in part.items()}
        ranked = sorted(every.values(), key=lambda picture: (picture.row.miou, picture.row.name))
        low = min(self._number, (len(ranked) + 1) // 2)
        high = min(self._number, len(ranked) - low)
        return ranked[:low], ranked[::-1][:high]


def _stored_size(labels: npt.NDArray[np.uint8], sample: Sample) -> npt.NDArray[np.uint8]:
    height, width = sample.labels.shape
    if labels.shape == (height, width):
        return labels
    return np.asarray(cv2.resize(labels, (width, height),
                                 interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
