# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Weights and inputs of the reference figures, as pure functions of names and shapes."""

import math
import zlib

import numpy as np
import numpy.typing as npt

FACTORS = ('alpha', 'scale_factor_0_to_1', 'scale_factor_1_to_0')


def weights(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Return the tensor of a published name: float32, or int64 for a batch counter."""
    last = key.rsplit('.', 1)[-1]
    if last == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    draw = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if last == 'running_var':
        return (1 + 0.1 * draw.random(shape)).astype(np.float32)
    z = draw.standard_normal(shape)
    if last == 'running_mean':
        scaled = 0.01 * z
    elif '.k_noise.' in key or '.v_noise.' in key or last == 'relative_position_bias_table':
        scaled = 0.5 * z
    elif len(shape) >= 2:
        scaled = z / math.sqrt(math.prod(shape[1:]))
    elif last == 'weight':
        scaled = 1 + 0.1 * z
    else:
        scaled = z if last in FACTORS else 0.1 * z
    return scaled.astype(np.float32)


def image(modality: str, batch: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the `(B, 3, H, W)` float32 input of a modality."""
    draw = np.random.Generator(np.random.PCG64({'rgb': 1000, 'depth': 2000}[modality]))
    return draw.standard_normal((batch, 3, height, width)).astype(np.float32)


def labels(batch: int, height: int, width: int, classes: int) -> npt.NDArray[np.int64]:
    """Return `(B, H, W)` int64 labels, 255 = unlabelled in a tenth of the pixels."""
    draw = np.random.Generator(np.random.PCG64(3000))
    truth = draw.integers(0, classes, size=(batch, height, width))
    truth[draw.random((batch, height, width)) < 0.1] = 255
    return truth.astype(np.int64)
