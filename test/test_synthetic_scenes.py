# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Claims about the rooms that the shipped model learns from."""

import numpy as np
import pytest

from diffpixel_core.synthetic.floorplan import CELL, Floorplan, walkable_area
from diffpixel_core.synthetic.materials import KINDS, Material, MaterialError, texture
from diffpixel_core.synthetic.scenes import FLAT_M, ROOM_KINDS, Room, SceneError, build_room
from diffpixel_core.synthetic.shapes import Mesh, box, cylinder, heap, superellipsoid, tube

WALL, FLOOR, WINDOW, CEILING = 0, 1, 8, 21
SHELL = {WALL, FLOOR, WINDOW, CEILING}


@pytest.fixture(scope='module')
def rooms() -> list[Room]:
    return [build_room(seed, kind) for kind in ROOM_KINDS for seed in range(10, 18)]


def volume(mesh: Mesh) -> float:
    """Signed volume: positive where all faces look outwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.einsum('ij,ij->i', a, np.cross(b, c)).sum() / 6)


def same(one: Room, other: Room) -> bool:
    return (
        one.size == other.size
        and one.kind == other.kind
        and one.lights == other.lights
        and [(p.label, p.instance, p.material) for p in one.parts]
        == [(p.label, p.instance, p.material) for p in other.parts]
        and all(
            np.array_equal(p.mesh.vertices, q.mesh.vertices)
            for p, q in zip(one.parts, other.parts, strict=True)
        )
    )


def test_same_seed_gives_the_same_room_and_another_seed_another() -> None:
    assert same(build_room(7), build_room(7))
    assert not same(build_room(7), build_room(8))


def test_kind_is_what_was_asked_for_and_drawn_otherwise() -> None:
    assert [build_room(3, kind).kind for kind in ROOM_KINDS] == list(ROOM_KINDS)
    assert len({build_room(seed).kind for seed in range(25)}) >= 4


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(SceneError, match="'garage'"):
        build_room(0, 'garage')


def test_all_forty_classes_occur(rooms: list[Room]) -> None:
    assert {part.label for room in rooms for part in room.parts} == set(range(40))


def test_meshes_are_finite_and_their_faces_exist(rooms: list[Room]) -> None:
    for room in rooms:
        for part in room.parts:
            mesh = part.mesh
            assert np.isfinite(mesh.vertices).all()
            assert np.isfinite(mesh.uv).all()
            assert mesh.uv.shape == (len(mesh.vertices), 2)
            assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
            assert part.instance > 0
            assert 0 <= part.label < 40
            assert part.material.kind in KINDS


def test_every_object_has_one_number_and_walls_are_not_furniture(rooms: list[Room]) -> None:
    for room in rooms:
        shell = {part.instance for part in room.parts if part.label in SHELL}
        rest = {part.instance for part in room.parts if part.label not in SHELL}
        assert not shell & rest


def test_furniture_stays_inside_the_room(rooms: list[Room]) -> None:
    for room in rooms:
        size = np.array(room.size)
        for part in room.parts:
            if part.label in SHELL:
                continue
            low, high = part.mesh.bounds
            # Door frames reach through the wall.
            assert (low > -0.25).all(), (room.kind, part.label)
            assert (high < size + 0.25).all(), (room.kind, part.label)


def test_walls_enclose_the_room_but_for_doors_and_windows(rooms: list[Room]) -> None:
    for room in rooms:
        corners = np.concatenate([p.mesh.vertices for p in room.parts if p.label == WALL])
        assert (corners[:, :2].min(0) <= 0).all()
        assert (corners[:, :2].max(0) >= np.array(room.size[:2])).all()
        assert corners[:, 2].max() >= room.size[2] - 1e-9


def test_a_walker_has_floor_left_between_the_obstacles(rooms: list[Room]) -> None:
    for room in rooms:
        plan = Floorplan(room.size, np.random.default_rng(0), walkable=0.0)
        low = room.obstacles[room.obstacles[:, 0, 2] < 1.9]
        first = np.floor(low[:, 0, :2] / CELL).astype(int).clip(0)
        last = np.ceil(low[:, 1, :2] / CELL).astype(int)
        for (x0, y0), (x1, y1) in zip(first, last, strict=True):
            plan.solid[y0:y1, x0:x1] = 1
        assert walkable_area(plan.solid) > 0.5, room.kind


def test_obstacles_cover_all_furniture_below_two_metres(rooms: list[Room]) -> None:
    for room in rooms:
        boxes = room.obstacles
        size = np.array(room.size)
        for part in room.parts:
            low, high = part.mesh.bounds
            if part.label in (*SHELL, 19) or high[2] < 0.04 or low[2] > 2.0:
                continue
            if (low > size).any() or (high < 0).any():
                continue
            at_wall = (high[:2] < FLAT_M).any() or (low[:2] > size[:2] - FLAT_M).any()
            if at_wall and low[2] > 0.5:
                continue
            held = ((boxes[:, 0] <= low + 1e-6) & (boxes[:, 1] >= high - 1e-6)).all(1)
            assert held.any(), (room.kind, part.label)


def test_rooms_are_small_enough_to_render_quickly(rooms: list[Room]) -> None:
    triangles = [sum(len(part.mesh.faces) for part in room.parts) for room in rooms]
    assert max(triangles) < 30_000
    assert 1_000 < np.mean(triangles) < 20_000


def test_only_window_panes_are_missed_by_a_depth_camera(rooms: list[Room]) -> None:
    through = {p.label for room in rooms for p in room.parts if p.material.transparent_to_depth}
    assert through == {WINDOW}


@pytest.mark.parametrize(
    ('mesh', 'expected'),
    [
        (box((1, 2, 3)), 6.0),
        (box((1, 2, 3), (4, 5, 6), 0.7, fit=True), 6.0),
        (cylinder(1.0, 2.0, sides=48), 2 * np.pi),
        (superellipsoid((2, 2, 2), (1, 0, 0), (1, 1), steps=24), 4 / 3 * np.pi),
        (box((1, 1, 1)).pitched(0.4, (0, 1, 0)).moved((1, 2, 3), 0.5), 1.0),
    ],
)
def test_faces_look_outwards_and_hold_the_right_volume(mesh: Mesh, expected: float) -> None:
    assert volume(mesh) == pytest.approx(expected, rel=0.02)


def test_bars_look_outwards_and_heaps_are_closed() -> None:
    bar = tube((0, 0, 0), (1, 1, 1), 0.1)
    normals = np.cross(
        bar.vertices[bar.faces[:, 1]] - bar.vertices[bar.faces[:, 0]],
        bar.vertices[bar.faces[:, 2]] - bar.vertices[bar.faces[:, 0]],
    )
    outward = bar.vertices[bar.faces].mean(1)
    axis = np.ones(3) / np.sqrt(3)
    outward -= (outward @ axis)[:, None] * axis
    assert (np.einsum('ij,ij->i', normals, outward) > 0).all()
    assert volume(heap((1, 1, 1), (0, 0, 0), np.random.default_rng(0))) > 0.1


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_textures_are_colours_and_depend_on_nothing_but_the_material(kind: str) -> None:
    material = Material(kind, (0.6, 0.4, 0.3), seed=5)
    image = texture(material, 32)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    texture.cache_clear()
    assert np.array_equal(image, texture(material, 32))


@pytest.mark.parametrize('kind', ['plaster', 'wood', 'concrete', 'leaves'])
def test_repeating_textures_have_no_seam(kind: str) -> None:
    image = texture(Material(kind, (0.6, 0.5, 0.4), seed=2), 64)
    inner = np.abs(np.diff(image, axis=1)).mean()
    seam = np.abs(image[:, 0] - image[:, -1]).mean()
    assert seam < 2.5 * inner + 1e-3


def test_unknown_material_is_refused_by_name() -> None:
    with pytest.raises(MaterialError, match="'fur'"):
        texture(Material('fur', (1.0, 1.0, 1.0)))
