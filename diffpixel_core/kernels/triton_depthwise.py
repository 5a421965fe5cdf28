# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.depthwise_gelu` as a Triton kernel over tokens as they lie: no maps, no second pass."""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from diffpixel_core.kernels.rows import assert_no_gradient

BLOCK = (16, 64)  # pixels and channels in a program; powers of two


def depthwise_gelu(tokens: Tensor, size: tuple[int, int], weight: Tensor, bias: Tensor, *,
                   block: tuple[int, int] = BLOCK) -> Tensor:
    """Return `plain.depthwise_gelu`; its arguments, of half or single precision.

    The weights are read fastest from memory where the channels of one tap lie side by side, as
    `taps_apart` lays them. `block` is how many pixels and channels a program takes.
    """
    assert_no_gradient(tokens, weight, bias)
    channels = tokens.shape[-1]
    taps = weight.reshape(channels, 9)
    rows = tokens.reshape(-1, channels)
    rows = rows if rows.stride(-1) == 1 else rows.contiguous()
    h, w = size
    assert tokens.shape[-2] == h * w, f'{tokens.shape[-2]} tokens are not a grid of {h} x {w}'
    out = torch.empty(tokens.shape, dtype=tokens.dtype, device=tokens.device)
    with torch.cuda.device_of(tokens):
        _depthwise_gelu[(triton.cdiv(len(rows), block[0]), triton.cdiv(channels, block[1]))](
            rows, taps, bias.contiguous(), out, len(rows), h, w, rows.stride(0),
            *taps.stride(), channels, *block, num_warps=4, enable_fp_fusion=True)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _depthwise_gelu(
        tokens: tl.tensor, weight: tl.tensor, bias: tl.tensor, out: tl.tensor, rows: tl.tensor,
        h: tl.tensor, w: tl.tensor, by_row: tl.tensor, by_channel: tl.tensor, by_tap: tl.tensor,
        channels: tl.constexpr, block_rows: tl.constexpr, block_channels: tl.constexpr) -> None:
    r = tl.program_id(0) * block_rows + tl.arange(0, block_rows)[:, None]
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)[None, :]
    real = c < channels
    ok = (r < rows) & real
    y, x = r // w % h, r % w
    start = tokens + r.to(tl.int64) * by_row + c
    total = tl.load(bias + c, real, 0.0).to(tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            above, left = y + (i - 1), x + (j - 1)
            inside = ok & (above >= 0) & (above < h) & (left >= 0) & (left < w)
            tap = tl.load(weight + c * by_channel + (3 * i + j) * by_tap, real, 0.0)
            token = tl.load(start + ((i - 1) * w + (j - 1)) * by_row, inside, 0.0)
            total += tap.to(tl.float32) * token.to(tl.float32)
    total = 0.5 * total * (1 + tl.erf(total * 0.7071067811865476))
    tl.store(out + r.to(tl.int64) * channels + c, total.to(out.dtype.element_ty), ok)
