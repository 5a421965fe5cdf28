# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The demo over real DDS: a tiny bag, a tiny model, the real node in its own process."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rosbags.typesys.stores.ros2_jazzy import std_msgs__msg__String as String

from diffpixel_core.bags import BagReader, BagWriter
from diffpixel_core.checkpoints import Manifest, save_model
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import NYU_CAMERA
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.models import build_model
from diffpixel_core.rgbd_bags import (
    COLOUR_TOPIC,
    DEPTH_TOPIC,
    TRUTH_TOPIC,
    RgbdSample,
    RgbdTopics,
    write_rgbd_bag,
)
from diffpixel_ros.client.node_process import NodeError, private_domain
from diffpixel_ros.client.play_and_record import Received, Sent, header_stamp_ns
from diffpixel_ros.client.run_record import (
    CONFIDENCE,
    LABELS,
    SEMANTIC,
    Run,
    count_drops,
    latencies_ms,
)
from diffpixel_ros.demo.examine import ResultError, examine
from diffpixel_ros.demo.result import DemoResult, Findings, account
from diffpixel_ros.demo.run import demo_table, run_demo

ROOT = Path(__file__).resolve().parents[1]
FRAMES, SIZE = 6, (48, 64)
TOPICS = RgbdTopics(COLOUR_TOPIC, DEPTH_TOPIC, None, None)


def a_bag(path: Path, *, frames: int = FRAMES, labels: bool = True) -> Path:
    rng = np.random.default_rng(0)
    write_rgbd_bag(path, (RgbdSample(
        stamp_ns=1_000_000_000 + i * 100_000_000,
        rgb=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        depth_m=rng.uniform(0, 4, SIZE).astype(np.float32),
        labels=rng.integers(0, 40, SIZE, dtype=np.uint8) if labels else None,
    ) for i in range(frames)), NYU_CAMERA)
    return path


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_model(tmp_path_factory.mktemp('model'), build_model('diffpixelformer_t', 40),
                      Manifest('diffpixelformer_t', 'nyu40', input_size=SIZE))


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[DemoResult, Path]:
    folder = tmp_path_factory.mktemp('demo')
    # Slow enough that a busy machine, too, finishes each frame before the next.
    result = run_demo(bag=a_bag(folder / 'bag'), model=model, engine='torch', rate=0.2,
                      output=folder / 'out')
    return result, folder


def test_every_frame_comes_back_or_is_counted(demo: tuple[DemoResult, Path]) -> None:
    result, _ = demo
    assert result.frames_in == result.pairs == FRAMES
    assert 1 <= result.frames_out <= FRAMES
    assert result.frames_out + result.drops['superseded'] == FRAMES
    assert result.drops['transport_lost'] == result.drops['unexplained'] == 0
    failed = [check for check in result.checks if not check.passed]
    assert not failed, failed
    assert 0 < result.latency_ms['p50'] <= result.latency_ms['p95'] <= result.latency_ms['max']


def test_random_weights_score_as_guessing_does(demo: tuple[DemoResult, Path]) -> None:
    result, _ = demo
    assert result.scored_frames == result.frames_out
    assert 0 < result.pixel_accuracy < 0.15
    assert 0 < result.miou < 0.15


def test_recorded_outputs_are_a_bag_with_stamps_and_sizes_of_the_input(
        demo: tuple[DemoResult, Path]) -> None:
    result, folder = demo
    with BagReader(folder / 'bag') as reader:
        stamps = [header_stamp_ns(m.raw) for m in reader.messages([COLOUR_TOPIC])]
    with BagReader(folder / 'out' / 'semantic.mcap') as reader:
        counts = {name: topic.count for name, topic in reader.topics.items()}
        images = [reader.decode(m) for m in reader.messages([SEMANTIC])]
        times = [m.time_ns for m in reader.messages([SEMANTIC])]
        assert reader.topics[LABELS].latched
    assert counts == {SEMANTIC: result.frames_out, CONFIDENCE: result.frames_out, LABELS: 1}
    out = [i.header.stamp.sec * 10**9 + i.header.stamp.nanosec for i in images]
    assert set(out) <= set(stamps)
    assert {(i.height, i.width, i.step, i.encoding) for i in images} == {(*SIZE, SIZE[1], 'mono8')}
    late_s = [(time_ns - stamp) / 1e9 for time_ns, stamp in zip(times, out, strict=True)]
    assert 0 < min(late_s) <= max(late_s) < 20, 'recorded on the clock of the input bag'


