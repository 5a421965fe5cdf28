# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The conventions public data sets are written in, one row each, and how they are told apart."""

from pathlib import Path

from diffpixel_core.datasets.description import Description, FrameFiles, RawIds
from diffpixel_core.image_folder import RgbdFile, find_frames
from diffpixel_core.labels import load_label_space


def describe(path: Path, *, depth_unit: str = 'mm', label_space: str = 'nyu40') -> Description:
    """Return what the data set at a path is.

    Args:
        path: Its folder.
        depth_unit: Unit of the depth images where the layout does not say.
        label_space: Label space of the label images where the layout does not say.

    Raises:
        DataError: If nothing there is a data set; the message says what was looked for.
    """
    space = load_label_space(label_space)
    return Description(name=path.name, layout='images', root=path,
                       splits={'all': [_files(file) for file in find_frames(path)]},
                       depth_unit=depth_unit, label_space=space, raw_ids=RawIds(len(space)))


def _files(file: RgbdFile) -> FrameFiles:
    cosine = cosine_path(file)
    return FrameFiles(file.name, file.colour, file.depth, file.label,
                      cosine if cosine.is_file() else None)


def cosine_path(file: RgbdFile) -> Path:
    """Return where the incidence cosine of a rendered frame lies: 8 bit, 255 = 1."""
    return file.colour.with_name(f'{file.name}.cosine.png')
