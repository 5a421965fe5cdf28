# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of Swin, in each spelling they are published in.

Sources of the names: the state dicts of microsoft/Swin-Transformer (classification and
segmentation), timm 1.0, transformers 4 (what `save_pretrained` of 5 still writes), transformers 5
in memory, and torchvision. All of them merge patches in the same order of channels.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.converters.layouts import (
    Layout,
    backbone_plan,
    bare,
    check_size,
    choose_layout,
    require,
)
from diffpixel_core.converters.tensors import ConvertError, Demand, Report, Shape, Source, convert
from diffpixel_core.models.swin import SwinEncoder, relative_position

TABLE = 'relative_position_bias_table'
INDEX = 'relative_position_index'

_EMBED = {'embed.conv': 'patch_embed.proj', 'embed.norm': 'patch_embed.norm',
          'norm': 'norm{s}'}
_INNER: Mapping[str, str | tuple[str, ...]] = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'attention.qkv': 'attn.qkv',
    'attention.project': 'attn.proj',
    'attention.bias_table': f'attn.{TABLE}',
    'feed_forward.fc1': 'mlp.fc1',
    'feed_forward.fc2': 'mlp.fc2',
}
_HUB_PARTS = {
    'embed.conv': 'embeddings.patch_embeddings.projection',
    'embed.norm': 'embeddings.norm',
    'merge.norm': 'encoder.layers.{p}.downsample.norm',
    'merge.reduce': 'encoder.layers.{p}.downsample.reduction',
    'norm': 'hidden_states_norms.stage{n}',
}

_MICROSOFT = Layout(
    label='microsoft/Swin-Transformer',
    mark=r'layers\.0\.downsample\.',           # at the end of stages 0 to 2
    parts={**_EMBED, 'merge.norm': 'layers.{p}.downsample.norm',
           'merge.reduce': 'layers.{p}.downsample.reduction'},
    block='layers.{s}.blocks.{j}.', inner=_INNER)

_TIMM = Layout(
    label='timm 1.0',
    mark=r'layers\.3\.downsample\.',           # at the start of stages 1 to 3
    parts={**_EMBED, 'merge.norm': 'layers.{s}.downsample.norm',
           'merge.reduce': 'layers.{s}.downsample.reduction'},
    block='layers.{s}.blocks.{j}.', inner=_INNER)

_TORCHVISION = Layout(
    label='torchvision',
    mark=r'features\.[1357]\.\d+\.attn\.',
    parts={'embed.conv': 'features.0.0', 'embed.norm': 'features.0.2', 'norm': 'norm{s}',
           'merge.norm': 'features.{even}.norm',
           'merge.reduce': 'features.{even}.reduction'},
    block='features.{odd}.{j}.',
    inner={**_INNER, 'feed_forward.fc1': 'mlp.0', 'feed_forward.fc2': 'mlp.3'})

_HUB = Layout(
    label='Hugging Face, transformers 4',
    mark=r'encoder\.layers\.\d\.blocks\.\d+\.attention\.self\.',
    parts=_HUB_PARTS,
    block='encoder.layers.{s}.blocks.{j}.',
    inner={
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attention.qkv': ('attention.self.query', 'attention.self.key', 'attention.self.value'),
        'attention.project': 'attention.output.dense',
        'attention.bias_table': f'attention.self.{TABLE}',
        'feed_forward.fc1': 'intermediate.dense',
        'feed_forward.fc2': 'output.dense',
    })

_MEMORY = Layout(
    label='Hugging Face, transformers 5 in memory',
    mark=r'encoder\.layers\.\d\.blocks\.\d+\.attention\.(q_proj|relative_position_bias)\.',
    parts=_HUB_PARTS,
    block='encoder.layers.{s}.blocks.{j}.',
    inner={
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attention.qkv': ('attention.q_proj', 'attention.k_proj', 'attention.v_proj'),
        'attention.project': 'attention.o_proj',
        'attention.bias_table': f'attention.relative_position_bias.{TABLE}',
        'feed_forward.fc1': 'mlp.fc1',
        'feed_forward.fc2': 'mlp.fc2',
    })

LAYOUTS = (_HUB, _MEMORY, _TORCHVISION, _TIMM, _MICROSOFT)


@dataclass(frozen=True, slots=True)
class BiasTable:
    """A table of relative position biases, resized to our window if its own is another.

    Attributes:
        key: Foreign name.
    """

    key: str

    def demands(self, shape: Shape) -> list[Demand]:
        """Return the one table, of any window."""
        return [Demand(self.key, (None, shape[1]))]

    def build(self, found: Mapping[str, Tensor], shape: Shape) -> Tensor:
        """Return the table for our window."""
        return resize_table(found[self.key], _window(shape[0]))


