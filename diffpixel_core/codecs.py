# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Which functions read the messages of a topic, by its type: raw images or compressed ones."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.compressed import check_colour as check_compressed_colour
from diffpixel_core.compressed import check_depth as check_compressed_depth
from diffpixel_core.compressed import decode_colour as decode_compressed_colour
from diffpixel_core.compressed import decode_depth as decode_compressed_depth
from diffpixel_core.messages import check_colour, check_depth, decode_colour, decode_depth


class ColourCodec(NamedTuple):
    """How the colour messages of a topic are read.

    Attributes:
        check: Returns height and width, or raises MessageError; cheap, for the executor's thread.
        decode: Returns `(H, W, 3)` uint8 RGB, or raises MessageError.
    """

    check: Callable[[Any], tuple[int, int]]
    decode: Callable[[Any], npt.NDArray[np.uint8]]


class DepthCodec(NamedTuple):
    """How the depth messages of a topic are read.

    Attributes:
        check: Returns height and width, or raises MessageError; cheap, for the executor's thread.
        decode: Takes the message and the metres per step of a 16-bit image; returns `(H, W)`
            float32 metres, 0 = not measured, of its own memory, or raises MessageError.
    """

    check: Callable[[Any], tuple[int, int]]
    decode: Callable[[Any, float], npt.NDArray[np.float32]]


def _raw_depth(message: Any, scale: float) -> npt.NDArray[np.float32]:
    return decode_depth(message, scale=scale)


def _compressed_depth(message: Any, scale: float) -> npt.NDArray[np.float32]:
    return decode_compressed_depth(message, scale=scale)


COLOUR_CODECS: Mapping[str, ColourCodec] = {
    'sensor_msgs/msg/Image': ColourCodec(check_colour, decode_colour),
    'sensor_msgs/msg/CompressedImage': ColourCodec(check_compressed_colour,
                                                   decode_compressed_colour),
}
DEPTH_CODECS: Mapping[str, DepthCodec] = {
    'sensor_msgs/msg/Image': DepthCodec(check_depth, _raw_depth),
    'sensor_msgs/msg/CompressedImage': DepthCodec(check_compressed_depth, _compressed_depth),
}
