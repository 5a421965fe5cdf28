# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a depth image on a robot, each fault as a function of how much.

Every function takes `(H, W)` float32 metres (0 = not measured), a severity and a source of random
numbers, leaves the image it was given alone, and returns one of the same size and type. What was
not measured stays so; what was measured stays measured unless losing it is the fault.
"""

import cv2
import numpy as np
import numpy.typing as npt

Depth = npt.NDArray[np.float32]

_NEAREST_M = np.float32(0.001)  # noise and rounding must not turn a measured pixel into a hole


def missing(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image without a single measurement at severity 1, unchanged at 0."""
    del rng
    assert severity in (0, 1)
    return np.zeros_like(depth_m) if severity else depth_m


def shifted_sideways(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image moved to the right by whole pixels (left if negative).

    What moves in from outside was not measured.
    """
    del rng
    return _moved(depth_m, 0, round(severity))


def shifted_vertically(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image moved down by whole pixels (up if negative), as `shifted_sideways`."""
    del rng
    return _moved(depth_m, round(severity), 0)


def noisy(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image with normal noise of `severity` times a Kinect's axial noise.

    Source: standard deviation 0.0012 + 0.0019 (z - 0.4)^2 metres; Nguyen, Izadi & Lovell,
    3DIMPVT 2012.
    """
    noise = rng.standard_normal(depth_m.shape, dtype=np.float32)
    return _kept(depth_m, depth_m + np.float32(severity) * kinect_sigma(depth_m) * noise)


def kinect_sigma(depth_m: Depth) -> Depth:
    """Return the standard deviation in metres of a Kinect's depth; source as `noisy`."""
    return np.asarray(0.0012 + 0.0019 * np.square(depth_m - np.float32(0.4)), np.float32)


def holes(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image with `severity` % of its measured pixels lost, in irregular patches.

    The share is exact to a pixel. The same state of `rng` gives patches that grow with severity.
    """
    height, width = depth_m.shape
    cell = max(2.0, height / 12)
    coarse = rng.random((max(2, round(height / cell)), max(2, round(width / cell))),
                        dtype=np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    measured = np.flatnonzero(depth_m > 0)
    count = round(measured.size * severity / 100)
    result = depth_m.copy()
    lost = measured[np.argsort(field.ravel()[measured], kind='stable')[:count]]
    result.ravel()[lost] = 0
    return result


def patch(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image with one rectangle not measured, its sides `severity` % of the image's.

    The same state of `rng` gives rectangles that contain the smaller ones.
    """
    height, width = depth_m.shape
    rows, columns = round(height * severity / 100), round(width * severity / 100)
    down, right = rng.random(2)
    top, left = int((height - rows) * down), int((width - columns) * right)
    result = depth_m.copy()
    result[top:top + rows, left:left + columns] = 0
    return result


def scaled(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image with every distance `severity` % too long."""
    del rng
    return depth_m * np.float32(1 + severity / 100)


def in_wrong_unit(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image with every distance times `severity`."""
    del rng
    return depth_m * np.float32(severity)


def in_steps(depth_m: Depth, severity: float, rng: np.random.Generator) -> Depth:
    """Return the image rounded to multiples of `severity` millimetres, at least one; 0 = as is."""
    del rng
    if severity == 0:
        return depth_m
    step = np.float32(severity / 1000)
    return _kept(depth_m, np.maximum(np.rint(depth_m / step), np.float32(1)) * step)


def _moved(depth_m: Depth, down: int, right: int) -> Depth:
    height, width = depth_m.shape
    result = np.zeros_like(depth_m)
    if abs(down) < height and abs(right) < width:
        result[max(down, 0):height + min(down, 0), max(right, 0):width + min(right, 0)] = depth_m[
            max(-down, 0):height + min(-down, 0), max(-right, 0):width + min(-right, 0)]
    return result


def _kept(before: Depth, after: Depth) -> Depth:
    """Return `after`, measured exactly where `before` was."""
    return np.where(before > 0, np.maximum(after, _NEAREST_M), np.float32(0))
