# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Which small things lie where, and how they are strewn over a surface."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from diffpixel_core.synthetic import belongings, lamps, props
from diffpixel_core.synthetic.pieces import Piece

Rng = np.random.Generator

Maker = Callable[[Rng], Piece]


def scatter(piece: Piece, rng: Rng, makers: Sequence[Maker], count: int) -> None:
    """Stands up to `count` things on the piece's surfaces, where they fit beside one another."""
    taken: list[tuple[int, float, float, float, float]] = []
    surfaces = list(piece.surfaces)
    if not surfaces:
        return
    areas = np.array([(s.x1 - s.x0) * (s.y1 - s.y0) for s in surfaces])
    for _ in range(count):
        thing = makers[int(rng.integers(len(makers)))](rng)
        low, high = thing.bounds
        which = int(rng.choice(len(surfaces), p=areas / areas.sum()))
        surface = surfaces[which]
        width, depth = high[0] - low[0], high[1] - low[1]
        if (
            high[2] > surface.clearance
            or width > surface.x1 - surface.x0
            or depth > surface.y1 - surface.y0
        ):
            continue
        yaw = float(rng.normal(0, 0.25))
        for _ in range(4):
            x = rng.uniform(surface.x0 + width / 2, surface.x1 - width / 2)
            y = rng.uniform(surface.y0 + depth / 2, surface.y1 - depth / 2)
            spot = (which, x - width / 2, y - depth / 2, x + width / 2, y + depth / 2)
            if any(
                spot[0] == t[0]
                and spot[1] < t[3]
                and t[1] < spot[3]
                and spot[2] < t[4]
                and t[2] < spot[4]
                for t in taken
            ):
                continue
            taken.append(spot)
            middle = (low + high) / 2
            c, s = math.cos(yaw), math.sin(yaw)
            x -= c * middle[0] - s * middle[1]
            y -= s * middle[0] + c * middle[1]
            piece.put(thing, float(x), float(y), surface.z - float(low[2]), yaw)
            break


DESK_THINGS: tuple[Maker, ...] = (
    props.book,
    props.paper,
    props.paper,
    props.cup,
    props.keyboard,
    props.laptop,
    props.gadget,
    props.bottle,
    props.carton,
    lamps.table_lamp,
    props.small_plant,
    props.book,
    props.monitor,
)

TABLE_THINGS: tuple[Maker, ...] = (
    props.cup,
    props.cup,
    props.bottle,
    props.book,
    props.paper,
    props.gadget,
    props.small_plant,
    props.carton,
    props.laptop,
)

SHELF_THINGS: tuple[Maker, ...] = (
    props.carton,
    props.gadget,
    props.cup,
    props.bottle,
    props.small_plant,
    props.book,
    belongings.folded_clothes,
    props.gadget,
)

KITCHEN_THINGS: tuple[Maker, ...] = (
    props.microwave,
    props.pot,
    props.bottle,
    props.cup,
    props.cup,
    props.gadget,
    props.carton,
    props.bottle,
    props.small_plant,
    props.paper,
)

BATH_THINGS: tuple[Maker, ...] = (
    props.bottle,
    props.bottle,
    props.cup,
    props.gadget,
    belongings.folded_clothes,
)

FLOOR_THINGS: tuple[Maker, ...] = (
    props.big_carton,
    belongings.bag,
    belongings.clothes_pile,
    props.bin_for_waste,
    props.ball,
    belongings.shoes,
    props.cable,
    props.floor_plant,
    belongings.basket,
    belongings.bag,
)
