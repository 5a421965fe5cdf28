# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms from a seed."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import load_label_space
from diffpixel_core.synthetic import lamps, openings, palette, placing, templates
from diffpixel_core.synthetic.floorplan import Floorplan
from diffpixel_core.synthetic.openings import wall_with_holes
from diffpixel_core.synthetic.pieces import Part, Piece
from diffpixel_core.synthetic.shapes import box

__all__ = ['ROOM_KINDS', 'Light', 'Part', 'Room', 'SceneError', 'build_room']

ROOM_KINDS = ('bedroom', 'living_room', 'kitchen', 'bathroom', 'office', 'corridor')
# How often each kind is drawn when none is asked for.
WEIGHTS = (0.23, 0.23, 0.17, 0.12, 0.19, 0.06)
# Lowest and highest length and width in metres.
SIZES = {
    'bedroom': ((3.0, 4.8), (2.8, 4.4)),
    'living_room': ((3.4, 6.5), (3.2, 5.2)),
    'kitchen': ((2.8, 5.0), (2.5, 4.2)),
    'bathroom': ((2.1, 3.6), (2.0, 3.0)),
    'office': ((3.2, 6.5), (2.9, 5.2)),
    'corridor': ((4.0, 8.0), (1.5, 2.6)),
}
# What no camera can bump into: the shell of the room and what lies flat.
PASSABLE = frozenset({'wall', 'floor', 'ceiling', 'floor mat', 'window'})

# What hangs on a wall and is no thicker than this, in metres, is part of the wall to a camera.
FLAT_M = 0.12


class SceneError(DiffPixelError):
    """A kind of room that does not exist."""


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp or window: position (metres, room frame), colour rgb times relative power, radius."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float


@dataclass(frozen=True, slots=True)
class Room:
    """A furnished room that spans [0, L] x [0, W] x [0, H] metres, z up.

    Attributes:
        parts: All meshes with label, instance and material. Some lie outside the room: the walls
            and the passages behind open doors.
        size: Length along x, width along y, height along z in metres.
        lights: At least one; a light of colour 1 lights a white wall 2 m away fully.
        kind: One of `ROOM_KINDS`.
        obstacles: (N, 2, 3) float64: lowest and highest corner of each thing that stands in the
            room or hangs below 2 m; a camera must stay outside these boxes and away from the
            walls, on which flat things (pictures, mirrors) hang that are not among them.
    """

    parts: tuple[Part, ...]
    size: tuple[float, float, float]
    lights: tuple[Light, ...]
    kind: str
    obstacles: npt.NDArray[np.float64]


def _shell(plan: Floorplan, kind: str) -> None:
    """Adds floor, ceiling and the four walls with their holes and skirting."""
    rng = plan.rng
    length, width, height = plan.size
    middle = (length / 2, width / 2)
    far = 2 * openings.THICKNESS
    paint = palette.wall_paint(rng, kind)
    accent = palette.wall_paint(rng, kind) if rng.random() < 0.25 else paint
    floor, ceiling = Piece('floor'), Piece('ceiling')
    floor.add(
        palette.floor_cover(rng, kind), box((length + far, width + far, 0.1), (*middle, -0.05))
    )
    white = palette.clipped(rng.uniform(0.7, 0.97) + rng.normal(0, 0.015, 3))
    above = palette.picture(rng, 'plaster', white)
    if rng.random() < 0.12 or (kind == 'office' and rng.random() < 0.4):
        above = palette.picture(rng, 'tile', white)
    elif rng.random() < 0.05:
        above = palette.wood(rng, painted=0.3)
    ceiling.add(above, box((length + far, width + far, 0.1), (*middle, height + 0.05)))
    plan.insert(floor, 0.0, 0.0)
    plan.insert(ceiling, 0.0, 0.0)
    skirting = palette.wood(rng, painted=0.8) if rng.random() < 0.75 else None
    for wall, holes in enumerate(plan.holes):
        piece = Piece('wall')
        along = plan.wall_length(wall)
        piece.add(accent if wall == 0 else paint, *wall_with_holes(along, height, holes))
        if skirting is not None:
            start = 0.0
            for x0, x1, z0, _ in [*sorted(holes), (along, along, 0.0, 0.0)]:
                if z0 < 0.1:
                    if x0 - start > 0.05:
                        piece.add(
                            skirting,
                            box((x0 - start, 0.012, 0.08), ((x0 + start) / 2, 0.006, 0.04)),
                        )
                    start = x1
        x, y, yaw = plan.at_wall(wall, 0.0)
        plan.insert(piece, x, y, 0.0, yaw)
    if rng.random() < 0.1:
        placing.add_beams(plan, palette.wood(rng))


