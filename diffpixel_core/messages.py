# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays and back, without ROS and without copying where that is possible.

Works on any object with the fields of `sensor_msgs/Image`: height, width, encoding, is_bigendian,
step, data.
"""

import functools
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
MILLIMETRE = 0.001  # metres; the step of a 16UC1 depth image unless the camera says otherwise
_SHOWN = 40  # characters of a foreign string that an error repeats: logs are not a camera's to fill


class MessageError(DiffPixelError):
    """An image message that cannot be used.

    Attributes:
        cause: Key under which the node counts it: `bad_encoding`, `bad_size` or `bad_data`.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Stamped(Protocol):
    """A message with a `std_msgs/Header`."""

    header: Any


class ImageMessage(Stamped, Protocol):
    """The fields of `sensor_msgs/Image` that are used here."""

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
        to_rgb: Turns `(H, W, channels)` into `(H, W, 3)` uint8 RGB; None for depth.
        shared: Columns and rows that share one colour sample.
        chroma_plane: Whether the colours follow in a plane of their own, half as high.
    """

    dtype: str
    channels: int
    to_rgb: Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]] | None = None
    shared: tuple[int, int] = (1, 1)
    chroma_plane: bool = False

    def rows(self, height: int) -> int:
        """Return how many rows an image of this height has in memory."""
        return height * 3 // 2 if self.chroma_plane else height


def _by_opencv(code: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]:
    def convert(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(image, code), np.uint8)
    return convert


def _from_mono16(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    native = np.ascontiguousarray(image, np.uint16)  # OpenCV reads no foreign byte order
    return np.asarray(cv2.cvtColor(cv2.convertScaleAbs(native, alpha=255 / 65535),
                                   cv2.COLOR_GRAY2RGB), np.uint8)


_BGR = Pixels('u1', 3, _by_opencv(cv2.COLOR_BGR2RGB))
_BGRA = Pixels('u1', 4, _by_opencv(cv2.COLOR_BGRA2RGB))
_GREY = Pixels('u1', 1, _by_opencv(cv2.COLOR_GRAY2RGB))
_UYVY = Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY), shared=(2, 1))
_YUYV = Pixels('u1', 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2), shared=(2, 1))

# What the drivers of RealSense, Azure Kinect, Orbbec and USB cameras publish.
# Source: names of sensor_msgs/image_encodings.hpp, common_interfaces; nv12 is Isaac ROS'.
COLOUR_ENCODINGS = {
    'rgb8': Pixels('u1', 3, np.ascontiguousarray),
    'bgr8': _BGR,
    'rgba8': Pixels('u1', 4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    'bgra8': _BGRA,
    'mono8': _GREY,
    'mono16': Pixels('u2', 1, _from_mono16),
    'yuv422': _UYVY,
    'yuv422_yuy2': _YUYV,
    'uyvy': _UYVY,  # the names since Iron
    'yuyv': _YUYV,
    'nv12': Pixels('u1', 1, _by_opencv(cv2.COLOR_YUV2RGB_NV12), (2, 2), chroma_plane=True),
    'nv21': Pixels('u1', 1, _by_opencv(cv2.COLOR_YUV2RGB_NV21), (2, 2), chroma_plane=True),
    # OpenCV's names say nothing about colour; what writes them holds OpenCV's order.
    '8UC1': _GREY,
    '8UC3': _BGR,
    '8UC4': _BGRA,
}
DEPTH_ENCODINGS = {
    '16UC1': Pixels('u2', 1),
    'mono16': Pixels('u2', 1),
    '32FC1': Pixels('f4', 1),
}


def stamp_ns(message: Stamped) -> int:
    """Return the capture time of a message, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def check_colour(message: ImageMessage) -> tuple[int, int]:
    """Return height and width, or refuse a colour image that cannot be decoded.

    Cheap: looks at the header and at sizes only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    pixels = COLOUR_ENCODINGS.get(message.encoding)
    if pixels is not None:
        return _check_sizes(message, pixels, 'colour')
    shown = message.encoding[:_SHOWN]
    if message.encoding in DEPTH_ENCODINGS:
        raise MessageError('bad_encoding', f'colour image has the depth encoding {shown!r}; '
                           'are rgb/image_raw and depth/image_raw swapped?')
    if not _have_cv_bridge():
        raise MessageError('bad_encoding', f'colour image has encoding {shown!r}; '
                           f'supported are {", ".join(COLOUR_ENCODINGS)}, others need cv_bridge')
    # The step and length of foreign encodings are cv_bridge's to judge.
    return check_size(message.height, message.width, 'colour')


def check_depth(message: ImageMessage) -> tuple[int, int]:
    """Return height and width, or refuse a depth image that cannot be decoded.

    Cheap: looks at the header and at sizes only.

    Raises:
        MessageError: Naming what is wrong and what would be right.
    """
    pixels = DEPTH_ENCODINGS.get(message.encoding)
    if pixels is None:
        hint = ('; are rgb/image_raw and depth/image_raw swapped?'
                if message.encoding in COLOUR_ENCODINGS else '')
        raise MessageError('bad_encoding', f'depth image has encoding '
                           f'{message.encoding[:_SHOWN]!r}; '
                           f'supported are {", ".join(DEPTH_ENCODINGS)}{hint}')
    return _check_sizes(message, pixels, 'depth')


def check_size(height: int, width: int, name: str) -> tuple[int, int]:
    """Return height and width, or refuse what no camera has.

    Args:
        height: Rows an image claims to have.
        width: Columns it claims to have.
        name: What the image is, for the error: `colour` or `depth`.

    Raises:
        MessageError: `bad_size`: none, or more than `MAX_PIXELS`.
    """
    if height <= 0 or width <= 0:
        raise MessageError('bad_size', f'{name} image is {width}x{height}: there is nothing in it')
    if height * width > MAX_PIXELS:
        raise MessageError('bad_size', f'{name} image claims {width}x{height}, more than '
                           f'{MAX_PIXELS // 1_000_000} million pixels; the message is damaged')
    return height, width


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


def decode_depth(message: ImageMessage, *, scale: float = MILLIMETRE) -> npt.NDArray[np.float32]:
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
    if scale != MILLIMETRE:
        depth_m *= np.float32(scale / MILLIMETRE)
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


def _check_sizes(message: ImageMessage, pixels: Pixels, name: str) -> tuple[int, int]:
    height, width = check_size(message.height, message.width, name)
    across, down = pixels.shared
    if width % across or height % down:
        raise MessageError('bad_size', f'{name} image is {width}x{height}, but in '
                           f'{message.encoding} {across}x{down} pixels share a colour: '
                           f'the {"width" if down == 1 else "sizes"} must be even')
    row = width * pixels.channels * np.dtype(pixels.dtype).itemsize
    if message.step < row:
        raise MessageError('bad_size', f'{name} image {width}x{height} {message.encoding} has step '
                           f'{message.step}, a row needs at least {row} bytes')
    # Some drivers leave the last row unpadded.
    needed = message.step * (pixels.rows(height) - 1) + row
    if len(message.data) < needed:
        raise MessageError('bad_data', f'{name} image {width}x{height} {message.encoding} carries '
                           f'{len(message.data)} bytes, it needs {needed}; the message was cut')
    return height, width


def _view(message: ImageMessage, pixels: Pixels) -> npt.NDArray[Any]:
    """Return `(rows, W, channels)` on the message's own memory, whatever step and endianness."""
    dtype = np.dtype(pixels.dtype).newbyteorder('>' if message.is_bigendian else '<')
    size = dtype.itemsize
    return np.ndarray((pixels.rows(message.height), message.width, pixels.channels), dtype,
                      message.data, strides=(message.step, pixels.channels * size, size))


@functools.cache  # a look through sys.path, too slow for every message
def _have_cv_bridge() -> bool:
    return importlib.util.find_spec('cv_bridge') is not None


def _decode_with_cv_bridge(message: ImageMessage) -> npt.NDArray[np.uint8]:
    try:
        bridge = importlib.import_module('cv_bridge').CvBridge()
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, 'rgb8'), np.uint8)
    except Exception as error:  # cv_bridge raises its own, cv2's and, under NumPy 2, ABI errors
        raise MessageError('bad_encoding', 'cv_bridge cannot turn encoding '
                           f'{message.encoding[:_SHOWN]!r} into rgb8 ({error}); supported without '
                           f'it: {", ".join(COLOUR_ENCODINGS)}') from error
