# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""People, standing or sitting, made of rounded solids; clothes they wear belong to the person."""

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import Mesh, superellipsoid, tube

Rng = np.random.Generator
Spot = tuple[float, float, float]


def _limb(a: Spot, b: Spot, thick: float) -> list[Mesh]:
    """A round limb from `a` to `b` with rounded joints."""
    joints = [superellipsoid((2 * thick,) * 3, end, (1, 1), steps=5) for end in (a, b)]
    return [tube(a, b, thick, sides=8), *joints]


def person(rng: Rng, *, sitting: bool | None = None) -> Piece:
    """A person who looks along +y; one who sits has the seat at z = .46, y = .3."""
    piece = Piece('person')
    sits = bool(rng.random() < 0.4) if sitting is None else sitting
    size = rng.uniform(0.88, 1.08)
    skin = palette.skin(rng)
    shirt, trousers = palette.fabric(rng, pattern=0.35), palette.fabric(rng, pattern=0.05)
    hair, shoe = (
        palette.plain(rng, palette.clipped(rng.uniform(0.03, 0.5) * np.array([1, 0.8, 0.6]))),
        palette.grey(rng, 0.03, 0.6),
    )
    build = rng.uniform(0.85, 1.25)
    hip_z, y = (0.52, 0.3) if sits else (0.9 * size, 0.3)
    chest = 0.56 * size
    shoulder = hip_z + 0.5 * size
    piece.add(
        shirt,
        superellipsoid(
            (0.38 * build, 0.23 * build, chest), (0, y, hip_z + chest / 2 - 0.02), (0.5, 0.7)
        ),
    )
    piece.add(
        trousers, superellipsoid((0.36 * build, 0.24 * build, 0.24), (0, y, hip_z), (0.6, 0.7))
    )
    head_z = shoulder + 0.24 * size
    piece.add(
        skin,
        tube((0, y, shoulder), (0, y, head_z), 0.055),
        superellipsoid((0.16, 0.2, 0.23), (0, y + 0.01, head_z), (1, 1)),
    )
    long = rng.uniform(0.1, 0.32)
    piece.add(
        hair,
        superellipsoid(
            (0.18, 0.2, long + 0.06), (0, y - 0.025, head_z + 0.1 - long / 2), (0.9, 0.9)
        ),
    )
    for s in (-1, 1):
        hip = (s * 0.1 * build, y, hip_z)
        if sits:
            knee = (s * rng.uniform(0.1, 0.18), y + 0.42 * size, 0.5)
            foot = (knee[0], knee[1] + rng.uniform(-0.05, 0.12), 0.07)
        else:
            stride = rng.uniform(-0.16, 0.16)
            knee = (s * 0.11, y + 0.5 * stride + 0.02, 0.48 * size)
            foot = (s * 0.12, y + stride, 0.07)
        piece.add(trousers, *_limb(hip, knee, 0.075 * build), *_limb(knee, foot, 0.055 * build))
        piece.add(
            shoe,
            superellipsoid((0.1, 0.27, 0.1), (foot[0], foot[1] + 0.06, 0.05), (0.6, 0.6), steps=5),
        )
        arm = (s * 0.21 * build, y, shoulder - 0.05)
        reach = rng.uniform(0.0, 0.3)
        elbow = (arm[0] + s * rng.uniform(0, 0.12), y + reach * 0.4, shoulder - 0.32 * size)
        hand = (
            elbow[0] - s * rng.uniform(0, 0.1),
            elbow[1] + reach,
            elbow[2] - 0.24 * size + reach * 0.6,
        )
        piece.add(shirt, *_limb(arm, elbow, 0.05 * build))
        piece.add(shirt if rng.random() < 0.5 else skin, tube(elbow, hand, 0.042, sides=8))
        piece.add(skin, superellipsoid((0.08, 0.09, 0.1), hand, (1, 1), steps=5))
    return piece
