# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Things to sit on: chairs, stools, benches and sofas."""

import math

import numpy as np

from diffpixel_core.synthetic import belongings, palette
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import Mesh, box, cylinder, heap, superellipsoid, tube

Rng = np.random.Generator


def legs(
    width: float,
    depth: float,
    height: float,
    thick: float,
    *,
    y0: float = 0.0,
    splay: float = 0.0,
    round_legs: bool = False,
) -> list[Mesh]:
    """Four legs under a plate `width` x `depth` whose back edge is at `y0`."""
    meshes = []
    for sx in (-1, 1):
        for y, sy in ((y0 + thick / 2, -1), (y0 + depth - thick / 2, 1)):
            x = sx * (width - thick) / 2
            if splay or round_legs:
                foot = (x + sx * splay, y + sy * splay, 0.0)
                meshes.append(tube(foot, (x, y, height), thick / 2))
            else:
                meshes.append(box((thick, thick, height), (x, y, height / 2)))
    return meshes


def dining_chair(rng: Rng) -> Piece:
    """A chair of four legs, seat and back: slats, a panel, padding or a plastic shell."""
    piece = Piece('chair')
    width, depth = rng.uniform(0.38, 0.5), rng.uniform(0.38, 0.5)
    seat, top = rng.uniform(0.42, 0.5), rng.uniform(0.78, 1.08)
    frame = palette.wood(rng) if rng.random() < 0.65 else palette.metal(rng)
    style = rng.choice(['slats', 'rails', 'panel', 'padded', 'shell'])
    cover = palette.fabric(rng, pattern=0.15) if rng.random() < 0.6 else frame
    thick = rng.uniform(0.025, 0.045)
    lean = rng.uniform(0.0, 0.16)
    hinge = (0.0, 0.03, seat)
    if style == 'shell':
        shell = palette.plain(rng) if rng.random() < 0.6 else palette.fabric(rng)
        piece.add(shell, superellipsoid((width, depth, 0.05), (0, depth / 2, seat), (0.4, 0.45)))
        back = superellipsoid(
            (width * 0.95, 0.05, top - seat + 0.05), (0, 0.03, (top + seat) / 2), (0.5, 0.5)
        )
        piece.add(shell, back.pitched(lean + 0.05, hinge))
        piece.add(
            frame,
            *legs(
                width * 0.7,
                depth * 0.7,
                seat,
                thick * 0.8,
                y0=depth * 0.15,
                splay=0.06,
                round_legs=True,
            ),
        )
        return piece
    if cover is frame:
        piece.add(frame, box((width, depth, rng.uniform(0.02, 0.05)), (0, depth / 2, seat - 0.02)))
    else:
        piece.add(frame, box((width, depth, 0.025), (0, depth / 2, seat - 0.05)))
        piece.add(
            cover,
            superellipsoid(
                (width, depth, rng.uniform(0.05, 0.1)), (0, depth / 2, seat - 0.01), (0.3, 0.2)
            ),
        )
    piece.add(
        frame,
        *legs(
            width,
            depth,
            seat - 0.03,
            thick,
            splay=rng.choice([0, 0, 0.03]),
            round_legs=bool(rng.random() < 0.4),
        ),
    )
    x = (width - thick) / 2
    parts = [box((thick, thick, top - seat), (s * x, thick / 2, (top + seat) / 2)) for s in (-1, 1)]
    high = top - seat
    if style == 'slats':
        count = int(rng.integers(3, 7))
        for k in range(count):
            parts.append(
                box(
                    (width / count * 0.4, 0.015, high * 0.8),
                    ((k + 0.5) / count * width - width / 2, thick / 2, seat + high * 0.55),
                )
            )
        parts.append(box((width, thick, 0.06), (0, thick / 2, top)))
    elif style == 'rails':
        for k in range(int(rng.integers(2, 5))):
            parts.append(box((width, 0.018, 0.06), (0, thick / 2, top - 0.03 - k * high * 0.25)))
    elif style == 'panel':
        parts.append(
            box((width, 0.02, high * rng.uniform(0.4, 0.85)), (0, thick / 2, top - high * 0.4))
        )
    piece.add(frame, *[part.pitched(lean, hinge) for part in parts])
    if style == 'padded':
        pad = superellipsoid(
            (width, 0.07, high * 0.85), (0, thick / 2, seat + high * 0.6), (0.25, 0.25)
        )
        piece.add(cover, pad.pitched(lean, hinge))
    if rng.random() < 0.2:
        for s in (-1, 1):
            piece.add(frame, box((thick, depth * 0.8, thick), (s * x, depth * 0.4, seat + 0.2)))
            piece.add(frame, box((thick, thick, 0.22), (s * x, depth * 0.8, seat + 0.09)))
    return piece


