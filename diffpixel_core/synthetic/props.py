# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Small hard things that lie about: books, boxes, paper, cups, screens, plants."""

import math

import numpy as np

from diffpixel_core.synthetic import palette
from diffpixel_core.synthetic.pieces import Piece
from diffpixel_core.synthetic.shapes import box, heap, lathe, superellipsoid, tube

Rng = np.random.Generator


def book(rng: Rng) -> Piece:
    """A book or a few, lying."""
    piece = Piece('books')
    z = 0.0
    for _ in range(int(rng.integers(1, 5))):
        size = (rng.uniform(0.12, 0.24), rng.uniform(0.18, 0.32), rng.uniform(0.01, 0.05))
        piece.add(palette.plain(rng), box(size, (0, 0, z + size[2] / 2), float(rng.normal(0, 0.2))))
        z += size[2]
    return piece


def book_row(rng: Rng, width: float, height: float, depth: float) -> Piece:
    """Standing books in a shelf `width` x `height`, from x = 0, back at y = 0."""
    piece = Piece('books')
    x = 0.0
    end = width * (1.0 if rng.random() < 0.6 else rng.uniform(0.3, 1.0))
    if rng.random() < 0.35:
        size = (end, depth * rng.uniform(0.6, 0.9), height * rng.uniform(0.65, 0.92))
        spines = palette.picture(rng, 'spines', palette.any_colour(rng))
        piece.add(spines, box(size, (end / 2, size[1] / 2 + 0.02, size[2] / 2), fit=True))
        return piece
    covers = [palette.plain(rng) for _ in range(6)]
    while x < end - 0.02:
        thick = min(rng.uniform(0.015, 0.06), end - x)
        size = (thick * 0.96, depth * rng.uniform(0.55, 0.95), height * rng.uniform(0.55, 0.95))
        piece.add(
            covers[int(rng.integers(6))], box(size, (x + thick / 2, size[1] / 2, size[2] / 2))
        )
        x += thick if rng.random() < 0.93 else thick + 0.08
    return piece


def carton(rng: Rng) -> Piece:
    """A small box."""
    piece = Piece('box')
    size = rng.uniform([0.08, 0.08, 0.05], [0.34, 0.28, 0.28])
    piece.add(palette.cardboard(rng), box(size, (0, 0, size[2] / 2)))
    return piece


def big_carton(rng: Rng) -> Piece:
    """A box for the floor, closed or with open flaps, sometimes a second one on top."""
    piece = Piece('box')
    board = palette.cardboard(rng)
    size = rng.uniform([0.28, 0.24, 0.2], [0.62, 0.5, 0.5])
    w, d, h = size
    if rng.random() < 0.6:
        piece.add(board, box(size, (0, d / 2, h / 2)))
        if rng.random() < 0.4:
            top = size * rng.uniform(0.6, 1.0, 3)
            piece.add(
                palette.cardboard(rng),
                box(top, (0, d / 2, h + top[2] / 2), float(rng.normal(0, 0.15))),
            )
    else:
        for s in (-1, 1):
            piece.add(board, box((0.01, d, h), (s * w / 2, d / 2, h / 2)))
            piece.add(board, box((w, 0.01, h), (0, d / 2 + s * d / 2, h / 2)))
            flap = box((w * 0.5, d, 0.008), (s * w * 0.68, d / 2, h - 0.06))
            piece.add(board, flap)
        piece.add(board, box((w, d, h * 0.6), (0, d / 2, h * 0.3)))
    return piece


def paper(rng: Rng) -> Piece:
    """A sheet or a pile of paper."""
    piece = Piece('paper')
    for _ in range(int(rng.integers(1, 4))):
        thick = rng.uniform(0.002, 0.02)
        sheet = palette.picture(rng, 'paper', palette.clipped(rng.uniform(0.8, 0.97) * np.ones(3)))
        spot = (*rng.normal(0, 0.03, 2), thick / 2)
        piece.add(sheet, box((0.21, 0.297, thick), spot, float(rng.normal(0, 0.4)), fit=True))
    return piece


