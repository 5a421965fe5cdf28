# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Things that hold things: cabinets, dressers, night stands, bookshelves, racks."""

import numpy as np

from diffpixel_core.synthetic import clutter, lamps, palette, props, seating
from diffpixel_core.synthetic.materials import Material
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import Mesh, box, cylinder, superellipsoid, tube

Rng = np.random.Generator


def drawers(
    piece: Piece,
    rng: Rng,
    front: Material,
    width: float,
    low: float,
    high: float,
    y: float,
    x: float = 0.0,
    columns: int = 1,
) -> None:
    """Adds rows of drawer fronts with handles on the plane at `y`, from height `low` to `high`."""
    rows = max(1, round((high - low) / rng.uniform(0.15, 0.3)))
    knob = palette.metal(rng)
    step, span = (high - low) / rows, width / columns
    wide = rng.random() < 0.5
    for k in range(rows):
        z = low + (k + 0.5) * step
        for c in range(columns):
            middle = x - width / 2 + (c + 0.5) * span
            piece.add(front, box((span - 0.02, 0.018, step - 0.02), (middle, y + 0.009, z)))
            size = (min(0.14, span * 0.4), 0.025, 0.014) if wide else (0.03, 0.03, 0.03)
            piece.add(knob, box(size, (middle, y + 0.03, z)))


def doors(
    piece: Piece, rng: Rng, front: Material, width: float, low: float, high: float, y: float
) -> None:
    """Adds side-by-side door leaves with handles on the plane at `y`."""
    count = max(1, round(width / rng.uniform(0.38, 0.6)))
    span = width / count
    handle = palette.metal(rng)
    framed = rng.random() < 0.35
    for k in range(count):
        x = -width / 2 + (k + 0.5) * span
        piece.add(
            front, box((span - 0.012, 0.02, high - low - 0.012), (x, y + 0.01, (high + low) / 2))
        )
        if framed:
            piece.add(
                front,
                box((span * 0.7, 0.012, (high - low) * 0.75), (x, y + 0.022, (high + low) / 2)),
            )
        side = (1 if k % 2 == 0 else -1) * (span / 2 - 0.05)
        z = (high + low) / 2 if high - low > 1.2 else (high - 0.12 if low < 1.0 else low + 0.12)
        piece.add(handle, box((0.014, 0.03, 0.13), (x + side, y + 0.035, z)))


def cabinet(rng: Rng, *, tall: bool | None = None) -> Piece:
    """A cabinet: sideboard, cupboard, wardrobe or steel filing cabinet."""
    piece = Piece('cabinet')
    high_one = bool(rng.random() < 0.4) if tall is None else tall
    width = rng.uniform(0.8, 1.8) if high_one else rng.uniform(0.6, 1.6)
    depth = rng.uniform(0.4, 0.62) if high_one else rng.uniform(0.32, 0.5)
    high = rng.uniform(1.6, 2.2) if high_one else rng.uniform(0.5, 1.15)
    if not high_one and rng.random() < 0.2:
        width, depth, high = 0.45, 0.6, float(rng.choice([0.7, 1.0, 1.32]))
        steel = palette.grey(rng, 0.1, 0.85)
        piece.add(steel, box((width, depth, high), (0, depth / 2, high / 2)))
        drawers(piece, rng, steel, width, 0.04, high - 0.02, depth)
    else:
        body = palette.wood(rng, painted=0.4)
        front = body if rng.random() < 0.7 else palette.wood(rng, painted=0.5)
        foot = rng.choice([0.0, 0.06, 0.12])
        piece.add(body, box((width, depth, high - foot), (0, depth / 2, (high + foot) / 2)))
        if foot > 0.1:
            piece.add(body, *seating.legs(width - 0.04, depth - 0.04, foot, 0.05, y0=0.02))
        elif foot:
            piece.add(
                palette.grey(rng, 0.05, 0.3),
                box((width - 0.04, depth - 0.06, foot), (0, depth / 2 - 0.02, foot / 2)),
            )
        split = high * rng.uniform(0.55, 0.75)
        if rng.random() < 0.3 and not high_one:
            doors(piece, rng, front, width, foot, split, depth)
            drawers(piece, rng, front, width, split, high, depth, columns=2)
        elif rng.random() < 0.15:
            drawers(
                piece, rng, front, width, foot, high if not high_one else split, depth, columns=2
            )
        else:
            doors(piece, rng, front, width, foot, high, depth)
    piece.surfaces.append(
        Surface(-width * 0.46, 0.02, width * 0.46, depth - 0.03, high, 0.5 if high > 1.4 else 0.6)
    )
    return piece


