# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What people own and leave about: pillows, bags, clothes, towels, shoes."""

import itertools

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import box, drape, heap, lathe, superellipsoid, tube

Rng = np.random.Generator


def pillow(rng: Rng, *, upright: bool, big: bool = False) -> Piece:
    """A pillow, lying or leaning back against what is behind it; its back edge at y = 0."""
    piece = Piece('pillow')
    w = rng.uniform(0.5, 0.8) if big else rng.uniform(0.32, 0.5)
    h = rng.uniform(0.38, 0.5) if big else w * rng.uniform(0.7, 1.05)
    thick = rng.uniform(0.12, 0.2)
    light = palette.clipped(rng.uniform(0.6, 0.95, 3)) if big and rng.random() < 0.6 else None
    cloth = palette.fabric(rng, light, pattern=0.4)
    if upright:
        mesh = superellipsoid((w, thick, h), (0, thick / 2, h / 2), (0.6, 0.6)).pitched(
            rng.uniform(0.1, 0.5), (0, 0, 0)
        )
    else:
        mesh = superellipsoid((w, h, thick), (0, h / 2, thick / 2), (0.7, 0.4))
    piece.add(cloth, mesh)
    return piece


def bag(rng: Rng) -> Piece:
    """A rucksack, handbag, shopping bag or suitcase, back at y = 0."""
    piece = Piece('bag')
    w, d, h = rng.uniform(0.26, 0.45), rng.uniform(0.14, 0.26), rng.uniform(0.3, 0.55)
    cloth = palette.fabric(rng, pattern=0.15)
    choice = rng.random()
    if choice < 0.45:
        piece.add(cloth, superellipsoid((w, d, h), (0, d / 2, h / 2), (0.5, 0.5)))
        piece.add(cloth, superellipsoid((w * 0.7, d * 0.5, h * 0.45), (0, d, h * 0.3), (0.4, 0.4)))
    elif choice < 0.75:
        piece.add(
            cloth,
            lathe(
                [(0, 0), (w * 0.5, 0), (w * 0.44, h * 0.75), (w * 0.4, h * 0.75), (0, h * 0.5)],
                (0, d / 2, 0),
                stretch=(1.0, d / w * 1.3),
                sides=12,
            ),
        )
        for s in (-1, 1):
            x = w * 0.2
            ring = [(-x, h * 0.72), (-x * 0.8, h), (x * 0.8, h), (x, h * 0.72)]
            for a, b in itertools.pairwise(ring):
                y = d / 2 + s * d * 0.4
                piece.add(cloth, tube((a[0], y, a[1]), (b[0], y, b[1]), 0.012, sides=4))
    else:
        case = palette.plain(rng) if rng.random() < 0.6 else cloth
        piece.add(case, superellipsoid((w, d, h * 1.25), (0, d / 2, h * 0.66), (0.15, 0.2)))
        piece.add(palette.grey(rng, 0.05, 0.3), box((w * 0.5, 0.03, 0.3), (0, 0.05, h * 1.3)))
    return piece


def clothes_pile(rng: Rng) -> Piece:
    """Clothes in a heap, of one to three cloths."""
    piece = Piece('clothes')
    for k in range(int(rng.integers(1, 4))):
        size = rng.uniform([0.28, 0.22, 0.08], [0.6, 0.45, 0.22])
        spot = (*rng.normal(0, 0.08, 2), size[2] * 0.3 + 0.05 * k)
        lump = heap(size, (0, 0, 0), rng).moved(spot, float(rng.uniform(0, 3)))
        np.maximum(lump.vertices[:, 2], 0.003 + 0.001 * k, out=lump.vertices[:, 2])
        piece.add(palette.fabric(rng), lump)
    return piece


def folded_clothes(rng: Rng) -> Piece:
    """A neat pile of folded clothes or towels."""
    piece = Piece(str(rng.choice(['clothes', 'towel'])))
    z = 0.0
    w, d = rng.uniform(0.22, 0.36), rng.uniform(0.2, 0.3)
    for _ in range(int(rng.integers(2, 6))):
        h = rng.uniform(0.03, 0.06)
        piece.add(
            palette.fabric(rng), superellipsoid((w, d, h), (0, 0, z + h / 2), (0.4, 0.15), steps=6)
        )
        z += h * 0.9
    return piece


def towel_on(rng: Rng, width: float, height: float) -> Piece:
    """A towel that hangs with its top at z = 0, back at y = 0."""
    piece = Piece('towel')
    cloth = palette.fabric(rng, pattern=0.35)
    piece.add(
        cloth,
        drape(
            width,
            height,
            (0, 0.03, -height / 2),
            folds=rng.uniform(0.5, 2),
            depth=0.012,
            columns=14,
        ),
    )
    piece.add(cloth, box((width, 0.05, 0.02), (0, 0.025, -0.005)))
    return piece


def shoes(rng: Rng) -> Piece:
    """A pair of shoes."""
    piece = Piece('clothes' if rng.random() < 0.2 else 'otherprop')
    material = palette.plain(rng)
    for s in (-1, 1):
        x = s * rng.uniform(0.06, 0.1)
        piece.add(
            material, superellipsoid((0.09, 0.27, 0.08), (x, 0.14, 0.04), (0.6, 0.6), steps=5)
        )
        piece.add(
            material, superellipsoid((0.08, 0.11, 0.12), (x, 0.06, 0.07), (0.5, 0.6), steps=5)
        )
    return piece


def basket(rng: Rng) -> Piece:
    """A laundry basket with clothes."""
    piece = Piece('otherprop')
    r, h = rng.uniform(0.18, 0.26), rng.uniform(0.35, 0.6)
    piece.add(
        palette.fabric(rng),
        lathe([(0, 0), (r * 0.85, 0), (r, h), (r * 0.93, h), (0, h * 0.6)], (0, r, 0)),
    )
    inside = Piece('clothes')
    inside.add(palette.fabric(rng), heap((1.5 * r, 1.5 * r, 0.2), (0, 0, 0.04), rng))
    piece.put(inside, 0, r, h * 0.85)
    return piece
