# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Looks of surfaces: a material is a few numbers, and its texture is drawn from them."""

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.synthetic import patterns
from diffpixel_core.synthetic.patterns import Texture


class MaterialError(DiffPixelError):
    """A material of a kind that has no texture."""


@dataclass(frozen=True, slots=True)
class Material:
    """The look of a surface. Equal materials have equal textures, so cache by material.

    Attributes:
        kind: One of `KINDS`.
        base: Main colour, red, green and blue as shown on a screen, 0..1.
        scale: Units of uv (metres, or 1 face for pictures) that one repetition of the texture
            covers: look the texture up at `uv / scale`, repeating.
        seed: Draws the details.
        emission: Light it gives off by itself, 0 none, 1 its own colour at full brightness.
        transparent_to_depth: True where a depth camera sees nothing (a window).
        glossy: Share of mirror-like reflection, 0 matt .. 1 mirror; depth cameras lose such pixels.
    """

    kind: str
    base: tuple[float, float, float]
    scale: float = 1.0
    seed: int = 0
    emission: float = 0.0
    transparent_to_depth: bool = False
    glossy: float = 0.0


def _tinted(material: Material, brightness: npt.ArrayLike) -> Texture:
    """The base colour times a brightness (size, size)."""
    return np.asarray(
        np.asarray(brightness, np.float32)[..., None] * np.asarray(material.base, np.float32),
        np.float32,
    )


def _mixed(mask: npt.NDArray[np.bool_], one: Texture, other: npt.ArrayLike) -> Texture:
    """`one` where the mask is set, the colour `other` elsewhere."""
    return np.where(mask[..., None], one, np.asarray(other, np.float32)).astype(np.float32)


def _second_colour(material: Material, rng: np.random.Generator) -> Texture:
    """A colour that goes with the base: the base made lighter, darker or turned, or any other."""
    base = np.asarray(material.base, np.float32)
    choice = rng.random()
    if choice < 0.4:
        return np.asarray(np.clip(base * rng.uniform(0.45, 1.6), 0.03, 0.97), np.float32)
    if choice < 0.6:
        return np.asarray(0.5 * np.roll(base, 1) + 0.5 * base.mean(), np.float32)
    other = rng.uniform(0.1, 0.95, 3)
    return np.asarray(0.5 * other + 0.5 * other.mean(), np.float32)


def _plain(material: Material, rng: np.random.Generator, size: int) -> Texture:
    return _tinted(material, np.ones((size, size), np.float32))


def _plaster(material: Material, rng: np.random.Generator, size: int) -> Texture:
    strength = rng.uniform(0.01, 0.035)
    return _tinted(material, 1 + strength * patterns.cloud(rng, size, 2, 64))


def _concrete(material: Material, rng: np.random.Generator, size: int) -> Texture:
    return _tinted(
        material, 1 + 0.04 * patterns.cloud(rng, size) + 0.04 * patterns.cloud(rng, size, 32, 64)
    )


def _wood(material: Material, rng: np.random.Generator, size: int) -> Texture:
    return _tinted(material, 1 + rng.uniform(0.03, 0.14) * patterns.grain(rng, size))


def _planks(material: Material, rng: np.random.Generator, size: int) -> Texture:
    rows = int(rng.integers(5, 10))
    x, y = patterns.axes(size)
    row = (y * rows).astype(np.int32)
    shift = rng.random(rows).astype(np.float32)[row]
    board = ((x + shift) * 2).astype(np.int32) % 2 + 2 * row
    tone = (1 + rng.normal(0, rng.uniform(0.03, 0.13), 2 * rows + 2)).astype(np.float32)[board]
    seam = (np.mod(y * rows, 1) < 0.05) | (np.mod((x + shift) * 2, 1) < 0.012)
    bright = (tone + 0.06 * patterns.grain(rng, size)) * np.where(seam, 0.62, 1)
    return _tinted(material, bright)


def _fabric(material: Material, rng: np.random.Generator, size: int) -> Texture:
    x, y = patterns.axes(size)
    threads = size // 4
    weave = np.sin(2 * np.pi * threads * x) + np.sin(2 * np.pi * threads * y)
    return _tinted(
        material,
        1 + rng.uniform(0.01, 0.06) * weave + rng.uniform(0.02, 0.08) * patterns.cloud(rng, size),
    )


def _stripes(material: Material, rng: np.random.Generator, size: int) -> Texture:
    x, y = patterns.axes(size)
    along = x if rng.random() < 0.6 else y
    wave = np.mod(along * int(rng.integers(3, 12)), 1) < rng.uniform(0.25, 0.75)
    return _mixed(wave, _fabric(material, rng, size), _second_colour(material, rng))


