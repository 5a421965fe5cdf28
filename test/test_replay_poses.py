# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A camera's pose is interpolated between transforms, and unknown where they do not reach."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Quaternion as Quaternion
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Transform as Transform
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__TransformStamped as StampedTf
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Vector3 as Vector3
from rosbags.typesys.stores.ros2_jazzy import tf2_msgs__msg__TFMessage as TFMessage

from diffpixel_core.bags import message_header
from diffpixel_core.replay.poses import PoseTrack

MS = 1_000_000


def matrix(x: float, yaw: float) -> npt.NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0]
    pose[0, 3] = x
    return pose


def tf(parent: str, child: str, ms: int, x: float = 0.0, yaw: float = 0.0, *,
       flipped: bool = False) -> TFMessage:
    """Return a transform: x metres ahead, turned about z; `flipped` writes the quaternion as -q."""
    sign = -1.0 if flipped else 1.0
    rotation = Quaternion(0.0, 0.0, sign * np.sin(yaw / 2), sign * np.cos(yaw / 2))
    return TFMessage([StampedTf(message_header(ms * MS, parent), child,
                                Transform(Vector3(x, 0.0, 0.0), rotation))])


def test_a_pose_between_two_transforms_lies_between_them() -> None:
    track = PoseTrack()
    track.add(tf('base', 'camera', 0, 0.5), static=True)
    track.add(tf('map', 'base', 1000, 1.0, 0.10), static=False)
    track.add(tf('map', 'base', 1100, 3.0, 0.14, flipped=True), static=False)
    found = track.pose('camera', 1025 * MS)
    np.testing.assert_allclose(found, matrix(1.5, 0.11) @ matrix(0.5, 0.0), atol=1e-6)
    np.testing.assert_allclose(track.pose('/camera', 1100 * MS),
                               matrix(3.0, 0.14) @ matrix(0.5, 0.0), atol=1e-9)


def test_every_link_of_a_chain_is_interpolated_on_its_own() -> None:
    track = PoseTrack()
    for ms in (1000, 1500):
        track.add(tf('map', 'odom', ms, ms / 1000), static=False)
    for ms in (1000, 1010, 1020, 1030):
        track.add(tf('odom', 'camera', ms, (ms - 1000) / 10), static=False)
    found = track.pose('camera', 1015 * MS)
    assert found is not None
    assert found[0, 3] == pytest.approx(1.015 + 1.5)


def test_a_robot_that_only_tells_how_it_is_built_has_no_pose() -> None:
    track = PoseTrack()
    track.add(tf('base', 'camera', 0), static=True)
    assert track.pose('camera', 10) is None
    assert track.pose('elsewhere', 10) is None
    assert track.settled('camera', 10), 'nothing to wait for'


def test_no_pose_is_made_up_outside_the_transforms() -> None:
    track = PoseTrack()
    track.add(tf('map', 'camera', 1000), static=False)
    track.add(tf('map', 'camera', 2500), static=False)
    assert track.pose('camera', 999 * MS) is None
    assert track.pose('camera', 1700 * MS) is None, 'more than a second between the two'
    assert track.pose('camera', 2501 * MS) is None
    assert track.settled('camera', 2500 * MS)
    assert not track.settled('camera', 2501 * MS)


def test_damaged_transforms_and_circles_do_no_harm() -> None:
    track = PoseTrack()
    track.add(tf('map', 'camera', 1000, float('nan')), static=False)
    assert track.pose('camera', 1000 * MS) is None
    track.add(tf('a', 'b', 1000), static=False)
    track.add(tf('b', 'a', 1000), static=False)
    track.pose('a', 1000 * MS)


def test_memory_of_transforms_is_short_and_a_new_lap_forgets_all() -> None:
    track = PoseTrack()
    for ms in range(0, 60_000, 10):
        track.add(tf('map', 'camera', ms), static=False)
    assert len(track._links['camera'].moments) <= 501
    track.add(tf('map', 'camera', 0, 7.0), static=False)
    assert len(track._links['camera'].moments) == 1
