# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix drawn as inline SVG: rows of per cent, class names on both sides."""

import html

import numpy as np

from diffpixel_core.labels import LabelSpace
from diffpixel_core.report.data import Confusion

_CELL = 22        # side of a field, in the picture's own units
_NAMES = 128      # room for the names on the left
_ABOVE = 104      # room for the names on top, written at an angle
_SHARE = 62       # room on the right for the share of the pixels
_SHOWN = 0.005    # of a row; a smaller field stays empty
_WRITTEN = 0.1    # of a row; a smaller field has a colour but no figure
_NO_CLASS = 'no class'


def confusion_picture(confusion: Confusion, space: LabelSpace) -> str:
    """Return an SVG of the classes that are true or predicted, in the order of the label space.

    Args:
        confusion: The counts.
        space: Names of the classes.
    """
    counts = np.asarray(confusion.counts, np.float64)
    rows = np.flatnonzero(counts.sum(1))
    columns = np.flatnonzero(counts.sum(0) + np.append(counts.sum(1), 0))
    names = (*space.names, _NO_CLASS)
    width = _NAMES + _CELL * len(columns) + _SHARE
    height = _ABOVE + _CELL * len(rows)
    right = _NAMES + _CELL * len(columns)
    parts = [f'<rect class="frame" x="{_NAMES}" y="{_ABOVE}" width="{right - _NAMES}" '
             f'height="{height - _ABOVE}"/>']
    for i, column in enumerate(columns):
        x = _NAMES + _CELL * i + _CELL / 2 + 4
        parts.append(f'<text x="{x}" y="{_ABOVE - 6}" transform="rotate(-55 {x} {_ABOVE - 6})">'
                     f'{html.escape(names[column])}</text>')
    total = counts.sum()
    for j, row in enumerate(rows):
        y = _ABOVE + _CELL * j
        share = counts[row].sum() / total
        parts.append(f'<text class="own" x="{_NAMES - 7}" y="{y + _CELL / 2 + 4}" '
                     f'text-anchor="end">{html.escape(names[row])}</text>'
                     f'<text x="{right + 7}" y="{y + _CELL / 2 + 4}">{_percent(share)}</text>')
        parts.append(f'<path class="grid" d="M{_NAMES} {y}H{right}"/>')
        for i, column in enumerate(columns):
            part = counts[row, column] / counts[row].sum()
            if part >= _SHOWN:
                parts.append(_field(_NAMES + _CELL * i, y, part, right=row == column,
                                    words=f'{names[row]} taken for {names[column]}'))
    parts.append(f'<text x="{right + 7}" y="{_ABOVE - 8}">of all</text>')
    # No wider than the fields can be read at; narrower where the page is.
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="confusion matrix" '
            f'style="max-width:{round(width * 1.15)}px;min-width:{min(width, 620)}px">'
            f'{"".join(parts)}</svg>')


def _field(x: float, y: float, part: float, *, right: bool, words: str) -> str:
    figure = ''
    if part >= _WRITTEN:
        figure = (f'<text x="{x + _CELL / 2}" y="{y + _CELL / 2 + 4}" text-anchor="middle" '
                  f'class="own">{100 * part:.0f}</text>')
    said = words if not right else words.replace(' taken for ', ' found as ', 1)
    return (f'<g><title>{html.escape(said)}: {_percent(part)}</title>'
            f'<rect class="{"right" if right else "cell"}" x="{x}" y="{y}" width="{_CELL}" '
            f'height="{_CELL}" fill-opacity="{0.06 + 0.8 * part:.3f}"/>{figure}</g>')


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %' if share >= 0.0095 else f'{100 * share:.1f} %'
