# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Registered depth, against a loop over pixels with a depth buffer and against walls by formula."""

import math

import cv2
import numpy as np
import pytest

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.geometry import Camera
from diffpixel_core.registration import DepthRegistration, RegistrationError, register_depth
from diffpixel_core.tf_tree import pose_matrix

LENS = (-0.25, 0.06, 0.001, -0.002, 0.0)


def camera(width: int, height: int, f: float, *, lens: tuple[float, ...] = ()) -> LensCamera:
    return LensCamera(Camera(width, height, f, f * 1.02, width / 2 - 0.3, height / 2 + 0.2),
                      'plumb_bob' if lens else '', lens)


def wall(seen_by: LensCamera, normal: np.ndarray, distance: float) -> np.ndarray:
    """Return the depth of the plane normal . p = distance."""
    rays = seen_by.rays().astype(float)
    directions = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1)
    return (distance / (directions @ normal)).astype(np.float32)


def loop(depth: np.ndarray, depth_camera: LensCamera, colour_camera: LensCamera,
         pose: np.ndarray) -> np.ndarray:
    """Project every pixel on its own; its square is that of its neighbours' far projections."""
    target = colour_camera.pinhole
    out = np.zeros((target.height, target.width))
    rays = depth_camera.rays().astype(float)

    def far(row: int, column: int) -> np.ndarray:
        x, y, z = pose[:3, :3] @ (*rays[row, column], 1.0)
        return np.array([target.fx * x / z + target.cx, target.fy * y / z + target.cy])

    def change(row: int, column: int, step: tuple[int, int]) -> np.ndarray:
        places = [(row + sign * step[0], column + sign * step[1]) for sign in (-1, 1)]
        kept = [(min(max(r, 0), depth.shape[0] - 1), min(max(c, 0), depth.shape[1] - 1))
                for r, c in places]
        pixels = sum(abs(a - b) for a, b in zip(*kept, strict=True))
        return np.abs(far(*kept[1]) - far(*kept[0])) / pixels

    for row, column in np.ndindex(*depth.shape):
        d = float(depth[row, column])
        if not (d > 0 and math.isfinite(d)):
            continue
        ray = np.array([*rays[row, column], 1.0])
        x, y, z = pose[:3, :3] @ (ray * d) + pose[:3, 3]
        if z <= 0.01:
            continue
        u, v = target.fx * x / z + target.cx, target.fy * y / z + target.cy
        square = change(row, column, (0, 1)) + change(row, column, (1, 0))
        square = square * 1.1 * abs(pose[2, :3] @ ray) * d / z
        half_u, half_v = np.clip(square / 2, 0.5, 8.0)
        for i in range(math.ceil(v - half_v), math.ceil(v + half_v)):
            for j in range(math.ceil(u - half_u), math.ceil(u + half_u)):
                if 0 <= i < target.height and 0 <= j < target.width and not 0 < out[i, j] <= z:
                    out[i, j] = z
    return out


@pytest.mark.parametrize(('depth_camera', 'colour_camera'), [
    (camera(24, 18, 20), camera(24, 18, 20)),
    (camera(24, 18, 20), camera(60, 45, 50)),
    (camera(24, 18, 20), camera(10, 8, 8)),
    (camera(24, 18, 20, lens=LENS), camera(30, 22, 23)),
])
def test_every_pixel_lands_where_the_loop_puts_it(depth_camera: LensCamera,
                                                  colour_camera: LensCamera) -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 3, (18, 24)).astype(np.float32)
    depth[rng.random((18, 24)) < 0.2] = 0
    depth[0, :3] = np.nan, np.inf, -1
    # Rolled, tilted, and half a metre forward: near pixels end up behind the colour camera.
    pose = pose_matrix((0.05, -0.02, -0.6), (0.02, -0.03, 0.05, 1))
    out = register_depth(depth, depth_camera=depth_camera, colour_camera=colour_camera, pose=pose)
    assert out.dtype == np.float32
    expected = loop(depth, depth_camera, colour_camera, pose)
    assert (expected > 0).mean() > 0.3
    np.testing.assert_allclose(out, expected, rtol=1e-4)


def test_the_same_camera_in_the_same_place_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    depth = rng.uniform(0.4, 60, (48, 64)).astype(np.float32)
    depth[rng.random((48, 64)) < 0.3] = 0
    same = camera(64, 48, 50)
    np.testing.assert_array_equal(DepthRegistration(same, same, np.eye(4))(depth), depth)


