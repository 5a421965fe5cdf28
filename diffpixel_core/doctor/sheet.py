# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: frames of a data set as they are read, on one picture.

Each row is a frame: colour, depth in colours of metres (hatched where nothing was measured),
labels in the colours of their classes, and the jumps of depth drawn over colour, which shows
whether the two lie on each other.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from diffpixel_core.datasets.description import Description
from diffpixel_core.depth import depth_in_metres
from diffpixel_core.doctor.alignment import depth_edges
from diffpixel_core.doctor.depth_check import UNIT_NAMES
from diffpixel_core.doctor.examination import Examination, spread
from diffpixel_core.doctor.reading import Pictures, explains, merged, read_pictures
from diffpixel_core.doctor.verdict import Severity, nothing_wrong
from diffpixel_core.labels import UNLABELLED
from diffpixel_core.report.pictures import colour_depth, depth_range
from diffpixel_core.whole_file import write_whole

Image = npt.NDArray[np.uint8]

_ROWS = 5
_WIDTH_IN, _DPI = 16.0, 100
_PICTURE_WIDTH = 480  # pixels; more would not be seen
_INK, _FAINT, _PAPER, _BAD = '#1c2733', '#6b7785', '#ffffff', (214, 0, 110)
_NO_CLASS = (255, 0, 255)
_MARKS: dict[Severity, tuple[str, str]] = {
    'error': ('✗', '#c2263a'), 'warning': ('!', '#b06a00'), 'note': ('·', '#3b6ea5')}


def write_sheet(examination: Examination, file: Path, *, rows: int = _ROWS) -> None:
    """Write the contact sheet of a data set as a PNG.

    Args:
        examination: What was found.
        file: The picture to write, which ends in .png.
        rows: How many frames to show, spread evenly.

    Raises:
        WriteError: If the file cannot be written.
    """
    description = examination.description
    chosen = spread(description, examination.splits, rows)
    frames = [read_pictures(description, frame) for _, frame in chosen]
    names = [f'{split} / {frame.name}' for split, frame in chosen]
    figure = _figure(examination, frames, names)
    png = io.BytesIO()
    figure.savefig(png, format='png', facecolor=_PAPER)
    write_whole(file, png.getvalue())


def _figure(examination: Examination, frames: Sequence[Pictures], names: Sequence[str]) -> Figure:
    description = examination.description
    labelled = any(frame.ids is not None for frame in frames)
    titles = ['colour', 'depth' if description.metric else 'depth, its scale is lost',
              *['labels'] * labelled, 'where depth jumps, on colour']
    width = (_WIDTH_IN - 0.6) / len(titles)
    heights = [width * _aspect(frame) for frame in frames]
    legend_in = 2.95
    verdicts_in = 0.15 + 0.24 * sum(len(lines) for _, lines in _verdict_lines(examination))
    total = 1.15 + sum(heights) + 0.26 * len(frames) + legend_in + verdicts_in
    figure = Figure(figsize=(_WIDTH_IN, total), dpi=_DPI, facecolor=_PAPER)
    figure.text(0.3 / _WIDTH_IN, 1 - 0.30 / total, description.name, size=19, weight='bold',
                color=_INK, va='center')
    figure.text(0.3 / _WIDTH_IN, 1 - 0.62 / total, examination.headline(), size=10.5,
                color=_FAINT, va='center')
    near, far = _depth_limits(description, frames)
    top = total - 1.12
    for row, (frame, name, height) in enumerate(zip(frames, names, heights, strict=True)):
        pictures = _row(description, frame, near, far, labelled=labelled)
        for column, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
            box = (0.3 + column * width, top - 0.24 - height, width - 0.08, height)
            axes = _axes(figure, box, total)
            if row == 0:
                figure.text((0.3 + column * width) / _WIDTH_IN, (top + 0.12) / total, title,
                            size=10.5, weight='bold', color=_INK, va='center')
            if column == 0:
                axes.set_title(name, size=9, color=_FAINT, loc='left', pad=3)
            if isinstance(picture, str):
                axes.text(0.5, 0.5, picture, size=10, color=_FAINT, ha='center', va='center',
                          transform=axes.transAxes, wrap=True)
            else:
                axes.imshow(_shrunk(picture), aspect='auto', interpolation='nearest')
        top -= height + 0.26
    _depth_scale(figure, examination, (0.62, top - 2.35, 5.0, 1.75), total, near, far)
    if labelled:
        _legend(figure, examination, (6.0, top - 2.75, _WIDTH_IN - 6.3, 2.4), total)
    _verdicts(figure, examination, top - legend_in, total)
    return figure


