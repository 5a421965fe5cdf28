# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The stress sheet as one picture: sentences, curves, worst drops, pictures."""

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from diffpixel_core.evaluation.stress.curves import Curve, Measured, StressResults
from diffpixel_core.evaluation.stress.panels import highest, ticks
from diffpixel_core.evaluation.stress.summary import (
    LOSS,
    caution,
    change,
    setting,
    summary,
    warned,
)
from diffpixel_core.report.pictures import Image, colour_depth, depth_range, shrunk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _RULE = '#15181e', '#5b6472', '#e1e5ea'
_BLUE, _GREEN, _RED, _AMBER = '#3563e9', '#16845b', '#c8304a', '#9a5b00'
_COLUMNS = 4
_DPI = 100
_WIDTH = 16.0  # inches
_PANEL, _TILE, _ROW, _LINE, _GAP = 2.3, 1.75, 0.27, 0.245, 0.66  # heights, inches


def render_poster(results: StressResults) -> bytes:
    """Return the sheet as a PNG, 1600 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow, and only wanted here
    from matplotlib.figure import Figure

    measured = results.measured
    lines = [line for number, sentence in enumerate(summary(results))
             for line in textwrap.wrap(('' if number == 0 else '•  ') + sentence, 190,
                                       subsequent_indent='' if number == 0 else '    ')]
    worst = warned(measured)
    rows = -(-len(measured.curves) // _COLUMNS)
    heights = [1.55 + _LINE * len(lines), rows * _PANEL + _GAP + 0.15,
               (len(worst) + 2) * _ROW + _GAP, _TILE * 1.25 + _GAP + 0.25, rows * _TILE + 0.3]
    total = sum(heights)
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI, facecolor='white')
    top = total
    edges = []
    for height in heights:
        edges.append((top, top - height))
        top -= height
    _write(figure, results, lines, total)
    _draw_panels(figure, measured, edges[1], total)
    _draw_table(figure, measured, edges[2], total)
    _draw_examples(figure, results, edges[3], edges[4], total)
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format='png', dpi=_DPI)
    return file.getvalue()


def _write(figure: 'Figure', results: StressResults, lines: list[str], total: float) -> None:
    figure.text(0.02, 1 - 0.38 / total, f'Stress sheet of {results.model}', fontsize=20,
                fontweight='bold', color=_INK, va='center')
    figure.text(0.02, 1 - 0.74 / total, setting(results), fontsize=12, color=_SOFT, va='center')
    figure.text(0.02, 1 - 1.0 / total, caution(results), fontsize=12, color=_AMBER, va='center')
    for number, line in enumerate(lines):
        figure.text(0.02, 1 - (1.38 + _LINE * number) / total, line, fontsize=11, color=_INK,
                    va='center')


def _draw_panels(figure: 'Figure', measured: Measured, edges: tuple[float, float],
                 total: float) -> None:
    _heading(figure, 'When an image gets worse', edges[0], total, 'up: mIoU in %; blue band: '
             f'two standard errors of its loss; red dots: more than {LOSS:g} points lost; green '
             'dashes: both images healthy; red dots in a row: without this image at all')
    top = highest(measured)
    for number, curve in enumerate(measured.curves):
        row, column = divmod(number, _COLUMNS)
        bottom = edges[0] - _GAP - (row + 1) * _PANEL
        axes = figure.add_axes((
            0.035 + column * 0.2425, (bottom + 0.5) / total, 0.205, (_PANEL - 0.8) / total))
        _draw_curve(axes, curve, measured, top)


def _draw_curve(axes: 'Axes', curve: Curve, measured: Measured, top: float) -> None:
    corruption = curve.corruption
    across = np.arange(len(curve.scores))
    miou = np.array([100 * score.miou for score in curve.scores])
    error = np.array([2 * (score.error or 0) for score in curve.scores])
    axes.axhline(100 * measured.clean.miou, color=_GREEN, lw=1, ls=(0, (5, 3)))
    none = measured.curve(f'{corruption.modality}_missing')
    if none is not None and none is not curve:
        axes.axhline(100 * none.scores[-1].miou, color=_RED, lw=1, ls=':')
    axes.fill_between(across, miou - error, miou + error, color=_BLUE, alpha=0.15, lw=0)
    axes.plot(across, miou, color=_BLUE, lw=1.8)
    colours = [_GREEN if score.severity == corruption.clean else
               _RED if score.drop > LOSS else _BLUE for score in curve.scores]
    axes.scatter(across, miou, c=colours, s=22, zorder=3)
    axes.set_xticks(across, [corruption.tick(score.severity) for score in curve.scores])
    figures = ticks(top)
    axes.set_yticks(figures, [*map(str, figures[:-1]), f'{figures[-1]} %'])
    axes.set_ylim(0, top)
    axes.set_xlim(-0.4, len(curve.scores) - 0.6)
    axes.tick_params(labelsize=8.5, colors=_SOFT, length=0)
    axes.set_xlabel(corruption.unit, fontsize=8.5, color=_SOFT, labelpad=1)
    axes.set_title(corruption.title, fontsize=11, color=_INK, loc='left', fontweight='bold', pad=4)
    worst = curve.worst_of_spoiled.drop
    axes.set_title(f'at worst {change(worst)}', fontsize=9.5, loc='right', pad=4,
                   color=_RED if worst > LOSS else _SOFT)
    axes.grid(axis='y', color=_RULE, lw=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_table(figure: 'Figure', measured: Measured, edges: tuple[float, float],
                total: float) -> None:
    _heading(figure, 'What to watch on a robot', edges[0], total,
             f'every fault that costs more than {LOSS:g} points of mIoU')
    columns = (0.02, 0.19, 0.25, 0.45)
    rows = [('fault', 'at worst', f'more than {LOSS:g} points from', 'what helps')]
    rows += [(row.curve.corruption.title, change(row.curve.worst.drop),
              row.onset(row.curve.corruption.amount_of(row.first.severity)),
              row.curve.corruption.remedy) for row in warned(measured)]
    for number, row in enumerate(rows):
        y = (edges[0] - _GAP - _ROW * (number + 0.2)) / total
        for place, (x, cell) in enumerate(zip(columns, row, strict=True)):
            colour = _SOFT if number == 0 else _RED if place == 1 else _INK
            figure.text(x, y, cell, fontsize=10, color=colour, va='center')


def _draw_examples(figure: 'Figure', results: StressResults, first: tuple[float, float],
                   others: tuple[float, float], total: float) -> None:
    _heading(figure, 'One frame, every fault at its strongest', first[0], total,
             'beside it what the model makes of it; the points are those of all frames')
    example = results.measured.example
    sample = example.sample
    near, far = depth_range([sample.depth_m])
    space = results.label_space
    height = _TILE * 1.25
    _draw_legend(figure, results, first[1] + height + 0.1, total)
    for column, (caption, picture) in enumerate((
            ('colour', sample.rgb), ('depth', colour_depth(sample.depth_m, near, far)),
            ('prediction, both healthy', space.colourise(example.prediction)),
            ('truth', space.colourise(sample.labels)))):
        _picture(figure, picture, caption, total, left=0.02 + column * 0.2425, width=0.225,
                 bottom=first[1], height=height)
    for number, curve in enumerate(results.measured.curves):
        spoiled = example.spoiled[curve.corruption.name]
        row, column = divmod(number, _COLUMNS)
        given = (colour_depth(spoiled.depth_m, near, far)
                 if curve.corruption.modality == 'depth' else spoiled.rgb)
        title = curve.corruption.at(spoiled.severity)
        drop = change(curve.scores[-1].drop)
        bottom = others[0] - (row + 1) * _TILE
        for place, picture in enumerate((given, space.colourise(spoiled.prediction))):
            _picture(figure, picture, f'{title} ({drop})' if place == 0 else '', total,
                     left=0.02 + column * 0.2425 + place * 0.114, width=0.111, bottom=bottom,
                     height=_TILE)


def _draw_legend(figure: 'Figure', results: StressResults, y: float, total: float) -> None:
    from matplotlib.patches import Rectangle

    space = results.label_space
    names = [(space.names[label], space.colours[label] / 255)
             for label in results.measured.example.classes]
    x = 0.02
    for name, colour in names:
        figure.add_artist(Rectangle((x, (y - 0.06) / total), 0.008, 0.12 / total, color=colour))
        figure.text(x + 0.011, y / total, name, fontsize=9, color=_SOFT, va='center')
        x += 0.023 + 0.0045 * len(name)


def _picture(figure: 'Figure', picture: Image, caption: str, total: float, *, left: float,
             width: float, bottom: float, height: float) -> None:
    axes = figure.add_axes((left, (bottom + 0.05) / total, width, (height - 0.35) / total))
    shown, _ = shrunk(picture, picture[..., 0], round(width * _WIDTH * _DPI))
    axes.imshow(shown, interpolation='nearest', aspect='equal')
    axes.set_anchor('NW')
    axes.axis('off')
    if caption:
        axes.set_title(caption, fontsize=8.5, color=_SOFT, loc='left', pad=3)


def _heading(figure: 'Figure', text: str, y: float, total: float, hint: str) -> None:
    figure.text(0.02, (y - 0.12) / total, text, fontsize=13, fontweight='bold', color=_INK,
                va='center')
    figure.text(0.02, (y - 0.36) / total, hint, fontsize=9.5, color=_SOFT, va='center')
