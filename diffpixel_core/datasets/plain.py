# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Plain folders of frames, such as generated rooms: ids from 0, splits by folders or lists."""

from pathlib import Path

from diffpixel_core.datasets.description import Description, FrameFiles, RawIds
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.datasets.lists import SPLITS, list_files, read_list, without_suffix
from diffpixel_core.image_folder import RgbdFile, find_frames, holds_frames
from diffpixel_core.labels import load_label_space

FOLDERS = {'images': 'X.color.png X.depth.png [X.label.png] or rgb|color|image/ depth/ '
                     '[label|labels/], or these in train|val|test/'}


def is_root(path: Path) -> bool:
    """Tell whether frames lie in a folder, or in its `train/`, `val/` or `test/`."""
    return any(holds_frames(base) for base in (path, *(path / split for split in SPLITS)))


def describe_folder(root: Path, *, depth_unit: str | None, label_space: str | None,
                    raw_depth: bool) -> Description:
    """Return a plain folder as a data set: of frames, of `train/` ..., or of frames and lists.

    Args:
        root: The folder.
        depth_unit: Unit of the depth images; None = 'mm'.
        label_space: Label space of the label images; None = 'nyu40'.
        raw_depth: As for `layouts.describe`; there is none here.

    Raises:
        DiffPixelError: If a frame lacks an image, or a list names one that is not there.
    """
    if raw_depth:
        raise DataError(f'{root} is a plain folder, which keeps one depth only; leave raw depth '
                        'out')
    space = load_label_space(label_space or 'nyu40')
    lists: dict[str, Path] = {}
    if holds_frames(root):
        frames = [_files(file) for file in find_frames(root)]
        lists = list_files(root)
        splits = ({split: _chosen(path, frames) for split, path in lists.items()} if lists
                  else {'all': frames})
    else:
        splits = {split: [_files(file) for file in find_frames(root / split)]
                  for split in SPLITS if holds_frames(root / split)}
    return Description(root.resolve().name, 'images', root, splits, depth_unit or 'mm', space,
                       RawIds(len(space)), lists=lists)


def _chosen(path: Path, frames: list[FrameFiles]) -> list[FrameFiles]:
    """Return the frames that a list names, by what their files' names have in common."""
    by_name = {frame.name: frame for frame in frames}
    by_colour = {without_suffix(frame.colour.name): frame for frame in frames}
    folder = frames[0].colour.parent
    chosen: list[FrameFiles] = []
    for line in read_list(path, {'colour': folder.name}):
        stem = line.stems['colour']
        frame = by_name.get(stem) or by_colour.get(stem)
        if frame is None:
            raise DataError(f'{path} names {stem!r} in line {line.number}, but {folder} has no '
                            'such frame; add it or correct the list')
        chosen.append(frame)
    return chosen


def _files(file: RgbdFile) -> FrameFiles:
    cosine = cosine_path(file)
    return FrameFiles(file.name, file.colour, file.depth, file.label,
                      cosine if cosine.is_file() else None)


def cosine_path(file: RgbdFile) -> Path:
    """Return where the incidence cosine of a rendered frame lies: 8 bit, 255 = 1."""
    return file.colour.with_name(f'{file.name}.cosine.png')
