# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The graph in another runtime's format computes what the trained network does."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import CLASSES, CONTRACT, TINY_MIT, TINY_SWIN
from torch import Tensor, nn

from diffpixel_core.deploy import DeployGraph, Ensemble, cpu_tail, fold
from diffpixel_core.deploy.packages import ConversionError, needed, quiet
from diffpixel_core.deploy.quantise import quantise_onnx, quantise_openvino
from diffpixel_core.deploy.to_onnx import to_onnx
from diffpixel_core.deploy.to_openvino import to_openvino
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import Variant
from diffpixel_core.models.ablations import JudgeEca
from diffpixel_core.models.diffpixelformer import Dsim
from diffpixel_core.models.released import OneKey

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxscript')

FRAME, SIZE = (96, 128), (64, 96)  # of the camera and of the network: resized on the way in
DSIM = Variant(TINY_MIT, Dsim)
QUICK = (Variant(TINY_MIT, OneKey),)  # the smallest; the others are in the slow run
Run = Callable[[Tensor, Tensor], np.ndarray]


@cache
def network(variant: Variant) -> nn.Module:
    """Return a network none of whose numbers is 0 or 1 by chance."""
    torch.manual_seed(0)
    model = variant.build(CLASSES).eval()
    draw = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=draw)
            tensor.copy_(noise + 0.5 if 'running_var' in name else tensor + 0.2 * (noise - 0.5))
    return model


def graph(variant: Variant, *, folded: bool = True) -> DeployGraph:
    model = network(variant)
    return DeployGraph(fold(model) if folded else Ensemble(model),
                       normalisation(('rgb', 'depth')), SIZE).eval()