def wardrobe(rng: Rng) -> Piece:
    """A tall cabinet."""
    return cabinet(rng, tall=True)


def sideboard(rng: Rng) -> Piece:
    """A low cabinet."""
    return cabinet(rng, tall=False)


def dresser(rng: Rng) -> Piece:
    """A chest of drawers, sometimes with a mirror on top."""
    piece = Piece('dresser')
    width, depth, high = rng.uniform(0.7, 1.6), rng.uniform(0.4, 0.55), rng.uniform(0.7, 1.3)
    body = palette.wood(rng)
    foot = rng.choice([0.02, 0.1])
    piece.add(body, box((width, depth, high - foot), (0, depth / 2, (high + foot) / 2)))
    piece.add(body, box((width + 0.03, depth + 0.03, 0.025), (0, depth / 2 + 0.01, high)))
    if foot > 0.05:
        piece.add(body, *seating.legs(width, depth, foot, 0.05))
    drawers(
        piece, rng, body, width, foot + 0.02, high - 0.02, depth, columns=2 if width > 1.0 else 1
    )
    piece.surfaces.append(Surface(-width * 0.46, 0.08, width * 0.46, depth - 0.03, high + 0.015))
    if rng.random() < 0.35:
        glass = Piece('mirror')
        w, h = width * rng.uniform(0.4, 0.8), rng.uniform(0.5, 0.8)
        glass.add(body, box((w + 0.08, 0.03, h + 0.08), (0, 0.02, h / 2 + 0.04)))
        glass.add(
            palette.picture(rng, 'mirror', (0.8, 0.82, 0.84), glossy=0.8),
            box((w, 0.01, h), (0, 0.04, h / 2 + 0.04), fit=True),
        )
        piece.put(glass, 0, 0, high + 0.012)
    return piece


def night_stand(rng: Rng) -> Piece:
    """A night stand: box with drawers, or open with a shelf."""
    piece = Piece('night stand')
    width, depth, high = rng.uniform(0.36, 0.58), rng.uniform(0.34, 0.48), rng.uniform(0.42, 0.68)
    body = palette.wood(rng)
    if rng.random() < 0.7:
        foot = rng.choice([0.02, 0.12])
        piece.add(body, box((width, depth, high - foot), (0, depth / 2, (high + foot) / 2)))
        if foot > 0.05:
            piece.add(body, *seating.legs(width, depth, foot, 0.04))
        drawers(piece, rng, body, width, foot + 0.02, high - 0.02, depth)
    else:
        piece.add(body, *seating.legs(width, depth, high, 0.04))
        for z in (0.2, high - 0.08, high - 0.01):
            piece.add(body, box((width, depth, 0.02), (0, depth / 2, z)))
    piece.surfaces.append(Surface(-width * 0.45, 0.03, width * 0.45, depth - 0.03, high))
    lamp = lamps.table_lamp(rng)
    if rng.random() < 0.6:
        piece.put(lamp, float(rng.normal(0, 0.03)), depth * 0.45, high)
        piece.surfaces[-1] = Surface(-width * 0.45, depth * 0.72, width * 0.45, depth, high)
    return piece


def _case(wood: Material, width: float, depth: float, high: float) -> list[Mesh]:
    """Two sides and a top of an open case."""
    sides = [
        box((0.025, depth, high), (s * (width / 2 - 0.012), depth / 2, high / 2)) for s in (-1, 1)
    ]
    return [*sides, box((width, depth, 0.025), (0, depth / 2, high - 0.012))]


