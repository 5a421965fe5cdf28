# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.pixel_attention` as a Triton kernel, forward and backward.

A program takes some pixels and as many heads as fit, so that small heads are still read as whole
rows of channels. Everything it needs is read once; no key or value is ever stacked. The backward
computes the three probabilities again instead of keeping them.
"""

from typing import Any

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffpixel_core.kernels.rows import token_rows

TILE = 1024  # channels of pixels in a program; powers of two


def pixel_attention(query: Tensor, keys: tuple[Tensor, Tensor, Tensor], value: Tensor,
                    other_value: Tensor, value_noise: Tensor, alpha: Tensor, beta: Tensor, *,
                    heads: int, tile: int = TILE) -> Tensor:
    """Return `plain.pixel_attention`; its arguments, of any mixture of half and single precision.

    `tile` is how many channels of pixels a program takes.
    """
    out: Tensor = _PixelAttention.apply(  # type: ignore[no-untyped-call]
        query, *keys, value, other_value, value_noise, alpha, beta, heads, tile)
    return out


class _PixelAttention(torch.autograd.Function):
    """The kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, k1: Tensor, k2: Tensor, k3: Tensor, value: Tensor,
                other: Tensor, noise: Tensor, alpha: Tensor, beta: Tensor, heads: int,
                tile: int) -> Tensor:
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        tokens = [token_rows(part) for part in (query, k1, k2, k3, value, other)]
        small = [part.contiguous() for part in (noise, alpha, beta)]
        grid, blocks, warps = _cut(tokens[0], heads, tile)
        with torch.cuda.device_of(query):
            _forward[grid](*tokens, *small, out, tokens[0].shape[1], *_strides(tokens), *blocks,
                           num_warps=warps, enable_fp_fusion=True)
        ctx.save_for_backward(query, k1, k2, k3, value, other, noise, alpha, beta)
        ctx.heads, ctx.tile = heads, tile
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, k1, k2, k3, value, other, noise, alpha, beta = saved = ctx.saved_tensors
        tokens = [token_rows(part) for part in (query, k1, k2, k3, value, other, *grads)]
        small = [part.contiguous() for part in (noise, alpha, beta)]
        grid, blocks, warps = _cut(tokens[0], ctx.heads, ctx.tile)
        own = [torch.empty(part.shape, dtype=part.dtype, device=part.device)
               for part in saved[:6]]
        # Sums over pixels: one row from each program, then one sum, the same in every run.
        noises = query.new_empty((grid[0], *noise.shape), dtype=torch.float32)
        scales = query.new_empty((2, grid[0], grid[1], 2), dtype=torch.float32)
        with torch.cuda.device_of(query):
            _backward[grid](*tokens, *small, *own, noises, scales, tokens[0].shape[1],
                            *_strides(tokens), *blocks, num_warps=warps, enable_fp_fusion=True)
        d_alpha, d_beta = scales.sum((1, 2)).unbind(0)
        return (*own, noises.sum(0).to(noise.dtype), d_alpha.view(alpha.shape).to(alpha.dtype),
                d_beta.view(beta.shape).to(beta.dtype), None, None)


