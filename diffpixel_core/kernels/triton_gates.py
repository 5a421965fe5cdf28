# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.gates` as a Triton kernel: both softmaxes and both products in one pass."""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from diffpixel_core.kernels.rows import assert_no_gradient, token_rows

TILE = 1024  # channels of pixels in a program, at least one whole pixel; powers of two


def gates(a: Tensor, f: Tensor, s: Tensor, *, tile: int = TILE) -> Tensor:
    """Return `plain.gates`; its arguments, of any mixture of half and single precision.

    `tile` is how many channels of pixels a program takes.
    """
    assert_no_gradient(a, f, s)
    tokens = [token_rows(part) for part in (a, f, s)]
    _, rows, channels = tokens[0].shape
    out = torch.empty((2, 2, *a.shape[1:]), dtype=a.dtype, device=a.device)
    block_channels = triton.next_power_of_2(channels)
    block_rows = max(1, tile // block_channels)
    with torch.cuda.device_of(a):
        _gates[(triton.cdiv(rows, block_rows), 2)](
            *tokens, out, rows, *(step for part in tokens for step in part.stride()[:2]),
            channels, block_rows, block_channels,
            num_warps=min(8, max(1, block_rows * block_channels // 256)), enable_fp_fusion=True)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _softmax(start: tl.tensor, inside: tl.tensor, ok: tl.tensor, real: tl.tensor) -> tl.tensor:
    """Return the softmax over channels of the program's rows, in single precision."""
    x = tl.load(start + inside, ok, 0.0).to(tl.float32)
    x = tl.where(real, x, float('-inf'))
    e = tl.exp(x - tl.max(x, 1)[:, None])
    return e / tl.sum(e, 1)[:, None]


@triton.jit  # type: ignore[untyped-decorator]
def _gates(
        a: tl.tensor, f: tl.tensor, s: tl.tensor, out: tl.tensor, rows: tl.tensor,
        a_m: tl.tensor, a_r: tl.tensor, f_m: tl.tensor, f_r: tl.tensor, s_m: tl.tensor,
        s_r: tl.tensor, channels: tl.constexpr, block_rows: tl.constexpr,
        block_channels: tl.constexpr) -> None:
    first = tl.program_id(0).to(tl.int64) * block_rows
    m = tl.program_id(1).to(tl.int64)
    r = tl.arange(0, block_rows)[:, None]
    c = tl.arange(0, block_channels)[None, :]
    real = c < channels
    ok = (first + r < rows) & real
    tokens = tl.load(a + m * a_m + first * a_r + r * a_r + c, ok, 0.0).to(tl.float32)
    difference = tokens * _softmax(f + m * f_m + first * f_r, r * f_r + c, ok, real)
    similarity = tokens * _softmax(s + m * s_m + first * s_r, r * s_r + c, ok, real)
    # (modality, gate, pixel, channel)
    to = r * channels + c
    tl.store(out + (2 * m * rows + first) * channels + to,
             difference.to(out.dtype.element_ty), ok)
    tl.store(out + ((2 * m + 1) * rows + first) * channels + to,
             similarity.to(out.dtype.element_ty), ok)
