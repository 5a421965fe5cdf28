# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How things come into a room: doors and windows, furniture along walls, groups, litter."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from diffpixel_core.synthetic import (
    belongings,
    clutter,
    hangings,
    lamps,
    openings,
    palette,
    people,
    props,
    seating,
    structures,
    tables,
)
from diffpixel_core.synthetic.floorplan import Floorplan, Place, beside
from diffpixel_core.synthetic.materials import Material
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import box, heap

Rng = np.random.Generator

Maker = Callable[[Rng], Piece]


def chance(plan: Floorplan, probability: float) -> bool:
    """True with a probability."""
    return bool(plan.rng.random() < probability)


def add_doors(plan: Floorplan, count: int, *, open_share: float = 0.4) -> None:
    """Puts doors in the walls, some open onto a passage, and keeps the floor before them free."""
    rng = plan.rng
    wood = palette.wood(rng, painted=0.45)
    high = float(rng.uniform(1.96, min(2.12, plan.size[2] - 0.12)))
    for _ in range(count):
        width = float(rng.uniform(0.75, 1.0))
        for _ in range(10):
            wall = int(rng.integers(4))
            length = plan.wall_length(wall)
            if length < width + 0.5:
                continue
            s = float(rng.uniform(width / 2 + 0.15, length - width / 2 - 0.15))
            x, y, yaw = plan.at_wall(wall, s)
            swings = rng.random() < open_share
            angle = float(rng.uniform(0.4, 1.75)) if swings else 0.0
            deep = 1.0 if swings else 0.75
            clear = plan.box_of(
                np.array([[-width / 2 - 0.1, 0.0, 0.0], [width / 2 + 0.1, deep, 2.15]]),
                x,
                y,
                0,
                yaw,
            )
            if not plan.fits(clear):
                continue
            plan.claim(clear, stands=False)
            plan.holes[wall].append((s - width / 2, s + width / 2, 0.0, high))
            plan.insert(openings.door(rng, width, high, angle=angle, wood=wood), x, y, 0.0, yaw)
            plan.insert(openings.space_behind(rng, width, high), x, y, 0.0, yaw)
            break


def add_windows(
    plan: Floorplan, count: int, *, wall: int | None = None
) -> list[tuple[float, float, float]]:
    """Puts windows with curtains or blinds in the walls; gives where their light comes from."""
    rng, lights = plan.rng, []
    dressing = str(rng.choice(['none', 'curtains', 'blinds', 'both'], p=[0.2, 0.4, 0.3, 0.1]))
    low = float(rng.uniform(0.75, 1.2)) if rng.random() < 0.85 else 0.15
    high = float(rng.uniform(1.9, plan.size[2] - 0.25))
    side = int(rng.integers(4)) if wall is None else wall
    for _ in range(count):
        for _ in range(8):
            if rng.random() < 0.3 and wall is None:
                side = int(rng.integers(4))
            length = plan.wall_length(side)
            width = float(rng.uniform(0.6, min(2.2, length - 0.8)))
            s = float(rng.uniform(width / 2 + 0.35, length - width / 2 - 0.35))
            x, y, yaw = plan.at_wall(side, s)
            edge = 0.4 if dressing in ('curtains', 'both') else 0.1
            spot = plan.box_of(
                np.array([[-width / 2 - edge, 0.0, low], [width / 2 + edge, 0.14, high + 0.1]]),
                x,
                y,
                0,
                yaw,
            )
            inside = np.array([[0.0] * 3, plan.size])
            spot = np.clip(spot, inside[0], inside[1])
            if not plan.fits(spot):
                continue
            plan.claim(spot, stands=False)
            plan.holes[side].append((s - width / 2, s + width / 2, low, high))
            plan.insert(openings.window(rng, width, low, high), x, y, 0.0, yaw)
            if dressing in ('curtains', 'both'):
                plan.insert(openings.curtains(rng, width, low, high), x, y, 0.0, yaw)
            if dressing in ('blinds', 'both'):
                plan.insert(openings.blinds(rng, width, low, high), x, y, 0.0, yaw)
            inner = plan.at_wall(side, s, 0.3)
            lights.append((inner[0], inner[1], (low + high) / 2))
            break
    return lights


def along_walls(
    plan: Floorplan,
    maker: Maker,
    things: Sequence[clutter.Maker] = (),
    most: int = 8,
    *,
    turn: float = 0.0,
) -> Place | None:
    """Stands one piece against a wall with up to `most` things on it."""
    piece = maker(plan.rng)
    if things:
        clutter.scatter(piece, plan.rng, things, int(plan.rng.integers(0, most + 1)))
    return plan.against_wall(piece, turn=turn)


