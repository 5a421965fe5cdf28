# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Every kernel equals its plain form, and is taken only where it was measured to win.

Triton decides when it is imported whether its kernels are interpreted on the CPU or compiled for a
GPU. So the claims about kernels, `kernel_...` below, are checked in a process of their own, which
`test_kernels_equal_their_plain_forms` starts; this one never imports Triton.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpixel_core.deploy import NetworkInputs
from diffpixel_core.kernels import dispatch, measure, plain
from diffpixel_core.kernels.cases import HEADS as FUSION_HEADS
from diffpixel_core.kernels.cases import NETWORKS, camera_settings, cases
from diffpixel_core.modalities import normalisation
from diffpixel_core.models.diffpixelformer import HEADS, Dsim, similarity
from diffpixel_core.models.layers import PairNorm, pair_linear
from diffpixel_core.models.mit import MITS, MixFeedForward

DEVICE = torch.device(os.environ.get('DIFFPIXEL_KERNELS_ON', 'cpu'))
HALVES = [torch.float16, torch.bfloat16]
# One rounding of the result in half precision: 11 and 8 bits.
ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}

KERNELS = {'attention': ('_forward', '_backward'), 'gates': ('_gates',), 'images': ('_prepare',),
           'tail': ('_largest_probability', '_enlarge'), 'norm': ('_add_norm',),
           'depthwise': ('_depthwise_gelu',)}
TYPE_NAMES = {torch.float16: '*fp16', torch.bfloat16: '*bf16', torch.float32: '*fp32',
              torch.uint8: '*u8'}


def triton_form(name: str) -> Any:
    return import_module(f'diffpixel_core.kernels.triton_{name}')


def draw(*shape: int, seed: int = 0, scale: float = 1.0,
         dtype: torch.dtype = torch.float32) -> Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (numbers * scale).to(DEVICE, dtype)


def attention_inputs(dim: int, *, batch: int = 2, pixels: int = 3, scale: float = 1.0,
                     dtype: torch.dtype = torch.float32) -> list[Any]:
    """Query, key and value as parts of one wide product, two keys as parts of another."""
    wide = draw(2, batch, pixels, 3 * dim, scale=scale, dtype=dtype)
    query, key, value = wide.chunk(3, dim=-1)
    gated = draw(2, 2, batch, pixels, dim, seed=1, scale=scale, dtype=dtype)
    return [query, (key, gated[:, 0], gated[:, 1]), value,
            draw(2, batch, pixels, dim, seed=2, dtype=dtype), draw(2, 1, 1, dim, seed=3),
            draw(2, 1, 1, 1, seed=4), draw(2, 1, 1, 1, seed=5)]


def double(x: Any) -> Any:
    return tuple(map(double, x)) if isinstance(x, tuple) else x.double()


def check(found: Tensor, wanted: Tensor) -> None:
    tolerance = ROUNDING[found.dtype]
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance)


# ---- claims about kernels: collected by name in a process of their own

@pytest.mark.parametrize(('width', 'tile'), [
    (1, 8), (4, 64), (4, 1024), (8, 256), (12, 64), (20, 128), (20, 2048), (32, 256), (40, 1024),
    (64, 512)])
def kernel_of_pixel_attention_holds_for_every_head_size(width: int, tile: int) -> None:
    inputs = attention_inputs(8 * width)
    found = triton_form('attention').pixel_attention(*inputs, heads=8, tile=tile)
    check(found, plain.pixel_attention(*double(tuple(inputs)), heads=8))


@pytest.mark.parametrize(('heads', 'width'), [(1, 5), (3, 8), (8, 96)])
def kernel_of_pixel_attention_holds_for_any_number_of_heads(heads: int, width: int) -> None:
    inputs = attention_inputs(heads * width)
    found = triton_form('attention').pixel_attention(*inputs, heads=heads, tile=512)
    check(found, plain.pixel_attention(*double(tuple(inputs)), heads=heads))


