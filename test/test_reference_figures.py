# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The published code's figures, met in float64 through the converter of its names."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.converters.published import published_weights
from diffpixel_core.models import build_model
from goldens import recipe
from goldens.published import GOLDENS, inputs, published_state


def converted(name: str, state: dict[str, Tensor]) -> nn.Module:
    model = build_model(name, classes=40)
    model.load_state_dict(published_weights(state, model, name='recipe')[0])
    return model.double().eval()


@pytest.mark.parametrize(('case', 'name', 'batch'), [
    ('mit_b0_64x96_B1_default', 'diffpixelformer_t_released', 1),
    ('mit_b0_64x96_B2_default', 'diffpixelformer_t_released', 2),
    ('mit_b0_64x96_B1_nonparallel', 'diffpixelformer_t', 1),
    ('mit_b0_64x96_B2_nonparallel', 'diffpixelformer_t', 2),
    ('mit_b0_64x96_B2_nonparallel', 'diffpixelformer_t/dsim_no_factor', 2),
    ('mit_b0_64x96_B1_baseline', 'diffpixelformer_t/baseline', 1),
    ('mit_b0_64x96_B2_gemini', 'diffpixelformer_t/gemini', 2),
    ('mit_b0_64x96_B2_crossattention', 'diffpixelformer_t/cross_attention', 2),
    ('mit_b0_64x96_B2_crosslocal', 'diffpixelformer_t/local_cross_attention', 2),
    ('mit_b0_64x96_B2_crossshifted', 'diffpixelformer_t/window_cross_attention', 2),
    ('swin_tiny_64x96_B1_default', 'diffpixelformer_swin_t_released', 1),
])
def test_published_figures_are_met(case: str, name: str, batch: int) -> None:
    backbone, variant = case.split('_64x96_')[0], case.rsplit('_', 1)[1]
    keys = f'keys_{backbone}' + (f'_{variant}' if variant.startswith('cross') else '')
    figures = np.load(GOLDENS / f'{case}.npz')
    model = converted(name, published_state(keys))
    with torch.no_grad():
        out = model(*inputs(batch))
        stages = model.encoder(*inputs(batch))
    found = {'rgb': out.aux[0], 'depth': out.aux[1], 'ens': out.ensemble}
    for s, stage in enumerate(stages, start=1):
        for half, modality in zip(stage.chunk(2), ('rgb', 'depth'), strict=True):
            found[f'feat_{modality}_stage{s}'] = half
    for key, tensor in found.items():
        assert tuple(tensor.shape) == tuple(figures[f'{key}_shape'])
        values = tensor.contiguous().numpy().ravel()
        np.testing.assert_allclose(values[figures[f'{key}_idx']], figures[f'{key}_f64'], rtol=0,
                                   atol=1e-9, err_msg=key)
        whole = [values.mean(), values.std(), values.min(), values.max()]
        np.testing.assert_allclose(whole, figures[f'{key}_stats_f64'], rtol=0, atol=1e-9,
                                   err_msg=key)


def test_published_gradients_are_met() -> None:
    """Losses, and the gradient of every published tensor, back through the converter."""
    figures = np.load(GOLDENS / 'grad_mit_b0_64x96_B2_nonparallel.npz')
    state = {key: tensor.double().requires_grad_('running' not in key)
             if tensor.is_floating_point() else tensor
             for key, tensor in published_state().items()}
    model = build_model('diffpixelformer_t', classes=40).double().eval()
    tensors, _ = published_weights(state, model, name='recipe')
    out = torch.func.functional_call(model, tensors, tuple(inputs(2)))
    truth = torch.from_numpy(recipe.labels(2, 64, 96, 40))
    losses = [F.cross_entropy(F.interpolate(scores, (64, 96), mode='bilinear'), truth,
                              ignore_index=255) for scores in (*out.aux, out.ensemble)]
    np.testing.assert_allclose([loss.item() for loss in losses], figures['losses'], rtol=0,
                               atol=1e-9)
    sum(losses).backward()
    unused = []
    for key, norm, first in zip(figures['names'], figures['grad_norm'], figures['grad_first'],
                                strict=True):
        gradient = state[str(key)].grad
        if norm == -1:
            unused.append(str(key))
            assert gradient is None, key
        else:
            assert abs(gradient.norm().item() - norm) < 1e-9, key
            assert abs(gradient.flatten()[0].item() - first) < 1e-9, key
    assert len(unused) == 16
    assert all('scale_factor' in key for key in unused)


def test_a_converted_weight_matters() -> None:
    """Change one fusion weight: the figures must change, or the comparison above proves little."""
    model = converted('diffpixelformer_t', published_state())
    with torch.no_grad():
        before = model(*inputs(1)).ensemble
        model.encoder.stages[0].blocks[0].fusion.difference1.weight[0, 0, 0] += 1e-3
        after = model(*inputs(1)).ensemble
    assert (before - after).abs().max() > 1e-9


def test_what_the_converter_drops_as_dead_has_no_influence() -> None:
    """Other numbers in every dropped row of a published file: the same network comes out."""
    state = published_state()
    model = build_model('diffpixelformer_t_released', classes=40)
    first, report = published_weights(state, model, name='recipe')
    torch.manual_seed(0)
    for fate in report.dropped:
        key, _, rows = fate.tensor.partition('[')
        start, _, stop = rows.rstrip(']').partition(':')
        where = slice(int(start), int(stop)) if rows else slice(None)
        state[key] = state[key].clone()
        state[key][where] = torch.randn_like(state[key][where])
    second, _ = published_weights(state, model, name='recipe')
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
