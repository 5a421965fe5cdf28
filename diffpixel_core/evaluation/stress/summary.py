# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the curves say in plain sentences, every figure taken from them."""

import math
from dataclasses import dataclass

import numpy as np

from diffpixel_core.evaluation.stress.curves import Curve, Measured, Score, StressResults

LOSS = 5.0  # points of mIoU; what costs more is worth a warning
_SHIFTS = ('depth_shift_x', 'depth_shift_y')
_MISSING = ('depth_missing', 'colour_missing')


@dataclass(frozen=True)
class Warned:
    """One fault to watch for on a robot: one that costs more than `LOSS` points.

    Attributes:
        curve: The fault.
        first: The mildest severity that costs so much.
    """

    curve: Curve
    first: Score

    def onset(self, amount: str) -> str:
        """Return from where on it costs so much, and how much there.

        Args:
            amount: The mildest such severity in words.
        """
        span = _span(self.curve, LOSS)
        return f'any tried ({span})' if span else f'{amount} ({change(self.first.drop)})'


def summary(results: StressResults) -> list[str]:
    """Return what the figures say, one sentence or two for each question, the verdict first."""
    measured = results.measured
    sentences = [_healthy(results), _worst(measured), _sensors(measured), _shift(results),
                 _breaks(measured), _holds(measured), *_worse_than_none(measured),
                 _chance(measured)]
    return [sentence for sentence in sentences if sentence]


def setting(results: StressResults) -> str:
    """Return what was measured on what, as the line under a title."""
    protocol, measured = results.protocol, results.measured
    narrow, wide = measured.widths
    frames = f'{measured.frames} frames'
    if measured.frames < protocol['frames_in_split']:
        frames = f'{measured.frames} of {protocol["frames_in_split"]} frames'
    sensor = protocol['sensor']
    depth = '' if sensor == 'as stored' else f', depth as from a {sensor}'
    return (f'{protocol["network"]} on {frames} of {protocol["data"]}, '
            f'{wide if narrow == wide else f"{narrow} to {wide}"} px wide{depth}; '
            f'{len(results.label_space)} classes of {results.label_space.name}')


def caution(results: StressResults) -> str:
    """Return what the figures must not be taken for; nothing if they are of real frames."""
    if results.protocol['room_seed'] is None:
        return ''
    return ('Measured on generated rooms: they show what this model leans on, not what it scores '
            'on a real data set.')


def warned(measured: Measured) -> list[Warned]:
    """Return the faults to watch for, the costliest first."""
    found = [Warned(curve, first) for curve in measured.curves
             if (first := curve.first_over(LOSS)) is not None]
    return sorted(found, key=lambda row: -row.curve.worst.drop)


def percent(share: float) -> str:
    """Return a share of 0..1 as it stands in a sentence."""
    return f'{100 * share:.1f} %'


def lost(drop: float) -> str:
    """Return points lost as it stands in a sentence: 'loses 3.1 points'."""
    if abs(drop) < 0.05:
        return 'loses nothing'
    return f'{"loses" if drop > 0 else "gains"} {abs(drop):.1f} points'


def change(drop: float) -> str:
    """Return points lost as a change, as it stands in a table: '−3.1'; '+0.4' if gained."""
    return '0.0' if abs(drop) < 0.05 else f'{-drop:+.1f}'.replace('-', '−')


def relative(drop: float, measured: Measured) -> float:
    """Return points as percent of the clean mIoU; NaN where that is 0."""
    return drop / measured.clean.miou if measured.clean.miou else math.nan


def _healthy(results: StressResults) -> str:
    clean = results.measured.clean
    frames = results.measured.frames
    return (f'With both images healthy, {results.model} reaches {percent(clean.miou)} mIoU and '
            f'gets {percent(clean.pixel_accuracy)} of the pixels right '
            f'({frames} frame{"s" if frames > 1 else ""}).')


def _worst(measured: Measured) -> str:
    curve = max(measured.curves, key=lambda curve: curve.worst.drop)
    if curve.worst.drop <= 0:
        return ''
    return (f'Worst of all: {curve.corruption.at(curve.worst.severity)}, which '
            f'{_costs(curve.worst.drop)} ({relative(curve.worst.drop, measured):.0f} % of the '
            'healthy mIoU).')


def _sensors(measured: Measured) -> str:
    curves = [measured.curve(name) for name in _MISSING]
    drops = [None if curve is None else curve.worst_of_spoiled.drop for curve in curves]
    parts = [f'without any {name} it {lost(drop)} ({relative(drop, measured):.0f} %)'
             for name, drop in zip(('depth', 'colour'), drops, strict=True) if drop is not None]
    if not parts:
        return ''
    text = ' and '.join(parts)
    text = text[0].upper() + text[1:]
    depth, colour = drops
    if depth is None or colour is None:
        return text + '.'
    return f'{text}: {_leaning(depth, colour)}.'


def _leaning(depth: float, colour: float) -> str:
    if max(depth, colour) < 1:
        return 'it misses neither, which is odd; look at the pictures'
    if depth < 1:
        return 'it hardly uses depth'
    if colour < 1:
        return 'it hardly uses colour'
    if max(depth, colour) < 1.5 * min(depth, colour):
        return 'it needs both about equally'
    return f'it leans on {"depth" if depth > colour else "colour"}'


