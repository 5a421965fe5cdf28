# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Published DiffPixelFormer and GeminiFusion checkpoints, read into our networks.

Both codes name their tensors alike: `ln_0`, `0_to_1` belong to colour or update it, `ln_1`,
`1_to_0` to the other modality; whatever is shared carries `module`. GeminiFusion lacks the
difference discriminators and the factors.

Source: names of github.com/gongyan1/DiffPixelFormer at 7f7735f, github.com/JiaDingCN/GeminiFusion.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from diffpixel_core.converters.layouts import describe
from diffpixel_core.converters.swin import check_windows
from diffpixel_core.converters.tensors import (
    Concat,
    ConvertError,
    Copy,
    Demand,
    Fill,
    Report,
    Source,
    Stack,
    convert,
)
from diffpixel_core.models import MODELS, ablations, released
from diffpixel_core.models.diffpixelformer import DiffPixelFormer, Dsim, NoFusion
from diffpixel_core.models.layers import Fusion
from diffpixel_core.models.mit import MITS, Mit
from diffpixel_core.models.swin import SWINS, Swin

DIRECTIONS = ('0_to_1', '1_to_0')  # updates colour, updates the other modality
_BLOCK = re.compile(r'encoder\.(?:block|body\.layers\.)(\d)\.(?:blocks\.)?(\d+)\.')

_FIRST_TABLE = 'encoder.body.layers.0.blocks.0.attn.module.relative_position_bias_table'
_UNTRAINED = ('the factors have no influence in the published training, only weight decay moves '
              'them: they count as 1 here')
_ONE_KEY = ('dead in the published network: a softmax over its single key is 1, so it neither '
            'reaches the output nor gets a gradient')
_WQ_WK = f'W_q and W_k are {_ONE_KEY}'
_NOT_HERE = 'this variant has no such part; it does not compute what the file was trained for'
_INDEX = 'attn.module.relative_position_index'


def published_weights(found: Mapping[str, Tensor], model: nn.Module, *,
                      name: str) -> tuple[dict[str, Tensor], Report]:
    """Return our state dict made of a published checkpoint, and what became of each tensor.

    Args:
        found: Tensors by published name, without the "module." of its data-parallel wrapper.
        model: The network to fill.
        name: What to call the file in messages.

    Raises:
        ConvertError: If the file does not fit to the last tensor.
    """
    assert isinstance(model, DiffPixelFormer)
    if model.fusion not in _FUSIONS:
        raise ConvertError(f'no published checkpoint has the fusion {model.fusion.__name__}: its '
                           'code is not published; train this variant instead')
    _require_same_backbone(found, model.backbone, name=name)
    if isinstance(model.backbone, Swin) and model.fusion is Dsim:
        raise ConvertError(f'{name}: the published Swin networks have two keys and no difference '
                           'discriminator, so that no file fills this variant; use the one '
                           'ending in _released')
    has_difference, has_similarity = (any(part in key for key in found)
                                      for part in ('.diff_0_to_1.', '.relation_judger.'))
    if model.fusion in (Dsim, released.OneKey) and has_similarity and not has_difference:
        raise ConvertError(f'{name} has no difference discriminators: it is a checkpoint of '
                           'GeminiFusion, with two keys; use --from geminifusion and the variant '
                           'ending in /gemini')
    check_windows(found, name=name)
    names = _FUSIONS[model.fusion]
    state = model.state_dict()
    of_encoder = _mit_source if isinstance(model.backbone, Mit) else _swin_source
    plan = {key: _source(key, names, of_encoder) for key in state}

    dropped, expected = _left_over(found, names, model.backbone)
    return convert(found, state, plan, dropped.get, name=name, expected=expected,
                   advice='. Give the model and the number of classes it was trained with')


