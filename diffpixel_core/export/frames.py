# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to check an engine on, and to calibrate it with: a folder's, generated rooms, noise."""

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffpixel_core.bench.frames import drawn_frames, real_frames
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame

CHECKED, CALIBRATED, NOISY = 8, 48, 2
_HOLES = 0.1  # of the noise: share of pixels that were not measured


class FramesError(DiffPixelError):
    """Frames that are too few, or too small."""


@dataclass(frozen=True, slots=True)
class ExportFrames:
    """What an engine is made and measured with.

    Attributes:
        source: Where the frames come from, in words.
        checked: Frames on which it has to agree.
        calibration: Other frames, for int8; empty for the rest.
        noise: Random pixels, on which it has to agree, too.
    """

    source: str
    checked: list[Frame]
    calibration: list[Frame]
    noise: list[Frame]


def export_frames(folder: Path | None, unit: str, *, size: tuple[int, int], modality: str,
                  calibrate: bool) -> ExportFrames:
    """Return the frames for an export.

    Args:
        folder: Pairs of images, see `image_folder`; None = generated ones.
        unit: Of the folder's depth images, a key of `depth.DEPTH_UNITS`.
        size: `(height, width)` of the camera's frames, pixels; a folder's are resized to it.
        modality: Name of the second one.
        calibrate: Whether frames are wanted for int8, too; none of them is checked.

    Raises:
        FramesError: If the folder holds too few.
        ImageFolderError: If it holds none, or damaged ones.
    """
    count = CHECKED + (CALIBRATED if calibrate else 0)
    if folder is not None:
        source = folder.resolve().name  # goes into the record, where paths say nothing
        frames = real_frames(folder, unit, size=size, modality=modality, most=count)
    elif importlib.util.find_spec('embreex') is not None and modality == 'depth':
        source = 'generated rooms'
        frames = _rooms(count, size, modality)
    else:
        source = 'drawn frames'
        frames = drawn_frames(count, size, modality=modality, seed=0)
    checked, calibration = frames, []
    if calibrate:
        every = max(2, len(frames) // min(CHECKED, max(1, len(frames) // 4)))
        checked = frames[::every]
        calibration = [frame for index, frame in enumerate(frames) if index % every]
        if len(calibration) < CHECKED:
            raise FramesError(f'{source} has {len(frames)} frames; int8 is calibrated on some and '
                              f'checked on others: give at least {2 * CHECKED}')
    return ExportFrames(source, checked, calibration, noise_frames(NOISY, size, modality))


def noise_frames(count: int, size: tuple[int, int], modality: str) -> list[Frame]:
    """Return frames of random pixels, a tenth of the second modality not measured."""
    draw = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        x = draw.uniform(0, 10, size).astype(np.float32)
        x[draw.random(size) < _HOLES] = 0
        frames.append(Frame(draw.integers(0, 256, (*size, 3), dtype=np.uint8), x, modality))
    return frames


def _rooms(count: int, size: tuple[int, int], modality: str) -> list[Frame]:
    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.synthetic.generate import generate_frames

    camera = NYU_CAMERA.resized(size[1], size[0])
    with tempfile.TemporaryDirectory(prefix='diffpixel_') as folder:
        rooms = Path(folder) / 'rooms'
        generate_frames(rooms, count=count, seed=0, sensor='kinect_v1', camera=camera, workers=1)
        return real_frames(rooms, 'mm', size=size, modality=modality, most=count)
