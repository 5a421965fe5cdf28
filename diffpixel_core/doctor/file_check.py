# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Files: missing and damaged ones, swapped folders, sizes, splits that share frames."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from diffpixel_core.datasets.description import Description
from diffpixel_core.doctor.reading import Measured
from diffpixel_core.doctor.verdict import Verdict, counted, named, number_of, within
from diffpixel_core.image_folder import stored_type

_BLANK = 2.0  # standard deviation of grey values
_MORE_THAN_LABELS = 256  # different values in one label image
_FAULTS = {
    'unreadable': ('cannot be read', 'cannot be read',
                   'copy or export them again, or leave their frames out'),
    'size': ('is not of the size of its colour image', 'are not of the size of their colour images',
             'register depth to the colour camera and write labels at its size; neither is '
             'resized here'),
    'coloured': ('is a coloured picture, no depth', 'are coloured pictures, no depth',
                 'take the depth images themselves; HHA and rainbow maps hold no metres'),
}


def file_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return what is wrong with the files of the frames that were read."""
    verdicts = []
    for kind, (is_, are, remedy) in _FAULTS.items():
        faults = {fault.path: fault for frame in frames for fault in frame.faults
                  if fault.kind == kind}
        if faults:
            first = next(iter(faults.values()))
            the_first = ', the first is' if len(faults) > 1 else ','
            reason = f': {first.text}' * bool(first.text)
            verdicts.append(Verdict(
                'error', f'{number_of(len(faults), "file")} {is_ if len(faults) == 1 else are}'
                f'{the_first} {within(first.path, description.root)}{reason}', remedy,
                named(faults, description.root)))
    blank = [frame.file.colour for frame in frames
             if frame.contrast is not None and frame.contrast < _BLANK]
    if blank:
        which = counted(len(blank), len(frames), 'colour image', 'show')
        verdicts.append(Verdict('error', f'{which} nothing, one grey all over', 'leave them out',
                                named(blank, description.root)))
    sizes = Counter(frame.size for frame in frames if frame.size is not None)
    if len(sizes) > 1:
        told = ', '.join(f'{width}x{height} ({n})' for (height, width), n in sizes.most_common(5))
        verdicts.append(Verdict('note', f'images are of {len(sizes)} sizes: {told}'))
    return verdicts


def swapped_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return whether the images of two folders are those of each other, in half of the frames."""
    root = description.root
    depth_as_labels = [frame.file.label for frame in frames if frame.file.label is not None
                       and frame.depth_type == 'uint8'
                       and frame.ids.values.size > _MORE_THAN_LABELS]
    if depth_as_labels and 2 * len(depth_as_labels) >= len(frames):
        return [Verdict('error', 'depth and label images look swapped: those of labels hold '
                        'hundreds of values in 16 bits, those of depth 8 bits',
                        'check which folder is which', named(depth_as_labels, root))]
    depth_as_colour = [frame.file.colour for frame in frames if frame.size is not None
                       and any(fault.kind == 'coloured' for fault in frame.faults)
                       and stored_type(frame.file.colour) == 'uint16']
    if depth_as_colour and 2 * len(depth_as_colour) >= len(frames):
        return [Verdict('error', 'colour and depth images look swapped: those of depth are '
                        'coloured, those of colour have 16 bits', 'check which folder is which',
                        named(depth_as_colour, root))]
    return []


def split_verdicts(description: Description, splits: Sequence[str]) -> list[Verdict]:
    """Return empty splits, files that are missing, and frames that are in two splits."""
    verdicts = []
    for split in splits:
        if not description.splits[split]:
            where = description.lists.get(split)
            verdicts.append(Verdict('error', f'split {split!r} is empty', 'correct ' + (
                within(where, description.root) if where else 'what it names')))
    missing = [path for split in splits for file in description.splits[split]
               for path in (file.colour, file.depth, file.label) if path and not path.is_file()]
    if missing:
        verdicts.append(Verdict('error', f'{number_of(len(missing), "file")} missing, the first is '
                                f'{within(missing[0], description.root)}',
                                'restore them, or take their frames out of the lists',
                                named(missing, description.root)))
    for one, two in combinations(description.splits, 2):
        shared = _shared(description, one, two)
        if shared and {one, two} & set(splits):
            all_of = min(len(description.splits[one]), len(description.splits[two]))
            verdicts.append(Verdict(
                'error', f'{number_of(len(shared), "frame")} of split {two!r} '
                f'{"is" if len(shared) == 1 else "are"} in {one!r} too'
                + ', all of the smaller one' * (len(shared) == all_of),
                'take them out of one: scores on frames seen in training mean nothing',
                named(shared, description.root)))
    return verdicts


def _shared(description: Description, one: str, two: str) -> list[Path]:
    """Return the colour images of split `two` that equal one of split `one`, byte by byte."""
    by_size: dict[int, list[Path]] = {}
    for file in description.splits[one]:
        if file.colour.is_file():
            by_size.setdefault(file.colour.stat().st_size, []).append(file.colour)
    known: dict[Path, bytes] = {}

    def digest(path: Path) -> bytes:
        if path not in known:
            known[path] = hashlib.blake2b(path.read_bytes()).digest()
        return known[path]

    shared = []
    for file in description.splits[two]:
        if not file.colour.is_file():
            continue
        twins = by_size.get(file.colour.stat().st_size, [])
        if any(path == file.colour or digest(path) == digest(file.colour) for path in twins):
            shared.append(file.colour)
    return shared
