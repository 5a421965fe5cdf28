# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.image_folder import (
    find_frames,
    read_camera,
    read_colour,
    read_depth,
    read_label,
    read_pose,
)
from diffpixel_core.labels import load_label_space
from diffpixel_core.synthetic.cameras import look
from diffpixel_core.synthetic.generate import (
    SynthError,
    generate_frames,
    generate_walk,
    walk_samples,
)
from diffpixel_core.synthetic.materials import Material
from diffpixel_core.synthetic.photo import Look
from diffpixel_core.synthetic.pieces import Part
from diffpixel_core.synthetic.render import Renderer
from diffpixel_core.synthetic.scenes import Light, Room
from diffpixel_core.synthetic.shapes import box

pytest.importorskip('embreex')

WALL, FLOOR, TABLE, WINDOW = (load_label_space('nyu40').index(name)
                              for name in ('wall', 'floor', 'table', 'window'))
SIZE = np.array([4.0, 3.0, 2.5])
CAMERA = NYU_CAMERA.resized(64, 48)
PLAIN = Look(softness=0.3, noise=0.0, vignette=0.0)


def hollow_room(*things):
    """A room of plain walls, seen from inside, with things: (size, centre, label, material)."""
    grey = Material('plain', (0.6, 0.6, 0.6))
    parts = []
    for axis in range(3):
        for side in (-0.05, SIZE[axis] + 0.05):
            centre, size = SIZE / 2, SIZE + 0.2
            centre, size = centre.copy(), size.copy()
            centre[axis], size[axis] = side, 0.1
            label = FLOOR if axis == 2 and side < 0 else WALL
            parts.append(Part(box(size, centre), label, len(parts) + 1, grey))
    for size, centre, label, material in things:
        parts.append(Part(box(size, centre), label, len(parts) + 1, material or grey))
    lights = (Light((2.0, 1.5, 2.3), (1.0, 1.0, 1.0), 0.05),)
    return Room(tuple(parts), (4.0, 3.0, 2.5), lights, 'office', np.zeros((0, 2, 3)))


def rays(camera, pose):
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones(u.shape)], -1) @ pose[:3, :3].T


def view(room, pose, camera=CAMERA, seed=0):
    return Renderer(room, seed=1).render(camera, pose, rng=np.random.default_rng(seed), look=PLAIN)


@pytest.mark.parametrize('camera', [CAMERA, NYU_CAMERA.resized(48, 36),
                                    Camera(40, 50, 30, 35, 11, 31)])
def test_depth_is_the_closed_form_distance_along_the_optical_axis(camera):
    pose = look((1.1, 1.3, 1.2), yaw=0.4, pitch=-0.3, roll=0.1)
    way = rays(camera, pose)
    expected = np.maximum(-pose[:3, 3] / way, (SIZE - pose[:3, 3]) / way).min(-1)
    seen = view(hollow_room(), pose, camera)
    assert seen.depth_m.dtype == np.float32
    np.testing.assert_allclose(seen.depth_m, expected, rtol=1e-4)
    assert seen.rgb.shape == (camera.height, camera.width, 3)


def test_labels_and_instances_end_exactly_at_the_edge_of_a_box():
    pose = look((1.0, 1.5, 1.0), yaw=0.0, pitch=0.0)
    seen = view(hollow_room(((1.0, 1.0, 0.8), (3.0, 1.5, 1.0), TABLE, None)), pose)
    front = pose[:3, 3] + 1.5 * rays(CAMERA, pose)  # where rays meet the plane of its front
    on_box = (np.abs(front[..., 1] - 1.5) < 0.5) & (np.abs(front[..., 2] - 1.0) < 0.4)
    assert 0.1 < on_box.mean() < 0.9
    np.testing.assert_array_equal(seen.labels == TABLE, on_box)
    np.testing.assert_array_equal(seen.instances == 7, on_box)
    np.testing.assert_allclose(seen.depth_m[on_box], 1.5, rtol=1e-4)
    # The ray to a pixel meets the front at the angle it leaves the optical axis.
    expected = 1 / np.linalg.norm(rays(CAMERA, pose), axis=-1)
    np.testing.assert_allclose(seen.cosine[on_box], expected[on_box], rtol=1e-4)


def test_survey_gives_the_labels_of_the_picture():
    room = hollow_room(((1.0, 1.0, 0.8), (3.0, 1.5, 1.0), TABLE, None))
    pose = look((0.8, 0.7, 1.4), yaw=0.3, pitch=-0.3)
    np.testing.assert_array_equal(Renderer(room).survey(CAMERA, pose), view(room, pose).labels)


def test_a_window_has_a_label_but_no_depth():
    glass = Material('sky', (0.6, 0.8, 1.0), emission=1.0, transparent_to_depth=True)
    room = hollow_room(((0.02, 1.0, 1.0), (3.99, 1.5, 1.2), WINDOW, glass))
    seen = view(room, look((1.0, 1.5, 1.2), 0.0, 0.0))
    window = seen.labels == WINDOW
    assert window.any()
    assert not seen.depth_m[window].any()
    assert (seen.depth_m[~window] > 0).all()


