# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Fixed parts of a building that are neither wall, floor nor ceiling, and radiators."""

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import box, cylinder, tube

Rng = np.random.Generator


def radiator(rng: Rng) -> Piece:
    """A radiator a little above the floor."""
    piece = Piece('otherstructure')
    w, h = rng.uniform(0.5, 1.6), rng.uniform(0.4, 0.7)
    colour = palette.ceramic(rng) if rng.random() < 0.85 else palette.plain(rng)
    piece.add(colour, box((w, 0.05, h), (0, 0.07, 0.12 + h / 2)))
    count = int(w / 0.07)
    for k in range(count):
        piece.add(
            colour,
            box((0.035, 0.03, h - 0.06), (-w / 2 + (k + 0.5) * w / count, 0.11, 0.12 + h / 2)),
        )
    piece.add(
        colour,
        tube((w / 2, 0.07, 0.16), (w / 2 + 0.08, 0.07, 0.16), 0.012),
        tube((w / 2 + 0.08, 0.07, 0.16), (w / 2 + 0.08, 0.07, 0), 0.012),
    )
    return piece


def column(rng: Rng, height: float) -> Piece:
    """A pillar, chimney breast or boxed pipe from floor to ceiling."""
    piece = Piece('otherstructure')
    w, d = rng.uniform(0.2, 0.7), rng.uniform(0.15, 0.45)
    stone = palette.wall_paint(rng, 'corridor')
    if rng.random() < 0.2:
        piece.add(stone, cylinder(d / 2, height, (0, d / 2 + 0.02, height / 2), sides=16))
    else:
        piece.add(stone, box((w, d, height), (0, d / 2, height / 2)))
    return piece


def fireplace(rng: Rng) -> Piece:
    """A mantelpiece with a dark mouth."""
    piece = Piece('otherstructure')
    w, h, d = rng.uniform(1.1, 1.6), rng.uniform(0.9, 1.25), rng.uniform(0.2, 0.4)
    stone = palette.stone(rng)
    for s in (-1, 1):
        piece.add(stone, box((w * 0.2, d, h), (s * w * 0.4, d / 2, h / 2)))
    piece.add(
        stone,
        box((w, d, h * 0.3), (0, d / 2, h * 0.85)),
        box((w + 0.12, d + 0.06, 0.05), (0, d / 2 + 0.03, h)),
    )
    piece.add(palette.grey(rng, 0.02, 0.1), box((w * 0.6, 0.02, h * 0.7), (0, 0.02, h * 0.35)))
    piece.surfaces.append(Surface(-w / 2, 0.02, w / 2, d, h + 0.025))
    return piece


def stairs(rng: Rng) -> Piece:
    """A few steps up to nowhere."""
    piece = Piece('otherstructure')
    w, rise, tread = rng.uniform(0.8, 1.1), rng.uniform(0.15, 0.19), rng.uniform(0.24, 0.3)
    wood = palette.wood(rng)
    count = int(rng.integers(3, 6))
    for k in range(count):
        high = rise * (count - k)
        piece.add(wood, box((w, tread, high), (0, (k + 0.5) * tread, high / 2)))
    return piece
