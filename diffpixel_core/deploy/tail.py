# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The tail: class scores at a quarter of the size -> labels and confidence at the camera's size."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor


def reference_tail(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return labels and confidence of class scores, by the definition; the fast forms equal it.

    Args:
        scores: `(K, h, w)` float32 class scores, K <= 255.
        size: `(H, W)` of the labels.

    Returns:
        `(H, W)` uint8 labels: the largest of the bilinearly enlarged scores, the lower class on
        a tie; `(H, W)` uint8 confidence: the largest softmax probability at the scores' own
        resolution, enlarged bilinearly, times 255, rounded.
    """
    enlarged = F.interpolate(scores[None], size, mode='bilinear', align_corners=False)[0]
    labels = enlarged.argmax(0).to(torch.uint8)
    sure = scores.softmax(0).amax(0)
    sure = F.interpolate(sure[None, None], size, mode='bilinear', align_corners=False)[0, 0]
    return labels, (sure * 255).round().clamp(0, 255).to(torch.uint8)


def cpu_tail(scores: npt.NDArray[np.float32],
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return labels and confidence as `reference_tail` does, ten times faster on a CPU.

    A running maximum over the classes: no more than one enlarged class exists at a time.

    Args:
        scores: `(K, h, w)` float32 class scores.
        size: `(H, W)` of the labels.
    """
    height, width = size
    best = cv2.resize(scores[0], (width, height), interpolation=cv2.INTER_LINEAR)
    labels = np.zeros((height, width), np.uint8)
    enlarged = np.empty_like(best)
    wins = np.empty((height, width), np.uint8)
    label = np.empty_like(labels)
    for k in range(1, len(scores)):
        cv2.resize(scores[k], (width, height), dst=enlarged, interpolation=cv2.INTER_LINEAR)
        cv2.compare(enlarged, best, cv2.CMP_GT, dst=wins)
        label.fill(k)
        cv2.copyTo(label, wins, labels)
        cv2.max(enlarged, best, dst=best)
    # The largest probability is 1 / sum(exp(s - max)).
    sure = 1 / np.exp(scores - scores.max(0)).sum(0, dtype=np.float32)
    sure = cv2.resize(sure, (width, height), interpolation=cv2.INTER_LINEAR)
    return labels, np.rint(sure * 255).clip(0, 255).astype(np.uint8)