def hang(
    plan: Floorplan, maker: Maker, low: float = 1.4, high: float = 1.75, count: int = 1
) -> None:
    """Hangs pieces on the walls with their origin between two heights."""
    for _ in range(count):
        piece = maker(plan.rng)
        bounds = piece.bounds
        z = float(plan.rng.uniform(low, high))
        z = min(z, plan.size[2] - 0.05 - float(bounds[1, 2]))
        plan.against_wall(piece, z=z, corner=0.0, tries=8)


def litter(plan: Floorplan, most: int, makers: Sequence[Maker] = clutter.FLOOR_THINGS) -> None:
    """Leaves things on the floor, most of them near walls."""
    for _ in range(int(plan.rng.integers(0, most + 1))):
        piece = makers[int(plan.rng.integers(len(makers)))](plan.rng)
        if plan.rng.random() < 0.65:
            plan.against_wall(piece, tries=5)
        else:
            plan.somewhere(piece, tries=4)


def seat_at(plan: Floorplan, host: Place, chair: Piece, x: float, y: float, yaw: float) -> None:
    """Stands a chair at a desk or table, at (x, y) in its frame, perhaps occupied."""
    rng = plan.rng
    spot = beside(host, x, y)
    turn = host.yaw + yaw + float(rng.normal(0, 0.15))
    place = plan.stand(chair, spot[0], spot[1], turn, ignore=[host.index])
    if place is None:
        return
    sits = rng.random()
    if sits < 0.08:
        body = people.person(rng, sitting=True)
        box_of_body = plan.box_of(body.bounds, place.x, place.y, 0, turn)
        if plan.fits(box_of_body, [host.index, place.index]):
            plan.insert(body, place.x, place.y, 0.0, turn)
    elif sits < 0.2:
        coat = Piece('clothes')
        if rng.random() < 0.5:
            coat.add(palette.fabric(rng), heap((0.36, 0.36, 0.2), (0, 0.25, 0.52), rng))
        else:
            coat.add(palette.fabric(rng), box((0.44, 0.1, 0.42), (0, 0.0, 0.72)))
        plan.insert(coat, place.x, place.y, 0.0, turn)
    elif sits < 0.26:
        plan.insert(belongings.bag(rng), place.x, place.y + 0.1, 0.47, turn)


def desk_with_chair(plan: Floorplan, *, wall: int | None = None) -> Place | None:
    """A desk against a wall and a chair before it."""
    rng = plan.rng
    desk = tables.desk(rng)
    clutter.scatter(desk, rng, clutter.DESK_THINGS, int(rng.integers(2, 9)))
    place = plan.against_wall(desk, wall=wall)
    if place is None:
        return None
    depth = float(desk.bounds[1, 1])
    chair = (seating.office_chair if rng.random() < 0.7 else seating.dining_chair)(rng)
    seat_at(
        plan,
        place,
        chair,
        float(rng.uniform(-0.25, 0.25)),
        depth + float(rng.uniform(0.2, 0.75)),
        math.pi,
    )
    return place


def table_with_chairs(plan: Floorplan, *, tries: int = 8) -> Place | None:
    """A table on the floor or at a wall with chairs of one kind about it."""
    rng = plan.rng
    table = tables.table(rng)
    clutter.scatter(table, rng, clutter.TABLE_THINGS, int(rng.integers(0, 8)))
    if rng.random() < 0.3:
        place = plan.against_wall(table)
    else:
        place = plan.somewhere(table, tries=tries, straight=bool(rng.random() < 0.7))
    if place is None:
        return None
    low, high = table.surfaces[0].x0, table.surfaces[0].x1
    back, front = table.surfaces[0].y0, table.surfaces[0].y1
    seed = int(rng.integers(1 << 30))
    maker = seating.dining_chair if rng.random() < 0.85 else seating.stool
    spots = []
    count = max(1, int((high - low) / 0.6))
    for k in range(count):
        x = low + (k + 0.5) * (high - low) / count
        spots += [(x, front + 0.45, math.pi), (x, back - 0.45, 0.0)]
    middle = (front + back) / 2
    spots += [(high + 0.45, middle, math.pi / 2), (low - 0.45, middle, -math.pi / 2)]
    for x, y, yaw in spots:
        if rng.random() < 0.75:
            push = float(rng.uniform(-0.15, 0.3))
            chair = maker(np.random.default_rng(seed))
            seat_at(
                plan, place, chair, x - math.sin(yaw) * -push * 1.0, y - math.cos(yaw) * push, yaw
            )
    return place


