# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node knows of its two cameras: calibration, alignment, and how depth is registered."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo

from diffpixel_core.camera_info import Alignment, LensCamera, alignment, camera_from_info, fill_info
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import CameraError
from diffpixel_core.registration import DepthRegistration
from diffpixel_core.tf_tree import TfTree, pose_matrix
from diffpixel_ros.diagnostics import Statistics
from diffpixel_ros.lifecycle import GuardedLifecycleNode
from diffpixel_ros.parameters import NodeParameters
from diffpixel_ros.qos import STATIC_QOS, AdaptiveSubscription

_RECTIFIED = 'image_rect'  # image_proc's names: image_rect, image_rect_color
_SAME_POSE = 1e-6  # metres, and parts of a rotation matrix; less is no movement
# The last camera_info of colour and of depth; None where none has come.
Infos = tuple[CameraInfo | None, CameraInfo | None]


class TfError(DiffPixelError):
    """A transform or a camera_info that registration needs is missing."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A camera as its camera_info describes it.

    Attributes:
        camera: Lens and size, for points.
        info: The message itself, for passing on.
    """

    camera: LensCamera
    info: CameraInfo

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images, pixels."""
        return self.camera.height, self.camera.width

    def fits(self, size: tuple[int, int]) -> bool:
        """Tell whether an image of this height and width can be the camera's, perhaps resized."""
        height, width = self.size
        return abs(width * size[0] - height * size[1]) <= max(width, size[1])

    def fill(self, message: CameraInfo, *, width: int, height: int) -> None:
        """Write the camera_info of a label image of this size into a message."""
        fill_info(message, self.info, width=width, height=height)


