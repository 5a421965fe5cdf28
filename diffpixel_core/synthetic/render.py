# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a room: colour, exact depth, labels and instances by ray casting on the CPU.

Shading is one bounce of light made cheap: two shadow rays per pixel towards randomly chosen points
of the lamps, eight bounce rays on a coarse grid, both smoothed along surfaces. Inside this file
vectors are stored as planes `(3, N)`, because NumPy is several times faster on them; Embree alone
wants rows `(N, 3)`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.synthetic.materials import texture
from diffpixel_core.synthetic.photo import Look, develop
from diffpixel_core.synthetic.scenes import Room
from diffpixel_core.synthetic.smoothing import planes, smoothed, upsampled

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

_TEXTURE = 128  # pixels along one side of a texture
_LEVELS = _TEXTURE.bit_length()  # 128, 64, ... 1
_COARSE = 160  # columns, at least, of the grid on which bounced light is gathered
_BOUNCES = 8  # rays per point of that grid
_GAP_M = 2e-3  # rays start this far off a surface
_EMISSION = 1.5  # radiance of a material of emission 1, in units of a fully lit white wall
_SHARP = 0.75  # cosine between neighbouring faces below which their edge stays sharp


class RenderError(DiffPixelError):
    """Rooms cannot be rendered on this machine."""


