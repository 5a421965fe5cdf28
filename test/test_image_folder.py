# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Image folders in the usual ways of naming are read exactly, and damage is named."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.geometry import Camera
from diffpixel_core.image_folder import (
    ImageFolderError,
    find_frames,
    holds_frames,
    load_pair,
    read_camera,
    read_colour,
    read_depth,
    read_label,
    read_pose,
    stored_type,
    write_camera,
)

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEPTH_MM = RNG.integers(400, 5000, (6, 8), dtype=np.uint16)
DEPTH_MM[0, :2] = 0, 65535
LABELS = RNG.integers(0, 40, (6, 8), dtype=np.uint8)


def save(path: Path, image: npt.NDArray[Any]) -> None:
    """Write an image; three channels are RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


@pytest.mark.parametrize(('colour', 'depth', 'label'), [
    ('{}.color.png', '{}.depth.png', '{}.label.png'),
    ('{}-color.png', '{}-depth.png', '{}-label.png'),
    ('rgb/{}.png', 'depth/{}.png', 'labels/{}.png'),
    ('color/{}.png', 'depth/{}.png', 'label/{}.png'),
    ('image/{}.png', 'depth/{}.tiff', 'label/{}.png'),
])
def test_frames_of_every_naming_are_found_in_natural_order(
        tmp_path: Path, colour: str, depth: str, label: str) -> None:
    for name in ('frame-10', 'frame-2', 'frame-1'):
        save(tmp_path / colour.format(name), RGB)
        save(tmp_path / depth.format(name), DEPTH_MM)
    save(tmp_path / label.format('frame-2'), LABELS)
    (tmp_path / 'camera.json').write_text('{}')
    frames = find_frames(tmp_path)
    assert [frame.name for frame in frames] == ['frame-1', 'frame-2', 'frame-10']
    assert [frame.label is not None for frame in frames] == [False, True, False]
    rgb, depth_m = load_pair(frames[1], 'mm')
    assert frames[1].label is not None
    np.testing.assert_array_equal(rgb, RGB)
    np.testing.assert_allclose(depth_m[1:], DEPTH_MM[1:] / 1000, rtol=1e-6)
    assert (depth_m[0, :2] == 0).all()
    np.testing.assert_array_equal(read_label(frames[1].label), LABELS)


def test_jpeg_colour_and_poses_are_found(tmp_path: Path) -> None:
    save(tmp_path / '7.color.jpg', np.full((6, 8, 3), (250, 10, 10), np.uint8))
    save(tmp_path / '7.depth.png', DEPTH_MM)
    pose = np.array([[0, -1, 0, 2.5], [1, 0, 0, -1], [0, 0, 1, 0.25], [0, 0, 0, 1.0]])
    np.savetxt(tmp_path / '7.pose.txt', pose)
    frame, = find_frames(tmp_path)
    assert frame.pose is not None
    np.testing.assert_allclose(read_pose(frame.pose), pose)
    assert abs(read_colour(frame.colour).astype(int) - (250, 10, 10)).max() < 5


def test_float_tiff_is_metres(tmp_path: Path) -> None:
    depth_m = RNG.uniform(0.5, 4, (6, 8)).astype(np.float32)
    depth_m[0, 0] = np.nan
    save(tmp_path / 'd.tiff', depth_m)
    depth_m[0, 0] = 0
    np.testing.assert_array_equal(read_depth(tmp_path / 'd.tiff', 'm'), depth_m)


def test_numpy_file_is_depth_too(tmp_path: Path) -> None:
    depth_m = RNG.uniform(0.5, 4, (6, 8)).astype(np.float32)
    np.save(tmp_path / 'd.npy', depth_m)
    np.testing.assert_array_equal(read_depth(tmp_path / 'd.npy', 'm'), depth_m)
    assert stored_type(tmp_path / 'd.npy') == 'float32'
    data = (tmp_path / 'd.npy').read_bytes()
    for damaged in (data[:60], data[:-3], b'', np.array([{}], object).dumps()):
        (tmp_path / 'd.npy').write_bytes(damaged)
        with pytest.raises(ImageFolderError, match=r'd\.npy is damaged or no NumPy file'):
            read_depth(tmp_path / 'd.npy', 'm')


def test_picture_of_depth_is_read_as_relative_only(tmp_path: Path) -> None:
    picture = np.dstack([np.arange(48, dtype=np.uint8).reshape(6, 8)] * 3)
    save(tmp_path / 'd.png', picture)
    depth_m = read_depth(tmp_path / 'd.png', 'relative')
    assert depth_m.shape == (6, 8)
    assert (np.diff(depth_m.ravel()) > 0).all()
    picture[0, 0, 0] = 200
    save(tmp_path / 'd.png', picture)
    with pytest.raises(ImageFolderError, match=r'd\.png: .*coloured'):
        read_depth(tmp_path / 'd.png', 'relative')


@pytest.mark.parametrize('file', ['1.color.jpg', '1-depth.png', 'rgb/1.png', 'image/1.jpg'])
def test_folder_with_any_part_of_a_frame_holds_frames(tmp_path: Path, file: str) -> None:
    assert not holds_frames(tmp_path)
    assert not holds_frames(tmp_path / 'nowhere')
    (tmp_path / 'depth').mkdir()
    save(tmp_path / 'left.png', RGB)
    assert not holds_frames(tmp_path)
    save(tmp_path / file, RGB)
    assert holds_frames(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageFolderError, match=r'nowhere does not exist'):
        find_frames(tmp_path / 'nowhere')


def test_folder_without_frames_tells_what_was_looked_for_and_found(tmp_path: Path) -> None:
    with pytest.raises(ImageFolderError, match=r"looked for 'X\.color\.png'.*found nothing"):
        find_frames(tmp_path)
    save(tmp_path / 'left.png', RGB)
    with pytest.raises(ImageFolderError, match=r'found left\.png'):
        find_frames(tmp_path)


@pytest.mark.parametrize(('lacking', 'message'), [
    ('depth', r'2 of 3 frames have colour but no depth, the first is 2\.color\.png'),
    ('color', r'2 of 3 frames have depth but no colour, the first is 2\.depth\.png'),
])
def test_incomplete_frames_are_counted_and_named(tmp_path: Path, lacking: str,
                                                 message: str) -> None:
    for name in ('1', '2', '10'):
        save(tmp_path / f'{name}.color.png', RGB)
        save(tmp_path / f'{name}.depth.png', DEPTH_MM)
    for name in ('2', '10'):
        (tmp_path / f'{name}.{lacking}.png').unlink()
    with pytest.raises(ImageFolderError, match=message):
        find_frames(tmp_path)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('kept', [0.0, 0.5, 0.95])
def test_image_cut_short_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f'x{suffix}'
    save(path, RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[:int(kept * len(data))])
    with pytest.raises(ImageFolderError, match='is damaged or no image'):
        read_colour(path)


def test_file_that_is_missing_or_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFolderError, match=r'cannot read image .*No such file'):
        read_colour(tmp_path / 'x.png')
    (tmp_path / 'x.png').write_text('hello')
    with pytest.raises(ImageFolderError, match=r'x\.png is damaged or no image \(5 bytes\)'):
        read_colour(tmp_path / 'x.png')


def test_depth_of_another_size_is_refused(tmp_path: Path) -> None:
    save(tmp_path / '1.color.png', RGB)
    save(tmp_path / '1.depth.png', DEPTH_MM[:3])
    frame, = find_frames(tmp_path)
    with pytest.raises(ImageFolderError, match=r'1\.depth\.png has 8x3 .*1\.color\.png has 8x6'):
        load_pair(frame, 'mm')


@pytest.mark.parametrize(('image', 'unit', 'message'), [
    (LABELS, 'mm', '16-bit unsigned but the image is uint8'),
    (DEPTH_MM, 'm', 'float metres but the image is uint16'),
    (RGB, 'mm', r'shape \(H, W\)'),
    (DEPTH_MM, 'cm', "unit 'cm' is unknown"),
])
def test_depth_its_unit_cannot_explain_is_named(
        tmp_path: Path, image: npt.NDArray[np.generic], unit: str, message: str) -> None:
    save(tmp_path / 'd.png', image)
    with pytest.raises(ImageFolderError, match=rf'd\.png: .*{message}'):
        read_depth(tmp_path / 'd.png', unit)


def test_label_picture_in_colour_is_refused(tmp_path: Path) -> None:
    save(tmp_path / 'l.png', RGB)
    with pytest.raises(ImageFolderError, match='one channel of 8-bit class ids'):
        read_label(tmp_path / 'l.png')


def test_camera_survives_writing_and_reading(tmp_path: Path) -> None:
    camera = Camera(8, 6, 7.25, 7.5, 3.5, 2.5)
    assert read_camera(tmp_path, width=8, height=6) is None
    write_camera(tmp_path, camera)
    assert read_camera(tmp_path, width=8, height=6) == camera
    with pytest.raises(ImageFolderError, match=r'images of 8x6 pixels but those in .* have 4x3'):
        read_camera(tmp_path, width=4, height=3)


def test_foreign_cameras_are_read(tmp_path: Path) -> None:
    (tmp_path / 'camera-intrinsics.txt').write_text('7.5 0 3.5\n 0 8 2.5\t\n0 0 1\n')
    assert read_camera(tmp_path, width=8, height=6) == Camera(8, 6, 7.5, 8, 3.5, 2.5)
    (tmp_path / 'camera_params.json').write_text(json.dumps(
        {'img_width': 8, 'img_height': 6, 'fx': 1.5, 'fy': 2, 'x_offset': 3, 'y_offset': 4}))
    assert read_camera(tmp_path, width=8, height=6) == Camera(8, 6, 1.5, 2, 3, 4)


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('camera.json', '{"width": 8}', 'lacks height, fx, fy, cx, cy'),
    ('camera.json', '[]', 'lacks width'),
    ('camera.json', '{', 'is no JSON'),
    ('camera.json', '{"width": 8, "height": 6, "fx": 0, "fy": 1, "cx": 1, "cy": 1}', 'no camera'),
    ('camera.json', '{"width": 8, "height": 6, "fx": "a", "fy": 1, "cx": 1, "cy": 1}', 'no camera'),
    ('camera-intrinsics.txt', '1 2 3', 'holds 3 numbers, 3 of them finite; it must hold 9'),
    ('camera-intrinsics.txt', 'a b c', 'it must hold 9 numbers'),
])
def test_damaged_camera_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ImageFolderError, match=f'{name}.*{message}'):
        read_camera(tmp_path, width=8, height=6)


@pytest.mark.parametrize('text', ['1 0 0 0', 'nan ' * 16, '2 ' * 16,
                                  '1 0 0 0  0 1 0 0  0 0 -1 0  0 0 0 1'])
def test_matrix_that_is_no_pose_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / 'p.txt').write_text(text)
    with pytest.raises(ImageFolderError, match=r'p\.txt'):
        read_pose(tmp_path / 'p.txt')
