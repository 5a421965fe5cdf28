# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Everything the node offers beside `/semantic`: clouds, Nav2's triple, services, transports."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from diffpixel_core.tiny_model import save_tiny_model  # noqa: E402
from ros_harness import (  # noqa: E402
    Client,
    NodeProcess,
    camera_info,
    camera_pair,
    image,
    running_node,
)

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                  ('confidence', '<f4')])


@pytest.fixture(scope='module')
def _running(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
             ) -> Iterator[tuple[NodeProcess, Client]]:
    with running_node(tmp_path_factory.mktemp('node'), model_path=tiny_model, autostart='true',
                      diagnostics_period=0.2) as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.connected()
        yield node, client


@pytest.fixture
def node(_running: tuple[NodeProcess, Client]) -> NodeProcess:
    return _running[0]


@pytest.fixture
def client(_running: tuple[NodeProcess, Client]) -> Client:
    return _running[1]


def _same_stamp(client: Client, start: float, *topics: str, depth: Any = None) -> list[Any]:
    """Send pairs until one is answered on all topics; return those messages and /semantic's."""
    for attempt in range(40):
        colour, depth_image = camera_pair(start + attempt, depth=depth)
        client.answers(colour, depth_image)
        found: dict[str, Any] = {}

        def complete(found: dict[str, Any] = found, stamp: Any = colour.header.stamp) -> bool:
            found.update({topic: message for topic in (*topics, '/semantic')
                          for message in client.received[topic] if message.header.stamp == stamp})
            return len(found) == len(topics) + 1
        if client.wait(complete, 0.5):
            return [found[topic] for topic in (*topics, '/semantic')]
    raise AssertionError(f'no frame came out on all of {topics}')


def _send_infos(client: Client, colour: CameraInfo, depth: CameraInfo) -> None:
    publishers = [client.node.create_publisher(CameraInfo, f'{name}/camera_info', 10)
                  for name in ('rgb', 'depth')]
    try:
        assert client.wait(lambda: all(p.get_subscription_count() for p in publishers))
        client.wait(lambda: False, 0.3)
        for publisher, info in zip(publishers, (colour, depth), strict=True):
            publisher.publish(info)
        client.wait(lambda: False, 0.3)
    finally:
        for publisher in publishers:
            client.node.destroy_publisher(publisher)


def test_points_wait_for_the_camera_and_then_lie_where_depth_says(client: Client) -> None:
    client.listen('/semantic/points', kind=PointCloud2)
    client.listen('/semantic/camera_info', kind=CameraInfo)
    client.listen('/semantic/confidence')
    client.answers(*camera_pair(10.0))
    assert not client.received['/semantic/points']
    _send_infos(client, camera_info(), camera_info())
    assert client.counts(lambda d: d['alignment'].startswith('aligned:'))['camera_info'] == (
        "64x48 in 'camera_optical'")
    depth = np.full((48, 64), 2000, np.uint16)
    depth[:, :10] = 0
    cloud, info, confidence, labels = _same_stamp(
        client, 20.0, '/semantic/points', '/semantic/camera_info', '/semantic/confidence',
        depth=depth)
    assert (cloud.width, cloud.height, cloud.point_step) == (64, 48, POINT.itemsize)
    assert [field.name for field in cloud.fields] == list(POINT.names or ())
    assert cloud.header == labels.header == info.header
    points = np.frombuffer(cloud.data, POINT).reshape(48, 64)
    assert np.isnan(points['z'][:, :10]).all()
    assert np.allclose(points['z'][:, 10:], 2.0)
    assert np.isclose(points['x'][5, 63], (63 - 31.5) / 60 * 2)
    assert np.array_equal(points['label'], np.frombuffer(labels.data, np.uint8).reshape(48, 64))
    assert np.allclose(points['confidence'] * 255, np.array(confidence.data).reshape(48, 64),
                       atol=0.01)
    assert (info.width, info.height, info.k[0]) == (64, 48, 60.0)