@pytest.mark.parametrize('dtype', HALVES)
def kernel_of_pixel_attention_holds_in_half_precision(dtype: torch.dtype) -> None:
    inputs = attention_inputs(160, dtype=dtype)
    found = triton_form('attention').pixel_attention(*inputs, heads=8)
    assert found.dtype == dtype
    check(found, plain.pixel_attention(*double(tuple(inputs)), heads=8))


def kernel_of_pixel_attention_survives_scores_beyond_half_precision() -> None:
    inputs = attention_inputs(64, scale=2000.0, dtype=torch.float16)
    found = triton_form('attention').pixel_attention(*inputs, heads=8)
    wanted = plain.pixel_attention(*inputs, heads=8)
    assert wanted.isfinite().all()
    check(found, wanted)


def kernel_of_pixel_attention_gives_equal_keys_equal_shares() -> None:
    inputs = attention_inputs(32)
    key = inputs[1][0]
    inputs[1], inputs[5], inputs[6] = (key, key, key), *[torch.ones(2, device=DEVICE)] * 2
    found = triton_form('attention').pixel_attention(*inputs, heads=8)
    check(found, (2 * inputs[2] + inputs[4]).double() / 3)


def kernel_of_pixel_attention_reads_any_strides() -> None:
    inputs = [part if isinstance(part, tuple) or part.shape[2] == 1
              else part.transpose(1, 2).contiguous().transpose(1, 2)
              for part in attention_inputs(40)]
    inputs[2] = inputs[2].transpose(0, 3).contiguous().transpose(0, 3)
    inputs[3] = inputs[3][:, :1].expand(-1, 2, -1, -1)
    found = triton_form('attention').pixel_attention(*inputs, heads=8)
    check(found, plain.pixel_attention(*double(tuple(inputs)), heads=8))


@pytest.mark.parametrize(('width', 'tile'), [(4, 64), (20, 1024)])
def kernel_of_pixel_attention_has_the_gradient_of_the_formula(width: int, tile: int) -> None:
    flat = attention_inputs(8 * width)
    flat = [flat[0], *flat[1], *flat[2:]]
    weight = draw(*flat[0].shape, seed=6)
    own = [part.clone().requires_grad_() for part in flat]
    true = [part.double().requires_grad_() for part in flat]
    found = triton_form('attention').pixel_attention(
        own[0], tuple(own[1:4]), *own[4:], heads=8, tile=tile)
    wanted = plain.pixel_attention(true[0], (true[1], true[2], true[3]), *true[4:], heads=8)
    (found * weight).sum().backward()
    (wanted * weight.double()).sum().backward()
    for mine, exact in zip(own, true, strict=True):
        assert mine.grad is not None
        assert exact.grad is not None
        check(mine.grad, exact.grad)


def kernel_of_pixel_attention_trains_through_views_of_a_wide_product() -> None:
    inputs = attention_inputs(32)
    noise, alpha, beta = inputs[4:]
    gradients = []
    for form in (triton_form('attention').pixel_attention, plain.pixel_attention):
        wide = draw(2, 2, 3, 96).requires_grad_()
        query, key, value = wide.chunk(3, dim=-1)
        form(query, (key, key, key), value, value.flip(0), noise, alpha, beta,
             heads=8).square().sum().backward()
        gradients.append(wide.grad)
    check(gradients[0], gradients[1])


@pytest.mark.parametrize('channels', [1, 32, 96, 160, 192, 320, 768, 1024, 1536])
def kernel_of_gates_holds_for_every_width(channels: int) -> None:
    inputs = [draw(2, 1, 3, channels, seed=seed, scale=3) for seed in range(3)]
    check(triton_form('gates').gates(*inputs), plain.gates(*double(tuple(inputs))))


