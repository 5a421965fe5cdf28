# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a pair in the worker: memory that runs out, models that are replaced."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from torch import Tensor  # noqa: E402

from diffpixel_core.engines import TorchEngine  # noqa: E402
from diffpixel_core.errors import DeviceMemoryError  # noqa: E402
from diffpixel_core.labels import LabelError  # noqa: E402
from diffpixel_core.segmenter import Segmenter, load_segmenter  # noqa: E402
from diffpixel_core.tiny_model import save_tiny_model  # noqa: E402
from diffpixel_ros.client.node_process import private_domain  # noqa: E402
from diffpixel_ros.diagnostics import Statistics  # noqa: E402
from diffpixel_ros.inputs import ImagePair  # noqa: E402
from diffpixel_ros.model_loader import ModelError, ModelRequest  # noqa: E402
from diffpixel_ros.outputs import Outputs  # noqa: E402
from diffpixel_ros.parameters import NodeParameters  # noqa: E402
from diffpixel_ros.pipeline import Pipeline  # noqa: E402
from ros_harness import camera_pair  # noqa: E402


class StarvedEngine(TorchEngine):
    """An engine on a GPU (so it says) whose memory runs out for the first `failures` frames."""

    failures = 0
    freed = 0

    def __init__(self, model: Path) -> None:
        super().__init__(model)
        self.device_name = 'cuda:0'

    def scores(self, rgb: np.ndarray, x: np.ndarray) -> Tensor:
        if self.failures:
            self.failures -= 1
            raise DeviceMemoryError('cuda:0 has not enough memory left: tried to allocate 2 GiB')
        return super().scores(rgb, x)

    def free_memory(self) -> None:
        self.freed += 1


@pytest.fixture(scope='module')
def node() -> Iterator[Node]:
    with private_domain() as domain:
        context = Context()
        context.init(args=[], domain_id=domain)
        node = Node('pipeline_test', context=context, use_global_arguments=False)
        yield node
        node.destroy_node()
        context.try_shutdown()


def _pipeline(node: Node, segmenter: Segmenter,
              parameters: NodeParameters) -> tuple[Pipeline, Statistics]:
    statistics = Statistics()
    outputs = Outputs(node, label_encoding='mono8', label_info='off')
    return Pipeline(node, segmenter, parameters, outputs, statistics), statistics


def _settings(model: Path) -> NodeParameters:
    return NodeParameters(model_path=str(model), backend='torch', precision='fp32')


def _run(pipeline: Pipeline, statistics: Statistics) -> dict[str, str]:
    colour, depth = camera_pair(1.0)
    statistics.count('pairs')
    pipeline.run(ImagePair(colour, depth, time.perf_counter(), None, None))
    return statistics.report(problem='', active_since_s=None, stale_timeout_s=1.0, facts={}).values


def test_first_shortage_of_memory_is_answered_by_freeing_the_cache(
        node: Node, tiny_model: Path) -> None:
    engine = StarvedEngine(tiny_model)
    engine.failures = 1
    pipeline, statistics = _pipeline(node, Segmenter(engine), _settings(tiny_model))
    values = _run(pipeline, statistics)
    assert (values['frames_out'], values['drops.inference_error']) == ('1', '0')
    assert engine.freed == 1
    assert pipeline.fallback == ''


def test_lasting_shortage_moves_the_model_to_the_cpu_and_says_so(
        node: Node, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)  # its graphs take seconds
    engine = StarvedEngine(tiny_model)
    engine.failures = 1000
    pipeline, statistics = _pipeline(node, Segmenter(engine), _settings(tiny_model))
    assert _run(pipeline, statistics)['frames_out'] == '1'
    assert pipeline.segmenter.device == 'cpu'
    assert 'the model runs on torch, cpu, fp32: torch on cuda:0 failed' in pipeline.fallback
    assert 'not enough memory' in pipeline.fallback
    assert _run(pipeline, statistics)['frames_out'] == '2'
    assert engine.failures == 998  # the starved engine was not asked again