def sofa_group(plan: Floorplan) -> None:
    """A sofa, a low table before it on a rug, perhaps with side tables and a person."""
    rng = plan.rng
    sofa = seating.sofa(rng)
    clutter.scatter(
        sofa, rng, (props.book, belongings.clothes_pile, belongings.bag, props.laptop), 2
    )
    place = plan.against_wall(sofa) if rng.random() < 0.8 else plan.somewhere(sofa, straight=True)
    if place is None:
        return
    _, high = sofa.bounds
    if rng.random() < 0.08:
        plan.insert(
            people.person(rng, sitting=True),
            *beside(place, float(rng.uniform(-0.4, 0.4)), 0.25),
            0.0,
            place.yaw,
        )
    if rng.random() < 0.7:
        coffee = tables.coffee_table(rng)
        clutter.scatter(coffee, rng, clutter.TABLE_THINGS, int(rng.integers(0, 7)))
        spot = beside(
            place, float(rng.normal(0, 0.15)), float(high[1]) + float(rng.uniform(0.25, 0.5))
        )
        plan.stand(coffee, *spot, place.yaw)
    if rng.random() < 0.55:
        add_mat(plan, beside(place, 0.0, float(high[1]) + 0.5), place.yaw, big=True)
    for s in (-1, 1):
        if rng.random() < 0.4:
            side = tables.side_table(rng) if rng.random() < 0.6 else lamps.floor_lamp(rng)
            if side.label == 'table':
                clutter.scatter(
                    side, rng, (lamps.table_lamp, props.book, props.cup, props.small_plant), 2
                )
            reach = float(high[0]) + float(side.bounds[1, 0]) + 0.05
            plan.stand(side, *beside(place, s * reach, 0.05), place.yaw)


def add_mat(plan: Floorplan, spot: tuple[float, float], yaw: float, *, big: bool) -> None:
    """Lays a mat or rug on the floor; furniture may stand on it."""
    rng = plan.rng
    size = (
        (rng.uniform(1.2, 2.6), rng.uniform(0.9, 1.8))
        if big
        else (rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.6))
    )
    thick = rng.uniform(0.006, 0.02)
    mat = Piece('floor mat')
    if rng.random() < 0.6:
        mat.add(
            palette.picture(rng, 'rug', palette.any_colour(rng)),
            box((*size, thick), (0, 0, thick / 2), fit=True),
        )
    else:
        mat.add(palette.fabric(rng), box((*size, thick), (0, 0, thick / 2)))
    for _ in range(6):
        bounds = plan.box_of(mat.bounds, spot[0], spot[1], 0.0, yaw)
        if (bounds[0] > -0.001).all() and (bounds[1] < np.array(plan.size)).all():
            plan.insert(mat, spot[0], spot[1], 0.0, yaw)
            return
        middle = np.array(plan.size[:2]) / 2
        spot = (0.7 * spot[0] + 0.3 * float(middle[0]), 0.7 * spot[1] + 0.3 * float(middle[1]))


def random_mat(plan: Floorplan, *, big: bool) -> None:
    """Lays a mat somewhere."""
    rng = plan.rng
    spot = (
        float(rng.uniform(0.5, plan.size[0] - 0.5)),
        float(rng.uniform(0.5, plan.size[1] - 0.5)),
    )
    add_mat(plan, spot, float(rng.integers(2)) * math.pi / 2, big=big)


def add_people(plan: Floorplan, probability: float) -> None:
    """Lets a person stand somewhere, now and then."""
    while chance(plan, probability):
        plan.somewhere(people.person(plan.rng, sitting=False), tries=6)
        probability *= 0.4


def wall_things(plan: Floorplan, *, pictures: int) -> None:
    """Pictures, clocks, switches, notices and radiators that any room may have."""
    rng = plan.rng
    if chance(plan, 0.35):
        along_walls(plan, structures.radiator)
    if chance(plan, 0.22):
        plan.against_wall(structures.column(rng, plan.size[2]), corner=0.6)
    hang(plan, hangings.picture, 1.35, 1.8, int(rng.integers(0, pictures + 1)))
    hang(plan, hangings.clock, 1.2, 2.0, int(rng.integers(0, 3)))
    if chance(plan, 0.25):
        hang(plan, hangings.notices, 1.3, 1.7)


def add_beams(plan: Floorplan, material: Material) -> None:
    """Hangs beams or pipes below the ceiling."""
    rng = plan.rng
    length, width, height = plan.size
    deep = float(rng.uniform(0.08, 0.2))
    for x in np.arange(rng.uniform(0.4, 1.2), length - 0.3, rng.uniform(0.8, 2.0)):
        beam = Piece('otherstructure')
        beam.add(material, box((deep, width, deep), (float(x), width / 2, height - deep / 2)))
        plan.insert(beam, 0.0, 0.0)
