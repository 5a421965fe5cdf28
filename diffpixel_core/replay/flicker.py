# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Flicker: label changes of points that did not move between two frames.

With camera poses, every point of the later frame is looked up in the earlier one: unprojected by
its depth, moved by the poses, projected again. It is compared where the earlier frame measured the
same depth there; where it did not, something was in front, or moved. Its label changed if none of
the four earlier pixels around it carries it: less than that may be rounding.

Without poses, frames are compared pixel to pixel, and only while the camera stands still, where
neither colour nor depth changed.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.replay.tally import Flicker

# Two measurements of one surface: Kinect-like noise grows with distance, so does the tolerance.
_DEPTH_TOLERANCE = 0.03  # of the depth
_LEAST_TOLERANCE_M = 0.02
# Less than this part of the points in view of both frames at one depth: the poses are wrong.
_LEAST_AGREEMENT = 0.3
_ON_PIXEL = 0.001  # pixels; what float32 leaves of a place that is exactly on a pixel
_STRIDE = 2  # every second pixel of both directions is compared; flicker is no single pixel's

# Edges that seem to move by less than this stand still; pixels. Noise of a camera stays below.
_STILL_PIXELS = 0.25
_EDGES = 0.1  # the part of the pixels with the strongest gradients, by which movement is seen
_LEAST_GRADIENT = 2.0  # grey levels per pixel; weaker edges are noise
_LEAST_EDGES = 100  # pixels of the small grey image
_SAME_COLOUR = 12  # grey levels, of 255; the noise of two exposures of one scene
_GREY_WIDTH = 320

_Labels = npt.NDArray[np.uint8]
_Metres = npt.NDArray[np.float32]
_F8 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A labelled frame and where it was seen from.

    Attributes:
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8, 255 = unlabelled.
        pose: `(4, 4)` camera in a fixed frame, metres; None if unknown.
        camera: The camera of this image; None if unknown.
    """

    rgb: _Labels
    depth_m: _Metres
    labels: _Labels
    pose: _F8 | None = None
    camera: LensCamera | None = None


class _Compared(NamedTuple):
    """Earlier labels `(N,)` of the points compared, and `(N,)` bool whether they changed."""

    labels: _Labels
    changed: npt.NDArray[np.bool_]


class FlickerMeter:
    """Compares each frame with the one before it.

    Args:
        flicker: Where the counts go.
    """

    def __init__(self, flicker: Flicker) -> None:
        self._flicker = flicker
        self._before: View | None = None

    def add(self, view: View) -> float | None:
        """Count the changes since the frame before; return their share of the compared points.

        None if nothing could be compared, or less than one percent of the image.
        """
        before, self._before = self._before, view
        if before is None or before.labels.shape != view.labels.shape:
            return None
        self._flicker.frame_pairs += 1
        compared = None
        if before.pose is not None and view.pose is not None and view.camera is not None:
            compared = by_pose(before, view)
            self._flicker.by_pose += compared is not None
        if compared is None and is_still(before.rgb, view.rgb):
            compared = _by_pixel(before, view)
            self._flicker.by_still += 1
        if compared is None:
            return None
        classes = len(self._flicker.compared)
        self._flicker.compared += _count(compared.labels, classes)
        self._flicker.changed += _count(compared.labels[compared.changed], classes)
        enough = len(compared.labels) >= 0.01 * view.labels[::_STRIDE, ::_STRIDE].size
        return float(compared.changed.mean()) if enough else None

    def forget(self) -> None:
        """Start anew: the next frame does not follow the last one."""
        self._before = None


def by_pose(before: View, now: View) -> _Compared | None:
    """Return the points seen in both frames; None if the poses contradict the depth."""
    assert before.pose is not None
    assert now.pose is not None
    assert now.camera is not None
    height, width = now.labels.shape
    camera = now.camera.resized(width, height)
    depth_m = now.depth_m[::_STRIDE, ::_STRIDE]
    rays = camera.rays(_STRIDE)
    chosen = (depth_m > 0) & np.isfinite(rays[..., 0])
    z = depth_m[chosen]
    points = np.column_stack([rays[chosen] * z[:, None], z])
    moved = np.linalg.inv(before.pose) @ now.pose
    points = points @ moved[:3, :3].T.astype(np.float32) + moved[:3, 3].astype(np.float32)
    labels = now.labels[::_STRIDE, ::_STRIDE][chosen]

    ahead = points[:, 2] > 0
    points, labels = points[ahead], labels[ahead]
    u, v = project(points, camera)
    # Between the centres of pixels: beyond the outermost there is none on one side.
    seen = (u >= -_ON_PIXEL) & (u <= width - 1 + _ON_PIXEL) \
        & (v >= -_ON_PIXEL) & (v <= height - 1 + _ON_PIXEL)
    u, v, z, labels = u[seen], v[seen], points[seen, 2], labels[seen]
    column, row = np.rint(u).astype(np.intp), np.rint(v).astype(np.intp)
    there = before.depth_m[row, column]
    measured = there > 0
    same = measured & (np.abs(there - z) <= np.maximum(_LEAST_TOLERANCE_M, _DEPTH_TOLERANCE * z))
    if same.sum() < _LEAST_AGREEMENT * measured.sum():
        return None
    earlier = before.labels[row, column]
    same &= (labels != UNLABELLED) & (earlier != UNLABELLED)
    earlier, labels = earlier[same], labels[same]
    changed = earlier != labels
    # The point lies between four pixels; the nearest has been asked, now the others.
    other = np.flatnonzero(changed)
    columns, rows = _both_sides(u[same][other], width), _both_sides(v[same][other], height)
    for around in (before.labels[at] for at in product(rows, columns)):
        changed[other[around == labels[other]]] = False
    return _Compared(earlier, changed)


def _both_sides(place: _F8, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pixels before and after a place; the same one twice where it is on a pixel."""
    before = np.clip(np.floor(place + _ON_PIXEL), 0, size - 1)
    after = np.clip(np.ceil(place - _ON_PIXEL), 0, size - 1)
    return before.astype(np.intp), after.astype(np.intp)


