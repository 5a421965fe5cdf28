# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A run that starts from the weights of another model, whole or in part."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from diffpixel_core.checkpoints import load_model, require_same_tensors
from diffpixel_core.config import FreshPart
from diffpixel_core.labels import LabelSpace
from diffpixel_core.train.guard import TrainError

_NAMES: Mapping[FreshPart, re.Pattern[str]] = {  # of the tensors of a part
    'classifier': re.compile(r'head\.classify\.'),
    'decoder': re.compile(r'head\.|alpha$'),
    'fusions': re.compile(r'encoder\..*\.fusion\.'),
}


def start_from(network: nn.Module, model: str, space: LabelSpace,
               fresh: Sequence[FreshPart]) -> dict[str, dict[str, Any]]:
    """Load a model's weights into a network and return the input normalisation they want.

    Args:
        network: Takes the weights.
        model: Model directory, its weights file, or the name of a shipped model.
        space: What the network is to predict.
        fresh: Parts that keep their own start; all other tensors must be the same in both.

    Raises:
        TrainError: If a classifier of other classes would be taken over.
        CheckpointError: If the model is damaged, or a tensor does not fit, by name.
    """
    start, manifest = load_model(model)
    if not {'classifier', 'decoder'} & set(fresh) and manifest.space.names != space.names:
        raise TrainError(f'{model} predicts {_told(manifest.space)}, not {_told(space)}: start the '
                         'classifier afresh with --init_fresh [classifier]')
    found, wanted = (_kept(module.state_dict(), fresh) for module in (start, network))
    require_same_tensors(found, wanted, name=model,
                         remedy='Take the network it was trained as, or name the parts to start '
                                'afresh in init_fresh')
    network.load_state_dict(network.state_dict() | found)
    return manifest.normalisation


def _kept(tensors: Mapping[str, Tensor], fresh: Sequence[FreshPart]) -> dict[str, Tensor]:
    """Return the tensors outside the parts that start afresh."""
    return {name: tensor for name, tensor in tensors.items()
            if not any(_NAMES[part].match(name) for part in fresh)}


def _told(space: LabelSpace) -> str:
    return f'{space.name} ({len(space)} classes, from {space.names[0]!r})'
