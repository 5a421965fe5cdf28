# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Every network by name: `MODELS` is the registry, `build_model` the only door."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models.diffpixelformer import DiffPixelFormer, Dsim, NoFusion, Output

__all__ = ['MODELS', 'ModelError', 'Output', 'build_model']


class ModelError(DiffPixelError):
    """A network that does not exist or cannot be built as asked."""


_SIZES = {'t': 'mit_b0', 'b1': 'mit_b1', 'b2': 'mit_b2', 's': 'mit_b3', 'b4': 'mit_b4',
          'm': 'mit_b5'}
MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({
    **{f'diffpixelformer_{size}': partial(DiffPixelFormer, backbone, fusion=Dsim)
       for size, backbone in _SIZES.items()},
    **{f'diffpixelformer_{size}/baseline': partial(DiffPixelFormer, backbone, fusion=NoFusion)
       for size, backbone in _SIZES.items()},
})


def build_model(name: str, classes: int, *, drop_path: float = 0.0) -> nn.Module:
    """Return a freshly initialised network.

    `model(rgb, x)` takes two normalised `(B, 3, H, W)` tensors and returns an `Output`.

    Args:
        name: Key of `MODELS`.
        classes: Number of classes, 1 to 255.
        drop_path: Stochastic depth of the last block while training, 0 to 1.

    Raises:
        ModelError: If the name is unknown or the number of classes impossible.
    """
    if name not in MODELS:
        raise ModelError(f'model {name!r} does not exist; choose one of {", ".join(MODELS)}')
    if not 1 <= classes <= 255:
        raise ModelError(f'{classes} classes do not fit into 8-bit labels; use 1 to 255')
    return MODELS[name](classes=classes, drop_path=drop_path)
