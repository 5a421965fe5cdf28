# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An empty room that is being furnished: who stands where, and is there still room to walk?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.synthetic.openings import Hole
from diffpixel_core.synthetic.pieces import NamedPart, Piece
from diffpixel_core.synthetic.shapes import Doubles, turned

CELL = 0.1
WALKER_RADIUS = 0.25


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece stands: its frame's origin (metres) and turn, and its index among the boxes."""

    x: float
    y: float
    z: float
    yaw: float
    index: int


@dataclass(slots=True)
class Floorplan:
    """A room of `size` (L, W, H) with the boxes that are taken so far.

    Walls are numbered 0 (y = 0), 1 (x = L), 2 (y = W), 3 (x = 0); along them s runs
    counter-clockwise seen from above. `walkable` is the floor area in square metres that must
    stay free in one piece.
    """

    size: tuple[float, float, float]
    rng: np.random.Generator
    walkable: float
    parts: list[NamedPart] = field(default_factory=list)
    boxes: list[Doubles] = field(default_factory=list)
    holes: tuple[list[Hole], ...] = field(default_factory=lambda: ([], [], [], []))
    things: int = 0
    solid: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        """Starts with an empty floor."""
        shape = (int(self.size[1] / CELL) + 1, int(self.size[0] / CELL) + 1)
        self.solid = np.zeros(shape, np.uint8)

    def wall_length(self, wall: int) -> float:
        """Length of a wall in metres."""
        return self.size[0] if wall % 2 == 0 else self.size[1]

    def at_wall(self, wall: int, s: float, gap: float = 0.0) -> tuple[float, float, float]:
        """(x, y, yaw) of a frame `s` along a wall and `gap` metres off it that faces the room."""
        length, width, _ = self.size
        x, y = ((s, gap), (length - gap, s), (length - s, width - gap), (gap, width - s))[wall]
        return x, y, wall * math.pi / 2

    def box_of(self, bounds: Doubles, x: float, y: float, z: float, yaw: float) -> Doubles:
        """The upright box (2, 3) in the room of bounds in a piece's frame."""
        low, high = bounds
        corners = np.array([[a, b, 0.0] for a in (low[0], high[0]) for b in (low[1], high[1])])
        spun = turned(corners, yaw) + np.array([x, y, 0.0])
        return np.array([[*spun[:, :2].min(0), low[2] + z], [*spun[:, :2].max(0), high[2] + z]])

    def fits(self, spot: Doubles, ignore: Sequence[int] = (), margin: float = 0.015) -> bool:
        """Whether a box lies in the room and meets no box taken before, but those to `ignore`."""
        if (spot[0] < -0.01).any() or (spot[1] > np.array(self.size) + 0.01).any():
            return False
        if not self.boxes:
            return True
        taken = np.stack(self.boxes)
        meets = ((spot[0] < taken[:, 1] - margin) & (taken[:, 0] + margin < spot[1])).all(1)
        meets[list(ignore)] = False
        return not meets.any()

    def leaves_room(self, spot: Doubles) -> bool:
        """Whether a walker still has his share of the floor in one piece beside a new box."""
        solid = self.solid.copy()
        _stamp(solid, spot)
        return walkable_area(solid) >= self.walkable

    def claim(self, spot: Doubles, *, stands: bool) -> int:
        """Takes a box; `stands` means that nobody can walk there. Gives its index."""
        self.boxes.append(spot)
        if stands:
            _stamp(self.solid, spot)
        return len(self.boxes) - 1

    def insert(self, piece: Piece, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> None:
        """Adds a piece's parts to the room without asking."""
        for part in piece.parts_at((x, y, z), yaw):
            self.parts.append(
                NamedPart(part.mesh, part.label, part.thing + self.things, part.material)
            )
        self.things += piece.things

    def stand(
        self,
        piece: Piece,
        x: float,
        y: float,
        yaw: float,
        *,
        z: float = 0.0,
        ignore: Sequence[int] = (),
    ) -> Place | None:
        """Stands a piece there if it fits; None if it does not."""
        spot = self.box_of(piece.bounds, x, y, z, yaw)
        stands = bool(spot[0, 2] < 1.9)
        if not self.fits(spot, ignore) or (stands and not self.leaves_room(spot)):
            return None
        self.insert(piece, x, y, z, yaw)
        return Place(x, y, z, yaw, self.claim(spot, stands=stands))

    def against_wall(
        self,
        piece: Piece,
        *,
        wall: int | None = None,
        s: float | None = None,
        z: float = 0.0,
        corner: float = 0.3,
        tries: int = 22,
        turn: float = 0.0,
    ) -> Place | None:
        """Stands (or at z > 0 hangs) a piece against a wall; None if it fits nowhere tried."""
        bounds = piece.bounds
        half = (bounds[1, 0] - bounds[0, 0]) / 2
        middle = (bounds[1, 0] + bounds[0, 0]) / 2
        for _ in range(tries if s is None else 1):
            side = int(self.rng.integers(4)) if wall is None else wall
            length = self.wall_length(side)
            if length < 2 * half + 0.02:
                continue
            if s is not None:
                along = s
            elif self.rng.random() < corner:
                along = (half + 0.01 if self.rng.random() < 0.5 else length - half - 0.01) - middle
            else:
                along = float(self.rng.uniform(half, length - half)) - middle
            gap = 0.0 if z > 0.2 else 0.01
            x, y, yaw = self.at_wall(side, along, gap - min(0.0, float(bounds[0, 1])))
            # Sheets and pictures count as 6 cm thick, or they would hang on doors and windows.
            thick = np.maximum(bounds, [[-np.inf] * 3, [-np.inf, 0.06, -np.inf]])
            spot = self.box_of(thick, x, y, z, yaw)
            if not self.fits(spot):
                continue
            stands = z < 1.2
            if stands and not self.leaves_room(spot):
                continue
            self.insert(piece, x, y, z, yaw + turn)
            return Place(x, y, z, yaw, self.claim(spot, stands=stands))
        return None

    def somewhere(self, piece: Piece, *, tries: int = 10, straight: bool = False) -> Place | None:
        """Stands a piece anywhere on the floor, turned at random; None if it fits nowhere tried."""
        for _ in range(tries):
            x = float(self.rng.uniform(0.3, self.size[0] - 0.3))
            y = float(self.rng.uniform(0.3, self.size[1] - 0.3))
            yaw = float(self.rng.integers(4)) * math.pi / 2
            if not straight:
                yaw += float(self.rng.uniform(-0.7, 0.7))
            place = self.stand(piece, x, y, yaw)
            if place is not None:
                return place
        return None


def beside(place: Place, x: float, y: float) -> tuple[float, float]:
    """Room coordinates of a point (x, y) in the frame of a piece that stands at `place`."""
    c, s = math.cos(place.yaw), math.sin(place.yaw)
    return place.x + c * x - s * y, place.y + s * x + c * y


def _stamp(solid: npt.NDArray[np.uint8], spot: Doubles) -> None:
    """Marks the cells that a box covers."""
    x0, y0 = np.floor(spot[0, :2] / CELL).astype(int).clip(0)
    x1, y1 = np.ceil(spot[1, :2] / CELL).astype(int)
    solid[y0:y1, x0:x1] = 1


def walkable_area(solid: npt.NDArray[np.uint8]) -> float:
    """The largest connected floor area in square metres that a walker's middle can reach."""
    radius = round(WALKER_RADIUS / CELL)
    ring = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    blocked = cv2.dilate(solid, ring, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    count, _, stats, _ = cv2.connectedComponentsWithStats(1 - blocked, connectivity=4)
    return float(stats[1:, cv2.CC_STAT_AREA].max() * CELL**2) if count > 1 else 0.0
