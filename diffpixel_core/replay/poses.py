# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera was when a frame was taken, from the transforms in a bag."""

from bisect import bisect_left, insort
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.tf_tree import pose_matrix

_LONGEST_GAP_NS = 1_000_000_000  # between two transforms, with a frame in between
_MEMORY_NS = 5_000_000_000  # how long a transform is remembered
_LONGEST_CHAIN = 64  # links from a camera up to the root; more is a loop

_F8 = npt.NDArray[np.float64]


class _Moment(NamedTuple):
    """A transform at one time: translation, metres, and unit quaternion x y z w."""

    stamp_ns: int
    translation: _F8
    quaternion: _F8


class _Link(NamedTuple):
    """How one frame moves in its parent; a link that does not move has one moment."""

    parent: str
    moments: list[_Moment]
    static: bool


class PoseTrack:
    """Remember the transforms of the last seconds and interpolate the camera's pose in them.

    A camera has a pose only if some link between it and the root moves: a tree of static
    transforms tells how a robot is built, not where it is.
    """

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def add(self, message: Any, *, static: bool) -> None:
        """Take a TFMessage of `/tf` or `/tf_static`; damaged transforms are passed over."""
        for transform in message.transforms:
            stamp = transform.header.stamp
            t, r = transform.transform.translation, transform.transform.rotation
            quaternion = np.array([r.x, r.y, r.z, r.w])
            translation = np.array([t.x, t.y, t.z])
            norm = float(np.linalg.norm(quaternion))
            if not np.isfinite(translation).all() or not 0.5 < norm < 2.0:
                continue
            self._insert(transform.header.frame_id.lstrip('/'),
                         transform.child_frame_id.lstrip('/'),
                         _Moment(stamp.sec * 1_000_000_000 + stamp.nanosec, translation,
                                 quaternion / norm), static=static)

    def settled(self, frame_id: str, stamp_ns: int) -> bool:
        """Tell whether no transform to come can change the pose at a time."""
        return all(link.static or link.moments[-1].stamp_ns >= stamp_ns
                   for link in self._chain(frame_id))

    def pose(self, frame_id: str, stamp_ns: int) -> _F8 | None:
        """Return `(4, 4)` of a camera in the root of its tree, metres; None if it is not known."""
        chain = self._chain(frame_id)
        if all(link.static for link in chain):
            return None
        pose = np.eye(4)
        for link in chain:
            moment = link.moments[-1] if link.static else _between(link.moments, stamp_ns)
            if moment is None:
                return None
            pose = pose_matrix(moment.translation.tolist(),
                               moment.quaternion.tolist()) @ pose
        return pose

    def _insert(self, parent: str, child: str, moment: _Moment, *, static: bool) -> None:
        link = self._links.get(child)
        if static or link is None or link.parent != parent or link.static:
            self._links[child] = _Link(parent, [moment], static)
            return
        moments = link.moments
        if moment.stamp_ns < moments[-1].stamp_ns - _MEMORY_NS:  # the recording starts over
            moments.clear()
        insort(moments, moment, key=itemgetter(0))
        forgotten = bisect_left(moments, moments[-1].stamp_ns - _MEMORY_NS, key=itemgetter(0))
        del moments[:forgotten]

    def _chain(self, frame_id: str) -> list[_Link]:
        """Return the links from a camera up to the root."""
        chain: list[_Link] = []
        name = frame_id.lstrip('/')
        while name in self._links and len(chain) < _LONGEST_CHAIN:
            chain.append(self._links[name])
            name = chain[-1].parent
        return chain


def _between(moments: list[_Moment], stamp_ns: int) -> _Moment | None:
    """Return the transform at a time, from those before and after; None if they are far apart."""
    place = bisect_left(moments, stamp_ns, key=itemgetter(0))
    if place < len(moments) and moments[place].stamp_ns == stamp_ns:
        return moments[place]
    if not 0 < place < len(moments):
        return None
    a, b = moments[place - 1: place + 1]
    if b.stamp_ns - a.stamp_ns > _LONGEST_GAP_NS:
        return None
    share = (stamp_ns - a.stamp_ns) / (b.stamp_ns - a.stamp_ns)
    # The shorter way round; for the small turns between two transforms, a straight line between
    # unit quaternions is as good as the arc.
    sign = 1.0 if float(a.quaternion @ b.quaternion) >= 0 else -1.0
    quaternion = (1 - share) * a.quaternion + share * sign * b.quaternion
    return _Moment(stamp_ns, (1 - share) * a.translation + share * b.translation,
                   quaternion / np.linalg.norm(quaternion))