def bookshelf(rng: Rng) -> Piece:
    """A bookcase, full, half full or empty, with or without a back."""
    piece = Piece('bookshelf')
    width, depth, high = (
        rng.uniform(0.6, 1.5),
        rng.uniform(0.24, 0.36),
        rng.choice([rng.uniform(0.8, 1.3), rng.uniform(1.6, 2.25)]),
    )
    wood = palette.wood(rng, painted=0.3)
    piece.add(wood, *_case(wood, width, depth, high))
    if rng.random() < 0.75:
        piece.add(wood, box((width, 0.012, high), (0, 0.006, high / 2)))
    count = max(2, round(high / rng.uniform(0.3, 0.42)))
    full = rng.choice([0.15, 0.6, 0.9], p=[0.15, 0.35, 0.5])
    columns = 2 if width > 1.0 and rng.random() < 0.5 else 1
    span = width / columns
    if columns == 2:
        piece.add(wood, box((0.022, depth, high), (0, depth / 2, high / 2)))
    step = (high - 0.06) / count
    for k in range(count):
        z = 0.05 + k * step
        piece.add(wood, box((width - 0.04, depth - 0.01, 0.022), (0, depth / 2, z)))
        for c in range(columns):
            start = -width / 2 + c * span + 0.03
            choice = rng.random()
            if choice < full:
                piece.put(
                    props.book_row(rng, span - 0.06, step - 0.03, depth), start, 0.015, z + 0.012
                )
            elif choice < full + 0.3:
                piece.surfaces.append(
                    Surface(start, 0.03, start + span - 0.06, depth - 0.02, z + 0.012, step - 0.05)
                )
    if rng.random() < 0.2:
        piece.add(wood, box((width - 0.03, 0.018, step), (0, depth, 0.05 + step / 2)))
    clutter.scatter(piece, rng, clutter.SHELF_THINGS, int(rng.integers(0, 7)))
    piece.surfaces = [Surface(-width * 0.45, 0.02, width * 0.45, depth - 0.02, high, 0.45)]
    return piece


def rack(rng: Rng) -> Piece:
    """Open storage shelves on four posts, with boxes and things."""
    piece = Piece('shelves')
    width, depth, high = rng.uniform(0.6, 1.2), rng.uniform(0.3, 0.5), rng.uniform(0.9, 1.95)
    frame = palette.metal(rng) if rng.random() < 0.6 else palette.wood(rng)
    piece.add(frame, *seating.legs(width, depth, high, 0.03))
    count = int(rng.integers(3, 6))
    for k in range(count):
        z = 0.1 + k * (high - 0.12) / (count - 1)
        piece.add(frame, box((width, depth, 0.02), (0, depth / 2, z)))
        clearance = (high - 0.12) / (count - 1) - 0.04 if k < count - 1 else 0.4
        piece.surfaces.append(
            Surface(-width * 0.46, 0.03, width * 0.46, depth - 0.03, z + 0.01, clearance)
        )
    clutter.scatter(piece, rng, clutter.SHELF_THINGS, int(rng.integers(3, 12)))
    piece.surfaces = []
    return piece


def coat_rack(rng: Rng) -> Piece:
    """A standing coat rack with coats."""
    piece = Piece('otherfurniture')
    frame = palette.wood(rng) if rng.random() < 0.5 else palette.metal(rng)
    high = rng.uniform(1.6, 1.85)
    piece.add(
        frame, tube((0, 0.25, 0), (0, 0.25, high), 0.02), cylinder(0.18, 0.03, (0, 0.25, 0.015))
    )
    for k in range(int(rng.integers(1, 4))):
        angle = k * 2.1 + rng.uniform(0, 0.5)
        hook = (0.14 * np.cos(angle), 0.25 + 0.14 * np.sin(angle), high - 0.1)
        piece.add(frame, tube((0, 0.25, high - 0.15), hook, 0.012))
        coat = Piece('clothes')
        long = rng.uniform(0.6, 1.1)
        coat.add(
            palette.fabric(rng, pattern=0.15),
            superellipsoid((0.36, 0.16, long), (0, 0, -long / 2), (0.5, 0.7)),
        )
        piece.put(coat, *hook, yaw=float(angle))
    return piece


def television_stand(rng: Rng) -> Piece:
    """A low cabinet with a large television."""
    piece = Piece('cabinet')
    width, depth, high = rng.uniform(1.0, 1.9), rng.uniform(0.35, 0.5), rng.uniform(0.35, 0.65)
    body = palette.wood(rng, painted=0.4)
    if rng.random() < 0.5:
        piece.add(body, box((width, depth, high), (0, depth / 2, high / 2)))
        doors(piece, rng, body, width, 0.04, high - 0.02, depth)
    else:
        piece.add(body, *_case(body, width, depth, high))
        for z in (0.05, high * 0.5):
            piece.add(body, box((width, depth, 0.02), (0, depth / 2, z)))
        box_thing = props.gadget(rng)
        piece.put(box_thing, float(rng.uniform(-0.3, 0.3)), depth / 2, high * 0.5 + 0.01)
    screen = props.television(rng, min(width * rng.uniform(0.6, 0.95), 1.5))
    piece.put(screen, float(rng.normal(0, 0.05)), depth * 0.5, high)
    piece.surfaces.append(Surface(-width * 0.48, depth * 0.75, width * 0.48, depth - 0.02, high))
    return piece
