# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The contract every registered network keeps, and what the paper's equations say."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.checkpoints import Manifest, load_model, save_model
from diffpixel_core.deploy import DeployGraph, Ensemble, fold
from diffpixel_core.modalities import MODALITIES, normalisation
from diffpixel_core.models import MODELS, ModelError, Output, Variant, build_model
from diffpixel_core.models.ablations import DsimEq8, JudgeSe, PixelCrossAttention
from diffpixel_core.models.diffpixelformer import Dsim
from diffpixel_core.models.layers import DropPath
from diffpixel_core.models.mit import Mit
from diffpixel_core.models.released import OneKey, TwoKeys
from diffpixel_core.models.swin import Swin

CLASSES = 5
TINY_MIT = Mit(dims=(16, 32, 40, 64), depths=(1, 1, 2, 1))
TINY_SWIN = Swin(dim=16, depths=(2, 1, 2, 1), heads=(1, 2, 4, 8), window=3)


def tiny(variant: Variant) -> Variant:
    """Return a variant with the fusion and the kind of backbone of another, but few channels."""
    return Variant(TINY_MIT if isinstance(variant.backbone, Mit) else TINY_SWIN, variant.fusion)


# One tiny network for every pair of backbone and fusion; all registered names share them.
CONTRACT = {tiny(variant): name for name, variant in reversed(MODELS.items())}
SMALLEST = [name for name in MODELS
            if name.startswith(('diffpixelformer_t', 'diffpixelformer_swin_t'))]


