# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node knows of its two cameras: calibration, alignment, and how depth is registered."""

import importlib
from dataclasses import dataclass
from typing import Any

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


class TfError(DiffPixelError):
    """Transforms are needed but cannot be received."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The colour camera as its camera_info describes it.

    Attributes:
        camera: Lens and size, for points.
        info: The message itself, for passing on.
    """

    camera: LensCamera
    info: CameraInfo

    def fill(self, message: CameraInfo, *, width: int, height: int) -> None:
        """Write the camera_info of a label image of this size into a message."""
        fill_info(message, self.info, width=width, height=height)


class Cameras:
    """Follows both camera_infos and, where depth is registered here, the transforms.

    Used by the executor's thread only.

    Args:
        node: The node that subscribes.
        parameters: Its settings.
        statistics: Where refused camera_infos are noted.

    Attributes:
        calibration: The colour camera; None before its first camera_info.
        alignment: What the two camera_infos say of each other; None before both came.

    Raises:
        TfError: If depth is to be registered by tf and tf2_msgs is not installed.
    """

    def __init__(self, node: GuardedLifecycleNode, parameters: NodeParameters,
                 statistics: Statistics) -> None:
        self._node = node
        self._statistics = statistics
        self._registers = parameters.depth_registration
        self._extrinsics = parameters.extrinsics if parameters.depth_extrinsics else None
        follows_tf = self._registers and not self._extrinsics
        transforms = _tf_message() if follows_tf else None  # raises before anything is subscribed
        self._depth: LensCamera | None = None
        self._infos: dict[str, tuple[object, ...]] = {}
        self._registration: DepthRegistration | None = None
        self._tree = TfTree()
        self.calibration: Calibration | None = None
        self.alignment: Alignment | None = None
        self._depth_info: CameraInfo | None = None
        reliability = parameters.input_qos
        rectified = {name: _RECTIFIED in node.resolve_topic_name(f'{name}/image_raw')
                     for name in ('rgb', 'depth')}
        self._rectified = rectified
        self.streams = {
            name: AdaptiveSubscription(node, CameraInfo, topic, callback, reliability=reliability)
            for name, topic, callback in (
                ('camera_info', 'rgb/camera_info', self._take_colour),
                ('depth_camera_info', 'depth/camera_info', self._take_depth))}
        self._transforms = [] if transforms is None else self._follow_tf(transforms)

    @property
    def registers(self) -> bool:
        """Whether depth is aligned here."""
        return self._registers

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the images of both cameras, depth first; those that are known."""
        colour = self.calibration.camera if self.calibration is not None else None
        return [(camera.height, camera.width) for camera in (self._depth, colour)
                if camera is not None]

    def take_infos(self, colour: CameraInfo, depth: CameraInfo) -> None:
        """Take the two camera_infos of an RGBD message."""
        self._take_colour(colour)
        self._take_depth(depth)

    def registration(self) -> DepthRegistration:
        """Return what redraws depth as the colour camera sees it.

        Raises:
            TfError: If a camera_info or a transform is still missing.
        """
        if self._registration is None:
            if self.calibration is None or self._depth is None:
                missing = 'depth/camera_info' if self.calibration else 'rgb/camera_info'
                raise TfError('depth_registration waits for a camera_info on '
                              f'{self._node.resolve_topic_name(missing)}')
            colour, depth = self.calibration.camera, self._depth
            pose = pose_matrix(*self._extrinsics) if self._extrinsics else \
                self._tree.pose(colour.frame_id, depth.frame_id)
            if pose is None:
                raise TfError(f'depth_registration waits for a transform from {depth.frame_id!r} '
                              f'to {colour.frame_id!r} on /tf_static; or set depth_extrinsics')
            self._registration = DepthRegistration(depth, colour, pose)
        return self._registration

    def describe(self) -> dict[str, str]:
        """Return camera and alignment for diagnostics."""
        facts = {'camera_info': 'none yet', 'alignment': 'unknown: both camera_infos are needed'}
        if self.calibration is not None:
            camera = self.calibration.camera
            facts['camera_info'] = f'{camera.width}x{camera.height} in {camera.frame_id!r}'
        if self._registers:
            facts['alignment'] = ('registered here' if self._registration is not None
                                  else 'to be registered here')
        elif self.alignment is not None:
            facts['alignment'] = f'{self.alignment.verdict}: {self.alignment.text}'
        return facts

    def adapt(self) -> None:
        """Follow the publishers' QoS."""
        for stream in self.streams.values():
            stream.adapt()

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

    def _take_colour(self, info: CameraInfo) -> None:
        camera = self._lens('rgb', info)
        if camera is not None:
            self.calibration = Calibration(camera, info)
            self._changed()

    def _take_depth(self, info: CameraInfo) -> None:
        camera = self._lens('depth', info)
        if camera is not None:
            self._depth, self._depth_info = camera, info
            self._changed()

    def _lens(self, name: str, info: CameraInfo) -> LensCamera | None:
        """Return the camera of a camera_info that says something new and possible, else None."""
        if not self._is_new(name, info):
            return None
        try:
            return camera_from_info(info, rectified=self._rectified[name])
        except CameraError as error:
            text = f'{name}/camera_info: {error}'
            self._statistics.drop('bad_camera_info', error=text)
            self._node.get_logger().warning(f'refused: {text}', throttle_duration_sec=5.0)
            return None

    def _is_new(self, name: str, info: CameraInfo) -> bool:
        """Tell whether this camera_info says something else than the one before."""
        facts = (info.header.frame_id, info.width, info.height, info.distortion_model,
                 info.k.tobytes(), info.p.tobytes(), tuple(info.d), info.binning_x, info.binning_y,
                 str(info.roi))
        if self._infos.get(name) == facts:
            return False
        self._infos[name] = facts
        return True

    def _changed(self) -> None:
        self._registration = None
        if self.calibration is None or self._depth_info is None:
            return
        self.alignment = alignment(self.calibration.info, self._depth_info)
        if self.alignment.verdict != 'aligned' and not self._registers:
            self._node.get_logger().warning(self.alignment.text)

    def _follow_tf(self, message: Any) -> list[Any]:
        def subscribe(topic: str, qos: Any, *, static: bool) -> Any:
            def take(transforms: Any) -> None:
                self._tree.add_message(transforms, static=static)
            return self._node.create_subscription(message, topic, self._node.guarded(take), qos)

        return [subscribe('/tf', 100, static=False),
                subscribe('/tf_static', STATIC_QOS, static=True)]


def _tf_message() -> Any:
    try:
        return importlib.import_module('tf2_msgs.msg').TFMessage
    except ImportError as error:
        raise TfError('depth_registration needs tf2_msgs to follow tf, and it is not installed; '
                      'install it, or set depth_extrinsics') from error
