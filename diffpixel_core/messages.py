# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays and back, without ROS and without copying where that is possible.

Works on any object with the fields of `sensor_msgs/Image`: height, width, encoding, is_bigendian,
step, data.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.depth import depth_in_metres
from diffpixel_core.errors import DiffPixelError

MAX_PIXELS = 64_000_000
_MILLIMETRE = 0.001  # metres; the step of a 16UC1 depth image unless the camera says otherwise


class MessageError(DiffPixelError):
    """An image message that cannot be used.

    Attributes:
        cause: Key under which the node counts it: `bad_encoding`, `bad_size` or `bad_data`.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class ImageMessage(Protocol):
    """The fields of `sensor_msgs/Image` that are used here."""

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True)
class Pixels:
    """How one pixel of an encoding lies in memory.

    Attributes:
        dtype: NumPy type of one value, byte order left out.
        channels: Values per pixel; packed 4:2:2 counts as two.
        to_rgb: Turns `(H, W, channels)` uint8 into `(H, W, 3)` RGB; None for depth.
    """

    dtype: str
    channels: int
    to_rgb: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None


def _by_opencv(code: int) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]:
    def convert(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)
    return convert


COLOUR_ENCODINGS = {
    'rgb8': Pixels('u1', 3, np.ascontiguousarray),
    'bgr8': Pixels('u1', 3, _by_opencv(cv2.COLOR_BGR2RGB)),
    'rgba8': Pixels('u1', 4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    'bgra8': Pixels('u1', 4, _by_opencv(cv2.COLOR_BGRA2RGB)),
    'mono8': Pixels('u1', 1, _by_opencv(cv2.COLOR_GRAY2RGB)),
    'yuv422': Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    'yuv422_yuy2': Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    'uyvy': Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),  # the names since Iron
    'yuyv': Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
}
DEPTH_ENCODINGS = {
    '16UC1': Pixels('u2', 1),
    'mono16': Pixels('u2', 1),
    '32FC1': Pixels('f4', 1),
}


def stamp_ns(message: ImageMessage) -> int:
    """Return the capture time of a message, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def check_colour(message: ImageMessage) -> None:
    """Refuse a colour image that cannot be decoded; cheap, looks at the header and sizes only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    pixels = COLOUR_ENCODINGS.get(message.encoding)
    if pixels is None and _have_cv_bridge():
        return  # sizes of foreign encodings are cv_bridge's to judge
    if message.encoding in DEPTH_ENCODINGS:
        raise MessageError('bad_encoding', f'colour image has the depth encoding '
                           f'{message.encoding!r}; are rgb/image_raw and depth/image_raw swapped?')
    if pixels is None:
        raise MessageError('bad_encoding', f'colour image has encoding {message.encoding!r}; '
                           f'supported are {", ".join(COLOUR_ENCODINGS)}, others need cv_bridge')
    _check_sizes(message, pixels, 'colour')
    if pixels.channels == 2 and message.width % 2:
        raise MessageError('bad_size', f'colour image is {message.width} pixels wide, but '
                           f'{message.encoding} stores pixels in pairs: the width must be even')


def check_depth(message: ImageMessage) -> None:
    """Refuse a depth image that cannot be decoded; cheap, looks at the header and sizes only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    pixels = DEPTH_ENCODINGS.get(message.encoding)
    if pixels is None:
        hint = ('; are rgb/image_raw and depth/image_raw swapped?'
                if message.encoding in COLOUR_ENCODINGS else '')
        raise MessageError('bad_encoding', f'depth image has encoding {message.encoding!r}; '
                           f'supported are {", ".join(DEPTH_ENCODINGS)}{hint}')
    _check_sizes(message, pixels, 'depth')


def decode_colour(message: ImageMessage) -> npt.NDArray[np.uint8]:
    """Return `(H, W, 3)` uint8 RGB; a view of the message where it is rgb8 without padding.

    Raises:
        MessageError: If the message cannot be decoded.
    """
    check_colour(message)
    pixels = COLOUR_ENCODINGS.get(message.encoding)
    if pixels is None:
        return _decode_with_cv_bridge(message)
    assert pixels.to_rgb is not None
    return pixels.to_rgb(_view(message, pixels))


