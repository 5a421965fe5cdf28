# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images in metres: the one place where units change.

Everywhere else depth is `(H, W)` float32 metres along the optical axis and 0 means "not measured".
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError

DEPTH_UNITS = ('mm', 'm', 'm5000', 'sun')
_METRES_PER_STEP = {'mm': 0.001, 'm5000': 1 / 5000, 'sun': 0.001}
_NOT_MEASURED_16BIT = 65535


class DepthError(DiffPixelError):
    """A depth image that its declared unit cannot explain."""


def require_unit(raw: npt.NDArray[Any], unit: str) -> None:
    """Check that a raw depth image can be of a unit, by its type and shape.

    Raises:
        DepthError: If the unit is unknown or does not go with the dtype or shape.
    """
    if unit not in DEPTH_UNITS:
        raise DepthError(f'depth unit {unit!r} is unknown; choose one of {", ".join(DEPTH_UNITS)}')
    if raw.ndim != 2:
        raise DepthError(f'a depth image has shape (H, W), this one has {raw.shape}; '
                         'pass the single-channel depth, not a picture made of it')
    if unit == 'm':
        if raw.dtype.kind != 'f':
            raise DepthError(f"depth unit 'm' means float metres but the image is {raw.dtype}; "
                             "use unit 'mm', 'm5000' or 'sun' for 16-bit images")
    elif raw.dtype != np.uint16:
        remedy = ("float images need unit 'm'" if raw.dtype.kind == 'f'
                  else 'an 8-bit picture has lost its scale, export 16 bit')
        raise DepthError(f'depth unit {unit!r} means 16-bit unsigned but the image is {raw.dtype}; '
                         f'{remedy}')


def depth_in_metres(raw: npt.NDArray[Any], unit: str) -> npt.NDArray[np.float32]:
    """Return a raw depth image in metres.

    Args:
        raw: `(H, W)`; uint16 for `mm`, `m5000` (metres x 5000) and `sun` (millimetres, each
            value rotated left by 3 bits); float32, float64 or float16 metres for `m`.
        unit: One of `DEPTH_UNITS`.

    Returns:
        `(H, W)` float32 metres; 0 = not measured: raw 0 and 65535, NaN, infinite, negative.

    Raises:
        DepthError: If the unit is unknown or does not go with the dtype or shape.

    Source: units of the public RGB-D data sets; the rotation is SUN RGB-D's `read3dPoints.m`.
    """
    require_unit(raw, unit)
    if unit == 'm':
        metres = raw.astype(np.float32)
        # Multiplied as bits, for NaN times 0 is NaN; a mask as index takes ten times longer.
        metres.view(np.uint32)[...] *= (metres > 0) & (metres < np.inf)
        return metres
    steps = (raw >> 3) | (raw << 13) if unit == 'sun' else raw
    metres = steps * np.float32(_METRES_PER_STEP[unit])
    metres *= raw != _NOT_MEASURED_16BIT
    return metres


def depth_in_millimetres(depth_m: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
    """Return metres as 16-bit millimetres, rounded; 0 = not measured, at most 65534."""
    measured = np.isfinite(depth_m) & (depth_m > 0)
    millimetres = np.rint(np.where(measured, depth_m, 0) * 1000.0)
    return np.minimum(millimetres, _NOT_MEASURED_16BIT - 1).astype(np.uint16)


def fill_nearest(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return depth in which each hole has taken the value of the nearest measured pixel.

    Nearest by OpenCV's 5x5 chamfer distance, which is within 2 % of the Euclidean one.

    Args:
        depth_m: `(H, W)` float32 metres; 0, NaN, infinite or negative = not measured.

    Returns:
        `(H, W)` float32 metres, a new array; all 0 where nothing at all is measured.

    Source: cv2.distanceTransformWithLabels; G. Borgefors, "Distance transformations in digital
    images", CVGIP 34, 1986.
    """
    measured = (depth_m > 0) & (depth_m < np.inf)
    places = np.flatnonzero(measured)
    if places.size == depth_m.size:
        return depth_m.copy()
    if places.size == 0:
        return np.zeros_like(depth_m)
    _, labels = cv2.distanceTransformWithLabels(
        (~measured).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.asarray(labels, np.int32)
    table = np.zeros(places.size + 1, np.float32)  # labels begin at 1
    table[nearest.take(places)] = depth_m.take(places)
    filled: npt.NDArray[np.float32] = table.take(nearest)
    return filled
