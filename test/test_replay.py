# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Offline replay: every pair segmented, the same whatever holds the bag, nothing unexplained."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.bags import BagReader, BagWriter
from diffpixel_core.compressed import COMPRESSED_DEPTH_16, encode_compressed_depth
from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.frame import Frame
from diffpixel_core.geometry import Camera
from diffpixel_core.replay.ahead import ahead
from diffpixel_core.replay.offline import replay_bag
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.tally import Tally
from diffpixel_core.rgbd_bags import RgbdSample, write_rgbd_bag
from diffpixel_core.rgbd_topics import COLOUR_TOPIC, DEPTH_TOPIC
from diffpixel_core.segmenter import Segmenter, load_segmenter
from diffpixel_core.tiny_model import save_tiny_model

ROOT = Path(__file__).parent.parent
SIZE = (48, 64)
CAMERA = Camera(64, 48, 55.0, 56.0, 31.5, 23.5)
START_NS, STEP_NS = 5_000_000_000, 33_333_333
Labels = dict[int, npt.NDArray[np.uint8]]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def segmenter(model: Path) -> Segmenter:
    return load_segmenter(model, 'torch', device='cpu')


def samples(count: int = 4, seed: int = 0) -> list[RgbdSample]:
    """Return noisy frames of random blocks, labelled in nyu40, from a camera that stands still."""
    rng = np.random.default_rng(seed)

    def blocks(high: int) -> npt.NDArray[Any]:
        return cv2.resize(rng.integers(0, high, (6, 8)).astype(np.float32), SIZE[::-1],
                          interpolation=cv2.INTER_NEAREST)

    colour, depth_mm = np.stack([blocks(200) for _ in range(3)], -1), blocks(4000)
    labels = blocks(40).astype(np.uint8)
    return [RgbdSample(START_NS + i * STEP_NS,
                       (colour + rng.integers(0, 56, colour.shape)).astype(np.uint8),
                       depth_mm / 1000, labels, np.eye(4)) for i in range(count)]


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bags') / 'walk.mcap'
    write_rgbd_bag(path, samples(), CAMERA)
    return path


def replayed(bag: Path, segmenter: Segmenter, folder: Path, **settings: Any) -> tuple[Tally, Path]:
    folder.mkdir(exist_ok=True)
    out = folder / f'{bag.stem}-labels.mcap'
    return replay_bag(bag, ReplaySettings(**settings), segmenter, out), out


def images(path: Path, topic: str = '/semantic') -> Labels:
    """Return the mono8 images of a topic by stamp."""
    found = {}
    with BagReader(path) as reader:
        for raw in reader.messages([topic]):
            message = reader.decode(raw)
            stamp = message.header.stamp
            assert (message.encoding, message.step) == ('mono8', message.width)
            found[stamp.sec * 10**9 + stamp.nanosec] = message.data.reshape(message.height,
                                                                            message.width)
    return found


def assert_equal_images(found: Labels, wanted: Labels) -> None:
    assert found.keys() == wanted.keys()
    for stamp, labels in wanted.items():
        np.testing.assert_array_equal(found[stamp], labels)


def rewritten(source: Path, target: Path,
              change: Callable[[str, Any], Any | None] = lambda topic, message: message,
              **writer: str) -> Path:
    """Copy a bag message by message; `change` returns a message in its place, or None."""
    with BagReader(source) as reader, BagWriter(target, **writer) as out:
        for raw in reader.messages():
            message = change(raw.topic, reader.decode(raw))
            if message is not None:
                out.add(raw.topic, message, raw.time_ns, latched=reader.topics[raw.topic].latched)
    return target


