# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label clouds, against loops over pixels and against bytes read at the declared offsets."""

import struct
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.cloud import (
    CLOUD_DTYPE,
    XYZ_DTYPE,
    CloudError,
    cloud_array,
    fill_cloud,
    nav_triple,
)
from diffpixel_core.geometry import Camera

H, W = 7, 10
CAMERA = LensCamera(Camera(W, H, 8.0, 9.0, 4.2, 3.1), 'plumb_bob', (0.1, -0.05, 0.01, 0.0, 0.0))
# Turns back at 2.4 pixels from the centre: its corners have no ray.
BLIND = LensCamera(Camera(W, H, 4.0, 4.0, 4.2, 3.1), 'plumb_bob', (-0.5, 0.0, 0.0, 0.0, 0.0))


def frame(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.3, 5, (H, W)).astype(np.float32)
    depth[rng.random((H, W)) < 0.2] = 0
    depth[0, :4] = np.nan, np.inf, -np.inf, -1
    labels = rng.integers(0, 13, (H, W), dtype=np.uint8)
    labels[rng.random((H, W)) < 0.2] = 255
    return (depth, rng.integers(0, 256, (H, W, 3), dtype=np.uint8), labels,
            rng.integers(0, 256, (H, W), dtype=np.uint8))


def expected_point(depth: float, ray: np.ndarray) -> tuple[float, float, float]:
    if not (np.isfinite(depth) and depth > 0) or np.isnan(ray).any():
        return (np.nan,) * 3
    return ray[0] * depth, ray[1] * depth, depth


@pytest.mark.parametrize('void_nan', [False, True])
@pytest.mark.parametrize('camera', [CAMERA, BLIND])
def test_cloud_is_what_a_loop_over_pixels_gives(camera: LensCamera, void_nan: bool) -> None:
    depth, rgb, labels, confidence = frame()
    rays = camera.rays()
    assert np.isnan(rays).any() == (camera is BLIND)
    cloud = cloud_array(depth, rays, rgb, labels, confidence, void_nan=void_nan)
    assert cloud.dtype == CLOUD_DTYPE
    assert cloud.dtype.itemsize == 24
    for row, column in np.ndindex(H, W):
        x, y, z, colour, label, certainty = cloud[row, column].tolist()
        point = expected_point(depth[row, column], rays[row, column])
        if void_nan and labels[row, column] == 255:
            point = (np.nan,) * 3
        np.testing.assert_allclose((x, y, z), point, rtol=1e-6)
        red, green, blue = rgb[row, column].tolist()
        assert colour == red << 16 | green << 8 | blue
        assert label == labels[row, column]
        assert certainty == pytest.approx(confidence[row, column] / 255)


