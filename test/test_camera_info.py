# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""CameraInfo messages become cameras whose rays go back through their lens to the same pixel."""

from array import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from diffpixel_core.camera_info import LensCamera, alignment, camera_from_info, fill_info
from diffpixel_core.geometry import Camera, CameraError

LENSES = {
    'plumb_bob': (-0.28, 0.07, 0.002, -0.001, 0.01),
    # An Azure Kinect's colour camera, rounded: large terms that cancel each other.
    'rational_polynomial': (0.45, -2.7, 0.0006, -0.0002, 1.6, 0.33, -2.5, 1.5),
    'equidistant': (0.08, -0.02, 0.01, -0.003),
}


def info(width: int = 64, height: int = 48, *, f: float = 50.0, cx: float = 31.5, cy: float = 23.5,
         model: str = 'plumb_bob', d: tuple[float, ...] = (0.0,) * 5, frame: str = 'colour',
         binning: tuple[int, int] = (0, 0), roi: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Any:
    k = np.array([f, 0, cx, 0, f, cy, 0, 0, 1], float)
    p = np.array([2 * f, 0, cx + 1, -7, 0, 2 * f, cy + 2, 0, 0, 0, 1, 0], float)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame), width=width, height=height, distortion_model=model,
        d=array('d', d), k=k, r=np.eye(3).ravel(), p=p, binning_x=binning[0], binning_y=binning[1],
        roi=region(*roi))


def region(x: int = 0, y: int = 0, width: int = 0, height: int = 0) -> Any:
    return SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height, do_rectify=False)


def seen_at(camera: LensCamera, rays: np.ndarray) -> np.ndarray:
    """Return the pixels of rays by OpenCV's own forward models, an independent computation."""
    if camera.model == 'equidistant':
        return cv2.fisheye.distortPoints(rays.reshape(-1, 1, 2), camera.matrix,
                                         np.array(camera.coefficients)).reshape(rays.shape)
    points = np.concatenate([rays, np.ones((*rays.shape[:-1], 1))], -1).reshape(-1, 3)
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix,
                             np.array(camera.coefficients))[0].reshape(rays.shape)


@pytest.mark.parametrize('model', LENSES)
@pytest.mark.parametrize('stride', [1, 3])
def test_rays_through_the_lens_hit_their_own_pixel(model: str, stride: int) -> None:
    camera = camera_from_info(info(641, 479, f=500, cx=322, cy=236, model=model, d=LENSES[model]))
    rays = camera.rays(stride)
    rows, columns = np.mgrid[:479:stride, :641:stride]
    assert rays.dtype == np.float32
    assert rays.shape == (*rows.shape, 2)
    np.testing.assert_allclose(seen_at(camera, rays.astype(float)),
                               np.stack([columns, rows], -1), atol=1e-3)


def test_rays_without_a_lens_are_the_pinhole_s() -> None:
    rays = camera_from_info(info()).rays()
    for row, column in ((0, 0), (47, 63), (20, 5)):
        np.testing.assert_allclose(rays[row, column], [(column - 31.5) / 50, (row - 23.5) / 50],
                                   rtol=1e-6)


def test_rays_are_computed_once_for_equal_cameras_and_cannot_be_spoilt() -> None:
    rays = camera_from_info(info(model='plumb_bob', d=LENSES['plumb_bob'])).rays(2)
    assert camera_from_info(info(model='plumb_bob', d=LENSES['plumb_bob'])).rays(2) is rays
    with pytest.raises(ValueError, match='read-only'):
        rays[0, 0] = 0


