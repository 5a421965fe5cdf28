# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images in metres: the one place where units change.

Everywhere else depth is `(H, W)` float32 metres along the optical axis and 0 means "not measured".
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError

DEPTH_UNITS = ('mm', 'm', 'm5000', 'sun')
# 'relative': steps of an 8-bit picture that has lost its scale; see `picture_steps`.
READABLE_UNITS = (*DEPTH_UNITS, 'relative')
NOMINAL_RANGE_M = 10.0  # what a picture's black to white stands for, having no scale of its own
_PICTURE_STEPS = 512
_METRES_PER_STEP = {'mm': 0.001, 'm5000': 1 / 5000, 'sun': 0.001,
                    'relative': NOMINAL_RANGE_M / _PICTURE_STEPS}
_NOT_MEASURED_16BIT = 65535
# Matplotlib's colour map 'Greys_r' at nine equal distances, which imsave draws depth with.
# Source: ColorBrewer "Greys" (9 classes), reversed; matplotlib/_cm.py, _Greys_data.
_GREYS = (0, 37, 82, 115, 150, 189, 217, 240, 255)


class DepthError(DiffPixelError):
    """A depth image that its declared unit cannot explain."""


def require_unit(raw: npt.NDArray[Any], unit: str) -> None:
    """Check that a raw depth image can be of a unit, by its type and shape.

    Raises:
        DepthError: If the unit is unknown or does not go with the dtype or shape.
    """
    if unit not in READABLE_UNITS:
        raise DepthError(f'depth unit {unit!r} is unknown; choose one of '
                         f'{", ".join(READABLE_UNITS)}')
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
            value rotated left by 3 bits) and `relative` (from `picture_steps`); float32, float64
            or float16 metres for `m`.
        unit: One of `READABLE_UNITS`.

    Returns:
        `(H, W)` float32 metres; 0 = not measured: raw 0 and 65535, NaN, infinite, negative. Those
        of `relative` are nominal, 0 to `NOMINAL_RANGE_M`: an affine image of the true ones.

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


def picture_steps(picture: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return the depth that a picture shows, in 512ths between its black and its white.

    Such pictures are stretched from each image's smallest value to its largest, so that metres
    cannot be had back, only an affine image of them. Drawn with Matplotlib's `Greys_r` (all its
    levels are of that map) the map is inverted, to the middle of the depths that share a level;
    other greys are taken as linear. Black is the nearest surface, except where the source had
    holes: their 0 was the smallest value, and the nearest surface comes well above it.

    Args:
        picture: `(H, W)`, `(H, W, 3)` or `(H, W, 4)` uint8, grey; alpha is ignored.

    Returns:
        `(H, W)` uint16, 1 to 511; 0 = not measured: black, if the next 32nd of the range is empty.

    Raises:
        DepthError: If it is not 8 bit, or coloured (as HHA is).

    Source: DFormer's README: plt.imsave(path, depth, cmap='Greys_r'); Matplotlib's Colormap bins
    0..1 into 256 entries and writes them as floor(255 * grey).
    """
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or picture.shape[2:] in ((3,), (4,))):
        raise DepthError(f"depth unit 'relative' means an 8-bit grey picture, this is "
                         f"{picture.dtype} of shape {picture.shape}; 16-bit depth has a unit: "
                         "'mm', 'm5000' or 'sun'")
    grey = picture if picture.ndim == 2 else picture[..., 0]
    if picture.ndim == 3 and any((picture[..., i] != grey).any() for i in (1, 2)):
        raise DepthError("depth unit 'relative' means a grey picture, this one is coloured; HHA "
                         'and rainbow maps hold no depth that could be read back')
    table, in_map = _grey_steps()
    present = np.bincount(grey.ravel(), minlength=256) > 0
    if (present & ~in_map).any():
        table = np.arange(1, _PICTURE_STEPS, 2).astype(np.uint16)
    if not present[(table > 1) & (table <= _PICTURE_STEPS // 32)].any():
        table = table * (table > 1)
    steps: npt.NDArray[np.uint16] = table[grey]
    return steps


@cache
def _grey_steps() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Return for each of 256 greys its step in the colour map, and whether it is in the map."""
    places = np.linspace(0, len(_GREYS) - 1, 256)
    levels = np.floor(np.interp(places, range(len(_GREYS)), _GREYS) + 1e-9).astype(int)
    greys = np.arange(256)
    first, behind = np.searchsorted(levels, greys), np.searchsorted(levels, greys, 'right')
    return (first + behind).astype(np.uint16), behind > first


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
