# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a labelled RGB-D frame is, and a sequence of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera
from diffpixel_core.labels import LabelSpace


class DataError(DiffPixelError):
    """Frames that cannot be trained on or scored: no labels, impossible labels, empty splits."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """One frame as stored.

    Attributes:
        name: The colour image's path, for messages.
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8 in the label space of the data, 255 = unlabelled.
        cosine: `(H, W)` float32 incidence cosine where the depth is exact (a rendered frame), to
            which sensor noise can be added; None where a sensor measured it.
    """

    name: str
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    cosine: npt.NDArray[np.float32] | None


class Frames(Protocol):
    """A sequence of labelled frames.

    Attributes:
        label_space: What the labels mean.
        names: The colour image's path of every frame.
        cameras: The camera each frame was taken with, '' where there is only one.
    """

    label_space: LabelSpace
    names: Sequence[str]
    cameras: Sequence[str]

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame."""
        ...

    def camera(self, frame: LabelledFrame) -> Camera:
        """Return the camera of a frame."""
        ...
