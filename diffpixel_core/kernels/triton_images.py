# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`plain.prepare_images` as one Triton kernel: a camera pixel is read where it is used."""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

BLOCK = (4, 128)  # pixels (rows, columns) in a program; powers of two


def prepare_images(rgb: Tensor, x: Tensor, size: tuple[int, int], *, mean: Tensor, std: Tensor,
                   maximum: float, dtype: torch.dtype,
                   block: tuple[int, int] = BLOCK) -> Tensor:
    """Return `plain.prepare_images`; its arguments, images with any strides.

    `block` is how many rows and columns of pixels a program takes.
    """
    assert rgb.dtype == torch.uint8, rgb.dtype
    assert x.dtype == torch.float32, x.dtype
    assert rgb.shape == (*x.shape, 3), f'colour {tuple(rgb.shape)}, other {tuple(x.shape)}'
    height, width = x.shape
    h, w = size
    out = torch.empty((2, 3, h, w), dtype=dtype, device=rgb.device)
    # In single precision, as the reference takes it.
    steps = [(torch.tensor(old, dtype=torch.float32) / new).item()
             for old, new in zip(x.shape, size, strict=True)]
    with torch.cuda.device_of(rgb):
        _prepare[(triton.cdiv(w, block[1]), triton.cdiv(h, block[0]))](
            rgb, x, out, mean.contiguous(), std.contiguous(), height, width, h, w, *steps,
            float(maximum), *rgb.stride(), *x.stride(), *block, num_warps=4,
            enable_fp_fusion=True)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _prepare(
        rgb: tl.tensor, x: tl.tensor, out: tl.tensor, mean: tl.tensor, std: tl.tensor,
        height: tl.tensor, width: tl.tensor, h: tl.tensor, w: tl.tensor, step_y: tl.tensor,
        step_x: tl.tensor, maximum: tl.tensor, rgb_y: tl.tensor, rgb_x: tl.tensor,
        rgb_c: tl.tensor, x_y: tl.tensor, x_x: tl.tensor, block_y: tl.constexpr,
        block_x: tl.constexpr) -> None:
    i = (tl.program_id(1) * block_y + tl.arange(0, block_y))[:, None]
    j = (tl.program_id(0) * block_x + tl.arange(0, block_x))[None, :]
    ok = (i < h) & (j < w)
    to = i * w + j

    at_y = tl.maximum((i + 0.5) * step_y - 0.5, 0.0)
    at_x = tl.maximum((j + 0.5) * step_x - 0.5, 0.0)
    y0 = tl.minimum(at_y.to(tl.int32), height - 1)
    x0 = tl.minimum(at_x.to(tl.int32), width - 1)
    dy, dx = at_y - y0, at_x - x0
    y1 = tl.minimum(y0 + 1, height - 1) * rgb_y
    x1 = tl.minimum(x0 + 1, width - 1) * rgb_x
    y0 *= rgb_y
    x0 *= rgb_x
    for c in tl.static_range(3):
        image = rgb + c * rgb_c
        top = ((1 - dx) * tl.load(image + y0 + x0, ok, 0).to(tl.float32)
               + dx * tl.load(image + y0 + x1, ok, 0).to(tl.float32))
        bottom = ((1 - dx) * tl.load(image + y1 + x0, ok, 0).to(tl.float32)
                  + dx * tl.load(image + y1 + x1, ok, 0).to(tl.float32))
        colour = ((1 - dy) * top + dy * bottom - tl.load(mean + c)) / tl.load(std + c)
        tl.store(out + c * h * w + to, colour.to(out.dtype.element_ty), ok)

    # The old pixel that holds the new one's centre: whole numbers, the same in every runtime.
    y = (2 * i + 1) * height // (2 * h)
    xs = (2 * j + 1) * width // (2 * w)
    value = tl.load(x + y * x_y + xs * x_x, ok, 0.0)
    # NaN fails both comparisons, so everything that was not measured becomes 0.
    value = tl.where((value > 0) & (value < float('inf')), value, 0.0)
    value = tl.minimum(value, maximum)
    for c in tl.static_range(3):
        normal = (value - tl.load(mean + 3 + c)) / tl.load(std + 3 + c)
        tl.store(out + (3 + c) * h * w + to, normal.to(out.dtype.element_ty), ok)