def resize_table(table: Tensor, window: int) -> Tensor:
    """Return the `((2w-1)^2, heads)` table of a window of side w, float32 if it was resized.

    Args:
        table: Biases of another window, same layout.
        window: Side w.

    Source: bicubic interpolation of each head's biases over the grid of relative positions, as in
        the loaders of microsoft/Swin-Transformer.
    """
    old, new = 2 * _window(table.shape[0]) - 1, 2 * window - 1
    if old == new:
        return table
    grid = table.float().T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, (new, new), mode='bicubic', align_corners=False)
    return grid.flatten(2)[0].T


def swin_weights(found: Mapping[str, Tensor], model: nn.Module, *,
                 name: str) -> tuple[dict[str, Tensor], Report]:
    """Return a state dict of `model` with a Swin in both streams, and its report.

    Everything the file does not have stays as it is in `model`: fusion, head, ensemble weights and,
    in files of classifiers, the norms of the four outputs. Tables of another window are resized,
    which the report says.

    Args:
        found: The file's tensors: a Swin alone, or with a classifier or a decoder head, which are
            left out.
        model: A `DiffPixelFormer` on the same Swin, but for the window.
        name: What to call the file in messages.

    Raises:
        ConvertError: If the file is of another kind or size, naming every tensor that does not fit.
    """
    layout = choose_layout(found, LAYOUTS, name=name,
                           expected='the weights of a Swin of microsoft/Swin-Transformer, '
                           'Hugging Face, timm or torchvision')
    require(model, SwinEncoder, name=name, what='a Swin',
            instead='diffpixelformer_swin_t or diffpixelformer_l')
    check_size(layout, found, model, name=name)
    check_windows(found, name=name)
    present = {bare(key) for key in found}

    def fresh(key: str) -> str | None:
        norm = re.fullmatch(r'(encoder\.stages\.\d\.norm)\.\w+', key)
        if not norm or present & {layout.spell(f'{norm[1]}.{leaf}')[0]
                                  for leaf in ('weight', 'bias')}:
            return None
        return 'norm of an output: a classifier has none'

    def special(key: str, foreign: str) -> Source | None:
        return BiasTable(foreign) if key.endswith('.bias_table') else None

    own = model.state_dict()
    plan = backbone_plan(layout, found, model, fresh, special)
    tensors, report = convert(found, own, plan, _reason, name=name,
                              advice=f' (names read as {layout.label}); take the weights of this '
                              'very backbone')
    return tensors, _with_windows(report, found, own)


def _with_windows(report: Report, found: Mapping[str, Tensor],
                  own: Mapping[str, Tensor]) -> Report:
    """Return the report with a note on each table that was resized."""
    mapped = []
    for fate in report.mapped:
        if fate.tensor.endswith('.bias_table'):
            old, new = _window(found[fate.note].shape[0]), _window(own[fate.tensor].shape[0])
            if old != new:
                fate = replace(fate, note=f'{fate.note}, interpolated from window {old} to {new}')
        mapped.append(fate)
    return replace(report, mapped=tuple(mapped))


def check_windows(found: Mapping[str, Tensor], *, name: str) -> None:
    """Refuse tables that are none of one square window, and indices that read them otherwise."""
    rows = Counter(table.shape[0] for key, table in found.items()
                   if key.endswith(TABLE) and table.ndim)
    for key, table in found.items():
        if not key.endswith(TABLE) or not table.ndim:
            continue
        window = _window(table.shape[0])
        if (2 * window - 1) ** 2 != table.shape[0]:
            raise ConvertError(f'{name}: {key} has {table.shape[0]} rows, which is (2w-1)^2 for no '
                               'window w; only square windows are supported, download the file '
                               'again or use another')
        usual = rows.most_common(1)[0][0]
        if table.shape[0] != usual:
            raise ConvertError(f'{name}: {key} has {table.shape[0]} rows, most others {usual}; '
                               'the file is damaged or of another network: download it again')
        index = found.get(key.replace(TABLE, INDEX))
        if index is not None and not torch.equal(index.flatten().long(),
                                                 relative_position(window).flatten()):
            raise ConvertError(f'{name}: {key.replace(TABLE, INDEX)} does not read the biases of a '
                               f'window of {window}x{window} as Swin does; the file is damaged or '
                               'of another network: download it again')


def _window(rows: int) -> int:
    """Return the side w of a window whose table has (2w-1)^2 rows."""
    return (isqrt(rows) + 1) // 2


def _reason(key: str) -> str | None:
    """Return why a foreign tensor that is not used may be dropped; None = it may not."""
    short = bare(key)
    if short.endswith((INDEX, 'attn_mask')):
        return 'buffer: computed here'
    if short.startswith(('head.', 'classifier.')):
        return 'classifier: its classes are those of ImageNet'
    if short in ('norm.weight', 'norm.bias', 'layernorm.weight', 'layernorm.bias'):
        return "norm before the classifier: a segmentation network's output norms are its own"
    if short.startswith(('decode_head.', 'auxiliary_head.')):
        return 'decode head: ours is trained for your classes'
    return None
