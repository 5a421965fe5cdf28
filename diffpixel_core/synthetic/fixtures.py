# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What is built into kitchens and bathrooms: counters, sinks, refrigerators, toilets, tubs."""

import numpy as np

from diffpixel_core.synthetic import palette, props, storage
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import box, cylinder, drape, lathe, superellipsoid, tube

Rng = np.random.Generator


def _tap(rng: Rng, x: float, y: float, z: float) -> Piece:
    """A tap whose spout reaches towards +y."""
    piece = Piece('sink')
    steel = palette.metal(rng)
    high, reach = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.18)
    piece.add(
        steel,
        tube((x, y, z), (x, y, z + high), 0.014),
        tube((x, y, z + high), (x, y + reach, z + high * 0.85), 0.011),
    )
    return piece


def kitchen_run(rng: Rng, width: float, *, sink: bool, upper: bool) -> Piece:
    """Base cabinets with a counter, and at choice a sink, a cooker and cabinets above."""
    piece = Piece('cabinet')
    depth, high, thick = rng.uniform(0.56, 0.64), rng.uniform(0.86, 0.94), rng.uniform(0.025, 0.05)
    body = palette.wood(rng, painted=0.5)
    under = high - thick
    piece.add(
        palette.grey(rng, 0.05, 0.6), box((width, depth - 0.08, 0.1), (0, depth / 2 - 0.04, 0.05))
    )
    piece.add(
        body, box((width, depth - 0.03, under - 0.1), (0, depth / 2 - 0.015, (under + 0.1) / 2))
    )
    split = under - 0.18
    storage.doors(piece, rng, body, width, 0.1, split, depth - 0.03)
    storage.drawers(
        piece, rng, body, width, split, under, depth - 0.03, columns=max(1, round(width / 0.5))
    )
    counter = Piece('counter')
    worktop = palette.stone(rng)
    counter.add(worktop, box((width + 0.01, depth, thick), (0, depth / 2, high - thick / 2)))
    if rng.random() < 0.6:
        counter.add(worktop, box((width, 0.02, 0.1), (0, 0.01, high + 0.05)))
    piece.put(counter)
    left, right = -width / 2 + 0.04, width / 2 - 0.04
    if sink and width > 0.8:
        x = float(rng.uniform(-0.2, 0.2)) * width
        basin = Piece('sink')
        steel = palette.metal(rng) if rng.random() < 0.7 else palette.ceramic(rng)
        w, d = rng.uniform(0.4, 0.6), 0.4
        basin.add(steel, box((w, d, 0.008), (x, depth / 2 + 0.03, high + 0.004)))
        basin.add(
            palette.grey(rng, 0.2, 0.5),
            box((w - 0.08, d - 0.08, 0.004), (x, depth / 2 + 0.03, high + 0.009)),
        )
        for s in (-1, 1):
            basin.add(steel, box((0.02, d, 0.02), (x + s * w / 2, depth / 2 + 0.03, high + 0.01)))
            basin.add(steel, box((w, 0.02, 0.02), (x, depth / 2 + 0.03 + s * d / 2, high + 0.01)))
        basin.parts += _tap(rng, x, 0.09, high).parts
        piece.put(basin)
        if x > 0:
            right = x - w / 2 - 0.03
        else:
            left = x + w / 2 + 0.03
    elif width > 1.0 and rng.random() < 0.7:
        x = float(rng.uniform(-0.15, 0.15)) * width
        stove = Piece('otherstructure')
        front = palette.metal(rng) if rng.random() < 0.5 else palette.grey(rng, 0.03, 0.9)
        stove.add(
            front, box((0.6, depth + 0.02, high - 0.1), (x, depth / 2 + 0.01, (high + 0.1) / 2))
        )
        stove.add(
            palette.grey(rng, 0.02, 0.1),
            box((0.58, depth - 0.05, 0.012), (x, depth / 2, high + 0.006)),
        )
        stove.add(
            palette.grey(rng, 0.02, 0.1), box((0.45, 0.01, 0.32), (x, depth + 0.025, high * 0.5))
        )
        for k in range(4):
            spot = (
                x + (-0.14 if k % 2 else 0.14),
                depth / 2 + (-0.13 if k < 2 else 0.13),
                high + 0.014,
            )
            stove.add(palette.grey(rng, 0.1, 0.25), cylinder(0.09, 0.008, spot, sides=12))
        piece.put(stove)
        if rng.random() < 0.5:
            piece.put(props.pot(rng), x + 0.14, depth / 2 + 0.13, high + 0.018)
        if x > 0:
            right = x - 0.34
        else:
            left = x + 0.34
    if right - left > 0.2:
        piece.surfaces.append(Surface(left, 0.05, right, depth - 0.04, high, 0.45))
    if upper:
        low, top = rng.uniform(1.38, 1.5), rng.uniform(2.0, 2.25)
        deep = rng.uniform(0.3, 0.36)
        cupboard = Piece('cabinet')
        cupboard.add(body, box((width, deep, top - low), (0, deep / 2, (top + low) / 2)))
        storage.doors(cupboard, rng, body, width, low, top, deep)
        piece.put(cupboard)
    return piece


