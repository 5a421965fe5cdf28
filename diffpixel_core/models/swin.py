# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Swin, the shifted-window encoder, over two modalities with an injected fusion.

Source: Swin Transformer, Liu et al., ICCV 2021, sections 3.1-3.3; two modalities with shared
weights as in DiffPixelFormer's Swin variants: block norms are shared, the norms of the patch
embedding and of the four outputs are a modality's own. Written from those descriptions.

Any image size: zeros are added right and below where a patch, a window or a pair of tokens is cut
off, and cut away again behind the windows. They take part in the attention unmasked, and odd blocks
shift even where one window covers the whole map, as the segmentation code of Swin does.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.layers import (
    DropPath,
    Fusion,
    PairNorm,
    pad_grid,
    partition,
    to_maps,
    to_tokens,
    unpartition,
)

PATCH = 4
MASKED = -100.0  # added between tokens that only the shift brought into one window


@dataclass(frozen=True, slots=True)
class Swin:
    """The numbers of one Swin.

    Attributes:
        dim: Channels of the first stage; each further stage doubles them.
        depths: Blocks of the four stages.
        heads: Attention heads of the four stages.
        window: Side of a window, tokens.
        expansion: Hidden channels of the feed-forward network over its channels.
    """

    dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7
    expansion: int = 4

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.dim * 2 ** s for s in range(4))

    def encoder(self, fusion: Fusion, drop_path: float = 0.0) -> 'SwinEncoder':
        """Return a freshly initialised encoder with these numbers."""
        return SwinEncoder(self, fusion, drop_path)


SWINS = {
    'swin_t': Swin(),
    'swin_s': Swin(depths=(2, 2, 18, 2)),
    'swin_l_w7': Swin(dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
    'swin_l': Swin(dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12),
}


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels as normalised tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, PATCH, PATCH)
        self.norm = PairNorm(dim)

    def forward(self, maps: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return `(2, B, N, C)` tokens and their grid of `(2B, 3, H, W)` images."""
        maps = self.conv(F.pad(maps, (0, -maps.shape[3] % PATCH, 0, -maps.shape[2] % PATCH)))
        return self.norm(to_tokens(maps)), (maps.shape[2], maps.shape[3])


class PatchMerging(nn.Module):
    """Every 2x2 tokens become one of twice the channels; shared by the modalities."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduce = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Return `(2, B, N/4, 2C)` tokens and their grid of `x` `(2, B, N, C)` on `size`."""
        grid = pad_grid(x.unflatten(2, size), 2)
        quads = torch.cat([grid[..., row::2, column::2, :] for column in (0, 1) for row in (0, 1)],
                          dim=-1)
        size = (quads.shape[2], quads.shape[3])
        return self.reduce(self.norm(quads.flatten(2, 3))), size


class WindowAttention(nn.Module):
    """Self-attention among the tokens of a window, with a learned bias per relative position."""

    relative_position: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer('relative_position', relative_position(window), persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Return attended tokens of `windows` `(2B, n, w*w, C)`.

        Args:
            windows: n windows an image.
            mask: `(n, 1, w*w, w*w)`, added to the scores, or None.
        """
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in self.qkv(windows.flatten(0, 1)).chunk(3, dim=-1))  # 2Bn heads ww d
        bias = self.bias_table[self.relative_position].permute(2, 0, 1)[None]     # 1 heads ww ww
        if mask is not None:  # four dimensions: with five, torch leaves its fused kernel
            bias = (bias + mask).repeat(windows.shape[0], 1, 1, 1)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.project(attended.transpose(1, 2).reshape(windows.shape))
        return out


class FeedForward(nn.Module):
    """Linear, GELU, linear; shared by the modalities."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., C)` of `x` `(..., C)`."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Window attention within each modality, fusion across them, feed-forward network."""

    def __init__(self, dim: int, heads: int, window: int, expansion: int, *,
                 shift: int, fusion: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, window)
        self.fusion = fusion
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, expansion * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int], mask: Tensor) -> Tensor:
        """Return the next `(2, B, N, C)` tokens on the grid `size`.

        Args:
            x: `(2, B, N, C)`.
            size: Grid of the tokens.
            mask: Of the shifted windows, see `shift_mask`.
        """
        intra = self._within(self.norm1(x), size, mask)                  # Eq. 3
        x = x + self.drop_path(self.fusion(intra, size))
        out: Tensor = x + self.drop_path(self.feed_forward(self.norm2(x)))
        return out

    def _within(self, x: Tensor, size: tuple[int, int], mask: Tensor) -> Tensor:
        grid = pad_grid(x.flatten(0, 1).unflatten(1, size), self.window)
        padded = grid.shape[1], grid.shape[2]
        if self.shift:
            grid = grid.roll((-self.shift, -self.shift), (1, 2))
        windows = self.attention(partition(grid, self.window), mask if self.shift else None)
        grid = unpartition(windows, padded, self.window)
        if self.shift:
            grid = grid.roll((self.shift, self.shift), (1, 2))
        return grid[:, :size[0], :size[1]].reshape(x.shape)


class Stage(nn.Module):
    """Merging of patches (not in the first stage), blocks and the norm of the stage's output."""

    def __init__(self, merge: PatchMerging | None, blocks: list[Block], dim: int,
                 window: int) -> None:
        super().__init__()
        self.window = window
        self.merge = merge
        self.blocks = nn.ModuleList(blocks)
        self.norm = PairNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]
                ) -> tuple[Tensor, tuple[int, int], Tensor]:
        """Return tokens `(2, B, N, C)`, their grid, and as an output `(2B, C, h, w)` maps."""
        if self.merge is not None:
            x, size = self.merge(x, size)
        mask = shift_mask(size, self.window, x.dtype, x.device)
        for block in self.blocks:
            x = block(x, size, mask)
        return x, size, to_maps(self.norm(x), size)


