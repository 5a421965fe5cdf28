# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Lamps for tables, floors and ceilings."""

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import box, cylinder, lathe, superellipsoid, tube

Rng = np.random.Generator


def table_lamp(rng: Rng) -> Piece:
    """A lamp with a shade, or a desk lamp with an arm."""
    piece = Piece('lamp')
    base = palette.plain(rng) if rng.random() < 0.5 else palette.metal(rng)
    if rng.random() < 0.75:
        r, h, shade = rng.uniform(0.09, 0.19), rng.uniform(0.16, 0.34), rng.uniform(0.14, 0.26)
        foot = r * rng.uniform(0.4, 0.8)
        if rng.random() < 0.5:
            piece.add(
                base, lathe([(0, 0), (foot, 0), (foot * 1.1, h * 0.4), (0.02, h), (0, h)], sides=10)
            )
        else:
            piece.add(
                base,
                cylinder(foot, 0.02, (0, 0, 0.01), sides=10),
                tube((0, 0, 0), (0, 0, h), 0.012),
            )
        top = r * rng.uniform(0.5, 1.0)
        piece.add(
            palette.glow(rng), lathe([(0, h), (r, h), (top, h + shade), (0, h + shade)], sides=14)
        )
    else:
        piece.add(base, cylinder(0.09, 0.02, (0, 0, 0.01), sides=10))
        piece.add(
            base,
            tube((0, 0, 0), (0.05, -0.1, 0.3), 0.012),
            tube((0.05, -0.1, 0.3), (0, 0.15, 0.42), 0.012),
        )
        piece.add(base, cylinder(0.04, 0.1, (0, 0.16, 0.4), sides=10, top_radius=0.02))
    return piece


def floor_lamp(rng: Rng) -> Piece:
    """A standing lamp."""
    piece = Piece('lamp')
    base = palette.metal(rng) if rng.random() < 0.7 else palette.wood(rng)
    r, h, shade = rng.uniform(0.12, 0.24), rng.uniform(1.1, 1.5), rng.uniform(0.15, 0.35)
    piece.add(base, cylinder(0.15, 0.03, (0, 0.2, 0.015)), tube((0, 0.2, 0), (0, 0.2, h), 0.014))
    top = r * rng.uniform(0.4, 1.0)
    piece.add(
        palette.glow(rng), lathe([(0, h), (r, h), (top, h + shade), (0, h + shade)], (0, 0.2, 0))
    )
    return piece


def ceiling_lamp(rng: Rng, height: float) -> Piece:
    """A lamp on the ceiling: dome, pendant, panel or tube."""
    piece = Piece('lamp')
    glow = palette.glow(rng)
    choice = rng.random()
    if choice < 0.4:
        r = rng.uniform(0.12, 0.28)
        piece.add(glow, superellipsoid((2 * r, 2 * r, 0.12), (0, 0, height - 0.04), (0.9, 1)))
    elif choice < 0.65:
        drop, r = min(rng.uniform(0.3, 0.8), height - 2.02), rng.uniform(0.12, 0.25)
        piece.add(palette.grey(rng, 0.05, 0.3), tube((0, 0, height - drop), (0, 0, height), 0.006))
        piece.add(glow, cylinder(r, 0.2, (0, 0, height - drop), top_radius=r * rng.uniform(0.3, 1)))
    elif choice < 0.85:
        piece.add(
            glow,
            box((rng.uniform(0.3, 0.65), rng.uniform(0.3, 1.25), 0.03), (0, 0, height - 0.014)),
        )
    else:
        piece.add(palette.grey(rng, 0.7, 0.95), box((0.12, 1.2, 0.05), (0, 0, height - 0.025)))
        piece.add(glow, tube((0, -0.58, height - 0.07), (0, 0.58, height - 0.07), 0.02))
    return piece
