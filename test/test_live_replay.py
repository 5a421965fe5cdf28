# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Replay through the running node: as offline where the node has time, else accounted for."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

rclpy = pytest.importorskip('rclpy')

from rosbags.typesys.stores.ros2_jazzy import (  # noqa: E402
    sensor_msgs__msg__CompressedImage as CompressedImage,
)

from diffpixel_core.bags import BagReader, BagWriter, message_header  # noqa: E402
from diffpixel_core.geometry import NYU_CAMERA  # noqa: E402
from diffpixel_core.replay.offline import replay_bag  # noqa: E402
from diffpixel_core.replay.settings import ReplaySettings  # noqa: E402
from diffpixel_core.replay.spread import BagRun, Job  # noqa: E402
from diffpixel_core.replay.tally import Tally  # noqa: E402
from diffpixel_core.rgbd_bags import RgbdSample, write_rgbd_bag  # noqa: E402
from diffpixel_core.segmenter import load_segmenter  # noqa: E402
from diffpixel_core.tiny_model import save_tiny_model  # noqa: E402
from diffpixel_ros.client.live_replay import run_live  # noqa: E402
from diffpixel_ros.client.play_and_record import header_stamp_ns  # noqa: E402
from diffpixel_ros.client.run_record import CONFIDENCE, SEMANTIC  # noqa: E402

FRAMES, SIZE = 8, (48, 64)
PERIOD_NS = 150_000_000  # slow enough for a network of 10 ms beside other work


@pytest.fixture(scope='module', autouse=True)
def _logs_go_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('log')))
        patch.setenv('OMP_NUM_THREADS', '1')
        yield


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp('model'))


def frames(number: int) -> list[RgbdSample]:
    rng = np.random.default_rng(7)
    return [RgbdSample(
        stamp_ns=10**18 + i * PERIOD_NS, rgb=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        depth_m=rng.integers(0, 4000, SIZE).astype(np.float32) / 1000,
        labels=rng.integers(0, 40, SIZE, dtype=np.uint8)) for i in range(number)]


def a_bag(path: Path) -> Path:
    write_rgbd_bag(path, frames(FRAMES), NYU_CAMERA)
    return path


def a_compressed_bag(path: Path) -> Path:
    """Return a bag as `ros2 bag record` makes it of compressed topics; depth comes 5 ms later."""
    def add(topic: str, stamp_ns: int, kind: str, data: bytes) -> None:
        image = CompressedImage(message_header(stamp_ns, 'camera'), kind,
                                np.frombuffer(data, np.uint8))
        bag.add(topic, image, stamp_ns)

    with BagWriter(path) as bag:
        for frame in frames(FRAMES):
            jpeg = cv2.imencode('.jpg', frame.rgb)[1].tobytes()
            png = cv2.imencode('.png', (frame.depth_m * 1000).round().astype(np.uint16))[1]
            add('/camera/color/image_raw/compressed', frame.stamp_ns,
                'rgb8; jpeg compressed bgr8', jpeg)
            add('/camera/aligned_depth_to_color/image_raw/compressedDepth',
                frame.stamp_ns + 5_000_000, '16UC1; compressedDepth png', bytes(12) + png.tobytes())
    return path


def live(bag: Path, folder: Path, settings: ReplaySettings, *, rate: float = 1.0,
         loop: int = 1) -> BagRun:
    scratch = folder / 'scratch'
    scratch.mkdir(parents=True)
    done: list[tuple[int, int]] = []
    run, = run_live([Job(0, bag, settings, scratch / 'live.mcap')],
                    lambda index, now, total: done.append((now, total)), rate=rate, loop=loop)
    if run.tally is not None:
        assert done[-1] == (loop * FRAMES, loop * FRAMES)
    assert [file.name for file in scratch.iterdir()] == ['live.mcap'] * (run.tally is not None)
    return run


def images(bag: Path, topic: str) -> dict[int, npt.NDArray[np.uint8]]:
    """Return the pixels of a topic by stamp."""
    with BagReader(bag) as reader:
        return {header_stamp_ns(message.raw): np.asarray(reader.decode(message).data)
                for message in reader.messages([topic])}


def offline(bag: Path, folder: Path, settings: ReplaySettings) -> Tally:
    segmenter = load_segmenter(settings.model, 'torch')
    return replay_bag(bag, settings, segmenter, folder / 'offline.mcap')


def same(live_bag: Path, offline_bag: Path) -> None:
    """Assert that two prediction bags say the same, stamp by stamp."""
    for topic in (SEMANTIC, CONFIDENCE):
        ours, theirs = images(live_bag, topic), images(offline_bag, topic)
        assert ours.keys() == theirs.keys()
        assert len(ours) == FRAMES
        for stamp_ns, pixels in theirs.items():
            np.testing.assert_array_equal(ours[stamp_ns], pixels)
        assert len({pixels.tobytes() for pixels in theirs.values()}) == FRAMES, 'all different'