def _left_over(found: Mapping[str, Tensor], names: '_Names',
               backbone: Mit | Swin) -> tuple[dict[str, str], list[Demand]]:
    """Return what of a published file has no place here, and why; and what of it must fit.

    A dropped tensor that is in the file must have its shape; one that `names` requires must be
    there, too, or the file is of another network.
    """
    dropped: dict[str, str] = {}
    expected: list[Demand] = []
    for prefix, dim in _blocks(backbone):
        shapes = _fusion_shapes(dim)
        for pattern, why in names.dropped.items():
            parts = [part for part in shapes if re.fullmatch(pattern, part)]
            dropped |= {prefix + part: why for part in parts}
            expected += [Demand(prefix + part, shapes[part]) for part in parts
                         if prefix + part in found or re.fullmatch(names.required, part)]
        if isinstance(backbone, Swin):
            dropped[prefix + _INDEX] = 'computed from the window size'  # see `check_windows`
    return dropped, expected


def _blocks(backbone: Mit | Swin) -> Iterator[tuple[str, int]]:
    """Yield for each block what its published fusion's names start with, and its channels."""
    for s, (dim, depth) in enumerate(zip(backbone.dims, backbone.depths, strict=True)):
        for j in range(depth):
            yield (f'encoder.block{s + 1}.{j}.attn.' if isinstance(backbone, Mit)
                   else f'encoder.body.layers.{s}.blocks.{j}.'), dim


def _fusion_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """Return every tensor of the published fusion on C channels, by name within the block."""
    shapes: dict[str, tuple[int, ...]] = {
        'relation_judger.0.fc1.weight': (dim, 2 * dim), 'relation_judger.0.fc1.bias': (dim,),
        'relation_judger.0.fc2.weight': (dim, dim), 'relation_judger.0.fc2.bias': (dim,),
        'k_noise.weight': (2, dim), 'v_noise.weight': (2, dim),
    }
    for d in DIRECTIONS:
        shapes |= {f'diff_{d}.fc{i}.{last}': (dim, dim)[:2 if last == 'weight' else 1]
                   for i in (1, 2) for last in ('weight', 'bias')}
        shapes |= {
            f'cross_attn_{d}.in_proj_weight': (3 * dim, dim),
            f'cross_attn_{d}.in_proj_bias': (3 * dim,),
            f'cross_attn_{d}.out_proj.weight': (dim, dim),
            f'cross_attn_{d}.out_proj.bias': (dim,),
            f'scale_factor_{d}': (2,),
        }
    return shapes


def _require_same_backbone(found: Mapping[str, Tensor], wanted: Mit | Swin, *,
                           name: str) -> None:
    """Refuse a file of another kind or backbone by name, before its hundreds of tensors are."""
    if not any(key.startswith(('encoder.', 'decoder.')) and '.ln_0.' in key for key in found):
        raise ConvertError(f'{name} is no published DiffPixelFormer or GeminiFusion checkpoint; '
                           f'it looks like {describe(found)}')
    row = _backbone_of(found)
    if row is not None and row != wanted:
        kind = next(key for key, known in (MITS | SWINS).items() if known == row)
        model = next(key for key, variant in MODELS.items() if variant.backbone == row)
        raise ConvertError(f'{name} holds a {kind}, but the model is built on another backbone; '
                           f'use {model}_released, or another variant of {model}')


def _backbone_of(found: Mapping[str, Tensor]) -> Mit | Swin | None:
    """Return the numbers of a published file's backbone; None if they are of none we know."""
    blocks = {match.groups() for key in found if (match := _BLOCK.match(key))}
    depths = tuple(depth for _, depth in sorted(Counter(stage for stage, _ in blocks).items()))
    for rows, stem in ((MITS, 'encoder.patch_embed1'), (SWINS, 'encoder.body.patch_embed')):
        bias = found.get(f'{stem}.proj.module.bias')
        for row in rows.values():
            table = found.get(_FIRST_TABLE)
            same_window = (not isinstance(row, Swin) or table is None
                           or table.shape[0] == (2 * row.window - 1) ** 2)
            if bias is not None and bias.shape == row.dims[:1] and depths == row.depths \
                    and same_window:
                return row
    return None


@dataclass(frozen=True, slots=True)
class _Names:
    """Where the published code keeps what one of our fusions consists of.

    Attributes:
        sources: For each of our parameters a source, whose keys lack the block's prefix.
        dropped: Patterns of names within the published fusion that have no place in it, and why.
        required: Pattern of those of them that a file cannot lack.
    """

    sources: Mapping[str, Source]
    dropped: Mapping[str, str]
    required: str = ''