def office_chair(rng: Rng) -> Piece:
    """A swivel chair on a five-armed base."""
    piece = Piece('chair')
    width, depth = rng.uniform(0.42, 0.54), rng.uniform(0.42, 0.52)
    seat, high = rng.uniform(0.42, 0.54), rng.uniform(0.35, 0.75)
    dark = palette.grey(rng, 0.05, 0.25) if rng.random() < 0.75 else palette.metal(rng)
    cover = palette.fabric(
        rng,
        palette.clipped(rng.uniform(0.04, 0.25, 3)) if rng.random() < 0.6 else None,
        pattern=0.05,
    )
    middle = depth / 2
    piece.add(
        cover,
        superellipsoid(
            (width, depth, rng.uniform(0.07, 0.12)), (0, middle, seat - 0.03), (0.35, 0.3)
        ),
    )
    gap = rng.uniform(0.02, 0.16)
    back = superellipsoid(
        (width * rng.uniform(0.8, 1.0), rng.uniform(0.05, 0.1), high),
        (0, 0.03, seat + gap + high / 2),
        (0.35, 0.35),
    )
    lean = rng.uniform(0.05, 0.22)
    piece.add(cover, back.pitched(lean, (0, 0.03, seat)))
    piece.add(
        dark,
        box(
            (0.08, 0.03, gap + high * 0.5), (0, -0.01, seat + (gap + high * 0.5) / 2 - 0.03)
        ).pitched(lean, (0, 0.03, seat)),
    )
    piece.add(dark, cylinder(0.03, seat - 0.1, (0, middle, seat / 2), sides=8))
    start = rng.uniform(0, 1.2)
    for k in range(5):
        angle = start + k * 2 * math.pi / 5
        end = (0.3 * math.cos(angle), middle + 0.3 * math.sin(angle), 0.07)
        piece.add(dark, tube((0, middle, 0.12), end, 0.022, sides=5))
        piece.add(dark, superellipsoid((0.05, 0.05, 0.06), (end[0], end[1], 0.03), (1, 1), steps=4))
    if rng.random() < 0.65:
        for s in (-1, 1):
            x = s * (width / 2 + 0.03)
            piece.add(dark, box((0.05, 0.26, 0.03), (x, middle - 0.02, seat + 0.2)))
            piece.add(dark, box((0.03, 0.04, 0.24), (x, middle - 0.04, seat + 0.07)))
    return piece


def armchair(rng: Rng) -> Piece:
    """A padded chair with arms."""
    piece = Piece('chair')
    _upholster(piece, rng, rng.uniform(0.7, 0.95), seats=1)
    return piece


def stool(rng: Rng) -> Piece:
    """A stool, low or bar-high, round or square."""
    piece = Piece('otherfurniture')
    width, high = rng.uniform(0.3, 0.42), rng.choice([0.45, 0.48, 0.65, 0.75])
    frame = palette.wood(rng) if rng.random() < 0.5 else palette.metal(rng)
    seat = palette.fabric(rng) if rng.random() < 0.5 else palette.wood(rng)
    thick = rng.uniform(0.03, 0.09)
    if rng.random() < 0.6:
        piece.add(seat, cylinder(width / 2, thick, (0, width / 2, high - thick / 2), sides=16))
    else:
        piece.add(
            seat,
            superellipsoid((width, width, thick), (0, width / 2, high - thick / 2), (0.2, 0.15)),
        )
    piece.add(
        frame, *legs(width * 0.75, width * 0.75, high - thick, 0.03, y0=width * 0.12, splay=0.03)
    )
    return piece


def bench(rng: Rng) -> Piece:
    """A bench or ottoman."""
    piece = Piece('otherfurniture')
    width, depth, high = rng.uniform(0.8, 1.5), rng.uniform(0.32, 0.5), rng.uniform(0.38, 0.48)
    cover = palette.fabric(rng) if rng.random() < 0.5 else palette.wood(rng)
    if rng.random() < 0.3:
        piece.add(
            cover, superellipsoid((width, depth, high), (0, depth / 2, high / 2), (0.12, 0.12))
        )
    else:
        piece.add(cover, box((width, depth, 0.06), (0, depth / 2, high - 0.03)))
        piece.add(palette.wood(rng), *legs(width, depth, high - 0.06, 0.05))
    piece.surfaces.append(Surface(-width / 2, 0.0, width / 2, depth, high))
    return piece