def decode_depth(message: ImageMessage, *, scale: float = _MILLIMETRE) -> npt.NDArray[np.float32]:
    """Return `(H, W)` float32 metres; 0 = not measured.

    Args:
        message: A 16UC1, mono16 or 32FC1 image.
        scale: Metres per step of a 16-bit image.

    Raises:
        MessageError: If the message cannot be decoded.
    """
    check_depth(message)
    pixels = DEPTH_ENCODINGS[message.encoding]
    raw = _view(message, pixels)[:, :, 0]
    if pixels.dtype == 'f4':
        return depth_in_metres(raw.astype(np.float32, copy=False), 'm')
    depth_m = depth_in_metres(raw.astype(np.uint16, copy=False), 'mm')
    if scale != _MILLIMETRE:
        depth_m *= np.float32(scale / _MILLIMETRE)
    return depth_m


def fill_image(message: ImageMessage, image: npt.NDArray[Any], *, encoding: str,
               header: Any) -> None:
    """Write an image into a message, which may be one that was published before.

    Assigning an array, a list or a memoryview to `data` converts value by value (45 to 145 ms for
    a VGA image); `array.frombytes` copies the block (0.03 ms).

    Args:
        message: The message to write to; its `data` is an `array('B')`, as rclpy makes it.
        image: `(H, W)` or `(H, W, C)`, any dtype.
        encoding: Name for what `image` holds, for example `mono8`.
        header: Taken over as it is.
    """
    block = np.ascontiguousarray(image)
    message.header = header
    message.height, message.width = block.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == 'big')
    message.step = block.nbytes // block.shape[0]
    del message.data[:]
    message.data.frombytes(block.data.cast('B'))


def _check_sizes(message: ImageMessage, pixels: Pixels, name: str) -> None:
    height, width = message.height, message.width
    if height <= 0 or width <= 0:
        raise MessageError('bad_size', f'{name} image is {width}x{height}: there is nothing in it')
    if height * width > MAX_PIXELS:
        raise MessageError('bad_size', f'{name} image claims {width}x{height}, more than '
                           f'{MAX_PIXELS // 1_000_000} million pixels; the message is damaged')
    row = width * pixels.channels * np.dtype(pixels.dtype).itemsize
    if message.step < row:
        raise MessageError('bad_size', f'{name} image {width}x{height} {message.encoding} has step '
                           f'{message.step}, a row needs at least {row} bytes')
    needed = message.step * (height - 1) + row  # some drivers leave the last row unpadded
    if len(message.data) < needed:
        raise MessageError('bad_data', f'{name} image {width}x{height} {message.encoding} carries '
                           f'{len(message.data)} bytes, it needs {needed}; the message was cut')


def _view(message: ImageMessage, pixels: Pixels) -> npt.NDArray[Any]:
    """Return `(H, W, channels)` on the message's own memory, whatever its step and byte order."""
    dtype = np.dtype(pixels.dtype).newbyteorder('>' if message.is_bigendian else '<')
    size = dtype.itemsize
    return np.ndarray((message.height, message.width, pixels.channels), dtype, message.data,
                      strides=(message.step, pixels.channels * size, size))


def _have_cv_bridge() -> bool:
    return importlib.util.find_spec('cv_bridge') is not None


def _decode_with_cv_bridge(message: ImageMessage) -> npt.NDArray[np.uint8]:
    if message.height <= 0 or message.width <= 0 or message.height * message.width > MAX_PIXELS:
        raise MessageError('bad_size', f'colour image is {message.width}x{message.height}')
    try:
        bridge = importlib.import_module('cv_bridge').CvBridge()
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, 'rgb8'), np.uint8)
    except Exception as error:  # cv_bridge raises its own, cv2's and, under NumPy 2, ABI errors
        raise MessageError('bad_encoding', f'cv_bridge cannot turn {message.encoding!r} into rgb8 '
                           f'({error}); supported without it: {", ".join(COLOUR_ENCODINGS)}') \
            from error
