# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Depth: how far, how full, and whether its unit can be what it is said to be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.datasets.description import Description
from diffpixel_core.depth import DEPTH_UNITS, depth_in_metres
from diffpixel_core.doctor.reading import Counts, Measured, explains, merged
from diffpixel_core.doctor.verdict import Severity, Verdict, counted, named

UNIT_NAMES = {'mm': 'millimetres', 'm': 'metres', 'm5000': 'm x 5000',
              'sun': 'SUN RGB-D\'s rotated millimetres', 'relative': 'a picture without a scale'}
# Scales in public data that no unit of ours reads: metres per step.
# Source: Depth2HHA (m x 10000), Redwood and Kinect Fusion tools (m x 4000), KITTI (m x 256).
_FOREIGN = {'m x 10000': 1e-4, 'm x 4000': 1 / 4000, 'm x 256': 1 / 256, 'centimetres': 0.01}

# Indoors, medians of public sets lie between 0.6 m (table tops) and 3.5 m (SUN RGB-D, NYUDv2).
_TYPICAL_MEDIAN_M = 2.3
_NEAREST_MEDIAN_M, _FARTHEST_MEDIAN_M = 0.4, 7.0
_NEAREST_FAR_M, _FARTHEST_FAR_M = 0.8, 25.0  # where 99 % of a room's pixels may end
_SHORT_FAR_M = 1.5
_MANY_HOLES, _EMPTY = 0.6, 0.99
_CLIPPED = 0.05
_OUTLIER = 4.0  # times the median of all
_STEPS_OF_8 = 0.9
_MANY_VALUES = 100
_LEVELS_OF_8_BITS = 256
_FRAMES_FOR_LEVELS = 4  # a Kinect has few levels in one frame, too


@dataclass(frozen=True, slots=True)
class DepthSummary:
    """Depth in figures; those in metres are None where nothing could be read.

    Attributes:
        median_m: Median of measured pixels.
        p01_m: A hundredth of them is nearer.
        p99_m: A hundredth of them is farther.
        hole_fraction: Part of all pixels that are not measured.
        unit: The unit it was read in.
        metric: Whether these are metres; False where the scale is lost.
    """

    median_m: float | None
    p01_m: float | None
    p99_m: float | None
    hole_fraction: float | None
    unit: str
    metric: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain types, rounded to what is known."""
        return {key: round(value, 4) if isinstance(value, float) else value
                for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class _Range:
    """Measured depth under one unit, metres."""

    p01: float
    median: float
    p99: float

    def is_a_room(self) -> bool:
        return (_NEAREST_MEDIAN_M <= self.median <= _FARTHEST_MEDIAN_M
                and _NEAREST_FAR_M <= self.p99 <= _FARTHEST_FAR_M)

    def distance(self) -> float:
        """Return how far the median is from a room's, as a logarithm."""
        return float(abs(np.log(self.median / _TYPICAL_MEDIAN_M)))


def depth_summary(description: Description, frames: Sequence[Measured]) -> DepthSummary:
    """Return the figures of all frames that can be read in the data set's unit."""
    unit = description.depth_unit
    counts = merged([frame.depth for frame in frames if explains(unit, frame.depth_type)])
    total = int(counts.counts.sum())
    if not total:
        return DepthSummary(None, None, None, None, unit, metric=description.metric)
    metres = _metres(counts, unit)
    holes = 1 - float(counts.counts[metres > 0].sum()) / total
    found = _range(counts, unit)
    return DepthSummary(found.median if found else None, found.p01 if found else None,
                        found.p99 if found else None, holes, unit, metric=description.metric)


def depth_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return what is wrong with the depth of these frames, apart from its unit."""
    read = [frame for frame in frames if frame.depth.values.size]
    if not read:
        return []
    return [*_type_verdicts(description, read), *_content_verdicts(description, read)]


def _type_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return verdicts on depth images whose type of values the unit cannot have."""
    unit = description.depth_unit
    by_type: dict[str, list[Measured]] = {}
    for frame in frames:
        if not explains(unit, frame.depth_type):
            by_type.setdefault(frame.depth_type, []).append(frame)
    verdicts = []
    for depth_type, of_type in by_type.items():
        text = f'{counted(len(of_type), len(frames), "depth image", "hold")} {depth_type}'
        best, ranges = _best_unit(of_type, depth_type)
        if depth_type == 'uint8':
            text += ', a picture of depth that has lost its scale'
            remedy = ('export 16-bit depth; if there is none, depth_unit: relative reads it, but '
                      'a network trained on it knows no metres')
        elif best and ranges[best].is_a_room():
            text += (f': depth looks like {UNIT_NAMES[best]}, not {UNIT_NAMES[unit]}; read so, its '
                     f'median is {ranges[best].median:.2f} m')
            remedy = _say_unit(description, best)
        else:
            text += f', which cannot be {UNIT_NAMES[unit]}'
            remedy = 'say in depth_unit what they are'
        verdicts.append(Verdict('error', text, remedy, named(
            (frame.file.depth for frame in of_type), description.root)))
    if unit == 'relative' and any(explains(unit, frame.depth_type) for frame in frames):
        verdicts.append(Verdict(
            'warning', 'depth is a picture stretched from each image\'s nearest to its farthest '
            'point: the scale is lost, the figures in metres are nominal',
            'train and score with it to compare with others; for a robot, use metric depth'))
    return verdicts


