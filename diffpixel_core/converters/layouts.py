# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How files of one-stream backbones spell their tensors, and how to tell such files apart.

Our two streams share one backbone: every foreign tensor goes where its own is, and a layer norm
that each modality has for itself starts from the same tensor twice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from torch import Tensor, nn

from diffpixel_core.converters.hub import DEFAULTS
from diffpixel_core.converters.tensors import Concat, ConvertError, Copy, Fresh, Source, Stack
from diffpixel_core.models import MODELS
from diffpixel_core.models.layers import PairNorm
from diffpixel_core.models.mit import MITS, MitEncoder
from diffpixel_core.models.swin import SWINS, SwinEncoder

FUSION = 'inter-modal fusion: a network for one image has none'
HEAD = 'decoder head: trained for your classes'
ALPHA = 'ensemble weights: both streams count alike at the start'

# What training and segmentation frameworks and Hugging Face write before a backbone's own names.
_PREFIX = re.compile(r'(model\.|net\.)?(backbone\.)?(segformer\.|swin\.)?'
                     r'(encoder\.(?=(patch_embed|block|norm)\d\.))?')
_OURS = re.compile(r'encoder\.(?:stages\.(\d+)\.)?(?:blocks\.(\d+)\.)?(.+)')


@dataclass(frozen=True, slots=True)
class Layout:
    """One spelling of a backbone's tensors.

    In a spelling `{p}`, `{s}`, `{n}` are the previous, this and the next stage, this one from 0,
    `{j}` is the block of the stage, `{even}` = 2 s and `{odd}` = 2 s + 1.

    Attributes:
        label: What to call it.
        mark: Pattern of names that only this spelling has.
        parts: For each of our modules of a stage or outside of all, the file's.
        block: What every name of a block starts with.
        inner: For each of our modules or tensors of a block, the file's: several to be put one
            after the other.
    """

    label: str
    mark: str
    parts: Mapping[str, str]
    block: str
    inner: Mapping[str, str | tuple[str, ...]]

    def spell(self, key: str) -> tuple[str, ...]:
        """Return the file's names for one of our encoder's tensors, without any prefix."""
        at = _OURS.fullmatch(key)
        assert at is not None, key
        s, part = int(at[1] or 0), at[3]
        module, _, leaf = part.rpartition('.')
        if at[2] is None:
            names: tuple[str, ...] = (f'{self.parts[module]}.{leaf}',)
        else:
            inner = self.inner[part if part in self.inner else module]
            inner = (inner,) if isinstance(inner, str) else inner
            end = '' if part in self.inner else f'.{leaf}'
            names = tuple(f'{self.block}{name}{end}' for name in inner)
        return tuple(name.format(p=s - 1, s=s, n=s + 1, j=at[2], even=2 * s, odd=2 * s + 1)
                     for name in names)


def bare(key: str) -> str:
    """Return a foreign name without what frameworks put before the backbone's own."""
    return _PREFIX.sub('', key, count=1)


def choose_layout(found: Mapping[str, Tensor], layouts: Sequence[Layout], *, name: str,
                  expected: str) -> Layout:
    """Return the spelling a file has.

    Args:
        found: The foreign tensors.
        layouts: Those to choose from.
        name: What to call the file in messages.
        expected: What it should have been.

    Raises:
        ConvertError: If it has none of them, saying what it looks like.
    """
    keys = [bare(key) for key in found]
    for layout in layouts:
        if any(re.match(layout.mark, key) for key in keys):
            return layout
    raise ConvertError(f'{name} is not {expected}; it looks like {describe(found)}')


def describe(found: Mapping[str, Tensor]) -> str:
    """Return what a file looks like, and what to do with it."""
    for pattern, what in _KINDS:
        if any(re.search(pattern, key) for key in found):
            return what
    first = ', '.join(sorted(found)[:3])
    return (f'nothing known ({len(found)} tensors: {first} ...); pass the weights of an ImageNet '
            f'classifier, such as {DEFAULTS["mit_b0"]} or {DEFAULTS["swin_t"]}' if found else
            'an empty file; download it again')


def backbone_plan(layout: Layout, found: Mapping[str, Tensor], model: nn.Module,
                  fresh: Callable[[str], str | None],
                  special: Callable[[str, str], Source | None]) -> dict[str, Source]:
    """Return what every tensor of a two-stream model is made of.

    Args:
        layout: The file's spelling.
        found: The foreign tensors.
        model: A `DiffPixelFormer`.
        fresh: Says why an encoder's tensor may be missing from the file; None = it may not.
        special: Source of one of our tensors from the named foreign one; None = a plain copy.
    """
    full = {bare(key): key for key in found}
    prefix = next(key.removesuffix(short) for short, key in full.items()
                  if re.match(layout.mark, short))
    plan: dict[str, Source] = {}
    for key in model.state_dict():
        why = _not_of_the_backbone(key) or fresh(key)
        if why is not None:
            plan[key] = Fresh(why)
            continue
        sources: list[Source] = []
        for short in layout.spell(key):
            name = full.get(short, prefix + short)
            sources.append(special(key, name) or Copy(name))
        source = sources[0] if len(sources) == 1 else Concat(tuple(sources))
        own = isinstance(model.get_submodule(key.rpartition('.')[0]), PairNorm)
        plan[key] = Stack((source, source)) if own else source
    return plan


