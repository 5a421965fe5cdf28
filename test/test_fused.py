# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The graph in the cut of the kernels scores as the folded graph, which itself asks for none.

Claims that need Triton, `kernel_...` and `compiled_...` below, are checked in processes of their
own, as in `test_kernels`.
"""

import copy
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_kernels import DEVICE, compile_launches, run_claims
from test_models import CLASSES, TINY_MIT, TINY_SWIN
from torch import Tensor

from diffpixel_core.deploy import DeployGraph, fold, fuse, fuse_fusions, fused, reference_tail
from diffpixel_core.engines import TorchEngine, torch_engine
from diffpixel_core.kernels import dispatch
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import Variant
from diffpixel_core.models.diffpixelformer import Dsim
from diffpixel_core.tiny_model import save_tiny_model

FRAME, SIZE = (36, 60), (32, 48)  # of the camera and of the network: resized on the way in
PARTS = {'FusedDsim', 'FusedStage', 'FusedFeedForward', 'FusedInputs'}
BACKBONES = [TINY_MIT, TINY_SWIN]


@cache
def folded(backbone: Any) -> DeployGraph:
    """Return a folded graph none of whose numbers is 0 or 1 by chance."""
    torch.manual_seed(0)
    model = Variant(backbone, Dsim).build(CLASSES).eval()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(noise + 0.5 if 'running_var' in name else tensor + 0.3 * (noise - 0.5))
    return DeployGraph(fold(model), normalisation(('rgb', 'depth')), SIZE).eval().to(DEVICE)


def images(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    rgb = torch.randint(0, 256, (batch, *FRAME, 3), generator=generator, dtype=torch.uint8)
    x = torch.rand(batch, *FRAME, generator=generator) * 6
    x[:, :4], x[:, 4:6], x[:, 6:8] = 0, float('nan'), -1
    return rgb.to(DEVICE), x.to(DEVICE)


def parts(graph: DeployGraph) -> Counter[str]:
    """Return how many parts are cut for a kernel, by the name of their class."""
    return Counter(type(module).__name__ for module in graph.modules()
                   if type(module).__module__ == fused.__name__)


# ---- claims about kernels: collected by name in a process of their own

@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('backbone', BACKBONES, ids=['mit', 'swin'])
@torch.no_grad()
def kernel_graph_scores_as_the_folded_graph(backbone: Any, batch: int) -> None:
    graph = copy.deepcopy(folded(backbone))
    fuse(graph, 'triton')
    assert parts(graph)['FusedDsim'] == sum(backbone.depths)
    wanted = folded(backbone)(*images(batch))
    assert wanted.std() > 0.01
    torch.testing.assert_close(graph(*images(batch)), wanted, rtol=1e-4, atol=1e-4)


def kernel_engine_labels_as_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, 'is_available', lambda _: True)  # interpreted, on a CPU
    model = save_tiny_model(tmp_path, network='diffpixelformer_t')
    plain, fast = (TorchEngine(model, str(DEVICE), kernels=kernels)
                   for kernels in ('plain', 'triton'))
    rgb, x = (image[0].cpu().numpy() for image in images(1))
    wanted, found = plain.scores(rgb, x), fast.scores(rgb, x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    fast.device = torch.device('cuda')  # whose tail is a kernel, too
    labels, confidence = fast.tail(found, x.shape)
    wanted_labels, wanted_confidence = reference_tail(found, x.shape)
    assert (labels == wanted_labels.cpu().numpy()).mean() > 0.99
    assert np.abs(confidence - wanted_confidence.cpu().numpy().astype(int)).max() <= 1


@torch.no_grad()
def compiled_graph_is_accepted_for_a_gpu() -> None:
    # Every launch of a network as it is made there: the strides of its parts, its types.
    graph = copy.deepcopy(folded(TINY_MIT))
    graph.network.half()
    fuse(graph, 'triton')
    compile_launches(lambda: graph(*images(1)), 87)


# ---- tests

def test_kernels_in_a_network_change_no_score() -> None:
    pytest.importorskip('triton')
    run_claims('kernel', file=__file__, interpret=True)


@pytest.mark.slow
def test_kernels_in_a_network_compile_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip('triton')
    run_claims('compiled', file=__file__, cache=tmp_path)


@pytest.mark.gpu
def test_compiled_kernels_in_a_network_change_no_score() -> None:
    pytest.importorskip('triton')
    run_claims('kernel', file=__file__, device='cuda')


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('backbone', BACKBONES, ids=['mit', 'swin'])
@torch.no_grad()
def test_plain_forms_in_a_network_change_no_score(backbone: Any, batch: int) -> None:
    graph = copy.deepcopy(folded(backbone))
    fuse_fusions(graph, 'plain')
    assert parts(graph) == {'FusedDsim': sum(backbone.depths)}
    torch.testing.assert_close(graph(*images(batch)), folded(backbone)(*images(batch)),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('kernels', 'cut', 'use'), [
    ('measured', set(), 'measured'), ('plain', set(), 'plain'), ('triton', PARTS, 'triton'),
    ('compiled', {'FusedDsim'}, 'plain')])
def test_graph_and_tail_of_an_engine_are_of_the_kernels_asked_for(
        kernels: str, cut: set[str], use: str, tiny_model: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def enlarge(scores: Tensor, size: tuple[int, int], *, use: str) -> tuple[Tensor, Tensor]:
        used.append(use)
        return reference_tail(scores, size)
    monkeypatch.setattr(torch_engine, 'is_available', lambda _: True)
    monkeypatch.setattr(torch_engine, 'enlarge_argmax', enlarge)
    engine = TorchEngine(tiny_model, kernels=kernels)
    assert engine._graph is not None
    assert parts(engine._graph).keys() == cut
    engine.device = torch.device('cuda')
    labels, _ = engine.tail(torch.rand(3, 4, 6), (8, 12))
    assert labels.shape == (8, 12)
    assert used == [use]


@torch.no_grad()
def test_the_graph_that_is_exported_asks_for_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(*_: object) -> str:
        raise AssertionError('a kernel was asked for')
    monkeypatch.setattr(dispatch, 'chosen', chosen)
    for backbone in BACKBONES:
        folded(backbone)(*images(1))


@pytest.mark.parametrize(('won', 'replaced'), [
    ((), {}),
    (('gates',), {}),
    (('pixel_attention',), {}),
    (('gates', 'pixel_attention'), {'FusedDsim': 5}),
    (('add_norm',), {'FusedStage': 4}),
    (('depthwise_gelu',), {'FusedFeedForward': 5}),
    (('prepare_images',), {'FusedInputs': 1}),
    (('gates', 'pixel_attention', 'add_norm', 'depthwise_gelu', 'prepare_images'),
     {'FusedDsim': 5, 'FusedStage': 4, 'FusedFeedForward': 5, 'FusedInputs': 1}),
])
def test_only_parts_whose_kernels_won_are_replaced(won: tuple[str, ...], replaced: dict[str, int],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU; the key of the table is the type of the weights.
    monkeypatch.setattr(dispatch, 'is_available', lambda _: True)
    monkeypatch.setattr(dispatch, '_architecture', lambda _: 'sm_90')
    for name in dispatch.CHOICES:
        monkeypatch.setitem(dispatch.CHOICES, name, {
            'sm_90/float32': 'triton' if name in won else 'plain', 'other': 'plain'})
    graph = copy.deepcopy(folded(TINY_MIT))
    fuse(graph)
    assert parts(graph) == replaced
    graph = copy.deepcopy(folded(TINY_MIT))
    graph.network.half()
    fuse(graph)
    assert parts(graph) == {}


def test_nothing_is_replaced_on_a_cpu_or_for_plain_kernels() -> None:
    for use in ('measured', 'plain'):
        graph = copy.deepcopy(folded(TINY_MIT))
        fuse(graph, use)
        assert parts(graph) == {}