def test_shortage_on_the_cpu_costs_the_frame_and_nothing_else(node: Node, tiny_model: Path) -> None:
    engine = StarvedEngine(tiny_model)
    engine.device_name, engine.failures = 'cpu', 1
    pipeline, statistics = _pipeline(node, Segmenter(engine), _settings(tiny_model))
    values = _run(pipeline, statistics)
    assert (values['frames_out'], values['drops.inference_error']) == ('0', '1')
    assert 'not enough memory' in values['last_error']
    assert _run(pipeline, statistics)['frames_out'] == '1'


class BrokenEngine(TorchEngine):
    """An engine that fails at every frame, as a runtime with a bug would."""

    frames = 0

    def scores(self, rgb: np.ndarray, x: np.ndarray) -> Tensor:
        self.frames += 1
        raise RuntimeError('Illegal instruction in kernel 7\nand much more')


def test_engine_that_fails_is_replaced_and_the_frame_not_lost(
        node: Node, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    engine = BrokenEngine(tiny_model, 'cpu', 'bf16')
    pipeline, statistics = _pipeline(node, Segmenter(engine), _settings(tiny_model))
    assert _run(pipeline, statistics)['frames_out'] == '1'
    assert _run(pipeline, statistics)['frames_out'] == '2'
    assert engine.frames == 1
    assert 'torch on cpu failed (Illegal instruction in kernel 7);' in pipeline.fallback
    assert pipeline.segmenter.precision == 'fp32'


def test_engine_without_a_better_or_worse_one_costs_the_frame(node: Node, tiny_model: Path) -> None:
    engine = BrokenEngine(tiny_model)  # PyTorch in fp32 on the CPU: the last
    pipeline, statistics = _pipeline(node, Segmenter(engine), _settings(tiny_model))
    values = _run(pipeline, statistics)
    assert (values['frames_out'], values['drops.inference_error']) == ('0', '1')
    assert 'Illegal instruction' in values['last_error']
    assert pipeline.fallback == ''
    assert pipeline.segmenter.engine is engine


def test_engines_passed_over_at_loading_are_told(node: Node, tiny_model: Path) -> None:
    segmenter = load_segmenter(tiny_model, 'torch', precision='fp32')
    segmenter.passed_over = ('openvino in bf16 on cpu: no such library',)
    pipeline, _ = _pipeline(node, segmenter, _settings(tiny_model))
    assert 'because better engines failed: openvino in bf16 on cpu' in pipeline.fallback


def test_model_whose_classes_the_class_map_does_not_know_is_not_taken(
        node: Node, tiny_model: Path, tmp_path: Path) -> None:
    class_map = tmp_path / 'map.yaml'
    class_map.write_text('name: books\nclasses:\n  paper: {from: [books, paper]}\n'
                         'rest: unlabelled\n')
    parameters = dataclasses.replace(_settings(tiny_model), class_map=str(class_map))
    segmenter = load_segmenter(tiny_model, 'torch', precision='fp32')
    pipeline, statistics = _pipeline(node, segmenter, parameters)
    other = save_tiny_model(tmp_path / 'other')  # has books, but no paper
    with pytest.raises(LabelError, match='paper'):
        pipeline.replace_model(load_segmenter(other, 'torch'), ModelRequest.of(parameters))
    assert pipeline.segmenter is segmenter
    assert _run(pipeline, statistics)['frames_out'] == '1'


def test_weights_of_another_hash_are_refused(tiny_model: Path) -> None:
    segmenter = load_segmenter(tiny_model, 'torch', precision='fp32')
    right = segmenter.manifest.weights_sha256
    wanted = dataclasses.replace(_settings(tiny_model), model_sha256=right.upper())
    assert ModelRequest.of(wanted).load().manifest == segmenter.manifest
    wrong = dataclasses.replace(_settings(tiny_model), model_sha256='0' * 64)
    with pytest.raises(ModelError, match=right):
        ModelRequest.of(wrong).load()