def test_out_is_written_in_place_and_nothing_of_the_last_frame_stays() -> None:
    out = np.empty((H, W), CLOUD_DTYPE)
    for seed in range(2):
        depth, rgb, labels, confidence = frame(seed)
        given = [image.copy() for image in (depth, rgb, labels, confidence)]
        cloud = cloud_array(depth, CAMERA.rays(), rgb, labels, confidence, void_nan=True, out=out)
        assert cloud is out
        fresh = cloud_array(depth, CAMERA.rays(), rgb, labels, confidence, void_nan=True)
        assert cloud.tobytes() == fresh.tobytes()
        for before, after in zip(given, (depth, rgb, labels, confidence), strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize('stride', [1, 2, 3, 4])
@pytest.mark.parametrize('camera', [CAMERA, BLIND])
def test_the_triple_is_of_one_size_and_void_in_all_three(camera: LensCamera, stride: int) -> None:
    depth, _, labels, confidence = frame()
    triple = nav_triple(depth, camera, labels, confidence, stride=stride)
    rows, columns = range(0, H, stride), range(0, W, stride)
    shape = len(rows), len(columns)
    assert triple.mask.shape == triple.confidence.shape == triple.xyz.shape == shape
    assert triple.mask.flags.c_contiguous
    assert triple.confidence.flags.c_contiguous
    assert (triple.mask.dtype, triple.confidence.dtype) == (np.uint8, np.uint8)
    assert triple.xyz.dtype == XYZ_DTYPE
    rays = camera.rays()
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            point = expected_point(depth[row, column], rays[row, column])
            if labels[row, column] == 255:
                point = (np.nan,) * 3
            np.testing.assert_allclose(triple.xyz[i, j].tolist(), point, rtol=1e-5)
            assert triple.mask[i, j] == labels[row, column]
            assert triple.confidence[i, j] == (
                0 if np.isnan(point[0]) else confidence[row, column])


def test_images_of_another_size_are_refused() -> None:
    depth, rgb, labels, confidence = frame()
    small = LensCamera(Camera(4, 4, 5, 5, 2, 2))
    with pytest.raises(CloudError, match='rays are for 4x4'):
        cloud_array(depth, small.rays(), rgb, labels, confidence, void_nan=True)
    with pytest.raises(CloudError, match='labels'):
        cloud_array(depth, CAMERA.rays(), rgb, labels[1:], confidence, void_nan=True)
    with pytest.raises(CloudError, match='camera_info is for 4x4'):
        nav_triple(depth, small, labels, confidence, stride=2)
    with pytest.raises(CloudError, match='confidence'):
        nav_triple(depth, CAMERA, labels, confidence[:, 1:], stride=2)


def read_back(message: Any) -> list[dict[str, Any]]:
    """Return the points of a PointCloud2 as a reader finds them: by offsets, byte by byte."""
    formats = {6: 'I', 7: 'f'}
    order = '>' if message.is_bigendian else '<'
    data = bytes(message.data)
    return [{field.name: struct.unpack_from(
        order + formats[field.datatype], data,
        row * message.row_step + column * message.point_step + field.offset)[0]
        for field in message.fields}
        for row in range(message.height) for column in range(message.width)]


def test_a_real_message_reads_back_as_the_cloud() -> None:
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    std_msgs = pytest.importorskip('std_msgs.msg')
    serialization = pytest.importorskip('rclpy.serialization')
    depth, rgb, labels, confidence = frame()
    cloud = cloud_array(depth, CAMERA.rays(), rgb, labels, confidence, void_nan=True)
    triple = nav_triple(depth, CAMERA, labels, confidence, stride=2)
    message, header = sensor_msgs.PointCloud2(), std_msgs.Header(frame_id='camera')
    for points in (cloud, triple.xyz, cloud):  # one message, filled again and again
        fill_cloud(message, points, header, sensor_msgs.PointField)
        back = serialization.deserialize_message(
            serialization.serialize_message(message), sensor_msgs.PointCloud2)
        assert (back.height, back.width) == points.shape
        assert back.header.frame_id == 'camera'
        assert back.row_step == back.point_step * back.width
        assert len(back.data) == back.row_step * back.height
        assert back.is_dense is False
        assert all(field.count == 1 for field in back.fields)
        seen = read_back(back)
        for record, point in zip(points.ravel(), seen, strict=True):
            assert tuple(point) == points.dtype.names
            np.testing.assert_array_equal(record.tolist(), list(point.values()))


def test_the_field_types_are_those_consumers_ask_for() -> None:
    message = SimpleNamespace(data=array('B'))
    fill_cloud(message, np.zeros((1, 2), CLOUD_DTYPE), None, SimpleNamespace)
    float32, uint32 = 7, 6
    assert [(field.name, field.offset, field.datatype) for field in message.fields] == [
        ('x', 0, float32), ('y', 4, float32), ('z', 8, float32), ('rgb', 12, uint32),
        ('label', 16, uint32), ('confidence', 20, float32)]
    assert (message.point_step, message.row_step, len(message.data)) == (24, 48, 48)
