# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node keeps and frees, looked at from inside its process."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy')

from diffpixel_core.segmenter import Segmenter  # noqa: E402
from diffpixel_ros.client.node_process import private_domain  # noqa: E402
from diffpixel_ros.node import SegmentNode  # noqa: E402
from diffpixel_ros.parameters import NodeParameters, ParameterError, with_values  # noqa: E402


@pytest.fixture
def node(tiny_model: Path) -> Iterator[SegmentNode]:
    with private_domain() as domain:
        rclpy.init(args=['--ros-args', '-p', f'model_path:={tiny_model}',
                         '-p', 'backend:=torch', '-p', 'precision:=fp32',
                         '-p', 'alignment_check:=off'], domain_id=domain)
        node = SegmentNode(threading.Event())
        yield node
        while not node.close():  # a thread inside torch must not outlive the interpreter
            time.sleep(0.05)
        node.destroy_node()
        rclpy.shutdown()


def _segmenters() -> int:
    gc.collect()
    return sum(type(thing) is Segmenter for thing in gc.get_objects())


def test_model_is_loaded_once_and_freed_by_cleanup(node: SegmentNode) -> None:
    before = _segmenters()
    node.trigger_configure()
    assert node.state == 'inactive'
    time.sleep(1.0)  # long enough for a second load, if there were one
    assert _segmenters() <= before + 1
    node.trigger_activate()
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert _segmenters() == before


def test_publishers_of_a_busy_worker_are_destroyed_when_it_ends(
        node: SegmentNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('diffpixel_ros.node._STOP_S', 0.1)
    node.trigger_configure()
    publishers = len(list(node.publishers))
    release = threading.Event()
    assert node._pipeline is not None
    assert node._worker is not None
    monkeypatch.setattr(node._worker, '_job', lambda pair: release.wait(20.0))
    node._worker.submit(None)  # type: ignore[arg-type]
    time.sleep(0.2)
    node.trigger_cleanup()
    release.set()
    time.sleep(0.3)
    node.trigger_configure()
    assert len(list(node.publishers)) == publishers


def test_yaml_off_is_taken_as_the_word(node: SegmentNode) -> None:
    assert node.get_parameter('alignment_check').value == 'off'
    assert node._refused == {}
    with pytest.raises(ParameterError, match='must be a str'):
        with_values(NodeParameters(), {'input_qos': False})
