# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and desks."""

import numpy as np

from diffpixel_core.synthetic import palette, props, seating, storage
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import box, cylinder

Rng = np.random.Generator


def table(rng: Rng, *, low: bool = False, round_top: bool | None = None) -> Piece:
    """A dining, side or coffee table: round, square or long, on legs, a pillar or panels."""
    piece = Piece('table')
    high = rng.uniform(0.35, 0.52) if low else rng.uniform(0.7, 0.78)
    disc = bool(rng.random() < 0.3) if round_top is None else round_top
    width = rng.uniform(0.5, 1.2) if low else rng.uniform(0.7, 1.8)
    depth = width * rng.uniform(0.5, 1.0) if low else min(width, rng.uniform(0.65, 0.95))
    top = palette.wood(rng) if rng.random() < 0.8 else palette.stone(rng)
    frame = (
        top
        if rng.random() < 0.5
        else (palette.metal(rng) if rng.random() < 0.5 else palette.wood(rng))
    )
    thick = rng.uniform(0.02, 0.06)
    under = high - thick
    style = str(rng.choice(['legs', 'thin', 'pillar', 'panels'], p=[0.5, 0.2, 0.2, 0.1]))
    if disc:
        depth = width = min(width, 1.25)
        piece.add(top, cylinder(width / 2, thick, (0, width / 2, high - thick / 2), sides=24))
        style = 'pillar' if rng.random() < 0.5 else 'thin'
    else:
        piece.add(top, box((width, depth, thick), (0, depth / 2, high - thick / 2)))
    middle = depth / 2
    inset = 0.28 if disc else 0.04
    inner_w, inner_d = width * (1 - inset), depth * (1 - inset)
    if style == 'legs':
        piece.add(
            frame,
            *seating.legs(
                inner_w, inner_d, under, rng.uniform(0.045, 0.09), y0=(depth - inner_d) / 2
            ),
        )
        if rng.random() < 0.6:
            piece.add(frame, box((inner_w * 0.96, inner_d * 0.96, 0.08), (0, middle, under - 0.04)))
    elif style == 'thin':
        piece.add(
            frame,
            *seating.legs(
                inner_w * 0.9,
                inner_d * 0.9,
                under,
                0.035,
                y0=depth * 0.05 + inset * depth / 2,
                splay=0.03,
                round_legs=True,
            ),
        )
    elif style == 'pillar':
        piece.add(frame, cylinder(rng.uniform(0.03, 0.08), under, (0, middle, under / 2), sides=10))
        piece.add(frame, cylinder(min(depth, width) * 0.32, 0.03, (0, middle, 0.015), sides=16))
    else:
        for s in (-1, 1):
            piece.add(
                frame, box((0.04, inner_d, under), (s * (inner_w / 2 - 0.02), middle, under / 2))
            )
    if low and rng.random() < 0.4 and not disc:
        piece.add(frame, box((inner_w * 0.9, inner_d * 0.9, 0.02), (0, middle, high * 0.35)))
    if not low and rng.random() < 0.12:
        piece.add(
            palette.fabric(rng), box((width + 0.02, depth + 0.02, 0.012), (0, middle, high + 0.004))
        )
    reach = 0.36 if disc else 0.47
    piece.surfaces.append(
        Surface(
            -width * reach, depth * (0.5 - reach), width * reach, depth * (0.5 + reach), high + 0.01
        )
    )
    return piece


def coffee_table(rng: Rng) -> Piece:
    """A low table."""
    return table(rng, low=True)


def side_table(rng: Rng) -> Piece:
    """A small table for the side of a sofa."""
    piece = Piece('table')
    width, high = rng.uniform(0.35, 0.55), rng.uniform(0.42, 0.65)
    frame = palette.wood(rng)
    if rng.random() < 0.5:
        piece.add(frame, cylinder(width / 2, 0.03, (0, width / 2, high), sides=16))
    else:
        piece.add(frame, box((width, width, 0.03), (0, width / 2, high)))
    piece.add(
        frame, *seating.legs(width * 0.65, width * 0.65, high, 0.04, y0=width * 0.17, splay=0.02)
    )
    piece.surfaces.append(
        Surface(-width * 0.35, width * 0.15, width * 0.35, width * 0.85, high + 0.015)
    )
    return piece


