# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in camera in a process of its own: noise as colour and depth, at a steady rate.

A camera that shares its process with what it measures shares its interpreter lock too.
"""

import argparse
import json
import signal
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from diffpixel_core.errors import DiffPixelError
from diffpixel_ros.client.child_process import ChildProcess

COLOUR, DEPTH = 'rgb/image_raw', 'depth/image_raw'
_QUEUE = 5  # as deep as camera drivers' sensor-data QoS
_PICTURES = 4  # different images, sent in turn
_SETTLED_S = 1.5  # the node may subscribe anew, as best effort, a second after it sees us


class CameraError(DiffPixelError):
    """The stand-in camera cannot run as asked, or has ended too early."""


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What the stand-in camera sends."""

    width: int = 640  # pixels
    height: int = 480  # pixels
    rate_hz: float = 30.0
    seconds: float = 0.0  # 0: until it is asked to end
    reliable: bool = True  # else best effort

    def __post_init__(self) -> None:
        """Reject sizes, rates and times that cannot be."""
        if self.width < 1 or self.height < 1 or not 0 < self.rate_hz < 1e4 or self.seconds < 0:
            raise CameraError(f'a camera of {self.width}x{self.height} at {self.rate_hz} Hz for '
                              f'{self.seconds} s cannot be; all must be positive')


class Shot(NamedTuple):
    """One pair that was published.

    Attributes:
        stamp_ns: Capture time in both headers, nanoseconds since 1970.
        colour_ns: `time.monotonic_ns()` just before the colour image was handed to DDS.
        depth_ns: The same of the depth image, the later of the two. The clock is the host's, so
            other processes may compare.
    """

    stamp_ns: int
    colour_ns: int
    depth_ns: int


class CameraProcess(ChildProcess):
    """The stand-in camera as a child process; a context manager.

    Args:
        settings: What it sends.
        folder: Where its log and its record go.
    """

    def __init__(self, settings: CameraSettings, folder: Path) -> None:
        self._record = folder / 'camera.json'
        self._record.unlink(missing_ok=True)
        arguments = [f'--{name}={value}' for name, value in (
            ('width', settings.width), ('height', settings.height), ('rate', settings.rate_hz),
            ('seconds', settings.seconds), ('record', self._record))]
        if not settings.reliable:
            arguments.append('--best-effort')
        super().__init__('diffpixel_ros.measure.camera_process', arguments, folder / 'camera.log',
                         name='the camera', error=CameraError)

    def finished(self) -> bool:
        """Tell whether it has ended by itself.

        Raises:
            CameraError: If it has ended otherwise than well.
        """
        if self.alive:
            return False
        if not self._record.is_file():
            self.check()
        return True

    def shots(self) -> list[Shot]:
        """Return every pair it has published, once it has ended other than by SIGKILL."""
        return [Shot(*row) for row in json.loads(self._record.read_text())]


def stream(node: Node, settings: CameraSettings, stop: threading.Event) -> list[Shot]:
    """Publish pairs until the time is over or `stop` is set, and return what was sent when.

    It waits until somebody listens to both topics before it begins.

    Args:
        node: The node that publishes.
        settings: What to send.
        stop: Set to end early.
    """
    qos = QoSProfile(depth=_QUEUE, reliability=ReliabilityPolicy.RELIABLE if settings.reliable
                     else ReliabilityPolicy.BEST_EFFORT)
    publishers = [node.create_publisher(Image, topic, qos) for topic in (COLOUR, DEPTH)]
    pairs = _pictures(settings)
    if not _await_listeners(publishers, stop):
        return []
    shots: list[Shot] = []
    period_ns = 1e9 / settings.rate_hz
    start_ns = time.monotonic_ns()
    while not stop.is_set():
        due_ns = start_ns + round(len(shots) * period_ns)
        if settings.seconds and due_ns - start_ns >= settings.seconds * 1e9:
            break
        if stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
            break
        stamp_ns = time.time_ns()
        sent_ns = []
        for message, publisher in zip(pairs[len(shots) % _PICTURES], publishers, strict=True):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
            sent_ns.append(time.monotonic_ns())
            publisher.publish(message)
        shots.append(Shot(stamp_ns, *sent_ns))
    for publisher in publishers:
        publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=3))
    return shots


def _await_listeners(publishers: Sequence[Any], stop: threading.Event) -> bool:
    """Wait until both topics have had a listener for a while; False if asked to stop."""
    since_s = time.monotonic()
    while time.monotonic() - since_s < _SETTLED_S:
        if not all(publisher.get_subscription_count() for publisher in publishers):
            since_s = time.monotonic()
        if stop.wait(0.02):
            return False
    return True


def _pictures(settings: CameraSettings) -> list[tuple[Image, Image]]:
    rng = np.random.default_rng(0)
    size = settings.height, settings.width
    return [(_message(rng.integers(0, 256, (*size, 3), dtype=np.uint8), 'rgb8'),
             _message(rng.integers(0, 5000, size, dtype=np.uint16), '16UC1'))
            for _ in range(_PICTURES)]


def _message(pixels: npt.NDArray[Any], encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=pixels[:1].nbytes, data=array('B', pixels.tobytes()))
    message.header.frame_id = 'camera_color_optical_frame'
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stand-in camera until its time is over, SIGINT or SIGTERM; return the exit code."""
    defaults = CameraSettings()
    parser = argparse.ArgumentParser(prog='python -m diffpixel_ros.measure.camera_process',
                                     description=__doc__.splitlines()[0])
    parser.add_argument('--width', type=int, default=defaults.width, help='pixels')
    parser.add_argument('--height', type=int, default=defaults.height, help='pixels')
    parser.add_argument('--rate', type=float, default=defaults.rate_hz, help='pairs per second')
    parser.add_argument('--seconds', type=float, default=defaults.seconds,
                        help='how long; 0: until it is asked to end')
    parser.add_argument('--best-effort', action='store_true', help='publish best effort')
    parser.add_argument('--record', type=Path, help='JSON file for what was sent when')
    options = parser.parse_args(arguments)
    settings = CameraSettings(options.width, options.height, options.rate, options.seconds,
                              not options.best_effort)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('stand_in_camera')
    try:
        shots = stream(node, settings, stop)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if options.record:
        options.record.write_text(json.dumps(shots))
    return 0


if __name__ == '__main__':
    sys.exit(main())
