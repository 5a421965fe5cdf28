# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a colour image on a robot, each fault as a function of how much.

Every function takes `(H, W, 3)` uint8, a severity and a source of random numbers, leaves the image
it was given alone, and returns one of the same size and type. Values stay on 0..255 and saturate.
"""

import cv2
import numpy as np
import numpy.typing as npt

Colour = npt.NDArray[np.uint8]

# An ordinary small sensor indoors; ours. Electrons in a white pixel, and read-out noise, electrons.
WHITE_ELECTRONS = 2000.0
READ_ELECTRONS = 4.0
_GAMMA = 2.2  # between 8-bit values and light; near enough to sRGB's curve


def missing(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return a black image at severity 1, the image itself at 0."""
    del rng
    assert severity in (0, 1)
    return np.zeros_like(rgb) if severity else rgb


def dark(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture taken with `severity` (0..1) of the light, at the same exposure and gain.

    The noise added is what the darker picture has beyond the noise already in the brighter one:
    counting electrons with the share g kept adds a variance of S g (1 - g), read-out r^2 (1 - g^2).
    """
    light = _light(rgb)
    electrons = WHITE_ELECTRONS * light * np.float32(severity)
    variance = electrons * np.float32(1 - severity) + np.float32(
        READ_ELECTRONS**2 * (1 - severity**2))
    noise = rng.standard_normal(rgb.shape, dtype=np.float32)
    return _picture((electrons + np.sqrt(variance) * noise) / np.float32(WHITE_ELECTRONS))


def bright(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture taken with `severity` times the light; what is too bright saturates."""
    del rng
    return _picture(_light(rgb) * np.float32(severity))


def motion_blurred(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture smeared sideways over `severity` pixels; 1 = sharp."""
    del rng
    return np.asarray(cv2.blur(rgb, (round(severity), 1), borderType=cv2.BORDER_REPLICATE),
                      np.uint8)


def defocused(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture with every point spread over a disc of radius `severity` pixels."""
    del rng
    reach = int(np.ceil(severity))
    along = np.arange(-reach, reach + 1)
    # The rim of the disc covers its pixels in part.
    disc = np.clip(severity + 0.5 - np.hypot(along[:, None], along[None]), 0, 1)
    return np.asarray(cv2.filter2D(rgb, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE),
                      np.uint8)


def noisy(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture with normal noise of standard deviation `severity` (of 255)."""
    grain = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(severity) + rgb
    return np.asarray(np.rint(np.clip(grain, 0, 255)), np.uint8)


def compressed(rgb: Colour, severity: float, rng: np.random.Generator) -> Colour:
    """Return the picture after JPEG compression at quality `severity`; 100 = not compressed."""
    del rng
    if severity == 100:
        return rgb
    done, code = cv2.imencode('.jpg', rgb[..., ::-1],
                              [cv2.IMWRITE_JPEG_QUALITY, round(severity)])
    assert done
    return np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR),
                                           np.uint8)[..., ::-1])


def _light(rgb: Colour) -> npt.NDArray[np.float32]:
    """Return light, 1 = white, of 8-bit values."""
    table = ((np.arange(256) / 255) ** _GAMMA).astype(np.float32)
    return table[rgb]


def _picture(light: npt.NDArray[np.float32]) -> Colour:
    """Return 8-bit values of light."""
    return np.asarray(np.rint(255 * np.clip(light, 0, 1) ** np.float32(1 / _GAMMA)), np.uint8)