def test_pixels_no_ray_can_reach_are_nan() -> None:
    # r (1 - 0.5 r^2) turns round at r = 0.816, where it shows 0.544: 27 pixels from the centre.
    camera = LensCamera(Camera(81, 81, 50, 50, 40, 40), 'plumb_bob', (-0.5, 0, 0, 0, 0))
    rays = camera.rays()
    rows, columns = np.mgrid[:81, :81]
    shown = np.hypot(rows - 40, columns - 40) / 50
    np.testing.assert_array_equal(np.isnan(rays[..., 0]), shown > (2 / 3) ** 1.5)
    # An ideal fisheye shows 90 degrees at radius pi / 2; x/z has no value beyond.
    camera = LensCamera(Camera(81, 81, 25, 25, 40, 40), 'equidistant', (0, 0, 0, 0))
    shown = np.hypot(rows - 40, columns - 40) / 25
    np.testing.assert_array_equal(np.isnan(camera.rays()[..., 0]), shown > np.radians(89))
    np.testing.assert_allclose(camera.rays()[40, 65, 0], np.tan(1.0), rtol=1e-6)


def test_a_senseless_lens_gives_nan_and_no_exception() -> None:
    for d in ((1e300,) * 5, (-1e9, 0, 1e9, 0, 0), (0, 0, 1e12, -1e12, 0)):
        rays = camera_from_info(info(d=d)).rays()
        assert np.isnan(rays).any()


def test_rectified_images_take_p_and_no_lens() -> None:
    camera = camera_from_info(info(d=LENSES['plumb_bob']), rectified=True)
    assert camera.model == ''
    np.testing.assert_array_equal(camera.matrix, [[100, 0, 32.5], [0, 100, 25.5], [0, 0, 1]])


def test_resizing_keeps_the_rays_of_block_centres() -> None:
    camera = camera_from_info(info(model='plumb_bob', d=LENSES['plumb_bob']))
    half = camera.resized(32, 24)
    assert (half.model, half.coefficients) == (camera.model, camera.coefficients)
    blocks = camera.rays().reshape(24, 2, 32, 2, 2).mean((1, 3))
    np.testing.assert_allclose(half.rays(), blocks, atol=2e-4)


def test_region_and_binning_describe_the_image_as_sent() -> None:
    full = camera_from_info(info())
    part = camera_from_info(info(binning=(2, 3), roi=(10, 6, 40, 30)))
    assert (part.width, part.height) == (20, 10)
    blocks = full.rays()[6:36, 10:50].reshape(10, 3, 20, 2, 2).mean((1, 3))
    np.testing.assert_allclose(part.rays(), blocks, atol=1e-6)


@pytest.mark.parametrize(('change', 'word'), [
    ({'width': 0}, 'no pixels'),
    ({'f': 0.0}, 'not calibrated'),
    ({'f': -50.0}, 'not calibrated'),
    ({'f': np.nan}, 'finite'),
    ({'cx': np.inf}, 'finite'),
    ({'model': 'thin_prism'}, 'unknown'),
    ({'d': (0.1, 0.2)}, 'plumb_bob has 5'),
    ({'d': (0.1,) * 8}, 'plumb_bob has 5'),
    ({'model': 'rational_polynomial', 'd': (0.1,) * 5}, 'has 8'),
    ({'model': 'equidistant', 'd': ()}, 'has 4'),
    ({'model': '', 'd': (0.1,)}, 'no distortion_model'),
    ({'d': (np.nan, 0, 0, 0, 0)}, 'finite'),
    ({'roi': (60, 0, 10, 10)}, 'region of interest'),
    ({'roi': (64, 0, 0, 0)}, 'region of interest'),
    ({'binning': (65, 1)}, 'binned'),
    ({'width': 2**31, 'height': 2**31}, 'million pixels'),
])
def test_infos_that_cannot_be_true_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(CameraError, match=word):
        camera_from_info(info(**change))


def test_matrices_of_another_size_and_skew_are_refused() -> None:
    short = info()
    short.k = np.ones(4)
    with pytest.raises(CameraError, match='9 finite numbers'):
        camera_from_info(short)
    skewed = info()
    skewed.k[1] = 3
    with pytest.raises(CameraError, match='skew'):
        camera_from_info(skewed)


@pytest.mark.parametrize(('model', 'd'), [
    ('', ()), ('plumb_bob', ()), ('plumb_bob', (0.0,) * 4), ('rational_polynomial', (0.0,) * 14)])