def cup(rng: Rng) -> Piece:
    """A cup, glass, bowl or vase."""
    piece = Piece('otherprop')
    r, h = rng.uniform(0.03, 0.08), rng.uniform(0.05, 0.18)
    material = palette.ceramic(rng) if rng.random() < 0.5 else palette.plain(rng, glossy=0.1)
    bottom = r * rng.uniform(0.5, 1.0)
    piece.add(
        material,
        lathe(
            [(0, 0), (bottom, 0), (r, h), (r * 0.9, h), (bottom * 0.8, 0.01), (0, 0.01)], sides=10
        ),
    )
    return piece


def bottle(rng: Rng) -> Piece:
    """A bottle, jar or spray can."""
    piece = Piece('otherprop')
    r, h = rng.uniform(0.025, 0.05), rng.uniform(0.12, 0.32)
    neck = r * rng.uniform(0.25, 0.9)
    piece.add(
        palette.plain(rng, glossy=0.2),
        lathe([(0, 0), (r, 0), (r, h * 0.6), (neck, h * 0.8), (neck, h), (0, h)], sides=10),
    )
    return piece


def gadget(rng: Rng) -> Piece:
    """A phone, radio, tissue box, tray, toy or another thing without a class."""
    piece = Piece('otherprop')
    size = rng.uniform([0.06, 0.05, 0.02], [0.3, 0.22, 0.2])
    choice = rng.random()
    if choice < 0.45:
        piece.add(palette.plain(rng), box(size, (0, 0, size[2] / 2)))
    elif choice < 0.8:
        piece.add(
            palette.plain(rng),
            superellipsoid(
                size,
                (0, 0, size[2] / 2),
                (float(rng.uniform(0.3, 1)), float(rng.uniform(0.3, 1))),
                steps=6,
            ),
        )
    else:
        piece.add(
            palette.fabric(rng),
            superellipsoid((0.16, 0.12, 0.16), (0, 0, 0.08), (0.9, 0.9), steps=6),
        )
        piece.add(
            palette.fabric(rng), superellipsoid((0.12, 0.12, 0.12), (0, 0, 0.2), (1, 1), steps=6)
        )
    return piece


def ball(rng: Rng) -> Piece:
    """A ball."""
    piece = Piece('otherprop')
    r = rng.uniform(0.06, 0.3)
    piece.add(palette.plain(rng), superellipsoid((2 * r, 2 * r, 2 * r), (0, r, r), (1, 1)))
    return piece


def keyboard(rng: Rng) -> Piece:
    """A keyboard."""
    piece = Piece('otherprop')
    piece.add(palette.grey(rng), box((rng.uniform(0.3, 0.46), 0.15, 0.02), (0, 0, 0.01)))
    return piece


def laptop(rng: Rng) -> Piece:
    """An open laptop computer."""
    piece = Piece('otherprop')
    shell = palette.grey(rng)
    w, d = rng.uniform(0.28, 0.38), rng.uniform(0.2, 0.26)
    piece.add(shell, box((w, d, 0.018), (0, 0, 0.009)))
    lean = rng.uniform(0.05, 0.5)
    hinge = (0, -d / 2, 0.01)
    piece.add(shell, box((w, 0.008, d), (0, -d / 2, d / 2 + 0.01)).pitched(lean, hinge))
    piece.add(
        palette.screen(rng),
        box((w * 0.94, 0.004, d * 0.9), (0, -d / 2 + 0.006, d / 2 + 0.01), fit=True).pitched(
            lean, hinge
        ),
    )
    return piece


def television(rng: Rng, width: float) -> Piece:
    """A flat screen on its foot, looking along +y."""
    piece = Piece('television')
    frame = palette.grey(rng, 0.03, 0.2) if rng.random() < 0.85 else palette.grey(rng, 0.6, 0.95)
    high = width * rng.uniform(0.52, 0.66)
    foot = rng.uniform(0.05, 0.16)
    piece.add(frame, box((width, rng.uniform(0.03, 0.07), high), (0, -0.02, foot + high / 2)))
    piece.add(
        palette.screen(rng),
        box((width - 0.04, 0.01, high - 0.04), (0, 0.015 + 0.005, foot + high / 2), fit=True),
    )
    piece.add(frame, box((0.06, 0.04, foot + 0.05), (0, -0.03, (foot + 0.05) / 2)))
    piece.add(frame, box((width * 0.4, 0.18, 0.015), (0, 0, 0.008)))
    return piece


