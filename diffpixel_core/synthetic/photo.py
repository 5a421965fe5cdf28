# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From light to a picture: exposure, white balance, vignette, lens softness and sensor noise."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Look:
    """How a camera turns light into a picture.

    Attributes:
        exposure: Factor on the automatic exposure.
        white_balance: Factors on red, green and blue.
        vignette: Share of light lost in the corners.
        softness: Standard deviation of the lens blur, pixels of a 640-wide image.
        noise: Standard deviation of the sensor noise in a mid grey, of full scale 1.
    """

    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.1
    softness: float = 0.7
    noise: float = 0.008

    @staticmethod
    def draw(rng: np.random.Generator) -> 'Look':
        """Return a camera of random habits."""
        warm, green = rng.normal(0, 0.09), rng.normal(0, 0.025)
        return Look(
            exposure=float(np.exp(rng.normal(0, 0.25))),
            white_balance=(math.exp(warm), math.exp(green), math.exp(-warm)),
            vignette=float(rng.uniform(0, 0.3)),
            softness=float(rng.uniform(0.5, 1.1)),
            noise=float(rng.uniform(0.002, 0.018)),
        )


def develop(radiance: npt.NDArray[np.float32], look: Look, rng: np.random.Generator
            ) -> npt.NDArray[np.uint8]:
    """Return light as a picture.

    Args:
        radiance: `(3, H, W)` float32 linear light, any scale.
        look: The camera's habits.
        rng: Source of the sensor noise.

    Returns:
        `(H, W, 3)` uint8 red, green, blue.
    """
    _, height, width = radiance.shape
    brightness = radiance[:, ::4, ::4].mean(0)
    # A bright mean, but lamps and windows may burn out; dark rooms stay a little dark.
    level = float(np.percentile(brightness, 85)) + 0.5 * float(brightness.mean())
    gain = 0.75 * look.exposure / max(level, 1e-3) ** 0.92
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)
    falloff = 1 - np.float32(look.vignette / 2) * (x * x + (y * y)[:, None])
    linear = np.ascontiguousarray(radiance.transpose(1, 2, 0))
    linear *= np.array(look.white_balance, np.float32) * np.float32(gain)
    linear *= falloff[..., None]
    sigma = look.softness * max(width / 640, 0.6)
    linear = cv2.GaussianBlur(linear, (0, 0), sigma).astype(np.float32, copy=False)
    # Reinhard's curve with burn-out at 3: highlights bend instead of being cut off.
    linear *= (1 + linear / np.float32(9)) / (1 + np.float32(0.6) * linear)
    np.clip(linear, 0, 1, out=linear)
    picture = np.power(linear, np.float32(1 / 2.2))
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(look.noise)
    picture *= 255
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
