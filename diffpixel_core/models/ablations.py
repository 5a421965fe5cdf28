# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The fusions that DiffPixelFormer is compared with: Tables II, III and V, and eq. (8) literally.

Every class is a `Fusion`, and both directions are computed from the same tokens a. Index 0 of a
parameter `(2, ...)` belongs to the direction that updates colour, index 1 to the other.

 * Table II, factors: `DsimNoFactor`. (Row 3, GeminiFusion, is `released.TwoKeys`.)
 * Table III, cross-attentions: `CrossAttention`, `WindowCrossAttention`, `LocalCrossAttention`,
   `PixelCrossAttention`. The first three replace a and have no residual, as published.
 * Table V, discriminators f_s of eq. (4): `JudgeEca`, `JudgeSe`, `JudgeGmlp`, `JudgeSigmoid`.
 * Ours: `DsimEq8`.

Source: DiffPixelFormer (arXiv 2511.13047); what its tables leave open was taken from the behaviour
of github.com/gongyan1/DiffPixelFormer at 7f7735f and from the parameters the tables print.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.diffpixelformer import (
    HEADS,
    START,
    Dsim,
    attend,
    difference,
    modulate,
    similarity,
)
from diffpixel_core.models.layers import PairLinear, pad_grid, partition, unpartition

WINDOW = 7  # side of a window in tokens
SHIFT = WINDOW // 2


class CrossAttention(nn.Module):
    """Every token attends to all of the other modality: y^m = softmax(q^m k^o / sqrt(C)) v^o.

    One head at full resolution; the three projections are shared by the directions.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a."""
        other = a.flip(0)
        return F.scaled_dot_product_attention(self.query(a), self.key(other), self.value(other))


class LocalCrossAttention(nn.Module):
    """Every token attends to the other modality's tokens in its 7x7 window.

    8 heads. Zeros fill the grid right and bottom to whole windows; they are projected and attended
    like tokens.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key = PairLinear(dim, dim), PairLinear(dim, dim)
        self.value, self.out = PairLinear(dim, dim), PairLinear(dim, dim)

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a on the grid `size`."""
        return self.attend(a, a.flip(0), size)

    def attend(self, x: Tensor, other: Tensor, size: tuple[int, int], shift: int = 0) -> Tensor:
        """Return what tokens `x` gather from tokens `other`; all `(2, B, N, C)`.

        Args:
            x: Tokens that ask.
            other: Tokens that are asked.
            size: Their grid.
            shift: Tokens by which the windows lie further right and down; what they then lack at
                the end of the grid they take from its start, unmasked.
        """
        asking, context = _windows(x, size, shift), _windows(other, size, shift)
        q, k, v = (_heads(part) for part in (self.query(asking), self.key(context),
                                             self.value(context)))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return _grid(self.out(attended.view_as(asking)), size, shift)


class WindowCrossAttention(nn.Module):
    """Two local cross-attentions in series, the second with windows shifted by 3.

    The first one's output asks the second; keys and values are the other modality's a both times.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((LocalCrossAttention(dim), LocalCrossAttention(dim)))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a on the grid `size`."""
        y, other = a, a.flip(0)
        for layer, shift in zip(self.layers, (0, SHIFT), strict=True):
            assert isinstance(layer, LocalCrossAttention)
            y = layer.attend(y, other, size, shift)
        return y


class PixelCrossAttention(nn.Module):
    """Attention of every pixel over one key: y^m = a^m + O_m(W_m (a^R + a^D) + b_m).

    The softmax over one key is 1 whatever query and key are. The published W_q and W_k therefore
    neither reach y nor get a gradient and are not stored: 4C^2 + 4C parameters of the 8C^2 + 8C
    that Table III counts per block.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.value, self.out = PairLinear(dim, dim), PairLinear(dim, dim, std=START)

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        y: Tensor = a + self.out(self.value(a.sum(0).expand_as(a)))
        return y


class DsimNoFactor(nn.Module):
    """`Dsim` with alpha = beta = 1, not learned: row 4 of Table II.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.difference1, self.difference2 = PairLinear(dim, dim), PairLinear(dim, dim)  # f_d
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)  # f_s
        self.qkv, self.out = PairLinear(dim, 3 * dim), PairLinear(dim, dim, std=START)
        self.key_noise = nn.Parameter(torch.randn(2, dim))
        self.value_noise = nn.Parameter(torch.randn(2, dim))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        d = difference(a, self.difference1, self.difference2)                        # Eq. 4
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)            # Eq. 4
        keys = a * d, a * s
        attended = attend(a, a, keys, self.qkv, self.key_noise, self.value_noise)    # Eq. 6-8
        y: Tensor = a + self.out(attended)                                           # Eq. 8
        return y


