# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""TfTree: where frames are to each other, from tf messages.

Only what is true now is kept: the latest transform of each frame to its parent. That is enough for
cameras on one rigid body, and needs no tf2 (which pip-only machines lack).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError

F8 = npt.NDArray[np.float64]

_MOST_FRAMES = 10_000


class TransformError(DiffPixelError):
    """A transform that is no rotation and translation between two frames."""


class TfTree:
    """The frames heard of so far. Not thread-safe: feed and ask it from one thread."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, F8]] = {}  # child -> parent, child in the parent
        self._static: set[str] = set()

    def add(self, parent: str, child: str, translation: Sequence[float],
            quaternion: Sequence[float], *, static: bool) -> None:
        """Take a transform; it replaces the one its child had, whatever kind that was.

        Args:
            parent: Frame the numbers are in; a leading slash, as ROS 1 wrote it, is ignored.
            child: The frame that is placed.
            translation: Of the child's origin, `(3,)` metres.
            quaternion: Its rotation, `(4,)` x y z w; need not be of unit length.
            static: Holds for ever; others are forgotten by `reset`.

        Raises:
            TransformError: If a number is not finite, the quaternion is 0, the two frames are one
                or without a name, or there are more frames than any robot has.
        """
        parent, child = parent.removeprefix('/'), child.removeprefix('/')
        if not parent or not child or parent == child:
            raise TransformError(f'a transform places {child!r} in {parent!r}; these must be two '
                                 'frames with names, mend the node that publishes it')
        if child not in self._parents and len(self._parents) >= _MOST_FRAMES:
            raise TransformError(f'{child!r} is frame number {_MOST_FRAMES + 1}; a node publishes '
                                 'ever new frame names, find it with tf2_monitor')
        try:
            matrix = pose_matrix(translation, quaternion)
        except TransformError as error:
            raise TransformError(f'transform from {parent!r} to {child!r}: {error}') from error
        self._parents[child] = (parent, matrix)
        if static:
            self._static.add(child)
        else:
            self._static.discard(child)

    def add_message(self, message: Any, *, static: bool) -> None:
        """Take all transforms of a tf2_msgs/TFMessage.

        Raises:
            TransformError: For the first that cannot be taken; the others are, all the same.
        """
        refused: list[TransformError] = []
        for stamped in message.transforms:
            shift, turn = stamped.transform.translation, stamped.transform.rotation
            try:
                self.add(stamped.header.frame_id, stamped.child_frame_id,
                         (shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w),
                         static=static)
            except TransformError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def pose(self, target: str, source: str) -> F8 | None:
        """Return `(4, 4)` source in the target frame, or None while they are not connected.

        A point at p in the source frame is at `pose @ p` in the target frame, metres. Frames that
        go round in a circle count as not connected: there is no telling which way is right.
        """
        target, source = target.removeprefix('/'), source.removeprefix('/')
        of_target, of_source = self._upwards(target), self._upwards(source)
        for ancestor, source_in_ancestor in of_source.items():
            if ancestor in of_target:
                return _inverse(of_target[ancestor]) @ source_in_ancestor
        return None

    def reset(self) -> None:
        """Forget all but the static transforms, because time starts anew."""
        self._parents = {child: self._parents[child] for child in self._static}

    def _upwards(self, frame: str) -> dict[str, F8]:
        """Return the frame in itself and in each of its ancestors, nearest first.

        Nothing at all if the frames go round in a circle.
        """
        poses = {frame: np.eye(4)}
        while frame in self._parents:
            parent, matrix = self._parents[frame]
            if parent in poses:
                return {}
            poses[parent] = matrix @ poses[frame]
            frame = parent
        return poses


def pose_matrix(translation: Sequence[float], quaternion: Sequence[float]) -> F8:
    """Return the `(4, 4)` matrix of a translation and a rotation.

    Args:
        translation: `(3,)` metres.
        quaternion: `(4,)` x y z w; need not be of unit length.

    Raises:
        TransformError: If a number is not finite or the quaternion is 0.

    Source: rotation matrix of a unit quaternion, K. Shoemake, "Animating rotation with quaternion
    curves", SIGGRAPH 1985.
    """
    shift, turn = np.asarray(translation, np.float64), np.asarray(quaternion, np.float64)
    if shift.shape != (3,) or turn.shape != (4,) or not np.isfinite([*shift, *turn]).all():
        raise TransformError(f'translation {shift.tolist()} and quaternion {turn.tolist()} must be '
                             'three and four finite numbers')
    largest = np.abs(turn).max()
    if largest < 1e-9:
        raise TransformError(f'quaternion {turn.tolist()} is no rotation; none at all is '
                             '(0, 0, 0, 1)')
    turn = turn / largest  # first, so that no square overflows
    x, y, z, w = turn / np.linalg.norm(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]
    matrix[:3, 3] = shift
    return matrix


def _inverse(pose: F8) -> F8:
    """Return the inverse of a rigid motion."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse
