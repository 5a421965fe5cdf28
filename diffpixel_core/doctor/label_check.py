# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Labels: how much of each class, ids that are none, and whether all are shifted by one.

A shift is found where floors are: in 41 official NYUDv2 label maps, any one of them, 'floor' lies
on average at least a quarter of the image lower than 'wall'; read with ids one too low or too
high, the classes then called so never do by more than an eighth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.datasets.description import Description
from diffpixel_core.doctor.reading import Measured, merged
from diffpixel_core.doctor.verdict import Verdict, counted, named, number_of, within
from diffpixel_core.labels import UNLABELLED

_FLOOR_BELOW_WALL = 0.2  # of the image's height
_SAME_HEIGHT = 0.125
_FEWEST_PIXELS = 0.005  # of all labelled ones, before a class says anything
_MUCH_UNLABELLED = 0.5
_FILES_PER_ID = 20


@dataclass(frozen=True)
class LabelSummary:
    """Labels in figures.

    Attributes:
        frames: Frames that have labels which could be read.
        histogram: Pixels by class name in the order of the classes, then 'unlabelled'.
        out_of_range: Pixels by id that is no class, and by file.
    """

    frames: int
    histogram: dict[str, int]
    out_of_range: dict[int, dict[str, int]]

    def as_json(self) -> dict[str, Any]:
        """Return plain types; at most twenty files are named for an id."""
        return {'histogram': self.histogram,
                'out_of_range': {
                    str(i): {'pixels': sum(files.values()), 'frames': len(files),
                             'files': dict(sorted(files.items(), key=lambda row: -row[1])
                                           [:_FILES_PER_ID])}
                    for i, files in sorted(self.out_of_range.items())}}


def label_summary(description: Description, frames: Sequence[Measured]) -> LabelSummary:
    """Return the figures of all frames with labels; nothing in them if there are none."""
    frames = [frame for frame in frames if frame.labelled]
    if not frames:
        return LabelSummary(0, {}, {})
    table, space = description.raw_ids.table, description.label_space
    pixels = np.zeros(len(space) + 1, np.int64)
    out_of_range: dict[int, dict[str, int]] = {}
    for frame in frames:
        classes = table[frame.ids.values]
        known = classes < len(space)
        np.add.at(pixels, classes[known], frame.ids.counts[known])
        pixels[-1] += frame.ids.counts[classes == UNLABELLED].sum()
        assert frame.file.label is not None
        name = within(frame.file.label, description.root)
        for i in np.flatnonzero(classes > UNLABELLED):
            files = out_of_range.setdefault(int(frame.ids.values[i]), {})
            files[name] = int(frame.ids.counts[i])
    names = (*space.names, 'unlabelled')
    return LabelSummary(len(frames), dict(zip(names, map(int, pixels), strict=True)), out_of_range)


def label_verdicts(description: Description, frames: Sequence[Measured],
                   summary: LabelSummary) -> list[Verdict]:
    """Return what is wrong with the labels of these frames."""
    root = description.root
    bare = [frame.file.colour for frame in frames if frame.file.label is None]
    if len(bare) == len(frames):
        return [Verdict('note', 'there are no labels: good for prediction, not for training or '
                        'scoring')]
    verdicts = []
    if bare:
        which = counted(len(bare), len(frames), 'frame', 'have')
        verdicts.append(Verdict('error', f'{which} no label image',
                                'add them, or leave these frames out', named(bare, root)))
    read = [frame for frame in frames if frame.labelled]
    if not read:
        return verdicts
    return [*verdicts, *_id_verdicts(description, read, summary),
            *_content_verdicts(description, read, summary)]


def _id_verdicts(description: Description, frames: Sequence[Measured],
                 summary: LabelSummary) -> list[Verdict]:
    """Return verdicts on ids that are no class, and on a shift of all."""
    ids, space = description.raw_ids, description.label_space
    outside = summary.out_of_range.keys()
    stray = _out_of_range_verdicts(description, summary)
    last = ids.first + ids.classes - 1
    drop = _floor_below_wall(description, frames, ids.first)
    others = {first: _floor_below_wall(description, frames, first)
              for first in (ids.first - 1, ids.first + 1) if first >= 0}
    shifted = [first for first, found in others.items()
               if drop is not None and found is not None
               and drop < _SAME_HEIGHT and found >= _FLOOR_BELOW_WALL]
    if shifted and not ids.others:
        return [Verdict(
            'error', f'labels are shifted by one: classes are ids {ids.first}..{last} here, but if '
            f"they begin at {shifted[0]}, 'floor' lies below 'wall' as in every room (as said it "
            'does not)', _say_first(description, shifted[0])), *stray]
    floors_are_right = drop is not None and drop >= _FLOOR_BELOW_WALL
    if outside == {last + 1} and ids.first == 0 and not floors_are_right:
        return [Verdict(
            'error', f'ids run to {last + 1}, one more than the classes: 0 looks like unlabelled '
            'and classes like 1 and up', _say_first(description, 1)), *stray]
    if outside == {UNLABELLED}:
        present = set(merged([frame.ids for frame in frames]).values.tolist())
        from_zero = ids.first == 1 and last not in present and not floors_are_right
        return [*stray, Verdict(
            'error', f'id {UNLABELLED} occurs, which mostly means unlabelled'
            + (f', and {last} does not: the classes may begin at 0' if from_zero else ''),
            _say_first(description, 0 if from_zero else ids.first))]
    if not outside and drop is not None and drop < _SAME_HEIGHT:
        return [Verdict(
            'warning', f"'floor' lies no lower in the images than 'wall': {space.name} may be the "
            'wrong label space, or the ids in another order', 'look at the sheet')]
    return stray


