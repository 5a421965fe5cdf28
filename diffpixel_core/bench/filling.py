# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of a `_released` network in the baseline `published`: the same output from both."""

import torch

from diffpixel_core.bench.published import Published
from diffpixel_core.checkpoints import Manifest
from diffpixel_core.converters.published import published_weights
from diffpixel_core.models import MODELS, build_model, find_variant
from diffpixel_core.models.diffpixelformer import DiffPixelFormer
from diffpixel_core.models.released import OneKey


def has_published_weights(manifest: Manifest) -> bool:
    """Return whether a model's weights make sense in the published network, too."""
    return find_variant(manifest.model).fusion is OneKey


@torch.no_grad()
def fill_from_released(baseline: Published, model: DiffPixelFormer) -> None:
    """Copy a `_released` network into its baseline, which then gives the same output.

    What the network has no place for, the dead parameters, keeps the numbers it has.

    Args:
        baseline: Of the same backbone and number of classes.
        model: Our network in closed form.
    """
    assert model.fusion is OneKey
    own = model.state_dict()
    state = baseline.state_dict()
    # The converter says where each of our numbers comes from: give it numbered ones.
    sizes = [tensor.numel() for tensor in state.values()]
    numbers = torch.arange(sum(sizes), dtype=torch.float64).split(sizes)
    numbered = {key: number.view(tensor.shape) if tensor.is_floating_point() else tensor
                for (key, tensor), number in zip(state.items(), numbers, strict=True)}
    name = next(key for key, row in MODELS.items()
                if (row.backbone, row.fusion) == (model.backbone, model.fusion))
    with torch.device('meta'):
        wanted = build_model(name, model.head.classify.out_channels).double()
    sources, _ = published_weights(numbered, wanted, name='the baseline')
    flat = torch.cat([tensor.reshape(-1).to(model.alpha.dtype) for tensor in state.values()])
    for key, source in sources.items():
        if own[key].is_floating_point():
            flat[source.long().reshape(-1)] = own[key].reshape(-1)
    baseline.load_state_dict({key: part.view(tensor.shape).to(tensor.dtype) for (key, tensor), part
                              in zip(state.items(), flat.split(sizes), strict=True)})
