# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for the camera and for the node: what subscribers of the node see.

Whoever is killed says no goodbye: its publishers stay listed for the participant lease of DDS (20 s
under Fast DDS) and its shared memory stays in /dev/shm. Neither keeps the others from going on.
"""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy')

from diffpixel_core.tiny_model import save_tiny_model  # noqa: E402
from diffpixel_ros.measure.camera_process import CameraProcess, CameraSettings  # noqa: E402
from ros_harness import Client, NodeProcess, running_node  # noqa: E402

CAMERA = CameraSettings(width=160, height=120, rate_hz=10.0)
SHM = Path('/dev/shm')
PARAMETERS = {'autostart': 'true', 'diagnostics_period': 0.1, 'stale_timeout': 1.0}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('log')))
        patch.setenv('OMP_NUM_THREADS', '1')
        yield save_tiny_model(tmp_path_factory.mktemp('model'))


def frames_come(client: Client, number: int = 5) -> float:
    """Return how many seconds `number` further label images take; fail if they stay away."""
    started, before = time.monotonic(), len(client.received['/semantic'])
    assert client.wait(lambda: len(client.received['/semantic']) >= before + number, 30.0), \
        (client.verdict, client.diagnostics)
    return time.monotonic() - started


def is_silent(client: Client, seconds: float) -> bool:
    """Tell whether no label image comes for a while."""
    before = len(client.received['/semantic'])
    return not client.wait(lambda: len(client.received['/semantic']) > before, seconds)


def ports(domain: int) -> set[str]:
    """Return the shared-memory ports of a ROS domain.

    Source: OMG DDSI-RTPS 2.5, section 9.6.2.3: the ports of a domain begin at 7400 + 250 domain.
    """
    numbers = range(7400 + 250 * domain, 7400 + 250 * (domain + 1))
    return {path.name for path in SHM.glob('fast*_port*')
            if path.name.partition('_port')[2].partition('_')[0] in map(str, numbers)}


@pytest.mark.slow
def test_killed_camera_is_reported_and_its_successor_served(model: Path, tmp_path: Path) -> None:
    """What a subscriber sees when the camera dies and comes back.

    `/semantic` falls silent with the last complete pair; nothing is repeated or made up. After
    `stale_timeout` the verdict on `/diagnostics` says that no colour and no depth images arrive.
    The new camera is found without anybody's help, as a second publisher beside the dead one, and
    frames flow again; the node was neither restarted nor reset. At most one image whose partner
    died with the camera is counted as unpaired.
    """
    (tmp_path / 'first').mkdir()
    (tmp_path / 'second').mkdir()
    with running_node(tmp_path, model_path=model, **PARAMETERS) as (node, client):
        client.listen('/semantic')
        with CameraProcess(CAMERA, tmp_path / 'first') as camera:
            frames_come(client)
            camera.kill()
        client.wait(lambda: False, 0.5)  # what was on its way
        assert is_silent(client, 1.0)
        assert client.wait(lambda: 'no colour and no depth images arrive' in client.verdict, 5.0), \
            client.verdict
        stamps = [image.header.stamp for image in client.received['/semantic']]
        assert len({(stamp.sec, stamp.nanosec) for stamp in stamps}) == len(stamps)
        with CameraProcess(CAMERA, tmp_path / 'second'):
            frames_come(client)
            assert client.wait(lambda: 'frames/s' in client.verdict, 5.0), client.verdict
        assert node.alive
        counts = client.counts(lambda d: d['rate_hz.colour'] == '0.00' and d['in_flight'] == '0')
        assert counts['resets'] == '0'
        assert int(counts['drops.unpaired']) + int(counts['waiting']) <= 2
        assert counts['drops.callback_error'] == '0'
        assert 'Traceback' not in node.text


@pytest.mark.slow
def test_killed_node_is_replaced_and_subscribers_need_not_care(
        model: Path, tmp_path: Path) -> None:
    """What a subscriber sees when the node dies and is started again.

    `/semantic` and `/diagnostics` fall silent at once, and nothing says why: whoever watches must
    time out. The camera goes on at its pace, since its queue keeps the last images only. A new node
    takes over under the same name: the subscriptions that were there hear it, the latched label
    table comes again, and counters start at 0. The dead node's shared memory lies about until the
    last participant of its kind is gone or `fastdds shm clean` is run; the new node is not
    disturbed by it.
    """
    with running_node(tmp_path, model_path=model, **PARAMETERS) as (node, client):
        client.listen('/semantic')
        with CameraProcess(CAMERA, tmp_path) as camera:
            frames_come(client)
            frames = int(client.counts(lambda d: True)['frames_out'])
            node.kill()
            client.wait(lambda: False, 0.5)
            domain = int(os.environ['ROS_DOMAIN_ID'])
            assert ports(domain), 'a killed node leaves its shared memory'
            client.diagnostics = {}
            assert is_silent(client, 1.0)
            assert client.diagnostics == {}
            assert camera.alive
            successor = NodeProcess(tmp_path / 'successor.log', {'model_path': model, **PARAMETERS})
            try:
                assert frames_come(client) < 20.0
                assert len(client.latched('/semantic/labels')) >= 1
                assert 0 < int(client.counts(lambda d: True)['frames_out']) < frames + 1000
                assert 'Traceback' not in successor.text
                assert 'now active' in successor.text
            finally:
                successor.kill()
            camera.stop()
            shots = camera.shots()
    gaps_s = [(b.colour_ns - a.colour_ns) / 1e9 for a, b in itertools.pairwise(shots)]
    assert max(gaps_s) < 1.5, 'the camera was not held up'
    assert not ports(domain), 'nothing is left when the domain is given up'
