# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What of TensorRT can be checked without it: keys, kept engines, refusals, the names it is told.

`StandIn` has what both generations' bindings have and nothing else, so that a call of a name that
was removed, or never was, fails here.
"""

import dataclasses
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from damaged_files import PLACES, damage
from diffpixel_core.artefacts import ArtefactError, EngineRecord, read_artefact, seal, whole_folder
from diffpixel_core.checkpoints import Manifest
from diffpixel_core.deploy import to_tensorrt
from diffpixel_core.deploy.packages import ConversionError
from diffpixel_core.deploy.to_tensorrt import build_plan, import_tensorrt
from diffpixel_core.engines.engine import EngineError
from diffpixel_core.engines.engine_cache import (
    GRAPH_FILE,
    PLAN_FILE,
    EngineKey,
    GpuMachine,
    cache_folder,
    engine_key,
    find_engine,
    keep_engine,
    keep_timings,
    load_timings,
)
from diffpixel_core.engines.tensorrt_engine import (
    PlanRunner,
    TensorrtEngine,
    kept_or_built,
    plan_of,
)

ORIN = GpuMachine('Orin', '8.7', 16, '10.3.0.30', '12', 'Linux-aarch64')
H200 = GpuMachine('NVIDIA H200', '9.0', 132, '11.4.0.106', '13', 'Linux-x86_64')
GRAPH, PLAN = b'an ONNX file', bytes(range(256)) * 20
MANIFEST = Manifest('diffpixelformer_t', 'nyu13', weights_sha256='ab' * 32)
absent = pytest.mark.skipif(importlib.util.find_spec('tensorrt') is not None,
                            reason='TensorRT is installed')


def key(machine: GpuMachine = ORIN, graph: bytes = GRAPH, **changes: object) -> EngineKey:
    rows = {'precision': 'fp16', 'frame': (480, 640), 'batch': 1, 'level': 3, **changes}
    return engine_key(graph, machine, **rows)


def record(**changes: object) -> EngineRecord:
    return EngineRecord(**{'format': 'tensorrt', 'precision': 'fp16', 'frame_size': (480, 640),
                           'network_size': (480, 640), 'weights_sha256': 'ab' * 32, **changes})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def export(folder: Path, machine: GpuMachine) -> Path:
    """Write what `diffpixel export` would on a machine."""
    with whole_folder(folder) as part:
        (part / PLAN_FILE).write_bytes(PLAN)
        (part / GRAPH_FILE).write_bytes(GRAPH)
        seal(part, record(settings=key(machine).settings), MANIFEST)
    return folder


def test_a_key_is_the_same_only_for_the_same_engine_on_the_same_machine() -> None:
    assert key() == key()
    assert key().digest == key().digest
    assert key().differences(key().settings) == []
    others = [key(graph=b'another'), key(precision='fp32'), key(frame=(480, 641)), key(batch=0),
              key(level=5)]
    others += [key(dataclasses.replace(ORIN, **{row.name: 17 if row.type is int else 'other'}))
               for row in dataclasses.fields(GpuMachine)]
    digests = {other.digest for other in others}
    assert len(digests) == len(others) == 11
    assert key().digest not in digests
    for other in others:
        assert len(other.differences(key().settings)) == 1
    assert ORIN.digest != H200.digest


def test_a_difference_names_both_machines() -> None:
    text = '; '.join(key(H200).differences(key(ORIN).settings))
    assert "gpu is 'Orin', here it is 'NVIDIA H200'" in text
    assert "tensorrt is '10.3.0.30', here it is '11.4.0.106'" in text


def test_a_kept_engine_comes_back_to_its_key_only() -> None:
    assert find_engine(key()) is None
    kept = keep_engine(key(), PLAN, GRAPH, record(), MANIFEST)
    assert kept.content(PLAN_FILE) == PLAN
    found = find_engine(key())
    assert found is not None
    assert found.record.settings == key().settings
    assert find_engine(key(H200)) is None
    assert find_engine(key(batch=0)) is None


@pytest.mark.parametrize('place', PLACES)
def test_a_kept_engine_damaged_anywhere_is_not_taken(place: int,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    folder = keep_engine(key(), PLAN, GRAPH, record(), MANIFEST).folder
    file = damage(folder, place)
    with caplog.at_level(logging.WARNING):
        assert find_engine(key()) is None
    assert file.name in caplog.text
    assert 'built again' in caplog.text
    keep_engine(key(), PLAN, GRAPH, record(), MANIFEST)  # takes its place
    assert find_engine(key()) is not None


def test_an_engine_moved_under_another_key_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    folder = keep_engine(key(), PLAN, GRAPH, record(), MANIFEST).folder
    folder.rename(folder.with_name(key(H200).digest))
    with caplog.at_level(logging.WARNING):
        assert find_engine(key(H200)) is None
    assert "gpu is 'Orin'" in caplog.text


def test_a_cache_that_others_may_write_is_refused() -> None:
    folder = cache_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(ArtefactError, match='written by others'):
        find_engine(key())


def test_timings_come_back_whole_or_not_at_all() -> None:
    assert load_timings(key()) == b''
    keep_timings(key(), b'timings')
    assert load_timings(key()) == b'timings'
    assert load_timings(key(graph=b'another')) == b'timings'  # of kernels, whatever the graph
    assert load_timings(key(H200)) == b''
    file = next(cache_folder().glob('*.timings'))
    file.write_bytes(file.read_bytes()[:-1])
    assert load_timings(key()) == b''
    file.write_bytes(b'')
    assert load_timings(key()) == b''


def test_an_exported_engine_runs_where_it_was_built(tmp_path: Path) -> None:
    artefact = read_artefact(export(tmp_path / 'engine', ORIN))
    assert plan_of(artefact, ORIN) == PLAN


@absent
def test_an_engine_of_another_gpu_is_never_taken(tmp_path: Path,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    artefact = read_artefact(export(tmp_path / 'engine', ORIN))
    with caplog.at_level(logging.WARNING), pytest.raises(ConversionError, match='needs TensorRT'):
        plan_of(artefact, H200)  # it would be built from the graph beside it
    assert "gpu is 'Orin', here it is 'NVIDIA H200'" in caplog.text


def test_an_engine_of_another_gpu_is_found_once_it_was_built(tmp_path: Path) -> None:
    artefact = read_artefact(export(tmp_path / 'engine', ORIN))
    keep_engine(key(H200), b'for the H200', GRAPH, record(), MANIFEST)
    assert plan_of(artefact, H200) == b'for the H200'


@absent
def test_without_tensorrt_the_message_says_how_to_get_it() -> None:
    with pytest.raises(EngineError, match=r'needs TensorRT.*JetPack.*pip install tensorrt'):
        TensorrtEngine('rooms_t')
    with pytest.raises(ConversionError, match='needs TensorRT'):
        kept_or_built(key(), GRAPH, record(), MANIFEST)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_the_engine_is_refused(standin: 'StandIn') -> None:
    with pytest.raises(EngineError, match='sees no CUDA device'):
        TensorrtEngine('rooms_t')
    with pytest.raises(EngineError, match='needs a CUDA device'):
        TensorrtEngine('rooms_t', 'cpu')


# --- with a stand-in that has the names TensorRT 10.3 and 11 share ---

class StandIn(ModuleType):
    """The module `tensorrt`, as far as it is used; it builds an engine of its graph's bytes.

    Source: NVIDIA TensorRT Python API documentation 10.3 and 11.4, and the list of names removed
    in 11.
    """

    __version__ = '10.3.0.30'
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32='TF32')
    DataType = SimpleNamespace(UINT8='UINT8', FLOAT='FLOAT', HALF='HALF')
    LayerType = SimpleNamespace(CONVOLUTION='CONVOLUTION', MATRIX_MULTIPLY='MATRIX_MULTIPLY')

    class ILogger:  # noqa: D106
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    class IProgressMonitor:  # noqa: D106
        pass

    def __init__(self) -> None:
        super().__init__('tensorrt')
        self.calls: list[tuple[object, ...]] = []
        self.layers = [SimpleNamespace(type='CONVOLUTION', name='conv', kind='HALF'),
                       SimpleNamespace(type='SOFTMAX', name='softmax', kind='FLOAT')]
        self.types = {'rgb': 'UINT8', 'x': 'FLOAT', 'scores': 'FLOAT'}

    def Builder(self, log: object) -> SimpleNamespace:  # noqa: N802
        def build(network: object, config: SimpleNamespace) -> bytes | None:
            monitor = config.progress_monitor
            monitor.phase_start('Building', None, 2)
            for step in range(2):
                if not monitor.step_complete('Building', step):
                    return None
            monitor.phase_finish('Building')
            return b'plan'

        def create_network(flags: int) -> SimpleNamespace:
            assert flags == 1 << self.NetworkDefinitionCreationFlag.STRONGLY_TYPED
            return SimpleNamespace(num_layers=len(self.layers), get_layer=lambda i: SimpleNamespace(
                type=self.layers[i].type, name=self.layers[i].name,
                get_output=lambda j: SimpleNamespace(dtype=self.layers[i].kind)))

        def profile() -> SimpleNamespace:
            return SimpleNamespace(set_shape=lambda *rows: self.calls.append(('shape', *rows)))

        return SimpleNamespace(create_network=create_network, create_builder_config=self.config,
                               create_optimization_profile=profile,
                               build_serialized_network=build)

    def config(self) -> SimpleNamespace:
        rows = SimpleNamespace(builder_optimization_level=None, progress_monitor=None, cache=None)
        rows.clear_flag = lambda flag: self.calls.append(('clear', flag))
        rows.add_optimization_profile = lambda profile: self.calls.append(('profile',))
        rows.create_timing_cache = lambda blob: SimpleNamespace(serialize=lambda: blob + b'+')
        rows.set_timing_cache = lambda cache, ignore: setattr(rows, 'cache', cache)
        rows.get_timing_cache = lambda: rows.cache
        return rows

    def OnnxParser(self, network: object, log: object) -> SimpleNamespace:  # noqa: N802
        fault = SimpleNamespace(desc=lambda: 'op Foo is unknown')
        return SimpleNamespace(parse=lambda graph: graph != b'bad', num_errors=1,
                               get_error=lambda i: fault)

    def Runtime(self, log: object) -> SimpleNamespace:  # noqa: N802
        names = list(self.types)

        def deserialise(plan: bytes) -> SimpleNamespace | None:
            if plan != b'plan':
                log.log(1, 'magic tag does not match')
                return None
            return SimpleNamespace(num_io_tensors=len(names), get_tensor_name=names.__getitem__,
                                   get_tensor_dtype=self.types.__getitem__,
                                   create_execution_context=SimpleNamespace)

        return SimpleNamespace(deserialize_cuda_engine=deserialise)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    return module


def test_a_build_uses_what_both_generations_have(standin: StandIn) -> None:
    told: list[tuple[str, int, int]] = []
    plan, timings = build_plan(GRAPH, frame=(480, 640), batch=1, half=True, timings=b'old',
                               report=lambda *row: told.append(row))
    assert (plan, timings) == (b'plan', b'old+')
    assert told[0] == ('Building', 0, 2)
    assert told[-1] == ('Building', 2, 2)
    assert standin.calls == [('clear', 'TF32')]


def test_an_engine_for_any_number_of_frames_has_a_profile(standin: StandIn) -> None:
    build_plan(GRAPH, frame=(480, 640), batch=0, half=False)
    largest = to_tensorrt.LARGEST_BATCH
    assert ('shape', 'rgb', (1, 480, 640, 3), (8, 480, 640, 3), (largest, 480, 640, 3)) \
        in standin.calls
    assert ('shape', 'x', (1, 480, 640), (8, 480, 640), (largest, 480, 640)) in standin.calls
    assert ('profile',) in standin.calls


def test_a_graph_tensorrt_cannot_read_is_refused_with_its_words(standin: StandIn) -> None:
    with pytest.raises(ConversionError, match='op Foo is unknown'):
        build_plan(b'bad', frame=(480, 640), batch=1, half=False)


def test_an_fp16_engine_that_would_compute_in_fp32_is_refused(standin: StandIn) -> None:
    standin.layers[0].kind = 'FLOAT'
    build_plan(GRAPH, frame=(480, 640), batch=1, half=False)
    with pytest.raises(ConversionError, match='layer conv of the fp16 graph'):
        build_plan(GRAPH, frame=(480, 640), batch=1, half=True)


def test_an_interrupted_build_ends_with_the_interruption(standin: StandIn) -> None:
    def interrupt(*row: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(GRAPH, frame=(480, 640), batch=1, half=False, report=interrupt)


def test_an_engine_is_built_once(standin: StandIn) -> None:
    for _ in range(2):
        assert kept_or_built(key(), GRAPH, record(), MANIFEST) == b'plan'
    assert standin.calls == [('clear', 'TF32')]
    assert load_timings(key()) == b'+'


def test_an_engine_that_is_not_accepted_is_not_kept(standin: StandIn) -> None:
    def refuse(plan: bytes) -> None:
        assert plan == b'plan'
        raise EngineError('its scores are off')

    with pytest.raises(EngineError, match='off'):
        kept_or_built(key(), GRAPH, record(), MANIFEST, accept=refuse)
    assert find_engine(key()) is None
    accepted: list[bytes] = []
    for _ in range(2):  # built, then kept
        assert kept_or_built(key(), GRAPH, record(), MANIFEST, accept=accepted.append) == b'plan'
    assert accepted == [b'plan']


def test_an_engine_with_other_tensors_or_none_at_all_is_refused(standin: StandIn) -> None:
    PlanRunner(standin, b'plan')
    with pytest.raises(ConversionError, match='magic tag'):
        PlanRunner(standin, b'plam')
    standin.types['scores'] = 'HALF'
    with pytest.raises(ConversionError, match=r'scores.*HALF'):
        PlanRunner(standin, b'plan')


def test_a_tensorrt_too_old_is_refused(standin: StandIn) -> None:
    standin.__version__ = '10.2.0'
    with pytest.raises(ConversionError, match=r'10\.2\.0 is installed; at least 10\.3'):
        import_tensorrt()
    standin.__version__ = '11.4.0.106'
    assert import_tensorrt() is standin