def _not_of_the_backbone(key: str) -> str | None:
    if key == 'alpha':
        return ALPHA
    if key.startswith('head.'):
        return HEAD
    return FUSION if '.fusion.' in key else None


def check_size(layout: Layout, found: Mapping[str, Tensor], model: nn.Module, *,
               name: str) -> None:
    """Refuse a file of another known backbone by its name, before its hundreds of tensors are.

    Args:
        layout: The file's spelling.
        found: The foreign tensors.
        model: A `DiffPixelFormer` on a backbone of the same kind.
        name: What to call the file in messages.

    Raises:
        ConvertError: Naming both backbones and a model for the file's.
    """
    shapes = {bare(key): tuple(tensor.shape) for key, tensor in found.items()}
    ours = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    file = _rows(lambda key: shapes.get(layout.spell(key)[0]), model)
    wanted = _rows(ours.get, model)
    if not file or file == wanted:
        return
    backbones = [(MITS | SWINS)[row] for row in file]
    models = [key for key, variant in MODELS.items()
              if '/' not in key and not key.endswith('_released')
              and variant.backbone in backbones]
    other = (f'a {" or ".join(wanted)}; use {" or ".join(models)}, or weights of a {wanted[0]} '
             f'such as {DEFAULTS[wanted[0]]}' if wanted else
             f'another backbone; use {" or ".join(models)}')
    raise ConvertError(f'{name} holds a {" or ".join(file)}, but the model is built on {other}')


def _rows(shape: Callable[[str], tuple[int, ...] | None], model: nn.Module) -> list[str]:
    """Return the names of backbones with these shapes: none, one, or some that differ in window."""
    depths, dims = [], []
    for s in range(4):
        first = shape(f'encoder.stages.{s}.blocks.0.norm1.weight')
        if not first:
            return []
        dims.append(first[-1])
        depths.append(next(j for j in count(1)
                           if shape(f'encoder.stages.{s}.blocks.{j}.norm1.weight') is None))
    rows = MITS if isinstance(model.encoder, MitEncoder) else SWINS
    return [name for name, row in rows.items()
            if row.dims == tuple(dims) and row.depths == tuple(depths)]


def require(model: nn.Module, encoder: type[nn.Module], *, name: str, what: str,
            instead: str) -> None:
    """Refuse to load a backbone into a model that is built on another.

    Raises:
        ConvertError: If the model's encoder is none of `encoder`.
    """
    if not isinstance(model.encoder, encoder):
        kind = {MitEncoder: 'MiT', SwinEncoder: 'Swin'}[type(model.encoder)]
        raise ConvertError(f'{name} was to be read as {what}, but the model is built on a {kind}; '
                           f'use a model such as {instead}')


_KINDS = (
    (r'(^|\.)(cross_attn_0_to_1|ln_0)\.',
     'a published DiffPixelFormer or GeminiFusion checkpoint; convert it with '
     '--from diffpixelformer or --from geminifusion'),
    (r'^encoder\.stages\.\d+\.blocks\.\d+\.feed_forward\.',
     'weights of DiffPixel itself, which need no conversion; pass their directory as the model'),
    (r'(^|\.)(logit_scale|cpb_mlp\..*|continuous_position_bias_mlp\..*)$',
     'a Swin V2, another network; use a first Swin, such as ' + DEFAULTS['swin_t']),
    (r'\.attn\.w_msa\.',
     'a Swin of mmsegmentation or mmdetection, whose patch merging orders channels in its own way; '
     'use the file it was converted from, such as ' + DEFAULTS['swin_t']),
    (r'\blayers\.\d+\.1\.\d+\.attn\.attn\.',
     'a MiT of mmsegmentation; use the file it was converted from, such as '
     + DEFAULTS['mit_b0']),
    (r'\brelative_position_bias_table$',
     'a Swin file; use --from swin and a model on a Swin, such as diffpixelformer_swin_t'),
    (r'(^|\.)(patch_embed1|block1\.0|encoder\.patch_embeddings\.0|stages\.0\.patch_embeddings)\.',
     'a SegFormer MiT file; use --from segformer and a model on a MiT, such as diffpixelformer_t'),
)
