# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Beds."""

import numpy as np

from diffpixel_core.synthetic import belongings, palette, seating
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import box, heap, superellipsoid, tube

Rng = np.random.Generator


def bed(rng: Rng) -> Piece:
    """A bed, head against the wall: frame or box, mattress, blanket, pillows."""
    piece = Piece('bed')
    width, long = (
        float(rng.choice([0.9, 1.0, 1.4, 1.6, 1.8])) + rng.uniform(-0.05, 0.05),
        rng.uniform(1.95, 2.15),
    )
    base, mattress = rng.uniform(0.22, 0.42), rng.uniform(0.14, 0.28)
    frame = palette.wood(rng) if rng.random() < 0.65 else palette.fabric(rng, pattern=0.05)
    sheet = palette.fabric(
        rng, palette.clipped(rng.uniform(0.7, 0.95) + rng.normal(0, 0.02, 3)), pattern=0.2
    )
    start = 0.06
    middle = start + long / 2
    top = base + mattress
    style = rng.choice(['slab', 'legs', 'skirt'])
    if style == 'slab':
        piece.add(frame, box((width + 0.06, long + 0.04, base - 0.05), (0, middle, base / 2)))
    elif style == 'legs':
        piece.add(frame, box((width + 0.04, long + 0.04, 0.14), (0, middle, base - 0.06)))
        piece.add(frame, *seating.legs(width, long, base - 0.1, 0.07, y0=start))
    else:
        piece.add(palette.fabric(rng), box((width, long, base), (0, middle, base / 2)))
    head = rng.choice(['none', 'board', 'padded', 'bars'], p=[0.15, 0.45, 0.25, 0.15])
    head_top = top + rng.uniform(0.25, 0.65)
    if head == 'board':
        piece.add(frame, box((width + 0.08, 0.05, head_top), (0, 0.035, head_top / 2)))
    elif head == 'padded':
        piece.add(
            palette.fabric(rng, pattern=0.1),
            superellipsoid((width + 0.1, 0.12, head_top), (0, 0.06, head_top / 2), (0.15, 0.2)),
        )
    elif head == 'bars':
        bars = palette.metal(rng)
        piece.add(bars, tube((-width / 2, 0.03, head_top), (width / 2, 0.03, head_top), 0.02))
        for x in np.linspace(-width / 2, width / 2, 7):
            piece.add(bars, tube((x, 0.03, 0), (x, 0.03, head_top), 0.014, sides=5))
    if rng.random() < 0.25:
        foot = top + rng.uniform(-0.1, 0.2)
        piece.add(frame, box((width + 0.08, 0.05, foot), (0, start + long + 0.04, foot / 2)))
    piece.add(
        sheet,
        superellipsoid((width, long, mattress), (0, middle, base + mattress / 2), (0.15, 0.1)),
    )
    blanket = palette.fabric(rng, pattern=0.5)
    if rng.random() < 0.85:
        reach = long * rng.uniform(0.55, 0.85)
        drop = rng.uniform(0.1, 0.9) * top
        thick = rng.uniform(0.04, 0.12)
        y = start + long - reach / 2 + 0.02
        piece.add(
            blanket,
            superellipsoid(
                (width + 0.1, reach, thick + drop),
                (0, y, top + thick - (thick + drop) / 2),
                (0.12, 0.1),
            ),
        )
        if rng.random() < 0.4:
            piece.add(
                sheet,
                superellipsoid(
                    (width + 0.11, 0.3, thick * 0.9),
                    (0, y - reach / 2 + 0.1, top + thick * 0.7),
                    (0.3, 0.15),
                ),
            )
        top += thick
    else:
        piece.add(
            blanket,
            heap(
                (width * 0.9, long * 0.5, 0.35),
                (rng.uniform(-0.1, 0.1), start + long * 0.6, top + 0.02),
                rng,
                steps=10,
            ),
        )
    for k in range(1 if width < 1.2 else 2):
        x = 0.0 if width < 1.2 else (k - 0.5) * width * 0.48
        pillow = belongings.pillow(rng, upright=bool(rng.random() < 0.35), big=True)
        piece.put(
            pillow,
            x + float(rng.normal(0, 0.03)),
            0.14 + rng.uniform(0, 0.08),
            base + mattress - 0.02,
            float(rng.normal(0, 0.1)),
        )
    if rng.random() < 0.4:
        piece.put(
            belongings.pillow(rng, upright=True),
            float(rng.normal(0, 0.15)),
            0.5,
            base + mattress,
            float(rng.normal(0, 0.2)),
        )
    piece.surfaces.append(Surface(-width * 0.4, 0.8, width * 0.4, long - 0.2, top))
    return piece
