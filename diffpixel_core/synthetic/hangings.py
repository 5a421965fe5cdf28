# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What hangs on walls; its back is the plane y = 0."""

import math

import numpy as np

from diffpixel_core.synthetic import belongings, clutter, palette, props
from diffpixel_core.synthetic.pieces import Piece, Surface
from diffpixel_core.synthetic.shapes import Mesh, box, cylinder, superellipsoid, tube

Rng = np.random.Generator


def picture(rng: Rng) -> Piece:
    """A picture in its frame, its middle at z = 0."""
    piece = Piece('picture')
    size = rng.uniform(0.22, 1.05)
    w, h = size * rng.uniform(0.7, 1.15), size * rng.uniform(0.6, 1.0)
    piece.add(palette.picture(rng, 'art'), box((w, 0.02, h), (0, 0.018, 0), fit=True))
    if rng.random() < 0.8:
        piece.add(palette.wood(rng, painted=0.5), *_rim(w, h, rng.uniform(0.015, 0.05)))
    return piece


def _rim(width: float, height: float, thick: float) -> list[Mesh]:
    """Four bars about a plate in the x-z plane on the wall."""
    return [
        bar
        for s in (-1, 1)
        for bar in (
            box((thick, 0.035, height + 2 * thick), (s * (width + thick) / 2, 0.0175, 0)),
            box((width, 0.035, thick), (0, 0.0175, s * (height + thick) / 2)),
        )
    ]


def notices(rng: Rng) -> Piece:
    """Sheets of paper pinned to the wall."""
    piece = Piece('paper')
    for k in range(int(rng.integers(1, 5))):
        sheet = palette.picture(rng, 'paper', palette.clipped(rng.uniform(0.75, 0.97, 3)))
        piece.add(
            sheet,
            box(
                (0.21, 0.004, 0.297), (0.26 * k - 0.3, 0.003, float(rng.normal(0, 0.05))), fit=True
            ),
        )
    return piece


def mirror(rng: Rng) -> Piece:
    """A mirror on the wall, its middle at z = 0."""
    piece = Piece('mirror')
    w, h = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.1)
    glass = palette.picture(rng, 'mirror', (0.8, 0.82, 0.84), glossy=0.85)
    piece.add(glass, box((w, 0.015, h), (0, 0.012, 0), fit=True))
    if rng.random() < 0.7:
        piece.add(
            palette.wood(rng) if rng.random() < 0.6 else palette.metal(rng),
            *_rim(w, h, rng.uniform(0.015, 0.06)),
        )
    return piece


def whiteboard(rng: Rng) -> Piece:
    """A whiteboard with a tray, its middle at z = 0."""
    piece = Piece('whiteboard')
    w, h = rng.uniform(0.9, 2.2), rng.uniform(0.7, 1.2)
    piece.add(
        palette.picture(rng, 'whiteboard', (0.93, 0.94, 0.94), glossy=0.15),
        box((w, 0.02, h), (0, 0.012, 0), fit=True),
    )
    piece.add(
        palette.grey(rng, 0.4, 0.8),
        *_rim(w, h, 0.02),
        box((w * 0.6, 0.07, 0.015), (0, 0.045, -h / 2 - 0.01)),
    )
    return piece


def wall_screen(rng: Rng) -> Piece:
    """A television on the wall, its middle at z = 0."""
    piece = Piece('television')
    w = rng.uniform(0.8, 1.5)
    h = w * 0.57
    piece.add(palette.grey(rng, 0.03, 0.15), box((w, 0.06, h), (0, 0.05, 0)))
    piece.add(palette.screen(rng), box((w - 0.03, 0.006, h - 0.03), (0, 0.083, 0), fit=True))
    return piece


def wall_shelf(rng: Rng) -> Piece:
    """One or two boards on the wall with books and things; its lowest board at z = 0."""
    piece = Piece('shelves')
    w, d = rng.uniform(0.5, 1.4), rng.uniform(0.16, 0.3)
    board = palette.wood(rng)
    for k in range(int(rng.integers(1, 4))):
        z = 0.34 * k
        piece.add(board, box((w, d, 0.025), (0, d / 2, z)))
        if rng.random() < 0.4:
            span = w * rng.uniform(0.3, 0.6)
            piece.put(props.book_row(rng, span, 0.28, d), -w / 2 + 0.02, 0.0, z + 0.013)
            piece.surfaces.append(Surface(-w / 2 + span + 0.04, 0.01, w / 2, d, z + 0.013, 0.3))
        else:
            piece.surfaces.append(Surface(-w / 2, 0.01, w / 2, d, z + 0.013, 0.3))
    clutter.scatter(piece, rng, clutter.SHELF_THINGS, int(rng.integers(1, 8)))
    piece.surfaces = []
    return piece


def clock(rng: Rng) -> Piece:
    """A round clock, switch plate or thermostat."""
    piece = Piece('otherprop')
    if rng.random() < 0.6:
        r = rng.uniform(0.1, 0.2)
        face = cylinder(r, 0.03, (0, 0, 0), sides=16).pitched(-math.pi / 2).moved((0, 0.02, 0))
        piece.add(palette.plain(rng), face)
    else:
        piece.add(
            palette.grey(rng, 0.6, 0.95), box((0.09, 0.02, 0.09 * rng.choice([1, 2])), (0, 0.01, 0))
        )
    return piece


def towel_rail(rng: Rng) -> Piece:
    """A rail with one or two towels; the rail at z = 0."""
    piece = Piece('otherprop')
    w = rng.uniform(0.45, 0.75)
    piece.add(palette.metal(rng), tube((-w / 2, 0.05, 0), (w / 2, 0.05, 0), 0.01))
    count = int(rng.integers(1, 3))
    for k in range(count):
        span = w / count * rng.uniform(0.7, 0.95)
        piece.put(
            belongings.towel_on(rng, span, float(rng.uniform(0.35, 0.8))),
            (k + 0.5) * w / count - w / 2,
            0.035,
            0.012,
        )
    return piece


def coat_hooks(rng: Rng) -> Piece:
    """A row of hooks with coats and bags; the hooks at z = 0."""
    piece = Piece('otherfurniture')
    w = rng.uniform(0.5, 1.1)
    piece.add(palette.wood(rng), box((w, 0.025, 0.1), (0, 0.012, 0.02)))
    for x in np.arange(-w / 2 + 0.15, w / 2 - 0.1, 0.24):
        if rng.random() < 0.7:
            coat = Piece('clothes')
            long = rng.uniform(0.5, 1.05)
            coat.add(
                palette.fabric(rng, pattern=0.15),
                superellipsoid(
                    (rng.uniform(0.26, 0.42), 0.17, long), (0, 0.1, -long / 2), (0.4, 0.7)
                ),
            )
            piece.put(coat, float(x), 0.02, 0.02)
        elif rng.random() < 0.5:
            piece.put(belongings.bag(rng), float(x), 0.02, -0.5)
    return piece
