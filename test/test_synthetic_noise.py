# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.labels import load_label_space
from diffpixel_core.synthetic.noise import SENSORS, SensorError, sense


def measured(depth_m, sensor, *, camera, cosine=None, labels=None, seed=0, border=0.0):
    cosine = np.ones(depth_m.shape, np.float32) if cosine is None else cosine
    labels = np.zeros(depth_m.shape, np.uint8) if labels is None else labels
    return sense(depth_m, cosine=cosine, labels=labels, camera=camera, sensor=sensor,
                 rng=np.random.default_rng(seed), border=border)


def plane(depth_m, camera):
    return np.full((camera.height, camera.width), depth_m, np.float32)


def step_mm(depth_m, sensor, camera):
    # A slightly slanted wall meets every step of the sensor around its distance.
    wall = plane(depth_m, camera) * np.linspace(0.97, 1.03, camera.width, dtype=np.float32)
    found = np.unique(measured(wall, sensor, camera=camera))
    return 1000 * np.median(np.diff(found[found > 0]))


def test_perfect_sensor_changes_nothing():
    camera = NYU_CAMERA.resized(64, 48)
    depth = np.random.default_rng(0).uniform(0, 9, (48, 64)).astype(np.float32)
    depth[:5] = 0
    out = measured(depth, 'perfect', camera=camera)
    np.testing.assert_array_equal(out, depth)
    assert out is not depth


@pytest.mark.parametrize(('depth_m', 'lowest', 'highest'),
                         [(1.25, 4, 6), (2.25, 14, 16), (3.25, 29, 31)])
@pytest.mark.parametrize('size', [(640, 480), (320, 240)])
def test_kinect_steps_are_those_measured_on_kinects(depth_m, lowest, highest, size):
    assert lowest <= step_mm(depth_m, 'kinect_v1', NYU_CAMERA.resized(*size)) <= highest


@pytest.mark.parametrize(('depth_m', 'lowest', 'highest'),
                         [(1.25, 2, 3), (2.25, 7, 8), (3.25, 15, 17)])
def test_realsense_steps_are_those_measured_on_realsenses(depth_m, lowest, highest):
    assert lowest <= step_mm(depth_m, 'realsense', NYU_CAMERA) <= highest


def test_kinect_is_unbiased_and_its_noise_grows_with_distance():
    camera = NYU_CAMERA.resized(160, 120)
    errors = {z: measured(plane(z, camera), 'kinect_v1', camera=camera) for z in (1.0, 4.0)}
    spread = {z: np.std(found[found > 0] - z) for z, found in errors.items()}
    assert all(abs(np.mean(found[found > 0]) - z) < 0.004 * z for z, found in errors.items())
    assert 0.001 < spread[1.0] < 0.004
    assert 0.02 < spread[4.0] < 0.06


@pytest.mark.parametrize('sensor', SENSORS)
def test_depth_stays_finite_whatever_is_seen(sensor):
    camera = NYU_CAMERA.resized(64, 48)
    rng = np.random.default_rng(1)
    depth = rng.uniform(0, 12, (48, 64)).astype(np.float32) * (rng.random((48, 64)) > 0.2)
    out = measured(depth.astype(np.float32), sensor, camera=camera, border=1.0,
                   cosine=rng.random((48, 64), dtype=np.float32),
                   labels=rng.integers(0, 256, (48, 64), dtype=np.uint8))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert (out >= 0).all()


@pytest.mark.parametrize('sensor', SENSORS)
def test_a_hole_stays_a_hole(sensor):
    camera = NYU_CAMERA.resized(160, 120)
    depth = plane(2.0, camera)
    depth[40:80, 60:100] = 0
    out = measured(depth, sensor, camera=camera)
    assert not out[44:76, 64:96].any()
    assert (out[10:30, 20:140] > 0).mean() > 0.9


@pytest.mark.parametrize('sensor', ['kinect_v1', 'realsense'])
def test_a_near_object_throws_its_shadow_to_the_left(sensor):
    camera = NYU_CAMERA
    depth = plane(3.0, camera)
    depth[150:330, 260:380] = 1.0
    holes = measured(depth, sensor, camera=camera) == 0
    width = 10
    assert holes[170:310, 260 - width:258].mean() > 0.95
    assert holes[170:310, 384:384 + width].mean() < 0.3


def test_mirrors_return_less_than_walls():
    camera = NYU_CAMERA.resized(160, 120)
    labels = np.zeros((120, 160), np.uint8)
    labels[:, 80:] = load_label_space('nyu40').index('mirror')
    holes = measured(plane(2.0, camera), 'kinect_v1', camera=camera, labels=labels) == 0
    assert holes[:, 85:].mean() > 0.5 > 0.05 > holes[:, :75].mean()


def test_border_is_as_wide_as_in_nyudv2():
    camera = NYU_CAMERA
    valid = measured(plane(2.0, camera), 'kinect_v1', camera=camera, border=1.0) > 0
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    assert (rows[0], rows[-1] + 1) == (45, 471)
    assert (columns[0], columns[-1] + 1) == (41, 601)


def test_same_state_gives_the_same_noise():
    camera = NYU_CAMERA.resized(64, 48)
    for sensor in SENSORS[1:]:
        one, same, other = (measured(plane(2.0, camera), sensor, camera=camera, seed=seed)
                            for seed in (3, 3, 4))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


def test_unknown_sensor_and_wrong_size_are_refused():
    camera = Camera(8, 6, 10, 10, 4, 3)
    with pytest.raises(SensorError, match='kinect_v2'):
        measured(plane(1.0, camera), 'kinect_v2', camera=camera)
    with pytest.raises(SensorError, match=r'\(6, 8\)'):
        measured(np.ones((8, 6), np.float32), 'perfect', camera=camera)