def _linear(ours: str, theirs: str, part: tuple[int, int, int] = (0, 1, 1)) -> dict[str, Source]:
    """Return sources of a layer's weight and bias; `{d}` in the name makes one per direction."""
    def source(last: str) -> Source:
        if '{d}' not in theirs:
            return Copy(theirs.format(last=last), part)
        return Stack(tuple(Copy(theirs.format(d=d, last=last), part) for d in DIRECTIONS))
    return {f'{ours}.{last}': source(last) for last in ('weight', 'bias')}


_SIMILARITY = {**_linear('similarity1', 'relation_judger.0.fc1.{last}'),
               **_linear('similarity2', 'relation_judger.0.fc2.{last}')}
_DIFFERENCE = {**_linear('difference1', 'diff_{d}.fc1.{last}'),
               **_linear('difference2', 'diff_{d}.fc2.{last}')}
_OUT = _linear('out', 'cross_attn_{d}.out_proj.{last}')
_QKV = {**_linear('qkv', 'cross_attn_{d}.in_proj_{last}'), **_OUT}
_VALUE = {**_linear('value', 'cross_attn_{d}.in_proj_{last}', (2, 1, 3)), **_OUT}
_NOISE: dict[str, Source] = {'key_noise': Copy('k_noise.weight'),
                             'value_noise': Copy('v_noise.weight')}
_THREE_KEYS = {**_SIMILARITY, **_DIFFERENCE, **_QKV, **_NOISE}


def _window_layer(ours: str, theirs: str) -> dict[str, Source]:
    return {**_linear(f'{ours}query', f'{theirs}.q_proj.{{last}}'),
            **_linear(f'{ours}key', f'{theirs}.k_proj.{{last}}'),
            **_linear(f'{ours}value', f'{theirs}.v_proj.{{last}}'),
            **_linear(f'{ours}out', f'{theirs}.proj_out.{{last}}')}


_FACTORS = r'scale_factor_.*'
_IN = r'cross_attn_.*\.in_proj_.*'
_DIFFS = r'diff_.*'
_DEAD = rf'relation_judger.*|{_DIFFS}|k_noise.*'

_FUSIONS: Mapping[Fusion, _Names] = {
    Dsim: _Names({**_THREE_KEYS, 'alpha': Fill(1.0, _UNTRAINED), 'beta': Fill(1.0, _UNTRAINED)},
                 {_FACTORS: _UNTRAINED}),
    released.OneKey: _Names(
        {**_VALUE, 'value_noise': Copy('v_noise.weight')},
        {_FACTORS: _ONE_KEY, _IN: _WQ_WK, _DEAD: _ONE_KEY},
        required=_DEAD),  # the factors may lack: an earlier published code has none
    released.TwoKeys: _Names({**_SIMILARITY, **_QKV, **_NOISE},
                             {_FACTORS: _NOT_HERE, _DIFFS: _NOT_HERE}),
    NoFusion: _Names({}, {'.*': _NOT_HERE}),
    ablations.DsimNoFactor: _Names(_THREE_KEYS, {_FACTORS: _UNTRAINED}),
    ablations.DsimEq8: _Names(
        {**_THREE_KEYS, 'alpha': Fill(1.0, _UNTRAINED), 'beta': Fill(1.0, _UNTRAINED)},
        {_FACTORS: _UNTRAINED}),
    ablations.PixelCrossAttention: _Names(_VALUE, {_IN: _WQ_WK}),
    ablations.CrossAttention: _Names({**_linear('query', 'q_proj_ca.{last}'),
                                      **_linear('key', 'k_proj_ca.{last}'),
                                      **_linear('value', 'v_proj_ca.{last}')}, {}),
    ablations.LocalCrossAttention: _Names(_window_layer('', 'cla_{d}'), {}),
    ablations.WindowCrossAttention: _Names(
        {**_window_layer('layers.0.', 'swin_layer_{d}.0'),
         **_window_layer('layers.1.', 'swin_layer_{d}.1')}, {}),
}

