# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of every kernel as they occur in the networks: what is measured, and tested small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffpixel_core.kernels import plain
from diffpixel_core.kernels.rows import taps_apart
from diffpixel_core.modalities import MODALITIES

# Channels and blocks of the four stages.
# Source: SegFormer, Xie et al., NeurIPS 2021, table 6; the same as `models/mit.py`.
NETWORKS = {
    'mit_b0': ((32, 64, 160, 256), (2, 2, 2, 2)),
    'mit_b1': ((64, 128, 320, 512), (2, 2, 2, 2)),
    'mit_b2': ((64, 128, 320, 512), (3, 4, 6, 3)),
    'mit_b3': ((64, 128, 320, 512), (3, 4, 18, 3)),
    'mit_b4': ((64, 128, 320, 512), (3, 8, 27, 3)),
    'mit_b5': ((64, 128, 320, 512), (3, 6, 40, 3)),
}
STRIDES = (4, 8, 16, 32)
HEADS = 8       # of the fusion
EXPANSION = 4   # of the feed-forward network
CLASSES = 40


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel on inputs of one size.

    Attributes:
        kernel: A key of `dispatch.CHOICES`.
        dtype: The type that it computes with.
        size: The size, to read.
        uses: How often each network runs it for one frame.
        plain: The plain form.
        arguments: Positional arguments of every form.
        settings: Keyword arguments of every form.
        cuts: Other settings of how the Triton form cuts its work, to be measured too.
        prepared: Positional arguments as the Triton form likes them best; None = the same.
    """

    kernel: str
    dtype: torch.dtype
    size: str
    uses: dict[str, int]
    plain: Callable[..., Any]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    cuts: tuple[dict[str, Any], ...]
    prepared: tuple[Any, ...] | None = None

    def run_triton(self, **cut: Any) -> Any:
        """Return what the Triton form gives."""
        arguments = self.arguments if self.prepared is None else self.prepared
        return triton_form(self.kernel)(*arguments, **self.settings, **cut)

    def run_plain(self) -> Any:
        """Return what the plain form gives."""
        return self.plain(*self.arguments, **self.settings)


def triton_form(kernel: str) -> Callable[..., Any]:
    """Return the Triton form of an operation; imports Triton."""
    from diffpixel_core.kernels import (
        triton_attention,
        triton_depthwise,
        triton_gates,
        triton_images,
        triton_norm,
        triton_tail,
    )

    forms: dict[str, Callable[..., Any]] = {
        'pixel_attention': triton_attention.pixel_attention,
        'gates': triton_gates.gates,
        'enlarge_argmax': triton_tail.enlarge_argmax,
        'prepare_images': triton_images.prepare_images,
        'add_norm': triton_norm.add_norm,
        'depthwise_gelu': triton_depthwise.depthwise_gelu,
    }
    return forms[kernel]


def cases(kernel: str, dtype: torch.dtype, *, frame: tuple[int, int], device: torch.device,
          networks: tuple[str, ...] = tuple(NETWORKS)) -> list[Case]:
    """Return a kernel on seeded inputs of every size that networks have at a frame's size.

    Args:
        kernel: A key of `dispatch.CHOICES`.
        dtype: The type that it computes with.
        frame: `(H, W)` of the camera and of the network, multiples of 32.
        device: Where the inputs are.
        networks: Keys of `NETWORKS`.
    """
    draw = _Draw(dtype, device)
    if kernel == 'enlarge_argmax':
        h, w = frame[0] // 4, frame[1] // 4
        shapes = {'classes apart': draw(CLASSES, h, w),
                  'classes together': draw(h, w, CLASSES).permute(2, 0, 1)}
        once = dict.fromkeys(networks, 1)
        return [Case(kernel, dtype, f'K={CLASSES} {h}x{w} to {frame[0]}x{frame[1]}, {layout}',
                     once, plain.enlarge_argmax, (3 * scores, frame), {},
                     tuple({'block': block} for block in ((1, 128), (2, 64), (8, 64), (4, 32))))
                for layout, scores in shapes.items()]
    if kernel == 'prepare_images':
        return [_images(dtype, camera, frame, device, networks)
                for camera in (frame, (frame[0] * 3 // 2, frame[1] * 2))]
    make = {'pixel_attention': _attention, 'gates': _gates, 'add_norm': _add_norm,
            'depthwise_gelu': _depthwise}[kernel]
    sizes: dict[tuple[int, int], dict[str, int]] = {}
    for network in networks:
        for stride, channels, blocks in zip(STRIDES, *NETWORKS[network], strict=True):
            sizes.setdefault((stride, channels), {})[network] = blocks
    return [make(draw, (frame[0] // stride, frame[1] // stride), channels, uses)
            for (stride, channels), uses in sorted(sizes.items())]


def camera_settings(device: torch.device) -> dict[str, Any]:
    """Return mean, standard deviation and maximum as `prepare_images` takes them."""
    rgb, depth = MODALITIES['rgb'], MODALITIES['depth']
    return {'mean': torch.tensor((rgb.mean, depth.mean * 3), device=device),
            'std': torch.tensor((rgb.std, depth.std * 3), device=device),
            'maximum': depth.maximum}


class _Draw:
    """Seeded normal numbers of one type on one device."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self._device = dtype, device
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        """Return numbers of a shape."""
        return torch.randn(shape, generator=self._generator).to(self._device, self.dtype)


