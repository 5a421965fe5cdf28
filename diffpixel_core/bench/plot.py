# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A benchmark as a picture: a bar for each engine, its floor, how much faster it is."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffpixel_core.bench.contenders import EAGER, PUBLISHED
from diffpixel_core.bench.results import Bench
from diffpixel_core.whole_file import whole

_BAR, _BASELINE, _TAIL, _FLOOR = '#2f6f9f', '#9aa5ae', '#bcd4e6', '#c8502d'


def draw(bench: Bench, file: Path) -> None:
    """Write a PNG: milliseconds of every engine that was measured, as asked for.

    Raises:
        OSError: If the file cannot be written.
    """
    rows = [row for row in bench.rows if row.ms_median is not None]
    figure = Figure(figsize=(8.5, 1.5 + 0.5 * len(rows)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = np.arange(len(rows))[::-1]
    medians = [row.ms_median or 0.0 for row in rows]
    whole_ms = [row.end_to_end_ms_median for row in rows]
    if all(value is not None for value in whole_ms):
        axes.barh(places, [value or 0.0 for value in whole_ms], color=_TAIL, height=0.66,
                  label='up to labels at the frame\'s size')
    colours = [_BASELINE if row.engine in (PUBLISHED, EAGER) else _BAR for row in rows]
    axes.barh(places, medians, color=colours, height=0.66, label='network, median')
    axes.errorbar(medians, places, fmt='none', ecolor='#222', capsize=3, lw=1, label='p95',
                  xerr=[[0.0] * len(rows), [max(0.0, (row.ms_p95 or 0.0) - median)
                                            for row, median in zip(rows, medians, strict=True)]])
    floors = [(max(row.floor_compute_ms, row.floor_memory_ms or 0.0), place)
              for row, place in zip(rows, places, strict=True) if row.floor_compute_ms is not None]
    if floors:
        axes.scatter([floor for floor, _ in floors], [place for _, place in floors], marker='|',
                     s=230, color=_FLOOR, lw=2, zorder=3, label='roofline')
    end = max(max(row.ms_p95 or 0.0, row.end_to_end_ms_median or 0.0) for row in rows)
    for row, place in zip(rows, places, strict=True):
        ratio = ''
        if row.ratio_to_published is not None and row.engine != PUBLISHED:
            ratio = f', {row.ratio_to_published:.1f}× published'
        elif row.ratio_to_eager is not None and row.engine not in (PUBLISHED, EAGER):
            ratio = f', {row.ratio_to_eager:.1f}× eager'
        reach = max(row.ms_p95 or 0.0, row.end_to_end_ms_median or 0.0)
        axes.text(reach + 0.01 * end, place, f'{row.ms_median:.3g} ms{ratio}', va='center',
                  fontsize=9)
    axes.set_yticks(places, [row.engine for row in rows])
    axes.set_xlim(0, 1.3 * end)
    axes.set_xlabel('milliseconds a call')
    axes.set_title(f'{bench.heading}\n{bench.machine["gpu"] or bench.machine["cpu"]}, '
                   f'{bench.date} UTC', fontsize=10, loc='left')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='lower right', fontsize=8, frameon=False)
    with whole(file) as part:
        figure.savefig(part, dpi=150, format='png')