def refrigerator(rng: Rng) -> Piece:
    """A refrigerator with one or two doors."""
    piece = Piece('refridgerator')
    width, depth, high = rng.uniform(0.55, 0.9), rng.uniform(0.58, 0.75), rng.uniform(1.4, 1.95)
    choice = rng.random()
    body = (
        palette.ceramic(rng)
        if choice < 0.5
        else (palette.metal(rng) if choice < 0.85 else palette.plain(rng))
    )
    piece.add(body, box((width, depth - 0.06, high), (0, depth / 2 - 0.03, high / 2)))
    handle = palette.metal(rng)
    if width > 0.78 and rng.random() < 0.6:
        for s in (-1, 1):
            piece.add(
                body,
                box(
                    (width / 2 - 0.006, 0.05, high - 0.05), (s * width / 4, depth - 0.03, high / 2)
                ),
            )
            piece.add(handle, box((0.02, 0.03, high * 0.4), (s * 0.05, depth + 0.01, high * 0.6)))
    else:
        split = high * rng.choice([0.35, 0.65])
        for low, top in ((0.03, split - 0.005), (split + 0.005, high)):
            piece.add(body, box((width, 0.05, top - low), (0, depth - 0.03, (top + low) / 2)))
            piece.add(
                handle,
                box((0.02, 0.03, (top - low) * 0.5), (width * 0.42, depth + 0.01, (top + low) / 2)),
            )
    for _ in range(int(rng.integers(0, 4))):
        note = Piece('paper')
        note.add(
            palette.picture(rng, 'paper', palette.any_colour(rng)),
            box((0.15, 0.003, 0.2), (0, 0, 0), fit=True),
        )
        piece.put(
            note,
            float(rng.uniform(-0.3, 0.3)) * width,
            depth - 0.003,
            float(rng.uniform(0.55, 0.85)) * high,
        )
    piece.surfaces.append(Surface(-width * 0.4, 0.05, width * 0.4, depth - 0.1, high, 0.35))
    return piece


def kitchen_island(rng: Rng) -> Piece:
    """A free-standing counter on a cabinet."""
    piece = Piece('cabinet')
    width, depth, high = rng.uniform(0.9, 1.6), rng.uniform(0.55, 0.8), rng.uniform(0.88, 1.0)
    body = palette.wood(rng, painted=0.5)
    piece.add(
        body, box((width - 0.08, depth - 0.1, high - 0.04), (0, depth / 2, (high - 0.04) / 2))
    )
    storage.doors(piece, rng, body, width - 0.08, 0.06, high - 0.05, depth - 0.05)
    counter = Piece('counter')
    counter.add(palette.stone(rng), box((width, depth, 0.04), (0, depth / 2, high - 0.02)))
    piece.put(counter)
    piece.surfaces.append(Surface(-width * 0.46, 0.04, width * 0.46, depth - 0.04, high))
    return piece


