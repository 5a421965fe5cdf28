# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.add_norm` as a Triton kernel: a residual sum and its layer norm in one pass."""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from diffpixel_core.kernels.rows import assert_no_gradient, token_rows

TILE = 1024  # channels of pixels in a program, at least one whole pixel; powers of two


def add_norm(x: Tensor, branch: Tensor | None, weight: Tensor, bias: Tensor, eps: float = 1e-6, *,
             tile: int = TILE) -> tuple[Tensor, Tensor]:
    """Return `plain.add_norm`; its arguments, of any mixture of half and single precision.

    `tile` is how many channels of pixels a program takes.
    """
    assert_no_gradient(x, weight, bias, *(() if branch is None else (branch,)))
    own = token_rows(x)
    added = own if branch is None else token_rows(branch)
    total = x if branch is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
    normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _, rows, channels = own.shape
    block_channels = triton.next_power_of_2(channels)
    block_rows = max(1, tile // block_channels)
    with torch.cuda.device_of(x):
        _add_norm[(triton.cdiv(rows, block_rows), 2)](
            own, added, weight.contiguous(), bias.contiguous(), total, normed, rows,
            *own.stride()[:2], *added.stride()[:2], eps, branch is not None, channels, block_rows,
            block_channels, num_warps=min(8, max(1, block_rows * block_channels // 256)),
            enable_fp_fusion=True)
    return total, normed


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(
        x: tl.tensor, branch: tl.tensor, weight: tl.tensor, bias: tl.tensor, total: tl.tensor,
        normed: tl.tensor, rows: tl.tensor, x_m: tl.tensor, x_r: tl.tensor, branch_m: tl.tensor,
        branch_r: tl.tensor, eps: tl.tensor, adds: tl.constexpr, channels: tl.constexpr,
        block_rows: tl.constexpr, block_channels: tl.constexpr) -> None:
    first = tl.program_id(0).to(tl.int64) * block_rows
    m = tl.program_id(1).to(tl.int64)
    r = tl.arange(0, block_rows)[:, None]
    c = tl.arange(0, block_channels)[None, :]
    real = c < channels
    ok = (first + r < rows) & real
    to = (m * rows + first) * channels + r * channels + c
    v = tl.load(x + m * x_m + first * x_r + r * x_r + c, ok, 0.0).to(tl.float32)
    if adds:
        v += tl.load(branch + m * branch_m + first * branch_r + r * branch_r + c, ok,
                     0.0).to(tl.float32)
        tl.store(total + to, v.to(total.dtype.element_ty), ok)
    # Mean first, then squares of what is left: no difference of large numbers.
    v = tl.where(ok, v - tl.sum(v, 1)[:, None] / channels, 0.0)
    v *= tl.rsqrt(tl.sum(v * v, 1)[:, None] / channels + eps)
    v = (v * tl.load(weight + m * channels + c, real, 0.0).to(tl.float32)
         + tl.load(bias + m * channels + c, real, 0.0).to(tl.float32))
    tl.store(normed + to, v.to(normed.dtype.element_ty), ok)
