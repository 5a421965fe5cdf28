# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Materials drawn at random: what woods, cloths, paints and metals of real rooms look like."""

import numpy as np

from diffpixel_core.synthetic.materials import Material

Rng = np.random.Generator
Colour = tuple[float, float, float]


def _seed(rng: Rng) -> int:
    return int(rng.integers(1 << 30))


def clipped(colour: np.typing.ArrayLike) -> Colour:
    """A colour kept within .02..0.98."""
    red, green, blue = np.clip(np.asarray(colour, float), 0.02, 0.98).tolist()
    return red, green, blue


def any_colour(rng: Rng) -> Colour:
    """A colour of a made thing: grey, earthy or strong, dark or light."""
    choice = rng.random()
    if choice < 0.4:
        return clipped(rng.uniform(0.06, 0.95) + rng.normal(0, 0.025, 3))
    if choice < 0.65:
        return clipped(
            np.array([1.0, 0.85, 0.68]) * rng.uniform(0.15, 0.95) + rng.normal(0, 0.04, 3)
        )
    strong = rng.uniform(0.05, 0.95, 3)
    muted = float(rng.uniform(0.4, 0.8)) if choice < 0.9 else 0.1
    return clipped(muted * strong.mean() + (1 - muted) * strong)


def plain(rng: Rng, colour: Colour | None = None, *, glossy: float = 0.0) -> Material:
    """Smooth paint or plastic."""
    return Material('plain', any_colour(rng) if colour is None else clipped(colour), glossy=glossy)


def grey(rng: Rng, low: float = 0.05, high: float = 0.95) -> Material:
    """Smooth grey between two brightnesses."""
    value = rng.uniform(low, high)
    return Material('plain', clipped(value + rng.normal(0, 0.01, 3)))


def wood(rng: Rng, *, painted: float = 0.25) -> Material:
    """Wood from birch to wenge; painted smooth with probability `painted`."""
    if rng.random() < painted:
        value = rng.choice([rng.uniform(0.8, 0.97), rng.uniform(0.04, 0.2), rng.uniform(0.3, 0.8)])
        return Material('plain', clipped(value + rng.normal(0, 0.03, 3)), glossy=0.05)
    warm = np.array([0.62, 0.42, 0.25]) * rng.uniform(0.3, 1.5)
    red = rng.uniform(-0.06, 0.06)
    tone = clipped(warm * (1 + rng.normal(0, 0.05, 3)) + np.array([red, 0, -red]) * 0.5)
    return Material('wood', tone, float(rng.uniform(0.5, 1.5)), _seed(rng), glossy=0.03)


def fabric(rng: Rng, colour: Colour | None = None, *, pattern: float = 0.3) -> Material:
    """Cloth: plain, or striped, checked or printed with probability `pattern`."""
    kind = 'fabric'
    if rng.random() < pattern:
        kind = str(rng.choice(['stripes', 'check', 'dots']))
    base = any_colour(rng) if colour is None else colour
    return Material(kind, base, float(rng.uniform(0.3, 0.9)), _seed(rng))


def metal(rng: Rng) -> Material:
    """Steel, chrome, brass or black iron."""
    base = (0.55, 0.56, 0.58), (0.75, 0.76, 0.78), (0.65, 0.53, 0.3), (0.12, 0.12, 0.13)
    return Material(
        'metal', base[int(rng.integers(4))], 0.5, _seed(rng), glossy=float(rng.uniform(0.2, 0.5))
    )


def ceramic(rng: Rng) -> Material:
    """White or lightly tinted glaze."""
    tint = rng.normal(0, 0.02, 3) if rng.random() < 0.8 else rng.uniform(-0.25, 0.05, 3)
    return Material('plain', clipped(rng.uniform(0.82, 0.96) + tint), glossy=0.2)


def stone(rng: Rng) -> Material:
    """A worktop: granite, marble or laminate."""
    if rng.random() < 0.3:
        return wood(rng, painted=0.3)
    return Material('marble', any_colour(rng), float(rng.uniform(0.3, 1)), _seed(rng), glossy=0.1)