@dataclass(frozen=True, slots=True)
class View:
    """What a perfect camera sees.

    Attributes:
        rgb: `(H, W, 3)` uint8 colour.
        depth_m: `(H, W)` float32 metres along the optical axis; 0 = nothing hit, or a window.
        labels: `(H, W)` uint8 NYU40 ids; 255 = nothing hit.
        instances: `(H, W)` uint16 object numbers from 1; 0 = nothing hit.
        cosine: `(H, W)` float32 cosine between viewing ray and surface normal, 0..1.
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: Floats
    labels: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint16]
    cosine: Floats


@dataclass(frozen=True, slots=True)
class _Hits:
    """Where N rays end; `face` is -1 and all else arbitrary but finite where one hits nothing."""

    distance: Floats  # (N,) in lengths of the ray's direction
    face: Ints  # (N,)
    point: Floats  # (3, N) metres
    normal: Floats  # (3, N) unit, towards the start of the ray
    uv: Floats  # (2, N) in repetitions of the texture


class Renderer:
    """Casts rays into one room. Light is drawn once per renderer: lamps dim, tint or go out.

    Args:
        room: What to look at.
        seed: Draws the light.

    Raises:
        RenderError: If Embree is not installed.
    """

    def __init__(self, room: Room, *, seed: int = 0) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise RenderError(f'rendering rooms needs embreex ({error}); '
                              "install it: pip install 'diffpixel_ros[rooms]'") from error

        meshes = [part.mesh for part in room.parts]
        starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
        vertices = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32)
        faces = np.concatenate([mesh.faces + start for mesh, start
                                in zip(meshes, starts[:-1], strict=True)]).astype(np.int32)
        part_of_face = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
        scale = np.repeat([part.material.scale for part in room.parts],
                          [len(mesh.vertices) for mesh in meshes])
        uv = (np.concatenate([mesh.uv for mesh in meshes]) / scale[:, None]).astype(np.float32)

        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, vertices, faces)  # Embree keeps no reference
        self._surface = _surface_table(vertices, faces, uv)
        self._part = part_of_face.astype(np.int32)
        self._labels = np.array([part.label for part in room.parts], np.uint8)
        self._instances = np.array([part.instance for part in room.parts], np.uint16)
        materials = list(dict.fromkeys(part.material for part in room.parts))
        number = {material: i for i, material in enumerate(materials)}
        self._material = np.array([number[part.material] for part in room.parts], np.int32)
        self._atlas = _atlas([texture(material, _TEXTURE) for material in materials])
        self._emission = np.array([m.emission for m in materials], np.float32) * _EMISSION
        self._glossy = np.array([m.glossy for m in materials], np.float32)
        self._clear = np.array([m.transparent_to_depth for m in materials], np.bool_)
        # The last level of each texture is its mean colour.
        self._mean = _LINEAR[self._atlas.reshape(len(materials), -1)[:, -1].copy().view(np.uint8)]
        self._mean = np.ascontiguousarray(self._mean.reshape(-1, 4)[:, :3].T)

        rng = np.random.default_rng([seed, 1])
        lights = room.lights
        self._light_at = np.array([light.position for light in lights], np.float32).T.copy()
        self._light_radius = np.array([light.radius for light in lights], np.float32)
        power = np.exp(rng.normal(0, 0.35, len(lights)))
        off = rng.random(len(lights)) < 0.25
        off[rng.integers(len(lights))] = False
        power[off] = 0.03
        tint = np.exp(rng.normal(0, 0.06, (3, len(lights))))
        colours = np.array([light.colour for light in lights]).T * power * tint
        self._light_colour = colours.astype(np.float32)
        self._ambient = np.float32(rng.uniform(0.03, 0.2) * self._light_colour.mean())

    def render(self, camera: Camera, pose: npt.NDArray[np.float64], *, rng: np.random.Generator,
               look: Look | None = None) -> View:
        """Return what the camera sees.

        Args:
            camera: Size and intrinsics.
            pose: `(4, 4)` camera in the room's frame; axes x right, y down, z forward.
            rng: Source of all sampling noise; the same state gives the same picture.
            look: How the colour picture is developed; drawn from `rng` if None. Pass one for all
                frames of a walk.
        """
        height, width = camera.height, camera.width
        rays = _rays(camera, pose)
        eye = np.broadcast_to(pose[:3, 3:].astype(np.float32), rays.shape)
        hits = self._cast(eye, rays)
        seen = hits.face >= 0
        part = self._part[hits.face]
        material = self._material[part]
        length = _length(rays)
        cosine = np.asarray(np.abs(_dot(hits.normal, rays)) / length, np.float32)
        # Rays have length 1 along the optical axis, so the distance is the depth.
        depth = np.where(seen & ~self._clear[material], hits.distance, 0)

        radiance = self._radiance(hits, material, cosine, length / np.float32(camera.fx),
                                  (height, width), rng)
        self._add_reflections(radiance, hits, material, rays, cosine, rng)
        radiance[:, ~seen] = 0
        rgb = develop(radiance.reshape(3, height, width), look or Look.draw(rng), rng)
        labels = np.where(seen, self._labels[part], UNLABELLED).astype(np.uint8)
        instances = np.where(seen, self._instances[part], 0).astype(np.uint16)
        cosine = np.where(seen, np.minimum(cosine, 1), 0).astype(np.float32)
        size = (height, width)
        return View(rgb, depth.astype(np.float32).reshape(size), labels.reshape(size),
                    instances.reshape(size), cosine.reshape(size))

    def survey(self, camera: Camera, pose: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Return the labels `(H, W)` that `render` would give, without the picture."""
        rays = _rays(camera, pose)
        eye = np.broadcast_to(pose[:3, 3:].astype(np.float32), rays.shape)
        face = self._scene.run(np.ascontiguousarray(eye.T), np.ascontiguousarray(rays.T),
                               query='INTERSECT')
        labels = np.where(face >= 0, self._labels[self._part[face]], UNLABELLED)
        return labels.astype(np.uint8).reshape(camera.height, camera.width)

    def _cast(self, origins: Floats, directions: Floats) -> _Hits:
        """Return where the rays `(3, N)` end."""
        found = self._scene.run(np.ascontiguousarray(origins.T), np.ascontiguousarray(directions.T),
                                output=True)
        face: Ints = found['primID']
        distance = np.where(face >= 0, found['tfar'], 0).astype(np.float32)
        u, v = found['u'], found['v']
        row = self._surface[face].T
        normal = row[0:3] + row[3:6] * u + row[6:9] * v
        uv = row[9:11] + row[11:13] * u + row[13:15] * v
        outward = np.ascontiguousarray(found['Ng'].T)
        towards = np.where(_dot(outward, directions) > 0, np.float32(-1), np.float32(1))
        normal *= towards / np.maximum(_length(normal), 1e-9)
        return _Hits(distance, face, origins + directions * distance, normal, uv)

    def _radiance(self, hits: _Hits, material: Ints, cosine: Floats, footprint: Floats,
                  shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Return the light `(3, N)` that all pixels send to the camera, without reflections."""
        surface = planes(hits.point, hits.normal).reshape(4, *shape)
        light, visible = self._direct(hits.point, hits.normal, rng, rays=2)
        visible = smoothed(visible.reshape(1, *shape), surface, steps=(1, 2, 4)).reshape(-1)

        stride = max(1, shape[1] // _COARSE)
        grid = np.arange(shape[0] * shape[1]).reshape(shape)[::stride, ::stride]
        coarse = np.ascontiguousarray(surface[:, ::stride, ::stride])
        bounced = self._bounced(hits.point[:, grid.ravel()], hits.normal[:, grid.ravel()], rng)
        bounced = smoothed(bounced.reshape(3, *grid.shape), coarse, steps=(1, 2, 4, 8))
        light *= visible
        light += upsampled(bounced, coarse, surface, stride).reshape(3, -1)
        light += self._emission[material]
        size_m = footprint * hits.distance / np.sqrt(np.maximum(cosine, np.float32(0.05)))
        light *= self._albedo(hits, material, np.asarray(size_m, np.float32))
        return light

    def _direct(self, points: Floats, normals: Floats, rng: np.random.Generator, *, rays: int
                ) -> tuple[Floats, Floats]:
        """Return the light `(3, N)` lamps send to points, and which share `(N,)` arrives.

        Each of the rays picks a lamp by its share in the light, and a point within it.
        """
        count = points.shape[1]
        share = np.empty((len(self._light_radius), count), np.float32)
        total = np.zeros((3, count), np.float32)
        for k, radius in enumerate(self._light_radius):
            way = self._light_at[:, k:k + 1] - points
            square = _dot(way, way)
            facing = np.maximum(_dot(way, normals), 0) / np.sqrt(square)
            facing *= np.float32(4) / np.maximum(square, np.float32(max(0.15, radius * radius)))
            total += facing * self._light_colour[:, k:k + 1]
            share[k] = facing * self._light_colour[:, k].mean()
        share = np.cumsum(share, axis=0)
        visible = np.zeros(count, np.float32)
        lit = np.flatnonzero(share[-1] > 1e-3)
        if not lit.size:
            return total, visible
        share = share[:, lit]
        start = points[:, lit] + normals[:, lit] * np.float32(_GAP_M)
        starts = np.ascontiguousarray(start.T)
        pick = rng.random(lit.size, dtype=np.float32)
        reached = np.zeros(lit.size, np.float32)
        for ray in range(rays):
            threshold = (pick + np.float32(ray)) / np.float32(rays) * share[-1]
            lamp = np.minimum((share < threshold).sum(0), len(share) - 1)
            radius = self._light_radius[lamp]
            way = rng.uniform(-1, 1, (3, lit.size)).astype(np.float32)
            way *= radius * np.float32(0.7)
            way += self._light_at[:, lamp] - start
            # Stops at the lamp's surface: its shade or panel must not darken it.
            reach = np.maximum(1 - (radius + np.float32(0.03)) / _length(way), 0)
            blocked = self._scene.run(starts, np.ascontiguousarray(way.T),
                                      dists=reach.astype(np.float32), query='OCCLUDED')
            reached += blocked < 0
        visible[lit] = reached / np.float32(rays)
        return total, visible

    def _bounced(self, points: Floats, normals: Floats, rng: np.random.Generator) -> Floats:
        """Return the light `(3, N)` that reaches points from the surfaces around them."""
        count = points.shape[1]
        starts = np.tile(points + normals * np.float32(_GAP_M), _BOUNCES)
        facing = np.tile(normals, _BOUNCES)
        # A point on the unit sphere around the tip of the normal: cosine-distributed directions.
        height = rng.uniform(-1, 1, count * _BOUNCES).astype(np.float32)
        turn = rng.uniform(0, 2 * math.pi, count * _BOUNCES).astype(np.float32)
        ring = np.sqrt(1 - height * height)
        ways = facing + np.stack([ring * np.cos(turn), ring * np.sin(turn), height])
        ways /= np.maximum(_length(ways), 1e-6)
        light = self._glance(starts, ways, rng, rays=1)
        return np.asarray(light.reshape(3, _BOUNCES, count).mean(1), np.float32)

    def _glance(self, origins: Floats, directions: Floats, rng: np.random.Generator, *,
                rays: int) -> Floats:
        """Return the light `(3, N)` along rays, of surfaces in their mean colours."""
        hits = self._cast(origins, directions)
        material = self._material[self._part[hits.face]]
        light, visible = self._direct(hits.point, hits.normal, rng, rays=rays)
        light *= visible
        # What bounces more than once; less of it gets into corners.
        light += self._ambient * np.minimum(hits.distance * np.float32(1.5), 1)
        light += self._emission[material]
        light *= self._mean[:, material]
        light[:, hits.face < 0] = 0
        return light

    def _add_reflections(self, radiance: Floats, hits: _Hits, material: Ints, rays: Floats,
                         cosine: Floats, rng: np.random.Generator) -> None:
        """Mix into `radiance` what glossy surfaces mirror."""
        chosen = np.flatnonzero((self._glossy[material] > 0.02) & (hits.face >= 0))
        if not chosen.size:
            return
        normal, ray = hits.normal[:, chosen], rays[:, chosen]
        ray = ray / _length(ray)
        glossy = self._glossy[material[chosen]]
        mirrored = ray - normal * (2 * _dot(ray, normal))
        rough = rng.standard_normal(mirrored.shape, dtype=np.float32)
        mirrored += rough * ((1 - glossy) * np.float32(0.015))
        start = hits.point[:, chosen] + normal * np.float32(_GAP_M)
        # Schlick's approximation: everything shines at grazing angles.
        weight = glossy * (1 + 2 * (1 - cosine[chosen]) ** 5)
        weight = np.minimum(weight, np.float32(0.92))
        radiance[:, chosen] *= 1 - weight
        radiance[:, chosen] += weight * self._glance(start, mirrored, rng, rays=2)

    def _albedo(self, hits: _Hits, material: Ints, size_m: Floats) -> Floats:
        """Return linear colours `(3, N)` of surface patches of `size_m` metres."""
        density = self._surface[hits.face, 15]  # texture pixels per metre
        level = np.log2(np.maximum(size_m * density, 1)).astype(np.int32)
        np.minimum(level, _LEVELS - 1, out=level)
        side = np.int32(_TEXTURE) >> level
        base = material * np.int32(_TEXELS) + _LEVEL_START[level]
        x = hits.uv[0] * side - np.float32(0.5)
        y = -hits.uv[1] * side - np.float32(0.5)
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = x - x0, y - y0
        mask = side - 1  # sides are powers of two, so this wraps negative numbers too
        left, top = x0.astype(np.int32) & mask, y0.astype(np.int32) & mask
        right, bottom = (left + 1) & mask, (top + 1) & mask
        colour = np.zeros((len(level), 4), np.float32)
        for row, column, weight in ((top, left, (1 - fx) * (1 - fy)), (top, right, fx * (1 - fy)),
                                    (bottom, left, (1 - fx) * fy), (bottom, right, fx * fy)):
            texel = self._atlas[base + row * side + column]
            colour += _LINEAR[texel.view(np.uint8).reshape(-1, 4)] * weight[:, None]
        return np.ascontiguousarray(colour[:, :3].T)


_LINEAR = ((np.arange(256) / 255) ** 2.2).astype(np.float32)
_LEVEL_START = np.cumsum([0] + [(_TEXTURE >> i) ** 2 for i in range(_LEVELS - 1)]).astype(np.int32)
_TEXELS = int(_LEVEL_START[-1]) + 1


def _atlas(textures: list[Floats]) -> npt.NDArray[np.uint32]:
    """Return all textures and their halved copies as one row of pixels, four bytes each."""
    rows = np.zeros((len(textures), _TEXELS, 4), np.uint8)
    for row, image in zip(rows, textures, strict=True):
        for level in range(_LEVELS):
            side = _TEXTURE >> level
            small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            start = _LEVEL_START[level]
            row[start:start + side * side, :3] = np.rint(small.reshape(-1, 3) * 255)
    return rows.view(np.uint32).reshape(-1)


def _surface_table(vertices: Floats, faces: Ints, uv: Floats) -> Floats:
    """Return `(F, 16)`: normal and uv at the first corner and their growth along both edges.

    Columns: normal (3), its growth along the first (3) and second edge (3), uv (2), its growth
    (2, 2), texture pixels per metre. Normals are shared where faces meet softly.
    """
    corner = vertices[faces]
    flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(flat, axis=1)
    flat /= np.maximum(area, 1e-12)[:, None]
    shared = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(shared, faces[:, k], flat * area[:, None])
    shared /= np.maximum(np.linalg.norm(shared, axis=1), 1e-12)[:, None]
    normals = shared[faces]
    sharp = np.einsum('fkc,fc->fk', normals, flat) < _SHARP
    normals = np.where(sharp[..., None], flat[:, None], normals)
    at = uv[faces]
    edges = at[:, 1:] - at[:, :1]
    covered = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
    density = _TEXTURE * np.sqrt(covered / np.maximum(area, 1e-12))
    first, second, third = normals.transpose(1, 0, 2)
    columns = [first, second - first, third - first, at[:, 0], edges[:, 0], edges[:, 1],
               density[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _rays(camera: Camera, pose: npt.NDArray[np.float64]) -> Floats:
    """Return viewing rays `(3, H * W)` in the room's frame, of length 1 along the optical axis."""
    x = (np.arange(camera.width) - camera.cx) / camera.fx
    y = (np.arange(camera.height) - camera.cy) / camera.fy
    across = pose[:3, :1] * x
    down = pose[:3, 1:2] * y + pose[:3, 2:3]
    return (down[:, :, None] + across[:, None, :]).astype(np.float32).reshape(3, -1)


def _dot(a: Floats, b: Floats) -> Floats:
    """Return the scalar products `(N,)` of vectors `(3, N)`."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _length(a: Floats) -> Floats:
    """Return the lengths `(N,)` of vectors `(3, N)`."""
    return np.sqrt(_dot(a, a))