def test_metrics_page_and_table_tell_the_same(demo: tuple[DemoResult, Path]) -> None:
    result, folder = demo
    metrics = json.loads((folder / 'out' / 'metrics.json').read_text())
    assert metrics == json.loads(json.dumps(result.as_json()))
    assert {'frames_in', 'pairs', 'frames_out', 'drops', 'latency_ms', 'miou',
            'pixel_accuracy'} <= metrics.keys()
    page = (folder / 'out' / 'report.html').read_text()
    assert f'all {len(result.checks)} checks passed' in page
    assert page.count('alt="prediction"') == page.count('alt="truth"') == result.frames_out
    console = Console(width=120, record=True, file=open(os.devnull, 'w'))  # noqa: SIM115
    console.print(demo_table(result))
    text = console.export_text()
    for line in ('frames in', 'paired', 'frames out', 'latency p95', 'mIoU', 'pixel accuracy'):
        assert line in text
    assert sorted(p.name for p in (folder / 'out').iterdir()) == [
        'metrics.json', 'node.log', 'report.html', 'semantic.mcap']


def test_a_model_that_does_not_exist_is_named_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r'no model at .*/nowhere.*node\.log'):
        run_demo(bag=a_bag(tmp_path / 'bag', frames=2), model=str(tmp_path / 'nowhere'),
                 engine='torch', rate=1.0, output=tmp_path / 'out')
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['node.log'], 'no half results'