def _check(material: Material, rng: np.random.Generator, size: int) -> Texture:
    x, y = patterns.axes(size)
    count = int(rng.integers(2, 8))
    one, two = np.mod(x * count, 1) < 0.5, np.mod(y * count, 1) < 0.5
    other = _second_colour(material, rng)
    share = (
        (one.astype(np.float32) + two) / 2 if rng.random() < 0.6 else (one ^ two).astype(np.float32)
    )
    mix = share[..., None]
    return np.asarray(_fabric(material, rng, size) * (1 - mix) + other * mix, np.float32)


def _dots(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """Spots, flowers or leaves scattered over cloth."""
    image = np.ascontiguousarray(_fabric(material, rng, size))
    colours = [_second_colour(material, rng) for _ in range(3)]
    for _ in range(int(rng.integers(12, 40))):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        radius = int(size * rng.uniform(0.015, 0.07)) + 1
        colour = colours[int(rng.integers(3))].tolist()
        cv2.ellipse(
            image,
            centre,
            (radius, max(1, int(radius * rng.uniform(0.4, 1)))),
            float(rng.uniform(0, 180)),
            0,
            360,
            colour,
            -1,
        )
    return image


def _carpet(material: Material, rng: np.random.Generator, size: int) -> Texture:
    speckle = rng.standard_normal((size, size), dtype=np.float32)
    return _tinted(
        material, 1 + rng.uniform(0.05, 0.2) * speckle + 0.07 * patterns.cloud(rng, size)
    )


def _rug(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """A rug that fills the face: bands along its border and a field with a figure."""
    x, y = patterns.axes(size)
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    colours = np.stack(
        [np.asarray(material.base, np.float32)] + [_second_colour(material, rng) for _ in range(3)]
    )
    bands = np.digitize(edge, np.sort(rng.uniform(0.02, 0.2, 3))).astype(np.int32)
    count = int(rng.integers(2, 9))
    figure = np.abs(np.mod(x * count, 1) - 0.5) + np.abs(np.mod(y * count, 1) - 0.5) < rng.uniform(
        0.2, 0.5
    )
    bands = np.where((bands == 3) & figure & (rng.random() < 0.6), 1, bands)
    speckle = 1 + 0.12 * rng.standard_normal((size, size, 1), dtype=np.float32)
    return np.asarray(colours[bands] * speckle, np.float32)


def _grouted(
    material: Material, rng: np.random.Generator, size: int, rows: int, columns: int, *, bond: bool
) -> Texture:
    x, y = patterns.axes(size)
    row = (y * rows).astype(np.int32)
    u = x * columns + (0.5 * (row % 2) if bond else 0)
    column = u.astype(np.int32) % columns
    tone = (1 + rng.normal(0, rng.uniform(0.01, 0.09), (rows, columns))).astype(np.float32)[
        row, column
    ]
    width = rng.uniform(0.02, 0.07)
    grout = (np.mod(u, 1) < width * columns / rows if columns < rows else np.mod(u, 1) < width) | (
        np.mod(y * rows, 1) < width
    )
    stone = _tinted(material, tone + 0.04 * patterns.cloud(rng, size))
    return _mixed(~grout, stone, [float(rng.uniform(0.35, 0.85))] * 3)


def _tile(material: Material, rng: np.random.Generator, size: int) -> Texture:
    count = int(rng.integers(2, 7))
    return _grouted(material, rng, size, count, count, bond=False)


def _brick(material: Material, rng: np.random.Generator, size: int) -> Texture:
    return _grouted(material, rng, size, 12, 4, bond=True)


def _cardboard(material: Material, rng: np.random.Generator, size: int) -> Texture:
    x, y = patterns.axes(size)
    image = _tinted(
        material, (1 + 0.05 * patterns.cloud(rng, size)) * np.where(np.abs(x - 0.5) < 0.05, 0.85, 1)
    )
    if rng.random() < 0.5:
        label = (np.abs(x - rng.uniform(0.2, 0.8)) < 0.12) & (
            np.abs(y - rng.uniform(0.2, 0.8)) < 0.08
        )
        image = _mixed(~label, image, rng.uniform(0.1, 1, 3))
    return image


def _art(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """A picture that fills the face: colour fields, shapes or a landscape."""
    tones = [patterns.cloud(rng, size, 1 + int(rng.integers(3)), 16) for _ in range(3)]
    image = np.ascontiguousarray(
        np.clip(np.stack(tones, -1) * 0.2 + rng.uniform(0.15, 0.85, 3), 0, 1), np.float32
    )
    grey = np.float32(rng.uniform(0.2, 0.9))
    image = grey * image.mean(-1, keepdims=True) + (1 - grey) * image
    style = rng.random()
    if style < 0.35:
        horizon = int(size * rng.uniform(0.35, 0.75))
        image[:horizon] = image[:horizon] * 0.35 + rng.uniform(0.4, 0.65, 3).astype(np.float32)
        image[horizon:] *= rng.uniform(0.4, 0.9, 3).astype(np.float32)
    elif style < 0.75:
        for _ in range(int(rng.integers(3, 14))):
            colour = rng.uniform(0, 1, 3).tolist()
            a = rng.integers(0, size, 2)
            b = np.minimum(a + rng.integers(size // 16, size // 2, 2), size)
            if rng.random() < 0.5:
                image[a[1] : b[1], a[0] : b[0]] = colour
            else:
                cv2.circle(image, (int(a[0]), int(a[1])), int(b[0] - a[0]) // 2 + 2, colour, -1)
    elif style < 0.85:
        image = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.4:
        x, y = patterns.axes(size)
        margin = rng.uniform(0.05, 0.2)
        inside = (np.minimum(x, 1 - x) > margin) & (np.minimum(y, 1 - y) > margin)
        image = _mixed(inside, image, [float(rng.uniform(0.75, 1))] * 3)
    return image


def _screen(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """A screen that fills the face: off (dark, with a sheen) or on (windows of text, or a film)."""
    x, y = patterns.axes(size)
    if material.emission == 0.0:
        return _tinted(
            material, 1 + 0.8 * np.clip(1 - np.abs(x + y - rng.uniform(0.5, 1.5)) * 4, 0, 1)
        )
    if rng.random() < 0.4:
        return _art(material, rng, size)
    image = np.empty((size, size, 3), np.float32)
    image[:] = rng.uniform(0.05, 0.6, 3)
    for _ in range(int(rng.integers(1, 4))):
        a = rng.integers(0, size // 2, 2)
        b = a + rng.integers(size // 3, size // 2 + 1, 2)
        image[a[1] : b[1], a[0] : b[0]] = rng.choice([0.12, 0.95])
        patterns.write_lines(image[a[1] : b[1], a[0] : b[0]], rng, 0.5)
    return image


def _paper(material: Material, rng: np.random.Generator, size: int) -> Texture:
    image = np.ascontiguousarray(_tinted(material, np.ones((size, size), np.float32)))
    if rng.random() < 0.7:
        patterns.write_lines(image, rng, float(rng.uniform(0.1, 0.6)))
    if rng.random() < 0.35:
        a = rng.integers(size // 8, size // 2, 2)
        image[a[1] : a[1] + size // 3, a[0] : a[0] + size // 3] = rng.uniform(0, 1, 3)
    return image


def _whiteboard(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """A board that fills the face, with some scribbles."""
    image = np.ascontiguousarray(_tinted(material, 1 + 0.01 * patterns.cloud(rng, size, 1, 8)))
    inks = ((0.1, 0.1, 0.1), (0.1, 0.15, 0.7), (0.75, 0.1, 0.1), (0.05, 0.45, 0.15))
    for _ in range(int(rng.integers(0, 9))):
        start, count = rng.uniform(0.08, 0.8, 2), int(rng.integers(5, 25))
        steps = np.cumsum(rng.normal(0, 0.015, (count, 2)) + np.array([0.01, 0]), axis=0)
        points = ((start + steps) * size).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(
            image, [points], isClosed=False, color=inks[int(rng.integers(4))], thickness=1
        )
    return image


def _spines(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """Backs of books side by side, filling the face."""
    count = int(rng.integers(10, 26))
    edges = np.sort(rng.random(count - 1))
    x, y = patterns.axes(size)
    book = np.searchsorted(edges, x[0])
    colours = np.clip(
        rng.uniform(0.08, 0.9, (count, 3)) * 0.7 + 0.3 * np.asarray(material.base), 0, 1
    ).astype(np.float32)
    image = np.broadcast_to(colours[book], (size, size, 3)).copy()
    tops = rng.uniform(0.0, 0.12, count)[book]
    image[y < tops] = 0.05
    image[(np.abs(y - rng.uniform(0.2, 0.8, count)[book]) < 0.06) & (y > tops)] *= 1.5
    gaps = np.flatnonzero(np.diff(book))
    image[:, gaps] *= 0.4
    return image


def _sky(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """The view through a window, filling the face: sky above, roofs, trees or nothing below."""
    x, y = patterns.axes(size)
    image = _tinted(material, 1 - 0.25 * y + 0.05 * patterns.cloud(rng, size, 1, 8))
    choice = rng.random()
    if choice < 0.4:
        edge = rng.uniform(0.35, 0.9) + 0.12 * patterns.noise(rng, size, 8, 1)[0] - 0.06
        leaves = rng.uniform([0.1, 0.2, 0.05], [0.4, 0.55, 0.3]).astype(np.float32)
        green = (1 + 0.35 * patterns.cloud(rng, size, 4, 64))[..., None] * leaves
        image = np.where((y > edge)[..., None], green, image)
    elif choice < 0.7:
        edge = rng.uniform(0.2, 0.9, 6)[(x[0] * 5.999).astype(np.int32)]
        stone = rng.uniform(0.3, 0.8, 3).astype(np.float32)
        panes = (np.mod(x * 18, 1) < 0.45) & (np.mod(y * 14, 1) < 0.5)
        front = np.where(panes[..., None], stone * 0.45, stone)
        image = np.where((y > edge)[..., None], front, image)
    return np.asarray(image, np.float32)


def _mirror(material: Material, rng: np.random.Generator, size: int) -> Texture:
    """A blurred reflection of a room that never was, filling the face."""
    _, y = patterns.axes(size)
    image = _tinted(
        material,
        0.75 + 0.35 * (1 - y) * rng.uniform(0.2, 1) + 0.04 * patterns.cloud(rng, size, 1, 4),
    )
    image = np.ascontiguousarray(image)
    image[int(size * rng.uniform(0.6, 0.9)) :] *= rng.uniform(0.4, 0.8, 3).astype(np.float32)
    for _ in range(int(rng.integers(1, 5))):
        a = rng.integers(0, size, 2)
        b = a + rng.integers(size // 10, size // 2, 2)
        image[a[1] : b[1], a[0] : b[0]] = rng.uniform(0.1, 0.95, 3)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), size / 40), np.float32)


def _metal(material: Material, rng: np.random.Generator, size: int) -> Texture:
    brushed = patterns.noise(rng, size, 2, size) - 0.5
    return _tinted(material, 1 + 0.12 * brushed + 0.1 * (patterns.noise(rng, size, 1, 3) - 0.5))


def _marble(material: Material, rng: np.random.Generator, size: int) -> Texture:
    veins = np.abs(patterns.cloud(rng, size, 2, 64))
    speck = (
        rng.random((size, size), dtype=np.float32)
        if rng.random() < 0.5
        else np.ones((size, size), np.float32)
    )
    return _tinted(material, np.clip(0.72 + 0.4 * veins, 0.5, 1.08) * (0.75 + 0.25 * speck))


def _leaves(material: Material, rng: np.random.Generator, size: int) -> Texture:
    return _tinted(material, 1 + 0.4 * patterns.cloud(rng, size, 4, 64))


def _wallpaper(material: Material, rng: np.random.Generator, size: int) -> Texture:
    x, y = patterns.axes(size)
    other = np.clip(
        np.asarray(material.base) * rng.uniform(0.75, 1.15) + rng.normal(0, 0.03, 3), 0, 1
    )
    if rng.random() < 0.6:
        figure = np.mod(x * int(rng.integers(3, 10)), 1) < rng.uniform(0.2, 0.6)
    else:
        count = int(rng.integers(2, 6))
        figure = np.abs(np.mod(x * count, 1) - 0.5) + np.abs(np.mod(y * count, 1) - 0.5) < 0.3
    return _mixed(~figure, _plaster(material, rng, size), other.tolist())


KINDS: dict[str, Callable[[Material, np.random.Generator, int], Texture]] = {
    'plain': _plain,
    'emit': _plain,
    'plaster': _plaster,
    'concrete': _concrete,
    'wood': _wood,
    'planks': _planks,
    'fabric': _fabric,
    'stripes': _stripes,
    'check': _check,
    'dots': _dots,
    'carpet': _carpet,
    'rug': _rug,
    'tile': _tile,
    'brick': _brick,
    'cardboard': _cardboard,
    'art': _art,
    'screen': _screen,
    'paper': _paper,
    'whiteboard': _whiteboard,
    'spines': _spines,
    'sky': _sky,
    'mirror': _mirror,
    'metal': _metal,
    'marble': _marble,
    'leaves': _leaves,
    'wallpaper': _wallpaper,
}


@functools.lru_cache(maxsize=256)
def texture(material: Material, size: int = 128) -> Texture:
    """The texture (size, size, 3) float32 in 0..1, screen colours, row 0 at the top (v = scale).

    Read-only, because equal materials share one array. Pictures (`art`, `screen`, `sky`, ...) fill
    it once; all other kinds repeat.

    Raises:
        MaterialError: If the material's kind is not one of `KINDS`.
    """
    if material.kind not in KINDS:
        raise MaterialError(
            f'material kind {material.kind!r} has no texture; use one of {", ".join(sorted(KINDS))}'
        )
    rng = np.random.default_rng([material.seed, zlib.crc32(material.kind.encode())])
    image = np.clip(KINDS[material.kind](material, rng, size), 0.0, 1.0).astype(np.float32)
    image.flags.writeable = False
    return image
