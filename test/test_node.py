# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The node's process over real DDS: what it answers, and what it survives."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from diffpixel_ros.diagnostics import PAIR_CAUSES  # noqa: E402
from ros_harness import Client, NodeProcess, camera_pair, running_node  # noqa: E402

LAUNCH_WAITS_S = 5  # after that a launch file's SIGINT is followed by SIGTERM, then SIGKILL


@pytest.fixture(scope='module')
def _running(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
             ) -> Iterator[tuple[NodeProcess, Client]]:
    folder = tmp_path_factory.mktemp('node')
    with running_node(folder, model_path=tiny_model, diagnostics_period=0.2) as (node, client):
        assert client.change_state('configure'), node.text
        assert client.change_state('activate'), node.text
        client.listen('/semantic')
        assert client.connected()
        yield node, client


@pytest.fixture
def node(_running: tuple[NodeProcess, Client]) -> NodeProcess:
    return _running[0]


@pytest.fixture
def client(_running: tuple[NodeProcess, Client]) -> Client:
    return _running[1]


def _dropped(client: Client, cause: str) -> int:
    return int(client.counts(lambda d: True)[f'drops.{cause}'])


def test_answer_has_the_colour_images_stamp_frame_and_size(client: Client) -> None:
    colour, depth = camera_pair(10.123456789, height=47, width=63)
    answer = client.answers(colour, depth)
    assert answer is not None
    assert answer.header.stamp == colour.header.stamp
    assert answer.header.frame_id == 'camera_optical'
    assert (answer.encoding, answer.height, answer.width, answer.step) == ('mono8', 47, 63, 63)
    assert len(answer.data) == 47 * 63
    assert max(answer.data) < 40


@pytest.mark.parametrize(('cause', 'wrong'), [
    ('bad_encoding', {'encoding': 'bayer_rggb8'}), ('bad_encoding', {'encoding': ''}),
    ('bad_size', {'step': 5}), ('bad_size', {'height': 0}), ('bad_size', {'width': 0}),
    ('bad_size', {'height': 2**31, 'width': 2**31, 'step': 2**32 - 1}),
    ('bad_data', {'data': b'\0' * 10}), ('bad_data', {'data': b''}),
])
def test_malformed_image_is_counted_and_the_next_pair_is_served(
        client: Client, node: NodeProcess, cause: str, wrong: dict[str, object]) -> None:
    before = _dropped(client, cause)
    colour, depth = camera_pair(20.0)
    for name, value in wrong.items():
        setattr(colour, name, value)
    client.send(colour, None)
    counts = client.counts(lambda d: int(d[f'drops.{cause}']) > before)
    assert int(counts[f'drops.{cause}']) == before + 1
    assert 'colour image' in counts['last_error']
    # Its depth image arrives after it and must still find a good colour image of its stamp.
    assert client.answers(camera_pair(20.0)[0], depth) is not None
    assert node.alive


def test_depth_of_another_size_is_counted_and_the_remedy_named(client: Client) -> None:
    before = _dropped(client, 'size_mismatch')
    client.send(camera_pair(30.0)[0], camera_pair(30.0, height=24, width=32)[1])
    counts = client.counts(lambda d: int(d['drops.size_mismatch']) > before)
    assert int(counts['drops.size_mismatch']) == before + 1
    assert 'align_depth.enable' in counts['last_error']
    assert client.answers(*camera_pair(30.1)) is not None


def test_every_pass_of_a_looped_bag_is_answered(client: Client) -> None:
    resets = int(client.counts(lambda d: True)['resets'])
    for _ in range(3):
        for frame in range(3):
            assert client.answers(*camera_pair(40.0 + frame / 2)) is not None
    counts = client.counts(lambda d: int(d['resets']) >= resets + 2)
    assert int(counts['resets']) in (resets + 2, resets + 3)  # the first pass may go back, too


