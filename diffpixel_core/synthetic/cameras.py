# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Where cameras stand in a room: single views by hand, walks at a robot's height.

A pose is `(4, 4)` float64, camera in the room's frame: x right, y down, z forward, metres.
"""

import heapq
import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.synthetic.scenes import Room

Doubles = npt.NDArray[np.float64]
Cell = tuple[int, int]

_CLEARANCE_M = 0.25  # between a camera and walls or furniture
_CELL_M = 0.1  # of the grid on which walks are planned
_WALK_RADII_M = (0.3, 0.25, 0.2, 0.15)  # of the robot; the first one that can move about
_ROOM_TO_MOVE_M2 = 0.8  # free floor below which a smaller robot is tried
_LOW_M = 0.06  # rugs: a robot drives over them


class CameraPathError(DiffPixelError):
    """A room so full that no camera fits."""


def look(eye: npt.ArrayLike, yaw: float, pitch: float, roll: float = 0.0) -> Doubles:
    """Return the pose of a camera.

    Args:
        eye: `(3,)` position, metres.
        yaw: Direction of view from the x axis towards the y axis, radians.
        pitch: Direction of view above the horizon, radians.
        roll: Turn of the picture about the direction of view, radians.
    """
    flat = math.cos(pitch)
    forward = np.array([flat * math.cos(yaw), flat * math.sin(yaw), math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = math.cos(roll) * right + math.sin(roll) * down
    pose[:3, 1] = math.cos(roll) * down - math.sin(roll) * right
    pose[:3, 2] = forward
    pose[:3, 3] = eye
    return pose


def viewpoint(room: Room, rng: np.random.Generator) -> Doubles:
    """Return a pose `(4, 4)` from which a person would take a picture of the room.

    Heights are 0.5-1.8 m, mostly 0.9-1.6; pitch -35..+10 degrees. Some pictures are close-ups of a
    piece of furniture, others show much of the room.

    Raises:
        CameraPathError: If no free place is found.
    """
    size = np.asarray(room.size)
    boxes = room.obstacles
    close = len(boxes) > 0 and rng.random() < 0.35
    wanted_m = rng.uniform(0.7, 1.5) if close else rng.uniform(1.6, 4.5)
    best: tuple[float, Doubles] | None = None
    found = 0
    for _ in range(400):
        height = rng.uniform(0.5, 1.8) if rng.random() < 0.2 else rng.uniform(0.9, 1.6)
        margin = min(_CLEARANCE_M, float(size[:2].min()) / 4)
        eye = np.array([*rng.uniform(margin, size[:2] - margin), min(height, size[2] - margin)])
        if _inside(eye, boxes, _CLEARANCE_M):
            continue
        if len(boxes) and (close or rng.random() < 0.7):
            low, high = boxes[rng.integers(len(boxes))]
            target = rng.uniform(low, high)
            if close:
                target[2] = high[2]  # what stands on it, or its edge
        else:
            target = rng.uniform([0, 0, 0.3], [*size[:2], 1.4])
        way = target - eye
        yaw = math.atan2(way[1], way[0]) + rng.normal(0, 0.12)
        pitch = math.atan2(way[2], math.hypot(way[0], way[1])) + rng.normal(0, 0.06)
        pitch = min(max(pitch, math.radians(-35)), math.radians(10))
        pose = look(eye, yaw, pitch, float(np.clip(rng.normal(0, 0.025), -0.08, 0.08)))
        reach, things = _outlook(pose, size, boxes)
        # Neither a wall filling the picture nor a cupboard in front of the nose.
        score = abs(float(np.linalg.norm(way)) - wanted_m) - 0.25 * things
        score += 4 * max(0.0, (0.5 if close else 0.9) - reach)
        if best is None or score < best[0]:
            best = score, pose
        found += 1
        if found >= 12:
            break
    if best is None:
        raise CameraPathError(f'a {room.kind} of {size.round(1).tolist()} m with {len(boxes)} '
                              'obstacles has no free place for a camera; take another seed')
    return best[1]


def walk(room: Room, count: int, fps: float, rng: np.random.Generator) -> Doubles:
    """Return the poses `(count, 4, 4)` of a robot's camera that wanders through the room.

    The camera is 0.5-1.2 m above the floor, moves at most 0.6 m/s and turns at most 0.6 rad/s.

    Raises:
        CameraPathError: If the room leaves a robot no floor to move on.
    """
    height = float(rng.uniform(0.5, 1.2))
    free = _free_floor(room, height)
    speed = float(rng.uniform(0.3, 0.45))
    path = _wander(free, speed * count / fps + 1.0, rng)
    pitch = math.radians(float(rng.uniform(-18, -4)))
    phase = rng.uniform(0, 2 * math.pi, 4)
    step = 1 / fps
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])

    def at(distance: float) -> Doubles:
        return np.array([np.interp(distance, along, line) for line in path.T])

    done, pace, turn = 0.2, 0.0, 0.0
    ahead = at(0.5) - at(0.2)
    yaw = math.atan2(ahead[1], ahead[0])
    poses = np.empty((count, 4, 4))
    for i in range(count):
        time = i * step
        place = at(done)
        bob = 0.004 * math.sin(2 * math.pi * 1.4 * time + phase[0]) * pace / speed
        nod = math.radians(2) * math.sin(2 * math.pi * 0.11 * time + phase[1])
        sway = math.radians(0.5) * math.sin(2 * math.pi * 0.7 * time + phase[2])
        poses[i] = look([place[0], place[1], height + bob], yaw, pitch + nod, sway)

        ahead = at(done + 0.35) - place
        glance = math.radians(22) * math.sin(2 * math.pi * 0.06 * time + phase[3])
        error = math.remainder(math.atan2(ahead[1], ahead[0]) + glance - yaw, 2 * math.pi)
        wanted_turn = min(max(1.2 * error, -0.5), 0.5)
        turn += min(max(wanted_turn - turn, -1.5 * step), 1.5 * step)
        yaw += turn * step
        # Slow down to turn: a robot looks where it goes. And where the way folds back on itself.
        straight = min(float(np.linalg.norm(at(done + 0.4) - place)) / 0.4,
                       float(np.linalg.norm(at(done + 0.15) - at(done - 0.15))) / 0.3)
        wanted_pace = speed * max(0.0, math.cos(min(abs(error) * 1.1, math.pi / 2)))
        wanted_pace *= max(0.08, straight ** 2)
        pace += min(max(wanted_pace - pace, -0.8 * step), 0.5 * step)
        done += pace * step
    return poses


def _inside(point: Doubles, boxes: Doubles, margin: float) -> bool:
    """Return whether a point is within `margin` of a box."""
    low, high = boxes[:, 0] - margin, boxes[:, 1] + margin
    return bool(((point > low) & (point < high)).all(1).any())


def _outlook(pose: Doubles, size: Doubles, boxes: Doubles) -> tuple[float, int]:
    """Return how far the nearest thing in view is, metres, and how many things the rays meet."""
    x, y = np.meshgrid([-0.5, -0.2, 0.2, 0.5], [-0.35, 0.0, 0.35])
    rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1) @ pose[:3, :3].T
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    eye = pose[:3, 3]
    walls = np.maximum(-eye / rays, (size - eye) / rays).min(1)
    if not len(boxes):
        return float(walls.min()), 0
    first = (boxes[:, None, 0] - eye) / rays
    second = (boxes[:, None, 1] - eye) / rays
    enter, leave = np.minimum(first, second).max(2), np.maximum(first, second).min(2)
    distance = np.where((enter < leave) & (enter > 0), enter, np.inf)
    hit = np.where(distance.min(0) < walls, distance.argmin(0), -1)
    nearest = np.minimum(distance.min(0), walls).min()
    return float(nearest), len(np.unique(hit[hit >= 0]))


def _free_floor(room: Room, height: float) -> npt.NDArray[np.bool_]:
    """Return the largest connected floor for a robot, `(rows along y, columns along x)`."""
    length, width, _ = room.size
    shape = (max(1, math.ceil(width / _CELL_M)), max(1, math.ceil(length / _CELL_M)))
    x = (np.arange(shape[1]) + 0.5) * _CELL_M
    y = (np.arange(shape[0]) + 0.5) * _CELL_M
    for radius in _WALK_RADII_M:
        free = np.outer((y > radius) & (y < width - radius), (x > radius) & (x < length - radius))
        for low, high in room.obstacles:
            if high[2] > _LOW_M and low[2] < height + 0.2:
                free &= ~np.outer((y > low[1] - radius) & (y < high[1] + radius),
                                  (x > low[0] - radius) & (x < high[0] + radius))
        count, regions, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8),
                                                                    connectivity=4)
        if count > 1:
            largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
            if stats[largest, cv2.CC_STAT_AREA] * _CELL_M ** 2 >= _ROOM_TO_MOVE_M2:
                return np.asarray(regions == largest)
    raise CameraPathError(f'a {room.kind} of {length:.1f} x {width:.1f} m with '
                          f'{len(room.obstacles)} obstacles leaves a robot less than '
                          f'{_ROOM_TO_MOVE_M2} m2 of floor; take another seed')


def _wander(free: npt.NDArray[np.bool_], length_m: float, rng: np.random.Generator) -> Doubles:
    """Return a smooth way `(N, 2)` over free cells, metres, at least `length_m` long."""
    cells = np.argwhere(free)
    clearance = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3).astype(np.float64)
    here: Cell = _cell(cells[rng.integers(len(cells))])
    route = [here]
    total = 0.0
    while total < length_m:
        # Of three random places the farthest: long ways, not a dance on the spot.
        goals = cells[rng.integers(len(cells), size=3)]
        goal = _cell(goals[np.argmax(np.abs(goals - np.array(here)).sum(1))])
        leg = _shortest(free, clearance, here, goal)
        route += leg[1:]
        total += _CELL_M * sum(math.dist(a, b) for a, b in itertools.pairwise(leg))
        here = goal
    raw = (np.array(route)[:, ::-1] + 0.5) * _CELL_M
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(raw, axis=0), axis=1))])
    fine = np.arange(0.0, along[-1], 0.02)
    path = np.stack([np.interp(fine, along, raw[:, k]) for k in range(2)], 1)
    for sigma in (14.0, 9.0, 5.0, 2.5):  # in steps of 2 cm
        smooth = np.stack([_blurred(path[:, k], sigma) for k in range(2)], 1)
        column, row = (np.floor(smooth / _CELL_M).astype(np.intp)).T
        inside = (row >= 0) & (column >= 0) & (row < free.shape[0]) & (column < free.shape[1])
        if inside.all() and free[row, column].all():
            return smooth
    return path


def _cell(index: npt.NDArray[np.intp]) -> Cell:
    """Return a grid index as a pair of ints."""
    return int(index[0]), int(index[1])


def _blurred(line: Doubles, sigma: float) -> Doubles:
    """Return a line of values smoothed by a Gaussian of `sigma` steps; its ends stay put."""
    reach = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    # Odd reflection about the ends keeps the ends where they are.
    padded = np.pad(line, int(3 * sigma), mode='reflect', reflect_type='odd')
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode='valid'))


def _shortest(free: npt.NDArray[np.bool_], clearance: Doubles, start: Cell, goal: Cell
              ) -> list[Cell]:
    """Return the cells of the cheapest way between two connected cells (Dijkstra).

    A step costs its length, and more the closer it comes to furniture.
    """
    rows, columns = free.shape
    cost = {start: 0.0}
    before: dict[Cell, Cell] = {}
    queue = [(0.0, start)]
    while queue:
        spent, cell = heapq.heappop(queue)
        if cell == goal:
            break
        if spent > cost[cell]:
            continue
        row, column = cell
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            y, x = row + dy, column + dx
            if not (0 <= y < rows and 0 <= x < columns):
                continue
            if not (free[y, x] and free[row, x] and free[y, column]):  # cuts no corners
                continue
            total = spent + math.hypot(dy, dx) * (1 + 2 / float(clearance[y, x]))
            if total < cost.get((y, x), math.inf):
                cost[y, x] = total
                before[y, x] = cell
                heapq.heappush(queue, (total, (y, x)))
    way = [goal]
    while way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]
