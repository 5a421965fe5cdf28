# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Every network by name: `MODELS` is the registry, `build_model` the only door."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models import ablations, released
from diffpixel_core.models.diffpixelformer import DiffPixelFormer, Dsim, NoFusion, Output
from diffpixel_core.models.layers import Fusion
from diffpixel_core.models.mit import MITS, Mit
from diffpixel_core.models.swin import SWINS, Swin

__all__ = ['MODELS', 'ModelError', 'Output', 'Variant', 'build_model']


class ModelError(DiffPixelError):
    """A network that does not exist or cannot be built as asked."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the registry.

    Attributes:
        backbone: Numbers of the encoder.
        fusion: Class of the inter-modal module.
    """

    backbone: Mit | Swin
    fusion: Fusion

    def build(self, classes: int, *, drop_path: float = 0.0) -> DiffPixelFormer:
        """Return a freshly initialised network with this many classes."""
        return DiffPixelFormer(self.backbone, classes, self.fusion, drop_path=drop_path)


_MITS = {'t': 'mit_b0', 'b1': 'mit_b1', 'b2': 'mit_b2', 's': 'mit_b3', 'b4': 'mit_b4',
         'm': 'mit_b5'}
_SWINS = {'swin_t': 'swin_t', 'swin_s': 'swin_s', 'l': 'swin_l', 'l_w7': 'swin_l_w7'}
_ON_MIT: Mapping[str, Fusion] = {
    '': Dsim,
    '_released': released.OneKey,                            # what published checkpoints compute
    '/baseline': NoFusion,                                   # Tables II and III
    '/cross_attention': ablations.CrossAttention,            # Table III
    '/window_cross_attention': ablations.WindowCrossAttention,
    '/local_cross_attention': ablations.LocalCrossAttention,
    '/pixel_cross_attention': ablations.PixelCrossAttention,  # also row 2 of Table II
    '/gemini': released.TwoKeys,                             # Table II, row 3
    '/dsim_no_factor': ablations.DsimNoFactor,               # row 4
    '/judge_eca': ablations.JudgeEca,                        # Table V
    '/judge_se': ablations.JudgeSe,
    '/judge_gmlp': ablations.JudgeGmlp,
    '/judge_sigmoid': ablations.JudgeSigmoid,
    '/dsim_eq8': ablations.DsimEq8,                          # eq. (8) taken literally
}
_ON_SWIN: Mapping[str, Fusion] = {'': Dsim, '_released': released.TwoKeys, '/baseline': NoFusion}

MODELS: Mapping[str, Variant] = MappingProxyType({
    **{f'diffpixelformer_{size}{suffix}': Variant(MITS[row], fusion)
       for size, row in _MITS.items() for suffix, fusion in _ON_MIT.items()},
    **{f'diffpixelformer_{size}{suffix}': Variant(SWINS[row], fusion)
       for size, row in _SWINS.items() for suffix, fusion in _ON_SWIN.items()},
})


def build_model(name: str, classes: int, *, drop_path: float = 0.0) -> nn.Module:
    """Return a freshly initialised network.

    `model(rgb, x)` takes two normalised `(B, 3, H, W)` tensors and returns an `Output`.

    Args:
        name: Key of `MODELS`.
        classes: Number of classes, 1 to 255.
        drop_path: Stochastic depth of the last block while training, 0 <= it < 1.

    Raises:
        ModelError: If the name is unknown, or the number of classes or the rate impossible.
    """
    if not isinstance(classes, int) or not 1 <= classes <= 255:
        raise ModelError(f'{classes!r} classes do not fit into 8-bit labels; use 1 to 255')
    if not 0 <= drop_path < 1:
        raise ModelError(f'drop_path is {drop_path}; it is a probability: 0 <= drop_path < 1')
    return find_variant(name).build(classes, drop_path=drop_path)


def find_variant(name: str) -> Variant:
    """Return the registry's row of that name.

    Raises:
        ModelError: If there is none; near names are suggested.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 3, 0.7)
        known = [row for row in MODELS if '/' not in row and not row.endswith('_released')]
        raise ModelError(f'model {name!r} does not exist; '
                         + (f'did you mean {" or ".join(near)}?' if near else
                            f'choose one of {", ".join(known)}')
                         + ' (`diffpixel info` lists all)')
    return MODELS[name]
