# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs: subscribe, refuse what cannot be used, pair the rest. The executor's half of the work.

Messages are paired, not images: a pair that a newer one overtakes is never decoded. Their headers
are checked on arrival all the same, so that a damaged message cannot take a good one with it.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration
from sensor_msgs.msg import CompressedImage, Image

from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS, ColourCodec, DepthCodec
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.messages import MessageError, stamp_ns
from diffpixel_core.synchronise import Synchroniser
from diffpixel_ros.cameras import Calibration, Cameras, Infos, Registration, tf_message
from diffpixel_ros.diagnostics import Statistics
from diffpixel_ros.filters import FilterSynchroniser
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.parameters import NodeParameters
from diffpixel_ros.qos import AdaptiveSubscription
from diffpixel_ros.raw_image import read_compressed_image, read_image

_PAIRING_CAUSES = ('unpaired', 'overflow', 'reset', 'duplicate')
_RAW, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
# Message type, what image_transport appends to the topic, and how the bytes are read.
TRANSPORTS: dict[str, tuple[Any, str, Callable[[bytes], Any]]] = {
    'raw': (Image, '', read_image),
    'compressed': (CompressedImage, '/compressed', read_compressed_image),
    'compressedDepth': (CompressedImage, '/compressedDepth', read_compressed_image)}
_Size = tuple[int, int]  # height, width
_Checked = tuple[Any, _Size]
_AnySynchroniser = Synchroniser[_Checked, _Checked] | FilterSynchroniser[_Checked, _Checked]
_ALIGN = ('align depth to colour in the camera driver (RealSense: align_depth.enable:=true, Orbbec '
          'and OpenNI: depth_registration:=true, Azure Kinect: take the depth_to_rgb topics), or '
          'set our parameter depth_registration')
# What takes effect while the node is active: settings of the pairing itself.
PAIRING_PARAMETERS = ('sync_slop', 'sync_queue', 'jump_back_reset', 'missing_depth',
                      'missing_depth_after')


