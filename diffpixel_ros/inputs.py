# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs: subscribe, refuse what cannot be used, pair the rest. The executor's half of the work.

Messages are paired, not images: a pair that a newer one overtakes is never decoded. Their headers
are checked on arrival all the same, so that a damaged message cannot take a good one with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.clock import JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, Image

from diffpixel_core.messages import MessageError, check_colour, check_depth, stamp_ns
from diffpixel_core.pairing import Pairer
from diffpixel_ros.diagnostics import Statistics
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.parameters import NodeParameters
from diffpixel_ros.qos import AdaptiveSubscription

_PAIRING_CAUSES = ('unpaired', 'overflow', 'reset', 'duplicate')


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """A colour and a depth message that belong together.

    Attributes:
        colour: A message `check_colour` has passed.
        depth: One `check_depth` has passed, of the same width and height.
        arrived_s: `time.perf_counter()` when the later of the two arrived.
    """

    colour: Image
    depth: Image
    arrived_s: float


class Inputs:
    """The subscriptions of an active node. Used by the executor's thread only.

    Args:
        node: The node that subscribes.
        parameters: Its settings.
        statistics: Where arrivals and drops are counted.
        on_pair: Called with every pair.
    """

    def __init__(self, node: GuardedLifecycleNode, parameters: NodeParameters,
                 statistics: Statistics, on_pair: Callable[[ImagePair], None]) -> None:
        self._node = node
        self._statistics = statistics
        self._on_pair = on_pair
        self._pairer = _pairer(parameters)
        self._folded = self._pairer.counts
        self.camera_info: CameraInfo | None = None
        self._jump_handle = self._watch_clock(parameters)
        self._streams = {
            name: AdaptiveSubscription(node, message_type, topic, callback,
                                       reliability=parameters.input_qos, on_lost=self._lost)
            for name, message_type, topic, callback in (
                ('colour', Image, 'rgb/image_raw', self._colour),
                ('depth', Image, 'depth/image_raw', self._depth),
                ('camera_info', CameraInfo, 'rgb/camera_info', self._camera_info))}

    def set_parameters(self, parameters: NodeParameters) -> None:
        """Pair by new settings from now on."""
        self._finish()
        self._pairer = _pairer(parameters)
        self._folded = self._pairer.counts
        self._jump_handle.unregister()
        self._jump_handle = self._watch_clock(parameters)

    def adapt(self) -> None:
        """Follow the publishers' QoS."""
        for stream in self._streams.values():
            stream.adapt()

    def fold(self) -> None:
        """Add what the pairer has counted since the last time to the statistics."""
        now, before = self._pairer.counts, self._folded
        for cause in _PAIRING_CAUSES:
            number = sum(getattr(new, cause) - getattr(old, cause)
                         for new, old in ((now.a, before.a), (now.b, before.b)))
            self._statistics.drop(cause, number)
        self._statistics.count('resets', now.resets - before.resets)
        self._folded = now

    def facts(self) -> dict[str, str]:
        """Return topics, QoS and camera for diagnostics."""
        facts = {f'{name}_topic': f'{stream.topic}: {stream.description}'
                 for name, stream in self._streams.items()}
        counts = self._pairer.counts
        facts['waiting'] = str(counts.a.waiting + counts.b.waiting)
        facts['sync_gap_ms'] = (f'mean {counts.gap_mean_ns / 1e6:.3f}, '
                                f'max {counts.gap_max_ns / 1e6:.3f}')
        info = self.camera_info
        facts['camera_info'] = ('none yet' if info is None else
                                f'{info.width}x{info.height} in {info.header.frame_id!r}')
        return facts

    def close(self) -> None:
        """Unsubscribe; pairs that were held back for a better partner are still handed on."""
        for stream in self._streams.values():
            stream.destroy()
        self._jump_handle.unregister()
        self._finish()

    def _watch_clock(self, parameters: NodeParameters) -> JumpHandle:
        jump_back_ns = max(1, _nanoseconds(parameters.jump_back_reset))
        return self._node.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-jump_back_ns)),
            post_callback=self._node.guarded(self._clock_jumped))

    def _finish(self) -> None:
        self._emit(self._pairer.flush())
        self.fold()

    def _colour(self, message: Image) -> None:
        self._statistics.count('colour_in')
        if self._usable(check_colour, message):
            self._emit(self._pairer.add_a(stamp_ns(message), message))

    def _depth(self, message: Image) -> None:
        self._statistics.count('depth_in')
        if self._usable(check_depth, message):
            self._emit(self._pairer.add_b(stamp_ns(message), message))

    def _camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message

    def _usable(self, check: Callable[[Image], None], message: Image) -> bool:
        try:
            check(message)
        except MessageError as error:
            self._statistics.drop(error.cause, error=str(error))
            self._node.get_logger().warning(f'refused: {error}', throttle_duration_sec=5.0)
            return False
        return True

    def _emit(self, pairs: list[tuple[Image, Image]]) -> None:
        arrived_s = time.perf_counter()
        for colour, depth in pairs:
            self._statistics.count('pairs')
            if (colour.width, colour.height) != (depth.width, depth.height):
                text = (f'colour is {colour.width}x{colour.height} but depth is {depth.width}x'
                        f'{depth.height}; align depth to colour in the camera driver (RealSense: '
                        'align_depth.enable:=true, Orbbec: depth_registration:=true)')
                self._statistics.drop('size_mismatch', error=text)
                self._node.get_logger().warning(f'refused: {text}', throttle_duration_sec=5.0)
                continue
            self._on_pair(ImagePair(colour, depth, arrived_s))

    def _clock_jumped(self, jump: TimeJump) -> None:
        self._node.get_logger().info('the clock jumped; pairing starts anew')
        self._pairer.reset()

    def _lost(self, number: int) -> None:
        self._statistics.drop('transport_lost', number)


def _pairer(parameters: NodeParameters) -> Pairer[Image, Image]:
    return Pairer(_nanoseconds(parameters.sync_slop), queue=parameters.sync_queue,
                  jump_back_ns=_nanoseconds(parameters.jump_back_reset))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
