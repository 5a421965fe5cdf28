# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The compared fusions against slow loops, one token at a time, written from their description."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpixel_core.models import ablations
from diffpixel_core.models.ablations import (
    CrossAttention,
    DsimEq8,
    DsimNoFactor,
    JudgeEca,
    JudgeGmlp,
    JudgeSe,
    JudgeSigmoid,
    LocalCrossAttention,
    PixelCrossAttention,
    WindowCrossAttention,
)
from diffpixel_core.models.diffpixelformer import DiffPixelFormer, Dsim
from diffpixel_core.models.layers import Fusion, PairLinear
from diffpixel_core.models.mit import MITS

DIM, HEADS, BATCH = 16, 8, 2
JUDGES: list[Fusion] = [JudgeEca, JudgeSe, JudgeGmlp, JudgeSigmoid]
FUSIONS: list[Fusion] = [CrossAttention, WindowCrossAttention, LocalCrossAttention,
                         PixelCrossAttention, DsimNoFactor, DsimEq8, *JUDGES]
PARAMETERS = {
    CrossAttention: 52_798_486, WindowCrossAttention: 88_099_414, LocalCrossAttention: 66_375_766,
    DsimEq8: 85_408_070, DsimNoFactor: 85_408_070 - 4 * 28, JudgeEca: 82_692_754,
    JudgeSe: 78_284_998, JudgeSigmoid: 85_408_070,
}
Judgement = Callable[[int, int, int], Tensor]  # S^m of modality m, sample b, token n


def random_fusion(fusion: Fusion, seed: int = 0) -> nn.Module:
    """Return one whose every parameter matters: none starts at 0 or 1."""
    torch.manual_seed(seed)
    module = fusion(DIM).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return module


def tokens(number: int, dim: int = DIM, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, BATCH, number, dim, dtype=torch.float64, generator=draw)


def project(layer: nn.Module, m: int, x: Tensor) -> Tensor:
    return layer.weight[m] @ x + layer.bias[m]