@pytest.mark.parametrize('factor', [0.5, 1.0, 1.6, 3.0, 6.0])
@pytest.mark.parametrize('lens', [(), LENS])
def test_a_slanted_wall_stays_closed_and_in_its_plane(factor: float,
                                                      lens: tuple[float, ...]) -> None:
    depth_camera = camera(80, 60, 50)
    colour_camera = camera(round(50 * factor), round(40 * factor), 60 * factor, lens=lens)
    pose = pose_matrix((0.05, 0.01, 0.02), (0.01, 0.02, 0.03, 1))
    normal, distance = np.array([0.4, 0.1, 1.0]), 2.0
    out = DepthRegistration(depth_camera, colour_camera, pose)(
        wall(depth_camera, normal, distance))
    turned = pose[:3, :3] @ normal
    expected = wall(colour_camera, turned, distance + turned @ pose[:3, 3])
    assert (out > 0).all()
    # A depth pixel is half a pixel off at most at each side, and the wall slants by about a half.
    np.testing.assert_allclose(out, expected, rtol=0.02)
    # Where colour is coarser, the nearest of several depth pixels wins: a little too near.
    assert abs((out / expected).mean() - 1) < (2e-3 if factor >= 1 else 5e-3)


def test_what_stands_in_front_hides_what_is_behind() -> None:
    depth_camera, colour_camera = camera(40, 30, 30), camera(120, 90, 90)
    depth = np.full((30, 40), 3.0, np.float32)
    depth[10:20, 15:25] = 1.0
    out = DepthRegistration(depth_camera, colour_camera, pose_matrix((0.1, 0, 0), (0, 0, 0, 1)))(
        depth)
    # 0.1 m is 9 pixels at 1 m and 3 at 3 m; the far wall must not shine through the near square.
    front = np.argwhere(out == 1.0)
    (top, left), (bottom, right) = front.min(0), front.max(0)
    assert len(front) == (bottom - top + 1) * (right - left + 1)
    assert 30 <= right - left + 1 <= 33
    # The wall beside the square that only the colour camera sees: 6 pixels, less the overlaps.
    beside = (out == 0)[top + 1:bottom, 15:105]
    np.testing.assert_array_equal(np.unique(beside.sum(1)), [5])


def test_unmeasured_stays_unmeasured() -> None:
    same = camera(40, 30, 30)
    redraw = DepthRegistration(same, camera(80, 60, 60), np.eye(4))
    assert not redraw(np.zeros((30, 40), np.float32)).any()
    depth = np.full((30, 40), 2.0, np.float32)
    depth[10:20, 10:20] = 0
    assert not redraw(depth)[24:36, 24:36].any()


def test_what_is_behind_the_colour_camera_is_not_drawn() -> None:
    same = camera(40, 30, 30)
    depth = np.full((30, 40), 0.5, np.float32)
    depth[10:20, 10:20] = 3.0
    out = DepthRegistration(same, same, pose_matrix((0, 0, -1), (0, 0, 0, 1)))(depth)
    assert set(np.unique(out)) == {0.0, 2.0}


def test_a_lens_bends_the_picture_as_opencv_bends_a_point() -> None:
    depth_camera = camera(200, 160, 100)
    colour_camera = camera(160, 120, 110, lens=LENS)
    depth = np.full((160, 200), 2.0, np.float32)
    marks = [(40, 60), (80, 100), (120, 150), (100, 50)]
    for row, column in marks:
        depth[row - 1:row + 2, column - 1:column + 2] = 1.0
    out = DepthRegistration(depth_camera, colour_camera, np.eye(4))(depth)
    points = np.array([[*depth_camera.rays()[mark], 1.0] for mark in marks], float)
    pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), colour_camera.matrix,
                               np.array(LENS))[0].reshape(-1, 2)
    blobs, _, _, centres = cv2.connectedComponentsWithStats((out == 1.0).astype(np.uint8))
    assert blobs == 1 + len(marks)
    for pixel in pixels:
        assert np.hypot(*(centres[1:] - pixel).T).min() < 0.8


def test_poses_and_images_that_do_not_fit_are_refused() -> None:
    same = camera(8, 6, 5)
    for pose in (np.eye(3), np.eye(4) * np.nan, np.diag([2.0, 2, 2, 1]), np.diag([-1.0, 1, 1, 1])):
        with pytest.raises(RegistrationError, match='pose'):
            DepthRegistration(same, same, pose)
    redraw = DepthRegistration(same, same, np.eye(4))
    for depth in (np.zeros((6, 9), np.float32), np.zeros((6, 8), np.uint16)):
        with pytest.raises(RegistrationError, match='8x6'):
            redraw(depth)
    with pytest.raises(RegistrationError, match='1x6'):
        DepthRegistration(camera(1, 6, 5), same, np.eye(4))