def _cut(tokens: Tensor, heads: int, tile: int) -> tuple[tuple[int, int, int],
                                                         tuple[int, ...], int]:
    """Return the grid, the kernels' compile-time sizes and the warps of a program."""
    _, rows, channels = tokens.shape
    assert channels % heads == 0, f'{channels} channels cannot be cut into {heads} heads'
    width = channels // heads
    block_width = triton.next_power_of_2(width)
    block_heads = min(triton.next_power_of_2(heads), max(1, tile // block_width))
    block_rows = max(1, tile // (block_width * block_heads))
    grid = (triton.cdiv(rows, block_rows), triton.cdiv(heads, block_heads), 2)
    return (grid, (heads, width, block_rows, block_heads, block_width),
            min(8, max(1, block_rows * block_heads * block_width // 256)))


def _strides(tokens: list[Tensor]) -> list[int]:
    """Return the strides of modality and row of `(2, M, C)` tensors, one after the other."""
    return [step for part in tokens for step in part.stride()[:2]]


@triton.jit  # type: ignore[untyped-decorator]
def _read(
        start: tl.tensor, by_modality: tl.tensor, by_row: tl.tensor, modality: tl.tensor,
        first: tl.tensor, inside: tl.tensor, channel: tl.tensor, ok: tl.tensor) -> tl.tensor:
    """Return the program's part of a `(2, M, C)` tensor in single precision."""
    # Only whole rows can be far away: 64 bits for them, 32 within a program.
    start += modality.to(tl.int64) * by_modality + first.to(tl.int64) * by_row
    return tl.load(start + inside * by_row + channel, ok, 0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _probabilities(t1: tl.tensor, s2: tl.tensor, s3: tl.tensor) -> tl.tensor:
    """Return the softmax of three scores."""
    top = tl.maximum(t1, tl.maximum(s2, s3))
    e1, e2, e3 = tl.exp(t1 - top), tl.exp(s2 - top), tl.exp(s3 - top)
    share = 1 / (e1 + e2 + e3)
    return e1 * share, e2 * share, e3 * share


@triton.jit  # type: ignore[untyped-decorator]
def _forward(
        query: tl.tensor, k1: tl.tensor, k2: tl.tensor, k3: tl.tensor, value: tl.tensor,
        other: tl.tensor, noise: tl.tensor, alpha: tl.tensor, beta: tl.tensor, out: tl.tensor,
        rows: tl.tensor, query_m: tl.tensor, query_r: tl.tensor, k1_m: tl.tensor,
        k1_r: tl.tensor, k2_m: tl.tensor, k2_r: tl.tensor, k3_m: tl.tensor, k3_r: tl.tensor,
        value_m: tl.tensor, value_r: tl.tensor, other_m: tl.tensor, other_r: tl.tensor,
        heads: tl.constexpr, width: tl.constexpr, block_rows: tl.constexpr,
        block_heads: tl.constexpr, block_width: tl.constexpr) -> None:
    m = tl.program_id(2)
    first = tl.program_id(0) * block_rows
    r = tl.arange(0, block_rows)[:, None, None]
    h = (tl.program_id(1) * block_heads + tl.arange(0, block_heads))[None, :, None]
    d = tl.arange(0, block_width)[None, None, :]
    c = h * width + d
    real = (h < heads) & (d < width)
    ok = (first + r < rows) & real
    q = _read(query, query_m, query_r, m, first, r, c, ok)
    p1, p2, p3 = _probabilities(
        tl.sum(q * _read(k1, k1_m, k1_r, m, first, r, c, ok), 2),
        tl.load(alpha + m).to(tl.float32)
        * tl.sum(q * _read(k2, k2_m, k2_r, m, first, r, c, ok), 2),
        tl.load(beta + m).to(tl.float32)
        * tl.sum(q * _read(k3, k3_m, k3_r, m, first, r, c, ok), 2))
    n = tl.load(noise + m * heads * width + c, real, 0.0).to(tl.float32)
    gathered = ((1 - p3)[:, :, None] * _read(value, value_m, value_r, m, first, r, c, ok)
                + (p3 - p2)[:, :, None] * _read(other, other_m, other_r, m, first, r, c, ok)
                + p1[:, :, None] * n)
    out += (m.to(tl.int64) * rows + first) * heads * width
    tl.store(out + r * (heads * width) + c, gathered.to(out.dtype.element_ty), ok)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(
        query: tl.tensor, k1: tl.tensor, k2: tl.tensor, k3: tl.tensor, value: tl.tensor,
        other: tl.tensor, grad: tl.tensor, noise: tl.tensor, alpha: tl.tensor, beta: tl.tensor,
        d_query: tl.tensor, d_k1: tl.tensor, d_k2: tl.tensor, d_k3: tl.tensor,
        d_value: tl.tensor, d_other: tl.tensor, noises: tl.tensor, scales: tl.tensor,
        rows: tl.tensor, query_m: tl.tensor, query_r: tl.tensor, k1_m: tl.tensor,
        k1_r: tl.tensor, k2_m: tl.tensor, k2_r: tl.tensor, k3_m: tl.tensor, k3_r: tl.tensor,
        value_m: tl.tensor, value_r: tl.tensor, other_m: tl.tensor, other_r: tl.tensor,
        grad_m: tl.tensor, grad_r: tl.tensor, heads: tl.constexpr, width: tl.constexpr,
        block_rows: tl.constexpr, block_heads: tl.constexpr, block_width: tl.constexpr) -> None:
    m = tl.program_id(2)
    first = tl.program_id(0) * block_rows
    r = tl.arange(0, block_rows)[:, None, None]
    h = (tl.program_id(1) * block_heads + tl.arange(0, block_heads))[None, :, None]
    d = tl.arange(0, block_width)[None, None, :]
    c = h * width + d
    real = (h < heads) & (d < width)
    ok = (first + r < rows) & real
    a, b = tl.load(alpha + m).to(tl.float32), tl.load(beta + m).to(tl.float32)
    n = tl.load(noise + m * heads * width + c, real, 0.0).to(tl.float32)
    q = _read(query, query_m, query_r, m, first, r, c, ok)
    key1 = _read(k1, k1_m, k1_r, m, first, r, c, ok)
    key2 = _read(k2, k2_m, k2_r, m, first, r, c, ok)
    key3 = _read(k3, k3_m, k3_r, m, first, r, c, ok)
    v = _read(value, value_m, value_r, m, first, r, c, ok)
    w = _read(other, other_m, other_r, m, first, r, c, ok)
    g = _read(grad, grad_m, grad_r, m, first, r, c, ok)  # 0 outside, so nothing there counts
    t2, t3 = tl.sum(q * key2, 2), tl.sum(q * key3, 2)
    p1, p2, p3 = _probabilities(tl.sum(q * key1, 2), a * t2, b * t3)
    # out = (1 - p3) v + (p3 - p2) w + p1 n
    g_w = tl.sum(g * w, 2)
    d_p1, d_p2, d_p3 = tl.sum(g * n, 2), -g_w, g_w - tl.sum(g * v, 2)
    mean = p1 * d_p1 + p2 * d_p2 + p3 * d_p3
    d_t1, d_s2, d_s3 = p1 * (d_p1 - mean), p2 * (d_p2 - mean), p3 * (d_p3 - mean)
    d_t2, d_t3 = a * d_s2, b * d_s3

    place = (m.to(tl.int64) * rows + first) * heads * width
    to = r * (heads * width) + c
    tl.store(d_query + place + to, (d_t1[:, :, None] * key1 + d_t2[:, :, None] * key2
                                    + d_t3[:, :, None] * key3).to(d_query.dtype.element_ty), ok)
    tl.store(d_k1 + place + to, (d_t1[:, :, None] * q).to(d_k1.dtype.element_ty), ok)
    tl.store(d_k2 + place + to, (d_t2[:, :, None] * q).to(d_k2.dtype.element_ty), ok)
    tl.store(d_k3 + place + to, (d_t3[:, :, None] * q).to(d_k3.dtype.element_ty), ok)
    tl.store(d_value + place + to, ((1 - p3)[:, :, None] * g).to(d_value.dtype.element_ty), ok)
    tl.store(d_other + place + to, ((p3 - p2)[:, :, None] * g).to(d_other.dtype.element_ty), ok)
    # Of this program's pixels alone.
    part = tl.sum(p1[:, :, None] * g, 0)[None, :, :]
    tl.store(noises + (tl.program_id(0) * 2 + m) * (heads * width) + c, part, real)
    place_s = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * 2 + m
    half = tl.num_programs(0) * tl.num_programs(1) * 2
    tl.store(scales + place_s, tl.sum(tl.sum(d_s2 * t2, 1), 0))
    tl.store(scales + half + place_s, tl.sum(tl.sum(d_s3 * t3, 1), 0))
