# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The contract every registered network keeps, and what the paper's equations say."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.deploy import DeployGraph
from diffpixel_core.modalities import MODALITIES, normalisation
from diffpixel_core.models import MODELS, ModelError, Output, build_model
from diffpixel_core.models.diffpixelformer import Dsim
from diffpixel_core.models.layers import DropPath

CLASSES = 5
SMALL = ('diffpixelformer_t', 'diffpixelformer_t/baseline')
PARAMETERS = {'t': 6_637_738, 'b1': 25_289_482, 'b2': 47_013_162, 's': 85_413_210,
              'b4': 117_072_270, 'm': 157_242_810}


def pair(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rgb, x = torch.randn(2, batch, 3, height, width, generator=draw)
    return rgb, x


@pytest.fixture(params=SMALL)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build_model(request.param, classes=CLASSES)


@pytest.mark.parametrize('size', [(64, 96), (67, 45), (32, 32)])
@torch.no_grad()
def test_scores_have_a_quarter_of_the_size(model: nn.Module, size: tuple[int, int]) -> None:
    out = model.eval()(*pair(2, *size))
    quarter = (2, CLASSES, -(-size[0] // 4), -(-size[1] // 4))
    assert isinstance(out, Output)
    assert [tuple(part.shape) for part in (out.ensemble, *out.aux)] == [quarter] * 3
    assert torch.isfinite(out.ensemble).all()


@torch.no_grad()
def test_a_sample_does_not_see_its_neighbours_in_the_batch(model: nn.Module) -> None:
    rgb, x = pair(3, 64, 64)
    together = model.eval()(rgb, x).ensemble[:1]
    alone = model(rgb[:1], x[:1]).ensemble
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_weight_gets_a_gradient(model: nn.Module) -> None:
    out = model.train()(*pair(2, 64, 64))
    weights = torch.randn(out.ensemble.shape, generator=torch.Generator().manual_seed(1))
    sum((part * weights).sum() for part in (out.ensemble, *out.aux)).backward()
    dead = [name for name, p in model.named_parameters()
            if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


@torch.no_grad()
def test_the_deployable_graph_is_the_network_with_its_preprocessing(model: nn.Module) -> None:
    draw = torch.Generator().manual_seed(2)
    rgb = torch.randint(0, 256, (1, 64, 96, 3), generator=draw, dtype=torch.uint8)
    depth = torch.rand(1, 64, 96, generator=draw) * 4 + 0.5
    rows = normalisation(('rgb', 'depth'))
    graph = DeployGraph(model.eval(), rows, (64, 96))
    colour = torch.stack([(rgb[..., c].float() - MODALITIES['rgb'].mean[c])
                          / MODALITIES['rgb'].std[c] for c in range(3)], dim=1)
    other = ((depth - 2.5) / 1.5)[:, None].repeat(1, 3, 1, 1)
    torch.testing.assert_close(graph(rgb, depth), model(colour, other).ensemble)


@pytest.mark.slow
def test_two_images_are_learnt_by_heart(model: nn.Module) -> None:
    rgb, x = pair(2, 64, 64)
    truth = torch.randint(0, CLASSES, (2, 2, 2), generator=torch.Generator().manual_seed(3))
    truth = truth.repeat_interleave(8, 1).repeat_interleave(8, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(150):
        out = model.train()(rgb, x)
        loss = sum(F.cross_entropy(part, truth) for part in (out.ensemble, *out.aux))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = model.eval()(rgb, x).ensemble.argmax(1)
    assert (found == truth).float().mean() > 0.95


@pytest.mark.parametrize(('size', 'count'), PARAMETERS.items())
def test_parameter_counts_are_the_papers(size: str, count: int) -> None:
    with torch.device('meta'):
        network = build_model(f'diffpixelformer_{size}', classes=40)
    assert sum(p.numel() for p in network.parameters()) == count


def test_baseline_has_the_parameters_of_table_three() -> None:
    with torch.device('meta'):
        network = build_model('diffpixelformer_s/baseline', classes=20)
    assert sum(p.numel() for p in network.parameters()) == 44_652_118


@torch.no_grad()
def test_dsim_equals_a_loop_over_pixels_written_from_the_paper() -> None:
    torch.manual_seed(0)
    dim, heads, tokens = 16, 8, 3
    dsim = Dsim(dim).double()
    for parameter in dsim.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    a = torch.randn(2, 1, tokens, dim, dtype=torch.float64)
    found = dsim(a)
    for m, o in ((0, 1), (1, 0)):
        w_q, w_k, w_v = dsim.qkv.weight[m].chunk(3)
        b_q, b_k, b_v = dsim.qkv.bias[m].chunk(3)
        for n in range(tokens):
            own, other = a[m, 0, n], a[o, 0, n]
            hidden = F.gelu(dsim.difference1.weight[m] @ (own - other) + dsim.difference1.bias[m])
            d = (dsim.difference2.weight[m] @ hidden + dsim.difference2.bias[m]).softmax(0)
            s = dsim.similarity2(F.gelu(dsim.similarity1(torch.cat((own, other))))).softmax(0)
            keys = (dsim.key_noise[m] + own, dsim.alpha[m] * own * d, dsim.beta[m] * own * s)
            values = (dsim.value_noise[m] + own, own - other, other)
            q = (w_q @ own + b_q).view(heads, -1)
            k = torch.stack([(w_k @ key + b_k).view(heads, -1) for key in keys])
            v = torch.stack([(w_v @ value + b_v).view(heads, -1) for value in values])
            p = ((q * k).sum(-1) / (dim / heads) ** 0.5).softmax(0)
            y = own + dsim.out.weight[m] @ (p[..., None] * v).sum(0).flatten() + dsim.out.bias[m]
            torch.testing.assert_close(found[m, 0, n], y, rtol=0, atol=1e-12)


def test_streams_without_fusion_ignore_each_other() -> None:
    torch.manual_seed(0)
    rgb, x = pair(1, 64, 64)
    alone = build_model('diffpixelformer_t/baseline', classes=CLASSES).eval()
    fused = build_model('diffpixelformer_t', classes=CLASSES).eval()
    with torch.no_grad():
        assert torch.equal(alone(rgb, x).aux[0], alone(rgb, x + 1).aux[0])
        assert not torch.allclose(fused(rgb, x).aux[0], fused(rgb, x * 3).aux[0])


def test_drop_path_skips_whole_samples_of_one_modality_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(2, 4000, 1, 2))
    kept = dropped[..., 0].ne(0)
    assert torch.equal(dropped[..., 0], dropped[..., 1])
    assert abs(kept.float().mean() - 0.75) < 0.02
    assert abs(dropped.mean() - 1) < 0.03
    assert (kept[0] != kept[1]).any()


def test_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match='diffpixelformer_t'):
        build_model('diffpixelformer_xl', classes=40)
    with pytest.raises(ModelError, match='8-bit'):
        build_model('diffpixelformer_t', classes=256)


def test_small_models_are_registered() -> None:
    assert set(SMALL) <= set(MODELS)