def images(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return frames with holes in their depth of every kind."""
    draw = torch.Generator().manual_seed(seed)
    rgb = torch.randint(0, 256, (batch, *FRAME, 3), generator=draw, dtype=torch.uint8)
    x = torch.rand(batch, *FRAME, generator=draw) * 6
    x[:, :8], x[:, 8:12], x[:, 12:16], x[:, 16:20] = 0, float('nan'), float('inf'), -1
    return rgb, x


@torch.no_grad()
def wanted(variant: Variant, rgb: Tensor, x: Tensor) -> np.ndarray:
    return graph(variant, folded=False)(rgb, x).numpy()


@cache
def onnx_file(variant: Variant, batch: int = 1, half: bool = False) -> bytes:
    return to_onnx(graph(variant), FRAME, batch=batch, half=half)


@cache
def openvino_model(variant: Variant, batch: int = 1) -> object:
    return to_openvino(graph(variant), FRAME, batch=batch)


def in_onnxruntime(content: bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, ['CPUExecutionProvider'])
    assert [row.name for row in session.get_inputs()] == ['rgb', 'x']
    return lambda rgb, x: session.run(['scores'], {'rgb': rgb.numpy(), 'x': x.numpy()})[0]


def in_openvino(model: object, hint: str = 'f32') -> Run:
    compiled = openvino.Core().compile_model(
        model, 'CPU', {'INFERENCE_PRECISION_HINT': hint, 'INFERENCE_NUM_THREADS': 1})
    return lambda rgb, x: compiled({'rgb': rgb.numpy(), 'x': x.numpy()})['scores']


def require_agreement(run: Run, variant: Variant, *, batch: int = 1,
                      tolerance: float = 1e-4) -> None:
    rgb, x = images(batch)
    found, right = run(rgb, x), wanted(variant, rgb, x)
    assert found.dtype == np.float32
    assert right.std() > 0.01
    assert np.abs(found - right).max() < tolerance * np.abs(right).max()
    labels = [cpu_tail(scores[0], FRAME)[0] for scores in (found, right)]
    assert (labels[0] == labels[1]).mean() >= (0.999 if tolerance < 1e-3 else 0.99)


def rest() -> list[Variant]:
    return [variant for variant in CONTRACT if variant not in QUICK]


class _Depth(nn.Module):
    """A network that looks at the depth alone."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.look.weight, 1 / 3)

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.look(x + 0 * rgb)
        return out


@pytest.mark.parametrize('size', [FRAME, SIZE])
def test_depth_is_not_rounded_before_it_is_normalised(size: tuple[int, int]) -> None:
    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        pytest.skip('needs bf16 instructions')
    looking = DeployGraph(_Depth(), normalisation(('rgb', 'depth')), size).eval()
    rgb, x = images(1)
    near = 2.5 + 0.1 * (x - 3) / 3  # the mean, 10 cm more or less: 8 mm are a step of bf16 there
    with torch.no_grad():
        right = looking(rgb, near).numpy()
    found = in_openvino(to_openvino(looking, FRAME), 'bf16')(rgb, near)
    close = np.abs(right) < 0.1
    assert close.mean() > 0.5
    assert np.abs(found - right)[close].max() < 1e-3


@pytest.mark.parametrize('variant', QUICK, ids=CONTRACT.get)
def test_openvino_computes_what_the_trained_network_does(variant: Variant) -> None:
    require_agreement(in_openvino(openvino_model(variant)), variant)


@pytest.mark.slow
@pytest.mark.parametrize('variant', rest(), ids=CONTRACT.get)
def test_openvino_computes_what_every_trained_network_does(variant: Variant) -> None:
    require_agreement(in_openvino(openvino_model(variant)), variant)


@pytest.mark.parametrize('variant', QUICK, ids=CONTRACT.get)
def test_onnxruntime_computes_what_the_trained_network_does(variant: Variant) -> None:
    require_agreement(in_onnxruntime(onnx_file(variant)), variant)


@pytest.mark.slow
@pytest.mark.parametrize('variant', rest(), ids=CONTRACT.get)
def test_onnxruntime_computes_what_every_trained_network_does(variant: Variant) -> None:
    require_agreement(in_onnxruntime(onnx_file(variant)), variant)


@pytest.mark.slow
@pytest.mark.parametrize('variant', [DSIM, Variant(TINY_SWIN, Dsim), Variant(TINY_MIT, JudgeEca)],
                         ids=CONTRACT.get)
def test_any_number_of_frames_gives_each_what_it_gets_alone(variant: Variant) -> None:
    for run in (in_onnxruntime(onnx_file(variant, 0)),
                in_openvino(openvino_model(variant, 0))):
        rgb, x = images(3)
        together = run(rgb, x)
        for i in range(3):
            alone = run(rgb[i:i + 1], x[i:i + 1])
            np.testing.assert_allclose(together[i:i + 1], alone, rtol=1e-4, atol=1e-4)
        require_agreement(run, variant, batch=2)


def test_two_frames_are_not_taken_for_two_modalities() -> None:
    # The exporter's own rewriting does: see `to_onnx._simplify`.
    require_agreement(in_onnxruntime(onnx_file(QUICK[0], 2)), QUICK[0], batch=2)


@pytest.mark.slow
@pytest.mark.parametrize('variant', [DSIM, Variant(TINY_SWIN, Dsim)], ids=CONTRACT.get)
@pytest.mark.parametrize('batch', [2, 3])
def test_a_fixed_number_of_frames_is_taken_as_it_is(batch: int, variant: Variant) -> None:
    for run in (in_onnxruntime(onnx_file(variant, batch)),
                in_openvino(openvino_model(variant, batch))):
        require_agreement(run, variant, batch=batch)


def test_an_openvino_graph_has_no_arithmetic_of_shapes_when_it_runs() -> None:
    model = openvino_model(QUICK[0])
    assert [list(port.names) for port in model.inputs] == [['rgb'], ['x']]
    assert list(model.output().names) == ['scores']
    compiled = openvino.Core().compile_model(model, 'CPU', {'INFERENCE_NUM_THREADS': 1})
    kinds = {node.get_rt_info()['layerType'].astype(str)
             for node in compiled.get_runtime_model().get_ops()}
    assert not kinds & {'ShapeOf', 'Range', 'NonZero', 'Shape', 'Tile'}, kinds


def test_an_onnx_file_is_valid_small_and_says_nothing_about_this_machine() -> None:
    content = onnx_file(QUICK[0])
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(row.domain, row.version) for row in model.opset_import] == [('', 18)]
    assert [row.name for row in (*model.graph.input, *model.graph.output)] \
        == ['rgb', 'x', 'scores']
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not kinds.keys() & {'Shape', 'Loop', 'If', 'NonZero'}
    # TensorRT casts uint8 and does nothing else with it.
    assert [node.op_type for node in model.graph.node if 'rgb' in node.input] == ['Cast']
    for word in (b'site-packages', b'diffpixel_core', b'stack_trace', str(Path.cwd()).encode()):
        assert word not in content
    weights = sum(tensor.numel() for tensor in graph(QUICK[0]).network.state_dict().values())
    assert len(content) < 4 * weights * 1.1 + 300_000


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes() -> None:
    assert to_onnx(graph(DSIM), FRAME) == onnx_file(DSIM)


