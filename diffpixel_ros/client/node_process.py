# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""NodeProcess: the node in a process of its own, started, brought up, and ended without a trace."""

import fcntl
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node

from diffpixel_core.errors import DiffPixelError
from diffpixel_ros.client.child_process import ROOT, ChildProcess

logger = logging.getLogger(__name__)

_TRANSITIONS = {'configure': 1, 'activate': 3, 'deactivate': 4}  # lifecycle_msgs/msg/Transition
_SHM = Path('/dev/shm')
_turns = itertools.count()


class NodeError(DiffPixelError):
    """The node did not start, did not answer, or ended too early."""


class NodeProcess(ChildProcess):
    """`python -m diffpixel_ros.node` with parameters and remappings; a context manager.

    Its `check` raises a NodeError.

    Args:
        log: File for what the node writes.
        parameters: Values by parameter name.
        remappings: New topic by topic name of the node.
    """

    def __init__(self, log: Path, *, parameters: Mapping[str, bool | int | float | str],
                 remappings: Mapping[str, str]) -> None:
        arguments = ['--ros-args']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={json.dumps(value)}']
        for name, topic in remappings.items():
            arguments += ['-r', f'{name}:={topic}']
        super().__init__('diffpixel_ros.node', arguments, log, name='the node', error=NodeError)

    def bring_up(self, node: Node, *, timeout_s: float) -> None:
        """Configure and activate the node through its lifecycle services.

        Args:
            node: A node that another thread spins.
            timeout_s: How long all of it may take; loading a model takes most.

        Raises:
            NodeError: If the node ends, refuses a transition, or takes longer.
        """
        self.change(node, ('configure', 'activate'), timeout_s=timeout_s)

    def change(self, node: Node, transitions: Sequence[str], *, timeout_s: float) -> None:
        """Send the node through some transitions of its lifecycle.

        Args:
            node: A node that another thread spins.
            transitions: Their names, in order.
            timeout_s: How long all of it may take.

        Raises:
            NodeError: If the node ends, refuses a transition, or takes longer.
        """
        deadline = time.monotonic() + timeout_s
        client = node.create_client(ChangeState, '/segment/change_state')
        self._wait(client.service_is_ready, deadline, 'its services do not appear')
        for name in transitions:
            request = ChangeState.Request()
            request.transition.id = _TRANSITIONS[name]
            if not self._call(client, request, deadline, f'it does not finish to {name}').success:
                raise NodeError(f'the node refused to {name}: {self.last_words()}; '
                                f'its whole log is {self.log}')
        node.destroy_client(client)

    def _call(self, client: Any, request: Any, deadline: float, complaint: str) -> Any:
        future = client.call_async(request)
        self._wait(future.done, deadline, complaint)
        return future.result()

    def _wait(self, done: Callable[[], bool], deadline: float, complaint: str) -> None:
        while not done():
            self.check()
            if time.monotonic() > deadline:
                raise NodeError(f'the node does not answer, {complaint}; its last line: '
                                f'{self.last_words()}; its whole log is {self.log}')
            time.sleep(0.02)


@contextmanager
def private_domain(*, profile: bool = True) -> Iterator[int]:
    """Yield a ROS domain nobody else on this host uses; the environment says so meanwhile.

    Discovery stays on this host. Child processes inherit all of it. Shared memory left by a process
    that was killed is freed at the end.

    Args:
        profile: Send images through the shared-memory profile that is installed with the package;
            else through what Fast DDS does by default. A process reads it once, with its first
            participant.

    Raises:
        NodeError: If no domain is free or the profile is not installed.
    """
    path = str(_shared_memory_profile()) if profile else None
    domain, lock = _free_domain()
    values = {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTRTPS_DEFAULT_PROFILES_FILE': path,  # Fast DDS 2, up to Jazzy
        'FASTDDS_DEFAULT_PROFILES_FILE': path,  # Fast DDS 3
    }
    before = {name: os.environ.get(name) for name in values}
    segments = _shared_memory()
    _set_environment(values)
    with lock:
        try:
            yield domain
        finally:
            _set_environment(before)
            if _shared_memory() - segments:
                _clean_shared_memory()
                _remove_ports(domain)


def _set_environment(values: Mapping[str, str | None]) -> None:
    """Set environment variables; those that are None are removed."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _free_domain() -> tuple[int, IO[str]]:
    """Return a domain and the open file whose lock keeps others of us from choosing it, too."""
    for _ in range(100):
        # Never the same twice running: whoever was killed stays listed in its domain for a while.
        domain = 1 + (os.getpid() + next(_turns)) % 100
        try:
            file = Path(tempfile.gettempdir(), f'diffpixel-ros-domain-{domain}')
            lock = file.open('a')  # the caller closes it
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        # The first participant of a domain listens here.
        # Source: OMG DDSI-RTPS 2.5, section 9.6.2.3: 7400 + 250 domain + 10.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                lock.close()
                continue
        return domain, lock
    raise NodeError('all ROS domains from 1 to 100 are in use on this host; end what runs there')


def _shared_memory_profile() -> Path:
    roots = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    places = [ROOT / 'config' / 'fastdds.xml',
              *(Path(root) / 'share/diffpixel_ros/config/fastdds.xml' for root in roots if root)]
    for place in places:
        if place.is_file():
            return place
    raise NodeError('the Fast DDS profile is not installed (looked for '
                    f'{", ".join(map(str, places))}); install with `pip install .` or colcon')


def _shared_memory() -> set[Path]:
    return set(_SHM.glob('fastrtps_*')) | set(_SHM.glob('fastdds_*'))


def _remove_ports(domain: int) -> None:
    """Remove what killed processes left of a domain's shared-memory ports.

    Fast DDS's own tool passes over a port whose lock is gone, some 50 KB each.

    Source: OMG DDSI-RTPS 2.5, section 9.6.2.3: the ports of a domain begin at 7400 + 250 domain.
    """
    first = 7400 + 250 * domain
    for path in _SHM.glob('*fast*_port*'):
        number = re.search(r'_port(\d+)', path.name)
        if number is not None and first <= int(number[1]) < first + 250:
            path.unlink(missing_ok=True)


def _clean_shared_memory() -> None:
    """Remove segments whose process is gone; Fast DDS's own tool leaves those in use alone."""
    tool = Path(sys.executable).with_name('fastdds')
    if tool.is_file():
        try:
            subprocess.run([tool, 'shm', 'clean'], check=False, capture_output=True, timeout=20,
                           stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:  # no reason to lose the results of a run
            logger.warning('shared memory is not cleaned up: %s', error)
