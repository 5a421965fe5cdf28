# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the network is shown while training, as a picture to look at.

`python -m diffpixel_core.augment_sheet --config YAML --output FILE.png` draws some training frames
of a recipe as stored, and beside each what its augmentation makes of it: colour, depth (near warm,
far cold, black = not measured) and labels over colour (white = unlabelled), one below the other.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from diffpixel_core.config import TrainConfig, load_config
from diffpixel_core.datasets import Frames, LabelledFrame, TrainBatches, open_frames
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.geometry import Camera
from diffpixel_core.labels import UNLABELLED, LabelSpace, load_label_space, mapping
from diffpixel_core.report.pictures import Depth, Image, colour_depth, depth_range, overlay
from diffpixel_core.whole_file import write_whole

_GAP = 6  # pixels between frames


class SheetError(DiffPixelError):
    """A picture that cannot be written."""


def draw_sheet(config: TrainConfig, *, frames: int = 4, variants: int = 6,
               width: int = 240) -> Image:
    """Return a picture of training frames and what the recipe's augmentation makes of them.

    Args:
        config: The recipe; its seed draws frames and variants.
        frames: Frames shown, spread over the training split; three rows each.
        variants: Augmented samples of each, beside the stored frame.
        width: Of one image in the picture, pixels.

    Raises:
        DiffPixelError: If the data cannot be read; the message names the file.
    """
    stored = open_frames(config.data, 'train')
    space = (stored.label_space if config.label_space == 'data'
             else load_label_space(config.label_space))
    table = mapping(stored.label_space, space)
    height = round(width * config.crop[0] / config.crop[1])
    blocks = []
    for index in np.linspace(0, len(stored) - 1, min(frames, len(stored))).round().astype(int):
        # A data set of one frame: the batch holds nothing but variants of it, made as in training.
        batch = TrainBatches(_OneFrame(stored, int(index)), label_space=space,
                             augmentation=config.augment, crop=config.crop, batch=variants,
                             seed=config.seed + int(index))[0]
        frame = stored[int(index)]
        near_far = depth_range([frame.depth_m])
        columns = [_column(frame.rgb, frame.depth_m, table[frame.labels], space, near_far,
                           (height, width))]
        columns += [_column(rgb, depth_m, labels, space, near_far, (height, width))
                    for rgb, depth_m, labels in zip(
                        batch.rgb.numpy(), batch.depth_m.numpy(), batch.labels.numpy(),
                        strict=True)]
        gap = np.full((_GAP, columns[0].shape[1] * len(columns), 3), 255, np.uint8)
        blocks += [np.hstack(columns), gap]
    return np.vstack(blocks[:-1])


class _OneFrame:
    """One frame of a data set as a data set."""

    def __init__(self, frames: Frames, index: int) -> None:
        self.label_space = frames.label_space
        self.names: Sequence[str] = [frames.names[index]]
        self.cameras: Sequence[str] = [frames.cameras[index]]
        self._frames = frames
        self._index = index

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> LabelledFrame:
        return self._frames[self._index]

    def camera(self, frame: LabelledFrame) -> Camera:
        return self._frames.camera(frame)


def _column(rgb: Image, depth_m: Depth, labels: Image, space: LabelSpace,
            near_far: tuple[float, float], size: tuple[int, int]) -> Image:
    """Return colour, depth and labels of one sample, one below the other, within `size` each."""
    height, width = size
    scale = min(height / labels.shape[0], width / labels.shape[1])
    fitted = max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale))
    column = np.full((3 * height, width, 3), 255, np.uint8)
    small = np.asarray(cv2.resize(rgb, fitted, interpolation=cv2.INTER_AREA), np.uint8)
    depth = colour_depth(np.asarray(cv2.resize(
        depth_m, fitted, interpolation=cv2.INTER_NEAREST_EXACT), np.float32), *near_far)
    shown = np.asarray(cv2.resize(labels, fitted, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    classes = overlay(small, shown, space, alpha=0.6)
    classes[shown == UNLABELLED] = 255
    for row, image in enumerate((small, depth, classes)):
        column[row * height:row * height + fitted[1], :fitted[0]] = image
    return column


def write_picture(picture: Image, file: Path) -> None:
    """Write a picture, whole or not at all.

    Raises:
        SheetError: If the ending names no image format.
        WriteError: If the file cannot be written.
    """
    try:
        done, data = cv2.imencode(file.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise SheetError(f'{file}: {file.suffix!r} is no image format; name a .png') from error
    assert done
    write_whole(file, data.tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the sheet, write it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m diffpixel_core.augment_sheet',
        description='Draw what a recipe shows the network: frames as stored and as augmented.')
    parser.add_argument('--config', type=Path, required=True, metavar='YAML')
    parser.add_argument('--output', type=Path, required=True, metavar='FILE.png')
    parser.add_argument('--frames', type=int, default=4)
    parser.add_argument('--variants', type=int, default=6, help='of each frame')
    options, overrides = parser.parse_known_args(arguments)
    if min(options.frames, options.variants) < 1:
        parser.error('--frames and --variants are at least 1')
    if not options.output.parent.is_dir():
        parser.error(f'--output {options.output}: there is no folder {options.output.parent}')
    try:
        config = load_config(options.config, overrides)
        write_picture(draw_sheet(config, frames=options.frames, variants=options.variants),
                      options.output)
    except DiffPixelError as error:
        print(f'{parser.prog}: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    print(options.output)
    return 0


if __name__ == '__main__':
    sys.exit(main())