def attention(q: Tensor, keys: list[Tensor], values: list[Tensor], heads: int) -> Tensor:
    """Return what one query `(C,)` gathers from a list of keys and values."""
    gathered = []
    for part in range(heads):
        of_head = slice(part * len(q) // heads, (part + 1) * len(q) // heads)
        scores = [(q[of_head] * k[of_head]).sum() / (len(q) / heads) ** 0.5 for k in keys]
        shares = torch.stack(scores).softmax(0)
        gathered.append(sum(p * v[of_head] for p, v in zip(shares, values, strict=True)))
    return torch.cat(gathered)


def equal(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@torch.no_grad()
def test_cross_attention_equals_its_loop() -> None:
    fusion, a = random_fusion(CrossAttention), tokens(6)
    found = fusion(a, (2, 3))
    for m, o in ((0, 1), (1, 0)):
        for b in range(BATCH):
            keys, values = list(fusion.key(a[o, b])), list(fusion.value(a[o, b]))
            for n in range(6):
                equal(found[m, b, n], attention(fusion.query(a[m, b, n]), keys, values, heads=1))


def local_loop(layer: nn.Module, x: Tensor, other: Tensor, size: tuple[int, int],
               shift: int) -> Tensor:
    """Return a local cross-attention token by token: each looks up its window by its indices."""
    (h, w), found = size, torch.empty_like(x)
    high, wide = -(-h // 7) * 7, -(-w // 7) * 7
    for m in (0, 1):
        for b in range(BATCH):
            keys, values = {}, {}
            for r in range(high):
                for c in range(wide):
                    inside = r < h and c < w
                    token = other[m, b, r * w + c] if inside else torch.zeros_like(x[m, b, 0])
                    keys[r, c] = project(layer.key, m, token)
                    values[r, c] = project(layer.value, m, token)
            for r in range(h):
                for c in range(w):
                    top, left = (r - shift) % high // 7 * 7, (c - shift) % wide // 7 * 7
                    near = [((top + i + shift) % high, (left + j + shift) % wide)
                            for i in range(7) for j in range(7)]
                    assert (r, c) in near
                    q = project(layer.query, m, x[m, b, r * w + c])
                    y = attention(q, [keys[at] for at in near], [values[at] for at in near], HEADS)
                    found[m, b, r * w + c] = project(layer.out, m, y)
    return found


@torch.no_grad()
@pytest.mark.parametrize('size', [(9, 10), (7, 7), (3, 2)])
def test_local_cross_attention_equals_its_loop(size: tuple[int, int]) -> None:
    fusion, a = random_fusion(LocalCrossAttention), tokens(size[0] * size[1])
    equal(fusion(a, size), local_loop(fusion, a, a.flip(0), size, shift=0))


@torch.no_grad()
@pytest.mark.parametrize('size', [(9, 10), (7, 8)])
def test_window_cross_attention_is_two_layers_the_second_shifted(size: tuple[int, int]) -> None:
    fusion, a = random_fusion(WindowCrossAttention), tokens(size[0] * size[1])
    first = local_loop(fusion.layers[0], a, a.flip(0), size, shift=0)
    equal(fusion(a, size), local_loop(fusion.layers[1], first, a.flip(0), size, shift=3))


@torch.no_grad()
def test_windows_keep_to_themselves_and_shifted_ones_do_not() -> None:
    """Token (0, 0) sees the other modality's (6, 6) in its window, and (8, 8) only when shifted."""
    a, size = tokens(14 * 14), (14, 14)
    local, window = random_fusion(LocalCrossAttention), random_fusion(WindowCrossAttention)
    for fusion, at, seen in ((local, (6, 6), True), (local, (7, 0), False),
                             (window, (13, 13), True), (window, (7, 7), False)):
        changed = a.clone()
        changed[1, :, at[0] * 14 + at[1]] += 1
        assert (not torch.equal(fusion(a, size)[0, :, 0], fusion(changed, size)[0, :, 0])) is seen


class PublishedOneKey(nn.Module):
    """The published attention with all its parts: discriminators, W_q, W_k and a single key."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.difference1, self.difference2 = PairLinear(dim, dim), PairLinear(dim, dim)
        self.similarity1, self.similarity2 = nn.Linear(2 * dim, dim), nn.Linear(dim, dim)
        self.query, self.key = PairLinear(dim, dim), PairLinear(dim, dim)
        self.value, self.out = PairLinear(dim, dim), PairLinear(dim, dim)

    def forward(self, a: Tensor, size: tuple[int, int]) -> Tensor:
        other = a.flip(0)
        d = self.difference2(F.gelu(self.difference1(a - other))).softmax(-1)
        pair = torch.cat((a, other), dim=-1)
        s = self.similarity2(F.gelu(self.similarity1(pair))).softmax(-1)
        scores = (self.query(a) * self.key(a * d + a * s)).unflatten(-1, (HEADS, -1)).sum(-1)
        share = scores[None].softmax(0)[0].repeat_interleave(a.shape[-1] // HEADS, dim=-1)
        return a + self.out(share * self.value(a + other))


@torch.no_grad()
def test_pixel_cross_attention_is_the_published_one_without_its_dead_parts() -> None:
    whole, fusion, a = random_fusion(PublishedOneKey), PixelCrossAttention(DIM).double(), tokens(6)
    state = whole.state_dict()
    fusion.load_state_dict({name: state[name] for name in fusion.state_dict()})
    equal(fusion(a, (2, 3)), whole(a, (2, 3)))


def three_key_loop(fusion: nn.Module, a: Tensor, judgement: Judgement, *,
                   alpha: Tensor, beta: Tensor, asked: Callable[[int], int]) -> Tensor:
    """Return eq. (4)-(8) token by token; m meets the keys and values of modality `asked(m)`."""
    found = torch.empty_like(a)
    for m in (0, 1):
        w_q, w_k, w_v = fusion.qkv.weight[m].chunk(3)
        b_q, b_k, b_v = fusion.qkv.bias[m].chunk(3)
        for b in range(BATCH):
            for n in range(a.shape[2]):
                k = asked(m)
                own, other = a[k, b, n], a[1 - k, b, n]
                hidden = F.gelu(project(fusion.difference1, k, own - other))
                d = project(fusion.difference2, k, hidden).softmax(0)
                s = judgement(k, b, n)
                keys = fusion.key_noise[k] + own, alpha[k] * own * d, beta[k] * own * s
                values = fusion.value_noise[k] + own, own - other, other
                y = attention(w_q @ a[m, b, n] + b_q, [w_k @ key + b_k for key in keys],
                              [w_v @ value + b_v for value in values], HEADS)
                found[m, b, n] = a[m, b, n] + project(fusion.out, m, y)
    return found


def mlp(fusion: nn.Module, a: Tensor, m: int, b: int, n: int) -> Tensor:
    pair = torch.cat((a[m, b, n], a[1 - m, b, n]))
    return fusion.similarity2(F.gelu(fusion.similarity1(pair)))


def means(a: Tensor, m: int, b: int) -> Tensor:
    number = a.shape[2]
    return torch.cat([sum(a[k, b, n] for n in range(number)) / number for k in (m, 1 - m)])


def eca(fusion: JudgeEca, a: Tensor, m: int, b: int, n: int) -> Tensor:
    line, taps = means(a, m, b), fusion.channels.weight[0, 0]
    reach = len(taps) // 2
    mixed = torch.stack([sum(taps[t] * line[i + t - reach] for t in range(len(taps))
                             if 0 <= i + t - reach < len(line)) for i in range(len(line))])
    return fusion.reduce.weight @ (1 / (1 + (-mixed).exp())) + fusion.reduce.bias


def se(fusion: JudgeSe, a: Tensor, m: int, b: int, n: int) -> Tensor:
    hidden = (fusion.similarity1.weight @ means(a, m, b)).clamp(min=0)
    return 1 / (1 + (-(fusion.similarity2.weight @ hidden)).exp())


def gmlp(fusion: JudgeGmlp, a: Tensor, m: int, b: int, n: int) -> Tensor:
    x = mlp(fusion, a, m, b, n)
    normalised = (x - x.mean()) / (((x - x.mean()) ** 2).mean() + 1e-6) ** 0.5
    return (x * (fusion.gate_weight @ normalised + fusion.gate_bias)).softmax(0)


def sigmoid(fusion: JudgeSigmoid, a: Tensor, m: int, b: int, n: int) -> Tensor:
    return 1 / (1 + (-mlp(fusion, a, m, b, n)).exp())


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'judgement'), zip(JUDGES, (eca, se, gmlp, sigmoid), strict=True))
def test_judges_equal_their_loops(kind: Fusion, judgement: Callable[..., Tensor]) -> None:
    fusion, a = random_fusion(kind), tokens(4)
    wanted = three_key_loop(fusion, a, lambda m, b, n: judgement(fusion, a, m, b, n),
                            alpha=fusion.alpha, beta=fusion.beta, asked=lambda m: m)
    equal(fusion(a, (2, 2)), wanted)


@torch.no_grad()
def test_dsim_without_factors_equals_its_loop_and_dsim_with_factors_of_one() -> None:
    fusion, dsim, a = random_fusion(DsimNoFactor), random_fusion(Dsim), tokens(4)
    one = torch.ones(2, dtype=torch.float64)
    wanted = three_key_loop(fusion, a, lambda m, b, n: mlp(fusion, a, m, b, n).softmax(0),
                            alpha=one, beta=one, asked=lambda m: m)
    equal(fusion(a, (2, 2)), wanted)
    dsim.load_state_dict({**fusion.state_dict(), 'alpha': one, 'beta': one})
    equal(fusion(a, (2, 2)), dsim(a, (2, 2)))
    dsim.load_state_dict({**fusion.state_dict(), 'alpha': one, 'beta': 2 * one})
    assert (fusion(a, (2, 2)) - dsim(a, (2, 2))).abs().max() > 1e-3


@torch.no_grad()
def test_eq8_as_printed_asks_the_other_modality() -> None:
    fusion, dsim, a = random_fusion(DsimEq8), random_fusion(Dsim), tokens(4)
    wanted = three_key_loop(fusion, a, lambda m, b, n: mlp(fusion, a, m, b, n).softmax(0),
                            alpha=fusion.alpha, beta=fusion.beta, asked=lambda m: 1 - m)
    equal(fusion(a, (2, 2)), wanted)
    dsim.load_state_dict(fusion.state_dict())
    assert (fusion(a, (2, 2)) - dsim(a, (2, 2))).abs().max() > 1e-2


@torch.no_grad()
def test_gmlp_starts_as_dsim_also_inside_a_network() -> None:
    gate = JudgeGmlp(DIM).double()
    dsim, a = random_fusion(Dsim), tokens(4)
    gate.load_state_dict({**gate.state_dict(), **dsim.state_dict()})
    equal(gate(a, (2, 2)), dsim(a, (2, 2)))
    gate.gate_weight += 0.1 * torch.randn_like(gate.gate_weight)
    assert (gate(a, (2, 2)) - dsim(a, (2, 2))).abs().max() > 1e-4
    for name, tensor in DiffPixelFormer(MITS['mit_b0'], 5, JudgeGmlp).state_dict().items():
        if 'gate_' in name:
            assert (tensor == (0 if name.endswith('gate_weight') else 1)).all(), name


@pytest.mark.parametrize(('dim', 'kernel'),
                         [(8, 3), (32, 3), (64, 5), (128, 5), (320, 5), (512, 5)])
def test_eca_kernel_grows_with_the_channels(dim: int, kernel: int) -> None:
    assert JudgeEca(dim).channels.weight.shape == (1, 1, kernel)


@pytest.mark.parametrize(('kind', 'fewer', 'more'), [
    (DsimNoFactor, {'alpha', 'beta'}, set()), (DsimEq8, set(), set()),
    (JudgeSigmoid, set(), set()), (JudgeGmlp, set(), {'gate_weight', 'gate_bias'}),
])
def test_variants_keep_the_names_of_dsim(kind: Fusion, fewer: set[str], more: set[str]) -> None:
    assert set(kind(DIM).state_dict()) == set(Dsim(DIM).state_dict()) - fewer | more


def count(fusion: Fusion) -> int:
    with torch.device('meta'):
        network = DiffPixelFormer(MITS['mit_b3'], 20, fusion)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(('fusion', 'parameters'), PARAMETERS.items())
def test_parameters_are_those_of_the_tables(fusion: Fusion, parameters: int) -> None:
    assert count(fusion) == parameters


def test_pixel_cross_attention_has_the_parameters_of_table_three_less_the_dead_ones() -> None:
    row = MITS['mit_b3']
    dead = sum(depth * 4 * (dim * dim + dim)
               for dim, depth in zip(row.dims, row.depths, strict=True))
    assert count(PixelCrossAttention) + dead == 66_375_766


def dead_matrices(fusion: Fusion) -> set[str]:
    """Return the weight matrices of a fresh module that no output depends on."""
    torch.manual_seed(0)
    module = fusion(64).double()
    y = module(tokens(63, 64), (7, 9))
    (y * torch.randn_like(y)).sum().backward()
    return {name for name, parameter in module.named_parameters() if name.endswith('weight')
            and (parameter.grad is None or parameter.grad.abs().max() < 1e-9)}


@pytest.mark.parametrize('fusion', FUSIONS)
def test_every_weight_matrix_gets_a_gradient(fusion: Fusion) -> None:
    assert dead_matrices(fusion) == set()


def test_the_published_one_key_attention_fails_the_gradient_test() -> None:
    assert dead_matrices(PublishedOneKey) == {
        f'{name}.weight' for name in ('query', 'key', 'difference1', 'difference2',
                                      'similarity1', 'similarity2')}


def test_every_fusion_of_the_module_is_tested() -> None:
    public = {value for name, value in vars(ablations).items()
              if isinstance(value, type) and issubclass(value, nn.Module)
              and value.__module__ == ablations.__name__ and not name.startswith('_')}
    assert public == set(FUSIONS)