def test_nav_triple_has_one_size_and_its_void_is_nan(client: Client) -> None:
    for topic, kind in (('mask', Image), ('confidence', Image), ('points', PointCloud2)):
        client.listen(f'/semantic/nav/{topic}', kind=kind)
    depth = np.full((48, 64), 3000, np.uint16)
    depth[:24] = 0
    topics = [f'/semantic/nav/{topic}' for topic in ('mask', 'confidence', 'points')]
    for stride in (2, 1, 4):
        assert client.set_parameter('nav_stride', stride) == (True, '')
        mask, confidence, cloud, labels = _same_stamp(client, 100.0 * stride, *topics, depth=depth)
        size = 48 // stride, 64 // stride
        assert (mask.height, mask.width) == (confidence.height, confidence.width) == size
        assert (cloud.height, cloud.width) == size
        assert mask.step == mask.width
        dense = np.frombuffer(labels.data, np.uint8).reshape(48, 64)
        shown = np.frombuffer(mask.data, np.uint8).reshape(size)
        assert np.array_equal(shown, dense[::stride, ::stride])
        blind = size[0] // 2
        assert not np.array(confidence.data).reshape(size)[:blind].any()
        z = np.frombuffer(cloud.data, '<f4').reshape(*size, cloud.point_step // 4)[..., 2]
        assert np.isnan(z[:blind]).all()
        assert np.allclose(z[blind:], 3.0)
    assert client.set_parameter('nav_stride', 2)[0]
    assert not client.set_parameter('nav_stride', 3)[0]


def test_overlay_mixes_image_and_colours(client: Client) -> None:
    client.listen('/semantic/overlay', '/semantic/color')
    assert client.set_parameter('overlay_alpha', 0.0)[0]
    _same_stamp(client, 800.0, '/semantic/overlay')
    overlay, colours, _ = _same_stamp(client, 900.0, '/semantic/overlay', '/semantic/color')
    sent = camera_pair(overlay.header.stamp.sec)[0]
    assert overlay.data == sent.data
    assert client.set_parameter('overlay_alpha', 1.0)[0]
    _same_stamp(client, 1000.0, '/semantic/overlay')
    overlay, colours, _ = _same_stamp(client, 1100.0, '/semantic/overlay', '/semantic/color')
    assert overlay.data == colours.data


def test_timings_tell_every_stage_of_a_frame(client: Client) -> None:
    client.listen('/semantic/timings', kind=String)
    for attempt in range(20):
        answer = client.answers(*camera_pair(1200.0 + attempt))
        assert answer is not None
        if client.wait(lambda: bool(client.received['/semantic/timings']), 0.5):
            break
    row = json.loads(client.received['/semantic/timings'][-1].data)
    assert row['stamp_ns'] == answer.header.stamp.sec * 10**9
    stages = row['ms']
    assert set(stages) == {'age', 'queue', 'decode', 'network', 'tail', 'publish', 'own', 'total'}
    parts = ('own', 'queue', 'network', 'tail')
    assert abs(stages['total'] - sum(stages[part] for part in parts)) < 0.01
    assert stages['own'] >= stages['decode'] + stages['publish'] - 0.01


def test_disabled_node_neither_listens_nor_complains(client: Client) -> None:
    assert client.call('enable', data=False) == (True, 'disabled')
    assert client.answers(*camera_pair(1300.0), timeout=0.5) is None
    client.counts(lambda d: True)
    assert client.verdict == 'disabled'
    assert client.state == 'active'
    assert client.call('enable', data=True) == (True, 'enabled')
    assert client.connected()
    assert client.answers(*camera_pair(1301.0)) is not None


def test_reset_empties_queues_and_counters(client: Client) -> None:
    client.send(camera_pair(1400.0)[0], None)
    assert client.counts(lambda d: d['waiting'] == '1')['waiting'] == '1'
    assert client.call('reset')[0]
    counts = client.counts(lambda d: d['waiting'] == '0')
    assert (counts['waiting'], counts['frames_out'], counts['colour_in']) == ('0', '0', '0')
    assert client.answers(*camera_pair(1401.0)) is not None
    assert client.counts(lambda d: d['frames_out'] == '1')['frames_out'] == '1'


def test_broken_model_is_not_taken_and_the_old_one_goes_on_serving(
        client: Client, node: NodeProcess, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / 'broken'
    broken.mkdir()
    for name in ('model.json', 'model.safetensors'):
        (broken / name).write_bytes((tiny_model / name).read_bytes()[:-100])
    for path, said in ((broken, 'model.json'), (tmp_path / 'nowhere', 'nowhere')):
        assert client.set_parameter('model_path', str(path)) == (True, '')
        success, message = client.call('reload_model')
        assert not success
        assert 'stays as it is' in message
        assert said in message
        assert client.answers(*camera_pair(1500.0)) is not None
    assert 'Traceback' not in node.text
    assert client.set_parameter('model_path', str(tiny_model))[0]


def test_reloaded_model_tells_its_own_labels_and_images_are_served_meanwhile(
        client: Client, tiny_model: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / 'other')
    assert client.set_parameter('model_path', str(other))[0]
    assert client.set_parameter('warmup_iterations', 100)[0]  # seconds
    served: list[bool] = []

    def serve() -> None:
        served.append(client.answers(*camera_pair(1600.0)) is not None)
        assert not client.call('reload_model')[0]  # one at a time
    success, message = client.call('reload_model', meanwhile=serve)
    assert success, message
    assert served == [True]
    assert 'nyu13' in message
    answer = client.answers(*camera_pair(1601.0))
    assert answer is not None
    assert max(answer.data) < 13
    assert json.loads(client.latched('/semantic/labels')[-1])['label_space'] == 'nyu13'
    assert client.set_parameter('model_path', str(tiny_model))[0]
    assert client.set_parameter('warmup_iterations', 1)[0]
    assert client.call('reload_model')[0]
    assert json.loads(client.latched('/semantic/labels')[-1])['label_space'] == 'nyu40'


def test_calibration_given_once_survives_a_pause(client: Client) -> None:
    _send_infos(client, camera_info(), camera_info())
    assert client.call('enable', data=False)[0]
    assert client.call('enable', data=True)[0]
    assert client.connected()
    counts = client.counts(lambda d: d.get('camera_info', '').startswith('64x48'))
    assert counts['camera_info'] == "64x48 in 'camera_optical'"


def test_camera_info_of_another_shape_makes_no_points(client: Client) -> None:
    client.listen('/semantic/points', kind=PointCloud2)
    _send_infos(client, camera_info(128, 72), camera_info(128, 72))
    seen = len(client.received['/semantic/points'])
    assert client.answers(*camera_pair(1650.0)) is not None
    assert client.wait(lambda: 'another shape' in client.verdict, 10.0), client.verdict
    assert '128x72' in client.verdict
    client.wait(lambda: False, 0.3)
    assert len(client.received['/semantic/points']) == seen
    _send_infos(client, camera_info(), camera_info())


def test_rate_limit_keeps_the_mean_rate(client: Client) -> None:
    assert client.set_parameter('publish_rate_max', 10.0)[0]
    assert client.call('reset')[0]
    start_ns = client.node.get_clock().now().nanoseconds
    for number in range(45):
        client.send(*camera_pair(1700.0 + number / 30))
        client.wait(lambda: False, 1 / 30)
    seconds = (client.node.get_clock().now().nanoseconds - start_ns) / 1e9
    counts = client.counts(lambda d: d['colour_in'] == '45' and d['in_flight'] == '0')
    taken = 45 - int(counts['drops.rate_limited'])
    assert abs(taken - 10 * seconds) <= 2.5
    assert client.set_parameter('publish_rate_max', 0.0)[0]


def test_unaligned_depth_is_refused_and_the_switch_named(client: Client) -> None:
    _send_infos(client, camera_info(), camera_info(focal=40.0))
    client.send(*camera_pair(1800.0))
    counts = client.counts(lambda d: d['drops.unaligned'] != '0')
    assert int(counts['drops.unaligned']) >= 1
    assert 'align_depth.enable' in counts['last_error']
    assert 'align_depth.enable' in client.verdict
    assert counts['alignment'].startswith('unaligned')
    assert client.set_parameter('alignment_check', 'warn')[0]
    assert client.answers(*camera_pair(1801.0)) is not None
    assert client.set_parameter('alignment_check', 'refuse')[0]
    _send_infos(client, camera_info(), camera_info())
    assert client.answers(*camera_pair(1802.0)) is not None


def test_impossible_camera_info_is_refused_by_name(client: Client, node: NodeProcess) -> None:
    wrong = camera_info()
    wrong.k[0] = float('nan')
    _send_infos(client, wrong, camera_info())
    counts = client.counts(lambda d: 'rgb/camera_info' in d['last_error'])
    assert 'rgb/camera_info' in counts['last_error']
    assert 'refused' in counts['camera_info']
    assert client.answers(*camera_pair(1900.0)) is not None
    _send_infos(client, camera_info(), camera_info())


def test_depth_that_stops_and_comes_back(client: Client) -> None:
    assert client.set_parameter('missing_depth', 'rgb_only')[0]
    assert client.set_parameter('missing_depth_after', 0.2)[0]
    assert client.answers(*camera_pair(2000.0)) is not None
    seen = len(client.received['/semantic'])
    for number in range(30):
        client.send(camera_pair(2001.0 + number / 30)[0], None)
        client.wait(lambda: False, 1 / 30)
    assert client.wait(lambda: len(client.received['/semantic']) >= seen + 10)
    counts = client.counts(lambda d: int(d['alone']) >= 10 and d['in_flight'] == '0')
    assert 'without depth' in client.verdict or int(counts['alone']) >= 10
    alone = int(counts['alone'])
    assert client.answers(*camera_pair(2010.0)) is not None
    assert client.answers(*camera_pair(2010.1)) is not None
    assert int(client.counts(lambda d: True)['alone']) <= alone + 1  # it came back: pairs again
    assert client.set_parameter('missing_depth', 'wait')[0]
    seen = len(client.received['/semantic'])
    for number in range(20):
        client.send(camera_pair(2020.0 + number / 30)[0], None)
        client.wait(lambda: False, 1 / 30)
    assert len(client.received['/semantic']) == seen
    assert client.answers(*camera_pair(2030.0)) is not None


def test_depth_at_half_rate_is_paired_and_the_rest_counted(client: Client) -> None:
    assert client.call('reset')[0]
    answered = 0
    for number in range(20):
        colour, depth = camera_pair(2100.0 + number * 0.05)
        client.send(colour, depth if number % 2 == 0 else None)
        seen = len(client.received['/semantic'])
        answered += client.wait(lambda seen=seen: len(client.received['/semantic']) > seen, 0.3)
    counts = client.counts(lambda d: d['colour_in'] == '20' and d['in_flight'] == '0')
    assert answered == int(counts['frames_out']) == int(counts['pairs']) == 10
    assert int(counts['drops.unpaired']) + int(counts['waiting']) == 10


def test_resolution_may_change_in_mid_stream(client: Client) -> None:
    for number, (height, width) in enumerate([(48, 64), (60, 80), (33, 101), (48, 64)]):
        answer = client.answers(*camera_pair(2200.0 + number, height=height, width=width))
        assert answer is not None
        assert (answer.height, answer.width) == (height, width)


def test_compressed_streams_give_the_labels_of_the_raw_ones(
        tiny_model: Path, tmp_path: Path) -> None:
    colour, depth = camera_pair(5.0)
    with running_node(tmp_path, model_path=tiny_model, autostart='true', rgb_transport='compressed',
                      depth_transport='compressedDepth') as (node, client):
        publishers = [client.node.create_publisher(CompressedImage, topic, 10) for topic in (
            'rgb/image_raw/compressed', 'depth/image_raw/compressedDepth')]
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.wait(lambda: all(p.get_subscription_count() for p in publishers))
        rgb = np.frombuffer(colour.data, np.uint8).reshape(48, 64, 3)
        png = cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()
        deep = cv2.imencode('.png', np.frombuffer(depth.data, np.uint16).reshape(48, 64))[1]
        packed = [
            CompressedImage(header=colour.header, format='rgb8; png compressed bgr8', data=png),
            CompressedImage(header=depth.header, format='16UC1; compressedDepth png',
                            data=bytes(12) + deep.tobytes())]
        for _ in range(20):
            for publisher, message in zip(publishers, packed, strict=True):
                publisher.publish(message)
            if client.wait(lambda: bool(client.received['/semantic']), 0.5):
                break
        assert client.received['/semantic'], node.text
        answer = client.received['/semantic'][0]
    with running_node(tmp_path, model_path=tiny_model, autostart='true') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.connected()
        raw = client.answers(colour, depth)
    assert raw is not None
    assert raw.data == answer.data


def test_labels_come_in_the_classes_and_the_encoding_asked_for(
        tiny_model: Path, tmp_path: Path) -> None:
    class_map = tmp_path / 'map.yaml'
    class_map.write_text('name: drive\nclasses:\n  go: {from: ["group:traversable"]}\n'
                         '  stop: {from: [wall, chair, table]}\nrest: unlabelled\n')
    with running_node(tmp_path, model_path=tiny_model, autostart='true', class_map=class_map,
                      label_encoding='16SC1') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        assert client.connected()
        answer = client.answers(*camera_pair(1.0))
        assert answer is not None
        assert (answer.encoding, answer.step) == ('16SC1', 128)
        assert set(np.frombuffer(answer.data, np.int16)) <= {-1, 0, 1}
        table = json.loads(client.latched('/semantic/labels')[0])
        assert (table['label_space'], table['encoding'], table['unlabelled']) == (
            'drive', '16SC1', -1)
        assert [row['name'] for row in table['classes']] == ['go', 'stop']


def test_depth_is_registered_by_its_camera_infos_and_extrinsics(
        tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_path=tiny_model, autostart='true', depth_registration='true',
                      diagnostics_period=0.2,
                      depth_extrinsics='"0.05 0 0 0 0 0 1"') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        client.listen('/semantic')
        client.listen('/semantic/points', kind=PointCloud2)
        assert client.connected()
        colour, _ = camera_pair(1.0)
        depth = image(np.full((24, 32), 1000, np.uint16), '16UC1', 1.0, frame='depth_optical')
        client.send(colour, depth)
        assert 'camera_info' in client.counts(lambda d: d['drops.unaligned'] == '1')['last_error']
        _send_infos(client, camera_info(),
                    camera_info(32, 24, focal=30.0, frame='depth_optical'))
        for attempt in range(20):
            colour, _ = camera_pair(2.0 + attempt)
            depth.header.stamp = colour.header.stamp
            assert client.answers(colour, depth) is not None
            if client.wait(lambda: bool(client.received['/semantic/points']), 0.3):
                break
        z = np.frombuffer(client.received['/semantic/points'][-1].data, POINT)['z'].reshape(48, 64)
        # A plane 1 m away, seen 5 cm to the left: 60 px * 0.05 m / 1 m = 3 columns are uncovered.
        assert np.isnan(z[24, :2]).all()
        assert np.allclose(z[10:40, 6:60], 1.0)


def test_what_is_not_installed_is_named_and_the_node_lives(
        tiny_model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec('tf2_msgs') or importlib.util.find_spec('message_filters'):
        pytest.skip('a full ROS 2 has them')
    with running_node(tmp_path, model_path=tiny_model, depth_registration='true') as (node, client):
        assert not client.change_state('configure')
        assert client.wait(lambda: 'set depth_extrinsics' in client.verdict), client.verdict
        assert client.set_parameter('depth_registration', False)[0]
        assert client.set_parameter('synchronizer', 'message_filters')[0]
        assert not client.change_state('configure')
        assert client.wait(lambda: 'message-filters' in client.verdict), client.verdict
        assert client.set_parameter('synchronizer', 'pairer')[0]
        for transition in ('configure', 'activate'):
            assert client.change_state(transition)
        client.listen('/semantic')
        assert client.connected()
        assert client.answers(*camera_pair(1.0)) is not None
        assert 'Traceback' not in node.text
