# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth registration: a depth image redrawn as the colour camera would see it.

Each depth pixel is taken for a small square of surface that faces the camera, and drawn into every
colour pixel whose centre it covers; the nearest surface wins. Squares of neighbours overlap by a
tenth, so that a surface stays closed however much finer the colour image is, up to the largest
square drawn, 16 x 16 pixels. What the depth camera did not see stays 0.
"""

import numpy as np
import numpy.typing as npt

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera

F4 = npt.NDArray[np.float32]
F8 = npt.NDArray[np.float64]

_OVERLAP = 1.1  # slanted surfaces come out stretched; without it they tear every few pixels
_LARGEST_SQUARE = 16  # pixels; a surface so near that it would cover more is drawn smaller
_NEAREST_M = 0.01  # before the colour camera's centre; nearer, the projection has no end


class RegistrationError(DiffPixelError):
    """A pose that is none, or a depth image that is not this camera's."""


class DepthRegistration:
    """Redraws the images of one depth camera as one colour camera would see them.

    All that depends on the two cameras alone is computed here, once. A colour camera with a lens is
    drawn without it first, then looked up through it; what lies further outside the image than the
    image is wide is given up, which only the rim of a fisheye does.

    Args:
        depth_camera: The camera of the depth images.
        colour_camera: The camera to draw for.
        pose: `(4, 4)` depth camera in the colour camera's frame, metres: a point at p for the depth
            camera is at `pose @ p` for the colour camera.

    Raises:
        RegistrationError: If the pose is not a rigid motion or the depth camera has a single row or
            column of pixels.
    """

    def __init__(self, depth_camera: LensCamera, colour_camera: LensCamera,
                 pose: npt.ArrayLike) -> None:
        motion = _rigid(pose)
        self._depth_shape = (depth_camera.height, depth_camera.width)
        if min(self._depth_shape) < 2:
            raise RegistrationError(f'the depth camera has {depth_camera.width}x'
                                    f'{depth_camera.height} pixels; its camera_info is wrong')
        canvas, self._lookup = _canvas(colour_camera)
        self._size = (canvas.width, canvas.height)
        # u = (depth * a + t_u) / (depth * c + t_z), likewise v with b, for a ray (x, y, 1).
        projection = canvas.matrix @ motion[:3]
        rays = depth_camera.rays().astype(np.float64)
        x, y = rays[:, :, 0], rays[:, :, 1]
        a, b, c = (row[0] * x + row[1] * y + row[2] for row in projection)
        self._planes = tuple(plane.astype(np.float32).ravel() for plane in (
            a, b, c, *_half_squares(a, b, c)))
        self._shift = projection[:, 3].astype(np.float32)

    def __call__(self, depth_m: F4) -> F4:
        """Return one depth image as the colour camera sees it.

        Args:
            depth_m: `(H, W)` float32 metres along the depth camera's optical axis; 0, NaN,
                infinite or negative = not measured.

        Returns:
            `(H, W)` float32 of the colour camera, metres along its optical axis; 0 where nothing
            projects.

        Raises:
            RegistrationError: If the image is not the depth camera's.
        """
        if depth_m.shape != self._depth_shape or depth_m.dtype != np.float32:
            height, width = self._depth_shape
            raise RegistrationError(
                f'depth is {depth_m.shape} {depth_m.dtype} but its camera_info is for '
                f'{width}x{height}: it must be ({height}, {width}) float32 metres; publish the '
                'camera_info that belongs to the depth image')
        drawn = self._draw(depth_m.ravel())
        if self._lookup is None:
            return drawn[:-1].reshape(self._size[::-1])
        seen: F4 = drawn.take(self._lookup)
        return seen

    def _draw(self, depth_m: F4) -> F4:
        """Return the depth image on the canvas, before any lens, row by row, and a 0 at the end."""
        width, height = self._size
        shift_u, shift_v, shift_z = self._shift
        z = depth_m * self._planes[2] + shift_z
        seen = np.flatnonzero((depth_m > 0) & (depth_m < np.inf) & (z > _NEAREST_M))
        depth, z = depth_m.take(seen), z.take(seen)
        a, b, c, half_u, half_v = (plane.take(seen) for plane in self._planes)
        inverse = 1 / z
        # A square shrinks with the distance to the colour camera, not to the depth camera.
        shrink = np.abs(c) * depth * inverse
        left, right = _span((depth * a + shift_u) * inverse, half_u * shrink, width)
        top, bottom = _span((depth * b + shift_v) * inverse, half_v * shrink, height)
        columns, rows = right - left, bottom - top
        nearest = np.full(width * height + 1, np.inf, np.float32)
        _splat(nearest, z, top * width + left, columns, rows, width)
        nearest[nearest == np.inf] = 0
        return nearest


