# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames are found through any tree, and nonsense neither hangs nor corrupts it."""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from diffpixel_core.tf_tree import TfTree, TransformError, pose_matrix

NONE = (0.0, 0.0, 0.0)
UNTURNED = (0.0, 0.0, 0.0, 1.0)


def stamped(parent: str, child: str, shift: tuple[float, ...],
            turn: tuple[float, ...] = UNTURNED) -> Any:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent), child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(**dict(zip('xyz', shift, strict=True))),
            rotation=SimpleNamespace(**dict(zip('xyzw', turn, strict=True)))))


def test_rotations_are_those_of_opencv() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        angle = rng.uniform(-3, 3)
        quaternion = np.array([*(axis * np.sin(angle / 2)), np.cos(angle / 2)])
        length = rng.uniform(0.1, 10)  # need not be 1
        matrix = pose_matrix((1, 2, 3), quaternion * length)
        np.testing.assert_allclose(matrix[:3, :3], cv2.Rodrigues(axis * angle)[0], atol=1e-12)
        np.testing.assert_array_equal(matrix[:, 3], [1, 2, 3, 1])


def test_a_pose_is_the_product_along_the_way_through_the_common_ancestor() -> None:
    rng = np.random.default_rng(1)
    tree, poses = TfTree(), {}
    for parent, child in (('world', 'base'), ('base', 'camera'), ('camera', 'colour'),
                          ('camera', 'depth'), ('depth', 'optical'), ('base', 'wheel')):
        shift, turn = rng.normal(size=3), rng.normal(size=4)
        tree.add(parent, child, shift, turn, static=True)
        poses[child] = pose_matrix(shift, turn)
    expected = np.linalg.inv(poses['colour']) @ poses['depth'] @ poses['optical']
    np.testing.assert_allclose(tree.pose('colour', 'optical'), expected, atol=1e-12)
    np.testing.assert_allclose(tree.pose('optical', 'colour'), np.linalg.inv(expected), atol=1e-12)
    np.testing.assert_allclose(tree.pose('base', 'depth'), poses['camera'] @ poses['depth'])
    np.testing.assert_array_equal(tree.pose('wheel', 'wheel'), np.eye(4))


def test_a_point_of_the_source_is_found_in_the_target() -> None:
    tree = TfTree()
    tree.add('colour', 'depth', (0.1, 0, 0), UNTURNED, static=True)
    pose = tree.pose('colour', 'depth')
    assert pose is not None
    np.testing.assert_allclose(pose @ (1, 2, 3, 1), (1.1, 2, 3, 1))


def test_what_is_not_connected_has_no_pose() -> None:
    tree = TfTree()
    assert tree.pose('colour', 'depth') is None
    tree.add('a', 'b', NONE, UNTURNED, static=True)
    tree.add('c', 'd', NONE, UNTURNED, static=True)
    assert tree.pose('b', 'd') is None


def test_the_latest_value_wins_even_under_another_parent() -> None:
    tree = TfTree()
    tree.add('world', 'camera', (1, 0, 0), UNTURNED, static=True)
    tree.add('world', 'arm', (0, 5, 0), UNTURNED, static=True)
    tree.add('arm', 'camera', (0, 0, 2), UNTURNED, static=False)
    np.testing.assert_array_equal(tree.pose('world', 'camera')[:3, 3], [0, 5, 2])


def test_a_reset_keeps_only_what_is_static() -> None:
    tree = TfTree()
    tree.add('base', 'camera', (1, 0, 0), UNTURNED, static=True)
    tree.add('world', 'base', (2, 0, 0), UNTURNED, static=False)
    tree.reset()
    assert tree.pose('base', 'camera') is not None
    assert tree.pose('world', 'camera') is None
    tree.add('base', 'camera', (1, 0, 0), UNTURNED, static=False)  # it began to move
    tree.reset()
    assert tree.pose('base', 'camera') is None


def test_slashes_of_ros_1_make_no_difference() -> None:
    tree = TfTree()
    tree.add('/base', 'camera', (1, 0, 0), UNTURNED, static=True)
    assert tree.pose('base', '/camera') is not None


def test_circles_end_and_have_no_pose_until_they_are_mended() -> None:
    tree = TfTree()
    for parent, child in (('a', 'b'), ('b', 'c'), ('c', 'a'), ('c', 'leaf')):
        tree.add(parent, child, (1, 0, 0), UNTURNED, static=False)
    assert tree.pose('a', 'b') is None
    assert tree.pose('a', 'leaf') is None
    tree.add('world', 'a', (1, 0, 0), UNTURNED, static=False)
    np.testing.assert_array_equal(tree.pose('a', 'leaf')[:3, 3], [3, 0, 0])


@pytest.mark.parametrize(('shift', 'turn'), [
    (NONE, (0, 0, 0, 0)), (NONE, (np.nan, 0, 0, 1)), ((np.inf, 0, 0), UNTURNED),
    (NONE, (0, 0, 1)), ((1, 2), UNTURNED)])
def test_what_is_no_transform_is_refused_and_the_old_one_kept(shift: Any, turn: Any) -> None:
    tree = TfTree()
    tree.add('a', 'b', (1, 0, 0), UNTURNED, static=True)
    with pytest.raises(TransformError, match="'a' to 'b'"):
        tree.add('a', 'b', shift, turn, static=True)
    np.testing.assert_array_equal(tree.pose('a', 'b')[:3, 3], [1, 0, 0])


def test_huge_quaternions_are_rotations_too() -> None:
    np.testing.assert_allclose(pose_matrix(NONE, (0, 0, 1e300, 1e300))[:2, :2], [[0, -1], [1, 0]],
                               atol=1e-12)


@pytest.mark.parametrize(('parent', 'child'), [('a', 'a'), ('', 'a'), ('a', ''), ('/a', 'a')])
def test_a_frame_needs_another_frame(parent: str, child: str) -> None:
    with pytest.raises(TransformError, match='two frames'):
        TfTree().add(parent, child, NONE, UNTURNED, static=True)


def test_frame_names_without_end_are_refused() -> None:
    tree = TfTree()
    for number in range(10_000):
        tree.add('a', f'b{number}', NONE, UNTURNED, static=False)
    with pytest.raises(TransformError, match='ever new'):
        tree.add('a', 'one more', NONE, UNTURNED, static=False)
    tree.add('a', 'b0', (1, 0, 0), UNTURNED, static=False)  # a known one is still heard


def test_a_bad_transform_does_not_take_the_good_ones_of_its_message_with_it() -> None:
    tree = TfTree()
    message = SimpleNamespace(transforms=[
        stamped('base', 'bad', (0, 0, 0), (0, 0, 0, 0)), stamped('base', 'camera', (1, 0, 0))])
    with pytest.raises(TransformError, match='bad'):
        tree.add_message(message, static=True)
    assert tree.pose('base', 'camera') is not None
    assert tree.pose('base', 'bad') is None
