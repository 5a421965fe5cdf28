# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs: everything the node publishes about a frame, and the table of its labels."""

import importlib
import importlib.util
import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import UNLABELLED, LabelSpace
from diffpixel_core.messages import fill_image
from diffpixel_ros.qos import OUTPUT_QOS

LABELS_SCHEMA = 1
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LabelInfoError(DiffPixelError):
    """vision_msgs/LabelInfo is required but not installed."""


class Outputs:
    """The publishers of one configured node; used by one thread at a time.

    Args:
        node: The node that publishes.
        label_space: Names and colours of the labels.
        model: Manifest facts for the label table: at least `name` and `weights_sha256`.
        label_info: `auto`, `require` or `off`.

    Raises:
        LabelInfoError: If vision_msgs is required but missing.
    """

    def __init__(self, node: Node, *, label_space: LabelSpace, model: dict[str, str],
                 label_info: str) -> None:
        self._node = node
        self._label_space = label_space
        self._model = model
        self._label_info: Any = None
        self.label_info_state = _label_info_state(label_info)
        if self.label_info_state == 'published':
            self._vision_msgs = importlib.import_module('vision_msgs.msg')
            self._label_info = node.create_publisher(self._vision_msgs.LabelInfo,
                                                     'semantic/label_info', LATCHED)
        elif label_info == 'auto':
            node.get_logger().warning('semantic/label_info is not published: ' + _missing())
        self._labels = node.create_publisher(String, 'semantic/labels', LATCHED)
        self._semantic, self._colour, self._confidence = (
            node.create_publisher(Image, topic, OUTPUT_QOS, qos_overriding_options=(
                QoSOverridingOptions.with_default_policies()))
            for topic in ('semantic', 'semantic/color', 'semantic/confidence'))
        # publish() serialises at once, so one message per topic can be filled again and again.
        self._message = {publisher: Image()
                         for publisher in (self._semantic, self._colour, self._confidence)}

    def publish(self, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8],
                header: Header) -> None:
        """Publish one frame; the pictures only if somebody subscribes.

        Args:
            labels: `(H, W)` uint8, 255 = unlabelled.
            confidence: `(H, W)` uint8, 255 = certain.
            header: The colour image's, passed on unchanged.
        """
        self._publish(self._semantic, labels, 'mono8', header)
        if self._confidence.get_subscription_count():
            self._publish(self._confidence, confidence, 'mono8', header)
        if self._colour.get_subscription_count():
            self._publish(self._colour, self._label_space.colourise(labels), 'rgb8', header)

    def publish_labels(self, *, confidence_threshold: float) -> None:
        """Publish the label table, once; late subscribers get it too.

        Args:
            confidence_threshold: Certainty below which a pixel is unlabelled, 0 to 1.
        """
        table = label_table(self._label_space, self._model)
        self._labels.publish(String(data=json.dumps(table)))
        if self._label_info is not None:
            message = label_info_message(self._vision_msgs.LabelInfo, self._vision_msgs.VisionClass,
                                         self._label_space, threshold=confidence_threshold)
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._label_info.publish(message)

    def destroy(self) -> None:
        """Destroy the publishers."""
        publishers = [*self._message, self._labels, self._label_info]
        for publisher in publishers:
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _publish(self, publisher: Any, image: npt.NDArray[np.uint8], encoding: str,
                 header: Header) -> None:
        message = self._message[publisher]
        fill_image(message, image, encoding=encoding, header=header)
        publisher.publish(message)


def label_table(label_space: LabelSpace, model: dict[str, str]) -> dict[str, Any]:
    """Return what `semantic/labels` carries as JSON."""
    space = label_space.as_json()
    return {'schema': LABELS_SCHEMA, 'model': model, 'label_space': space['name'],
            'unlabelled': UNLABELLED, 'classes': space['classes']}


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