def test_live_equals_offline_on_a_bag_slower_than_the_model(model: Path, tmp_path: Path) -> None:
    bag, settings = a_bag(tmp_path / 'bag.mcap'), ReplaySettings(str(model), 'torch')
    run = live(bag, tmp_path / 'live', settings)
    assert run.tally is not None, run.failure
    tally, expected = run.tally, offline(bag, tmp_path, settings)
    assert (tally.frames_in, tally.depth_in, tally.pairs, tally.frames_out) == (FRAMES,) * 4
    assert not +tally.drops
    assert tally.unexplained == 0
    same(tmp_path / 'live' / 'scratch' / 'live.mcap', tmp_path / 'offline.mcap')
    assert tally.scored == tally.truth_in == FRAMES
    np.testing.assert_array_equal(tally.confusion, expected.confusion)
    np.testing.assert_array_equal(tally.flicker.changed, expected.flicker.changed)
    assert [row.stamp_ns for row in tally.frames] == [row.stamp_ns for row in expected.frames]
    assert dict(run.facts)['network'] == 'diffpixelformer_t/baseline'

    ms = tally.latency_ms
    assert {'decode', 'network', 'tail', 'publish', 'own', 'total'} <= ms.keys()
    assert 'age' not in ms, 'the stamps are of the recording'
    assert {len(values) for values in ms.values()} == {FRAMES}
    inside = np.add(ms['network'], ms['tail'])
    assert (np.array(ms['total']) > inside).all(), 'from publishing the images to the answer'
    assert (np.array(ms['total']) < inside + 2000).all()


@pytest.mark.slow
def test_compressed_topics_and_settings_reach_the_node(model: Path, tmp_path: Path) -> None:
    """Depth comes 5 ms after colour, so the last pair comes out when the node is deactivated."""
    bag = a_compressed_bag(tmp_path / 'bag.mcap')
    settings = ReplaySettings(str(model), 'torch', class_map='groups', confidence_threshold=0.1)
    run = live(bag, tmp_path / 'live', settings)
    assert run.tally is not None, run.failure
    tally, expected = run.tally, offline(bag, tmp_path, settings)
    same(tmp_path / 'live' / 'scratch' / 'live.mcap', tmp_path / 'offline.mcap')
    assert tally.label_space.names == expected.label_space.names
    assert tally.gap_mean_ms == expected.gap_mean_ms == pytest.approx(5.0)
    assert tally.scored == 0
    labels = np.concatenate(list(images(tmp_path / 'offline.mcap', SEMANTIC).values()))
    assert 0 < (labels == 255).mean() < 1, 'the threshold leaves some pixels out'


def test_looped_bag_is_answered_in_every_pass_and_written_once(
        model: Path, tmp_path: Path) -> None:
    run = live(a_bag(tmp_path / 'bag.mcap'), tmp_path / 'live', ReplaySettings(str(model), 'torch'),
               loop=3)
    assert run.tally is not None, run.failure
    tally = run.tally
    assert tally.frames_in == 3 * FRAMES
    # DDS keeps no order between topics: on a busy machine a lap's end may cost a pair.
    assert 3 * FRAMES - 2 <= tally.pairs <= 3 * FRAMES
    assert tally.frames_out + tally.drops['superseded'] == tally.pairs
    assert tally.frames_out > 2 * FRAMES, 'every pass'
    assert tally.resets == 2
    assert tally.unexplained == 0
    # Labels of an earlier pass would have been sent long before.
    assert max(tally.latency_ms['total']) < FRAMES * PERIOD_NS / 1e6
    written = images(tmp_path / 'live' / 'scratch' / 'live.mcap', SEMANTIC)
    with BagReader(tmp_path / 'live' / 'scratch' / 'live.mcap') as reader:
        assert reader.topics[SEMANTIC].count == len(written) <= FRAMES


@pytest.mark.slow
def test_too_fast_a_bag_loses_frames_and_says_why(model: Path, tmp_path: Path) -> None:
    run = live(a_bag(tmp_path / 'bag.mcap'), tmp_path / 'live', ReplaySettings(str(model), 'torch'),
               rate=500.0)
    assert run.tally is not None, run.failure
    tally = run.tally
    assert tally.pairs == FRAMES
    assert tally.drops['superseded'] > 0
    assert tally.frames_out + tally.drops['superseded'] == FRAMES
    assert tally.unexplained == 0


def test_repeated_stamps_are_refused_before_anything_is_played(
        model: Path, tmp_path: Path) -> None:
    """A camera that starts again within a recording; offline replay can tell the two apart."""
    bag = a_bag(tmp_path / 'bag.mcap')
    with BagReader(bag) as reader, BagWriter(tmp_path / 'twice.mcap') as writer:
        for again in (0, 1):
            for message in reader.messages():
                writer.add_raw(message.topic, message.type, bytes(message.raw),
                               message.time_ns + again * 10**10)
    run = live(tmp_path / 'twice.mcap', tmp_path / 'live', ReplaySettings(str(model), 'torch'))
    assert f'{FRAMES} of {2 * FRAMES} images of /camera/color/image_raw' in run.failure
    assert f'the first {10**18} ns' in run.failure
    assert 'replay offline' in run.failure
    assert not (tmp_path / 'live' / 'live-node.log').exists(), 'no node was started'


def test_what_fails_is_told_in_one_line(model: Path, tmp_path: Path) -> None:
    bag = a_bag(tmp_path / 'bag.mcap')
    run = live(tmp_path / 'nowhere', tmp_path / 'a', ReplaySettings(str(model), 'torch'))
    assert 'does not exist' in run.failure
    run = live(bag, tmp_path / 'b', ReplaySettings(str(model), 'torch', stride=2))
    assert 'stride is 2' in run.failure
    run = live(bag, tmp_path / 'c', ReplaySettings(str(model), 'torch', device='cuda:77'))
    assert 'cuda:77' in run.failure
    assert 'live-node.log' in run.failure
    assert (tmp_path / 'c' / 'live-node.log').is_file(), 'the log it names'
