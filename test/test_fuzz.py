# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile messages over real DDS: none kills the node, each is counted, good pairs are served.

By hand, with figures: `PYTHONPATH=. python test/test_fuzz.py --messages 10000 --seed 1`.
"""

import argparse
import itertools
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from diffpixel_core.camera_info import camera_from_info  # noqa: E402
from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS  # noqa: E402
from diffpixel_core.geometry import CameraError  # noqa: E402
from diffpixel_core.messages import MessageError  # noqa: E402
from diffpixel_core.tiny_model import save_tiny_model  # noqa: E402
from diffpixel_ros.diagnostics import MESSAGE_CAUSES, PAIR_CAUSES  # noqa: E402
from hostile import (  # noqa: E402
    CAMERA_INFO,
    COLOUR,
    COLOUR_COMPRESSED,
    DEPTH,
    DEPTH_COMPRESSED,
    START_S,
    Hostile,
    hostile,
)
from ros_harness import Client, NodeProcess, camera_pair, running_node  # noqa: E402

SEED = 4
BATCH = 8  # messages between two looks at the counters; the node's queues hold ten of each stream
GOOD_EVERY = 3  # batches
_RAW, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
# Where each kind of message goes, and which kinds one node can be sent.
TOPICS = {COLOUR: (Image, 'rgb/image_raw'), DEPTH: (Image, 'depth/image_raw'),
          COLOUR_COMPRESSED: (CompressedImage, 'rgb/image_raw/compressed'),
          DEPTH_COMPRESSED: (CompressedImage, 'depth/image_raw/compressedDepth'),
          CAMERA_INFO: (CameraInfo, 'rgb/camera_info')}
STREAMS = {'raw': (COLOUR, DEPTH, CAMERA_INFO),
           'compressed': (COLOUR_COMPRESSED, DEPTH_COMPRESSED, CAMERA_INFO)}
CHECKS = {COLOUR: COLOUR_CODECS[_RAW].check, DEPTH: DEPTH_CODECS[_RAW].check,
          COLOUR_COMPRESSED: COLOUR_CODECS[_COMPRESSED].check,
          DEPTH_COMPRESSED: DEPTH_CODECS[_COMPRESSED].check}
REFUSALS = ('bad_encoding', 'bad_size', 'bad_data')


@dataclass
class Fuzz:
    """What became of a run.

    Attributes:
        sent: Hostile messages by kind.
        expected: Refusals by cause, as the codecs judge the same messages here.
        counted: The node's drops by cause; those that are not 0.
        counts: Its other counters.
        good: Good pairs sent.
        served: Those that were answered.
        seconds: How long it took.
    """

    sent: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    counted: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    good: int = 0
    served: int = 0
    seconds: float = 0.0


def fuzz(node: NodeProcess, client: Client, stream: str, *, messages: int, seed: int) -> Fuzz:
    """Send hostile messages with good pairs in between, and return what became of them."""
    publishers = {kind: client.node.create_publisher(*TOPICS[kind], _QOS)
                  for kind in STREAMS[stream]}
    assert client.change_state('configure'), node.text
    assert client.change_state('activate'), node.text
    client.listen('/semantic')
    assert client.wait(lambda: all(publisher.get_subscription_count()
                                   for publisher in publishers.values()))
    result, started, images = Fuzz(), time.monotonic(), 0
    wanted = (item for item in hostile(seed) if item.kind in publishers)
    source = itertools.islice(wanted, messages)
    for number in itertools.count():
        batch = list(itertools.islice(source, BATCH))
        if not batch:
            break
        for item in batch:
            publishers[item.kind].publish(item.message())
            result.sent[item.kind] += 1
            images += item.kind != CAMERA_INFO
            if (cause := refusal(item)) is not None:
                result.expected[cause] += 1
        assert arrived(client, images), (f'seed {seed}, after {sum(result.sent.values())}: '
                                         f'{node.text[-2000:]}')
        if number % GOOD_EVERY == 0:
            # A hostile pair may still be worked on; a newer one would take the good one's place.
            assert client.wait(lambda: client.diagnostics.get('in_flight') == '0')
            result.good += 1
            pair = good_pair(stream, START_S + 10_000 + result.good)
            for publisher, message in zip(list(publishers.values())[:2], pair, strict=True):
                publisher.publish(message)
            images += 2
            assert arrived(client, images), node.text[-2000:]
            result.served += answered(client, pair[0].header)
    client.wait(lambda: client.diagnostics.get('in_flight') == '0')
    result.seconds = time.monotonic() - started
    counts = client.counts(lambda d: d['in_flight'] == '0')
    result.counts = {name: int(counts[name]) for name in (
        'colour_in', 'depth_in', 'pairs', 'alone', 'frames_out', 'in_flight', 'waiting', 'resets')}
    result.counted = {cause: int(counts[f'drops.{cause}']) for cause in MESSAGE_CAUSES + PAIR_CAUSES
                      if counts[f'drops.{cause}'] != '0'}
    assert node.alive, node.text[-2000:]
    return result


def refusal(item: Hostile) -> str | None:
    """Return the cause under which a message must be refused; None if it must be taken."""
    try:
        if item.kind == CAMERA_INFO:
            camera_from_info(item.plain())
        else:
            CHECKS[item.kind](item.plain())
    except MessageError as error:
        return error.cause
    except CameraError:
        return 'bad_camera_info'
    return None


def arrived(client: Client, images: int) -> bool:
    """Wait until the node has seen as many images."""
    return client.wait(lambda: int(client.diagnostics.get('colour_in', 0)) + int(
        client.diagnostics.get('depth_in', 0)) >= images, 20.0)


def good_pair(stream: str, stamp_s: int) -> tuple[Any, Any]:
    """Return a pair as a camera sends it."""
    colour, depth = camera_pair(stamp_s)
    if stream == 'raw':
        return colour, depth
    jpeg = cv2.imencode('.jpg', np.asarray(colour.data, np.uint8).reshape(48, 64, 3))[1]
    png = cv2.imencode('.png', np.frombuffer(depth.data, np.uint16).reshape(48, 64))[1]
    return tuple(CompressedImage(header=header, format=kind, data=array('B', data))
                 for header, kind, data in (
                     (colour.header, 'rgb8; jpeg compressed bgr8', jpeg.tobytes()),
                     (depth.header, '16UC1; compressedDepth png', bytes(12) + png.tobytes())))


def answered(client: Client, header: Any) -> bool:
    """Tell whether an image that has arrived is answered; done when the node has nothing to do."""
    def found() -> bool:
        return any(answer.header == header for answer in client.received['/semantic'][-5:])

    client.diagnostics = {}
    client.wait(lambda: found() or client.diagnostics.get('in_flight') == '0', 20.0)
    return client.wait(found, 0.2)


def assert_survived(result: Fuzz, node: NodeProcess) -> None:
    assert result.served == result.good > 0, result
    assert {cause: result.counted.get(cause, 0) for cause in REFUSALS} \
        == {cause: result.expected[cause] for cause in REFUSALS}
    # A camera_info that says the same as the one before is not looked at again.
    assert result.counted.get('bad_camera_info', 0) <= result.expected['bad_camera_info']
    assert result.counted.get('bad_camera_info', 0) > 0
    for cause in ('callback_error', 'inference_error', 'publish_error', 'transport_lost'):
        assert cause not in result.counted, result
    counts = result.counts
    ended = sum(result.counted.get(cause, 0) for cause in PAIR_CAUSES)
    assert counts['pairs'] == counts['frames_out'] + counts['in_flight'] + ended
    refused = sum(result.counted.get(cause, 0) for cause in (
        *REFUSALS, 'unpaired', 'overflow', 'reset', 'duplicate'))
    assert counts['colour_in'] + counts['depth_in'] == \
        2 * counts['pairs'] + refused + counts['waiting']
    assert 'Traceback' not in node.text, node.text


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('log')))
        yield save_tiny_model(tmp_path_factory.mktemp('model'))


def run(model: Path, folder: Path, stream: str, *, messages: int, seed: int) -> Fuzz:
    parameters = {'rgb_transport': 'compressed', 'depth_transport': 'compressedDepth'} \
        if stream == 'compressed' else {}
    with running_node(folder, model_path=model, diagnostics_period=0.1, alignment_check='warn',
                      **parameters) as (node, client):
        result = fuzz(node, client, stream, messages=messages, seed=seed)
        assert_survived(result, node)
    return result


@pytest.mark.parametrize(('stream', 'messages'), [('raw', 200), ('compressed', 100)])
def test_hostile_messages_are_counted_and_good_pairs_served(
        model: Path, tmp_path: Path, stream: str, messages: int) -> None:
    result = run(model, tmp_path, stream, messages=messages, seed=SEED)
    assert sum(result.sent.values()) == messages
    assert sum(result.expected.values()) > messages / 4, 'hostile indeed'


@pytest.mark.slow
@pytest.mark.parametrize('stream', list(STREAMS))
def test_ten_thousand_hostile_messages_change_nothing(
        model: Path, tmp_path: Path, stream: str) -> None:
    run(model, tmp_path, stream, messages=5000, seed=SEED + 1)


def main() -> None:
    """Fuzz a node and print what became of it."""
    parser = argparse.ArgumentParser(description='Send hostile messages to a node.')
    parser.add_argument('--messages', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=SEED)
    options = parser.parse_args()
    for stream in STREAMS:
        with tempfile.TemporaryDirectory() as folder:
            result = run(save_tiny_model(Path(folder) / 'model'), Path(folder), stream,
                         messages=options.messages // len(STREAMS), seed=options.seed)
        print(f'{stream}, seed {options.seed}: {dict(result.sent)} in {result.seconds:.0f} s; '
              f'{result.served} of {result.good} good pairs served')
        print(f'  refused {dict(result.expected)}')
        print(f'  counted {result.counted}')
        print(f'  {result.counts}')


if __name__ == '__main__':
    main()