def test_zero_or_no_coefficients_are_no_lens(model: str, d: tuple[float, ...]) -> None:
    assert camera_from_info(info(model=model, d=d)).model == ''


def test_infos_of_bags_and_of_ros_are_read_alike() -> None:
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    ours = info(model='plumb_bob', d=LENSES['plumb_bob'])
    message = sensor_msgs.CameraInfo(width=64, height=48, distortion_model='plumb_bob', k=ours.k,
                                     d=list(ours.d), p=ours.p)
    message.header.frame_id = 'colour'
    assert camera_from_info(message) == camera_from_info(ours)
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    raw = pytest.importorskip('rclpy.serialization').serialize_message(message)
    from_bag = store.deserialize_cdr(raw, 'sensor_msgs/msg/CameraInfo')
    assert camera_from_info(from_bag) == camera_from_info(ours)


def test_filled_info_of_the_same_size_says_the_same() -> None:
    source = info(128, 96, d=LENSES['plumb_bob'], binning=(2, 2), roi=(4, 6, 64, 48))
    message = SimpleNamespace(header='kept', roi=region())
    fill_info(message, source, width=32, height=24)
    assert message.header == 'kept'
    message.header = source.header
    assert vars(message.roi) == vars(source.roi)
    assert (message.width, message.height, message.binning_x) == (128, 96, 2)
    np.testing.assert_array_equal(message.p, source.p)
    assert camera_from_info(message) == camera_from_info(source)


def test_filled_info_of_another_size_is_the_resized_camera() -> None:
    source = info(128, 96, d=LENSES['plumb_bob'], binning=(2, 2), roi=(4, 6, 64, 48))
    message = SimpleNamespace(header=source.header, roi=region(1, 2, 3, 4))
    fill_info(message, source, width=16, height=8)
    for rectified in (False, True):
        ours = camera_from_info(message, rectified=rectified)
        theirs = camera_from_info(source, rectified=rectified).resized(16, 8)
        assert (ours.width, ours.height, ours.model) == (16, 8, theirs.model)
        np.testing.assert_allclose(ours.matrix, theirs.matrix)
    # The baseline of a stereo pair, -p[3] / p[0], is in metres and stays.
    assert message.p[3] / message.p[0] == pytest.approx(source.p[3] / source.p[0])


def test_a_real_message_takes_what_is_filled_in() -> None:
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    serialization = pytest.importorskip('rclpy.serialization')
    message = sensor_msgs.CameraInfo()
    for width, height in ((64, 48), (32, 24)):
        fill_info(message, info(d=LENSES['plumb_bob']), width=width, height=height)
        back = serialization.deserialize_message(
            serialization.serialize_message(message), sensor_msgs.CameraInfo)
        assert camera_from_info(back) == camera_from_info(message)
        assert (back.width, back.height) == (width, height)


def test_equal_cameras_are_aligned() -> None:
    assert alignment(info(), info(f=50.4, cx=31.9)).verdict == 'aligned'  # within a percent
    assert alignment(info(frame='/colour'), info()).verdict == 'aligned'


@pytest.mark.parametrize(('depth', 'words'), [
    ({'width': 80}, ('80x48', '64x48')),
    ({'f': 51.0}, ('51.0', '50.0')),
    ({'cy': 24.5}, ('24.5', '23.5')),
])
def test_other_cameras_are_unaligned_and_the_text_says_what_to_do(
        depth: dict[str, Any], words: tuple[str, ...]) -> None:
    verdict, text = alignment(info(), info(**depth))
    assert verdict == 'unaligned'
    assert '\n' not in text
    for word in (*words, 'align_depth.enable:=true', 'depth_registration:=true', 'depth_to_rgb'):
        assert word in text


def test_equal_intrinsics_in_another_frame_and_uncalibrated_cameras_are_doubtful() -> None:
    verdict, text = alignment(info(), info(frame='depth'))
    assert verdict == 'doubtful'
    assert "'depth'" in text
    verdict, text = alignment(info(), info(f=0.0))
    assert verdict == 'doubtful'
    assert 'not calibrated' in text
