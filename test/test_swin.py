# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Swin's windows, shifts and padding, against loops over tokens written from the paper."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models.diffpixelformer import DiffPixelFormer, NoFusion
from diffpixel_core.models.layers import partition, unpartition
from diffpixel_core.models.released import TwoKeys
from diffpixel_core.models.swin import Block, PatchMerging, Swin, relative_position, shift_mask

TINY = Swin(dim=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), window=3)


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return module.double().eval()


def test_bias_rows_tell_relative_positions_apart() -> None:
    index = relative_position(3)
    places = list(itertools.product(range(3), range(3)))
    for i, (row, column) in enumerate(places):
        for j, (other_row, other_column) in enumerate(places):
            assert index[i, j] == (row - other_row + 2) * 5 + column - other_column + 2


def test_windows_come_back_as_the_grid_they_were_cut_from() -> None:
    grid = torch.arange(2 * 6 * 9 * 2).reshape(2, 6, 9, 2)
    windows = partition(grid, 3)
    assert windows.shape == (2, 6, 9, 2)
    assert torch.equal(windows[1, 4], grid[1, 3:6, 3:6].flatten(0, 1))
    assert torch.equal(unpartition(windows, (6, 9), 3), grid)


@pytest.mark.parametrize('size', [(6, 6), (5, 7), (2, 3), (1, 1)])
@pytest.mark.parametrize('shift', [0, 1])
@torch.no_grad()
def test_block_equals_a_loop_over_tokens(size: tuple[int, int], shift: int) -> None:
    """Every token attends to those of its window, as the shifted, padded grid draws windows."""
    window, dim, heads = 3, 4, 2
    block = randomised(Block(dim, heads, window, 2, shift=shift, fusion=NoFusion(dim),
                             drop_path=0.0))
    x = torch.randn(2, 1, size[0] * size[1], dim, dtype=torch.float64)
    mask = shift_mask(size, window, torch.float64, x.device)
    found = block(x, size, mask)
    for m in (0, 1):
        expected = slow_block(block, x[m, 0].view(*size, dim), window=window, shift=shift,
                              heads=heads)
        torch.testing.assert_close(found[m, 0].view(*size, dim), expected, rtol=0, atol=1e-12)


def slow_block(block: nn.Module, x: Tensor, *, window: int, shift: int, heads: int) -> Tensor:
    height, width, dim = x.shape
    padded = [side + -side % window for side in (height, width)]
    tokens = {(r, c): block.norm1(x[r, c]) if r < height and c < width
              else torch.zeros(dim, dtype=x.dtype)
              for r in range(padded[0]) for c in range(padded[1])}

    def home(r: int, c: int) -> tuple[int, int, bool, bool]:
        """The window a token lies in after the roll, and whether the roll took it round."""
        rolled = (r - shift) % padded[0], (c - shift) % padded[1]
        return rolled[0] // window, rolled[1] // window, r < shift, c < shift

    table, attention = block.attention.bias_table, block.attention
    out = torch.empty_like(x)
    for r in range(height):
        for c in range(width):
            q = attention.qkv(tokens[r, c])[:dim].view(heads, -1)
            near = [at for at in tokens if home(*at) == home(r, c)]
            scores, values = [], []
            for at in near:
                _, k, v = attention.qkv(tokens[at]).view(3, heads, -1)
                down = (r - shift) % padded[0] - (at[0] - shift) % padded[0]
                right = (c - shift) % padded[1] - (at[1] - shift) % padded[1]
                bias = table[(down + window - 1) * (2 * window - 1) + right + window - 1]
                scores.append((q * k).sum(-1) / (dim / heads) ** 0.5 + bias)
                values.append(v)
            p = torch.stack(scores).softmax(0)
            a = attention.project((p[..., None] * torch.stack(values)).sum(0).flatten())
            y = x[r, c] + a
            out[r, c] = y + block.feed_forward(block.norm2(y))
    return out


@torch.no_grad()
def test_merging_takes_two_by_two_tokens_column_by_column() -> None:
    merge = randomised(PatchMerging(2))
    x = torch.randn(2, 1, 3 * 5, 2, dtype=torch.float64)
    found, size = merge(x, (3, 5))
    assert size == (2, 3)
    grid = F.pad(x[1, 0].view(3, 5, 2), (0, 0, 0, 1, 0, 1))
    for r in range(2):
        for c in range(3):
            quad = torch.cat([grid[2 * r + i, 2 * c + j]
                              for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))])
            torch.testing.assert_close(found[1, 0, r * 3 + c], merge.reduce(merge.norm(quad)))


@pytest.mark.parametrize('size', [(67, 45), (64, 96), (33, 32), (4, 5)])
@torch.no_grad()
def test_any_size_equals_the_same_image_with_black_right_and_below(size: tuple[int, int]) -> None:
    """Both modalities are padded alike to whole patches."""
    model = randomised(DiffPixelFormer(TINY, 3, TwoKeys))
    rgb, x = torch.randn(2, 1, 3, *size, dtype=torch.float64)
    padded = [F.pad(image, (0, -size[1] % 4, 0, -size[0] % 4)) for image in (rgb, x)]
    for found, expected in zip(model.encoder(rgb, x), model.encoder(*padded), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    maps = model.encoder(rgb, x)
    sides = [(-(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32)]
    assert [tuple(level.shape[2:]) for level in maps] == sides


@torch.no_grad()
def test_swapping_shared_streams_swaps_the_outputs() -> None:
    """Nothing but norms and the fusion's directions tells colour from depth."""
    model = randomised(DiffPixelFormer(TINY, 3, NoFusion))
    for module in model.modules():
        if type(module).__name__ == 'PairNorm':
            module.weight[1], module.bias[1] = module.weight[0], module.bias[0]
    rgb, x = torch.randn(2, 1, 3, 40, 52, dtype=torch.float64)
    there, back = model(rgb, x).aux, model(x, rgb).aux
    torch.testing.assert_close(there[0], back[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(there[1], back[0], rtol=0, atol=1e-12)
