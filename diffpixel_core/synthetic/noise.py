# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth sensors: what a Kinect or a RealSense would have measured where the exact depth is known.

Every number in pixels is a number of the sensor's own image (`_NATIVE_FX`); a smaller camera gets
the same sensor, downsampled: the same steps in depth, shadows as wide in metres.
"""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera
from diffpixel_core.labels import load_label_space

SENSORS = ('perfect', 'kinect_v1', 'realsense')

Depth = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_NATIVE_FX = 525.0  # pixels; focal length of the 640-wide image the Kinect's pixel numbers refer to
_FAR_M = 20.0  # depth assumed behind holes, where a geometric test needs one

# Share of a surface that returns nothing: glass, glaze, polish and black plastic.
_KINECT_DROPOUT = {'window': 0.75, 'mirror': 0.75, 'television': 0.7, 'lamp': 0.4, 'sink': 0.35,
                   'bathtub': 0.25, 'toilet': 0.2, 'refridgerator': 0.2, 'shower curtain': 0.15,
                   'whiteboard': 0.15, 'counter': 0.1}
# Stereo with a projected pattern loses glass and mirrors, little else.
_STEREO_DROPOUT = {'window': 0.5, 'mirror': 0.5, 'television': 0.25, 'sink': 0.1}

# Rows and columns without depth once it is registered to colour: top, bottom, left, right.
# Source: the valid region of NYUDv2's labelled images (45:471, 41:601 of 480 x 640).
_BORDER = (45 / 480, 9 / 480, 41 / 640, 39 / 640)


class SensorError(DiffPixelError):
    """A sensor name nobody has modelled, or images that do not belong together."""


def sense(depth_m: Depth, *, cosine: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8],
          camera: Camera, sensor: str, rng: np.random.Generator, border: float = 0.5) -> Depth:
    """Return the depth a real sensor would have measured.

    Args:
        depth_m: `(H, W)` exact metres along the optical axis; 0 = nothing there.
        cosine: `(H, W)` cosine between viewing ray and surface normal, 0..1 (0 = grazing).
        labels: `(H, W)` NYU40 ids; glass, mirrors and dark glossy classes return less.
        camera: The camera of these images.
        sensor: One of `SENSORS`.
        rng: Source of the noise; the same state gives the same image.
        border: Kinect only: share of the frame of NYUDv2 without depth, 0 (none) to 1 (all of it).

    Returns:
        `(H, W)` float32 metres, 0 = not measured; a new array.

    Raises:
        SensorError: If the sensor is unknown or the shapes differ.
    """
    if sensor not in SENSORS:
        raise SensorError(f'sensor {sensor!r} is unknown; choose one of {", ".join(SENSORS)}')
    shape = (camera.height, camera.width)
    if not depth_m.shape == cosine.shape == labels.shape == shape:
        raise SensorError(f'depth {depth_m.shape}, cosine {cosine.shape} and labels {labels.shape} '
                          f'must all have the size of the camera, {shape}')
    if sensor == 'perfect':
        return depth_m.astype(np.float32)
    if sensor == 'kinect_v1':
        return _kinect_v1(depth_m, cosine, labels, camera, rng, border)
    return _realsense(depth_m, cosine, labels, camera, rng)


def _kinect_v1(depth_m: Depth, cosine: Depth, labels: npt.NDArray[np.uint8], camera: Camera,
               rng: np.random.Generator, border: float) -> Depth:
    """Return the depth of a structured-light sensor (Kinect v1, Xtion).

    Source: lateral jitter and disparity steps as in ankurhanda/simkinect (Barron & Malik, CVPR
    2013; Handa et al., ICRA 2014); axial noise after Nguyen, Izadi & Lovell, 3DIMPVT 2012.
    """
    height, width = depth_m.shape
    pixel = camera.fx / _NATIVE_FX  # size of a native pixel in this image
    shift = rng.standard_normal((2, height, width), dtype=np.float32) * np.float32(0.5 * pixel)
    shift[0] += np.arange(width, dtype=np.float32)
    shift[1] += np.arange(height, dtype=np.float32)[:, None]
    z = cv2.remap(depth_m, shift[0], shift[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    z = np.asarray(z, np.float32)

    sigma = 0.0012 + 0.0019 * np.square(z - 0.4)
    theta = np.arccos(np.clip(cosine, 0, 1))
    grazing = np.square(theta) / np.square(np.maximum(np.pi / 2 - theta, 0.05))
    sigma += np.where(theta > np.pi / 3, 1e-4 / np.sqrt(np.maximum(z, 0.1)) * grazing, 0)
    # Neighbours share most of the 9 x 9 correlation window, so their errors are alike.
    noisy = z + sigma * _smooth_noise(rng, z.shape, 3 * pixel)
    # Differs from simkinect: without its constant 0.5, which shifts all depth by half a step.
    disparity = 35130 / np.maximum(100 * noisy, 30)
    disparity += rng.standard_normal(z.shape, dtype=np.float32) * np.float32(1 / 6)
    measured: Depth = np.float32(351.30) / np.maximum(np.rint(disparity), np.float32(1))

    lost = _shadow(depth_m, camera.fx * 0.075, pixel)
    lost |= cosine < 0.12 + 0.06 * rng.random(z.shape, dtype=np.float32)
    lost |= z > 6 + 1.5 * rng.random(z.shape, dtype=np.float32)
    patches = _uniform(_smooth_noise(rng, z.shape, 12 * pixel))
    lost |= patches < _dropout_table('kinect_v1')[labels]
    side = _odd(5 * pixel)
    edges = cv2.morphologyEx(z, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8))
    lost |= (edges > 0.03 + 0.04 * z) & (patches > 0.58)
    if pixel > 0.75:  # single lost pixels are filled in by the sensor itself
        opened = cv2.morphologyEx(lost.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        lost = opened > 0
    lost |= (z < 0.5) | ~_inside(z.shape, border)
    measured[lost] = 0
    return measured


def _realsense(depth_m: Depth, cosine: Depth, labels: npt.NDArray[np.uint8], camera: Camera,
               rng: np.random.Generator) -> Depth:
    """Return the depth of an active stereo camera (D4xx at 848 x 480: f = 424 px, 5 cm apart).

    Source: 1/32 px steps and 0.08 px noise, Intel's white papers on sub-pixel linearity and on
    tuning the D4xx.
    """
    pixel = camera.fx / 424.0
    focal_baseline = 424.0 * 0.05
    # The matching window mixes near and far at edges: flying pixels.
    z = np.asarray(cv2.bilateralFilter(depth_m, _odd(7 * pixel), 0.15, 3 * pixel), np.float32)
    disparity = focal_baseline / np.maximum(z, 0.1)
    disparity += 0.08 * _smooth_noise(rng, z.shape, 5 * pixel)
    disparity += rng.standard_normal(z.shape, dtype=np.float32) * np.float32(0.03)
    steps = np.maximum(np.rint(disparity * 32), 1)
    measured = (np.float32(32 * focal_baseline) / steps).astype(np.float32)

    patches = _uniform(_smooth_noise(rng, z.shape, 12 * pixel))
    lost = _shadow(depth_m, camera.fx * 0.05, 1.5 * pixel)
    lost |= (depth_m < 0.28) | (z < 0.28) | (z > 10) | (patches > 0.992)
    lost |= (cosine < 0.15) & (patches > 0.5)
    lost |= patches < _dropout_table('realsense')[labels]
    # The second camera does not see the left rim of the first one's picture.
    columns = np.arange(camera.width, dtype=np.float32)
    lost |= columns < camera.fx * 0.05 / np.where(z > 0, np.maximum(z, 0.28), _FAR_M)
    measured[lost] = 0
    return measured


def _shadow(depth_m: Depth, focal_baseline: float, tolerance: float) -> Mask:
    """Return where a second viewpoint, to the right of the camera, is hidden by something nearer.

    The column a surface has for the second viewpoint is u - f b / z; a point is hidden when
    something further right in the image has a column left of its own.
    """
    column = np.arange(depth_m.shape[1], dtype=np.float32) - np.float32(focal_baseline) / np.where(
        depth_m > 0, depth_m, np.float32(_FAR_M))
    nearest = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(column > nearest + tolerance)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> Depth:
    """Return normal noise of about unit variance whose neighbours within `cell` pixels agree."""
    height, width = shape
    coarse = rng.standard_normal((max(2, round(height / cell)), max(2, round(width / cell))),
                                 dtype=np.float32)
    if coarse.shape == (height, width):
        return coarse
    # Cubic interpolation of white noise loses about a quarter of its variance between nodes.
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth * np.float32(1.17))


def _uniform(normal: Depth) -> Depth:
    """Return standard normal values as values spread evenly over 0..1 (logistic approximation)."""
    return np.asarray(1 / (1 + np.exp(np.float32(-1.702) * normal)), np.float32)


def _inside(shape: tuple[int, ...], border: float) -> Mask:
    """Return the part of the image that has depth once it is registered to colour."""
    height, width = shape
    top, bottom, left, right = (border * side for side in _BORDER)
    mask = np.zeros(shape, np.bool_)
    mask[round(top * height):height - round(bottom * height),
         round(left * width):width - round(right * width)] = True
    return mask


def _odd(size: float) -> int:
    """Return the odd number of pixels nearest to `size`, at least 3."""
    return max(3, 2 * round((size - 1) / 2) + 1)


@cache
def _dropout_table(sensor: str) -> npt.NDArray[np.float32]:
    """Return the share of each NYU40 id that returns nothing, `(256,)` float32."""
    names = load_label_space('nyu40')
    table = np.zeros(256, np.float32)
    for name, share in (_KINECT_DROPOUT if sensor == 'kinect_v1' else _STEREO_DROPOUT).items():
        table[names.index(name)] = share
    return table
