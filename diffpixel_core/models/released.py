# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the published code computes, which is not the paper: so that its checkpoints load and run.

Source: github.com/gongyan1/DiffPixelFormer at 7f7735f, examined by running it unchanged.
 * MiT backbones: the attention over a pixel's keys sees a single key. The softmax over one key is
   1, so queries, keys, both discriminators and the factors neither reach the output nor get a
   gradient. What remains is linear in the tokens: `OneKey`.
 * Swin backbones: two keys and no difference discriminator, the fusion of GeminiFusion (Jia et
   al., ICML 2024): `TwoKeys`. It is also row 3 of Table II.
"""

import torch
from torch import Tensor, nn

from diffpixel_core.models.diffpixelformer import HEADS, START, similarity, spread_heads, sum_heads
from diffpixel_core.models.layers import PairLinear, pair_linear


class OneKey(nn.Module):
    """The published fusion on MiT in closed form: y^m = a^m + O_m(W_m (a^R + a^D + n_m) + b_m).

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.value, self.out = PairLinear(dim, dim), PairLinear(dim, dim, std=START)
        self.value_noise = nn.Parameter(torch.randn(2, dim))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        y: Tensor = a + self.out(self.value(a.sum(0) + self.value_noise[:, None, None]))
        return y


class TwoKeys(nn.Module):
    """Attention of each pixel over two keys: itself with noise, and itself where both agree.

    K^m = [n_K + a^m, a^m S^m], V^m = [n_V + a^m, a^o]: `Dsim` without the difference.

    Args:
        dim: Channels C, a multiple of 8.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)
        self.qkv = PairLinear(dim, 3 * dim)
        self.out = PairLinear(dim, dim, std=START)
        self.key_noise = nn.Parameter(torch.randn(2, dim))
        self.value_noise = nn.Parameter(torch.randn(2, dim))

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` fused tokens y of intra-modal tokens a; pixel by pixel."""
        other = a.flip(0)
        s = similarity(a, self.similarity1, self.similarity2).softmax(-1)
        _, w_k, w_v = self.qkv.weight.chunk(3, dim=1)
        _, b_k, b_v = self.qkv.bias.chunk(3, dim=1)
        q, key, value = self.qkv(a).chunk(3, dim=-1)
        key = key + pair_linear(self.key_noise[:, None, None], w_k)
        value = value + pair_linear(self.value_noise[:, None, None], w_v)
        # A softmax over two is a sigmoid of the difference.
        scale = (a.shape[-1] // HEADS) ** -0.5
        margin = scale * sum_heads(q * (key - pair_linear(a * s, w_k, b_k)))
        p = spread_heads(margin.sigmoid(), a)
        y: Tensor = a + self.out(p * value + (1 - p) * pair_linear(other, w_v, b_v))
        return y