def monitor(rng: Rng) -> Piece:
    """A computer screen."""
    return television(rng, float(rng.uniform(0.38, 0.66)))


def plant(rng: Rng, *, tall: bool = False) -> Piece:
    """A plant in a pot."""
    piece = Piece('otherprop')
    r = rng.uniform(0.12, 0.2) if tall else rng.uniform(0.05, 0.1)
    pot = r * rng.uniform(1.2, 2)
    high = rng.uniform(0.6, 1.4) if tall else rng.uniform(0.12, 0.3)
    piece.add(
        palette.plain(rng),
        lathe([(0, 0), (r * 0.7, 0), (r, pot), (r * 0.85, pot), (0, pot * 0.85)], (0, r, 0)),
    )
    green = palette.leaves(rng)
    if tall and rng.random() < 0.5:
        piece.add(
            palette.wood(rng, painted=0), tube((0, r, pot * 0.8), (0, r, pot + high * 0.5), 0.02)
        )
        piece.add(green, heap((r * 4, r * 4, high * 0.7), (0, r, pot + high * 0.6), rng))
        return piece
    for _ in range(int(rng.integers(6, 12))):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 1.8) * r
        leaf = superellipsoid(
            (r * 0.6, 0.01, high * rng.uniform(0.5, 1)), (0, 0, high * 0.4), (0.9, 0.9), steps=4
        )
        piece.add(green, leaf.pitched(-math.atan2(reach, high)).moved((0, r, pot * 0.85), angle))
    return piece


def floor_plant(rng: Rng) -> Piece:
    """A large plant for the floor."""
    return plant(rng, tall=True)


def small_plant(rng: Rng) -> Piece:
    """A small plant for a table."""
    return plant(rng)


def bin_for_waste(rng: Rng) -> Piece:
    """A waste bin."""
    piece = Piece('otherprop')
    r, h = rng.uniform(0.11, 0.2), rng.uniform(0.25, 0.6)
    material = palette.plain(rng) if rng.random() < 0.6 else palette.metal(rng)
    if rng.random() < 0.6:
        piece.add(
            material,
            lathe(
                [(0, 0), (r * 0.8, 0), (r, h), (r * 0.95, h), (r * 0.75, 0.02), (0, 0.02)],
                (0, r, 0),
            ),
        )
    else:
        piece.add(material, box((2 * r, 1.6 * r, h), (0, r, h / 2)))
        piece.add(palette.grey(rng, 0.05, 0.4), box((2.1 * r, 1.7 * r, 0.05), (0, r, h)))
    return piece


def cable(rng: Rng) -> Piece:
    """A cable in loops on the floor."""
    piece = Piece('otherprop')
    material = palette.grey(rng, 0.03, 0.9)
    point = np.array([0.0, 0.1])
    angle = rng.uniform(0, 6)
    for _ in range(10):
        angle += rng.normal(0.3, 0.5)
        step = point + 0.09 * np.array([math.cos(angle), math.sin(angle)])
        piece.add(material, tube((*point, 0.008), (*step, 0.008), 0.006, sides=4))
        point = step
    return piece


def microwave(rng: Rng) -> Piece:
    """A microwave oven, toaster or coffee machine."""
    piece = Piece('otherprop')
    w, d, h = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.36), rng.uniform(0.2, 0.34)
    body = palette.metal(rng) if rng.random() < 0.5 else palette.grey(rng)
    piece.add(body, box((w, d, h), (0, 0, h / 2)))
    piece.add(
        palette.grey(rng, 0.03, 0.12), box((w * 0.65, 0.01, h * 0.7), (-w * 0.1, d / 2, h / 2))
    )
    return piece


def pot(rng: Rng) -> Piece:
    """A cooking pot or pan."""
    piece = Piece('otherprop')
    r, h = rng.uniform(0.09, 0.16), rng.uniform(0.05, 0.2)
    body = palette.metal(rng)
    piece.add(body, lathe([(0, 0), (r, 0), (r, h), (r * 0.94, h), (r * 0.94, 0.02), (0, 0.02)]))
    piece.add(palette.grey(rng, 0.05, 0.2), box((r * 1.4, 0.03, 0.02), (r * 1.5, 0, h * 0.9)))
    return piece