def _upholster(piece: Piece, rng: Rng, width: float, seats: int) -> None:
    """Adds a padded seat, back, arms and loose cushions of one cloth."""
    depth, seat, top = rng.uniform(0.78, 1.0), rng.uniform(0.38, 0.46), rng.uniform(0.7, 0.95)
    arm, arm_top = rng.uniform(0.1, 0.26), rng.uniform(0.5, 0.66)
    leather = rng.random() < 0.3
    cloth = palette.plain(rng, glossy=0.1) if leather else palette.fabric(rng, pattern=0.2)
    soft = rng.uniform(0.12, 0.35)
    foot = rng.choice([0.03, 0.08, 0.14])
    back = rng.uniform(0.16, 0.28)
    base_top = seat - 0.12
    piece.add(
        cloth,
        box((width - 0.02, depth - 0.04, base_top - foot), (0, depth / 2, (base_top + foot) / 2)),
    )
    piece.add(
        cloth,
        superellipsoid(
            (width - arm, back, top - foot), (0, back / 2 + 0.01, (top + foot) / 2), (soft, 0.15)
        ),
    )
    if rng.random() < 0.88 or seats == 1:
        for s in (-1, 1):
            size = (arm, depth, arm_top - foot)
            centre = (s * (width - arm) / 2, depth / 2, (arm_top + foot) / 2)
            piece.add(
                cloth,
                box(size, centre)
                if rng.random() < 0.3
                else superellipsoid(size, centre, (soft, soft)),
            )
    span = (width - 2 * arm) / seats
    for k in range(seats):
        x = -width / 2 + arm + (k + 0.5) * span
        piece.add(
            cloth,
            superellipsoid(
                (span * 0.99, depth - back, 0.17), (x, (depth + back) / 2, seat - 0.05), (0.3, 0.15)
            ),
        )
        if rng.random() < 0.7:
            pad = superellipsoid(
                (span * 0.97, 0.16, top - seat + 0.03),
                (x, back + 0.06, (top + seat) / 2 + 0.02),
                (0.35, 0.3),
            )
            piece.add(cloth, pad.pitched(0.15, (x, back, seat)))
    if foot > 0.05:
        piece.add(palette.wood(rng), *legs(width - 0.1, depth - 0.1, foot + 0.03, 0.05, y0=0.05))
    piece.surfaces.append(
        Surface(
            -width / 2 + arm + 0.1, back + 0.05, width / 2 - arm - 0.1, depth - 0.1, seat + 0.03
        )
    )


def sofa(rng: Rng) -> Piece:
    """A sofa for two or three, sometimes with a chaise at one end, with pillows and a throw."""
    piece = Piece('sofa')
    seats = int(rng.integers(2, 4))
    width = seats * rng.uniform(0.6, 0.75) + rng.uniform(0.25, 0.5)
    _upholster(piece, rng, width, seats)
    cloth = piece.parts[0].material
    free = piece.surfaces.pop()
    if rng.random() < 0.2:
        side = rng.choice([-1, 1])
        long = rng.uniform(0.4, 0.7)
        piece.add(
            cloth,
            superellipsoid(
                (0.75, long + 0.2, free.z - 0.05),
                (side * (width / 2 - 0.4), free.y1 + long / 2, free.z / 2),
                (0.15, 0.15),
            ),
        )
    for _ in range(int(rng.integers(0, 4))):
        pillow = belongings.pillow(rng, upright=True)
        piece.put(
            pillow,
            float(rng.uniform(free.x0, free.x1)),
            free.y0 + rng.uniform(0.02, 0.1),
            free.z,
            float(rng.normal(0, 0.25)),
        )
    if rng.random() < 0.2:
        throw = Piece('clothes' if rng.random() < 0.5 else 'sofa')
        throw.add(palette.fabric(rng), heap((0.5, 0.4, 0.16), (0, 0, 0.04), rng))
        piece.put(throw, float(rng.uniform(free.x0, free.x1)), free.y1 - 0.2, free.z)
    if rng.random() < 0.35:
        piece.surfaces.append(free)
    return piece
