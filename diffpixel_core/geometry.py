# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Camera models: how pixels and metres meet."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError


class CameraError(DiffPixelError):
    """A camera model that cannot be: no pixels, or no focal length."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Pinhole camera without distortion; pixel centres lie at integer coordinates (OpenCV).

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        fx: Focal length along x, pixels.
        fy: Focal length along y, pixels.
        cx: Principal point x, pixels.
        cy: Principal point y, pixels.

    Raises:
        CameraError: If a size or a focal length is not positive.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Refuse a camera without pixels or without focal length."""
        if self.width < 1 or self.height < 1 or not self.fx > 0 or not self.fy > 0:
            raise CameraError(f'{self} is no camera: sizes and focal lengths must be positive')

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The `(3, 3)` intrinsic matrix K, pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def resized(self, width: int, height: int) -> 'Camera':
        """Return the camera whose image is this one's, resized to `width` x `height`."""
        sx, sy = width / self.width, height / self.height
        # Half-pixel shift: pixel 0 of the smaller image covers several pixels of the larger.
        return Camera(width, height, self.fx * sx, self.fy * sy,
                      (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)


# Source: intrinsics of the colour camera in the NYUDv2 toolbox (camera_params.m).
NYU_CAMERA = Camera(640, 480, 518.86, 519.47, 325.58, 253.74)
