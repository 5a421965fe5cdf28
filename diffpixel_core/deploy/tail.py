# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The tail: class scores at a quarter of the size -> labels and confidence at the camera's size."""

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.kernels.plain import enlarge_argmax

reference_tail = enlarge_argmax
"""Labels and confidence of class scores by the definition; `cpu_tail` equals it."""


def cpu_tail(scores: npt.NDArray[np.float32],
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return labels and confidence as `reference_tail` does, many times faster on a CPU.

    A running maximum over the classes that can win anywhere: no more than one enlarged class
    exists at a time.

    Args:
        scores: `(K, h, w)` float32 class scores.
        size: `(H, W)` of the labels.
    """
    height, width = size
    first, *others = contenders(scores)
    best = cv2.resize(scores[first], (width, height), interpolation=cv2.INTER_LINEAR)
    labels = np.full((height, width), first, np.uint8)
    enlarged = np.empty_like(best)
    wins = np.empty((height, width), np.uint8)
    label = np.empty_like(labels)
    for k in others:
        cv2.resize(scores[k], (width, height), dst=enlarged, interpolation=cv2.INTER_LINEAR)
        cv2.compare(enlarged, best, cv2.CMP_GT, dst=wins)
        label.fill(k)
        cv2.copyTo(label, wins, labels)
        cv2.max(enlarged, best, dst=best)
    sure = cv2.resize(_largest_probability(scores), (width, height),
                      interpolation=cv2.INTER_LINEAR)
    confidence = np.empty((height, width), np.uint8)
    cv2.convertScaleAbs(sure, dst=confidence, alpha=255)
    return labels, confidence


def contenders(scores: npt.NDArray[np.float32]) -> list[int]:
    """Return the classes that may be the largest somewhere after bilinear enlargement.

    Between four neighbouring scores a class stays within their least and greatest. Where another
    class's least is above its greatest, it cannot win; a class for which that holds between all
    neighbours cannot win at all.

    Args:
        scores: `(K, h, w)` float32 class scores.
    """
    count, height, width = scores.shape
    if min(height, width) < 2:
        return list(range(count))
    pairs = np.empty((height, width - 1), np.float32)
    fours = np.empty((height - 1, width - 1), np.float32)

    def corners(of: np.ufunc, score: npt.NDArray[np.float32]) -> None:
        of(score[:, :-1], score[:, 1:], out=pairs)
        of(pairs[:-1], pairs[1:], out=fours)

    floor = np.full_like(fours, -np.inf)
    for score in scores:
        corners(np.minimum, score)
        np.maximum(floor, fours, out=floor)
    floor -= 1e-4 * np.abs(floor)  # more than interpolation rounds off
    found = []
    for k, score in enumerate(scores):
        corners(np.maximum, score)
        if not (fours < floor).all():
            found.append(k)
    return found


def _largest_probability(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return `(h, w)` of the softmax's largest value, class by class: 1 / sum(exp(s - max))."""
    top = scores.max(0)
    total: npt.NDArray[np.float32] = np.zeros_like(top)
    for score in scores:
        total += np.exp(score - top)
    return np.reciprocal(total, out=total)
