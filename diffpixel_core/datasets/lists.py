# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""List files that say which frames a split has, in every form public loaders write them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffpixel_core.datasets.frames import DataError
from diffpixel_core.image_folder import IMAGE_SUFFIXES, natural_order

SPLITS = ('train', 'val', 'test')
LABEL_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')  # a JPEG has changed its ids


class Line(NamedTuple):
    """What a line of a list file names.

    Attributes:
        number: Of the line, from 1.
        stems: For the roles that it names, the image below their folder, without suffix; always
            'colour'.
    """

    number: int
    stems: Mapping[str, str]


def list_files(folder: Path) -> dict[str, Path]:
    """Return `train.txt`, `val.txt` and `test.txt` of a folder, those there are, by split."""
    return {split: folder / f'{split}.txt' for split in SPLITS
            if (folder / f'{split}.txt').is_file()}


def read_list(path: Path, folders: Mapping[str, str]) -> list[Line]:
    """Return what a list names; blank lines and Windows line ends do not matter.

    A line is a bare name; a name, white space and anything; or paths in any order, parted by tabs
    or spaces, each known by the folder in it (`RGB/0.jpg Label/0.png`, `rgb masks depth`). The
    images' suffixes may be there or not, and differ from those on disk.

    Args:
        path: The list.
        folders: The folder of each role: 'colour' and what else has one.

    Raises:
        DataError: If the file cannot be read, or names a frame twice.

    Source: the loaders of CMX and DFormer (one name, or colour and label), of TokenFusion and
    GeminiFusion (tabs: colour, label, depth), of SA-Gate (tab: colour, label), of ESANet (names).
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'cannot read the list {path}: {error}; it must be a text file with a '
                        'frame on each line') from error
    lines: list[Line] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip():
            continue
        stems = _stems(row.strip().replace('\\', '/'), folders)
        if stems['colour'] in seen:
            raise DataError(f'{path} names {stems["colour"]!r} twice, in lines '
                            f'{seen[stems["colour"]]} and {number}; remove one, or the frame '
                            'counts double')
        seen[stems['colour']] = number
        lines.append(Line(number, stems))
    return lines


def _stems(row: str, folders: Mapping[str, str]) -> dict[str, str]:
    words = [word.strip() for word in (row.split('\t') if '\t' in row else row.split())]
    stems: dict[str, str] = {}
    for word in filter(None, words):
        parts = [part for part in word.split('/') if part not in ('', '.')]
        # The last folder of that name: the path before it may be anything.
        places = {role: len(parts) - 2 - parts[-2::-1].index(folder)
                  for role, folder in folders.items() if folder in parts[:-1]}
        if places:
            role = max(places, key=lambda role: places[role])
            stems.setdefault(role, without_suffix('/'.join(parts[places[role] + 1:])))
        elif not stems and parts:
            stems['colour'] = without_suffix('/'.join(parts))
    if 'colour' not in stems:
        stems['colour'] = next(iter(stems.values()))
    return stems


def without_suffix(name: str) -> str:
    """Return a file's name without the suffix of an image; other dots are part of the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def images_below(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the images in a folder and those within it, by their path without suffix, sorted.

    Raises:
        DataError: If two differ in nothing but their suffix.
    """
    found: dict[str, Path] = {}
    for base, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith('.')]
        for name in names:
            path = Path(base, name)
            if path.suffix.lower() not in suffixes or name.startswith('.'):
                continue
            stem = path.relative_to(folder).with_suffix('').as_posix()
            if stem in found:
                raise DataError(f'{folder} holds both {found[stem].name} and {name}: two images '
                                'of one name; remove the one that is not meant')
            found[stem] = path
    return {stem: found[stem] for stem in sorted(found, key=natural_order)}