def _lamps(plan: Floorplan) -> list[Light]:
    """Hangs lamps on the ceiling and gives their lights."""
    rng = plan.rng
    length, width, height = plan.size
    count = (
        1 + int(length * width > 14 and rng.random() < 0.5) + int(length > 5 and rng.random() < 0.5)
    )
    warm = palette.clipped(np.array([1.0, rng.uniform(0.84, 1.0), rng.uniform(0.62, 1.0)]))
    power = float(rng.uniform(0.5, 1.3)) / math.sqrt(count)
    colour = (warm[0] * power, warm[1] * power, warm[2] * power)
    shape = int(rng.integers(1 << 30))
    lights = []
    for k in range(count):
        x = length * (k + 0.5) / count + float(rng.normal(0, 0.2))
        y = width / 2 + float(rng.normal(0, 0.25))
        lights.append(Light((x, y, height - 0.2), colour, float(rng.uniform(0.05, 0.4))))
        if rng.random() < 0.9:
            lamp = lamps.ceiling_lamp(np.random.default_rng(shape), height)
            spot = plan.box_of(lamp.bounds, x, y, 0.0, 0.0)
            if plan.fits(spot):
                plan.insert(lamp, x, y)
                plan.claim(spot, stands=False)
    return lights


def _obstacles(plan: Floorplan) -> npt.NDArray[np.float64]:
    """Boxes (N, 2, 3) of all objects that a camera below 2 m could run into."""
    found: dict[int, npt.NDArray[np.float64]] = {}
    for part in plan.parts:
        if part.label in PASSABLE:
            continue
        bounds = part.mesh.bounds
        if part.thing in found:
            old = found[part.thing]
            bounds = np.stack([np.minimum(old[0], bounds[0]), np.maximum(old[1], bounds[1])])
        found[part.thing] = bounds
    boxes = np.stack(list(found.values()))
    size = np.array(plan.size)
    near = (boxes[:, 0] < size - 0.001).all(1) & (boxes[:, 1] > 0.001).all(1)
    thick = (boxes[:, 1, 2] > 0.04) & (boxes[:, 0, 2] < 2.0)
    low, high = boxes[:, 0, :2], boxes[:, 1, :2]
    flat = ((high < FLAT_M) | (low > size[:2] - FLAT_M)).any(1) & (boxes[:, 0, 2] > 0.5)
    boxes = boxes[near & thick & ~flat]
    inside = (boxes[:, None, 0] >= boxes[None, :, 0] - 1e-9).all(2) & (
        boxes[:, None, 1] <= boxes[None, :, 1] + 1e-9
    ).all(2)
    # Of two equal boxes the first stays.
    inside &= ~(inside.T & np.tri(len(boxes), k=0, dtype=bool).T)
    return np.asarray(boxes[~inside.any(1)], np.float64)


def build_room(seed: int, kind: str | None = None) -> Room:
    """A furnished room; the same seed and kind give the same room.

    Args:
        seed: Draws everything.
        kind: One of `ROOM_KINDS`, or None to draw one.

    Raises:
        SceneError: If `kind` is not one of `ROOM_KINDS`.
    """
    rng = np.random.default_rng(seed)
    drawn = str(rng.choice(ROOM_KINDS, p=WEIGHTS))
    kind = drawn if kind is None else kind
    if kind not in ROOM_KINDS:
        raise SceneError(f'room kind {kind!r} does not exist; use one of {", ".join(ROOM_KINDS)}')
    long, wide = SIZES[kind]
    length, width = float(rng.uniform(*long)), float(rng.uniform(*wide))
    height = float(rng.uniform(2.3, 3.0))
    share = float(rng.uniform(0.1, 0.2))
    plan = Floorplan((length, width, height), rng, walkable=max(0.9, share * length * width))
    passage = kind == 'corridor'
    placing.add_doors(plan, int(rng.integers(3, 6)) if passage else int(rng.integers(1, 3)))
    windows = (
        int(rng.choice([0, 1, 2])) if kind in ('corridor', 'bathroom') else int(rng.integers(0, 4))
    )
    panes = placing.add_windows(plan, windows)
    lights = _lamps(plan)
    templates.furnish(plan, kind)
    _shell(plan, kind)
    day = float(rng.uniform(0.2, 0.9))
    lights += [Light(spot, (0.92 * day, 0.97 * day, day), 0.5) for spot in panes]
    space = load_label_space('nyu40')
    ids = {name: label for label, name in enumerate(space.names)}
    parts = tuple(Part(p.mesh, ids[p.label], p.thing + 1, p.material) for p in plan.parts)
    return Room(parts, plan.size, tuple(lights), kind, _obstacles(plan))
