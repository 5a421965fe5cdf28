# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Files: missing and damaged ones, sizes, splits that share frames, edges that do not meet."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from diffpixel_core.datasets.description import Description
from diffpixel_core.doctor.alignment import combined
from diffpixel_core.doctor.reading import Measured
from diffpixel_core.doctor.verdict import Verdict, counted, files_of, named, within

_BLANK = 2.0  # standard deviation of grey values
_FAR_SHIFT = 5  # pixels; a few occur in public data
_FAULTS = {
    'unreadable': ('that cannot be read', 'copy or export them again, or leave their frames out'),
    'size': ('of another size than the colour image', 'register depth to the colour camera and '
             'write labels at its size; neither is resized here'),
}


def file_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return what is wrong with the files of the frames that were read."""
    verdicts = []
    for kind, (text, remedy) in _FAULTS.items():
        faults = [fault for frame in frames for fault in frame.faults if fault.kind == kind]
        if faults:
            paths = {fault.path: fault for fault in faults}
            first = next(iter(paths.values()))
            words = first.text.replace(str(first.path), '').split()
            reason = ' '.join(words).split(';')[0].strip(' :')
            verdicts.append(Verdict('error', f'{files_of(len(paths))} {text}: '
                                    f'{within(first.path, description.root)} ({reason})', remedy,
                                    named(paths, description.root)))
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


def alignment_verdicts(frames: Sequence[Measured]) -> list[Verdict]:
    """Return whether depth and labels lie on the colour images, as far as that can be told."""
    verdicts = []
    for what, agreements, remedy in (
            ('depth', [frame.depth_agreement for frame in frames],
             'register depth to the colour camera'),
            ('labels', [frame.label_agreement for frame in frames],
             'check how the label images were made: cropped, resized?')):
        found = combined([one for one in agreements if one is not None])
        if found is None:
            continue
        if found.clear:
            where = ' and '.join(filter(None, (
                f'{abs(found.down)} px {"down" if found.down > 0 else "up"}' * (found.down != 0),
                f'{abs(found.right)} px to the {"right" if found.right > 0 else "left"}'
                * (found.right != 0))))
            far = max(abs(found.down), abs(found.right)) >= _FAR_SHIFT
            verdicts.append(Verdict(
                'error' if far else 'warning',
                f'{what} and colour do not lie on each other: moved {where}, the edges of '
                f'{what} meet those of colour best ({found.best_score:.2f} instead of '
                f'{found.score:.2f}; {found.frames} frames agree)', remedy))
        elif found.hardly_meets and what == 'depth':
            verdicts.append(Verdict(
                'warning', 'edges of depth and colour hardly meet at any shift (agreement '
                f'{found.score:.2f} in {found.frames} frames; registered data sets have 1 or '
                'more): depth looks as if it was not registered to the colour camera', remedy
                + '; look at the sheet'))
    return verdicts


def split_verdicts(description: Description, splits: Sequence[str]) -> list[Verdict]:
    """Return empty splits, files that are missing, and frames that are in two splits."""
    verdicts = []
    for split in splits:
        if not description.splits[split]:
            verdicts.append(Verdict('error', f'split {split!r} is empty', 'correct its list'))
    missing = [path for split in splits for file in description.splits[split]
               for path in (file.colour, file.depth, file.label) if path and not path.is_file()]
    if missing:
        verdicts.append(Verdict('error', f'{files_of(len(missing))} missing, the first is '
                                f'{within(missing[0], description.root)}',
                                'restore them, or take their frames out of the lists',
                                named(missing, description.root)))
    for one, two in combinations(description.splits, 2):
        shared = _shared(description, one, two)
        if shared and {one, two} & set(splits):
            all_of = min(len(description.splits[one]), len(description.splits[two]))
            verdicts.append(Verdict(
                'error', f'{_frames(len(shared))} of split {two!r} are in {one!r} too'
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


def _frames(number: int) -> str:
    return f'{number} frame{"s" * (number != 1)}'