def pair(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rgb, x = torch.randn(2, batch, 3, height, width, generator=draw)
    return rgb, x


@pytest.fixture(params=CONTRACT, ids=CONTRACT.values())
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return request.param.build(CLASSES)


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
    # A bias on all keys of a softmax cancels: its gradient is 0 but for rounding.
    dead = [name for name, p in model.named_parameters() if not name.endswith('.key.bias')
            and (p.grad is None or not p.grad.abs().max() > 0)]
    assert dead == []


@torch.no_grad()
def test_the_deployable_graph_is_the_network_with_its_preprocessing(model: nn.Module) -> None:
    draw = torch.Generator().manual_seed(2)
    rgb = torch.randint(0, 256, (1, 64, 96, 3), generator=draw, dtype=torch.uint8)
    depth = torch.rand(1, 64, 96, generator=draw) * 4 + 0.5
    rows = normalisation(('rgb', 'depth'))
    graph = DeployGraph(Ensemble(model.eval()), rows, (64, 96))
    colour = torch.stack([(rgb[..., c].float() - MODALITIES['rgb'].mean[c])
                          / MODALITIES['rgb'].std[c] for c in range(3)], dim=1)
    other = ((depth - 2.5) / 1.5)[:, None].repeat(1, 3, 1, 1)
    torch.testing.assert_close(graph(rgb, depth), model(colour, other).ensemble)


@pytest.mark.parametrize('size', [(64, 96), (67, 45)])
@torch.no_grad()
def test_the_deploy_pass_changes_no_score(model: nn.Module, size: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():  # nothing may be 0 or 1 by chance
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=draw)
            tensor.copy_(noise + 0.5 if 'running_var' in name else tensor + 0.3 * (noise - 0.5))
    rgb, x = pair(2, *size)
    wanted = model.eval()(rgb, x).ensemble
    found = fold(model)(rgb, x)
    assert found.shape == wanted.shape
    assert (found - wanted).norm() / wanted.norm() < 1e-5
    double = fold(model.double())(rgb.double(), x.double())
    torch.testing.assert_close(double, model(rgb.double(), x.double()).ensemble,
                               rtol=0, atol=1e-11)
    assert model(rgb.double(), x.double()).ensemble.std() > 0.01


@torch.no_grad()
def test_the_network_exports_to_one_graph(model: nn.Module) -> None:
    images = pair(1, 64, 96)
    graph = torch.export.export(model.eval(), images).module()
    torch.testing.assert_close(graph(*images).ensemble, model(*images).ensemble)


def test_two_images_are_learnt_by_heart(model: nn.Module) -> None:
    rgb, x = pair(2, 64, 64)
    truth = torch.randint(0, CLASSES, (2, 2, 2), generator=torch.Generator().manual_seed(3))
    truth = truth.repeat_interleave(8, 1).repeat_interleave(8, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        out = model.train()(rgb, x)
        loss = sum(F.cross_entropy(part, truth) for part in (out.ensemble, *out.aux))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = model.eval()(rgb, x).ensemble.argmax(1)
    assert (found == truth).float().mean() > 0.95


@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_a_saved_model_comes_back_the_same(name: str, tmp_path: Path) -> None:
    saved = build_model(name, classes=13).eval()
    loaded, manifest = load_model(save_model(tmp_path, saved, Manifest(name, 'nyu13')))
    rgb, x = pair(1, 32, 32)
    assert manifest.model == name
    assert torch.equal(loaded(rgb, x).ensemble, saved(rgb, x).ensemble)


def test_every_variant_of_the_paper_has_a_name() -> None:
    mit, swin = ('t', 'b1', 'b2', 's', 'b4', 'm'), ('swin_t', 'swin_s', 'l', 'l_w7')
    everywhere = ('', '_released', '/baseline')
    tables = ('cross_attention', 'window_cross_attention', 'local_cross_attention',
              'pixel_cross_attention', 'gemini', 'dsim_no_factor', 'dsim_eq8', 'judge_eca',
              'judge_se', 'judge_gmlp', 'judge_sigmoid')
    names = {f'diffpixelformer_{size}{suffix}' for size in mit + swin for suffix in everywhere}
    names |= {f'diffpixelformer_{size}/{row}' for size in mit for row in tables}
    assert set(MODELS) == names


@torch.no_grad()
def test_dsim_equals_a_loop_over_pixels_written_from_the_paper() -> None:
    torch.manual_seed(0)
    dim, heads, tokens = 16, 8, 3
    dsim = Dsim(dim).double()
    for parameter in dsim.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.5)
    a = torch.randn(2, 1, tokens, dim, dtype=torch.float64)
    found = dsim(a, (1, tokens))
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


@pytest.mark.parametrize('row', [Mit(dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), depths=(1, 2, 3, 1)),
                                 Swin(dim=8, heads=(1, 1, 2, 2), depths=(1, 2, 3, 1), window=3)])
def test_drop_path_rises_linearly_over_all_blocks(row: Mit | Swin) -> None:
    network = Variant(row, Dsim).build(CLASSES, drop_path=0.3)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx(torch.linspace(0, 0.3, 7).tolist())


@pytest.mark.parametrize('fusion', [Dsim, OneKey, TwoKeys, PixelCrossAttention, DsimEq8, JudgeSe])
def test_a_fresh_fusion_hardly_disturbs_what_a_backbone_has_learnt(fusion: type[nn.Module]
                                                                   ) -> None:
    torch.manual_seed(0)
    module = fusion(64)
    assert module.out.weight.std().item() == pytest.approx(0.02, rel=0.1)
    others = [parameter.std().item() for name, parameter in module.named_parameters()
              if name.endswith('weight') and name != 'out.weight']
    assert min(others) > 0.05
    dsim, a = Dsim(64), torch.randn(2, 1, 50, 64)
    assert 0 < (dsim(a, (5, 10)) - a).norm() / a.norm() < 0.3
    assert dsim.value_noise.std().item() == pytest.approx(1, abs=0.2)
    assert dsim.key_noise.std().item() == pytest.approx(1, abs=0.2)


def test_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match='diffpixelformer_t'):
        build_model('diffpixelformer_xl', classes=40)
    with pytest.raises(ModelError, match='8-bit'):
        build_model('diffpixelformer_t', classes=256)