def _axes(figure: Figure, box: tuple[float, float, float, float], total: float) -> Axes:
    """Return axes without ticks; the box in inches from the lower left."""
    left, bottom, width, height = box
    axes = figure.add_axes((left / _WIDTH_IN, bottom / total, width / _WIDTH_IN, height / total))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _row(description: Description, frame: Pictures, near: float, far: float, *,
         labelled: bool) -> list[Image | str]:
    """Return the pictures of a frame, or what stands in their place."""
    rgb: Image | str = frame.rgb if frame.rgb is not None else 'cannot be read'
    depth_m = frame.depth_m(description.depth_unit)
    depth: Image | str = 'cannot be read'
    if depth_m is not None:
        depth = _hatched(colour_depth(depth_m, near, far), depth_m <= 0)
    elif frame.depth is not None:
        depth = f'{frame.depth_type}: not {UNIT_NAMES[description.depth_unit]}'
    edges: Image | str = 'sizes differ'
    if frame.rgb is not None and depth_m is not None and frame.rgb.shape[:2] == depth_m.shape:
        edges = np.asarray(frame.rgb // 2 + 90, np.uint8)
        thick = cv2.dilate(depth_edges(depth_m).view(np.uint8), np.ones((2, 2), np.uint8))
        edges[thick > 0] = _BAD
    elif frame.rgb is None or depth_m is None:
        edges = ''
    pictures = [rgb, depth, edges]
    if labelled:
        pictures.insert(2, 'no labels' if frame.ids is None else _labels(description, frame.ids))
    return pictures


def _labels(description: Description, ids: npt.NDArray[Any]) -> Image:
    """Return class colours; unlabelled hatched, ids that are no class in magenta."""
    classes = description.raw_ids.table[ids]
    known = np.where(classes < UNLABELLED, classes, UNLABELLED).astype(np.uint8)
    picture = _hatched(description.label_space.colourise(known), classes == UNLABELLED)
    picture[classes > UNLABELLED] = _NO_CLASS
    return picture


def _hatched(picture: Image, where: npt.NDArray[np.bool_]) -> Image:
    """Return the picture with light diagonal stripes at some pixels."""
    height, width = where.shape
    step = max(2, width // 80)
    y, x = np.ogrid[:height, :width]
    stripes = np.where((x + y) // step % 2 == 0, 252, 214).astype(np.uint8)
    picture = picture.copy()
    picture[where] = stripes[where][:, None]
    return picture


def _depth_limits(description: Description, frames: Sequence[Pictures]) -> tuple[float, float]:
    depths = [depth_m for frame in frames
              for depth_m in (frame.depth_m(description.depth_unit),) if depth_m is not None]
    return depth_range(depths)


def _aspect(frame: Pictures) -> float:
    image = frame.rgb if frame.rgb is not None else frame.depth
    return 0.75 if image is None else min(1.5, image.shape[0] / image.shape[1])


def _shrunk(picture: Image) -> Image:
    height, width = picture.shape[:2]
    if width <= _PICTURE_WIDTH:
        return picture
    size = (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _depth_scale(figure: Figure, examination: Examination,
                 box: tuple[float, float, float, float], total: float, near: float,
                 far: float) -> None:
    """Draw how often each depth occurs, in the colours of the pictures: scale and histogram."""
    description, unit = examination.description, examination.description.depth_unit
    counts = merged([frame.depth for frame in examination.frames
                     if explains(unit, frame.depth_type)])
    axes = _axes(figure, box, total)
    found = examination.depth
    if (found.median_m is None or found.p01_m is None or found.p99_m is None
            or found.hole_fraction is None):
        axes.text(0, 0.9, 'no depth could be read in this unit', color=_FAINT, size=10)
        return
    values = depth_in_metres(counts.values[None], unit)[0]
    limit = 1.1 * max(far, found.p99_m)
    weights, edges = np.histogram(values[values > 0], 90, (0.0, limit),
                                  weights=counts.counts[values > 0])
    middles = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
    colours = colour_depth(np.maximum(middles, 1e-3)[None], near, far)[0] / 255
    share = weights / max(1, counts.counts.sum())
    axes.bar(middles, share, width=edges[1] - edges[0], color=colours)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1.12 * max(float(share.max()), 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=9, colors=_FAINT, length=3)
    axes.spines['bottom'].set_visible(True)
    axes.spines['bottom'].set_color(_FAINT)
    axes.set_xlabel('metres' if description.metric else 'nominal metres', size=9.5, color=_INK)
    for value, name, height in ((found.p01_m, '1 %', 0.90), (found.median_m, 'median', 1.0),
                                (found.p99_m, '99 %', 0.90)):
        if value <= limit:
            axes.axvline(value, ymax=height, color=_INK, linewidth=0.8, linestyle=':')
            axes.text(value, height + 0.01, f'{name} {value:.2f}', size=8.5, color=_INK,
                      ha='center', va='bottom', transform=axes.get_xaxis_transform())
    axes.set_title(f'depth: {found.hole_fraction:.1%} not measured (hatched)', size=11,
                   weight='bold', color=_INK, loc='left', pad=20)


def _legend(figure: Figure, examination: Examination, box: tuple[float, float, float, float],
            total: float) -> None:
    """Draw the classes that occur, commonest first, with their share of all pixels."""
    axes = _axes(figure, box, total)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    space = examination.description.label_space
    histogram = dict(examination.labels.histogram)
    unlabelled = histogram.pop('unlabelled', 0)
    pixels = max(1, sum(histogram.values()) + unlabelled)
    axes.set_title(f'labels: {unlabelled / pixels:.1%} unlabelled (hatched)',
                   size=11, weight='bold', color=_INK, loc='left', pad=4)
    order = sorted((name for name in histogram if histogram[name]),
                   key=lambda name: -histogram[name])
    rows = [(name, space.colours[space.index(name)] / 255, histogram[name]) for name in order]
    stray = sum(sum(files.values()) for files in examination.labels.out_of_range.values())
    if stray:
        rows.insert(0, ('no class', np.array(_NO_CLASS) / 255, stray))
    pixels += stray
    columns, lines = 4, 10
    for place, (name, colour, number) in enumerate(rows[:columns * lines]):
        column, line = divmod(place, lines)
        x, y = column / columns, 1 - (line + 0.8) / lines
        axes.add_patch(Rectangle((x, y), 0.022, 0.065, facecolor=colour, edgecolor='none'))
        text = f'{name}  {number / pixels:.1%}'
        axes.text(x + 0.03, y + 0.032, text, size=9, color=_INK, va='center')


def _verdict_lines(examination: Examination) -> list[tuple[Severity | None, list[str]]]:
    rows: list[tuple[Severity | None, list[str]]] = []
    if nothing_wrong(examination.verdicts):
        rows.append((None, ['nothing looks wrong']))
    for verdict in examination.verdicts[:12]:
        text = verdict.text + (f'  →  {verdict.remedy}' if verdict.remedy else '')
        rows.append((verdict.severity, _wrapped(text, 200)))
    return rows


def _wrapped(text: str, width: int) -> list[str]:
    lines = ['']
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append('')
        lines[-1] += word + ' '
    return lines


def _verdicts(figure: Figure, examination: Examination, top: float, total: float) -> None:
    y = top - 0.1
    for severity, lines in _verdict_lines(examination):
        mark, colour = ('✓', '#1e7d46') if severity is None else _MARKS[severity]
        figure.text(0.34 / _WIDTH_IN, y / total, mark, size=12, weight='bold', color=colour,
                    va='center', family='DejaVu Sans')
        for line in lines:
            figure.text(0.6 / _WIDTH_IN, y / total, line, size=10, color=_INK, va='center')
            y -= 0.24