def _say_first(description: Description, first: int) -> str:
    """Return how to say that class 0 has this id."""
    ids = description.raw_ids
    void = sorted({UNLABELLED, *(ids.void if first == ids.first else range(first))})
    keys = f'label_offset: {first}, void: {void}'
    return f'say {keys}' if description.layout == 'yaml' else f'describe it by a YAML with {keys}'


def _out_of_range_verdicts(description: Description, summary: LabelSummary) -> list[Verdict]:
    if not summary.out_of_range:
        return []
    ids = description.raw_ids
    files: dict[str, int] = {}
    for found in summary.out_of_range.values():
        for name, pixels in found.items():
            files[name] = files.get(name, 0) + pixels
    told = ', '.join(f'{i} ({sum(found.values())} pixels in {number_of(len(found), "file")})'
                     for i, found in sorted(summary.out_of_range.items())[:5])
    more = f' and {len(summary.out_of_range) - 5} more ids' * (len(summary.out_of_range) > 5)
    void = ', '.join(map(str, ids.void)) or 'none'
    which = counted(len(files), summary.frames, 'label image', 'hold')
    return [Verdict(
        'error', f'{which} ids that are neither a class ({ids.first}..'
        f'{ids.first + ids.classes - 1}) nor unlabelled ({void}): {told}{more}',
        'correct label_offset, void or the label space; training refuses these files',
        tuple(sorted(files, key=lambda name: -files[name])[:_FILES_PER_ID]))]


def _content_verdicts(description: Description, frames: Sequence[Measured],
                      summary: LabelSummary) -> list[Verdict]:
    total = sum(summary.histogram.values())
    table = description.raw_ids.table
    blank: list[Path] = []
    for frame in frames:
        assert frame.file.label is not None
        if (table[frame.ids.values] >= UNLABELLED).all():
            blank.append(frame.file.label)
    verdicts = []
    if blank:
        verdicts.append(Verdict(
            'error' if len(blank) == len(frames) else 'warning',
            f'{counted(len(blank), len(frames), "label image", "have")} no labelled pixel at all',
            'leave them out; a batch of nothing else gives no loss',
            named(blank, description.root)))
    elif total and summary.histogram['unlabelled'] > _MUCH_UNLABELLED * total:
        verdicts.append(Verdict(
            'warning', f'{summary.histogram["unlabelled"] / total:.0%} of the pixels are '
            'unlabelled', 'check void and label_offset'))
    seen = [name for name, pixels in summary.histogram.items()
            if pixels and name != 'unlabelled']
    if len(seen) == 1 and not blank:
        verdicts.append(Verdict('warning', f'all labelled pixels are {seen[0]!r}',
                                'check the label images'))
    if ('wall' not in seen and 'wall' in summary.histogram and len(seen) > 3
            and not summary.out_of_range):
        verdicts.append(Verdict('warning', "not a pixel is 'wall', the commonest class of rooms",
                                'check label_offset and the label space'))
    absent = [name for name in description.label_space.names if name not in seen]
    if absent and len(seen) > 1:
        some = ', '.join(absent[:6]) + ', ...' * (len(absent) > 6)
        verdicts.append(Verdict('note', f'{len(absent)} of {len(description.label_space)} classes '
                                f'do not occur in the frames read: {some}'))
    return verdicts


def _floor_below_wall(description: Description, frames: Sequence[Measured],
                      first: int) -> float | None:
    """Return how much lower 'floor' lies than 'wall' if classes begin at an id.

    Returns:
        Parts of the image's height; None if the classes are not known or too rare.
    """
    space = description.label_space
    if 'floor' not in space.names or 'wall' not in space.names:
        return None
    rows: dict[str, float] = {}
    total = sum(int(frame.ids.counts.sum()) for frame in frames)
    for name in ('floor', 'wall'):
        pixels, weighted = _rows_of(frames, first + space.index(name))
        if pixels < _FEWEST_PIXELS * total:
            return None
        rows[name] = weighted / pixels
    return rows['floor'] - rows['wall']


def _rows_of(frames: Sequence[Measured], raw: int) -> tuple[int, float]:
    """Return pixels of a raw id and the sum of their rows."""
    pixels, weighted = 0, 0.0
    for frame in frames:
        at: npt.NDArray[np.intp] = np.flatnonzero(frame.ids.values == raw)
        pixels += int(frame.ids.counts[at].sum())
        weighted += float((frame.ids.counts[at] * frame.id_rows[at]).sum())
    return pixels, weighted