class SwinEncoder(nn.Module):
    """Four stages over two modalities at strides 4, 8, 16 and 32.

    Args:
        row: The numbers of the variant.
        fusion: Makes the inter-modal module of a block from its channels.
        drop_path: Rate of the last block; it rises linearly from 0.
    """

    def __init__(self, row: Swin, fusion: Fusion, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dims = row.dims
        last = max(sum(row.depths) - 1, 1)
        starts = (0, *accumulate(row.depths))
        self.embed = PatchEmbed(row.dim)
        self.stages = nn.ModuleList()
        for s, dim in enumerate(row.dims):
            blocks = [Block(dim, row.heads[s], row.window, row.expansion, fusion=fusion(dim),
                            shift=row.window // 2 if j % 2 else 0,
                            drop_path=drop_path * (starts[s] + j) / last)
                      for j in range(row.depths[s])]
            merge = PatchMerging(dim // 2) if s else None
            self.stages.append(Stage(merge, blocks, dim, row.window))

    def forward(self, rgb: Tensor, x: Tensor) -> list[Tensor]:
        """Return four maps `(2B, C, H/s, W/s)`, colour in the first half of the batch.

        Args:
            rgb: `(B, 3, H, W)` normalised colour.
            x: `(B, 3, H, W)` normalised second modality.
        """
        tokens, size = self.embed(torch.cat((rgb, x)))
        features = []
        for stage in self.stages:
            tokens, size, maps = stage(tokens, size)
            features.append(maps)
        return features


def relative_position(window: int) -> Tensor:
    """Return `(w*w, w*w)` int64: the row of the bias table for each pair of a window's tokens."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    place = torch.stack((rows.flatten(), columns.flatten()))
    apart = place[:, :, None] - place[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def shift_mask(size: tuple[int, int], window: int, dtype: torch.dtype,
               device: torch.device) -> Tensor:
    """Return `(n, 1, w*w, w*w)`: `MASKED` between tokens of a window that are no neighbours.

    Args:
        size: Grid of the tokens, before padding to whole windows.
        window: Side w of a window.
        dtype: Of the result.
        device: Of the result.
    """
    height, width = (side + -side % window for side in size)

    def regions(side: int) -> Tensor:
        at = torch.arange(side, device=device)
        return (at >= side - window).int() + (at >= side - window // 2).int()

    region = 3 * regions(height)[:, None] + regions(width)
    inside = partition(region[None, :, :, None], window)[0, :, :, 0]     # n w*w
    apart = inside[:, None, :] != inside[:, :, None]
    return apart[:, None].to(dtype) * MASKED