def _best_unit(frames: Sequence[Measured], depth_type: str, *,
               said: str = '') -> tuple[str | None, dict[str, _Range]]:
    """Return the unit under which depth is most like a room's, and its range under every unit.

    SUN RGB-D's unit is not considered for values that are not in steps of 8, unless it is said.
    """
    counts = merged([frame.depth for frame in frames])
    ranges = {unit: found for unit in DEPTH_UNITS if explains(unit, depth_type)
              for found in (_range(counts, unit),) if found is not None}
    if 'sun' in ranges and said != 'sun' and not _in_steps_of_8(counts):
        del ranges['sun']
    if not ranges:
        return None, {}
    best = min(ranges, key=lambda unit: ranges[unit].distance())
    if 'sun' in ranges and ranges['sun'].is_a_room() and (
            counts.values.size >= _MANY_VALUES or not (said in ranges
                                                       and ranges[said].is_a_room())):
        best = 'sun'  # steps of 8 are no accident
    return best, ranges


def unit_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    """Return a verdict if depth, read in its unit, is not like a room's."""
    unit = description.depth_unit
    frames = [frame for frame in frames
              if frame.depth.values.size and explains(unit, frame.depth_type)]
    if unit == 'relative' or not frames:
        return []
    best, ranges = _best_unit(frames, frames[0].depth_type, said=unit)
    if best is None:
        return []
    said = ranges[unit]
    figures = f'its median is {said.median:.2f} m and 99 % are nearer than {said.p99:.2f} m'
    too_near = (said.p99 < _SHORT_FAR_M and said.distance() > 1
                and said.distance() - ranges[best].distance() > 1)
    if best != unit and ranges[best].is_a_room() and (best == 'sun' or too_near
                                                       or not said.is_a_room()):
        return [Verdict(
            'warning' if too_near else 'error',
            f'depth looks like {UNIT_NAMES[best]}, not {UNIT_NAMES[unit]}: read as said, {figures};'
            f' as {UNIT_NAMES[best]} {ranges[best].median:.2f} m and {ranges[best].p99:.2f} m',
            _say_unit(description, best) + ', unless the scenes are that near' * too_near)]
    if said.is_a_room():
        return []
    return [_implausible(frames, unit, said, figures)]


def _implausible(frames: Sequence[Measured], unit: str, said: _Range, figures: str) -> Verdict:
    """Return the verdict on depth that is a room under no unit of ours."""
    counts = merged([frame.depth for frame in frames])
    steps = counts.values[counts.values > 0].astype(np.float64)
    weights = counts.counts[counts.values > 0]
    scales = {'float millimetres': 0.001} if unit == 'm' else _FOREIGN
    fits = {name: found for name, scale in scales.items()
            for found in (_weighted_range(steps * scale, weights),) if found.is_a_room()}
    if fits and said.median > _FARTHEST_MEDIAN_M:
        name = min(fits, key=lambda name: fits[name].distance())
        return Verdict('error', f'depth looks like {name}, not {UNIT_NAMES[unit]}: read as said, '
                       f'{figures}; as {name} {fits[name].median:.2f} m',
                       'convert it to 16-bit millimetres')
    if said.median < _NEAREST_MEDIAN_M:
        as_others = ''.join(f'; as {name} {fits[name].median:.2f} m' for name in fits)
        return Verdict('warning', f'depth is very near for a room: {figures}{as_others}',
                       'check the unit; table tops and hands may be like this')
    return Verdict('warning', f'depth is not like a room\'s: {figures}',
                   'check the unit; outdoors or in halls this may be right')


def _say_unit(description: Description, unit: str) -> str:
    if description.layout == 'yaml':
        return f'say depth_unit: {unit}'
    return f'say --depth-unit {unit} here, data.depth_unit: {unit} where you train'