def moved(message: Any, by_ns: int) -> Any:
    """Return a message stamped later."""
    stamp = message.header.stamp
    total = stamp.sec * 10**9 + stamp.nanosec + by_ns
    return replace(message, header=replace(message.header, stamp=replace(
        stamp, sec=total // 10**9, nanosec=total % 10**9)))


# What comes out.

def test_every_pair_comes_out_as_the_segmenter_sees_it(bag: Path, segmenter: Segmenter,
                                                       tmp_path: Path) -> None:
    tally, out = replayed(bag, segmenter, tmp_path)
    wanted = {s.stamp_ns: segmenter(Frame(s.rgb, s.depth_m, stamp_ns=s.stamp_ns))
              for s in samples()}
    assert_equal_images(images(out), {stamp: seen.labels for stamp, seen in wanted.items()})
    assert_equal_images(images(out, '/semantic/confidence'),
                        {stamp: seen.confidence for stamp, seen in wanted.items()})
    assert (tally.frames_in, tally.depth_in, tally.pairs, tally.frames_out) == (4, 4, 4, 4)
    assert sum(tally.drops.values()) == tally.unexplained == 0
    assert set(tally.latency_ms) == {'read', 'decode', 'network', 'tail', 'total'}
    assert all(len(values) == 4 for values in tally.latency_ms.values())
    assert tally.scored == tally.truth_in == 4
    assert tally.flicker.by_pose == 3


def test_predictions_are_what_viewers_need(bag: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    _, out = replayed(bag, segmenter, tmp_path)
    with BagReader(bag) as given, BagReader(out) as found:
        assert {name: topic.type for name, topic in found.topics.items()} == {
            '/semantic': 'sensor_msgs/msg/Image', '/semantic/confidence': 'sensor_msgs/msg/Image',
            '/semantic/color/compressed': 'sensor_msgs/msg/CompressedImage',
            '/semantic/labels': 'std_msgs/msg/String',
            '/semantic/camera_info': 'sensor_msgs/msg/CameraInfo',
            '/tf': 'tf2_msgs/msg/TFMessage', '/tf_static': 'tf2_msgs/msg/TFMessage'}
        assert {name for name, topic in found.topics.items() if topic.latched} == {
            '/semantic/labels', '/tf_static'}
        table, = [json.loads(found.decode(raw).data)
                  for raw in found.messages(['/semantic/labels'])]
        assert table['label_space'] == 'nyu13'
        assert table['model']['weights_sha256'] == segmenter.manifest.weights_sha256
        infos = [[raw.raw for raw in reader.messages([topic])] for reader, topic in (
            (given, '/camera/color/camera_info'), (found, '/semantic/camera_info'))]
        assert infos[0] == infos[1]
        colour = {raw.time_ns for raw in given.messages([COLOUR_TOPIC])}
        assert {raw.time_ns for raw in found.messages(['/semantic'])} == colour
        for raw, labels in zip(found.messages(['/semantic/color/compressed']),
                               images(out).values(), strict=True):
            message = found.decode(raw)
            assert message.header.frame_id == 'camera_color_optical_frame'
            bgr = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(bgr[..., ::-1], segmenter.label_space.colourise(labels))


@pytest.mark.parametrize(('storage', 'compression'), [
    ('sqlite3', 'none'), ('mcap', 'zstd-chunk'), ('mcap', 'zstd-file'), ('mcap', 'zstd-message'),
    ('sqlite3', 'zstd-file'), ('sqlite3', 'zstd-message')])
def test_predictions_do_not_depend_on_storage_and_compression(
        bag: Path, segmenter: Segmenter, tmp_path: Path, storage: str, compression: str) -> None:
    other = rewritten(bag, tmp_path / 'other', storage=storage, compression=compression)
    tally, out = replayed(other, segmenter, tmp_path)
    reference, expected = replayed(bag, segmenter, tmp_path / 'reference')
    assert_equal_images(images(out), images(expected))
    np.testing.assert_array_equal(tally.confusion, reference.confusion)


def test_lossless_compressed_images_give_the_same_predictions(bag: Path, segmenter: Segmenter,
                                                              tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'packed.mcap') as out:
        for sample in samples():
            _, png = cv2.imencode('.png', np.ascontiguousarray(sample.rgb[..., ::-1]))
            out.add_compressed_image(f'{COLOUR_TOPIC}/compressed', 'rgb8; png compressed bgr8',
                                     png.tobytes(), sample.stamp_ns, 'camera')
            out.add_compressed_image(f'{DEPTH_TOPIC}/compressedDepth', COMPRESSED_DEPTH_16,
                                     encode_compressed_depth(depth_in_millimetres(sample.depth_m)),
                                     sample.stamp_ns, 'camera')
    _, packed = replayed(tmp_path / 'packed.mcap', segmenter, tmp_path)
    _, raw = replayed(bag, segmenter, tmp_path)
    assert_equal_images(images(packed), images(raw))


# What does not come out, and why.

def test_stamps_that_never_meet_name_the_counts_and_the_remedy(
        bag: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    apart = rewritten(bag, tmp_path / 'apart.mcap', lambda topic, message: moved(
        message, 15_000_000) if topic == DEPTH_TOPIC else message)
    with pytest.raises(ReplayError, match=r'4 colour and 4 depth images made 0 pairs within 10 ms '
                       r'\(8 unpaired\); raise --sync-slop'):
        replayed(apart, segmenter, tmp_path / 'out', sync_slop_s=0.01)
    assert not list((tmp_path / 'out').iterdir())
    tally, _ = replayed(apart, segmenter, tmp_path / 'out', sync_slop_s=0.02)
    assert tally.pairs == 4
    assert (tally.gap_mean_ms, tally.gap_max_ms) == pytest.approx((15.0, 15.0))


def test_depth_that_stops_is_answered_as_asked(segmenter: Segmenter, tmp_path: Path) -> None:
    bag = tmp_path / 'stops.mcap'
    write_rgbd_bag(bag, samples(30), CAMERA)
    last_ns = START_NS + 5 * STEP_NS
    rewritten(bag, tmp_path / 'cut.mcap', lambda topic, message: None if topic == DEPTH_TOPIC
              and message.header.stamp.sec * 10**9 + message.header.stamp.nanosec > last_ns
              else message)
    counts = {}
    for policy in ('wait', 'rgb_only', 'drop'):
        tally, _ = replayed(tmp_path / 'cut.mcap', segmenter, tmp_path / policy,
                            missing_depth=policy)
        assert tally.unexplained == 0
        lost = sum(number for cause, number in tally.drops.items())
        counts[policy] = tally.pairs, tally.alone, lost, tally.frames_out
    assert counts == {'wait': (6, 0, 24, 6), 'rgb_only': (6, 24, 0, 30), 'drop': (6, 0, 24, 6)}


def test_bad_messages_are_counted_by_cause_and_the_others_come_out(
        bag: Path, segmenter: Segmenter, tmp_path: Path) -> None:
    seen = {COLOUR_TOPIC: 0, DEPTH_TOPIC: 0}

    def spoil(topic: str, message: Any) -> Any:
        if topic not in seen:
            return message
        seen[topic] += 1
        if topic == COLOUR_TOPIC and seen[topic] == 1:
            return replace(message, encoding='bayer_rggb16')
        if topic == DEPTH_TOPIC and seen[topic] == 2:
            half = message.data[: message.data.size // 4].copy()
            return replace(message, height=24, width=32, step=64, data=half)
        return message

    tally, out = replayed(rewritten(bag, tmp_path / 'bad.mcap', spoil), segmenter, tmp_path)
    assert (tally.frames_in, tally.pairs, tally.frames_out) == (4, 3, 2)
    assert {cause: number for cause, number in tally.drops.items() if number} == {
        'bad_encoding': 1, 'unpaired': 1, 'size_mismatch': 1}
    assert tally.unexplained == 0
    assert len(images(out)) == 2
    assert any('bayer_rggb16' in note for note in tally.notes)


def test_stride_threshold_and_class_map_do_what_they_say(bag: Path, segmenter: Segmenter,
                                                         tmp_path: Path) -> None:
    tally, out = replayed(bag, segmenter, tmp_path / 'a', stride=3)
    assert sorted(images(out)) == [START_NS, START_NS + 3 * STEP_NS]
    assert tally.drops['skipped'] == 2
    assert tally.unexplained == 0
    _, plain = replayed(bag, segmenter, tmp_path / 'b')
    _, sure = replayed(bag, segmenter, tmp_path / 'c', confidence_threshold=0.2)
    certain = images(plain, '/semantic/confidence')
    for stamp, labels in images(sure).items():
        np.testing.assert_array_equal(labels == 255, certain[stamp] < 51)
    grouped, out = replayed(bag, segmenter, tmp_path / 'd', class_map='groups')
    assert grouped.label_space.name == 'nyu13_groups'
    assert max(int(labels.max()) for labels in images(out).values()) < len(grouped.label_space)


@pytest.mark.parametrize(('settings', 'words'), [
    ({'sync_slop_s': -1.0}, 'sync_slop'), ({'sync_slop_s': float('nan')}, 'sync_slop'),
    ({'confidence_threshold': 1.5}, 'between 0 and 1'), ({'stride': 0}, 'stride'),
    ({'missing_depth': 'guess'}, 'choose one of')])
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        ReplaySettings(**settings)


def test_a_looped_recording_is_scored_in_every_lap(segmenter: Segmenter, tmp_path: Path) -> None:
    """Truth and frames start over; each lap finds its own."""
    write_rgbd_bag(tmp_path / 'lap.mcap', samples(6), CAMERA)
    lap_ns = 6 * STEP_NS + 50_000_000
    with BagReader(tmp_path / 'lap.mcap') as reader, BagWriter(tmp_path / 'laps.mcap') as out:
        for lap in range(3):
            for raw in reader.messages():
                out.add_raw(raw.topic, raw.type, raw.raw, raw.time_ns + lap * lap_ns)
    tally, _ = replayed(tmp_path / 'laps.mcap', segmenter, tmp_path)
    assert (tally.frames_out, tally.scored, tally.resets) == (18, 18, 2)


# The truth, by the command's words.

def truth_folder(folder: Path, *, by_stamp: bool) -> Path:
    folder.mkdir(parents=True)
    for place, sample in enumerate(samples()):
        name = f'{10**18 + sample.stamp_ns}' if by_stamp else f'{place}'
        assert sample.labels is not None
        cv2.imwrite(str(folder / f'{name}.png'), sample.labels)
    return folder


def test_truth_from_a_folder_scores_as_the_topic_does(bag: Path, segmenter: Segmenter,
                                                      tmp_path: Path) -> None:
    by_topic, _ = replayed(bag, segmenter, tmp_path / 'topic')
    in_order, _ = replayed(bag, segmenter, tmp_path / 'order',
                           truth=str(truth_folder(tmp_path / 'a', by_stamp=False)))
    late = rewritten(bag, tmp_path / 'late.mcap', lambda topic, message: moved(message, 10**18)
                     if topic in (COLOUR_TOPIC, DEPTH_TOPIC) else message)
    by_stamp, _ = replayed(late, segmenter, tmp_path / 'stamp',
                           truth=str(truth_folder(tmp_path / 'b', by_stamp=True)))
    assert by_topic.confusion is not None
    for tally in (in_order, by_stamp):
        assert tally.scored == 4
        np.testing.assert_array_equal(tally.confusion, by_topic.confusion)


def test_a_truth_topic_the_bag_does_not_have_is_refused(bag: Path, segmenter: Segmenter,
                                                        tmp_path: Path) -> None:
    with pytest.raises(Exception, match='has no /labels'):
        replayed(bag, segmenter, tmp_path, truth='/labels')


# Reading ahead.

def test_items_read_ahead_come_in_order_and_errors_where_they_arose() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError('five')

    found: list[int] = []
    with pytest.raises(ValueError, match='five'), ahead(items(), 2) as results:
        found.extend(results)
    assert found == [0, 1, 2, 3, 4]


def test_nothing_is_read_further_ahead_than_allowed_nor_after_the_end() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    with ahead(items(), 3) as results:
        assert next(results) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1
    count = len(made)
    time.sleep(0.3)
    assert len(made) == count
