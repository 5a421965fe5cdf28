# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays become pictures: depth and labels in colour, and images as text within a page."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.labels import UNLABELLED, LabelSpace

Image = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]


def colour_depth(depth_m: Depth, near_m: float, far_m: float) -> Image:
    """Return `(H, W, 3)` RGB of depth, near warm and far cold; black where nothing was measured."""
    scaled = (far_m - depth_m) / max(far_m - near_m, 1e-6)
    grey = np.clip(scaled * 255.0, 0.0, 255.0).astype(np.uint8)
    picture = colour_map(grey, cv2.COLORMAP_TURBO)
    picture[depth_m <= 0.0] = 0
    return picture


def depth_range(depths: Sequence[Depth]) -> tuple[float, float]:
    """Return the metres between which 98 % of all measured pixels lie; (0, 1) if there are none."""
    measured = [d[d > 0.0][::7] for d in depths]
    pixels = np.concatenate(measured) if measured else np.empty(0, np.float32)
    if pixels.size == 0:
        return 0.0, 1.0
    near, far = (float(v) for v in np.percentile(pixels, (1, 99)))
    return near, max(far, near + 0.1)


def overlay(rgb: Image, labels: Image, space: LabelSpace, *, alpha: float = 0.5) -> Image:
    """Return `(H, W, 3)` colour image with the label colours laid over it, borders drawn white."""
    blended = cv2.addWeighted(rgb, 1.0 - alpha, space.colourise(labels), alpha, 0.0)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    blended[edge] = 255
    return np.asarray(blended, np.uint8)


def label_anchors(labels: Image, *, smallest: float = 0.025) -> list[tuple[int, float, float]]:
    """Return (label, x, y) of the roomiest spot of each large class, x and y in parts of the size.

    Args:
        labels: `(H, W)` ids; 255 gets no anchor.
        smallest: Classes whose largest region is below this part of the image get none.
    """
    height, width = labels.shape
    anchors = []
    for label in np.unique(labels):
        if label == UNLABELLED:
            continue
        mask = np.pad((labels == label).astype(np.uint8), 1)
        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.max() < smallest * height * width:
            continue
        largest = (regions == 1 + int(np.argmax(areas))).astype(np.uint8)
        room = cv2.distanceTransform(largest, cv2.DIST_L2, 3)
        y, x = np.unravel_index(int(np.argmax(room)), room.shape)
        anchors.append((int(label), (float(x) - 0.5) / width, (float(y) - 0.5) / height))
    return anchors


def colour_map(grey: Image, name: int) -> Image:
    """Return `(H, W, 3)` RGB of `(H, W)` values by one of the `cv2.COLORMAP_` constants."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, name), cv2.COLOR_BGR2RGB), np.uint8)


def gradient(name: int, *, reverse: bool) -> str:
    """Return one of the `cv2.COLORMAP_` constants as a CSS gradient from left to right."""
    samples = np.linspace(0, 255, 13).astype(np.uint8).reshape(1, -1)
    colours = colour_map(np.ascontiguousarray(samples[:, ::-1]) if reverse else samples, name)[0]
    return f'linear-gradient(90deg,{",".join(f"rgb({r},{g},{b})" for r, g, b in colours)})'


def shrunk(rgb: Image, labels: Image, width: int) -> tuple[Image, Image]:
    """Return both at this width, or as they are if they are narrower; labels stay labels."""
    if rgb.shape[1] <= width:
        return rgb, labels
    size = (width, round(rgb.shape[0] * width / rgb.shape[1]))
    return (np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8),
            np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8))


def jpeg(rgb: Image, width: int) -> str:
    """Return a photograph as a data URI, at most `width` pixels wide."""
    picture, _ = shrunk(rgb, rgb[..., 0], width)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_JPEG_QUALITY, 84])
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def png(rgb: Image, width: int) -> str:
    """Return label colours as a data URI, exact, so that the page can name the class of a pixel."""
    if rgb.shape[1] > width:
        size = (width, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    _, data = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return f'data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}'
