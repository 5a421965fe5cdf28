# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The one deployable graph and its tail: what every runtime computes, from camera to labels.

Resizing and normalising live inside the graph, so there is no second preprocessing to drift.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def network_size(frame: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """Return the `(height, width)` at which the network sees a frame.

    As many pixels as in training, the frame's own shape, both sides multiples of 16 and at least
    32 (what the widest attention reduction needs), or the training size itself when the shapes
    agree within 2 %.
    """
    height, width = trained
    ratio = frame[1] / frame[0]
    if abs(ratio / (width / height) - 1) < 0.02:
        return trained
    h = (height * width / ratio) ** 0.5
    return max(32, round(h / 16) * 16), max(32, round(h * ratio / 16) * 16)


class NetworkInputs(nn.Module):
    """Camera images as a network wants them; the same in training and in every runtime.

    Args:
        normalisation: Per modality `maximum`, `mean`, `std`, as in the manifest; colour first.
    """

    rgb_mean: Tensor
    rgb_std: Tensor
    x_mean: Tensor
    x_std: Tensor

    def __init__(self, normalisation: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        rgb, x = normalisation.values()
        self.x_maximum = float(x['maximum'])
        for name, row in (('rgb', rgb), ('x', x)):
            for key in ('mean', 'std'):
                value = torch.tensor(row[key], dtype=torch.float32).reshape(1, -1, 1, 1)
                self.register_buffer(f'{name}_{key}', value, persistent=False)

    def forward(self, rgb: Tensor, x: Tensor,
                size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Return both images as normalised `(B, 3, h, w)` float32.

        Args:
            rgb: `(B, H, W, 3)` uint8.
            x: `(B, H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing.
            size: `(h, w)` to resize to; None = as they are.
        """
        colour = rgb.permute(0, 3, 1, 2).float()
        other = x.unsqueeze(1)
        # NaN fails both comparisons, so everything that was not measured becomes 0.
        other = torch.where((other > 0) & (other < torch.inf), other, 0.0)
        if size is not None and colour.shape[2:] != size:
            colour = F.interpolate(colour, size, mode='bilinear', align_corners=False)
            # Nearest: averaging a hole with a surface would invent a depth in mid-air.
            other = F.interpolate(other, size, mode='nearest-exact')
        colour = (colour - self.rgb_mean) / self.rgb_std
        other = (other.clamp(max=self.x_maximum) - self.x_mean) / self.x_std
        return colour, other.expand(-1, 3, -1, -1)


class DeployGraph(nn.Module):
    """uint8 colour and float32 metres in, class scores at a quarter of the network's size out.

    Args:
        model: A network of `models.build_model`, in eval mode.
        normalisation: Per modality `maximum`, `mean`, `std`, as in the manifest; colour first.
        size: `(height, width)` the network works at.
    """

    def __init__(self, model: nn.Module, normalisation: Mapping[str, Mapping[str, Any]],
                 size: tuple[int, int]) -> None:
        super().__init__()
        self.inputs = NetworkInputs(normalisation)
        self.model = model
        self.size = size

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, h/4, w/4)` float32 class scores.

        Args:
            rgb: `(B, H, W, 3)` uint8.
            x: `(B, H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing.
        """
        scores: Tensor = self.model(*self.inputs(rgb, x, self.size)).ensemble
        return scores.float()


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