class Registration:
    """Redraws depth as the colour camera sees it; set up at the first use, by the thread that does.

    Args:
        depth: The depth camera.
        colour: The colour camera.
        pose: `(4, 4)` the depth camera in the colour camera's frame, metres.
    """

    def __init__(self, depth: LensCamera, colour: LensCamera,
                 pose: npt.NDArray[np.float64]) -> None:
        self._cameras = depth, colour
        self.pose = pose
        self._registration: DepthRegistration | None = None

    def __call__(self, depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return `(H, W)` float32 metres of the colour camera, 0 = not measured."""
        if self._registration is None:  # takes up to half a second
            self._registration = DepthRegistration(*self._cameras, self.pose)
        return self._registration(depth_m)


class Cameras:
    """Follows both camera_infos and, where depth is registered here, the transforms.

    Used by the executor's thread only.

    Args:
        node: The node that subscribes.
        parameters: Its settings.
        statistics: Where refused camera_infos are counted.
        infos: What the cameras said before, if they were followed before.

    Attributes:
        registers: Whether depth is aligned here.
        alignment: What the two camera_infos say of each other; None before both came.
        misfit: Why the last image cannot be the calibrated camera's; empty if it can.

    Raises:
        TfError: If depth is to be registered by tf and tf2_msgs is not installed.
    """

    def __init__(self, node: GuardedLifecycleNode, parameters: NodeParameters,
                 statistics: Statistics, infos: Infos) -> None:
        self._node = node
        self._statistics = statistics
        self.registers = parameters.depth_registration
        self._extrinsics = pose_matrix(*parameters.extrinsics) if parameters.depth_extrinsics \
            else None
        self._rectified = {name: _RECTIFIED in node.resolve_topic_name(f'{name}/image_raw')
                           for name in ('rgb', 'depth')}
        self._calibrations: dict[str, Calibration] = {}
        self._refused: dict[str, str] = {}
        self._last: dict[str, CameraInfo] = {}
        self.misfit = ''
        self._registration: Registration | None = None
        self._tree = TfTree()
        self.alignment: Alignment | None = None
        self.streams: dict[str, AdaptiveSubscription] = {}
        self._transforms: list[Any] = []
        for name, info in zip(('rgb', 'depth'), infos, strict=True):
            if info is not None:
                self._take(name, info)
        try:
            self._subscribe(parameters.input_qos)
        except Exception:
            self.close()
            raise

    @property
    def infos(self) -> Infos:
        """The last camera_infos of colour and depth."""
        return self._last.get('rgb'), self._last.get('depth')

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the images of both cameras, depth first; those that are known."""
        return [self._calibrations[name].size for name in ('depth', 'rgb')
                if name in self._calibrations]

    def calibration(self, size: tuple[int, int]) -> Calibration | None:
        """Return the colour camera's for images of a size; None while nothing is known that fits.

        Args:
            size: Height and width of the colour image.
        """
        known = self._calibrations.get('rgb')
        if known is None or known.fits(size):
            self.misfit = ''
            return known
        text = (f'rgb/camera_info is for {known.size[1]}x{known.size[0]}, the images are '
                f'{size[1]}x{size[0]}, another shape: no points are made of them; let the driver '
                'publish the info of this very stream')
        if text != self.misfit:
            self.misfit = text
            self._node.get_logger().warning(text)
        return None

    def take_infos(self, colour: CameraInfo, depth: CameraInfo) -> None:
        """Take the two camera_infos of an RGBD message."""
        self._take('rgb', colour)
        self._take('depth', depth)

    def registration(self) -> Registration:
        """Return what redraws depth as the colour camera sees it.

        Raises:
            TfError: If a camera_info or a transform is still missing.
        """
        if self._registration is None:
            for name in ('rgb', 'depth'):
                if name not in self._calibrations:
                    raise TfError('depth_registration waits for a camera_info on '
                                  f'{self._topic(name)}{self._why_not(name)}')
            colour, depth = (self._calibrations[name].camera for name in ('rgb', 'depth'))
            pose = self._pose()
            if pose is None:
                raise TfError(f'depth_registration waits for a transform from {depth.frame_id!r} '
                              f'to {colour.frame_id!r} on /tf_static; or set depth_extrinsics')
            self._registration = Registration(depth, colour, pose)
        return self._registration

    def describe(self) -> dict[str, str]:
        """Return camera and alignment for diagnostics."""
        facts = {'camera_info': f'none yet{self._why_not("rgb")}',
                 'alignment': 'unknown: both camera_infos are needed'}
        if 'rgb' in self._calibrations:
            camera = self._calibrations['rgb'].camera
            facts['camera_info'] = f'{camera.width}x{camera.height} in {camera.frame_id!r}'
        if self.registers:
            facts['alignment'] = ('registered here' if self._registration is not None
                                  else 'to be registered here')
        elif self.alignment is not None:
            facts['alignment'] = f'{self.alignment.verdict}: {self.alignment.text}'
        return facts

    def tick(self) -> None:
        """Follow the publishers' QoS, and a transform that has changed."""
        for stream in self.streams.values():
            stream.adapt()
        if self._registration is not None:
            pose = self._pose()
            if pose is not None and np.abs(pose - self._registration.pose).max() > _SAME_POSE:
                self._registration = None
                self._node.get_logger().info('the cameras have moved; depth is registered anew')

    def reset(self) -> None:
        """Forget transforms that may change; their time has jumped back."""
        self._tree.reset()

    def close(self) -> None:
        """Unsubscribe."""
        for stream in self.streams.values():
            stream.destroy()
        for subscription in self._transforms:
            self._node.destroy_subscription(subscription)
        self._transforms = []

    def _subscribe(self, reliability: str) -> None:
        for name, stream in (('rgb', 'camera_info'), ('depth', 'depth_camera_info')):
            def take(info: CameraInfo, name: str = name) -> None:
                self._take(name, info)
            self.streams[stream] = AdaptiveSubscription(
                self._node, CameraInfo, self._topic(name), take, reliability=reliability)
        if self.registers and self._extrinsics is None:
            message = tf_message()
            for topic, qos, static in (('/tf', 100, False), ('/tf_static', STATIC_QOS, True)):
                def follow(transforms: Any, static: bool = static) -> None:
                    self._tree.add_message(transforms, static=static)
                self._transforms.append(self._node.create_subscription(
                    message, topic, self._node.guarded(follow), qos))

    def _topic(self, name: str) -> str:
        """Return the topic of a camera_info: beside the images, unless it is remapped itself."""
        own = f'{name}/camera_info'
        topic = str(self._node.resolve_topic_name(own))
        if topic != self._node.resolve_topic_name(own, only_expand=True):
            return own
        images = str(self._node.resolve_topic_name(f'{name}/image_raw'))
        return images.rpartition('/')[0] + '/camera_info'

    def _take(self, name: str, info: CameraInfo) -> None:
        """Take a camera_info if it says something new; one that cannot be true ends the old one."""
        if name in self._last and _facts(self._last[name]) == _facts(info):
            return
        self._last[name] = info
        self._registration = self.alignment = None
        self._calibrations.pop(name, None)
        self._refused.pop(name, None)
        try:
            self._calibrations[name] = Calibration(
                camera_from_info(info, rectified=self._rectified[name]), info)
        except CameraError as error:
            self._refused[name] = text = f'{name}/camera_info: {error}'
            self._statistics.drop('bad_camera_info', error=text)
            self._node.get_logger().warning(f'refused: {text}', throttle_duration_sec=5.0)
            return
        if len(self._calibrations) == 2:
            self.alignment = alignment(self._calibrations['rgb'].info,
                                       self._calibrations['depth'].info)
            if self.alignment.verdict != 'aligned' and not self.registers:
                self._node.get_logger().warning(self.alignment.text)

    def _why_not(self, name: str) -> str:
        return f'; refused: {self._refused[name]}' if name in self._refused else ''

    def _pose(self) -> npt.NDArray[np.float64] | None:
        if self._extrinsics is not None:
            return self._extrinsics
        colour, depth = (self._calibrations[name].camera.frame_id for name in ('rgb', 'depth'))
        return self._tree.pose(colour, depth)


def tf_message() -> Any:
    """Return the message class of /tf.

    Raises:
        TfError: If tf2_msgs is not installed.
    """
    try:
        return importlib.import_module('tf2_msgs.msg').TFMessage
    except ImportError as error:
        raise TfError('depth_registration needs tf2_msgs to follow tf, and it is not installed; '
                      'install it, or set depth_extrinsics') from error


def _facts(info: CameraInfo) -> tuple[object, ...]:
    return (info.header.frame_id, info.width, info.height, info.distortion_model,
            info.k.tobytes(), info.p.tobytes(), tuple(info.d), info.binning_x, info.binning_y,
            str(info.roi))
