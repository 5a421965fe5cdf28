# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to a frame, and from raw labels to those that are published.

The live node and bag replay both go this way: messages -> Intake -> Frame -> Segmenter -> finish.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.codecs import ColourCodec, DepthCodec
from diffpixel_core.depth import fill_nearest
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame
from diffpixel_core.label_map import LabelMap
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.messages import stamp_ns
from diffpixel_core.segmenter import Segmentation

DEPTH_FILLS = ('none', 'nearest')
_Depth = npt.NDArray[np.float32]


class IntakeError(DiffPixelError):
    """Settings of the intake that contradict each other."""


@dataclass(frozen=True, slots=True)
class DepthSettings:
    """How depth images are read.

    Attributes:
        scale: Metres per step of a 16-bit image.
        minimum_m: Nearer depth counts as not measured.
        maximum_m: Farther depth counts as not measured; 0 = no limit.
        fill: `nearest` gives holes the value of the nearest measured pixel; `none` leaves them.
    """

    scale: float = 0.001
    minimum_m: float = 0.0
    maximum_m: float = 0.0
    fill: str = 'none'

    def __post_init__(self) -> None:
        """Reject what cannot be meant."""
        if not self.scale > 0 or self.minimum_m < 0 or self.maximum_m < 0 \
                or self.fill not in DEPTH_FILLS:
            raise IntakeError(f'{self} is impossible: scale must be positive, the limits not '
                              f'negative, fill one of {", ".join(DEPTH_FILLS)}')


@dataclass(frozen=True, slots=True)
class Intake:
    """Decode a colour and a depth message into a frame.

    Attributes:
        colour: Codec of the colour messages, one of `codecs.COLOUR_CODECS`.
        depth: Codec of the depth messages, one of `codecs.DEPTH_CODECS`.
        settings: How depth is read.
        register: Redraws `(h, w)` float32 metres as the colour camera would see them; None where
            the driver has done that.
    """

    colour: ColourCodec
    depth: DepthCodec
    settings: DepthSettings
    register: Callable[[_Depth], _Depth] | None = None

    def frame(self, colour: Any, depth: Any | None) -> Frame:
        """Return the frame of two messages; without depth, one in which nothing is measured.

        Raises:
            MessageError: If a message cannot be decoded.
            FrameError: If the two images differ in size.
        """
        rgb = self.colour.decode(colour)
        depth_m = np.zeros(rgb.shape[:2], np.float32) if depth is None else self._depth(depth)
        return Frame(rgb, depth_m, stamp_ns=stamp_ns(colour))

    def _depth(self, message: Any) -> _Depth:
        settings = self.settings
        depth_m = self.depth.decode(message, settings.scale)
        if settings.minimum_m:
            depth_m[depth_m < settings.minimum_m] = 0
        if settings.maximum_m:
            depth_m[depth_m > settings.maximum_m] = 0
        if self.register is not None:
            depth_m = self.register(depth_m)
        return fill_nearest(depth_m) if settings.fill == 'nearest' else depth_m


def finish(seen: Segmentation, *, threshold: float, label_map: LabelMap) -> Segmentation:
    """Return a segmentation as it is published: uncertain pixels unlabelled, classes grouped.

    Args:
        seen: What the segmenter returned.
        threshold: Confidence, 0 to 1, below which a pixel becomes unlabelled (255).
        label_map: From the model's classes to those published.
    """
    labels = label_map.apply(seen.labels)
    if threshold:
        least = int(np.ceil(threshold * 255))
        labels = np.where(seen.confidence < least, np.uint8(UNLABELLED), labels)
    return dataclasses.replace(seen, labels=labels, label_space=label_map.space)
