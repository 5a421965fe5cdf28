# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.enlarge_argmax` as two small Triton kernels; no class is ever enlarged as a whole.

The first takes the largest probability of each of the network's pixels, the second enlarges that,
and the scores class by class, keeping the best. One kernel would take 16 softmaxes where the
first takes one: a frame has that many pixels for one of the network's.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

SCORES = 4096     # numbers in a program of the first kernel; powers of two
BLOCK = (4, 128)  # pixels (rows, columns) in a program of the second; powers of two


def enlarge_argmax(scores: Tensor, size: tuple[int, int], *,
                   block: tuple[int, int] = BLOCK) -> tuple[Tensor, Tensor]:
    """Return `plain.enlarge_argmax` of scores in half or single precision, with any strides.

    `block` is how many rows and columns of pixels a program takes.
    """
    classes, h, w = scores.shape
    assert 1 <= classes <= 255, f'{classes} classes do not fit uint8'
    height, width = size
    scores = scores.detach()
    sure = torch.empty((h, w), dtype=torch.float32, device=scores.device)
    labels = torch.empty(size, dtype=torch.uint8, device=scores.device)
    confidence = torch.empty_like(labels)
    block_classes = triton.next_power_of_2(classes)
    block_pixels = min(256, SCORES // block_classes)
    # In single precision, as the reference takes it.
    steps = [(torch.tensor(old, dtype=torch.float32) / new).item()
             for old, new in zip((h, w), size, strict=True)]
    with torch.cuda.device_of(scores):
        _largest_probability[(triton.cdiv(h * w, block_pixels),)](
            scores, sure, h * w, w, *scores.stride(), classes, block_classes, block_pixels,
            num_warps=4, enable_fp_fusion=True)
        _enlarge[(triton.cdiv(width, block[1]), triton.cdiv(height, block[0]))](
            scores, sure, labels, confidence, h, w, height, width, *steps, *scores.stride(),
            classes, *block, num_warps=4, enable_fp_fusion=True)
    return labels, confidence


@triton.jit  # type: ignore[untyped-decorator]
def _largest_probability(
        scores: tl.tensor, sure: tl.tensor, pixels: tl.tensor, w: tl.tensor,
        by_class: tl.tensor, by_y: tl.tensor, by_x: tl.tensor, classes: tl.constexpr,
        block_classes: tl.constexpr, block_pixels: tl.constexpr) -> None:
    p = tl.program_id(0) * block_pixels + tl.arange(0, block_pixels)
    k = tl.arange(0, block_classes)[:, None]
    place = (p // w) * by_y + (p % w) * by_x
    s = tl.load(scores + k * by_class + place[None, :], (k < classes) & (p < pixels)[None, :],
                0.0).to(tl.float32)
    s = tl.where(k < classes, s, float('-inf'))
    # The largest probability is 1 / sum(exp(s - max)).
    tl.store(sure + p, 1 / tl.sum(tl.exp(s - tl.max(s, 0)[None, :]), 0), p < pixels)


@triton.jit  # type: ignore[untyped-decorator]
def _neighbours(i: tl.tensor, step: tl.tensor, old: tl.tensor) -> tl.tensor:
    """Return the two old pixels around new ones, and the share of the second.

    Source: bilinear interpolation without aligned corners, as PyTorch defines it.
    """
    at = tl.maximum((i + 0.5) * step - 0.5, 0.0)
    low = tl.minimum(at.to(tl.int32), old - 1)
    return low, tl.minimum(low + 1, old - 1), at - low


@triton.jit  # type: ignore[untyped-decorator]
def _blend(
        start: tl.tensor, y0: tl.tensor, y1: tl.tensor, x0: tl.tensor, x1: tl.tensor,
        dy: tl.tensor, dx: tl.tensor, ok: tl.tensor) -> tl.tensor:
    """Return a map between its pixels; rows are given by their offsets, columns too."""
    top = ((1 - dx) * tl.load(start + y0 + x0, ok, 0.0).to(tl.float32)
           + dx * tl.load(start + y0 + x1, ok, 0.0).to(tl.float32))
    bottom = ((1 - dx) * tl.load(start + y1 + x0, ok, 0.0).to(tl.float32)
              + dx * tl.load(start + y1 + x1, ok, 0.0).to(tl.float32))
    return (1 - dy) * top + dy * bottom


@triton.jit  # type: ignore[untyped-decorator]
def _enlarge(
        scores: tl.tensor, sure: tl.tensor, labels: tl.tensor, confidence: tl.tensor,
        h: tl.tensor, w: tl.tensor, height: tl.tensor, width: tl.tensor, step_y: tl.tensor,
        step_x: tl.tensor, by_class: tl.tensor, by_y: tl.tensor, by_x: tl.tensor,
        classes: tl.tensor, block_y: tl.constexpr, block_x: tl.constexpr) -> None:
    y = (tl.program_id(1) * block_y + tl.arange(0, block_y))[:, None]
    x = (tl.program_id(0) * block_x + tl.arange(0, block_x))[None, :]
    ok = (y < height) & (x < width)
    y0, y1, dy = _neighbours(y, step_y, h)
    x0, x1, dx = _neighbours(x, step_x, w)
    best = _blend(scores, y0 * by_y, y1 * by_y, x0 * by_x, x1 * by_x, dy, dx, ok)
    label = tl.zeros((block_y, block_x), tl.int32)
    for k in range(1, classes):
        score = _blend(scores + k * by_class, y0 * by_y, y1 * by_y, x0 * by_x, x1 * by_x, dy, dx,
                       ok)
        label = tl.where(score > best, k, label)  # the lower class on a tie
        best = tl.maximum(score, best)
    s = _blend(sure, y0 * w, y1 * w, x0, x1, dy, dx, ok) * 255
    # Adding and taking away 2^23 rounds to a whole number, halves to the even one, as PyTorch.
    s = tl.minimum(tl.maximum((s + 8388608.0) - 8388608.0, 0.0), 255.0)
    to = y * width + x
    tl.store(labels + to, label.to(tl.uint8), ok)
    tl.store(confidence + to, s.to(tl.uint8), ok)
