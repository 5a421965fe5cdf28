# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A frame is two aligned images, or an error that says why not."""

import numpy as np
import pytest

from diffpixel_core import Frame, FrameError
from diffpixel_core.geometry import NYU_CAMERA, Camera, CameraError


def test_aligned_images_make_a_frame() -> None:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.float32), stamp_ns=7)
    assert (frame.modality, frame.stamp_ns) == ('depth', 7)


@pytest.mark.parametrize(('rgb', 'x', 'word'), [
    (np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), np.float32), 'align_depth'),
    (np.zeros((4, 6, 3), np.float32), np.zeros((4, 6), np.float32), 'uint8'),
    (np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.float32), 'uint8'),
    (np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint16), 'depth_in_metres'),
    (np.zeros((0, 6, 3), np.uint8), np.zeros((0, 6), np.float32), 'empty'),
])
def test_other_images_are_refused(rgb: np.ndarray, x: np.ndarray, word: str) -> None:
    with pytest.raises(FrameError, match=word):
        Frame(rgb, x)


def test_a_resized_camera_sees_the_same_rays() -> None:
    small = NYU_CAMERA.resized(320, 240)
    for u, v in ((0.5, 0.5), (100.5, 401.5)):  # centre of a 2x2 block = one smaller pixel
        ray = ((u - NYU_CAMERA.cx) / NYU_CAMERA.fx, (v - NYU_CAMERA.cy) / NYU_CAMERA.fy)
        u2, v2 = (u + 0.5) / 2 - 0.5, (v + 0.5) / 2 - 0.5
        np.testing.assert_allclose(((u2 - small.cx) / small.fx, (v2 - small.cy) / small.fy), ray)
    np.testing.assert_allclose(small.matrix[:2, :2], np.diag((small.fx, small.fy)))


def test_impossible_cameras_are_refused() -> None:
    with pytest.raises(CameraError, match='positive'):
        Camera(640, 0, 500, 500, 320, 240)
    with pytest.raises(CameraError, match='positive'):
        Camera(640, 480, float('nan'), 500, 320, 240)
