# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes of simple solids: the bricks from which rooms are built.

Metres, z up, faces wind counter-clockwise seen from outside. Texture coordinates are metres on the
surface (`Material.scale` says how many of them one repetition of the texture covers), or 0..1 over
each face where a picture has to fill the face.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Point = Sequence[float] | Doubles


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh: vertices (V, 3) float64 metres, faces (F, 3) int32, uv (V, 2) float64."""

    vertices: Doubles
    faces: npt.NDArray[np.int32]
    uv: Doubles

    def moved(self, offset: Point, yaw: float = 0.0) -> 'Mesh':
        """The mesh turned by `yaw` radians about the z axis, then shifted by `offset` metres."""
        return Mesh(turned(self.vertices, yaw) + np.asarray(offset, float), self.faces, self.uv)

    def pitched(self, angle: float, pivot: Point = (0.0, 0.0, 0.0)) -> 'Mesh':
        """The mesh turned by `angle` radians about the line through `pivot` along the x axis."""
        about = np.asarray(pivot, float)
        c, s = math.cos(angle), math.sin(angle)
        matrix = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        return Mesh((self.vertices - about) @ matrix.T + about, self.faces, self.uv)

    @property
    def bounds(self) -> Doubles:
        """The axis-aligned box (2, 3) that holds the mesh: lowest corner, highest corner."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])


def turned(points: Doubles, yaw: float) -> Doubles:
    """Points (N, 3) turned by `yaw` radians about the z axis."""
    if yaw == 0.0:
        return points
    c, s = math.cos(yaw), math.sin(yaw)
    return np.asarray(points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))