_HEAD = {'fuse': 'linear_fuse.conv', 'norm': 'linear_fuse.bn', 'classify': 'linear_pred'}
_MIT_SHARED = {
    'attention.query': 'attn.q.module', 'attention.key_value': 'attn.kv.module',
    'attention.reduce': 'attn.sr.module', 'project': 'attn.proj.module',
    'feed_forward.fc1': 'mlp.fc1.module', 'feed_forward.fc2': 'mlp.fc2.module',
    'feed_forward.depthwise': 'mlp.dwconv.dwconv',
}
_MIT_OWN = {'norm1': 'norm1', 'norm2': 'norm2', 'attention.reduce_norm': 'attn.norm'}
_SWIN_SHARED = {
    'norm1': 'norm1.module', 'norm2': 'norm2.module', 'attention.qkv': 'attn.module.qkv',
    'attention.project': 'attn.module.proj', 'feed_forward.fc1': 'mlp.fc1.module',
    'feed_forward.fc2': 'mlp.fc2.module',
}


def _source(key: str, names: _Names, of_encoder: Callable[[str, str, _Names], Source]) -> Source:
    """Return the source of our tensor `key`."""
    if key == 'alpha':
        return Copy('alpha')
    name, _, last = key.rpartition('.')
    parts = name.split('.')
    if parts[0] == 'head':
        level = f'linear_c{int(parts[2]) + 1}.proj' if parts[1] == 'linears' else _HEAD[parts[1]]
        return Copy(f'decoder.{level}.{last}')
    return of_encoder(name.removeprefix('encoder.'), last, names)


def _own(norm: str, last: str) -> Stack:
    return Stack(tuple(Copy(f'{norm}.ln_{m}.{last}') for m in (0, 1)))


def _mit_source(name: str, last: str, names: _Names) -> Source:
    _, number, *inner = name.split('.')
    stage = int(number) + 1
    if inner == ['embed', 'conv']:
        return Copy(f'encoder.patch_embed{stage}.proj.module.{last}')
    if inner[0] != 'blocks':
        return _own(f'encoder.patch_embed{stage}.norm' if inner[0] == 'embed'
                    else f'encoder.norm{stage}', last)
    block, part = f'encoder.block{stage}.{inner[1]}.', '.'.join(inner[2:])
    if inner[2] == 'fusion':
        return _within(names.sources['.'.join([*inner[3:], last])], f'{block}attn.')
    if part in _MIT_OWN:
        return _own(block + _MIT_OWN[part], last)
    return Copy(f'{block}{_MIT_SHARED[part]}.{last}')


def _swin_source(name: str, last: str, names: _Names) -> Source:
    body = 'encoder.body.'
    first, *inner = name.split('.')
    if first == 'embed':
        return (Copy(f'{body}patch_embed.proj.module.{last}') if inner == ['conv']
                else _own(f'{body}patch_embed.norm', last))
    stage = int(inner[0])
    if inner[1] == 'norm':
        return _own(f'{body}norm{stage}', last)
    if inner[1] == 'merge':  # ours at the start of a stage, theirs at the end of the one before
        part = {'norm': 'norm', 'reduce': 'reduction'}[inner[2]]
        return Copy(f'{body}layers.{stage - 1}.downsample.module.{part}.{last}')
    block, part = f'{body}layers.{stage}.blocks.{inner[2]}.', '.'.join(inner[3:])
    if inner[3] == 'fusion':
        return _within(names.sources['.'.join([*inner[4:], last])], block)
    if last == 'bias_table':
        return Copy(f'{block}attn.module.relative_position_bias_table')
    return Copy(f'{block}{_SWIN_SHARED[part]}.{last}')


def _within(source: Source, prefix: str) -> Source:
    """Return a source whose foreign names get a prefix."""
    if isinstance(source, Copy):
        return Copy(prefix + source.key, source.part)
    if isinstance(source, Stack | Concat):
        return type(source)(tuple(_within(part, prefix) for part in source.sources))
    return source