def _content_verdicts(description: Description, frames: Sequence[Measured]) -> list[Verdict]:
    unit, root = description.depth_unit, description.root
    frames = [frame for frame in frames if explains(unit, frame.depth_type)]
    if not frames:
        return []
    empty: list[Path] = []
    flat: list[Path] = []
    clipped: list[tuple[float, Path]] = []
    medians: list[tuple[float, Path]] = []
    holes = 0.0
    for frame in frames:
        metres = _metres(frame.depth, unit)
        measured, total = frame.depth.counts[metres > 0], frame.depth.counts.sum()
        holes += float(1 - measured.sum() / total) / len(frames)
        if measured.sum() < (1 - _EMPTY) * total:
            empty.append(frame.file.depth)
            continue
        found = _range(frame.depth, unit)
        assert found is not None
        medians.append((found.median, frame.file.depth))
        if measured.size == 1:
            flat.append(frame.file.depth)
        elif frame.depth.counts[metres.argmax()] > _CLIPPED * measured.sum() and measured.size > 9:
            clipped.append((float(metres.max()), frame.file.depth))
    n = len(frames)

    def told(paths: list[Path], verb: str, text: str, remedy: str, *,
             severity: Severity = 'warning') -> None:
        if paths:
            which = counted(len(paths), n, 'depth image', verb)
            verdicts.append(Verdict(severity, f'{which} {text}', remedy, named(paths, root)))

    verdicts: list[Verdict] = []
    told(empty, 'hold', 'next to no measured pixel', 'record or export them again, or leave them '
         'out', severity='error')
    told(flat, 'hold', 'one and the same depth everywhere', 'export them again, or leave them out',
         severity='error')
    limits = Counter(round(metres, 2) for metres, _ in clipped).most_common(1)
    for limit, _ in limits:
        told([path for _, path in clipped], 'are', f'cut off at the largest value (mostly '
             f'{limit:g} m): more than {_CLIPPED:.0%} of the pixels have it',
             'export depth without a limit, or write these pixels as 0')
    levels = merged([frame.depth for frame in frames]).values.size
    if unit != 'relative' and n >= _FRAMES_FOR_LEVELS and n > len(flat) + len(empty) and (
            levels <= _LEVELS_OF_8_BITS):
        verdicts.append(Verdict('warning', f'{n} depth images hold {levels} different values '
                                'together, like 8-bit pictures saved with more bits',
                                'check that the metres are right'))
    middle = float(np.median([median for median, _ in medians])) if medians else 0.0
    told([path for median, path in medians if not middle / _OUTLIER < median < middle * _OUTLIER],
         'lie', f'more than {_OUTLIER:g} times nearer or farther than the others, whose median is '
         f'{middle:.2f} m', 'check whether they are in another unit')
    return [*verdicts, *_hole_verdicts(holes, unit)]


def _hole_verdicts(holes: float, unit: str) -> list[Verdict]:
    if holes > _MANY_HOLES:
        return [Verdict('warning', f'{holes:.0%} of the depth is missing',
                        'look at the sheet; is the sensor\'s range that of the scenes?')]
    if holes == 0 and unit != 'relative':
        return [Verdict('note', 'depth has no holes at all: it was in-painted or rendered',
                        'a sensor leaves holes; train with depth noise and holes, or with raw '
                        'depth where the data set has it')]
    return []


def _metres(counts: Counts, unit: str) -> npt.NDArray[np.float32]:
    """Return metres of each value, 0 = not measured."""
    return np.asarray(depth_in_metres(counts.values[None], unit)[0])


def _range(counts: Counts, unit: str) -> _Range | None:
    metres = _metres(counts, unit)
    measured = metres > 0
    if not measured.any():
        return None
    return _weighted_range(metres[measured], counts.counts[measured])


def _weighted_range(metres: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> _Range:
    order = np.argsort(metres)
    below = np.cumsum(counts[order])
    places = np.searchsorted(below, np.array([0.01, 0.5, 0.99]) * below[-1])
    return _Range(*(float(value) for value in metres[order][places]))


def _in_steps_of_8(counts: Counts) -> bool:
    """Return whether values have three low bits of 0, as SUN's do below 8.192 m."""
    measured = (counts.values > 0) & (counts.values < 65535)
    total = counts.counts[measured].sum()
    steps = counts.counts[measured & (counts.values % 8 == 0)].sum()
    return bool(total) and bool(steps >= _STEPS_OF_8 * total)