@pytest.mark.parametrize('value', [0, 65535, np.nan, np.inf, -np.inf, -1.0])
def test_depth_that_is_not_measured_gives_an_answer_all_the_same(
        client: Client, value: float) -> None:
    dtype = np.uint16 if isinstance(value, int) else np.float32
    stamp_s = 50.0 + len(client.received['/semantic'])
    answer = client.answers(*camera_pair(stamp_s, depth=np.full((48, 64), value, dtype)))
    assert answer is not None
    assert max(answer.data) < 40  # a NaN in the scores would make 255 or garbage
    blank = client.answers(*camera_pair(stamp_s, depth=np.zeros((48, 64), np.uint16)))
    assert blank is not None
    assert blank.data == answer.data


def test_labels_reach_a_late_subscriber(client: Client) -> None:
    texts = client.latched('/semantic/labels')
    table = json.loads(texts[0])
    assert len(texts) == 1
    assert table['unlabelled'] == 255
    assert table['model']['name'] == 'diffpixelformer_t'
    assert len(table['model']['weights_sha256']) == 64
    assert [row['id'] for row in table['classes']] == list(range(40))
    assert table['classes'][1]['name'] == 'floor'


def test_pictures_and_confidence_come_when_subscribed(client: Client) -> None:
    client.listen('/semantic/color', '/semantic/confidence')
    names = ('color', 'confidence')
    # Publisher and subscriber may need a moment to find each other.
    for attempt in range(20):
        answer = client.answers(*camera_pair(60.0 + attempt))
        assert answer is not None
        same: dict[str, Image] = {}

        def complete(header: Header = answer.header, same: dict[str, Image] = same) -> bool:
            same.update({name: message for name in names
                         for message in client.received[f'/semantic/{name}']
                         if message.header == header})
            return len(same) == len(names)
        if client.wait(complete, 0.5):
            break
    picture, confidence = (same[name] for name in names)
    rows = json.loads(client.latched('/semantic/labels')[0])['classes']
    assert (picture.encoding, confidence.encoding) == ('rgb8', 'mono8')
    assert list(picture.data[:3]) == rows[answer.data[0]]['rgb']
    assert len(confidence.data) == 48 * 64


def test_confidence_threshold_works_live(client: Client) -> None:
    assert client.set_parameter('confidence_threshold', 1) == (True, '')
    answer = client.answers(*camera_pair(90.0))
    assert client.set_parameter('confidence_threshold', 0.0)[0]
    assert answer is not None
    assert set(answer.data) == {255}  # random weights are never certain


def test_wrong_parameter_values_are_refused_with_a_reason(client: Client) -> None:
    for name, value in (('sync_slop', 3.0), ('depth_max', -1.0), ('sync_queue', 0),
                        ('input_qos', 'auto'), ('confidence_threshold', float('nan'))):
        accepted, reason = client.set_parameter(name, value)
        assert not accepted, name
        assert name in reason


def test_best_effort_camera_is_heard(client: Client) -> None:
    qos = rclpy.qos.QoSProfile(depth=2, reliability=rclpy.qos.ReliabilityPolicy.BEST_EFFORT)
    message, depth = camera_pair(95.0)
    camera = client.node.create_publisher(type(message), 'rgb/image_raw', qos)
    try:
        assert client.wait(lambda: camera.get_subscription_count() > 0)
        for attempt in range(20):
            message, depth = camera_pair(95.0 + attempt)
            camera.publish(message)
            if client.answers(None, depth, timeout=0.5):
                break
        else:
            pytest.fail('nothing came back from a best-effort camera')
        assert 'best_effort' in client.counts(lambda d: True)['colour_topic']
    finally:
        client.node.destroy_publisher(camera)
    assert client.wait(lambda: 'best_effort' not in client.diagnostics['colour_topic'])


def test_flooded_node_accounts_for_every_pair(client: Client) -> None:
    before = int(client.counts(lambda d: True)['pairs'])
    for number in range(60):
        client.send(*camera_pair(200.0 + number / 30))
    counts = client.counts(lambda d: int(d['pairs']) > before and d['rate_hz.colour'] == '0.00'
                           and d['in_flight'] == '0')
    assert counts['in_flight'] == '0'
    assert int(counts['pairs']) == int(counts['frames_out']) + sum(
        int(counts[f'drops.{cause}']) for cause in PAIR_CAUSES)
    assert int(counts['drops.superseded']) > 0