_TILES = tuple({'tile': tile} for tile in (512, 2048, 4096))


def _label(size: tuple[int, int], channels: int) -> str:
    return f'N={size[0] * size[1]} C={channels}'


def _attention(draw: _Draw, size: tuple[int, int], channels: int, uses: dict[str, int]) -> Case:
    pixels = size[0] * size[1]
    query, key, value = draw(2, 1, pixels, 3 * channels).chunk(3, dim=-1)
    gated = draw(2, 2, 1, pixels, channels)
    inputs = (query, (key, gated[:, 0], gated[:, 1]), value, draw(2, 1, pixels, channels),
              draw(2, 1, 1, channels), draw(2, 1, 1, 1), draw(2, 1, 1, 1))
    return Case('pixel_attention', draw.dtype, _label(size, channels), uses, plain.pixel_attention,
                inputs, {'heads': HEADS}, _TILES)


def _gates(draw: _Draw, size: tuple[int, int], channels: int, uses: dict[str, int]) -> Case:
    inputs = tuple(draw(2, 1, size[0] * size[1], channels) for _ in range(3))
    return Case('gates', draw.dtype, _label(size, channels), uses, plain.gates, inputs, {}, _TILES)


def _add_norm(draw: _Draw, size: tuple[int, int], channels: int, uses: dict[str, int]) -> Case:
    x, branch = (draw(2, 1, size[0] * size[1], channels) for _ in range(2))
    return Case('add_norm', draw.dtype, _label(size, channels),
                {network: 2 * blocks for network, blocks in uses.items()}, plain.add_norm,
                (x, branch, draw(2, channels), draw(2, channels)), {}, _TILES)


def _depthwise(draw: _Draw, size: tuple[int, int], channels: int, uses: dict[str, int]) -> Case:
    hidden = EXPANSION * channels
    tokens, weight = draw(2, 1, size[0] * size[1], hidden), draw(hidden, 1, 3, 3)
    bias = draw(hidden)
    return Case('depthwise_gelu', draw.dtype, _label(size, hidden), uses, plain.depthwise_gelu,
                (tokens, size, weight, bias), {},
                tuple({'block': block} for block in ((8, 128), (32, 64), (32, 32))),
                (tokens, size, taps_apart(weight), bias))


def _images(dtype: torch.dtype, camera: tuple[int, int], size: tuple[int, int],
            device: torch.device, networks: tuple[str, ...]) -> Case:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (*camera, 3), dtype=torch.uint8, generator=generator)
    x = torch.rand(camera, generator=generator) * 12 - 2
    return Case('prepare_images', dtype, f'{camera[0]}x{camera[1]} to {size[0]}x{size[1]}',
                dict.fromkeys(networks, int(camera == size)), plain.prepare_images,
                (rgb.to(device), x.to(device), size), {**camera_settings(device), 'dtype': dtype},
                tuple({'block': block} for block in ((1, 128), (2, 64), (8, 64))))