class DsimEq8(Dsim):
    """`Dsim` with eq. (8) as printed: the query of m meets keys K^o and values V^o of the other.

    V^o = [n_V^o + a^o, a^o - a^m, a^m], so that m attends to itself as the complement of o. The
    parameters are those of `Dsim`, W_k and W_v those of the direction that updates m.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        d = difference(a, self.difference1, self.difference2)                        # Eq. 4
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)            # Eq. 4
        second, third = modulate(a, d, s, self.alpha, self.beta)                     # Eq. 5, 7
        attended = attend(a, a.flip(0), (second.flip(0), third.flip(0)), self.qkv,
                          self.key_noise.flip(0), self.value_noise.flip(0))          # Eq. 6-8
        y: Tensor = a + self.out(attended)                                           # Eq. 8
        return y


class _Judge(nn.Module, ABC):
    """`Dsim` around another similarity discriminator, which the subclass brings with its layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.difference1, self.difference2 = PairLinear(dim, dim), PairLinear(dim, dim)  # f_d
        self.qkv, self.out = PairLinear(dim, 3 * dim), PairLinear(dim, dim, std=START)
        self.key_noise = nn.Parameter(torch.randn(2, dim))
        self.value_noise = nn.Parameter(torch.randn(2, dim))
        self.alpha = nn.Parameter(torch.ones(2))
        self.beta = nn.Parameter(torch.ones(2))

    @abstractmethod
    def judge(self, a: Tensor) -> Tensor:
        """Return S of eq. (4), broadcast to intra-modal tokens a `(2, B, N, C)`."""

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a."""
        d = difference(a, self.difference1, self.difference2)                        # Eq. 4
        keys = modulate(a, d, self.judge(a), self.alpha, self.beta)                  # Eq. 5, 7
        attended = attend(a, a, keys, self.qkv, self.key_noise, self.value_noise)    # Eq. 6-8
        y: Tensor = a + self.out(attended)                                           # Eq. 8
        return y


class JudgeEca(_Judge):
    """S by efficient channel attention: token mean, convolution over channels, sigmoid, linear.

    One S for all tokens. The linear layer that brings 2C channels back to C comes last, so that S
    is not bounded; with its bias and a convolution without one, Table V's parameters are met.

    Args:
        dim: Channels C, a multiple of 8.

    Source: ECA-Net, Wang et al., CVPR 2020, eq. (12) with gamma = 2, b = 1 for the kernel.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        reach = int((math.log2(2 * dim) + 1) / 2)
        kernel = reach + 1 - reach % 2
        self.channels = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.reduce = nn.Linear(2 * dim, dim)

    def judge(self, a: Tensor) -> Tensor:
        """Return S `(2, B, 1, C)`."""
        means = _pair_means(a)
        gates = self.channels(means.flatten(0, 1)).view_as(means).sigmoid()
        s: Tensor = self.reduce(gates)
        return s


class JudgeSe(_Judge):
    """S by squeeze and excitation: token mean, linear 2C to C/8, ReLU, linear to C, sigmoid.

    One S for all tokens. Without biases Table V's parameters are met.

    Args:
        dim: Channels C, a multiple of 8.

    Source: squeeze-and-excitation networks, Hu et al., CVPR 2018, with reduction 16.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.similarity1 = nn.Linear(2 * dim, 2 * dim // 16, bias=False)
        self.similarity2 = nn.Linear(2 * dim // 16, dim, bias=False)

    def judge(self, a: Tensor) -> Tensor:
        """Return S `(2, B, 1, C)`."""
        s: Tensor = self.similarity2(F.relu(self.similarity1(_pair_means(a))))
        return s.sigmoid()


class JudgeGmlp(_Judge):
    """S by the MLP of `Dsim`, a gate and softmax: softmax(x * (W LN(x) + b)), x = f_s([a^m, a^o]).

    The gate starts open, W = 0 and b = 1, where it equals `Dsim`. The norm has no scale and shift
    of its own: W and b make them superfluous.

    Args:
        dim: Channels C, a multiple of 8.

    Source: gMLP, Liu et al., NeurIPS 2021, eq. (2); the paper names no composition, this is ours.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)
        self.gate_weight = nn.Parameter(torch.zeros(dim, dim))
        self.gate_bias = nn.Parameter(torch.ones(dim))

    def judge(self, a: Tensor) -> Tensor:
        """Return S `(2, B, N, C)`."""
        x = similarity(a, self.similarity1, self.similarity2)
        normalised = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        return (x * F.linear(normalised, self.gate_weight, self.gate_bias)).softmax(-1)


class JudgeSigmoid(_Judge):
    """S by the MLP of `Dsim` with a sigmoid for the softmax.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)

    def judge(self, a: Tensor) -> Tensor:
        """Return S `(2, B, N, C)`."""
        return similarity(a, self.similarity1, self.similarity2).sigmoid()


def _pair_means(a: Tensor) -> Tensor:
    """Return the token means of [a^m, a^o], `(2, B, 1, 2C)`."""
    means = a.mean(2, keepdim=True)
    return torch.cat((means, means.flip(0)), dim=-1)


def _windows(tokens: Tensor, size: tuple[int, int], shift: int) -> Tensor:
    """Return `(2, B, N, C)` tokens as windows `(2, B * windows, 49, C)`, zeros where they lack."""
    grid = pad_grid(tokens.flatten(0, 1).unflatten(1, size), WINDOW)
    windows = partition(grid.roll((-shift, -shift), (1, 2)), WINDOW)
    return windows.reshape(2, -1, *windows.shape[2:])


def _grid(windows: Tensor, size: tuple[int, int], shift: int) -> Tensor:
    """Return windows `(2, B * windows, 49, C)` as `(2, B, N, C)` tokens: undoes `_windows`."""
    height, width = (side + -side % WINDOW for side in size)
    count = height * width // WINDOW ** 2
    grid = unpartition(windows.reshape(-1, count, *windows.shape[2:]), (height, width), WINDOW)
    grid = grid.roll((shift, shift), (1, 2))[:, :size[0], :size[1]]
    return grid.reshape(2, -1, size[0] * size[1], grid.shape[-1])


def _heads(windows: Tensor) -> Tensor:
    """Return windows `(2, B * windows, 49, C)` split: `(2 B windows, HEADS, 49, C / HEADS)`."""
    flat = windows.flatten(0, 1)
    return flat.reshape(*flat.shape[:2], HEADS, -1).transpose(1, 2)
