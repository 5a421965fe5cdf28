# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that carry two modalities at once: shared where the paper shares, own where it does not.

A pair of token maps is one tensor `(2, B, N, C)`, colour first. Whatever the modalities share is
then a single product over all of it; whatever is a modality's own has parameters `(2, ...)`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Fusion = type[nn.Module]
"""Class of a block's inter-modal module, made from its channels C: `Fusion(dim)`.

It turns intra-modal tokens a `(2, B, N, C)` on a grid `(h, w)`, N = h w, into fused ones of
the same shape: `module(a, size)`.
"""


class PairNorm(nn.Module):
    """Layer norm over channels with one scale and shift per modality.

    Args:
        dim: Channels C.
        eps: Added to the variance; 1e-6 throughout MiT.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(2, dim))
        self.bias = nn.Parameter(torch.zeros(2, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised: `(2, B, N, C)`."""
        x = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])


class PairLinear(nn.Module):
    """A linear layer per modality, both in one batched product.

    Args:
        dim: Channels in.
        out: Channels out.
        std: Standard deviation of the weights at the start; by default Xavier's.
    """

    def __init__(self, dim: int, out: int, *, std: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, out, dim))
        self.bias = nn.Parameter(torch.zeros(2, out))
        for weight in self.weight:
            if std is None:
                nn.init.xavier_uniform_(weight)
            else:
                nn.init.trunc_normal_(weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(2, B, N, out)` of `x` `(2, B, N, dim)`."""
        return pair_linear(x, self.weight, self.bias)


def pair_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x[m] @ weight[m].T + bias[m]` for both modalities m.

    Args:
        x: `(2, B, N, C)`.
        weight: `(2, O, C)`.
        bias: `(2, O)` or None.
    """
    flat = x.reshape(2, -1, x.shape[-1])
    turned = weight.transpose(1, 2)
    product = (torch.bmm(flat, turned) if bias is None
               else torch.baddbmm(bias[:, None], flat, turned))
    return product.view(*x.shape[:-1], weight.shape[1])


class DropPath(nn.Module):
    """Skip a residual branch at random while training, scaling what remains.

    Drawn anew for each sample, modality and branch.

    Args:
        rate: Probability of skipping, 0 to 1.

    Source: stochastic depth, Huang et al., ECCV 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `(2, B, N, C)` with some of its `(N, C)` maps set to zero."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = torch.empty(x.shape[0], x.shape[1], 1, 1, dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(keep).div_(keep)


def to_maps(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `(2, B, N, C)` tokens as `(2B, C, h, w)` maps; a view in channels-last order."""
    _, batch, _, channels = tokens.shape
    return tokens.reshape(2 * batch, *size, channels).permute(0, 3, 1, 2)


def to_tokens(maps: Tensor) -> Tensor:
    """Return `(2B, C, h, w)` maps as `(2, B, N, C)` tokens."""
    tokens = maps.flatten(2).transpose(1, 2)
    return tokens.reshape(2, -1, *tokens.shape[1:])


def partition(grid: Tensor, window: int) -> Tensor:
    """Return `(B, n, w*w, C)` windows of a `(B, H, W, C)` grid of whole windows."""
    cut: Tensor = grid.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def unpartition(windows: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Return the `(B, H, W, C)` grid of `partition`'s windows."""
    rows, columns = size[0] // window, size[1] // window
    cut: Tensor = windows.unflatten(1, (rows, columns)).unflatten(3, (window, window))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def pad_grid(grid: Tensor, multiple: int) -> Tensor:
    """Return a `(..., H, W, C)` grid with zeros right and below, to multiples of `multiple`."""
    below, right = -grid.shape[-3] % multiple, -grid.shape[-2] % multiple
    return F.pad(grid, (0, 0, 0, right, 0, below)) if below or right else grid