def test_interrupting_leaves_no_process_and_no_half_results(tmp_path: Path, model: Path) -> None:
    bag = a_bag(tmp_path / 'bag', frames=60, labels=False)
    code = ('import sys; from pathlib import Path; from diffpixel_ros.demo.run import run_demo\n'
            f'run_demo(bag=Path({str(bag)!r}), model={str(model)!r}, engine="torch", rate=0.5, '
            f'output=Path({str(tmp_path / "out")!r}))')
    process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stderr=subprocess.PIPE)
    log = tmp_path / 'out' / 'node.log'
    deadline = time.monotonic() + 60
    while not (log.is_file() and 'now active' in log.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    node, = _children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert b'KeyboardInterrupt' in error
    assert not Path(f'/proc/{node}').exists()
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['node.log']


def _children(pid: int) -> list[int]:
    return [int(text) for task in Path(f'/proc/{pid}/task').iterdir()
            for text in (task / 'children').read_text().split()]


def test_bags_that_cannot_be_played_are_refused_before_the_node_starts(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'other') as writer:
        writer.add_image('/thermal/image', np.zeros((4, 4), np.uint8), 'mono8', 1, 'camera')
    for bag, words in ((tmp_path / 'missing', 'does not exist'), (tmp_path / 'other', 'no colour')):
        with pytest.raises(DiffPixelError, match=words):
            run_demo(bag=bag, model='rooms_t', engine='torch', rate=1.0, output=tmp_path / 'out')
    with pytest.raises(DiffPixelError, match='rate is 0'):
        run_demo(bag=tmp_path / 'other', model='rooms_t', engine='torch', rate=0.0,
                 output=tmp_path / 'out')
    assert not (tmp_path / 'out' / 'node.log').exists()


def a_run(*, frames: int, out: int, **counters: int) -> Run:
    """Return a run of 100 ms frames whose depth is sent 5 ms, and received output 20 ms, later."""
    period, ms = 100_000_000, 1_000_000
    sent = [Sent(topic, i * period, i * period, i * period + delay, 0) for i in range(frames)
            for topic, delay in ((COLOUR_TOPIC, 0), (DEPTH_TOPIC, 5 * ms))]
    received = [Received(SEMANTIC, i * period, i * period + 25 * ms) for i in range(out)]
    values = {'colour_in': frames, 'depth_in': frames, 'pairs': frames, 'frames_out': out}
    return Run(TOPICS, sent, received, {k.replace('__', '.'): str(v)
                                        for k, v in (values | counters).items()}, 0, 0, 0.1)


def examined(folder: Path, truth: dict[int, np.ndarray], encoding: str = 'mono8') -> Findings:
    """Return what is found in four outputs that say 'wall' everywhere."""
    run, wall = a_run(frames=4, out=4), np.zeros(SIZE, np.uint8)
    with BagWriter(folder / 'in.mcap') as bag:
        for i in range(4):
            stamp = run.received[i].stamp_ns
            bag.add_image(COLOUR_TOPIC, np.zeros((*SIZE, 3), np.uint8), 'rgb8', stamp, 'camera')
            bag.add_image(DEPTH_TOPIC, np.ones(SIZE, np.uint16), '16UC1', stamp, 'camera')
            if i in truth:
                bag.add_image(TRUTH_TOPIC, truth[i], encoding, stamp, 'camera')
    with BagWriter(folder / 'out.mcap') as bag:
        bag.add(LABELS, String('{"label_space": "nyu40"}'), 0, latched=True)
        for message in run.received:
            for topic in (SEMANTIC, CONFIDENCE):
                bag.add_image(topic, wall, 'mono8', message.stamp_ns, 'camera')
    with BagReader(folder / 'in.mcap') as reader:
        return examine(reader, folder / 'out.mcap',
                       replace(run, topics=TOPICS._replace(truth=TRUTH_TOPIC)), pictures=4)


def test_truth_of_some_frames_scores_these_by_stamp(tmp_path: Path) -> None:
    right, half = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    half[:, SIZE[1] // 2:], right[0] = 1, UNLABELLED
    found = examined(tmp_path, {1: right, 3: half})
    assert found.scored == 2
    assert found.score is not None
    wall = right.size - SIZE[1] + right.size // 2
    assert found.score.pixel_accuracy == pytest.approx(wall / (wall + right.size // 2))
    assert all(check.passed for check in found.checks), found.checks
    assert [picture.truth is not None for picture in found.pictures] == [False, True, False, True]


def test_truth_of_another_size_fails_a_check_and_is_left_out(tmp_path: Path) -> None:
    found = examined(tmp_path, {0: np.zeros((4, 6), np.uint8)})
    assert [check.detail for check in found.checks if not check.passed] == ['0 of 1 that have one']
    assert [picture.truth for picture in found.pictures] == [None] * 4


def test_truth_that_is_not_mono8_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match='/ground_truth/semantic is 16UC1'):
        examined(tmp_path, {0: np.zeros(SIZE, np.uint16)}, '16UC1')


def test_latency_counts_from_the_later_image_of_the_pair() -> None:
    assert list(latencies_ms(a_run(frames=4, out=4)).values()) == pytest.approx([20.0] * 4)


def test_what_no_counter_explains_is_shown() -> None:
    run = a_run(frames=10, out=6, drops__superseded=3)
    drops = count_drops(run)
    assert drops['superseded'] == 3
    assert drops['unexplained'] == 1
    failed = [check for check in account(run, drops) if not check.passed]
    assert [check.detail for check in failed] == ['10 pairs = 6 out + 3 superseded + 1 unexplained']


def test_losses_on_either_way_are_told_apart() -> None:
    run = a_run(frames=10, out=6, colour_in=9, pairs=9, frames_out=8, drops__unpaired=1,
                drops__superseded=1)
    drops = count_drops(run)
    assert (drops['transport_lost'], drops['output_lost'], drops['unexplained']) == (1, 2, 0)
    failed = {check.claim for check in account(run, drops) if not check.passed}
    assert failed == {'every output the node published was received'}
    crashed = account(replace(run, exit_code=-9), drops)
    assert not crashed[-1].passed


def test_private_domain_restores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE', raising=False)
    with private_domain() as domain:
        assert 1 <= domain <= 100
        assert os.environ['ROS_DOMAIN_ID'] == str(domain)
        assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
        assert Path(os.environ['FASTRTPS_DEFAULT_PROFILES_FILE']).is_file()
    assert os.environ['ROS_DOMAIN_ID'] == '7'
    assert 'ROS_AUTOMATIC_DISCOVERY_RANGE' not in os.environ


def test_stamp_is_read_in_either_byte_order() -> None:
    little = bytes([0, 1, 0, 0]) + (5).to_bytes(4, 'little') + (7).to_bytes(4, 'little')
    big = bytes([0, 0, 0, 0]) + (5).to_bytes(4, 'big') + (7).to_bytes(4, 'big')
    assert header_stamp_ns(little) == header_stamp_ns(big) == 5_000_000_007
    with pytest.raises(DiffPixelError, match='8 bytes'):
        header_stamp_ns(little[:8])