def washstand(rng: Rng) -> Piece:
    """A wash basin: on a cabinet with a counter, on a pillar, or on the wall."""
    style = str(rng.choice(['vanity', 'pillar', 'wall'], p=[0.6, 0.2, 0.2]))
    white = palette.ceramic(rng)
    high = rng.uniform(0.8, 0.9)
    w, d = rng.uniform(0.4, 0.58), rng.uniform(0.36, 0.46)
    bowl = [(0.0, -0.14), (0.3, -0.13), (0.5, 0.0), (0.44, 0.0), (0.25, -0.09), (0.0, -0.1)]
    basin = Piece('sink')
    if style == 'vanity':
        piece = Piece('cabinet')
        width, depth = rng.uniform(0.6, 1.3), 0.5
        body = palette.wood(rng, painted=0.5)
        piece.add(
            body,
            box(
                (width, depth - 0.03, high - 0.13), (0, depth / 2 - 0.015, (high - 0.03 + 0.1) / 2)
            ),
        )
        storage.doors(piece, rng, body, width, 0.12, high - 0.05, depth - 0.03)
        counter = Piece('counter')
        counter.add(
            palette.stone(rng), box((width + 0.02, depth, 0.03), (0, depth / 2, high - 0.015))
        )
        piece.put(counter)
        rim = high + rng.uniform(0.03, 0.15)
        # The bowl ends just above the counter, which would else show through its bottom.
        flat = (rim - high - 0.004) / 0.1
        basin.add(
            white,
            lathe(
                [(r * w, z * flat) for r, z in bowl], (0, 0.29, rim), stretch=(1.0, d / w), sides=16
            ),
        )
        if width > 0.9:
            piece.surfaces.append(Surface(w / 2 + 0.02, 0.05, width / 2, depth - 0.05, high))
    else:
        piece = Piece('sink')
        rim = high
        basin.add(
            white,
            lathe(
                [(r * w, z) for r, z in bowl],
                (0, d / 2 + 0.04, rim),
                stretch=(1.0, d / w),
                sides=16,
            ),
        )
        basin.add(white, box((w * 0.9, 0.1, 0.1), (0, 0.05, rim - 0.04)))
        if style == 'pillar':
            basin.add(white, cylinder(0.1, rim - 0.08, (0, 0.2, (rim - 0.08) / 2), top_radius=0.08))
    basin.parts += _tap(rng, 0.0, 0.07, high if style == 'vanity' else rim).parts
    piece.put(basin)
    return piece


def toilet(rng: Rng) -> Piece:
    """A toilet with cistern, lid up or down."""
    piece = Piece('toilet')
    white = palette.ceramic(rng)
    seat = rng.uniform(0.38, 0.45)
    w, d = rng.uniform(0.34, 0.4), rng.uniform(0.42, 0.5)
    tank = rng.random() < 0.75
    start = 0.18 if tank else 0.05
    if tank:
        high = rng.uniform(0.72, 0.85)
        piece.add(
            white,
            superellipsoid(
                (0.38, 0.18, high - seat + 0.05), (0, 0.1, (high + seat) / 2), (0.1, 0.2)
            ),
        )
        piece.add(white, box((0.4, 0.2, 0.03), (0, 0.1, high)))
    middle = start + d / 2
    bowl = [
        (0, 0),
        (0.32, 0),
        (0.3, 0.12),
        (0.5, seat - 0.06),
        (0.5, seat),
        (0.36, seat),
        (0.2, seat - 0.15),
        (0, seat - 0.2),
    ]
    piece.add(
        white, lathe([(r * w, z) for r, z in bowl], (0, middle, 0), stretch=(1.0, d / w), sides=16)
    )
    piece.add(
        white, box((w * 0.7, start + 0.1, seat - 0.05), (0, (start + 0.1) / 2, (seat - 0.05) / 2))
    )
    lid = palette.ceramic(rng) if rng.random() < 0.8 else palette.wood(rng)
    if rng.random() < 0.55:
        piece.add(
            lid, superellipsoid((w * 1.02, d * 1.02, 0.045), (0, middle, seat + 0.02), (0.3, 0.9))
        )
    else:
        upright = superellipsoid(
            (w, 0.03, d * 0.95), (0, start + 0.04, seat + d * 0.48), (0.8, 0.5)
        )
        piece.add(lid, upright.pitched(0.1, (0, start + 0.04, seat)))
    roll = Piece('otherprop')
    roll.add(palette.ceramic(rng), cylinder(0.055, 0.1, (0, 0, 0), sides=10))
    if rng.random() < 0.5:
        piece.put(roll, w / 2 + 0.15, 0.08, 0.7)
    return piece


