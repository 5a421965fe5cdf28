# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The published code's figures, met in float64 through the converter of its names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffpixel_core.models import build_model
from diffpixel_core.models.diffpixelformer import from_released
from goldens import recipe

GOLDENS = Path(__file__).parent / 'goldens'


def released_state() -> dict[str, torch.Tensor]:
    shapes = json.loads((GOLDENS / 'keys_mit_b0.json').read_text())
    return {key: torch.from_numpy(np.asarray(recipe.weights(key, tuple(shape))))
            for key, shape in shapes.items()}


def converted(name: str) -> nn.Module:
    model = build_model(name, classes=40)
    model.load_state_dict(from_released(released_state(), model.state_dict()))
    return model.double().eval()


def inputs(batch: int) -> list[torch.Tensor]:
    return [torch.from_numpy(recipe.image(name, batch, 64, 96)).double()
            for name in ('rgb', 'depth')]


@pytest.mark.parametrize(('case', 'name', 'batch'), [
    ('mit_b0_64x96_B2_nonparallel', 'diffpixelformer_t', 2),
    ('mit_b0_64x96_B1_baseline', 'diffpixelformer_t/baseline', 1),
])
def test_published_figures_are_met(case: str, name: str, batch: int) -> None:
    figures = np.load(GOLDENS / f'{case}.npz')
    model = converted(name)
    with torch.no_grad():
        out = model(*inputs(batch))
        stages = model.encoder(*inputs(batch))
    found = {'rgb': out.aux[0], 'depth': out.aux[1], 'ens': out.ensemble}
    for s, stage in enumerate(stages, start=1):
        for half, modality in zip(stage.chunk(2), ('rgb', 'depth'), strict=True):
            found[f'feat_{modality}_stage{s}'] = half
    for key, tensor in found.items():
        assert tuple(tensor.shape) == tuple(figures[f'{key}_shape'])
        at = tensor.contiguous().numpy().ravel()[figures[f'{key}_idx']]
        np.testing.assert_allclose(at, figures[f'{key}_f64'], rtol=0, atol=1e-9, err_msg=key)


def test_a_converted_weight_matters() -> None:
    """Change one fusion weight: the figures must change, or the comparison above proves little."""
    model = converted('diffpixelformer_t')
    with torch.no_grad():
        before = model(*inputs(1)).ensemble
        model.encoder.stages[0].blocks[0].fusion.difference1.weight[0, 0, 0] += 1e-3
        after = model(*inputs(1)).ensemble
    assert (before - after).abs().max() > 1e-9


def test_a_missing_released_tensor_is_named() -> None:
    state = released_state()
    del state['encoder.block1.0.attn.diff_0_to_1.fc1.weight']
    wanted = build_model('diffpixelformer_t', classes=40).state_dict()
    with pytest.raises(KeyError, match='diff_0_to_1'):
        from_released(state, wanted)
