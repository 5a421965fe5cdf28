# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from diffpixel_core.synthetic.cameras import CameraPathError, look, viewpoint, walk
from diffpixel_core.synthetic.scenes import ROOM_KINDS, Room, build_room

FPS = 30.0


def inside_an_obstacle(points, room, margin=0.0):
    low, high = room.obstacles[:, 0] - margin, room.obstacles[:, 1] + margin
    return ((points[:, None] > low) & (points[:, None] < high)).all(2).any(1)


def is_rotation(poses):
    turns = poses[..., :3, :3]
    return (np.allclose(turns @ turns.swapaxes(-1, -2), np.eye(3), atol=1e-9)
            and np.allclose(np.linalg.det(turns), 1))


def test_camera_axes_are_right_down_forward():
    pose = look((1, 2, 3), yaw=0.0, pitch=0.0)
    np.testing.assert_allclose(pose[:3, :3].T, [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(pose[:3, 3], [1, 2, 3])
    assert look((0, 0, 0), 0.0, math.radians(-30))[2, 2] == pytest.approx(-0.5)


@pytest.mark.parametrize('kind', ROOM_KINDS)
def test_viewpoints_are_clear_of_furniture_and_of_human_height(kind):
    room = build_room(11, kind)
    poses = np.stack([viewpoint(room, np.random.default_rng(seed)) for seed in range(20)])
    places = poses[:, :3, 3]
    assert not inside_an_obstacle(places, room, margin=0.249).any()
    assert (places > 0.2).all()
    assert (places < np.array(room.size) - 0.2).all()
    assert (places[:, 2] >= 0.5).all()
    assert (places[:, 2] <= 1.8).all()
    pitch = np.degrees(np.arcsin(poses[:, 2, 2]))
    assert (pitch > -35.1).all()
    assert (pitch < 10.1).all()
    assert is_rotation(poses)


@pytest.mark.parametrize('kind', ROOM_KINDS)
def test_a_walk_keeps_the_speed_limits_and_out_of_the_furniture(kind):
    room = build_room(5, kind)
    poses = walk(room, 600, FPS, np.random.default_rng(0))
    assert poses.shape == (600, 4, 4)
    assert is_rotation(poses)
    places = poses[:, :3, 3]
    assert not inside_an_obstacle(places, room).any()
    assert (places > 0).all()
    assert (places < np.array(room.size)).all()
    assert places[:, 2].min() > 0.45
    assert places[:, 2].max() < 1.25
    speed = np.linalg.norm(np.diff(places, axis=0), axis=1) * FPS
    turns = poses[:-1, :3, :3].swapaxes(1, 2) @ poses[1:, :3, :3]
    # From the chord, because arccos of the trace has no digits left near 0.
    rate = 2 * np.arcsin(np.linalg.norm(turns - np.eye(3), axis=(1, 2)) / np.sqrt(8)) * FPS
    assert speed.max() <= 0.6
    assert rate.max() <= 0.6
    assert np.abs(np.diff(speed)).max() * FPS < 2.5  # m/s2: no jerks
    assert np.ptp(places[:, :2], axis=0).max() > 0.3  # it does get about


def test_same_state_gives_the_same_walk():
    room = build_room(5, 'office')
    one, same, other = (walk(room, 60, FPS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_room_without_floor_is_refused():
    full = Room((), (3.0, 3.0, 2.5), (), 'office', np.array([[[0.1, 0.1, 0.0], [2.9, 2.9, 2.4]]]))
    with pytest.raises(CameraPathError, match='take another seed'):
        walk(full, 10, FPS, np.random.default_rng(0))
    with pytest.raises(CameraPathError, match='take another seed'):
        viewpoint(full, np.random.default_rng(0))