@pytest.mark.slow
@pytest.mark.parametrize('variant', [DSIM, Variant(TINY_SWIN, Dsim)], ids=CONTRACT.get)
def test_an_fp16_graph_sums_in_fp32_and_keeps_its_inputs_and_output(variant: Variant) -> None:
    content = onnx_file(variant, 1, True)
    model = onnx.load_from_string(content)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type
             for value in (*inferred.graph.value_info, *inferred.graph.input,
                           *inferred.graph.output)}
    kinds |= {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert [kinds[name] for name in ('rgb', 'x', 'scores')] == [onnx.TensorProto.UINT8, single,
                                                                single]
    for node in model.graph.node:
        if node.op_type in ('MatMul', 'Conv'):
            assert {kinds[name] for name in (*node.input, *node.output)} == {half}, node.name
        if node.op_type in ('LayerNormalization', 'Softmax'):
            assert {kinds[name] for name in (*node.input, *node.output)} == {single}, node.name
    require_agreement(in_onnxruntime(content), variant, tolerance=2e-2)


def test_weights_that_overflow_fp16_are_refused() -> None:
    large = copy.deepcopy(graph(QUICK[0]))
    next(large.network.parameters()).data.fill_(1e5)
    with pytest.raises(ConversionError, match='do not fit float16'):
        to_onnx(large, FRAME, half=True)


@pytest.mark.parametrize('opset', [17, 21])
def test_an_opset_that_not_every_tensorrt_reads_is_refused(opset: int) -> None:
    with pytest.raises(ConversionError, match='use 18 to 20'):
        to_onnx(graph(QUICK[0]), FRAME, opset=opset)


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(ConversionError, match=r"pip install 'diffpixel_ros\[export\]'"), \
            needed('nowhere', extra='export'):
        import diffpixel_nowhere  # noqa: F401
    with quiet('diffpixel.nowhere'):
        pass


def test_int8_needs_frames() -> None:
    samples = [(np.zeros((*FRAME, 3), np.uint8), np.ones(FRAME, np.float32))] * 3
    with pytest.raises(ConversionError, match='3 are too few'):
        quantise_openvino(openvino.Model([], [], ''), samples)


@pytest.mark.slow
def test_int8_is_near_and_signed_where_tensorrt_reads_it(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('nncf')
    samples = [(rgb.numpy()[0], np.nan_to_num(x.numpy()[0], posinf=0))
               for rgb, x in (images(1, seed) for seed in range(8))]
    rgb, x = images(1)
    right = wanted(DSIM, rgb, x)
    content = quantise_onnx(onnx_file(DSIM), samples)
    model = quantise_openvino(openvino_model(DSIM), samples)
    assert capfd.readouterr().out == ''
    for run in (in_onnxruntime(content), in_openvino(model)):
        assert np.abs(run(rgb, x) - right).max() < 0.2 * np.abs(right).max()
        assert not np.array_equal(run(rgb, x), right)
    parsed = onnx.load_from_string(content)
    tensors = {tensor.name: tensor for tensor in parsed.graph.initializer}
    steps = [node for node in parsed.graph.node if node.op_type == 'QuantizeLinear']
    assert len(steps) > 20
    for node in steps:
        zero = onnx.numpy_helper.to_array(tensors[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()
    first = next(node for node in parsed.graph.node if node.op_type == 'Conv')
    fed = {name for node in parsed.graph.node if node.op_type == 'DequantizeLinear'
           for name in node.output}
    assert not fed & set(first.input), 'the images themselves stay as they are'