class InputError(DiffPixelError):
    """An input that is asked for but not to be had here."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """A colour and a depth message that belong together.

    Attributes:
        colour: A message that its codec has checked.
        depth: Likewise, of the same width and height unless it is registered here; None where
            colour goes on alone.
        arrived_s: `time.perf_counter()` when the later of the two arrived.
        calibration: The colour camera; None before its camera_info has come.
        register: Redraws depth as the colour camera sees it; None where that is done already.
    """

    colour: Any
    depth: Any | None
    arrived_s: float
    calibration: Calibration | None
    register: Registration | None


class Inputs:
    """The subscriptions of an active node. Used by the executor's thread only.

    Args:
        node: The node that subscribes.
        parameters: Its settings.
        statistics: Where arrivals and drops are counted.
        on_pair: Called with every pair.
        infos: What the cameras said before, if they were followed before.

    Raises:
        DiffPixelError: If a message type or a library that was asked for is not installed.
    """

    def __init__(self, node: GuardedLifecycleNode, parameters: NodeParameters,
                 statistics: Statistics, on_pair: Callable[[ImagePair], None], *,
                 infos: Infos = (None, None)) -> None:
        self._node = node
        self._statistics = statistics
        self._on_pair = on_pair
        self._parameters = parameters
        self._colour_codec, self._depth_codec = codecs(parameters)
        self._synchroniser = _synchroniser(parameters)
        self._folded = self._synchroniser.counts
        self._due_s = 0.0
        self._streams: dict[str, AdaptiveSubscription] = {}
        self._cameras = Cameras(node, parameters, statistics, infos)
        self._jump_handle = self._watch_clock()
        try:
            for name, kind, topic, callback, raw in self._wanted():
                self._streams[name] = AdaptiveSubscription(
                    node, kind, topic, callback, raw=raw, reliability=parameters.input_qos,
                    on_lost=self._lost)
        except Exception:
            self.close()
            raise

    @property
    def infos(self) -> Infos:
        """The last camera_infos of colour and depth."""
        return self._cameras.infos

    def set_parameters(self, parameters: NodeParameters, *, pairing: bool) -> None:
        """Work by new settings from now on.

        Args:
            parameters: All settings.
            pairing: Whether those of the pairing are among the changed ones; it then starts anew.
        """
        if pairing:
            self._finish()  # by the old settings
        self._parameters = parameters
        if pairing:
            self._synchroniser = _synchroniser(parameters)
            self._folded = self._synchroniser.counts
            self._jump_handle.unregister()
            self._jump_handle = self._watch_clock()

    @property
    def unaligned(self) -> str:
        """Why depth does not fit colour by their camera_infos; empty if it does or need not."""
        alignment = self._cameras.alignment
        if self._cameras.registers or self._parameters.alignment_check == 'off' \
                or alignment is None or alignment.verdict != 'unaligned':
            return ''
        return alignment.text

    @property
    def warnings(self) -> list[str]:
        """What a person should know of the cameras."""
        return [self._cameras.misfit] if self._cameras.misfit else []

    def tick(self) -> None:
        """Follow the publishers' QoS, and give up waiting for depth that stays away."""
        for stream in self._streams.values():
            stream.adapt()
        self._cameras.tick()
        self._emit(self._synchroniser.tick(time.monotonic_ns()))

    def reset(self) -> None:
        """Forget what waits for a partner, and begin to count anew."""
        self._synchroniser.reset()
        self.fold()
        self._synchroniser = _synchroniser(self._parameters)
        self._folded = self._synchroniser.counts

    def fold(self) -> None:
        """Add what the pairing has counted since the last time to the statistics."""
        now, before = self._synchroniser.counts, self._folded
        for cause in _PAIRING_CAUSES:
            number = sum(getattr(new, cause) - getattr(old, cause)
                         for new, old in ((now.a, before.a), (now.b, before.b)))
            self._statistics.drop(cause, number)
        if self._parameters.missing_depth == 'drop':
            self._statistics.drop('no_depth', now.a.released - before.a.released)
        self._statistics.count('resets', now.resets - before.resets)
        self._folded = now

    def facts(self) -> dict[str, str]:
        """Return topics, QoS and cameras for diagnostics."""
        facts = {f'{name}_topic': f'{stream.topic}: {stream.description}'
                 for name, stream in (self._streams | self._cameras.streams).items()}
        counts = self._synchroniser.counts
        facts['waiting'] = str(counts.a.waiting + counts.b.waiting)
        facts['sync_gap_ms'] = (f'mean {counts.gap_mean_ns / 1e6:.3f}, '
                                f'max {counts.gap_max_ns / 1e6:.3f}')
        facts['depth'] = 'silent' if self._synchroniser.depth_is_silent else 'arrives'
        return facts | self._cameras.describe()

    def close(self) -> None:
        """Unsubscribe; pairs that were held back for a better partner are still handed on."""
        for stream in self._streams.values():
            stream.destroy()
        self._jump_handle.unregister()
        self._finish()
        self._cameras.close()

    def _wanted(self) -> list[tuple[str, Any, str, Callable[[Any], None], bool]]:
        """Return name, message type, topic, callback and rawness of each image stream."""
        parameters = self._parameters
        if parameters.input == 'rgbd':
            return [('rgbd', _rgbd_message(), 'rgbd', self._rgbd, False)]
        streams: list[tuple[str, Any, str, Callable[[Any], None], bool]] = []
        for name, base, transport, callback in (
                ('colour', 'rgb/image_raw', parameters.rgb_transport, self._colour),
                ('depth', 'depth/image_raw', parameters.depth_transport, self._depth)):
            kind, suffix, _ = TRANSPORTS[transport]
            # As image_transport does: who remaps the image topic has remapped its transports, too.
            topic = self._node.resolve_topic_name(base) + suffix if suffix else base
            streams.append((name, kind, topic, callback, True))
        return streams

    def _watch_clock(self) -> JumpHandle:
        jump_back_ns = max(1, _nanoseconds(self._parameters.jump_back_reset))
        return self._node.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-jump_back_ns)),
            post_callback=self._node.guarded(self._clock_jumped))

    def _finish(self) -> None:
        self._emit(self._synchroniser.flush())
        self.fold()

    def _colour(self, raw: bytes) -> None:
        self._statistics.count('colour_in')
        read = TRANSPORTS[self._parameters.rgb_transport][2]
        checked = self._checked(lambda: read(raw), self._colour_codec.check)
        if checked is not None:
            self._emit(self._synchroniser.add_colour(stamp_ns(checked[0]), checked,
                                                     time.monotonic_ns()))

    def _depth(self, raw: bytes) -> None:
        self._statistics.count('depth_in')
        read = TRANSPORTS[self._parameters.depth_transport][2]
        checked = self._checked(lambda: read(raw), self._depth_codec.check)
        if checked is not None:
            self._emit(self._synchroniser.add_depth(stamp_ns(checked[0]), checked,
                                                    time.monotonic_ns()))

    def _rgbd(self, message: Any) -> None:
        """Take a pair that the camera has made; nothing is left to synchronise."""
        for name in ('colour_in', 'depth_in'):
            self._statistics.count(name)
        self._cameras.take_infos(message.rgb_camera_info, message.depth_camera_info)
        colour = self._checked(lambda: message.rgb, self._colour_codec.check)
        depth = self._checked(lambda: message.depth, self._depth_codec.check)
        if colour is not None and depth is not None:
            self._emit([(colour, depth)])
        elif colour is not None or depth is not None:
            self._statistics.drop('unpaired')  # the other half was refused

    def _checked(self, read: Callable[[], Any],
                 check: Callable[[Any], _Size]) -> _Checked | None:
        """Return an image with its height and width; None if it cannot be used."""
        try:
            message = read()
            return message, check(message)
        except MessageError as error:
            self._statistics.drop(error.cause, error=str(error))
            self._node.get_logger().warning(f'refused: {error}', throttle_duration_sec=5.0)
            return None

    def _emit(self, pairs: list[tuple[_Checked, _Checked | None]]) -> None:
        arrived_s = time.perf_counter()
        for (colour, size), depth in pairs:
            self._statistics.count('alone' if depth is None else 'pairs')
            if self._too_soon(arrived_s):
                self._statistics.drop('rate_limited')
                continue
            register = None
            if depth is not None:
                obstacle = self._obstacle(size, depth[1])
                if obstacle is not None:
                    cause, text = obstacle
                    self._statistics.drop(cause, error=text)
                    self._node.get_logger().warning(f'refused: {text}', throttle_duration_sec=5.0)
                    continue
                register = self._cameras.registration() if self._cameras.registers else None
            self._on_pair(ImagePair(colour, None if depth is None else depth[0], arrived_s,
                                    self._cameras.calibration(size), register))

    def _obstacle(self, colour: _Size, depth: _Size) -> tuple[str, str] | None:
        """Return why depth does not fit colour pixel by pixel, as cause and text; None if it does.

        Args:
            colour: Height and width of the colour image.
            depth: Likewise.
        """
        if self._cameras.registers:
            try:
                self._cameras.registration()
            except DiffPixelError as error:
                return 'unaligned', str(error)
            if self._cameras.sizes != [depth, colour]:
                expected = ' and '.join(map(_by, self._cameras.sizes))
                return 'size_mismatch', (f'by their camera_infos depth and colour are {expected}, '
                                         f'the images are {_by(depth)} and {_by(colour)}')
            return None
        if colour != depth:
            return 'size_mismatch', f'colour is {_by(colour)} but depth is {_by(depth)}; {_ALIGN}'
        if self._parameters.alignment_check == 'refuse' and self.unaligned:
            return 'unaligned', (f'{self.unaligned}; if the camera_infos are wrong, set '
                                 'alignment_check to warn')
        return None

    def _too_soon(self, now_s: float) -> bool:
        """Tell whether a frame now would exceed `publish_rate_max`; keeps the mean rate exactly."""
        rate = self._parameters.publish_rate_max
        if not rate:
            return False
        if now_s < self._due_s:
            return True
        self._due_s = max(self._due_s + 1 / rate, now_s)
        return False

    def _clock_jumped(self, jump: TimeJump) -> None:
        self._node.get_logger().info('the clock jumped; pairing starts anew')
        self._synchroniser.reset()
        self._cameras.reset()

    def _lost(self, number: int) -> None:
        self._statistics.drop('transport_lost', number)


