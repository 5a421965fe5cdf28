# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Every engine computes what PyTorch computes in fp32, or says why it cannot."""

import dataclasses
import logging
import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffpixel_core.artefacts import EngineRecord, seal, whole_folder
from diffpixel_core.checkpoints import CheckpointError, check_model, load_model
from diffpixel_core.engines import Engine, EngineError, TorchEngine, load_engine, load_next_best
from diffpixel_core.engines.choice import (
    Choice,
    Machine,
    choices,
    cpu_flags,
    engine_choice,
    this_machine,
)
from diffpixel_core.engines.converted import Conversion, _kept
from diffpixel_core.engines.engine import memory_named, thread_count
from diffpixel_core.engines.loading import below
from diffpixel_core.engines.onnxruntime_engine import OnnxruntimeEngine
from diffpixel_core.engines.openvino_engine import OpenvinoEngine
from diffpixel_core.engines.recent import Recent
from diffpixel_core.engines.torch_engine import exact_products
from diffpixel_core.engines.verifying import require_same_scores
from diffpixel_core.errors import DeviceMemoryError
from diffpixel_core.tiny_model import save_tiny_model

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
SIZES = ((48, 64), (40, 80))
EVERYTHING = frozenset(('torch', 'openvino', 'onnxruntime', 'tensorrt'))


def room(height: int, width: int) -> Pair:
    """Return a frame with what real ones have: surfaces, edges, noise and holes in the depth."""
    draw = np.random.default_rng(7)
    rows, columns = np.mgrid[:height, :width] / np.array([[[height]], [[width]]])
    depth = np.minimum(4.0, 1.2 / np.maximum(rows - 0.45, 0.05))  # a floor, and a wall behind it
    colour = np.where(rows[..., None] < 0.7, (200, 195, 180), (120, 85, 60)).astype(np.float64)
    for _ in range(8):
        top, left = draw.uniform(0.2, 0.7, 2) * (height, width)
        box = np.s_[int(top):int(top + height * draw.uniform(0.1, 0.3)),
                    int(left):int(left + width * draw.uniform(0.1, 0.3))]
        colour[box], depth[box] = draw.integers(20, 230, 3), draw.uniform(1.0, 3.5)
    colour *= 0.7 + 0.3 * columns[..., None]
    rgb = np.clip(colour + draw.normal(0, 4, colour.shape), 0, 255).astype(np.uint8)
    depth[draw.random(depth.shape) < 0.05] = 0
    return rgb, depth.astype(np.float32)


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp('engines') / 'model')


@pytest.fixture(scope='module')
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('kept')


def agreement(engine: Engine, reference: Engine, frame: Pair) -> float:
    """Return the share of pixels that get the same label."""
    labels = [one.tail(one.scores(*frame), frame[1].shape)[0] for one in (engine, reference)]
    return float((labels[0] == labels[1]).mean())


# --- PyTorch ---

def test_bf16_on_a_cpu_labels_as_fp32_does() -> None:
    frame = room(240, 320)
    half, single = TorchEngine('rooms_t', 'cpu', 'bf16'), TorchEngine('rooms_t')
    assert agreement(half, single, frame) >= 0.99
    assert half.scores(*frame).dtype == torch.float32
    assert not torch.equal(half.scores(*frame), single.scores(*frame)), 'it computed in fp32'


def test_several_frames_at_once_score_as_one_after_the_other(model: Path) -> None:
    engine = TorchEngine(model)
    frames = [room(48, 64), (room(48, 64)[0][::-1].copy(), room(48, 64)[1][::-1].copy())]
    stacked = engine.scores(np.stack([rgb for rgb, _ in frames]), np.stack([x for _, x in frames]))
    for one, frame in zip(stacked, frames, strict=True):
        torch.testing.assert_close(one, engine.scores(*frame), rtol=1e-5, atol=1e-5)


