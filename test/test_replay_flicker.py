# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Flicker is found where labels change, in the amount in which they change, and nowhere else."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.geometry import Camera
from diffpixel_core.replay.flicker import FlickerMeter, View, by_pose, is_still, project
from diffpixel_core.replay.tally import Flicker

CLASSES = 6
CAMERA = LensCamera(Camera(128, 96, 110.0, 112.0, 63.0, 47.5))
BENT = {
    'plumb_bob': LensCamera(CAMERA.pinhole, 'plumb_bob', (-0.2, 0.06, 0.001, -0.002, 0.01)),
    'rational_polynomial': LensCamera(CAMERA.pinhole, 'rational_polynomial',
                                      (0.5, -0.2, 0.001, -0.002, 0.01, 0.6, -0.15, 0.005)),
    'equidistant': LensCamera(CAMERA.pinhole, 'equidistant', (0.02, -0.01, 0.003, -0.001)),
}
POSE = npt.NDArray[np.float64]


def meter() -> tuple[FlickerMeter, Flicker]:
    counts = Flicker(np.zeros(CLASSES, np.int64), np.zeros(CLASSES, np.int64))
    return FlickerMeter(counts), counts


def a_pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> POSE:
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    pose[:3, 3] = x, y, z
    return pose


def wall_view(pose: POSE, *, camera: LensCamera = CAMERA, labelled: int = 0, box: bool = False,
              ) -> View:
    """Return a view of a wall 3 m ahead, labelled in vertical stripes 0.4 m wide.

    Args:
        pose: The camera in the world, whose z axis is perpendicular to the wall.
        camera: The lens.
        labelled: Added to the labels.
        box: Whether a box of label 5 floats 1 m before the wall.
    """
    rays = np.concatenate([camera.rays(), np.ones((camera.height, camera.width, 1))], -1)
    directions = rays @ pose[:3, :3].T
    depth = (3.0 - pose[2, 3]) / directions[..., 2]  # along the ray with z = 1: metres of depth
    world = pose[:3, 3] + directions * depth[..., None]
    labels = (np.floor((world[..., 0] + 0.013) / 0.4).astype(int) % 4 + labelled) % CLASSES
    if box:
        near = (2.0 - pose[2, 3]) / directions[..., 2]
        hit = pose[:3, 3] + directions * near[..., None]
        inside = (np.abs(hit[..., :2]) < 0.25).all(-1)
        depth, labels = np.where(inside, near, depth), np.where(inside, 5, labels)
    grey = (40 * labels).astype(np.uint8)
    return View(np.repeat(grey[..., None], 3, -1), depth.astype(np.float32),
                labels.astype(np.uint8), pose, camera)


@pytest.mark.parametrize('camera', [CAMERA, *BENT.values()], ids=lambda camera: camera.model)
def test_a_moving_camera_sees_no_flicker_where_there_is_none(camera: LensCamera) -> None:
    watch, counts = meter()
    for step in range(6):
        watch.add(wall_view(a_pose(0.07 * step, 0.03 * step, 0.05 * step, 0.02 * step),
                            camera=camera))
    assert (counts.frame_pairs, counts.by_pose, counts.by_still) == (5, 5, 0)
    assert counts.compared.sum() > 0.7 * 5 * 48 * 64
    assert counts.changed.sum() == 0


def test_every_change_is_counted_under_the_label_the_point_had() -> None:
    watch, counts = meter()
    watch.add(wall_view(a_pose()))
    after = wall_view(a_pose(0.1, 0.0, 0.05, 0.01))
    after.labels[after.labels == 1] = 4
    share = watch.add(after)
    assert share is not None
    assert counts.compared[1] > 500
    # At its rims a stripe may hide a column of 48 points; rounding, by the rule of four pixels.
    assert counts.compared[1] - 4 * 48 <= counts.changed[1] < counts.compared[1]
    assert counts.changed[[0, 2, 3]].sum() <= 4 * 48
    assert share == pytest.approx(counts.changed.sum() / counts.compared.sum())


def test_what_was_hidden_before_is_not_compared() -> None:
    """Behind a box there was another label: a wrong answer if the depth were not asked."""
    watch, counts = meter()
    before, after = wall_view(a_pose(), box=True), wall_view(a_pose(0.3), box=True)
    watch.add(before)
    watch.add(after)
    assert counts.by_pose == 1
    assert counts.compared[5] > 100
    assert counts.changed.sum() == 0
    naive = (before.labels != after.labels).mean()
    assert naive > 0.2


def test_a_box_taken_away_is_not_flicker() -> None:
    watch, counts = meter()
    watch.add(wall_view(a_pose(), box=True))
    watch.add(wall_view(a_pose(0.05)))
    assert counts.compared[5] == 0
    assert counts.changed.sum() == 0