def check_installed(parameters: NodeParameters) -> None:
    """Make sure that what the inputs will need is there.

    Raises:
        DiffPixelError: Naming what is not installed.
    """
    if parameters.input == 'rgbd':
        _rgbd_message()
    if parameters.depth_registration and not parameters.depth_extrinsics:
        tf_message()
    _synchroniser(parameters)


def codecs(parameters: NodeParameters) -> tuple[ColourCodec, DepthCodec]:
    """Return the codecs of the transports that were chosen."""
    colour = _RAW if parameters.rgb_transport == 'raw' else _COMPRESSED
    depth = _RAW if parameters.depth_transport == 'raw' else _COMPRESSED
    return COLOUR_CODECS[colour], DEPTH_CODECS[depth]


def _synchroniser(parameters: NodeParameters) -> _AnySynchroniser:
    slop_ns, queue = _nanoseconds(parameters.sync_slop), parameters.sync_queue
    missing_after_ns = _nanoseconds(parameters.missing_depth_after)
    if parameters.synchronizer == 'message_filters':
        return FilterSynchroniser(slop_ns, queue=queue, missing_depth=parameters.missing_depth,
                                  missing_after_ns=missing_after_ns)
    return Synchroniser(slop_ns, queue=queue, missing_depth=parameters.missing_depth,
                        missing_after_ns=missing_after_ns,
                        jump_back_ns=_nanoseconds(parameters.jump_back_reset))


def _rgbd_message() -> Any:
    try:
        return importlib.import_module('realsense2_camera_msgs.msg').RGBD
    except (ImportError, AttributeError) as error:
        raise InputError('parameter input is rgbd, but realsense2_camera_msgs is not installed '
                         '(sudo apt install ros-$ROS_DISTRO-realsense2-camera-msgs); or set input '
                         'to topics') from error


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _by(size: _Size) -> str:
    return f'{size[1]}x{size[0]}'
