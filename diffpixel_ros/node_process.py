# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""NodeProcess: the node in a process of its own, started, brought up, and ended without a trace."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

import diffpixel_ros
from diffpixel_core.errors import DiffPixelError

logger = logging.getLogger(__name__)

_CONFIGURE, _ACTIVATE = 1, 3  # lifecycle_msgs/msg/Transition
_ROOT = Path(diffpixel_ros.__file__).resolve().parents[1]
_SHM = Path('/dev/shm')


class NodeError(DiffPixelError):
    """The node did not start, did not answer, or ended too early."""


class NodeProcess:
    """`python -m diffpixel_ros.node` with parameters and remappings; a context manager.

    Args:
        log: File for what the node writes.
        parameters: Values by parameter name.
        remappings: New topic by topic name of the node.

    Attributes:
        log: The file.
        exit_code: Its exit code once it has ended, else None.
        stop_s: Seconds it took to end after it was asked to.
    """

    def __init__(self, log: Path, *, parameters: Mapping[str, bool | int | float | str],
                 remappings: Mapping[str, str]) -> None:
        self.log = log
        self.exit_code: int | None = None
        self.stop_s = 0.0
        self._command = [sys.executable, '-m', 'diffpixel_ros.node', '--ros-args']
        for name, value in parameters.items():
            self._command += ['-p', f'{name}:={json.dumps(value)}']
        for name, topic in remappings.items():
            self._command += ['-r', f'{name}:={topic}']
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> 'NodeProcess':
        """Start the process."""
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
        with self.log.open('wb') as output:
            # A session of its own: Ctrl-C at the terminal reaches us alone, and we end the node.
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env={**os.environ, 'PYTHONPATH': path})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End the process if it still runs."""
        self.stop()

    def check(self) -> None:
        """Make sure that the process runs.

        Raises:
            NodeError: If it has ended, with its last words.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            self.exit_code = self._process.returncode
            raise NodeError(f'the node ended with exit code {self.exit_code}: {self.last_words()}; '
                            f'its whole log is {self.log}')

    def last_words(self) -> str:
        """Return the last error in the log, or its last line, without the logger's prefix."""
        lines = [line for line in self.log.read_text(errors='replace').splitlines()
                 if line.strip()]
        errors = [line for line in lines if re.search(r'\[(ERROR|FATAL)\]|^\w*Error\b', line)]
        line = (errors or lines or ['it wrote nothing'])[-1]
        return re.sub(r'^(\[[^\]]*\]:? ?)+', '', line).strip()

    def bring_up(self, node: Node, *, timeout_s: float) -> None:
        """Configure and activate the node through its lifecycle services.

        Args:
            node: A node that another thread spins.
            timeout_s: How long all of it may take; loading a model takes most.

        Raises:
            NodeError: If the node ends, refuses a transition, or takes longer.
        """
        deadline = time.monotonic() + timeout_s
        change = node.create_client(ChangeState, '/segment/change_state')
        state = node.create_client(GetState, '/segment/get_state')
        self._wait(lambda: change.service_is_ready() and state.service_is_ready(), deadline,
                   'its services do not appear')
        for name, number in (('configure', _CONFIGURE), ('activate', _ACTIVATE)):
            request = ChangeState.Request()
            request.transition.id = number
            if not self._call(change, request, deadline, f'it does not finish to {name}').success:
                raise NodeError(f'the node refused to {name}: {self.last_words()}; '
                                f'its whole log is {self.log}')
        answer = self._call(state, GetState.Request(), deadline, 'it does not tell its state')
        if answer.current_state.label != 'active':
            raise NodeError(f'the node is {answer.current_state.label!r}, not active: '
                            f'{self.last_words()}; its whole log is {self.log}')
        node.destroy_client(change)
        node.destroy_client(state)

    def stop(self, *, patience_s: float = 15.0) -> None:
        """End the process by SIGINT, as Ctrl-C would; by force if it does not listen."""
        process = self._process
        if process is None:
            return
        started = time.monotonic()
        try:
            for number, seconds in ((signal.SIGINT, patience_s), (signal.SIGTERM, 3.0)):
                if process.poll() is not None:
                    break
                process.send_signal(number)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
            self.exit_code = process.wait()
            self.stop_s = time.monotonic() - started
            self._process = None

    def _call(self, client: Any, request: Any, deadline: float, complaint: str) -> Any:
        future = client.call_async(request)
        self._wait(future.done, deadline, complaint)
        return future.result()

    def _wait(self, done: Callable[[], bool], deadline: float, complaint: str) -> None:
        while not done():
            self.check()
            if time.monotonic() > deadline:
                raise NodeError(f'the node does not come up, {complaint}; its last line: '
                                f'{self.last_words()}; its whole log is {self.log}')
            time.sleep(0.02)


@contextmanager
def private_domain() -> Iterator[int]:
    """Yield a ROS domain nobody else on this host uses; the environment says so meanwhile.

    Discovery stays on this host, and images go through the shared-memory profile that is installed
    with the package. Child processes inherit all of it. Shared memory left by a process that was
    killed is freed at the end.

    Raises:
        NodeError: If no domain is free or the profile is not installed.
    """
    profile = str(_shared_memory_profile())
    domain = _free_domain()
    values = {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTRTPS_DEFAULT_PROFILES_FILE': profile,  # Fast DDS 2, up to Jazzy
        'FASTDDS_DEFAULT_PROFILES_FILE': profile,  # Fast DDS 3
    }
    before = {name: os.environ.get(name) for name in values}
    segments = _shared_memory()
    os.environ.update(values)
    try:
        yield domain
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if _shared_memory() - segments:
            _clean_shared_memory()


def _free_domain() -> int:
    for attempt in range(100):
        domain = 1 + (os.getpid() + attempt) % 100
        # The first participant of a domain listens here.
        # Source: OMG DDSI-RTPS 2.5, section 9.6.2.3: 7400 + 250 domain + 10.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
        return domain
    raise NodeError('all ROS domains from 1 to 100 are in use on this host; end what runs there')


def _shared_memory_profile() -> Path:
    roots = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    places = [_ROOT / 'config' / 'fastdds.xml',
              *(Path(root) / 'share/diffpixel_ros/config/fastdds.xml' for root in roots if root)]
    for place in places:
        if place.is_file():
            return place
    raise NodeError('the Fast DDS profile is not installed (looked for '
                    f'{", ".join(map(str, places))}); install with `pip install .` or colcon')


def _shared_memory() -> set[Path]:
    return set(_SHM.glob('fastrtps_*')) | set(_SHM.glob('fastdds_*'))


def _clean_shared_memory() -> None:
    """Remove segments whose process is gone; Fast DDS's own tool leaves those in use alone."""
    tool = Path(sys.executable).with_name('fastdds')
    if tool.is_file():
        try:
            subprocess.run([tool, 'shm', 'clean'], check=False, capture_output=True, timeout=20,
                           stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:  # no reason to lose the results of a run
            logger.warning('shared memory is not cleaned up: %s', error)