def test_deactivated_node_is_silent_and_wakes_again(client: Client) -> None:
    assert client.change_state('deactivate')
    assert client.state == 'inactive'
    assert client.answers(*camera_pair(300.0), timeout=0.5) is None
    assert client.change_state('cleanup')
    assert client.change_state('configure')
    assert client.change_state('activate')
    assert client.connected()
    assert client.answers(*camera_pair(300.1)) is not None


def test_impossible_transition_is_refused_and_the_node_lives(
        client: Client, node: NodeProcess) -> None:
    assert not client.change_state('configure')  # it is active
    assert client.state == 'active'
    assert client.answers(*camera_pair(310.0)) is not None
    assert 'refused while active' in node.text


def test_node_mends_a_wrong_model_and_ends_on_sigint(tiny_model: Path, tmp_path: Path) -> None:
    missing = tmp_path / 'nowhere'
    with running_node(tmp_path, model_path=missing, diagnostics_period=0.2) as (node, client):
        assert not client.change_state('activate')  # before configure
        assert not client.change_state('configure')
        assert client.state == 'unconfigured'
        assert client.wait(lambda: str(missing) in client.verdict), client.verdict
        assert str(missing) in node.text
        assert 'Traceback' not in node.text
        assert client.set_parameter('model_path', str(tiny_model)) == (True, '')
        assert client.change_state('configure'), node.text
        assert client.change_state('activate')
        code, seconds = node.end(signal.SIGINT)
        assert code == 0
        assert seconds < LAUNCH_WAITS_S
        assert 'Traceback' not in node.text


def test_autostarted_node_finds_a_model_that_was_copied_late_and_ends_on_sigterm(
        tiny_model: Path, tmp_path: Path) -> None:
    late = tmp_path / 'late'
    with running_node(tmp_path, model_path=late, autostart='true') as (node, client):
        assert client.wait(lambda: 'configure failed' in node.text, 60.0), node.text
        shutil.copytree(tiny_model, late)
        assert client.change_state('configure'), node.text
        assert client.change_state('activate')
        code, seconds = node.end(signal.SIGTERM)
        assert code == 0
        assert seconds < LAUNCH_WAITS_S
        assert 'Traceback' not in node.text


def test_autostarted_node_becomes_active_by_itself(tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_path=tiny_model, autostart='true') as (node, client):
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        assert client.state == 'active'


def test_misspelt_parameter_stops_configure_and_names_the_right_one(
        tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_pathh=tiny_model, sync_slop='9.0') as (node, client):
        assert not client.change_state('configure')
        assert "did you mean 'model_path'" in node.text
        assert "'sync_slop' is 9.0" in node.text


def test_interrupt_while_the_model_loads_ends_the_node(tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_path=tiny_model, autostart='true') as (node, client):
        assert client.wait(lambda: client.node.count_publishers('/diagnostics') > 0, 60.0)
        code, seconds = node.end(signal.SIGINT)
    assert code == 0
    assert seconds < LAUNCH_WAITS_S
    assert 'Traceback' not in node.text


def test_clock_set_back_starts_pairing_anew(tiny_model: Path, tmp_path: Path) -> None:
    with running_node(tmp_path, model_path=tiny_model, use_sim_time='true', autostart='true',
                      diagnostics_period=0.2) as (node, client):
        clock = client.node.create_publisher(Clock, '/clock', 10)
        assert client.wait(lambda: 'now active' in node.text, 60.0), node.text
        assert client.wait(lambda: clock.get_subscription_count() > 0)
        client.listen('/semantic')
        assert client.connected()
        client.send(camera_pair(100.0)[0], None)  # waits for its partner in vain
        assert client.counts(lambda d: d['waiting'] == '1')['waiting'] == '1'
        for second in (100, 101, 50):
            message = Clock()
            message.clock.sec = second
            clock.publish(message)
            client.wait(lambda: False, 0.5)  # /clock keeps the last message only
        counts = client.counts(lambda d: d['resets'] != '0')
        assert (counts['resets'], counts['waiting'], counts['drops.reset']) == ('1', '0', '1')
        assert client.answers(*camera_pair(50.0)) is not None
