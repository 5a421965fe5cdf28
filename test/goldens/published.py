# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A published checkpoint and its inputs, as the reference figures were made with."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from goldens import recipe

GOLDENS = Path(__file__).parent
COMPUTED = 'relative_position_index'  # an integer buffer the recipe does not fill


def published_state(keys: str = 'keys_mit_b0') -> dict[str, Tensor]:
    """Return the tensors of a list of names."""
    shapes = json.loads((GOLDENS / f'{keys}.json').read_text())
    return {key: torch.from_numpy(np.asarray(recipe.weights(key, tuple(shape))))
            for key, shape in shapes.items() if not key.endswith(COMPUTED)}


def inputs(batch: int) -> list[Tensor]:
    """Return colour and depth, `(B, 3, 64, 96)` float64."""
    return [torch.from_numpy(recipe.image(name, batch, 64, 96)).double()
            for name in ('rgb', 'depth')]