def _shift(results: StressResults) -> str:
    curves = [curve for name in _SHIFTS if (curve := results.measured.curve(name)) is not None]
    if not curves:
        return ''
    pixels = sorted({abs(score.severity) for curve in curves for score in curve.scores})[1:]
    # The costliest direction for each distance.
    worst = {px: max(((score, curve) for curve in curves for score in curve.scores
                      if abs(score.severity) == px), key=lambda pair: pair[0].drop)
             for px in pixels}
    over = [px for px in pixels if worst[px][0].drop > LOSS]
    narrow, wide = results.measured.widths
    width = str(wide) if narrow == wide else f'{narrow} to {wide}'
    if not over:
        drop = worst[pixels[-1]][0].drop
        return (f'Depth need not lie exactly on its colour: {_distance(pixels[-1], results)} in '
                f'the worst direction {_costs(drop)} (frames are {width} px wide).')
    first = over[0]
    score, curve = worst[first]
    way = _way(curve, score)
    mild = [px for px in pixels if px < first]
    if not mild:
        return (f'Depth must lie exactly on its colour: {_distance(first, results)} {way} already '
                f'{_costs(score.drop)} (frames are {width} px wide).')
    return (f'Depth may lie up to {mild[-1]:g} px beside its colour, which '
            f'{_costs(worst[mild[-1]][0].drop)}; {_distance(first, results)} {way} '
            f'{_costs(score.drop)} (frames are {width} px wide).')


def _distance(pixels: float, results: StressResults) -> str:
    degrees = math.degrees(math.atan(pixels / results.camera.fx))
    return (f'{pixels:g} px ({degrees:.2f}°, {2000 * pixels / results.camera.fx:.0f} mm at 2 m)')


def _way(curve: Curve, score: Score) -> str:
    ways = ('left', 'right') if curve.corruption.name == 'depth_shift_x' else ('up', 'down')
    return ways[score.severity > 0]


def _costs(drop: float) -> str:
    if abs(drop) < 0.05:
        return 'costs nothing'
    return f'costs {drop:.1f} points' if drop > 0 else f'gains {-drop:.1f} points'


def _others(measured: Measured) -> list[Curve]:
    return [curve for curve in measured.curves
            if curve.corruption.name not in _SHIFTS + _MISSING]


def _breaks(measured: Measured) -> str:
    rows = [row for row in warned(measured) if row.curve in _others(measured)]
    if not rows:
        return ''
    parts = [_from(row.curve, row.first, LOSS) for row in rows]
    return f'More than {LOSS:g} points are lost to {_listed(parts)}.'


def _holds(measured: Measured) -> str:
    calm = [curve for curve in _others(measured) if curve.first_over(LOSS) is None]
    if not calm:
        return ''
    parts = [f'{curve.corruption.title} ({curve.corruption.extent})' for curve in calm]
    return f'Never more than {LOSS:g} points, up to the strength tried: {_listed(parts)}.'


def _from(curve: Curve, first: Score, points: float) -> str:
    """Return from where on a fault costs more than `points`, and what it costs there."""
    span = _span(curve, points)
    if span:
        return f'{curve.corruption.title} at every severity tried ({span})'
    return (f'{curve.corruption.title} from {curve.corruption.amount_of(first.severity)} on '
            f'({change(first.drop)})')


def _span(curve: Curve, points: float) -> str:
    """Return the least and the greatest loss if all severities tried cost more than `points`."""
    drops = [score.drop for score in curve.scores if score.severity != curve.corruption.clean]
    if len(drops) < 2 or min(drops) <= points:
        return ''
    return f'{change(min(drops))} to {change(max(drops))}'


def _worse_than_none(measured: Measured) -> list[str]:
    """Return for depth and for colour which faults cost more than having no such image at all."""
    sentences: list[str] = []
    if measured.frames == 1:  # too little to advise on
        return sentences
    for modality in ('depth', 'colour'):
        none = measured.curve(f'{modality}_missing')
        if none is None:
            continue
        without = none.worst_of_spoiled.drop
        worse = []
        for curve in _others(measured) + [c for c in measured.curves
                                          if c.corruption.name in _SHIFTS]:
            # A point more, so that chance alone does not make a rule.
            points = max(without, 0) + 1
            first = curve.first_over(points)
            if curve.corruption.modality == modality and first is not None:
                worse.append(_from(curve, first, points))
        if worse:
            sentences.append(f'Worse than no {modality} at all ({change(without)}): '
                             f'{_listed(worse)}; a robot that notices should blank the {modality} '
                             'image.')
    return sentences


def _chance(measured: Measured) -> str:
    errors = [score.error for curve in measured.curves for score in curve.scores
              if score.error is not None and score.severity != curve.corruption.clean]
    if not errors:
        return 'One frame says nothing about chance: take more.'
    return ('By chance: with other frames a loss would typically move by up to '
            f'± {2 * np.median(errors):.1f} points (two standard errors); smaller differences mean '
            'nothing.')


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'
