# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label clouds: depth and labels as points, organised like the image they come from.

A cloud is a structured array of the image's shape, one record per pixel, row by row; its dtype says
which fields a PointCloud2 made of it has.
"""

import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import UNLABELLED

F4 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

# 24 bytes. rgb is 0x00RRGGBB, as PCL packs and RViz reads it; label is Hydra's name and type.
CLOUD_DTYPE = np.dtype([('x', np.float32), ('y', np.float32), ('z', np.float32),
                        ('rgb', np.uint32), ('label', np.uint32), ('confidence', np.float32)])
XYZ_DTYPE = np.dtype([('x', np.float32), ('y', np.float32), ('z', np.float32)])
# Source: the constants of sensor_msgs/msg/PointField.
_POINT_FIELD_TYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


class CloudError(DiffPixelError):
    """Images and camera that do not make a cloud: their sizes differ."""


class NavTriple(NamedTuple):
    """What Nav2's semantic_segmentation_layer takes: three messages of equally many pixels.

    Attributes:
        mask: `(h, w)` uint8 labels, 255 = void.
        confidence: `(h, w)` uint8, 255 = certain; 0 where void or without a point.
        xyz: `(h, w)` of `XYZ_DTYPE`, metres in the camera's optical frame; NaN where void or where
            no depth is measured, which the layer skips.
    """

    mask: U8
    confidence: U8
    xyz: npt.NDArray[np.void]


def cloud_array(depth_m: F4, rays: F4, rgb: U8, labels: U8, confidence: U8, *, void_nan: bool,
                out: npt.NDArray[np.void] | None = None) -> npt.NDArray[np.void]:
    """Return the labelled points of a frame.

    Args:
        depth_m: `(H, W)` float32 metres along the optical axis; 0, NaN, infinite = not measured.
        rays: `(H, W, 2)` float32 x/z and y/z, from `LensCamera.rays(1)`; NaN = no ray.
        rgb: `(H, W, 3)` uint8, red first.
        labels: `(H, W)` uint8, 255 = void.
        confidence: `(H, W)` uint8, 255 = certain.
        void_nan: Void pixels get no point.
        out: `(H, W)` of `CLOUD_DTYPE`, contiguous, to write to instead of a new array.

    Returns:
        `(H, W)` of `CLOUD_DTYPE`: x, y, z in metres in the camera's optical frame, NaN where there
        is no point; rgb as 0x00RRGGBB; label as given; confidence 0 to 1.

    Raises:
        CloudError: If the sizes differ.
    """
    shape = depth_m.shape
    _check_shapes(shape, rays=rays, rgb=rgb, labels=labels, confidence=confidence)
    if out is None:
        out = np.empty(shape, CLOUD_DTYPE)
    assert out.shape == shape
    assert out.dtype == CLOUD_DTYPE
    valid = _valid(depth_m, rays)
    if void_nan:
        valid &= labels != UNLABELLED
    packed = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).view(np.uint32)[:, :, 0]
    if sys.byteorder == 'big':
        packed = packed.byteswap()
    packed &= np.uint32(0x00FFFFFF)
    certainty = confidence * np.float32(1 / 255)
    x, y, z = _points(depth_m, rays, valid)
    # One pass interleaves what six strided assignments would take six passes for; it moves
    # 32-bit words and never looks at them as numbers.
    words = [x, y, z, packed.view(np.float32), labels.astype(np.uint32).view(np.float32), certainty]
    cv2.merge(words, out.view(np.float32).reshape(*shape, 6))
    return out


def nav_triple(depth_m: F4, camera: LensCamera, labels: U8, confidence: U8, *,
               stride: int) -> NavTriple:
    """Return mask, confidence and points at every `stride`-th pixel of a row and column.

    The pixels are those at `[::stride, ::stride]`, in all three alike: nothing is averaged.

    Args:
        depth_m: `(H, W)` float32 metres along the optical axis; 0, NaN, infinite = not measured.
        camera: Of that size.
        labels: `(H, W)` uint8, 255 = void.
        confidence: `(H, W)` uint8, 255 = certain.
        stride: 1 or more.

    Raises:
        CloudError: If the sizes differ.

    Source: what the layer requires is in kiwicampus/semantic_segmentation_layer, a70cf6e.
    """
    height, width = depth_m.shape
    if (camera.width, camera.height) != (width, height):
        raise CloudError(f'the camera_info is for {camera.width}x{camera.height} pixels, the image '
                         f'has {width}x{height}; publish the camera_info that belongs to it')
    _check_shapes(depth_m.shape, labels=labels, confidence=confidence)
    rays = camera.rays(stride)
    near = np.ascontiguousarray(depth_m[::stride, ::stride])
    mask = np.ascontiguousarray(labels[::stride, ::stride])
    valid = _valid(near, rays)
    valid &= mask != UNLABELLED
    xyz = np.empty(mask.shape, XYZ_DTYPE)
    cv2.merge(_points(near, rays, valid), xyz.view(np.float32).reshape(*mask.shape, 3))
    return NavTriple(mask, confidence[::stride, ::stride] * valid.view(np.uint8), xyz)


def fill_cloud(message: Any, cloud: npt.NDArray[np.void], header: Any, point_field: Any) -> None:
    """Write a cloud into a PointCloud2, which may be one that was published before.

    Args:
        message: sensor_msgs/PointCloud2; its `data` is an `array('B')`, as rclpy makes it.
        cloud: `(H, W)`, structured; each field becomes a PointField of its name.
        header: Taken over as it is.
        point_field: The class sensor_msgs/PointField.
    """
    block = np.ascontiguousarray(cloud)
    assert block.dtype.fields is not None
    message.header = header
    message.height, message.width = block.shape
    message.fields = [
        point_field(name=name, offset=offset, count=1, datatype=_POINT_FIELD_TYPES[dtype.str[1:]])
        for name, (dtype, offset, *_) in block.dtype.fields.items()]
    message.is_bigendian = sys.byteorder == 'big'
    message.point_step = block.dtype.itemsize
    message.row_step = block.dtype.itemsize * block.shape[1]
    message.is_dense = False  # there may be NaN
    # Assigning to `data` converts value by value; frombytes copies the block.
    del message.data[:]
    message.data.frombytes(block.view(np.uint8).reshape(-1).data)


def _check_shapes(shape: tuple[int, ...], **images: npt.NDArray[Any]) -> None:
    for name, image in images.items():
        if image.shape[:2] != shape:
            remedy = ('publish the camera_info that belongs to the image' if name == 'rays'
                      else 'all images of a frame must have one size')
            raise CloudError(f'depth is {shape[1]}x{shape[0]} but {name} are for '
                             f'{image.shape[1]}x{image.shape[0]}; {remedy}')


def _valid(depth_m: F4, rays: F4) -> npt.NDArray[np.bool_]:
    """Return `(h, w)`: depth is measured and the lens has a ray there."""
    valid: npt.NDArray[np.bool_] = depth_m > 0
    valid &= depth_m < np.inf
    valid &= rays[:, :, 0] == rays[:, :, 0]  # not NaN
    return valid


def _points(depth_m: F4, rays: F4, valid: npt.NDArray[np.bool_]) -> list[F4]:
    """Return the planes x, y and z, `(h, w)` float32 metres, NaN where not valid."""
    z = np.where(valid, depth_m, np.float32(np.nan))
    return [rays[:, :, 0] * z, rays[:, :, 1] * z, z]
