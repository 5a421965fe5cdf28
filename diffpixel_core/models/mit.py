# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""MiT, the Mix Transformer encoder, over two modalities with an injected fusion.

Source: SegFormer, Xie et al., NeurIPS 2021, section 3.1; two modalities with shared weights and
own layer norms as in DiffPixelFormer, section III-B. Written from those descriptions.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.layers import DropPath, Fusion, PairNorm, to_maps, to_tokens


@dataclass(frozen=True, slots=True)
class Mit:
    """The numbers of one MiT, four stages each.

    Attributes:
        dims: Channels.
        depths: Blocks.
        heads: Attention heads.
        reductions: Factor by which keys and values are reduced in each direction.
        expansion: Hidden channels of the feed-forward network over its channels.
    """

    dims: tuple[int, int, int, int] = (64, 128, 320, 512)
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    expansion: int = 4

    def encoder(self, fusion: Fusion, drop_path: float = 0.0) -> 'MitEncoder':
        """Return a freshly initialised encoder with these numbers."""
        return MitEncoder(self, fusion, drop_path)


MITS = {
    'mit_b0': Mit(dims=(32, 64, 160, 256)),
    'mit_b1': Mit(),
    'mit_b2': Mit(depths=(3, 4, 6, 3)),
    'mit_b3': Mit(depths=(3, 4, 18, 3)),
    'mit_b4': Mit(depths=(3, 8, 27, 3)),
    'mit_b5': Mit(depths=(3, 6, 40, 3)),
}


class PatchEmbed(nn.Module):
    """Overlapping patches of a map as normalised tokens."""

    def __init__(self, dim: int, out: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out, kernel, stride, padding=kernel // 2)
        self.norm = PairNorm(out)

    def forward(self, maps: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return `(2, B, N, C)` tokens and their grid of `(2B, C_in, H, W)` maps."""
        maps = self.conv(maps)
        return self.norm(to_tokens(maps)), (maps.shape[2], maps.shape[3])


class EfficientAttention(nn.Module):
    """Self-attention within each modality, keys and values at reduced resolution, eq. (3).

    Without the output projection: in a block that comes after the fusion.
    """

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.reduce = (nn.Conv2d(dim, dim, reduction, reduction) if reduction > 1 else None)
        self.reduce_norm = PairNorm(dim) if reduction > 1 else None

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` attended tokens of `x` on the grid `size`."""
        context = x
        if self.reduce is not None and self.reduce_norm is not None:
            context = self.reduce_norm(to_tokens(self.reduce(to_maps(x, size))))
        q = self._split(self.query(x))                           # 2B heads N d
        k, v = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v)
        return attended.transpose(1, 2).reshape(x.shape)

    def _split(self, x: Tensor) -> Tensor:
        split = x.flatten(0, 1)
        return split.reshape(*split.shape[:2], self.heads, -1).transpose(1, 2)


class MixFeedForward(nn.Module):
    """Linear, depthwise 3x3 convolution, GELU, linear; shared by the modalities."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return `(2, B, N, C)` of `x` on the grid `size`."""
        hidden = to_tokens(self.depthwise(to_maps(self.fc1(x), size)))
        out: Tensor = self.fc2(F.gelu(hidden))
        return out


class Block(nn.Module):
    """Intra-inter modal interaction block (IIMIB), section III-C and eq. (2), (3)."""

    def __init__(self, dim: int, heads: int, reduction: int, expansion: int, *,
                 fusion: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = PairNorm(dim)
        self.attention = EfficientAttention(dim, heads, reduction)
        self.fusion = fusion
        self.project = nn.Linear(dim, dim)
        self.norm2 = PairNorm(dim)
        self.feed_forward = MixFeedForward(dim, expansion * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the next `(2, B, N, C)` tokens on the grid `size`."""
        intra = self.attention(self.norm1(x), size)              # Eq. 3
        x = x + self.drop_path(self.project(self.fusion(intra, size)))
        out: Tensor = x + self.drop_path(self.feed_forward(self.norm2(x), size))
        return out


class Stage(nn.Module):
    """Patch embedding, blocks and the norm of one resolution."""

    def __init__(self, embed: PatchEmbed, blocks: list[Block], dim: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = PairNorm(dim)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(2B, C, h, w)` of the previous stage's `(2B, C_in, H, W)`."""
        tokens, size = self.embed(maps)
        for block in self.blocks:
            tokens = block(tokens, size)
        return to_maps(self.norm(tokens), size)


class MitEncoder(nn.Module):
    """Four stages over two modalities at strides 4, 8, 16 and 32.

    Args:
        row: The numbers of the variant.
        fusion: Makes the inter-modal module of a block from its channels.
        drop_path: Rate of the last block; it rises linearly from 0.
    """

    def __init__(self, row: Mit, fusion: Fusion, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dims = row.dims
        last = max(sum(row.depths) - 1, 1)
        rates = [drop_path * i / last for i in range(sum(row.depths))]
        starts = (0, *accumulate(row.depths))
        self.stages = nn.ModuleList()
        for s, dim in enumerate(row.dims):
            embed = (PatchEmbed(3, dim, kernel=7, stride=4) if s == 0
                     else PatchEmbed(row.dims[s - 1], dim, kernel=3, stride=2))
            blocks = [Block(dim, row.heads[s], row.reductions[s], row.expansion,
                            fusion=fusion(dim), drop_path=rate)
                      for rate in rates[starts[s]:starts[s + 1]]]
            self.stages.append(Stage(embed, blocks, dim))

    def forward(self, rgb: Tensor, x: Tensor) -> list[Tensor]:
        """Return four maps `(2B, C, H/s, W/s)`, colour in the first half of the batch.

        Args:
            rgb: `(B, 3, H, W)` normalised colour.
            x: `(B, 3, H, W)` normalised second modality.
        """
        maps = torch.cat((rgb, x))
        features = []
        for stage in self.stages:
            maps = stage(maps)
            features.append(maps)
        return features
