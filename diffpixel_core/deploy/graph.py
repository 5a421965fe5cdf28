# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The one deployable graph: what every runtime computes, from camera images to class scores.

Resizing and normalising live inside the graph, so there is no second preprocessing to drift.
"""

from collections.abc import Mapping
from typing import Any

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
        # NaN fails both comparisons, so everything that was not measured becomes 0.
        x = torch.where((x > 0) & (x < torch.inf), x, 0.0).clamp(max=self.x_maximum)
        # Before anything else: computing in bf16, OpenVINO would round metres to 8 bits first,
        # 16 mm at 3 m. That doubled the error of all scores.
        other = ((x - self.x_mean.squeeze(1)) / self.x_std.squeeze(1)).unsqueeze(1)
        if size is not None and colour.shape[2:] != size:
            colour = F.interpolate(colour, size, mode='bilinear', align_corners=False)
            # Nearest: averaging a hole with a surface would invent a depth in mid-air.
            other = resize_nearest(other, size)
        colour = (colour - self.rgb_mean) / self.rgb_std
        return colour, other.expand(-1, 3, -1, -1)


def resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `(B, C, h, w)`: for each new pixel the old one that holds its centre.

    The indices are whole numbers known beforehand, so every runtime takes the same pixels.

    Args:
        maps: `(B, C, H, W)`.
        size: `(h, w)`.
    """
    for dim, (new, old) in enumerate(zip(size, maps.shape[2:], strict=True), start=2):
        chosen = (2 * torch.arange(new, device=maps.device) + 1) * old // (2 * new)
        maps = maps.index_select(dim, chosen)
    return maps


class DeployGraph(nn.Module):
    """uint8 colour and float32 metres in, class scores at a quarter of the network's size out.

    Args:
        network: Normalised `(B, 3, h, w)` twice -> `(B, K, h/4, w/4)` scores, in eval mode: a
            network of `models.build_model` after `fold`, or as trained in an `Ensemble`.
        normalisation: Per modality `maximum`, `mean`, `std`, as in the manifest; colour first.
        size: `(height, width)` the network works at.
    """

    def __init__(self, network: nn.Module, normalisation: Mapping[str, Mapping[str, Any]],
                 size: tuple[int, int]) -> None:
        super().__init__()
        self.inputs = NetworkInputs(normalisation)
        self.network = network
        self.size = size

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, h/4, w/4)` float32 class scores.

        Args:
            rgb: `(B, H, W, 3)` uint8.
            x: `(B, H, W)` float32 in the modality's unit; 0, NaN, infinite, negative = missing.
        """
        scores: Tensor = self.network(*self.inputs(rgb, x, self.size))
        return scores.float()


class Ensemble(nn.Module):
    """A network as it was trained, of whose output only the ensemble's scores are wanted.

    Args:
        model: A network of `models.build_model`, in eval mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, h/4, w/4)` class scores of two normalised `(B, 3, h, w)` images."""
        scores: Tensor = self.model(rgb, x).ensemble
        return scores