def wall_paint(rng: Rng, kind: str) -> Material:
    """The walls of a room of `kind`: mostly light plaster, tiles in wet rooms."""
    value = rng.uniform(0.55, 0.95)
    tint = rng.normal(0, 0.02, 3) if rng.random() < 0.6 else rng.uniform(-0.2, 0.05, 3)
    base = clipped(value + tint + np.array([0.02, 0.01, -0.02]))
    choice = rng.random()
    if kind in ('bathroom', 'kitchen') and choice < (0.6 if kind == 'bathroom' else 0.2):
        return Material('tile', base, float(rng.uniform(0.5, 1.6)), _seed(rng), glossy=0.1)
    if choice > 0.96:
        return Material(
            'brick', clipped(np.array([0.6, 0.35, 0.26]) * rng.uniform(0.7, 1.5)), 1.0, _seed(rng)
        )
    if choice > 0.93:
        return Material('concrete', clipped(rng.uniform(0.4, 0.75) * np.ones(3)), 2.0, _seed(rng))
    if choice > 0.83:
        return Material('wallpaper', base, float(rng.uniform(0.5, 1.2)), _seed(rng))
    if choice > 0.8:
        return Material('planks', wood(rng).base, 1.0, _seed(rng))
    return Material('plaster', base, 2.0, _seed(rng))


def floor_cover(rng: Rng, kind: str) -> Material:
    """The floor of a room of `kind`: boards, carpet, tiles or lino."""
    weights = {
        'bedroom': (0.45, 0.4, 0.05, 0.1),
        'living_room': (0.5, 0.3, 0.1, 0.1),
        'kitchen': (0.35, 0.0, 0.45, 0.2),
        'bathroom': (0.1, 0.0, 0.8, 0.1),
        'office': (0.2, 0.5, 0.1, 0.2),
        'corridor': (0.3, 0.3, 0.25, 0.15),
    }[kind]
    cover = str(rng.choice(['planks', 'carpet', 'tile', 'concrete'], p=weights))
    if cover == 'planks':
        base = wood(rng, painted=0.05).base
    elif cover == 'tile':
        base = clipped(rng.uniform(0.25, 0.9) + rng.normal(0, 0.05, 3))
    else:
        tint = rng.normal(0, 0.03, 3) if rng.random() < 0.75 else rng.uniform(-0.2, 0.1, 3)
        base = clipped(rng.uniform(0.2, 0.75) + tint)
    glossy = 0.12 if cover in ('tile', 'planks') else 0.0
    return Material(cover, base, float(rng.uniform(1.0, 2.2)), _seed(rng), glossy=glossy)


def picture(
    rng: Rng,
    kind: str,
    colour: Colour = (0.9, 0.9, 0.9),
    *,
    emission: float = 0.0,
    glossy: float = 0.0,
) -> Material:
    """A material whose texture fills a face (`art`, `rug`, ...); for `fit` boxes."""
    return Material(kind, clipped(colour), 1.0, _seed(rng), emission=emission, glossy=glossy)


def screen(rng: Rng) -> Material:
    """A screen, off or on."""
    if rng.random() < 0.6:
        return picture(rng, 'screen', (0.04, 0.045, 0.055), glossy=0.35)
    return picture(rng, 'screen', (0.9, 0.9, 0.9), emission=0.7, glossy=0.1)


def window_pane(rng: Rng) -> Material:
    """Glass with the sky behind; a depth camera measures nothing there."""
    bright = rng.uniform(0.75, 1.0) if rng.random() < 0.85 else rng.uniform(0.03, 0.15)
    base = clipped(np.array([0.88, 0.94, 1.0]) * bright)
    return Material(
        'sky', base, 1.0, _seed(rng), emission=1.0, transparent_to_depth=True, glossy=0.2
    )


def glow(rng: Rng) -> Material:
    """A lampshade or bulb; two of three are lit."""
    lit = rng.random() < 0.65
    base = clipped(np.array([1.0, 0.94, 0.8]) * rng.uniform(0.8, 1.0))
    return Material(
        'emit' if lit else 'fabric', base, 0.5, _seed(rng), emission=1.0 if lit else 0.0
    )


def cardboard(rng: Rng) -> Material:
    """Brown board, or a printed box."""
    brown = clipped(np.array([0.68, 0.51, 0.34]) * rng.uniform(0.7, 1.25))
    base = brown if rng.random() < 0.7 else any_colour(rng)
    return Material('cardboard', base, float(rng.uniform(0.25, 0.6)), _seed(rng))


def leaves(rng: Rng) -> Material:
    """Foliage."""
    base = clipped(rng.uniform([0.1, 0.25, 0.05], [0.35, 0.55, 0.25]))
    return Material('leaves', base, 0.4, _seed(rng))


def skin(rng: Rng) -> Material:
    """Human skin, light to dark."""
    return plain(rng, clipped(np.array([0.86, 0.66, 0.54]) * rng.uniform(0.35, 1.1)))
