# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Averaging of sampled light along surfaces: noise goes, edges stay.

A surface is described per pixel by the plane it lies in, `(4, H, W)`: the normal and the distance
from the origin, each scaled so that a difference of 1 means another surface.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_TURN = 2.0  # 1 / difference of unit normals that counts as 1
_OFFSET = 12.0  # 1 / metres between parallel planes that count as 1


def planes(points: Floats, normals: Floats) -> Floats:
    """Return the planes `(4, N)` through points `(3, N)` with unit normals `(3, N)`."""
    offset = (points * normals).sum(0, keepdims=True) * np.float32(_OFFSET)
    return np.concatenate([normals * np.float32(_TURN), offset])


def smoothed(image: Floats, surface: Floats, *, steps: tuple[int, ...]) -> Floats:
    """Return images `(C, H, W)` averaged over neighbours on the same surface.

    Source: Dammertz, Sewtz, Hanika & Lensch, Edge-avoiding a-trous wavelet transform, HPG 2010;
    differs in its 3 x 3 kernel and in comparing the planes that pixels lie in.
    """
    _, height, width = surface.shape
    for step in steps:
        total = image.copy()
        weights = np.ones((height, width), np.float32)
        for dy, dx in ((0, step), (step, 0), (step, step), (step, -step)):
            if dy >= height or abs(dx) >= width:
                continue
            here = (slice(dy, height), slice(max(dx, 0), width + min(dx, 0)))
            there = (slice(0, height - dy), slice(max(-dx, 0), width + min(-dx, 0)))
            weight = _likeness(surface[(slice(None), *here)], surface[(slice(None), *there)])
            total[(slice(None), *here)] += image[(slice(None), *there)] * weight
            total[(slice(None), *there)] += image[(slice(None), *here)] * weight
            weights[here] += weight
            weights[there] += weight
        image = total / weights
    return image


def upsampled(image: Floats, coarse: Floats, surface: Floats, stride: int) -> Floats:
    """Return a coarse image `(3, h, w)` at full size `(3, H, W)`, without mixing surfaces."""
    if stride == 1:
        return image
    _, height, width = surface.shape
    rows, columns = np.arange(height) / stride, np.arange(width) / stride
    total = np.zeros((3, height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            y = np.minimum(rows.astype(np.intp) + dy, image.shape[1] - 1)
            x = np.minimum(columns.astype(np.intp) + dx, image.shape[2] - 1)
            near_y = 1 - np.abs(rows - rows.astype(np.intp) - dy)
            near_x = 1 - np.abs(columns - columns.astype(np.intp) - dx)
            weight = np.outer(near_y, near_x).astype(np.float32)
            if not weight.any():
                continue
            weight += np.float32(1e-3)
            weight *= _likeness(surface, coarse[:, y[:, None], x[None]])
            total += image[:, y[:, None], x[None]] * weight
            weights += weight
    return total / weights


def _likeness(one: Floats, other: Floats) -> Floats:
    """Return weights `(H, W)` in 0..1: how surely two images `(4, H, W)` show the same surface."""
    difference = one - other
    difference *= difference
    return np.asarray(np.maximum(1 - difference.sum(0), np.float32(1e-4)), np.float32)
