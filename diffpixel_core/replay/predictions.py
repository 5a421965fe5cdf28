# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay predicts, as a bag that Foxglove, RViz and `ros2 bag play` open.

The topics are those of the node. Images carry the stamp and frame of their colour image and are
recorded when it was, so that this bag and the replayed one can be viewed side by side.
"""

import json
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CompressedImage as CompressedImage
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as Image
from rosbags.typesys.stores.ros2_jazzy import std_msgs__msg__String as String

from diffpixel_core.bags import BagMessage, BagWriter, message_header
from diffpixel_core.labels import LabelSpace, label_table

SEMANTIC, CONFIDENCE, LABELS = '/semantic', '/semantic/confidence', '/semantic/labels'
COLOUR, INFO = '/semantic/color/compressed', '/semantic/camera_info'
_INFO_TYPE, _TF_TYPE = 'sensor_msgs/msg/CameraInfo', 'tf2_msgs/msg/TFMessage'
# Flat colours compress well whatever the effort; this is the fastest.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)

_U8 = npt.NDArray[np.uint8]


class PredictionBag:
    """Write the labels of a replay; use it in a `with` statement.

    Args:
        path: The `.mcap` file, which must not exist.
        label_space: What the labels mean.
        model: Facts of the model for the label table.

    Raises:
        BagError: As `BagWriter`; also if no frame was written.
    """

    def __init__(self, path: Path, label_space: LabelSpace, model: dict[str, str]) -> None:
        self._bag = BagWriter(path, compression='zstd-chunk')  # labels shrink to a few percent
        self._space = label_space
        self._model = model
        self._is_empty = True

    def __enter__(self) -> 'PredictionBag':
        """Start the bag."""
        self._bag.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Finish the bag, or leave nothing after an error."""
        self._bag.__exit__(kind, error, trace)

    def add(self, labels: _U8, confidence: _U8, *, stamp_ns: int, frame_id: str,
            time_ns: int) -> None:
        """Write one frame.

        Args:
            labels: `(H, W)`, 255 = unlabelled.
            confidence: `(H, W)`, 255 = certain.
            stamp_ns: Capture time of the colour image.
            frame_id: Its optical frame.
            time_ns: When the colour image was recorded.
        """
        if self._is_empty:
            table = json.dumps(label_table(self._space, self._model))
            self._bag.add(LABELS, String(table), time_ns, latched=True)
            self._is_empty = False
        header = message_header(stamp_ns, frame_id)
        for topic, image in ((SEMANTIC, labels), (CONFIDENCE, confidence)):
            height, width = image.shape
            self._bag.add(topic, Image(header, height, width, 'mono8', 0, width,
                                       np.ascontiguousarray(image).ravel()), time_ns)
        _, png = cv2.imencode('.png', self._space.colourise(labels)[..., ::-1], _PNG)
        self._bag.add(COLOUR, CompressedImage(header, 'rgb8; png compressed bgr8', png.ravel()),
                      time_ns)

    def add_info(self, message: BagMessage) -> None:
        """Pass on a CameraInfo of the colour camera, which is that of the labels."""
        if message.type == _INFO_TYPE:
            self._bag.add_raw(INFO, message.type, message.raw, message.time_ns)

    def add_tf(self, message: BagMessage, *, static: bool) -> None:
        """Pass on a message of `/tf` or `/tf_static`, so that viewers know where the camera is."""
        if message.type == _TF_TYPE:
            self._bag.add_raw(message.topic, message.type, message.raw, message.time_ns,
                              latched=static)