def desk(rng: Rng) -> Piece:
    """A desk: legs, panels or drawer pedestals, with a computer on most of them."""
    piece = Piece('desk')
    width, depth, high = rng.uniform(1.0, 1.8), rng.uniform(0.55, 0.85), rng.uniform(0.7, 0.78)
    top = palette.wood(rng, painted=0.35)
    frame = (
        top
        if rng.random() < 0.4
        else (palette.metal(rng) if rng.random() < 0.6 else palette.wood(rng))
    )
    thick = rng.uniform(0.02, 0.05)
    under = high - thick
    piece.add(top, box((width, depth, thick), (0, depth / 2, high - thick / 2)))
    style = str(rng.choice(['legs', 'panels', 'pedestal', 'trestle']))
    if style == 'legs':
        piece.add(
            frame,
            *seating.legs(width - 0.04, depth - 0.04, under, rng.uniform(0.035, 0.07), y0=0.02),
        )
    elif style == 'trestle':
        for s in (-1, 1):
            x = s * (width / 2 - 0.15)
            piece.add(
                frame,
                box((0.06, depth * 0.9, 0.04), (x, depth / 2, 0.02)),
                box((0.08, 0.06, under), (x, depth / 2, under / 2)),
            )
    else:
        for s in (-1, 1):
            piece.add(
                frame,
                box((0.03, depth - 0.02, under), (s * (width / 2 - 0.015), depth / 2, under / 2)),
            )
    if style in ('panels', 'pedestal') and rng.random() < 0.7:
        piece.add(
            frame, box((width - 0.06, 0.02, under * rng.uniform(0.4, 1)), (0, 0.05, under * 0.6))
        )
    if style == 'pedestal' or rng.random() < 0.3:
        side = rng.choice([-1, 1])
        body = frame if style == 'pedestal' else palette.grey(rng)
        x = side * (width / 2 - 0.24)
        low = 0.05 if style == 'pedestal' else 0.08
        piece.add(body, box((0.4, depth - 0.08, under - low), (x, depth / 2, (under + low) / 2)))
        storage.drawers(piece, rng, body, 0.4, low, under, depth - 0.04, x)
    taken = 0.0
    if rng.random() < 0.8:
        screen = props.monitor(rng)
        count = 2 if rng.random() < 0.2 and width > 1.3 else 1
        for k in range(count):
            piece.put(
                screen,
                (k - (count - 1) / 2) * 0.6 + rng.normal(0, 0.05),
                rng.uniform(0.16, 0.28),
                high,
                float(rng.normal(0, 0.15)),
            )
        taken = 0.3
    if rng.random() < 0.25:
        tower = Piece('otherprop')
        tower.add(palette.grey(rng), box((0.19, 0.42, 0.42), (0, 0.25, 0.21)))
        piece.put(tower, -width * 0.2, 0.05)
    piece.surfaces.append(Surface(-width * 0.48, taken + 0.03, width * 0.48, depth - 0.03, high))
    if rng.random() < 0.25:
        shelf_z = high + rng.uniform(0.3, 0.45)
        piece.add(frame, box((width, 0.22, 0.02), (0, 0.11, shelf_z)))
        for s in (-1, 1):
            piece.add(
                frame,
                box(
                    (0.02, 0.22, shelf_z - high),
                    (s * (width / 2 - 0.01), 0.11, (shelf_z + high) / 2),
                ),
            )
        piece.surfaces.append(Surface(-width * 0.48, 0.01, width * 0.48, 0.21, shelf_z + 0.01))
    return piece
