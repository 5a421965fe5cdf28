# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of SegFormer's MiT, in each spelling they are published in.

Sources of the names: the state dicts of transformers 4 (what `save_pretrained` of 5 still writes)
and of transformers 5 in memory, and of the files `mit_b*.pth` that came with SegFormer.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from diffpixel_core.converters.layouts import (
    Layout,
    backbone_plan,
    bare,
    check_size,
    choose_layout,
    require,
)
from diffpixel_core.converters.tensors import Report, convert
from diffpixel_core.models.mit import MitEncoder

_HUB = Layout(
    label='Hugging Face, transformers 4',
    mark=r'encoder\.(block|patch_embeddings)\.\d',
    parts={
        'embed.conv': 'encoder.patch_embeddings.{s}.proj',
        'embed.norm': 'encoder.patch_embeddings.{s}.layer_norm',
        'norm': 'encoder.layer_norm.{s}',
    },
    block='encoder.block.{s}.{j}.',
    inner={
        'norm1': 'layer_norm_1',
        'norm2': 'layer_norm_2',
        'attention.query': 'attention.self.query',
        'attention.key_value': ('attention.self.key', 'attention.self.value'),
        'attention.reduce': 'attention.self.sr',
        'attention.reduce_norm': 'attention.self.layer_norm',
        'project': 'attention.output.dense',
        'feed_forward.fc1': 'mlp.dense1',
        'feed_forward.depthwise': 'mlp.dwconv.dwconv',
        'feed_forward.fc2': 'mlp.dense2',
    })

_MEMORY = Layout(
    label='Hugging Face, transformers 5 in memory',
    mark=r'stages\.\d\.(blocks\.\d+\.layernorm_before|patch_embeddings)\.',
    parts={
        'embed.conv': 'stages.{s}.patch_embeddings.proj',
        'embed.norm': 'stages.{s}.patch_embeddings.layer_norm',
        'norm': 'stages.{s}.layer_norm',
    },
    block='stages.{s}.blocks.{j}.',
    inner={
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attention.query': 'attention.q_proj',
        'attention.key_value': ('attention.k_proj', 'attention.v_proj'),
        'attention.reduce': 'attention.sequence_reduction.sequence_reduction',
        'attention.reduce_norm': 'attention.sequence_reduction.layer_norm',
        'project': 'attention.o_proj',
        'feed_forward.fc1': 'mlp.fc1',
        'feed_forward.depthwise': 'mlp.dwconv.dwconv',
        'feed_forward.fc2': 'mlp.fc2',
    })

_ORIGINAL = Layout(
    label='original SegFormer',
    mark=r'(patch_embed[1-4]\.proj|block[1-4]\.\d+\.attn\.q)\.(weight|bias)$',
    parts={
        'embed.conv': 'patch_embed{n}.proj',
        'embed.norm': 'patch_embed{n}.norm',
        'norm': 'norm{n}',
    },
    block='block{n}.{j}.',
    inner={
        'norm1': 'norm1',
        'norm2': 'norm2',
        'attention.query': 'attn.q',
        'attention.key_value': 'attn.kv',
        'attention.reduce': 'attn.sr',
        'attention.reduce_norm': 'attn.norm',
        'project': 'attn.proj',
        'feed_forward.fc1': 'mlp.fc1',
        'feed_forward.depthwise': 'mlp.dwconv.dwconv',
        'feed_forward.fc2': 'mlp.fc2',
    })

LAYOUTS = (_HUB, _MEMORY, _ORIGINAL)


def segformer_weights(found: Mapping[str, Tensor], model: nn.Module, *,
                      name: str) -> tuple[dict[str, Tensor], Report]:
    """Return a state dict of `model` with a MiT of SegFormer in both streams, and its report.

    Everything the file does not have stays as it is in `model`: fusion, head, ensemble weights.

    Args:
        found: The file's tensors: a MiT alone, or with a classifier or a decoder head, which are
            left out.
        model: A `DiffPixelFormer` on the same MiT.
        name: What to call the file in messages.

    Raises:
        ConvertError: If the file is of another kind or size, naming every tensor that does not fit.
    """
    layout = choose_layout(found, LAYOUTS, name=name,
                           expected='the weights of a SegFormer MiT (nvidia/mit-b*, mit_b*.pth)')
    require(model, MitEncoder, name=name, what='a SegFormer MiT',
            instead='diffpixelformer_t or diffpixelformer_s')
    check_size(layout, found, model, name=name)
    plan = backbone_plan(layout, found, model, fresh=lambda key: None,
                         special=lambda key, foreign: None)
    return convert(found, model.state_dict(), plan, _reason, name=name,
                   advice=f' (names read as {layout.label}); take the weights of this very '
                          'backbone')


def _reason(key: str) -> str | None:
    """Return why a foreign tensor that is not used may be dropped; None = it may not."""
    if bare(key).startswith(('classifier.', 'head.')):
        return 'classifier: its classes are those of ImageNet'
    if bare(key).startswith('decode_head.'):
        return 'decode head: ours is trained for your classes'
    return None
