# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Decoder heads: from features at four resolutions to class scores at a quarter of the input.

Source: the all-MLP decoder of SegFormer, Xie et al., NeurIPS 2021, section 3.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MlpHead(nn.Module):
    """Linear per level, one fusing 1x1 convolution, batch norm, ReLU, classifier.

    The published order is: enlarge every level, concatenate, fuse. Enlarging and a 1x1 convolution
    commute, so each level is fused at its own resolution and the sum enlarged: the same values for
    a third of the products.

    Args:
        dims: Channels of the four levels, finest first.
        classes: Number of classes K.
        channels: Width of the head.
    """

    def __init__(self, dims: tuple[int, ...], classes: int, channels: int = 256) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(dim, channels) for dim in dims)
        # Input channels: the coarsest level first, as in the published weights.
        self.fuse = nn.Conv2d(len(dims) * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return `(B, K, h, w)` scores at the finest level's size.

        Args:
            features: Maps `(B, C, h, w)`, finest first.
        """
        size = features[0].shape[2:]
        fused = torch.zeros((), device=features[0].device)
        shares = self.fuse.weight.flatten(1).chunk(len(features), dim=1)
        for linear, share, level in zip(self.linears, reversed(shares), features, strict=True):
            level = F.linear(linear(level.permute(0, 2, 3, 1)), share).permute(0, 3, 1, 2)
            if level.shape[2:] != size:
                level = F.interpolate(level, size, mode='bilinear', align_corners=False)
            fused = fused + level
        out: Tensor = self.classify(self.dropout(F.relu(self.norm(fused))))
        return out