def test_a_table_throws_a_shadow():
    pose = look((2.0, 0.3, 1.3), yaw=np.pi / 2, pitch=-0.75)
    board = ((0.7, 0.7, 0.02), (2.0, 1.5, 1.6), TABLE, None)  # above the picture, below the lamp
    lit, shaded = view(hollow_room(), pose), view(hollow_room(board), pose)
    np.testing.assert_array_equal(lit.labels, shaded.labels)
    floor = pose[:3, 3] + lit.depth_m[..., None] * rays(CAMERA, pose)
    under = (np.abs(floor[..., :2] - (2.0, 1.5)) < 0.5).all(-1) & (lit.labels == FLOOR)
    beside = (np.abs(floor[..., 0] - 2.0) > 1.3) & (lit.labels == FLOOR)
    contrast = shaded.rgb[under].mean() / shaded.rgb[beside].mean()
    assert contrast < 0.8 * lit.rgb[under].mean() / lit.rgb[beside].mean()


def test_same_state_gives_the_same_picture():
    pose = look((1.0, 1.5, 1.0), 0.2, -0.1)
    wood = Material('wood', (0.5, 0.3, 0.2), seed=4)
    room = hollow_room(((0.5, 0.5, 0.8), (3.0, 1.5, 0.4), TABLE, wood))
    one, same, other = (view(room, pose, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.rgb, same.rgb)
    assert (one.rgb != other.rgb).any()
    np.testing.assert_array_equal(one.depth_m, other.depth_m)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_number_of_processes_and_interruptions_change_no_byte(tmp_path):
    settings = {'count': 3, 'seed': 8, 'sensor': 'perfect', 'camera': CAMERA, 'views_per_room': 2}
    report = generate_frames(tmp_path / 'one', workers=1, **settings)
    generate_frames(tmp_path / 'two', workers=2, **settings)
    whole = contents(tmp_path / 'one')
    assert contents(tmp_path / 'two') == whole
    assert len(whole) == 3 * 5 + 2  # colour, depth, label, cosine, pose; camera and synth.json
    for name in ('000001.label.png', '000001.color.jpg', 'synth.json'):
        (tmp_path / 'two' / name).unlink()
    started = {key: value for key, value in json.loads(whole['synth.json']).items()
               if key not in ('classes', 'unlabelled')}
    (tmp_path / 'two' / 'synth.partial.json').write_text(json.dumps(started))
    generate_frames(tmp_path / 'two', workers=1, **settings)
    assert contents(tmp_path / 'two') == whole
    assert sum(report.classes.values()) <= 3 * 64 * 48
    assert report.classes['wall'] > 0
    assert read_camera(tmp_path / 'one', width=64, height=48) == CAMERA


def test_a_folder_of_something_else_is_refused(tmp_path):
    settings = {'count': 1, 'sensor': 'perfect', 'camera': CAMERA, 'workers': 1}
    generate_frames(tmp_path / 'rooms', seed=1, **settings)
    with pytest.raises(SynthError, match='seed 1, not 2'):
        generate_frames(tmp_path / 'rooms', seed=2, **settings)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'holiday.jpg').touch()
    with pytest.raises(SynthError, match='not empty'):
        generate_frames(tmp_path / 'photos', seed=1, **settings)


@pytest.mark.parametrize(('settings', 'message'), [
    ({'sensor': 'lidar'}, 'lidar'), ({'kinds': ('garage',)}, 'garage'),
    ({'count': 0}, 'count is 0'),
    ({'jitter_camera': 0.7}, '0.7'), ({'views_per_room': 0}, 'views_per_room')])
def test_impossible_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(SynthError, match=message):
        generate_frames(tmp_path / 'out', **({'count': 1, 'seed': 0} | settings))
    assert not (tmp_path / 'out').exists()


def test_jitter_gives_each_frame_a_camera_of_its_own(tmp_path):
    generate_frames(tmp_path, count=2, seed=3, sensor='perfect', camera=CAMERA, workers=1,
                    jitter_camera=0.15)
    focal = [json.loads((tmp_path / f'00000{i}.camera.json').read_text())['fx'] for i in range(2)]
    assert focal[0] != focal[1]
    assert all(0.85 * CAMERA.fx <= value <= 1.15 * CAMERA.fx for value in focal)
    assert len(find_frames(tmp_path)) == 2


def test_a_walk_on_disk_is_the_walk_in_memory(tmp_path):
    settings = {'count': 2, 'seed': 4, 'sensor': 'kinect_v1', 'camera': CAMERA, 'fps': 15.0}
    generate_walk(tmp_path, workers=1, **settings)
    samples = list(walk_samples(**settings))
    assert [sample.stamp_ns for sample in samples] == [1_000_000_000, 1_066_666_667]
    for file, sample in zip(find_frames(tmp_path), samples, strict=True):
        np.testing.assert_array_equal(read_colour(file.colour), sample.rgb)
        np.testing.assert_array_equal(depth_in_millimetres(read_depth(file.depth, 'mm')),
                                      depth_in_millimetres(sample.depth_m))
        np.testing.assert_array_equal(read_label(file.label), sample.labels)
        np.testing.assert_allclose(read_pose(file.pose), sample.pose, atol=1e-8)
