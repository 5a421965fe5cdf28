# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs: everything the node publishes about a frame, and the table of its labels.

Only `/semantic` is made for every frame; the rest is computed while somebody subscribes.
"""

import importlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header, String

from diffpixel_core.cloud import CLOUD_DTYPE, cloud_array, fill_cloud, nav_triple
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame
from diffpixel_core.labels import LabelSpace, encode_labels, label_table
from diffpixel_core.messages import fill_image
from diffpixel_core.segmenter import Segmentation
from diffpixel_ros.cameras import Calibration
from diffpixel_ros.qos import OUTPUT_QOS

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Clouds are large, and a costmap wants the newest, not the lost one again.
CLOUD_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
_TOPICS = {
    'semantic': (Image, OUTPUT_QOS),
    'semantic/confidence': (Image, OUTPUT_QOS),
    'semantic/color': (Image, OUTPUT_QOS),
    'semantic/overlay': (Image, OUTPUT_QOS),
    'semantic/camera_info': (CameraInfo, OUTPUT_QOS),
    'semantic/points': (PointCloud2, CLOUD_QOS),
    'semantic/nav/mask': (Image, CLOUD_QOS),
    'semantic/nav/confidence': (Image, CLOUD_QOS),
    'semantic/nav/points': (PointCloud2, CLOUD_QOS),
    'semantic/timings': (String, OUTPUT_QOS),
}
_NAV = ('semantic/nav/mask', 'semantic/nav/confidence', 'semantic/nav/points')


class LabelInfoError(DiffPixelError):
    """vision_msgs/LabelInfo is required but not installed."""


@dataclass(frozen=True, slots=True)
class OutputStyle:
    """What outputs look like.

    Attributes:
        overlay_alpha: Share of the label colours in the overlay, 0 to 1.
        points_void_nan: Whether points of unlabelled pixels are NaN.
        nav_stride: Every how many pixels of a row and column the Nav2 triple has a point.
    """

    overlay_alpha: float = 0.5
    points_void_nan: bool = True
    nav_stride: int = 2


class Outputs:
    """The publishers of one configured node; used by one thread at a time.

    Args:
        node: The node that publishes.
        label_encoding: One of `LABEL_ENCODINGS`, for `/semantic`.
        label_info: `auto`, `require` or `off`.

    Raises:
        LabelInfoError: If vision_msgs is required but missing.
    """

    def __init__(self, node: Node, *, label_encoding: str, label_info: str) -> None:
        self._node = node
        self._encoding = label_encoding
        self._label_info: Any = None
        self.label_info_state = _label_info_state(label_info)
        if self.label_info_state == 'published':
            self._vision_msgs = importlib.import_module('vision_msgs.msg')
            self._label_info = node.create_publisher(self._vision_msgs.LabelInfo,
                                                     'semantic/label_info', LATCHED)
        elif label_info == 'auto':
            node.get_logger().warning('semantic/label_info is not published: ' + _missing())
        self._labels = node.create_publisher(String, 'semantic/labels', LATCHED)
        # publish() serialises at once, so one message per topic can be filled again and again.
        self._topics = {
            topic: (node.create_publisher(kind, topic, qos, qos_overriding_options=(
                QoSOverridingOptions.with_default_policies())), kind())
            for topic, (kind, qos) in _TOPICS.items()}
        # Filled again and again: fresh memory costs 6 ms a frame.
        self._points = np.empty((0, 0), CLOUD_DTYPE)

    def publish(self, seen: Segmentation, frame: Frame, header: Header,
                calibration: Calibration | None, style: OutputStyle) -> None:
        """Publish one frame; all but the labels only if somebody subscribes.

        Args:
            seen: Labels and confidence.
            frame: The images they were made of.
            header: The colour image's, passed on unchanged.
            calibration: The colour camera's; without it there are no points.
            style: What the outputs look like.
        """
        self._image('semantic', encode_labels(seen.labels, self._encoding), self._encoding, header)
        if self._wanted('semantic/confidence'):
            self._image('semantic/confidence', seen.confidence, 'mono8', header)
        if self._wanted('semantic/color', 'semantic/overlay'):
            self._pictures(seen, frame.rgb, header, style.overlay_alpha)
        if calibration is not None:
            self._spatial(seen, frame, header, calibration, style)
        elif self._wanted('semantic/camera_info', 'semantic/points', *_NAV):
            self._node.get_logger().warning(
                'points and camera_info are not published: there is no camera_info of the colour '
                'camera that can be used; /diagnostics says more', throttle_duration_sec=10.0)

    def publish_timings(self, stamp_ns: int, milliseconds: Mapping[str, float]) -> None:
        """Publish how long each stage of a frame took, if somebody subscribes."""
        publisher, message = self._topics['semantic/timings']
        if publisher.get_subscription_count():
            stages = {name: round(value, 3) for name, value in milliseconds.items()}
            message.data = json.dumps({'stamp_ns': stamp_ns, 'ms': stages})
            publisher.publish(message)

    def publish_labels(self, label_space: LabelSpace, model: Mapping[str, str], *,
                       confidence_threshold: float) -> None:
        """Publish the label table, once; late subscribers get it too.

        Args:
            label_space: Names and colours of the labels that are published.
            model: Manifest facts: at least `name` and `weights_sha256`.
            confidence_threshold: Certainty below which a pixel is unlabelled, 0 to 1.
        """
        table = label_table(label_space, model, encoding=self._encoding)
        self._labels.publish(String(data=json.dumps(table)))
        if self._label_info is not None:
            message = label_info_message(self._vision_msgs.LabelInfo, self._vision_msgs.VisionClass,
                                         label_space, threshold=confidence_threshold)
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._label_info.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        publishers = [publisher for publisher, _ in self._topics.values()]
        for publisher in (*publishers, self._labels, self._label_info):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _wanted(self, *topics: str) -> bool:
        return any(self._topics[topic][0].get_subscription_count() for topic in topics)

    def _image(self, topic: str, image: npt.NDArray[Any], encoding: str, header: Header) -> None:
        publisher, message = self._topics[topic]
        fill_image(message, image, encoding=encoding, header=header)
        publisher.publish(message)

    def _cloud(self, topic: str, points: npt.NDArray[Any], header: Header) -> None:
        publisher, message = self._topics[topic]
        fill_cloud(message, points, header, PointField)
        publisher.publish(message)

    def _pictures(self, seen: Segmentation, rgb: npt.NDArray[np.uint8], header: Header,
                  alpha: float) -> None:
        colours = seen.label_space.colourise(seen.labels)
        if self._wanted('semantic/color'):
            self._image('semantic/color', colours, 'rgb8', header)
        if self._wanted('semantic/overlay'):
            mixed = np.asarray(cv2.addWeighted(rgb, 1 - alpha, colours, alpha, 0), np.uint8)
            self._image('semantic/overlay', mixed, 'rgb8', header)

    def _spatial(self, seen: Segmentation, frame: Frame, header: Header,
                 calibration: Calibration, style: OutputStyle) -> None:
        if self._wanted('semantic/camera_info'):
            publisher, message = self._topics['semantic/camera_info']
            calibration.fill(message, width=frame.x.shape[1], height=frame.x.shape[0])
            message.header = header
            publisher.publish(message)
        if self._wanted('semantic/points', *_NAV):
            height, width = frame.x.shape
            camera = calibration.camera.resized(width, height)
            if self._wanted('semantic/points'):
                if self._points.shape != (height, width):
                    self._points = np.empty((height, width), CLOUD_DTYPE)
                self._cloud('semantic/points', cloud_array(
                    frame.x, camera.rays(1), frame.rgb, seen.labels, seen.confidence,
                    void_nan=style.points_void_nan, out=self._points), header)
            if self._wanted(*_NAV):
                nav = nav_triple(frame.x, camera, seen.labels, seen.confidence,
                                 stride=style.nav_stride)
                self._image('semantic/nav/mask', nav.mask, 'mono8', header)
                self._image('semantic/nav/confidence', nav.confidence, 'mono8', header)
                self._cloud('semantic/nav/points', nav.xyz, header)


def label_info_message(label_info: Any, vision_class: Any, label_space: LabelSpace, *,
                       threshold: float) -> Any:
    """Return a `vision_msgs/LabelInfo` made of the message classes given.

    Unlabelled is 255 by the message's own convention for 8-bit label images.
    """
    message = label_info()
    message.class_map = [vision_class(class_id=label, class_name=name)
                         for label, name in enumerate(label_space.names)]
    message.threshold = float(threshold)
    return message


def _label_info_state(wanted: str) -> str:
    if wanted == 'off':
        return 'off'
    if importlib.util.find_spec('vision_msgs') is not None:
        return 'published'
    if wanted == 'require':
        raise LabelInfoError('parameter label_info is require, but ' + _missing())
    return 'unavailable'


def _missing() -> str:
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    return ('vision_msgs is not installed (sudo apt install '
            f'ros-{distribution}-vision-msgs); semantic/labels carries the same table as JSON')