@pytest.mark.parametrize('dtype', HALVES)
def kernel_of_gates_holds_in_half_precision_for_parts_of_a_product(dtype: torch.dtype) -> None:
    a = draw(2, 2, 5, 48, scale=3, dtype=dtype)[..., 8:40]
    f, s = draw(2, 2, 5, 64, seed=1, scale=3, dtype=dtype).chunk(2, dim=-1)
    found = triton_form('gates').gates(a, f, s)
    assert found.shape == (2, 2, 2, 5, 32)
    assert found.dtype == dtype
    check(found, plain.gates(*double((a, f, s))))


def kernel_of_gates_survives_extreme_values() -> None:
    f = draw(2, 1, 4, 20, scale=3e4)
    f[0, 0, 0] = 3e38
    f[0, 0, 1] = -3e38
    f[0, 0, 2, 1:] = float('-inf')
    a, s = draw(2, 1, 4, 20, seed=1), torch.zeros(2, 1, 4, 20, device=DEVICE)
    found = triton_form('gates').gates(a, f, s)
    check(found, plain.gates(*double((a, f, s))))
    check(found[:, 1], a.double() / 20)


@pytest.mark.parametrize('size', [(24, 32), (9, 130), (6, 8), (3, 5), (1, 1)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def kernel_of_the_tail_gives_the_labels_of_the_reference(size: tuple[int, int],
                                                         dtype: torch.dtype) -> None:
    scores = draw(7, 6, 8, scale=3, dtype=dtype)
    check_tail(scores, size)


@pytest.mark.parametrize('classes', [1, 2, 255])
def kernel_of_the_tail_holds_for_every_number_of_classes(classes: int) -> None:
    check_tail(draw(classes, 3, 2, scale=2), (4, 9))


def kernel_of_the_tail_reads_any_strides() -> None:
    scores = draw(5, 7, 9)
    check_tail(scores.permute(2, 0, 1), (20, 28))
    check_tail(scores.permute(2, 0, 1)[::2, 1:, :-1], (20, 28))
    check_tail(draw(4, 1, 1), (5, 6))


def kernel_of_the_tail_survives_extreme_scores() -> None:
    scores = draw(6, 4, 5, scale=1e4)
    scores[2] = -1e30
    check_tail(scores, (16, 20))


def kernel_of_the_tail_gives_ties_to_the_lower_class() -> None:
    one = draw(1, 4, 5)
    labels, _ = triton_form('tail').enlarge_argmax(torch.cat((one - 1, one, one, one)), (13, 17))
    assert (labels == 1).all()
    labels, confidence = triton_form('tail').enlarge_argmax(torch.zeros(4, 2, 2, device=DEVICE),
                                                            (5, 6))
    assert not labels.any()
    assert (confidence == 64).all()


def kernel_of_the_tail_rounds_halves_to_the_even_number() -> None:
    # Equal scores of 2, 6, 10 and 30 classes are 127.5, 42.5, 25.5 and 8.5 of 255.
    for classes in (2, 6, 10, 30):
        scores = torch.zeros(classes, 1, 1, device=DEVICE)
        _, confidence = triton_form('tail').enlarge_argmax(scores, (2, 3))
        assert torch.equal(confidence, plain.enlarge_argmax(scores, (2, 3))[1])


def check_tail(scores: Tensor, size: tuple[int, int]) -> None:
    """Labels are the reference's; where not, both scores are within 1e-5 of their size."""
    labels, confidence = triton_form('tail').enlarge_argmax(scores, size)
    wanted, wanted_confidence = plain.enlarge_argmax(scores, size)
    enlarged = F.interpolate(scores[None].float(), size, mode='bilinear',
                                               align_corners=False)[0]
    own, true = (enlarged.gather(0, chosen[None].long())[0] for chosen in (labels, wanted))
    differs = labels != wanted
    assert (true - own)[differs].abs().le(1e-5 * true[differs].abs().clamp(min=1)).all()
    assert differs.float().mean() < 0.01
    assert (confidence.int() - wanted_confidence.int()).abs().max() <= 1
    assert (confidence != wanted_confidence).float().mean() < 0.01


@pytest.mark.parametrize(('frame', 'size'), [
    ((9, 13), (9, 13)), ((24, 32), (12, 16)), ((17, 31), (11, 13)), ((6, 7), (25, 140)),
    ((1, 5), (4, 4)),
])
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def kernel_of_the_images_holds_for_any_sizes(frame: tuple[int, int], size: tuple[int, int],
                                             dtype: torch.dtype) -> None:
    rgb, x = camera_images(frame)
    found = triton_form('images').prepare_images(rgb, x, size, **settings(dtype))
    assert found.dtype == dtype
    check(found, plain.prepare_images(rgb, x, size, **settings()))


def kernel_of_the_images_reads_parts_of_images() -> None:
    rgb, x = camera_images((20, 30))
    rgb, x = rgb.flip(2)[3:15, 4:25:2], x.T.contiguous().T[3:15, 4:25:2]
    found = triton_form('images').prepare_images(rgb, x, (8, 9), **settings())
    check(found, plain.prepare_images(rgb, x, (8, 9), **settings()))


@pytest.mark.parametrize('channels', [1, 32, 96, 160, 1536])
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def kernel_of_the_norm_holds(channels: int, dtype: torch.dtype) -> None:
    x = draw(2, 2, 3, 2 * channels, scale=5, dtype=dtype)[..., channels:]
    branch = draw(2, 2, 3, channels, seed=1, dtype=dtype)
    weight, bias = draw(2, channels, seed=2), draw(2, channels, seed=3)
    for added in (branch, None):
        found = triton_form('norm').add_norm(x, added, weight, bias)
        wanted = plain.add_norm(x.double(), None if added is None else added.double(),
                                weight.double(), bias.double())
        for mine, exact in zip(found, wanted, strict=True):
            assert mine.dtype == dtype
            check(mine, exact)


def kernel_of_the_norm_survives_a_large_mean() -> None:
    x = draw(2, 1, 4, 64) + 1000
    weight, bias = torch.ones(2, 64, device=DEVICE), torch.zeros(2, 64, device=DEVICE)
    found = triton_form('norm').add_norm(x, None, weight, bias)[1]
    torch.testing.assert_close(found, plain.add_norm(x, None, weight, bias)[1], rtol=1e-3,
                               atol=1e-3)


@pytest.mark.parametrize(('size', 'channels'), [((1, 1), 8), ((3, 5), 20), ((5, 2), 72),
                                                ((4, 9), 64)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def kernel_of_the_convolution_holds(size: tuple[int, int], channels: int,
                                    dtype: torch.dtype) -> None:
    tokens = draw(2, 2, size[0] * size[1], channels, dtype=dtype)
    weight, bias = draw(channels, 1, 3, 3, seed=1, dtype=dtype), draw(channels, seed=2)
    found = triton_form('depthwise').depthwise_gelu(tokens, size, weight, bias)
    assert found.dtype == dtype
    check(found, plain.depthwise_gelu(tokens.double(), size, weight.double(), bias.double()))


@pytest.mark.parametrize('name', sorted(dispatch.CHOICES))
def kernel_measurement_times_equal_results(name: str) -> None:
    case = cases(name, torch.float32, frame=(32, 32), device=DEVICE, networks=('mit_b0',))[-1]
    found = measure.measure(replace(case, cuts=case.cuts[-1:]), one_call, compiled=False)
    assert found['right']
    assert found['error'] < 1e-5
    assert list(found['times'])[:2] == ['plain', 'triton']
    assert len(found['times']) == 3


def one_call(call: Callable[[], Any]) -> measure.Times:
    call()
    return {'graph_us': 1.0, 'eager_us': 1.0}


# ---- claims about compiling, in a third process, without a GPU

@pytest.mark.parametrize('name', sorted(dispatch.CHOICES))
def compiled_kernel_is_accepted_for_a_gpu(name: str) -> None:
    # Third of the sizes: a width that is no power of two. The tail and the images have two.
    sizes = cases(name, torch.float16, frame=(64, 64), device=DEVICE, networks=('mit_b0',))
    compile_launches(sizes[-2].run_triton, 87)


@pytest.mark.parametrize('name', sorted(dispatch.CHOICES))
def compiled_kernel_is_accepted_for_sizes_of_one(name: str) -> None:
    # Triton makes constants of arguments that are 1: what holds for variables may fail for them.
    one = torch.ones(2, 1, 1, 1)
    calls = {
        'pixel_attention': lambda: triton_form('attention').pixel_attention(
            one.clone().requires_grad_(), (one, one, one), one, one, one, one, one,
            heads=1).sum().backward(),
        'gates': lambda: triton_form('gates').gates(one, one, one),
        'enlarge_argmax': lambda: triton_form('tail').enlarge_argmax(torch.ones(1, 1, 1), (1, 1)),
        'prepare_images': lambda: triton_form('images').prepare_images(
            torch.ones(1, 1, 3, dtype=torch.uint8), torch.ones(1, 1), (1, 1), **settings()),
        'add_norm': lambda: triton_form('norm').add_norm(one, None, one[:, 0, 0], one[:, 0, 0]),
        'depthwise_gelu': lambda: triton_form('depthwise').depthwise_gelu(
            one, (1, 1), torch.ones(1, 1, 3, 3), torch.ones(1)),
    }
    compile_launches(calls[name], 87)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
@pytest.mark.parametrize('name', sorted(dispatch.CHOICES))
def compiled_kernel_is_accepted_at_every_size(name: str, dtype: torch.dtype) -> None:
    for case in cases(name, dtype, frame=(480, 640), device=DEVICE):
        for architecture in (87, 90):
            compile_launches(case.run_triton, architecture)
class Recorder:
    """Stands where a kernel is launched, and keeps what it is launched with."""

    def __init__(self, kernel: Any, launches: list[Any]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        """Return what is called instead of the launch."""
        return lambda *arguments, **options: self.launches.append(
            (self.kernel, arguments, options))


def compile_launches(run: Any, architecture: int) -> None:
    """Compile what `run` would launch, down to machine code, as Triton does before a launch."""
    from triton import compiler
    from triton.backends.compiler import GPUTarget

    launches: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, kernels in KERNELS.items():
            for kernel in kernels:
                patch.setattr(triton_form(name), kernel,
                              Recorder(getattr(triton_form(name), kernel), launches))
        run()
    assert launches
    for kernel, arguments, options in launches:
        types, constants, attributes = {}, {}, {}
        for i, (parameter, value) in enumerate(zip(kernel.params, arguments, strict=True)):
            if parameter.is_constexpr or (isinstance(value, int) and value == 1):
                types[parameter.name], constants[parameter.name] = 'constexpr', value
                continue
            types[parameter.name] = (TYPE_NAMES[value.dtype] if isinstance(value, Tensor)
                                     else 'fp32' if isinstance(value, float) else 'i32')
            if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
                attributes[(i,)] = [['tt.divisibility', 16]]
        made = compiler.compile(compiler.ASTSource(kernel, types, constants, attributes),
                                target=GPUTarget('cuda', architecture, 32), options=options)
        assert made.asm['cubin']


# ---- tests

def run_claims(prefix: str, *, file: str = __file__, device: str = 'cpu',
               interpret: bool = False, marker: str = 'not slow',
               cache: Path | None = None) -> None:
    # The claims go by other names than tests do, so that only these processes run them.
    environment = {**os.environ, 'TRITON_INTERPRET': str(int(interpret)), 'OMP_NUM_THREADS': '1',
                   'DIFFPIXEL_KERNELS_ON': device}
    if cache is not None:
        environment['TRITON_CACHE_DIR'] = str(cache)
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-m', marker,
         '-o', f'python_functions={prefix}_*', file],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert ' passed' in result.stdout


def test_kernels_equal_their_plain_forms() -> None:
    pytest.importorskip('triton')
    run_claims('kernel', interpret=True)


@pytest.mark.gpu
def test_compiled_kernels_equal_their_plain_forms() -> None:
    pytest.importorskip('triton')
    run_claims('kernel', device='cuda')


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    # The interpreter takes more than the compiler does.
    pytest.importorskip('triton')
    run_claims('compiled', cache=tmp_path)


@pytest.mark.slow
def test_kernels_compile_for_every_size_of_the_networks(tmp_path: Path) -> None:
    pytest.importorskip('triton')
    run_claims('compiled', marker='slow', cache=tmp_path)


def test_plain_forms_are_what_the_fusion_computes() -> None:
    torch.manual_seed(0)
    fusion = Dsim(32).double()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    a = draw(2, 2, 6, 32).double()
    w_q, w_k, w_v = fusion.qkv.weight.chunk(3, dim=1)
    b_q, _, b_v = fusion.qkv.bias.chunk(3, dim=1)  # b_K adds the same to all scores of a pixel
    noise_k, noise_v = (pair_linear(noise[:, None, None], weight) for noise, weight in
                        ((fusion.key_noise, w_k), (fusion.value_noise, w_v)))
    f = fusion.difference2(F.gelu(fusion.difference1(a - a.flip(0))))
    s = similarity(a, fusion.similarity1, fusion.similarity2)
    keys = pair_linear(plain.gates(a, f, s).flatten(1, 2), w_k).unflatten(1, (2, 2))
    gathered = plain.pixel_attention(
        pair_linear(a, w_q, b_q) * (32 // HEADS) ** -0.5,
        (pair_linear(a, w_k) + noise_k, keys[:, 0], keys[:, 1]), pair_linear(a, w_v),
        pair_linear(a.flip(0), w_v), noise_v, fusion.alpha, fusion.beta, heads=HEADS)
    torch.testing.assert_close(a + fusion.out(gathered + b_v[:, None, None]), fusion(a, (2, 3)))


@pytest.mark.parametrize('size', [(17, 31), (8, 16), (40, 33)])
def test_plain_images_are_the_inputs_of_the_deployable_graph(size: tuple[int, int]) -> None:
    rgb, x = camera_images((17, 31))
    wanted = NetworkInputs(normalisation(('rgb', 'depth')))(rgb[None], x[None], size)
    torch.testing.assert_close(plain.prepare_images(rgb, x, size, **settings()), torch.cat(wanted),
                               rtol=0, atol=1e-6)


def test_plain_norm_and_convolution_are_those_of_the_encoder() -> None:
    torch.manual_seed(0)
    norm, feed = PairNorm(8), MixFeedForward(8, 12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x, branch = draw(2, 2, 6, 8), draw(2, 2, 6, 8, seed=1)
    total, normed = plain.add_norm(x, branch, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(total, x + branch)
    torch.testing.assert_close(normed, norm(x + branch))
    hidden = plain.depthwise_gelu(feed.fc1(x), (2, 3), feed.depthwise.weight, feed.depthwise.bias)
    torch.testing.assert_close(feed.fc2(hidden), feed(x, (2, 3)))


def test_sizes_measured_are_those_of_the_networks() -> None:
    assert {name: (row.dims, row.depths) for name, row in MITS.items()} == NETWORKS
    assert FUSION_HEADS == HEADS


def test_nothing_is_chosen_before_it_was_measured() -> None:
    for rows in dispatch.CHOICES.values():
        assert rows['other'] == 'plain'
        assert set(rows.values()) <= {'plain', 'triton'}


def test_tensors_off_the_gpu_take_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatch.CHOICES, 'gates', {'other': 'triton'})
    inputs = [draw(2, 1, 3, 8, seed=seed) for seed in range(3)]
    assert not dispatch.is_available(inputs[0])
    assert torch.equal(dispatch.gates(*inputs), plain.gates(*inputs))


def test_a_form_asked_for_by_name_is_taken_whatever_was_measured(
        monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(2, 1, 3, 8)
    for rows in ({'other': 'plain'}, {'other': 'triton'}):
        monkeypatch.setitem(dispatch.CHOICES, 'gates', rows)
        for use in ('plain', 'triton'):
            assert dispatch.chosen('gates', x, x.dtype, use) == use


def test_a_gradient_is_never_lost_in_a_kernel_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU where every kernel won: those without a backward must not be taken.
    monkeypatch.setattr(dispatch, 'chosen', lambda *_: 'triton')
    a, f, s = (draw(2, 1, 6, 8, seed=seed).requires_grad_() for seed in range(3))
    weight, bias = draw(2, 8), draw(2, 8)
    results = [dispatch.gates(a, f, s), *dispatch.add_norm(a, f, weight, bias),
               dispatch.depthwise_gelu(a, (2, 3), draw(8, 1, 3, 3), draw(8))]
    assert all(result.requires_grad for result in results)


@pytest.mark.parametrize('name', sorted(dispatch.CHOICES))
def test_plain_forms_are_one_graph_for_the_compiler(name: str) -> None:
    # What is measured as `compile` must not be cut up.
    for case in cases(name, torch.float32, frame=(32, 32), device=DEVICE, networks=('mit_b0',))[:1]:
        torch.compiler.reset()
        traced = torch.compile(case.plain, fullgraph=True, dynamic=False, backend='eager')
        found, wanted = traced(*case.arguments, **case.settings), case.run_plain()
        torch.testing.assert_close(found, wanted)


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = ('import sys, diffpixel_core.kernels.measure\n'
            'print(any(name.startswith("diffpixel_core.kernels.triton") for name in sys.modules))')
    out = subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parent.parent,
                         capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'


@pytest.mark.skipif(torch.cuda.is_available(), reason='says what is missing without a GPU')
def test_measuring_without_a_gpu_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main([]) == 2
    said = capsys.readouterr()
    assert 'sees no CUDA device' in said.err
    assert not said.out


def row(kernel: str, own: float, other: float, *, right: bool = True,
        uses: int = 3) -> dict[str, object]:
    return {'kernel': kernel, 'type': 'float16', 'right': right, 'uses': {'mit_b0': uses},
            'times': {'triton': {'graph_us': own, 'eager_us': own},
                      'plain': {'graph_us': other, 'eager_us': other}}}


def test_a_kernel_is_recommended_only_if_right_and_faster_at_every_size(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, '_architecture', lambda _: 'sm_90')
    rows = [row('gates', 1, 2), row('gates', 2, 3), row('add_norm', 1, 2), row('add_norm', 3, 3),
            row('depthwise_gelu', 1, 9, right=False)]
    assert measure.choices(rows, torch.device('cuda')) == {
        'gates': {'sm_90/float16': 'triton'}, 'add_norm': {'sm_90/float16': 'plain'},
        'depthwise_gelu': {'sm_90/float16': 'plain'}}


def test_time_of_a_frame_counts_every_block_and_one_tail() -> None:
    rows = [row('gates', 1, 2), row('gates', 2, 3, uses=5), row('enlarge_argmax', 4, 5, uses=1),
            row('enlarge_argmax', 6, 7, uses=1)]
    assert measure.totals(rows)['mit_b0']['float16'] == {
        'gates': {'triton': 13.0, 'plain': 21.0}, 'enlarge_argmax': {'triton': 4.0, 'plain': 5.0}}


def camera_images(frame: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A colour image and depth with everything that a camera may send for "not measured"."""
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (*frame, 3), dtype=torch.uint8, generator=generator)
    x = torch.rand(frame, generator=generator) * 14
    missing = torch.tensor([0.0, -1.0, float('nan'), float('inf'), -float('inf')])
    holes = torch.rand(frame, generator=generator) < 0.3
    x[holes] = missing[torch.randint(0, 5, (int(holes.sum()),), generator=generator)]
    return rgb.to(DEVICE), x.to(DEVICE)


def settings(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    return {**camera_settings(DEVICE), 'dtype': dtype}
