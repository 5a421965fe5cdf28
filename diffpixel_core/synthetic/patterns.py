# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Seamless noise and other ingredients of textures."""

import cv2
import numpy as np
import numpy.typing as npt

Texture = npt.NDArray[np.float32]


def noise(rng: np.random.Generator, size: int, across: int, up: int) -> Texture:
    """Smooth noise (size, size) in about 0..1 with `across` x `up` bumps, without a seam."""
    across, up = min(across, size), min(up, size)
    grid = rng.random((up, across), dtype=np.float32)
    if across == size and up == size:
        return grid
    wrapped = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
    rows, columns = size + -(-4 * size // up), size + -(-4 * size // across)
    wide = cv2.resize(wrapped, (columns, rows), interpolation=cv2.INTER_CUBIC)
    top, left = 2 * size // up, 2 * size // across
    return np.asarray(wide[top : top + size, left : left + size], np.float32)


def cloud(rng: np.random.Generator, size: int, first: int = 2, last: int = 32) -> Texture:
    """Noise (size, size) of several sizes with mean 0 and deviation 1."""
    total = np.zeros((size, size), np.float32)
    bumps, strength = first, 1.0
    while bumps <= last:
        total += np.float32(strength) * noise(rng, size, bumps, bumps)
        bumps, strength = 2 * bumps, 0.6 * strength
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def axes(size: int) -> tuple[Texture, Texture]:
    """Texture coordinates (x, y) in 0..1, y down."""
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))


def grain(rng: np.random.Generator, size: int) -> Texture:
    """Fibres along the texture's x axis, mean 0."""
    rings = 3 * noise(rng, size, 2, 8) + noise(rng, size, 4, 32)
    fine = noise(rng, size, 4, 64) - 0.5
    return np.asarray(np.sin(8 * rings) + 1.2 * fine, np.float32)


def write_lines(image: Texture, rng: np.random.Generator, tone: float) -> None:
    """Draws rows of text-like dashes into `image`."""
    height, width = image.shape[:2]
    step = max(3, height // 14)
    for row in range(step, height - step, step):
        end = int(width * rng.uniform(0.3, 0.92))
        image[row : row + max(1, step // 3), width // 12 : end] = tone