def test_what_pytorch_may_round_is_left_as_the_user_set_it() -> None:
    def settings() -> tuple[object, ...]:
        return (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32,
                torch.backends.cuda.matmul.allow_tf32)
    before = settings()
    try:
        for wanted in ('highest', 'high', 'medium'):
            torch.set_float32_matmul_precision(wanted)
            mine = settings()
            with exact_products():
                assert torch.backends.cuda.matmul.fp32_precision == 'ieee'
                assert torch.backends.cudnn.conv.fp32_precision == 'ieee'  # type: ignore[attr-defined]
            assert settings() == mine
    finally:
        torch.set_float32_matmul_precision(str(before[0]))


def test_compiled_graph_is_one_for_each_frame_size_and_scores_alike(
        model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[tuple[object, ...]] = []

    def traced(graph: torch.nn.Module, **options: object) -> object:
        def backend(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
            graphs.append(tuple(x.shape for x in inputs if x.dtype == torch.uint8))
            return module.forward
        assert options == {'fullgraph': True, 'dynamic': False}
        return compile_graph(graph, backend=backend, **options)
    compile_graph = torch.compile
    monkeypatch.setattr(torch, 'compile', traced)
    torch.compiler.reset()
    engine, plain = TorchEngine(model, kernels='compiled'), TorchEngine(model)
    for size in (*SIZES, SIZES[0]):
        with exact_products():  # as on a GPU
            found = engine.scores(*room(*size))
        torch.testing.assert_close(found, plain.scores(*room(*size)),
                                   rtol=1e-4, atol=1e-5)
    assert graphs == [((1, *size, 3),) for size in SIZES]


@pytest.mark.slow
def test_what_the_compiler_makes_labels_as_pytorch_does() -> None:
    torch.compiler.reset()
    engine, plain = TorchEngine('rooms_t', kernels='compiled'), TorchEngine('rooms_t')
    frame = room(120, 160)
    wanted = plain.scores(*frame)
    torch.testing.assert_close(engine.scores(*frame), wanted, rtol=1e-3,
                               atol=1e-4 * wanted.abs().max().item())
    assert agreement(engine, plain, frame) >= 0.999


def test_what_a_compiler_says_is_an_error_of_the_engine(model: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_: object, **__: object) -> object:
        def run(*_: object) -> object:
            raise RuntimeError('No working C++ compiler found')
        return run
    monkeypatch.setattr(torch, 'compile', compiled)
    with pytest.raises(EngineError, match='compiled kernels failed: No working C'):
        TorchEngine(model, kernels='compiled').scores(*room(*SIZES[0]))


@pytest.mark.gpu
@pytest.mark.parametrize(('precision', 'kernels', 'least'), [
    ('fp32', 'plain', 0.999), ('bf16', 'plain', 0.99), ('fp16', 'plain', 0.99),
    ('fp32', 'triton', 0.999), ('bf16', 'triton', 0.99), ('fp16', 'triton', 0.99),
    ('fp32', 'compiled', 0.999), ('fp16', 'compiled', 0.99)])
def test_cuda_labels_as_the_cpu_does(precision: str, kernels: str, least: float) -> None:
    reference = TorchEngine('rooms_t')
    engine = TorchEngine('rooms_t', 'cuda', precision, kernels=kernels)
    for size in ((240, 320), (480, 640), (240, 320)):
        assert agreement(engine, reference, room(*size)) >= least, size


@pytest.mark.gpu
def test_scores_of_a_cuda_graph_outlive_the_next_frame(model: Path) -> None:
    engine = TorchEngine(model, 'cuda')
    first = engine.scores(*room(48, 64))
    copy = first.clone()
    engine.scores(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.float32))
    assert torch.equal(first, copy)


# --- OpenVINO and ONNX Runtime ---

def test_openvino_computes_as_pytorch_and_gives_no_more_once_closed(model: Path,
                                                                     kept: Path) -> None:
    pytest.importorskip('openvino')
    frame, reference = room(*SIZES[0]), TorchEngine(model)
    engine = OpenvinoEngine(model, cache=kept)
    torch.testing.assert_close(engine.scores(*frame), reference.scores(*frame), rtol=1e-4,
                               atol=1e-4)
    assert agreement(engine, reference, frame) >= 0.999
    engine.close()
    with pytest.raises(EngineError, match='was closed'):
        engine.scores(*frame)
    if this_machine().cpu_bf16:
        assert agreement(OpenvinoEngine(model, 'cpu', 'bf16', cache=kept), reference, frame) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_every_frame_size_has_a_graph_of_its_own(engine: str, model: Path, kept: Path) -> None:
    pytest.importorskip(engine)
    reference = TorchEngine(model)
    with_graphs = load_engine(model, engine, precision='fp32', cache=kept)
    for size in (*SIZES, SIZES[0]):
        scores = with_graphs.scores(*room(*size))
        torch.testing.assert_close(scores, reference.scores(*room(*size)), rtol=1e-4, atol=1e-4)
    with_graphs.close()


@pytest.mark.slow
@pytest.mark.parametrize(('engine', 'precision', 'least'), [
    ('openvino', 'fp32', 0.999), ('openvino', 'bf16', 0.99), ('onnxruntime', 'fp32', 0.999)])
def test_shipped_model_is_labelled_alike_by_every_engine(engine: str, precision: str, least: float,
                                                         kept: Path) -> None:
    pytest.importorskip(engine)
    if precision == 'bf16' and not this_machine().cpu_bf16:
        pytest.skip('needs bf16 instructions')
    reference = TorchEngine('rooms_t')
    other = load_engine('rooms_t', engine, device='cpu', precision=precision, cache=kept)
    assert agreement(other, reference, room(240, 320)) >= least


@pytest.mark.slow
def test_auto_takes_openvino_where_it_is_and_says_why(model: Path, kept: Path) -> None:
    pytest.importorskip('openvino')
    engine = load_engine(model, device='cpu', cache=kept)
    assert (engine.name, engine.passed_over) == ('openvino', ())
    assert 'fastest on a CPU' in engine.reason


# --- What was kept ---

def _conversion(model: Path, **changes: object) -> Conversion:
    folder, manifest = check_model(model)
    return dataclasses.replace(Conversion(folder, manifest, 'openvino', SIZES[0]), **changes)


def _keep(conversion: Conversion, folder: Path) -> None:
    """Write something that looks like a converted graph."""
    with whole_folder(folder) as part:
        (part / 'model.xml').write_text('<net/>')
        (part / 'model.bin').write_bytes(bytes(1000))
        seal(part, EngineRecord('openvino', 'fp32', conversion.frame, (32, 48),
                                conversion.manifest.weights_sha256, settings=conversion.settings),
             conversion.manifest)


def test_damaged_graph_is_not_taken(model: Path, tmp_path: Path,
                                    caplog: pytest.LogCaptureFixture) -> None:
    conversion = _conversion(model)
    for name in ('model.xml', 'model.bin', 'model.json', 'engine.json'):
        folder = tmp_path / f'damaged {name}'
        _keep(conversion, folder)
        assert _kept(folder, conversion) is not None
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        assert _kept(folder, conversion) is None, name
        assert name in caplog.text
        caplog.clear()


def test_graph_that_computes_something_else_is_refused(model: Path) -> None:
    network, manifest = load_model(model)
    check = partial(require_same_scores, TorchEngine(model).scores, network, manifest,
                    (2, 48, 64), name='torch', tolerance=1e-4)
    check()
    network.get_submodule('head.classify').weight.data.mul_(1.01)
    with pytest.raises(EngineError, match=r'made for torch does not compute .*use another'):
        check()


def test_graph_of_something_else_is_not_taken(model: Path, tmp_path: Path) -> None:
    conversion = _conversion(model)
    _keep(conversion, tmp_path / 'graph')
    other = dataclasses.replace(conversion.manifest, weights_sha256='0' * 64)
    for change in ({'frame': (9, 9)}, {'batch': 2}, {'half': True}, {'manifest': other}):
        changed = dataclasses.replace(conversion, **change)
        assert changed.name != conversion.name
        assert _kept(tmp_path / 'graph', changed) is None


# --- Exported engines ---

@pytest.fixture
def artefact(model: Path, tmp_path: Path) -> Path:
    """An engine for OpenVINO whose 13 scores are 0 everywhere."""
    openvino = pytest.importorskip('openvino')
    ops = openvino.opset13
    height, width = SIZES[0]
    rgb = ops.parameter([1, height, width, 3], np.uint8, name='rgb')
    x = ops.parameter([1, height, width], np.float32, name='x')
    for port, name in ((rgb, 'rgb'), (x, 'x')):
        port.output(0).set_names({name})
    row = ops.multiply(ops.reduce_mean(x, np.array([1, 2]), keep_dims=True), np.float32(0))
    row = ops.add(row, ops.multiply(ops.reduce_mean(
        ops.convert(rgb, 'f32'), np.array([1, 2, 3])), np.float32(0)))
    scores = ops.broadcast(ops.unsqueeze(row, 1), np.array([1, 13, 12, 16]))
    scores.output(0).set_names({'scores'})
    _, manifest = check_model(model)
    with whole_folder(tmp_path / 'engine') as part:
        openvino.save_model(openvino.Model([scores], [rgb, x]), part / 'model.xml')
        seal(part, EngineRecord('openvino', 'fp32', SIZES[0], (32, 48), manifest.weights_sha256),
             manifest)
    return tmp_path / 'engine'


def test_exported_engine_runs_as_it_is_and_takes_its_own_frames_only(artefact: Path) -> None:
    engine = load_engine(artefact)
    assert (engine.name, engine.precision, engine.frame_size) == ('openvino', 'fp32', SIZES[0])
    assert engine.scores(*room(*SIZES[0])).shape == (13, 12, 16)
    with pytest.raises(EngineError, match=r'frames of 64x48 pixels, this one has 80x40; .*--size '
                                          '40x80'):
        engine.scores(*room(*SIZES[1]))


def test_exported_engine_asked_for_otherwise_is_refused(artefact: Path) -> None:
    with pytest.raises(EngineError, match='exported for the engine openvino, not for torch'):
        load_engine(artefact, 'torch')
    with pytest.raises(EngineError, match='exported in fp32, not in bf16'):
        load_engine(artefact, precision='bf16')


def test_exported_engine_is_replaced_by_its_own_model_only(artefact: Path, model: Path) -> None:
    failed = load_engine(artefact)
    with pytest.raises(EngineError, match='the model it was made of is not at hand'):
        load_next_best(artefact, failed, precision='fp32')
    for name in ('model.safetensors', 'model.json'):
        (artefact.parent / name).write_bytes((model / name).read_bytes())
    assert load_next_best(artefact, failed, precision='fp32').name == 'torch'


# --- What cannot be had ---

@pytest.mark.parametrize(('asked', 'message'), [
    ({'engine': 'tensorflow'}, "engine 'tensorflow' is unknown; choose auto or torch"),
    ({'precision': 'fp8'}, "precision 'fp8' is unknown; choose auto or fp32"),
    ({'device': 'tpu'}, "device 'tpu' is unknown"),
    ({'device': 'meta'}, "device 'meta' is not supported"),
    ({'engine': 'torch', 'precision': 'fp16', 'device': 'cpu'}, 'needs a CUDA device'),
    ({'precision': 'fp16', 'device': 'cpu'}, 'no engine computes in fp16 on device cpu'),
    ({'precision': 'int8'}, 'diffpixel export --precision int8'),
    ({'engine': 'torch', 'kernels': 'cuda'}, "kernels 'cuda' are unknown; choose measured, plain"),
    ({'engine': 'torch', 'kernels': 'triton', 'device': 'cpu'}, 'need a CUDA device'),
    ({'kernels': 'plain'}, "kernels 'plain' are for the engine torch, not for auto"),
    ({'engine': 'onnxruntime', 'precision': 'bf16', 'device': 'cpu'}, "cannot compute in 'bf16'"),
    ({'engine': 'onnxruntime', 'device': 'tpu'}, "device 'tpu' is unknown"),
])
def test_what_does_not_exist_is_named(model: Path, asked: dict[str, str], message: str) -> None:
    if asked.get('engine') == 'onnxruntime':
        pytest.importorskip('onnxruntime')
    with pytest.raises(EngineError, match=message):
        load_engine(model, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize('engine', [OpenvinoEngine, OnnxruntimeEngine])
def test_missing_runtime_says_what_to_install(engine: type[OpenvinoEngine], model: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, engine.name, None)
    with pytest.raises(EngineError, match=r"pip install 'diffpixel_ros\[engines\]'"):
        engine(model)


def test_without_other_runtimes_auto_takes_pytorch_and_says_why(
        model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('openvino', 'onnxruntime'):
        monkeypatch.setitem(sys.modules, name, None)
    engine = load_engine(model, device='cpu')
    assert (engine.name, engine.precision, engine.passed_over) == ('torch', 'fp32', ())
    assert 'openvino is not installed' in engine.reason


def test_broken_runtime_is_passed_over_by_auto_and_fails_by_name(
        model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / 'openvino.py').write_text("raise OSError('libopenvino.so: wrong ELF class')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition('.')[0] == 'openvino']:
        monkeypatch.delitem(sys.modules, name)
    with caplog.at_level(logging.WARNING):
        engine = load_engine(model, device='cpu')
    assert (engine.name, engine.precision) == ('torch', 'fp32')
    assert len(engine.passed_over) == 1
    assert 'wrong ELF class' in engine.passed_over[0]
    assert 'wrong ELF class' in caplog.text
    with pytest.raises(EngineError, match='wrong ELF class'):
        load_engine(model, 'openvino')


def test_damaged_model_is_not_blamed_on_the_engines(model: Path, tmp_path: Path) -> None:
    for name in ('model.safetensors', 'model.json'):
        (tmp_path / name).write_bytes((model / name).read_bytes()[:-1])
    with pytest.raises(CheckpointError):
        load_engine(tmp_path, device='cpu')


def test_closed_engine_says_so(model: Path) -> None:
    engine = TorchEngine(model)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match='was closed; load the model again'):
        engine.scores(*room(*SIZES[0]))


# --- What auto takes ---

def _taken(found: list[Choice]) -> list[tuple[str, str, str]]:
    return [(choice.engine, choice.device, choice.precision) for choice in found]


def test_auto_goes_from_tensorrt_to_pytorch_on_the_cpu() -> None:
    machine = Machine(EVERYTHING, cuda=1, cuda_bf16=True, cpu_bf16='avx512_bf16')
    assert _taken(choices(machine)) == [
        ('tensorrt', 'cuda', 'fp16'), ('torch', 'cuda', 'fp16'), ('torch', 'cuda', 'bf16'),
        ('openvino', 'cpu', 'bf16'), ('torch', 'cpu', 'fp32')]
    assert _taken(choices(machine, device='cuda:1'))[0] == ('tensorrt', 'cuda:1', 'fp16')
    assert _taken(choices(machine, device='cpu'))[0] == ('openvino', 'cpu', 'bf16')


def test_reason_says_what_the_machine_has_and_lacks() -> None:
    plain = Machine(frozenset(('torch', 'openvino')))
    best = choices(plain)[0]
    assert (best.engine, best.precision) == ('openvino', 'fp32')
    assert 'without bf16 instructions' in best.reason
    assert 'there is no CUDA device' in best.reason
    able = choices(dataclasses.replace(plain, cpu_bf16='amx_bf16'), device='cpu')[0]
    assert able.precision == 'bf16'
    assert 'the CPU has amx_bf16' in able.reason
    assert 'CUDA' not in able.reason, 'nobody asked'
    gpu = choices(Machine(frozenset(('torch',)), cuda=1))
    assert _taken(gpu) == [('torch', 'cuda', 'fp16'), ('torch', 'cpu', 'fp32')]
    assert 'tensorrt is not installed' in gpu[0].reason


def test_precision_asked_for_is_kept() -> None:
    machine = Machine(EVERYTHING, cuda=1, cuda_bf16=True, cpu_bf16='avx512_bf16')
    assert _taken(choices(machine, device='cpu', precision='bf16')) == [
        ('openvino', 'cpu', 'bf16'), ('torch', 'cpu', 'bf16')]
    assert {choice.precision for choice in choices(machine, precision='fp32')} == {'fp32'}
    assert choices(machine, precision='int8') == []


def test_engine_asked_for_gets_its_best_device_and_precision() -> None:
    machine = Machine(EVERYTHING, cpu_bf16='avx512_bf16')
    found = {name: engine_choice(machine, name) for name in EVERYTHING}
    assert {name: (choice.device, choice.precision) for name, choice in found.items()} == {
        'torch': ('cpu', 'fp32'), 'openvino': ('cpu', 'bf16'), 'onnxruntime': ('cpu', 'fp32'),
        'tensorrt': ('cuda', 'fp16')}
    assert engine_choice(dataclasses.replace(machine, cuda=1), 'torch').device == 'cuda'
    assert engine_choice(machine, 'openvino', precision='fp32').precision == 'fp32'


def test_next_best_engine_is_never_one_that_was_tried(model: Path) -> None:
    machine = Machine(EVERYTHING, cpu_bf16='avx512_bf16')
    failed = TorchEngine(model)
    assert below(machine, failed) == [], 'it is the last'
    assert _taken(below(machine, failed, 'fp32')) == []
    failed.device_name, failed.precision = 'cuda:0', 'fp16'
    with_gpu = dataclasses.replace(machine, cuda=1, cuda_bf16=True)
    assert _taken(below(with_gpu, failed)) == [
        ('torch', 'cuda:0', 'bf16'), ('openvino', 'cpu', 'bf16'), ('torch', 'cpu', 'fp32')]


def test_cpu_features_are_read_as_linux_names_them(tmp_path: Path) -> None:
    info = tmp_path / 'cpuinfo'
    info.write_text('processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nFeatures\t: bf16 asimd\n')
    assert cpu_flags(info) == {'fpu', 'avx2', 'avx512_bf16', 'bf16', 'asimd'}
    assert cpu_flags(tmp_path / 'missing') == frozenset()


# --- Small parts ---

def test_memory_that_runs_out_has_a_name_and_other_failures_keep_theirs() -> None:
    for error in (MemoryError(), RuntimeError('CUDA out of memory. Tried to allocate 2 GiB'),
                  RuntimeError('std::bad_alloc')):
        with pytest.raises(DeviceMemoryError, match='cuda:0 has not enough memory'), \
                memory_named('cuda:0'):
            raise error
    with pytest.raises(RuntimeError, match='shapes'), memory_named('cpu'):
        raise RuntimeError('shapes do not match')


@pytest.mark.parametrize(('text', 'threads'), [('3', 3), ('4,2', 4), ('', 0), ('many', 0)])
def test_threads_are_those_the_user_set(text: str, threads: int,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('OMP_NUM_THREADS', text)
    assert thread_count() == threads


def test_frame_size_not_used_for_longest_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put('a', 1)
    recent.put('b', 2)
    assert recent.get('a') == 1
    recent.put('c', 3)
    assert (recent.get('a'), recent.get('b'), recent.get('c')) == (1, None, 3)