def project(points: _Metres, camera: LensCamera) -> tuple[_F8, _F8]:
    """Return the pixels, x and y of `(N,)`, at which a lens shows `(N, 3)` points before it."""
    if not camera.model:
        pinhole = camera.pinhole
        scale = 1.0 / points[:, 2].astype(np.float64)
        return (points[:, 0] * scale * pinhole.fx + pinhole.cx,
                points[:, 1] * scale * pinhole.fy + pinhole.cy)
    if not len(points):
        return np.empty(0), np.empty(0)
    zero, lens = np.zeros(3), np.array(camera.coefficients)
    column = points.astype(np.float64)[:, None]
    if camera.model == 'equidistant':
        pixels, _ = cv2.fisheye.projectPoints(column, zero, zero, camera.matrix, lens)
    else:
        pixels, _ = cv2.projectPoints(column, zero, zero, camera.matrix, lens)
    return np.asarray(pixels[:, 0, 0]), np.asarray(pixels[:, 0, 1])


def is_still(before: _Labels, now: _Labels) -> bool:
    """Tell whether the camera stood still between two `(H, W, 3)` images.

    An edge that moves across itself by d pixels changes its grey levels by d times its gradient.
    The median over the strongest edges is asked, so that people may walk through the image.
    """
    earlier, later = _small_grey(before), _small_grey(now)
    gradient = np.hypot(cv2.Sobel(earlier, cv2.CV_32F, 1, 0, scale=0.125),
                        cv2.Sobel(earlier, cv2.CV_32F, 0, 1, scale=0.125))
    edges = gradient >= max(_LEAST_GRADIENT, float(np.quantile(gradient, 1 - _EDGES)))
    if edges.sum() < _LEAST_EDGES:
        return False
    # Exposure may have changed between the two; that is no movement.
    change = later - earlier
    change -= np.median(change)
    return float(np.median(np.abs(change[edges]) / gradient[edges])) <= _STILL_PIXELS


def _by_pixel(before: View, now: View) -> _Compared:
    every = np.s_[::_STRIDE, ::_STRIDE]
    colour = np.abs(cv2.blur(before.rgb, (3, 3))[every].astype(np.int16)
                    - cv2.blur(now.rgb, (3, 3))[every]).max(-1)
    earlier_m, later_m = before.depth_m[every], now.depth_m[every]
    limit = np.maximum(_LEAST_TOLERANCE_M, _DEPTH_TOLERANCE * later_m)
    # Both or neither measured, and if so, the same.
    depth = (np.abs(earlier_m - later_m) <= limit) & ((earlier_m > 0) == (later_m > 0))
    earlier, later = before.labels[every], now.labels[every]
    same = (colour <= _SAME_COLOUR) & depth & (earlier != UNLABELLED) & (later != UNLABELLED)
    return _Compared(earlier[same], earlier[same] != later[same])


def _small_grey(rgb: _Labels) -> _Metres:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width > _GREY_WIDTH:
        size = (_GREY_WIDTH, max(1, round(height * _GREY_WIDTH / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(grey, (5, 5), 1.0), np.float32)


def _count(labels: _Labels, classes: int) -> npt.NDArray[np.int64]:
    return np.bincount(labels, minlength=classes)[:classes].astype(np.int64)