def bathtub(rng: Rng, width: float) -> Piece:
    """A bathtub along the wall, with a shower curtain on a rod at most of them."""
    piece = Piece('bathtub')
    depth, high, wall = rng.uniform(0.68, 0.8), rng.uniform(0.45, 0.6), 0.07
    white = palette.ceramic(rng)
    apron = white if rng.random() < 0.6 else palette.wall_paint(rng, 'bathroom')
    piece.add(apron, box((width, 0.03, high - 0.02), (0, depth - 0.015, (high - 0.02) / 2)))
    piece.add(
        white,
        box((width, wall, 0.04), (0, depth - wall / 2, high - 0.02)),
        box((width, wall, 0.04), (0, wall / 2, high - 0.02)),
    )
    piece.add(
        white,
        box((width - 0.02, 0.02, high - 0.1), (0, depth - wall, high / 2 + 0.03)),
        box((width - 0.02, 0.02, high - 0.1), (0, wall, high / 2 + 0.03)),
    )
    for s in (-1, 1):
        piece.add(
            white, box((wall + 0.05, depth, 0.04), (s * (width / 2 - 0.06), depth / 2, high - 0.02))
        )
        piece.add(
            white,
            box((0.03, depth, high - 0.02), (s * (width / 2 - 0.015), depth / 2, high / 2 - 0.01)),
        )
        piece.add(
            white,
            box(
                (0.03, depth - 0.1, high - 0.1), (s * (width / 2 - 0.1), depth / 2, high / 2 + 0.03)
            ),
        )
    piece.add(white, box((width - 0.1, depth - 0.06, 0.05), (0, depth / 2, 0.12)))
    if rng.random() < 0.75:
        rod = rng.uniform(1.9, 2.05)
        curtain = Piece('shower curtain')
        cloth = palette.fabric(
            rng,
            palette.clipped(rng.uniform(0.5, 0.97, 3)) if rng.random() < 0.6 else None,
            pattern=0.55,
        )
        span = width * rng.uniform(0.25, 0.95)
        side = rng.choice([-1, 1]) * (width - span) / 2
        low = rng.uniform(0.12, 0.3)
        curtain.add(
            cloth,
            drape(
                span,
                rod - low,
                (side, depth + 0.03, (rod + low) / 2),
                folds=span / rng.uniform(0.1, 0.22),
                depth=0.03,
                columns=60,
            ),
        )
        curtain.add(
            palette.metal(rng),
            tube((-width / 2, depth + 0.03, rod), (width / 2, depth + 0.03, rod), 0.012),
        )
        piece.put(curtain)
    else:
        tap = Piece('otherprop')
        tap.add(
            palette.metal(rng),
            tube((width * 0.4, 0.04, high), (width * 0.4, 0.04, 1.9), 0.01),
            cylinder(0.08, 0.02, (width * 0.4, 0.16, 1.9)),
        )
        piece.put(tap)
    return piece


def shower_corner(rng: Rng) -> Piece:
    """A shower tray with a curtain round it."""
    piece = Piece('otherstructure')
    side = rng.uniform(0.8, 0.95)
    piece.add(palette.ceramic(rng), box((side, side, 0.12), (0, side / 2, 0.06)))
    curtain = Piece('shower curtain')
    cloth = palette.fabric(rng, pattern=0.5)
    curtain.add(cloth, drape(side, 1.8, (0, side, 1.08), folds=6, depth=0.03, columns=48))
    curtain.add(palette.metal(rng), tube((-side / 2, side, 1.98), (side / 2, side, 1.98), 0.012))
    piece.put(curtain)
    return piece


def washing_machine(rng: Rng) -> Piece:
    """A washing machine or dishwasher."""
    piece = Piece('otherfurniture')
    white = palette.ceramic(rng)
    piece.add(white, box((0.6, 0.58, 0.85), (0, 0.3, 0.425)))
    if rng.random() < 0.7:
        piece.add(
            palette.grey(rng, 0.1, 0.4), superellipsoid((0.36, 0.06, 0.36), (0, 0.59, 0.45), (1, 1))
        )
    piece.add(palette.grey(rng, 0.3, 0.8), box((0.58, 0.01, 0.1), (0, 0.59, 0.78)))
    piece.surfaces.append(Surface(-0.27, 0.05, 0.27, 0.55, 0.85))
    return piece
