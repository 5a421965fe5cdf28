# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Pieces: named groups of meshes in their own frame, before they are put into a room.

The frame of a piece of furniture: x to the right across its width (0 in the middle), y from its
back (0, the wall behind it) to its front, z up from the floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from diffpixel_core.synthetic.materials import Material
from diffpixel_core.synthetic.shapes import Doubles, Mesh


@dataclass(frozen=True, slots=True)
class Part:
    """One mesh of a room, of one material.

    Attributes:
        mesh: Vertices in room coordinates, metres.
        label: NYU40 train id 0..39.
        instance: Number of the object that the part belongs to, from 1.
        material: Its look.
    """

    mesh: Mesh
    label: int
    instance: int
    material: Material


@dataclass(frozen=True, slots=True)
class NamedPart:
    """One mesh of a piece: `label` is an NYU40 name, `thing` counts the objects of the piece."""

    mesh: Mesh
    label: str
    thing: int
    material: Material


@dataclass(frozen=True, slots=True)
class Surface:
    """A free rectangle (x0, y0)-(x1, y1) at height `z` with `clearance` metres of air above it."""

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    clearance: float = 0.6


@dataclass(slots=True)
class Piece:
    """Parts in one frame. `label` names the parts that are added without a label of their own."""

    label: str
    parts: list[NamedPart] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    things: int = 1

    def add(self, material: Material, *meshes: Mesh, label: str | None = None) -> None:
        """Adds meshes to the piece's own object."""
        for mesh in meshes:
            self.parts.append(NamedPart(mesh, label or self.label, 0, material))

    def put(
        self, other: 'Piece', x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0
    ) -> None:
        """Adds another piece, turned by `yaw` and shifted, with objects of its own."""
        for part in other.parts_at((x, y, z), yaw):
            self.parts.append(
                NamedPart(part.mesh, part.label, part.thing + self.things, part.material)
            )
        self.things += other.things

    def parts_at(self, offset: tuple[float, float, float], yaw: float = 0.0) -> Iterator[NamedPart]:
        """The parts, turned by `yaw` and shifted by `offset`."""
        for part in self.parts:
            yield NamedPart(part.mesh.moved(offset, yaw), part.label, part.thing, part.material)

    @property
    def bounds(self) -> Doubles:
        """The box (2, 3) in the piece's frame that holds all parts."""
        boxes = np.stack([part.mesh.bounds for part in self.parts])
        return np.stack([boxes[:, 0].min(0), boxes[:, 1].max(0)])
