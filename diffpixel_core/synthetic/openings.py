# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Walls with holes, and what fills them: doors, windows, curtains and blinds.

The frame of a wall: x along it, the room at y > 0, the wall's body at -THICKNESS < y < 0.
"""

from collections.abc import Sequence

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.materials import Material
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import Mesh, box, drape, superellipsoid, tube

Rng = np.random.Generator

Hole = tuple[float, float, float, float]

THICKNESS = 0.14


def wall_with_holes(length: float, height: float, holes: Sequence[Hole]) -> list[Mesh]:
    """Boxes of a wall from x = 0 to `length` (and its corners) around `holes` (x0, x1, z0, z1)."""
    meshes = []

    def block(x0: float, x1: float, z0: float, z1: float) -> None:
        if x1 - x0 > 1e-6 and z1 - z0 > 1e-6:
            meshes.append(
                box((x1 - x0, THICKNESS, z1 - z0), ((x0 + x1) / 2, -THICKNESS / 2, (z0 + z1) / 2))
            )

    x = -THICKNESS
    for x0, x1, z0, z1 in sorted(holes):
        block(x, x0, 0.0, height)
        block(x0, x1, 0.0, z0)
        block(x0, x1, z1, height)
        x = x1
    block(x, length + THICKNESS, 0.0, height)
    return meshes


def door(rng: Rng, width: float, high: float, *, angle: float, wood: Material) -> Piece:
    """A door with its frame in a hole `width` x `high`; `angle` is how far its leaf swings in."""
    piece = Piece('door')
    trim = wood if rng.random() < 0.4 else palette.wood(rng, painted=0.7)
    for s in (-1, 1):
        piece.add(
            trim,
            box(
                (0.07, THICKNESS + 0.04, high + 0.06),
                (s * (width / 2 + 0.01), -THICKNESS / 2, (high + 0.06) / 2),
            ),
        )
    piece.add(trim, box((width + 0.1, THICKNESS + 0.04, 0.07), (0, -THICKNESS / 2, high + 0.03)))
    leaf = Piece('door')
    wide = width - 0.05
    leaf.add(wood, box((wide, 0.04, high - 0.01), (wide / 2, 0, (high - 0.01) / 2)))
    style = rng.random()
    if style < 0.45:
        for z0, z1 in (
            ((0.12, 0.45), (0.52, 0.93))
            if rng.random() < 0.6
            else ((0.1, 0.33), (0.38, 0.63), (0.68, 0.93))
        ):
            for s in (-1, 1):
                leaf.add(
                    wood,
                    box(
                        (wide * 0.7, 0.012, (z1 - z0) * high),
                        (wide / 2, s * 0.024, (z0 + z1) / 2 * high),
                    ),
                )
    elif style < 0.57:
        glass = palette.picture(rng, 'mirror', (0.75, 0.8, 0.8), glossy=0.3)
        for s in (-1, 1):
            leaf.add(
                glass,
                box((wide * 0.6, 0.006, high * 0.5), (wide / 2, s * 0.022, high * 0.65), fit=True),
            )
    knob = palette.metal(rng)
    for s in (-1, 1):
        if rng.random() < 0.5:
            leaf.add(
                knob,
                superellipsoid((0.06, 0.06, 0.06), (wide - 0.07, s * 0.05, 1.02), (1, 1), steps=5),
            )
        else:
            leaf.add(
                knob,
                box((0.13, 0.02, 0.02), (wide - 0.12, s * 0.06, 1.02)),
                box((0.04, 0.012, 0.16), (wide - 0.07, s * 0.026, 1.0)),
            )
    mirrored = rng.random() < 0.5
    for part in leaf.parts_at((0.0, 0.0, 0.005), angle):
        mesh = part.mesh
        if mirrored:
            flipped = mesh.vertices * np.array([-1.0, 1.0, 1.0])
            mesh = Mesh(flipped, mesh.faces[:, ::-1].copy(), mesh.uv)
        x = (wide if mirrored else -wide) / 2
        piece.add(part.material, mesh.moved((x, -0.03, 0.0)))
    return piece


def space_behind(rng: Rng, width: float, high: float) -> Piece:
    """What is seen through an open door: a dark or lit passage with walls, floor and ceiling."""
    piece = Piece('wall')
    deep, tall, wide = (
        rng.uniform(0.9, 2.8),
        high + rng.uniform(0.2, 0.5),
        width + rng.uniform(0.6, 2.5),
    )
    shade = palette.wall_paint(rng, 'corridor')
    floor = palette.floor_cover(rng, 'corridor')
    y = -THICKNESS - deep / 2
    piece.add(shade, box((wide, 0.1, tall), (0, -THICKNESS - deep - 0.05, tall / 2)))
    for s in (-1, 1):
        piece.add(shade, box((0.1, deep, tall), (s * (wide / 2 + 0.05), y, tall / 2)))
    ground, cover = Piece('floor'), Piece('ceiling')
    ground.add(floor, box((wide, deep + THICKNESS, 0.1), (0, y + THICKNESS / 2, -0.051)))
    cover.add(shade, box((wide, deep, 0.1), (0, y, tall + 0.05)))
    piece.put(ground)
    piece.put(cover)
    return piece


def window(rng: Rng, width: float, low: float, high: float) -> Piece:
    """A window in a hole of `width` from `low` to `high`: pane, frame, bars and sill."""
    piece = Piece('window')
    middle, tall = (low + high) / 2, high - low
    frame = palette.wood(rng, painted=0.75)
    piece.add(
        palette.window_pane(rng), box((width, 0.01, tall), (0, -THICKNESS + 0.03, middle), fit=True)
    )
    y, thick = -THICKNESS + 0.05, rng.uniform(0.04, 0.08)
    for s in (-1, 1):
        piece.add(
            frame,
            box((thick, 0.06, tall), (s * (width - thick) / 2, y, middle)),
            box((width, 0.06, thick), (0, y, middle + s * (tall - thick) / 2)),
        )
    for k in range(1, int(rng.integers(1, 4))):
        piece.add(frame, box((thick * 0.8, 0.05, tall), (-width / 2 + k * width / 2, y, middle)))
    if rng.random() < 0.35:
        piece.add(
            frame, box((width, 0.05, thick * 0.6), (0, y, low + tall * rng.choice([0.5, 0.7])))
        )
    if rng.random() < 0.6:
        piece.add(frame, box((width + 0.1, 0.1, 0.03), (0, 0.03, low - 0.015)))
    return piece


def curtains(rng: Rng, width: float, low: float, high: float) -> Piece:
    """Curtains on a rod at both sides of a window, or closed, to the sill or to the floor."""
    piece = Piece('curtain')
    cloth = palette.fabric(rng, pattern=0.35)
    top = high + rng.uniform(0.06, 0.2)
    bottom = 0.04 if rng.random() < 0.5 else low - 0.1
    closed = rng.random() < 0.2
    for s in (-1, 1):
        span = (width / 2 + 0.12) if closed else rng.uniform(0.22, 0.45)
        x = s * (width / 4 + 0.05) if closed else s * (width / 2 + 0.05)
        sheet = drape(
            span,
            top - bottom,
            (x, 0.075, (top + bottom) / 2),
            folds=span / rng.uniform(0.08, 0.14),
            depth=0.028,
            columns=int(40 + 60 * span),
        )
        piece.add(cloth, sheet)
    piece.add(
        palette.metal(rng),
        tube((-width / 2 - 0.3, 0.075, top), (width / 2 + 0.3, 0.075, top), 0.014),
    )
    return piece


def blinds(rng: Rng, width: float, low: float, high: float) -> Piece:
    """Slatted or roller blinds, pulled down part of the way."""
    piece = Piece('blinds')
    colour = palette.plain(rng) if rng.random() < 0.3 else palette.grey(rng, 0.6, 0.97)
    reach = (high - low) * rng.uniform(0.35, 1.0)
    piece.add(colour, box((width + 0.06, 0.06, 0.06), (0, 0.04, high + 0.02)))
    if rng.random() < 0.65:
        tilt, step = rng.uniform(0.75, 1.35), rng.uniform(0.035, 0.06)
        for k in range(int(reach / step)):
            z = high - 0.02 - k * step
            slat = box((width + 0.02, step * 1.2, 0.004), (0, 0.04, z)).pitched(tilt, (0, 0.04, z))
            piece.add(colour, slat)
    else:
        piece.add(
            palette.fabric(rng, colour.base, pattern=0.2),
            box((width + 0.02, 0.008, reach), (0, 0.04, high - reach / 2)),
        )
    return piece
