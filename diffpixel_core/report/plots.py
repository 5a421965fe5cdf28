# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Latency drawn as inline SVG: over time, and how often each value occurred."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from diffpixel_core.report.data import Latency


def latency_over_time(latency: Latency) -> str:
    """Return an SVG of the latency of every output, with p50, p95 and the lost frames."""
    values = np.asarray(latency.latency_ms, np.float64)
    times = np.asarray(latency.time_s, np.float64)
    end = max([float(times.max()), *latency.lost_s, 1e-3])
    ticks_y, ticks_x = _ticks(_highest_shown(values)), _ticks(end)
    top = ticks_y[-1]

    def x_of(t: float) -> float:
        return 46 + 500 * t / end

    def y_of(v: float) -> float:
        return 206 - 190 * min(v, top) / top

    parts = [_grid_y(ticks_y, y_of, 46, 546, 'ms'), _grid_x(ticks_x, x_of, end, 's')]
    order = np.argsort(times)
    line = ' '.join(f'{x_of(times[i]):.1f},{y_of(values[i]):.1f}' for i in order)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for t, v in zip(times, values, strict=True):
        if v > top:
            parts.append(f'<path class="over" d="M{x_of(t):.1f} 10l-4 7h8z"><title>{v:.0f} ms'
                         '</title></path>')
        elif len(values) <= 400:
            parts.append(f'<circle class="dot" cx="{x_of(t):.1f}" cy="{y_of(v):.1f}" r="2.2"/>')
    parts += [f'<path class="lost" d="M{x_of(t):.1f} 206v-7"/>' for t in latency.lost_s]
    p50, p95 = (float(np.percentile(values, percent)) for percent in (50, 95))
    # Below its line if the two lines are too close for two labels above.
    for name, value, shift in (('p50', p50, -4 if y_of(p50) - y_of(p95) > 15 else 13),
                               ('p95', p95, -4)):
        parts.append(f'<path class="mark {name}" d="M46 {y_of(value):.1f}H546"/>'
                     f'<text class="mark {name}" x="544" y="{y_of(value) + shift:.1f}" '
                     f'text-anchor="end">{name} {value:.0f} ms</text>')
    if (over := int(np.sum(values > top))):
        parts.append(f'<text class="over" x="296" y="12" text-anchor="middle">▲ {over} above, up '
                     f'to {values.max():.0f} ms</text>')
    return _svg(560, 232, 'latency over time', parts)


def latency_histogram(latency: Latency) -> str:
    """Return an SVG of how often each latency occurred."""
    values = np.asarray(latency.latency_ms, np.float64)
    ticks = _ticks(_highest_shown(values))
    bins = min(40, max(8, round(2 * len(values) ** 0.5)))
    counts, edges = np.histogram(values, bins=bins, range=(0.0, ticks[-1]))
    ticks_y = _ticks(float(counts.max()))

    def x_of(v: float) -> float:
        return 40 + 292 * v / ticks[-1]

    def y_of(n: float) -> float:
        return 206 - 190 * n / ticks_y[-1]

    parts = [_grid_y(ticks_y, y_of, 40, 332, 'frames'), _grid_x(ticks, x_of, ticks[-1], 'ms')]
    parts += [
        f'<rect class="column" x="{x_of(low) + 0.7:.1f}" y="{y_of(count):.1f}" '
        f'width="{max(x_of(high) - x_of(low) - 1.4, 0.8):.1f}" height="{206 - y_of(count):.1f}"/>'
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True) if count
    ]
    return _svg(360, 232, 'latency histogram', parts)


def _highest_shown(values: npt.NDArray[np.float64]) -> float:
    """Return where the axis may end: one outlier must not flatten everything else."""
    highest, usual = float(values.max()), float(np.percentile(values, 95))
    return highest if highest <= 4 * usual else 2 * usual


def _ticks(highest: float) -> list[float]:
    """Return 0 and up in round steps, the last at or above `highest`."""
    rough = max(highest, 1e-3) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * unit >= rough * 0.999)
    return [step * i for i in range(math.ceil(max(highest, 1e-3) / step - 1e-9) + 1)]


def _grid_y(ticks: Sequence[float], y_of: Callable[[float], float], left: int, right: int,
            unit: str) -> str:
    lines = [f'<path class="grid" d="M{left} {y_of(t):.1f}H{right}"/><text x="{left - 6}" '
             f'y="{y_of(t) + 4:.1f}" text-anchor="end">{t:g}</text>' for t in ticks]
    return ''.join(lines) + (f'<text x="{left + 4}" y="12">{unit}</text>' if unit else '')


def _grid_x(ticks: Sequence[float], x_of: Callable[[float], float], end: float, unit: str) -> str:
    return ''.join(f'<text x="{x_of(t):.1f}" y="222" text-anchor="middle">{t:g} {unit}</text>'
                   for t in ticks if t <= end * 1.001)


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
            f'style="flex:{width}">{"".join(parts)}</svg>')