def test_poses_that_contradict_the_depth_are_not_believed() -> None:
    before, after = wall_view(a_pose()), wall_view(a_pose(0.05))
    wrong = View(after.rgb, after.depth_m, after.labels, a_pose(0.0, 0.0, -1.0), CAMERA)
    assert by_pose(before, after) is not None
    assert by_pose(before, wrong) is None


def test_unlabelled_and_unmeasured_points_are_not_compared() -> None:
    watch, counts = meter()
    before, after = wall_view(a_pose()), wall_view(a_pose(), labelled=1)
    before.labels[:48] = 255
    after.depth_m[48:72] = 0
    watch.add(before)
    watch.add(after)
    assert counts.compared.sum() == counts.changed.sum() == 12 * 64


@pytest.mark.parametrize('model', BENT)
def test_rays_that_are_projected_again_come_back(model: str) -> None:
    camera = BENT[model]
    rays = camera.rays()[10:90:7, 10:120:9].reshape(-1, 2)
    points = np.column_stack([rays, np.ones(len(rays))]).astype(np.float32) * 2.5
    u, v = project(points, camera)
    wanted_v, wanted_u = np.mgrid[10:90:7, 10:120:9]
    np.testing.assert_allclose(u, wanted_u.ravel(), atol=0.02)
    np.testing.assert_allclose(v, wanted_v.ravel(), atol=0.02)


# A camera without poses.

def photo(rng: np.random.Generator, *, noise: float = 0.0, shift: float = 0.0,
          brighter: float = 0.0) -> npt.NDArray[np.uint8]:
    """Return the same picture of blocks every time but for noise, movement and exposure."""
    blocks = np.random.default_rng(5).uniform(20, 220, (12, 16)).astype(np.float32)
    picture = cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_NEAREST)
    picture = cv2.GaussianBlur(picture, (5, 5), 1.0)
    move = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
    picture = cv2.warpAffine(picture, move, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    picture = picture[..., None] + brighter + rng.normal(0, noise, (240, 320, 3))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def test_noise_and_exposure_are_no_movement() -> None:
    rng = np.random.default_rng(1)
    assert is_still(photo(rng, noise=6), photo(rng, noise=6))
    assert is_still(photo(rng, noise=3), photo(rng, noise=3, brighter=12))


@pytest.mark.parametrize('shift', [0.7, 1.5, 6.0, 40.0])
def test_a_camera_that_moves_is_not_still(shift: float) -> None:
    rng = np.random.default_rng(2)
    assert not is_still(photo(rng, noise=3), photo(rng, noise=3, shift=shift))


def test_a_person_who_walks_by_does_not_move_the_camera() -> None:
    rng = np.random.default_rng(3)
    before, after = photo(rng, noise=3), photo(rng, noise=3)
    before[60:240, 40:100] = 30
    after[60:240, 70:130] = 30
    assert is_still(before, after)


def test_an_image_without_edges_tells_nothing() -> None:
    white = np.full((240, 320, 3), 200, np.uint8)
    assert not is_still(white, white)


def test_a_still_camera_compares_what_did_not_change_pixel_by_pixel() -> None:
    rng = np.random.default_rng(4)
    watch, counts = meter()
    depth = np.full((240, 320), 2.0, np.float32)
    labels = np.zeros((240, 320), np.uint8)
    labels[:, 160:] = 1
    watch.add(View(photo(rng), depth, labels))
    after, rgb = labels.copy(), photo(rng)
    after[:60, :80] = 3  # flickers: 30 x 40 of the pixels compared
    after[120:180, 200:280] = 4  # somebody came: colour and depth changed there, too
    rgb[110:190, 190:290] = 0
    nearer = depth.copy()
    nearer[110:190, 190:290] = 1.0
    share = watch.add(View(rgb, nearer, after))
    assert (counts.by_pose, counts.by_still) == (0, 1)
    np.testing.assert_array_equal(counts.changed, [1200, 0, 0, 0, 0, 0])
    assert counts.compared[0] == 120 * 80
    assert 0.7 * 120 * 80 < counts.compared[1] < 120 * 80 - 40 * 50 + 1
    assert share == pytest.approx(1200 / counts.compared.sum())


def test_nothing_is_said_where_nothing_could_be_compared() -> None:
    rng = np.random.default_rng(6)
    watch, counts = meter()
    depth, labels = np.ones((240, 320), np.float32), np.zeros((240, 320), np.uint8)
    assert watch.add(View(photo(rng), depth, labels)) is None
    assert watch.add(View(photo(rng, shift=9), depth, labels + 1)) is None
    assert (counts.frame_pairs, counts.by_pose, counts.by_still) == (1, 0, 0)
    assert counts.share is None