def register_depth(depth_m: F4, *, depth_camera: LensCamera, colour_camera: LensCamera,
                   pose: npt.ArrayLike) -> F4:
    """Redraw a depth image as the colour camera would see it.

    For more than one image keep a `DepthRegistration`.

    Args:
        depth_m: `(H, W)` float32 metres along the optical axis; 0 = not measured.
        depth_camera: The camera of `depth_m`.
        colour_camera: The camera to draw for.
        pose: `(4, 4)` depth camera in the colour camera's frame, metres.

    Returns:
        `(H, W)` float32 metres of the colour camera; 0 where nothing projects; the nearest surface
        wins.

    Raises:
        RegistrationError: If the pose is not a rigid motion or the image is not the camera's.
    """
    return DepthRegistration(depth_camera, colour_camera, pose)(depth_m)


def _rigid(pose: npt.ArrayLike) -> F8:
    motion = np.asarray(pose, np.float64)
    if motion.shape != (4, 4) or not np.isfinite(motion).all():
        raise RegistrationError(f'the pose of the depth camera must be (4, 4) finite numbers, this '
                                f'is {motion.tolist()}')
    turn = motion[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0 \
            or np.abs(motion[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise RegistrationError('the pose of the depth camera must be a rotation and a '
                                f'translation, without scale or mirror, this is {motion.tolist()}')
    return motion


def _canvas(camera: LensCamera) -> tuple[Camera, npt.NDArray[np.int32] | None]:
    """Return the pinhole to draw for, and where in its image the camera's pixels are.

    Without a lens the pinhole is the camera itself and there is nothing to look up. Places are
    counted row by row; that of a pixel outside is the first one after the image's end.
    """
    pinhole = camera.pinhole
    if not camera.model:
        return pinhole, None
    rays = camera.rays().astype(np.float64)
    u = rays[:, :, 0] * pinhole.fx + pinhole.cx
    v = rays[:, :, 1] * pinhole.fy + pinhole.cy
    with np.errstate(invalid='ignore'):
        inside = ((u >= -camera.width) & (u < 2 * camera.width)
                  & (v >= -camera.height) & (v < 2 * camera.height))
    if not inside.any():
        raise RegistrationError('the colour camera sees nothing through its lens; its distortion '
                                f'({camera.model} {list(camera.coefficients)}) is wrong')
    left, top = int(np.floor(u[inside].min())), int(np.floor(v[inside].min()))
    width = int(np.ceil(u[inside].max())) - left + 1
    height = int(np.ceil(v[inside].max())) - top + 1
    place = np.full(u.shape, width * height, np.int32)
    place[inside] = np.rint(v[inside] - top) * width + np.rint(u[inside] - left)
    canvas = Camera(width, height, pinhole.fx, pinhole.fy, pinhole.cx - left, pinhole.cy - top)
    return canvas, place


def _half_squares(a: F8, b: F8, c: F8) -> tuple[F8, F8]:
    """Return half the width and height, colour pixels, of each depth pixel's square.

    They are those of a surface so far away that the cameras' offset does not matter.
    """
    halves = []
    for numerator in (a, b):
        with np.errstate(all='ignore'):
            down, across = np.gradient(numerator / c)
            half: F8 = (np.abs(down) + np.abs(across)) * (_OVERLAP / 2)
        finite = np.isfinite(half)
        # Beside a pixel without a ray there is no difference to take.
        half[~finite] = np.median(half[finite]) if finite.any() else 0.5
        halves.append(half)
    return halves[0], halves[1]


def _span(centre: F4, half: F4, size: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return first and past-the-last pixel whose centres lie in [centre - half, centre + half).

    At least half a pixel to each side, so that exactly one pixel is hit where colour is coarser.
    """
    half = half.clip(0.5, _LARGEST_SQUARE / 2)
    first = np.ceil(centre - half).clip(0, size).astype(np.int32)
    end = np.ceil(centre + half).clip(0, size).astype(np.int32)
    return first, end


def _splat(nearest: F4, z: F4, first: npt.NDArray[np.int32], columns: npt.NDArray[np.int32],
           rows: npt.NDArray[np.int32], width: int) -> None:
    """Lower `nearest` to z in every pixel of every square.

    One pass per place within a square, over the squares that reach it.

    Args:
        nearest: `(pixels + 1,)` distances so far.
        z: `(n,)` distances.
        first: `(n,)` upper left pixel of each square.
        columns: `(n,)` how many pixels wide; 0 or less = outside the image.
        rows: `(n,)` how many pixels high.
        width: Of the image.
    """
    row = 0
    reach_row = np.flatnonzero((columns > 0) & (rows > 0))
    while reach_row.size:
        column = 0
        reach = reach_row
        while reach.size:
            np.minimum.at(nearest, first.take(reach) + (row * width + column), z.take(reach))
            column += 1
            reach = reach[columns.take(reach) > column]
        row += 1
        reach_row = reach_row[rows.take(reach_row) > row]