@functools.cache
def _unit_box() -> tuple[Doubles, npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Corners (24, 3) in -.5..+.5, faces (12, 3) and the two axes (24, 2) that carry uv."""
    corners: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    axes: list[tuple[int, int]] = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        # Upright faces carry their texture upright: v is always the z axis where there is one.
        texture_axes = (v, u) if u == 2 else (u, v)
        for side in (-0.5, 0.5):
            first = len(corners)
            for a, b in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
                corner = [0.0, 0.0, 0.0]
                corner[axis], corner[u], corner[v] = side, a, b
                corners.append(corner)
                axes.append(texture_axes)
            a, b, c, d = first, first + 1, first + 2, first + 3
            faces += [(a, b, c), (a, c, d)] if side > 0 else [(a, c, b), (a, d, c)]
    return np.array(corners), np.array(faces, np.int32), np.array(axes)


def box(
    size: Point, centre: Point = (0.0, 0.0, 0.0), yaw: float = 0.0, *, fit: bool = False
) -> Mesh:
    """A box of `size` (x, y, z) about `centre`; with `fit` each face carries uv 0..1."""
    corners, faces, axes = _unit_box()
    local = corners * np.asarray(size, float)
    source = corners if fit else local
    flat = np.take_along_axis(source, axes, axis=1)
    low = (
        0.5
        if fit
        else np.take_along_axis(np.broadcast_to(np.asarray(size, float) / 2, (24, 3)), axes, axis=1)
    )
    return Mesh(turned(local, yaw) + np.asarray(centre, float), faces, flat + low)


@functools.lru_cache(maxsize=64)
def _grid_faces(rows: int, columns: int) -> npt.NDArray[np.int32]:
    """Triangles of a grid of vertices (rows, columns) in row-major order."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None]).ravel()
    right, up, both = first + 1, first + columns, first + columns + 1
    quads = np.stack([np.stack([first, right, both], -1), np.stack([first, both, up], -1)], 1)
    return quads.reshape(-1, 3).astype(np.int32)


@functools.lru_cache(maxsize=64)
def _unit_superellipsoid(e1: float, e2: float, steps: int) -> tuple[Doubles, Doubles]:
    """Vertices in -.5..+.5 and (longitude, latitude) in 0..1 of a superellipsoid."""
    latitude = np.linspace(-math.pi / 2, math.pi / 2, steps + 1)
    longitude = np.linspace(-math.pi, math.pi, 2 * steps + 1)
    u, v = np.meshgrid(latitude, longitude, indexing='ij')

    def power(wave: Doubles, exponent: float) -> Doubles:
        return np.asarray(np.sign(wave) * np.abs(wave) ** exponent, float)

    ring = power(np.cos(u), e1)
    points = np.stack(
        [ring * power(np.cos(v), e2), ring * power(np.sin(v), e2), power(np.sin(u), e1)], -1
    )
    uv = np.stack([(v + math.pi) / (2 * math.pi), (u + math.pi / 2) / math.pi], -1)
    return points.reshape(-1, 3) / 2, uv.reshape(-1, 2)


def superellipsoid(
    size: Point,
    centre: Point = (0.0, 0.0, 0.0),
    roundness: tuple[float, float] = (0.3, 0.3),
    yaw: float = 0.0,
    *,
    steps: int = 8,
) -> Mesh:
    """A rounded solid of `size` about `centre`.

    Args:
        size: Extent along x, y and z in metres.
        centre: Its middle in metres.
        roundness: Exponents from pole to pole and round the waist: .1 a box, 1 an ellipsoid.
        yaw: Turn about the z axis in radians.
        steps: Rows of faces from pole to pole; twice as many round the waist.

    Source: Barr, Superquadrics and angle-preserving transformations, IEEE CG&A 1981.
    """
    unit, uv = _unit_superellipsoid(round(roundness[0], 2), round(roundness[1], 2), steps)
    extent = np.asarray(size, float)
    around = 2.0 * (extent[0] + extent[1])
    along = extent[2] + 0.5 * (extent[0] + extent[1])
    return Mesh(
        turned(unit * extent, yaw) + np.asarray(centre, float),
        _grid_faces(steps + 1, 2 * steps + 1),
        uv * np.array([around, along]),
    )


def lathe(
    profile: Sequence[tuple[float, float]],
    centre: Point = (0.0, 0.0, 0.0),
    *,
    stretch: tuple[float, float] = (1.0, 1.0),
    sides: int = 12,
) -> Mesh:
    """The solid that a line of (radius, z) points sweeps about the z axis.

    The line starts at the lowest outside point: a bowl is drawn up its outside and down its
    inside. `stretch` widens x and y.
    """
    line = np.asarray(profile, float)
    angle = np.linspace(0.0, 2.0 * math.pi, sides + 1)
    shape = (len(line), sides + 1)
    points = np.stack(
        [
            line[:, :1] * np.cos(angle) * stretch[0],
            line[:, :1] * np.sin(angle) * stretch[1],
            np.broadcast_to(line[:, 1:], shape),
        ],
        -1,
    )
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    uv = np.stack(
        [np.broadcast_to(angle * line[:, 0].max(), shape), np.broadcast_to(along[:, None], shape)],
        -1,
    )
    return Mesh(
        points.reshape(-1, 3) + np.asarray(centre, float),
        _grid_faces(*shape),
        np.ascontiguousarray(uv.reshape(-1, 2)),
    )


def cylinder(
    radius: float,
    height: float,
    centre: Point = (0.0, 0.0, 0.0),
    *,
    top_radius: float | None = None,
    sides: int = 12,
) -> Mesh:
    """An upright closed cylinder (or cone) of `height` about `centre`."""
    top = radius if top_radius is None else top_radius
    low, high = -height / 2, height / 2
    return lathe([(0.0, low), (radius, low), (top, high), (0.0, high)], centre, sides=sides)


def tube(start: Point, end: Point, radius: float, *, sides: int = 6) -> Mesh:
    """A straight bar of round section from `start` to `end`, open at its ends."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    axis = last - first
    length = float(np.linalg.norm(axis))
    axis = axis / max(length, 1e-9)
    helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    across = np.cross(helper, axis)
    across /= np.linalg.norm(across)
    other = np.cross(axis, across)
    angle = np.linspace(0.0, 2.0 * math.pi, sides + 1)[:, None]
    ring = radius * (np.cos(angle) * across + np.sin(angle) * other)
    uv = np.concatenate([angle * radius, np.zeros_like(angle)], 1)
    return Mesh(
        np.concatenate([first + ring, last + ring]),
        _grid_faces(2, sides + 1),
        np.concatenate([uv, uv + np.array([0.0, length])]),
    )


def drape(
    width: float,
    height: float,
    centre: Point = (0.0, 0.0, 0.0),
    *,
    folds: float = 4.0,
    depth: float = 0.04,
    phase: float = 0.0,
    columns: int = 36,
) -> Mesh:
    """A hanging cloth in the x-z plane about `centre`, waving along y, with two sides."""
    t = np.linspace(0.0, 1.0, columns + 1)
    wave = depth * np.sin(2.0 * math.pi * folds * t + phase)
    points = np.stack(
        [
            np.stack([(t - 0.5) * width, wave * gather, np.full_like(t, z)], -1)
            for gather, z in ((1.0, -height / 2), (0.6, height / 2))
        ]
    )
    uv = np.stack([np.stack([t * width, np.full_like(t, v)], -1) for v in (0.0, height)])
    front = _grid_faces(2, columns + 1)
    vertices = points.reshape(-1, 3) + np.asarray(centre, float)
    behind = vertices + np.array([0.0, 0.002, 0.0])
    faces = np.concatenate([front, front[:, ::-1] + len(vertices)]).astype(np.int32)
    flat = uv.reshape(-1, 2)
    return Mesh(np.concatenate([vertices, behind]), faces, np.concatenate([flat, flat]))


def heap(size: Point, centre: Point, rng: np.random.Generator, *, steps: int = 8) -> Mesh:
    """A crumpled lump (clothes on a chair, a blanket) of about `size` about `centre`."""
    lump = superellipsoid(size, (0.0, 0.0, 0.0), (0.8, 0.7), steps=steps)
    grid = lump.vertices.reshape(steps + 1, 2 * steps + 1, 3).copy()
    bumps = rng.uniform(0.72, 1.08, (*grid.shape[:2], 1))
    bumps[:, -1] = bumps[:, 0]
    bumps[0], bumps[-1] = bumps[0, 0], bumps[-1, 0]
    grid *= bumps
    return Mesh(grid.reshape(-1, 3) + np.asarray(centre, float), lump.faces, lump.uv)
