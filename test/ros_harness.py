# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The real node in its own process and a client that talks to it over real DDS."""

import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from diffpixel_ros.client.node_process import private_domain

ROOT = Path(__file__).resolve().parents[1]
_HEAR_ALL = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
TRANSITIONS = {'configure': 1, 'cleanup': 2, 'activate': 3, 'deactivate': 4,
               'unconfigured_shutdown': 5, 'inactive_shutdown': 6, 'active_shutdown': 7}


class NodeProcess:
    """`python -m diffpixel_ros.node` with parameters, its output kept in a file."""

    def __init__(self, log: Path, parameters: dict[str, object]) -> None:
        options = [text for name, value in parameters.items()
                   for text in ('-p', f'{name}:={value}')]
        self.log = log
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'diffpixel_ros.node', '--ros-args', *options], cwd=ROOT,
                env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}, stdout=output,
                stderr=subprocess.STDOUT)

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def end(self, number: signal.Signals, timeout: float = 20.0) -> tuple[int, float]:
        """Signal the process; return its exit code and the seconds it took to end."""
        started = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(timeout), time.monotonic() - started

    def kill(self) -> None:
        """End the process whatever its state."""
        if self.alive:
            self._process.kill()
            self._process.wait()


class Client:
    """A node that plays camera, lifecycle manager and consumer."""

    def __init__(self, domain: int) -> None:
        self._context = Context()
        self._context.init(args=[], domain_id=domain)
        self.node = Node(f'test_client_{domain}', context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._colour = self.node.create_publisher(Image, 'rgb/image_raw', reliable)
        self._depth = self.node.create_publisher(Image, 'depth/image_raw', reliable)
        self.received: dict[str, list[Any]] = {}
        self.diagnostics: dict[str, str] = {}
        self.verdict = ''
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 10)
        self._services = {kind: self.node.create_client(kind, f'/segment/{name}')
                          for kind, name in ((ChangeState, 'change_state'), (GetState, 'get_state'),
                                             (SetParameters, 'set_parameters'))}
        self._own_services = {name: self.node.create_client(kind, f'/segment/{name}')
                              for name, kind in (('enable', SetBool), ('reset', Trigger),
                                                 ('reload_model', Trigger))}

    def __enter__(self) -> 'Client':
        """Return the client, which works already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the network."""
        self._executor.shutdown(timeout_sec=0.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def wait(self, condition: Callable[[], bool], timeout: float = 30.0) -> bool:
        """Spin until a condition holds; False if it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def change_state(self, transition: str) -> bool:
        """Ask for a transition; return whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return bool(self._call(ChangeState, request).success)

    @property
    def state(self) -> str:
        """The node's lifecycle state."""
        return str(self._call(GetState, GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: object) -> tuple[bool, str]:
        """Set a parameter; return whether it was accepted and why not."""
        message = Parameter(name, value=value).to_parameter_msg()
        result = self._call(SetParameters, SetParameters.Request(parameters=[message])).results[0]
        return bool(result.successful), str(result.reason)

    def call(self, name: str, *, data: bool | None = None,
             meanwhile: Callable[[], None] | None = None) -> tuple[bool, str]:
        """Call one of the node's own services; return success and message.

        Args:
            name: `enable`, `reset` or `reload_model`.
            data: What `enable` is asked for.
            meanwhile: Called once between the request and the answer, and done before the answer.
        """
        client = self._own_services[name]
        request = Trigger.Request() if data is None else SetBool.Request(data=data)
        assert self.wait(client.service_is_ready, 60.0), f'{name} is not there'
        future = client.call_async(request)
        if meanwhile is not None:
            meanwhile()
            assert not future.done(), 'the answer came before what was to be done meanwhile'
        assert self.wait(future.done, 60.0), f'{name} does not answer'
        return bool(future.result().success), str(future.result().message)

    def listen(self, *topics: str, kind: Any = Image) -> None:
        """Keep the messages of these topics in `received`; returns once connected."""
        for topic in topics:
            images = self.received.setdefault(topic, [])
            self.node.create_subscription(kind, topic, images.append, _HEAR_ALL)
        assert self.wait(lambda: all(self.node.count_publishers(t) for t in topics)), topics

    def latched(self, topic: str) -> list[str]:
        """Subscribe late to a latched string and return what arrives."""
        texts: list[str] = []
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(String, topic, lambda m: texts.append(m.data), qos)
        self.wait(lambda: bool(texts))
        return texts

    def connected(self) -> bool:
        """Wait until the node hears both cameras."""
        return self.wait(lambda: bool(self._colour.get_subscription_count()
                                      and self._depth.get_subscription_count()))

    def send(self, colour: Image | None, depth: Image | None) -> None:
        """Publish a pair, or one half of it."""
        if colour is not None:
            self._colour.publish(colour)
        if depth is not None:
            self._depth.publish(depth)

    def answers(self, colour: Image | None, depth: Image, timeout: float = 30.0) -> Image | None:
        """Publish a pair; return the label image with its stamp, or None."""
        seen = len(self.received['/semantic'])  # the stamp may have been used before
        found: list[Image] = []

        def answered() -> bool:
            found[:] = [message for message in self.received['/semantic'][seen:]
                        if message.header.stamp == depth.header.stamp]
            return bool(found)
        self.send(colour, depth)
        return found[0] if self.wait(answered, timeout) else None

    def counts(self, settled: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Return the next diagnostics for which `settled` holds, else the last ones."""
        self.diagnostics = {}
        self.wait(lambda: bool(self.diagnostics) and settled(self.diagnostics), 20.0)
        return self.diagnostics

    def _call(self, kind: Any, request: Any) -> Any:
        client = self._services[kind]
        # The process of this machine may take a while to start; a service that is up answers soon.
        assert self.wait(client.service_is_ready, 60.0), f'{client.srv_name} is not there'
        future = client.call_async(request)
        assert self.wait(future.done, 60.0), f'{client.srv_name} does not answer'
        return future.result()

    def _diagnose(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        self.verdict = status.message
        self.diagnostics = {pair.key: pair.value for pair in status.values}


def camera_info(width: int = 64, height: int = 48, *, focal: float = 60.0,
                frame: str = 'camera_optical') -> CameraInfo:
    """Return the camera_info of an undistorted camera that looks straight ahead."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5,
                      k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
                      r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                      p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0])
    info.header.frame_id = frame
    return info


def image(pixels: npt.NDArray[Any], encoding: str, stamp_s: float, *,
          frame: str = 'camera_optical') -> Image:
    """Return an image message of an array."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=pixels.nbytes // pixels.shape[0],
                    data=array('B', np.ascontiguousarray(pixels).tobytes()))
    message.header.frame_id = frame
    message.header.stamp.sec = int(stamp_s)
    message.header.stamp.nanosec = round((stamp_s - int(stamp_s)) * 1e9)
    return message


def camera_pair(stamp_s: float, *, height: int = 48, width: int = 64,
                depth: npt.NDArray[Any] | None = None) -> tuple[Image, Image]:
    """Return a random colour image and a depth image of one stamp."""
    rng = np.random.default_rng(round(stamp_s * 1000))
    if depth is None:
        depth = rng.integers(500, 5000, (height, width)).astype(np.uint16)
    encoding = '16UC1' if depth.dtype == np.uint16 else '32FC1'
    colour = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return image(colour, 'rgb8', stamp_s), image(depth, encoding, stamp_s)


@contextmanager
def running_node(folder: Path, **parameters: object) -> Iterator[tuple[NodeProcess, Client]]:
    """Run a node and a client for it, alone in a ROS domain; at the end nothing is left of them.

    The model runs in PyTorch unless `backend` says otherwise: nothing has to be converted.
    """
    with private_domain() as domain, Client(domain) as client:
        node = NodeProcess(folder / 'node.log', {'backend': 'torch', **parameters})
        try:
            yield node, client
        finally:
            node.kill()
