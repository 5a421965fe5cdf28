# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frame: one colour image and the second modality that belongs to it, pixel on pixel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError


class FrameError(DiffPixelError):
    """Images that do not make a frame: another size, another type, nothing in them."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A colour image with an aligned second modality.

    Attributes:
        rgb: `(H, W, 3)` uint8, red first.
        x: `(H, W)` float32 in the modality's physical unit; for depth metres along the optical
            axis. 0, NaN, infinite or negative = not measured.
        modality: Name of the second modality, a key of `modalities.MODALITIES`.
        stamp_ns: Capture time of the colour image, nanoseconds.

    Raises:
        FrameError: If a dtype or shape is another, or the two sizes differ.
    """

    rgb: npt.NDArray[np.uint8]
    x: npt.NDArray[np.float32]
    modality: str = 'depth'
    stamp_ns: int = 0

    def __post_init__(self) -> None:
        """Refuse what is not a pair of aligned images."""
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise FrameError(f'colour must be (H, W, 3) uint8, this is {self.rgb.shape} '
                             f'{self.rgb.dtype}; convert it (cv2.cvtColor) first')
        if self.x.dtype != np.float32 or self.x.ndim != 2:
            raise FrameError(f'{self.modality} must be (H, W) float32, this is {self.x.shape} '
                             f'{self.x.dtype}; diffpixel_core.depth.depth_in_metres makes it so')
        if self.rgb.size == 0:
            raise FrameError(f'colour image is empty: {self.rgb.shape}')
        if self.rgb.shape[:2] != self.x.shape:
            raise FrameError(
                f'colour is {self.rgb.shape[1]}x{self.rgb.shape[0]} but {self.modality} is '
                f'{self.x.shape[1]}x{self.x.shape[0]}; align depth to colour in the camera driver '
                '(RealSense: align_depth.enable, Orbbec: depth_registration)')
