# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page out of a run: figures, pictures, plots, what was lost and why.

Nothing is fetched when the page is opened: pictures are base64, plots are inline SVG. Colours
follow the reader's light or dark theme. No torch and no ROS here.
"""

from __future__ import annotations

import base64
import html
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import UNLABELLED, LabelSpace

Image = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]


class ReportError(DiffPixelError):
    """A report cannot be made from what was passed."""


@dataclass(frozen=True)
class Card:
    """One headline figure."""

    caption: str
    value: str
    note: str = ''
    tone: str = ''  # '' | 'good' | 'warn' | 'bad': the colour of the rule above the figure


@dataclass(frozen=True)
class ReportFrame:
    """The pictures of one frame; all of one size."""

    title: str  # 'frame 12, 0.40 s, 85 ms'
    rgb: Image  # (H, W, 3)
    depth_m: Depth  # (H, W) metres, 0 = not measured
    prediction: Image  # (H, W) label ids, 255 = unlabelled
    truth: Image | None = None  # (H, W) label ids of the same space, 255 = unlabelled
    confidence: Image | None = None  # (H, W), 255 = certain


@dataclass(frozen=True)
class ClassScore:
    """How well one class of the truth was found."""

    label: int
    iou: float  # 0..1
    share: float  # part of the labelled pixels, 0..1


@dataclass(frozen=True)
class Loss:
    """One reason for which frames or pairs did not come out, and what to do about it."""

    cause: str
    count: int
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One claim about the run that was tested."""

    claim: str
    passed: bool
    detail: str = ''


@dataclass(frozen=True)
class Latency:
    """When each output came and how late it was."""

    time_s: Sequence[float]  # since the first frame
    latency_ms: Sequence[float]
    lost_s: Sequence[float] = ()  # when frames came that have no output


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows; a part that is empty is left out."""

    title: str
    summary: str  # one plain sentence: what was run on what
    label_space: LabelSpace
    notice: str = ''  # what the figures must not be taken for
    cards: Sequence[Card] = ()
    frames: Sequence[ReportFrame] = ()
    class_scores: Sequence[ClassScore] = ()
    latency: Latency | None = None
    flow: Mapping[str, int] = field(default_factory=dict)  # parts of the input frames; 'out' first
    losses: Sequence[Loss] = ()
    checks: Sequence[Check] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ''


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page, all of it or nothing, and return where it lies.

    Args:
        path: The HTML file; its folder is made.
        data: What to show.

    Raises:
        ReportError: If the pictures of a frame differ in size.
    """
    page = render_page(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix='.part')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(page)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def render_page(data: ReportData) -> str:
    """Return the whole page as HTML text."""
    sections = [
        _header(data),
        _contact_sheet(data),
        _classes(data),
        _latency(data.latency),
        _flow(data),
        _checks(data.checks),
        _environment(data),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(data.title)}</title><style>{_CSS}</style></head>\n<body><main>\n'
        + '\n'.join(section for section in sections if section)
        + f'\n</main>\n<dialog id="zoom"><figure></figure></dialog><script>{_script(data)}</script>'
        '</body></html>\n'
    )


def colour_depth(depth_m: Depth, near_m: float, far_m: float) -> Image:
    """Return `(H, W, 3)` RGB of depth, near warm and far cold; black where nothing was measured."""
    scaled = (far_m - depth_m) / max(far_m - near_m, 1e-6)
    grey = np.clip(scaled * 255.0, 0.0, 255.0).astype(np.uint8)
    picture = _colour_map(grey, cv2.COLORMAP_TURBO)
    picture[depth_m <= 0.0] = 0
    return picture


def depth_range(depths: Sequence[Depth]) -> tuple[float, float]:
    """Return the metres between which 98 % of all measured pixels lie; (0, 1) if there are none."""
    measured = [d[d > 0.0][::7] for d in depths]
    pixels = np.concatenate(measured) if measured else np.empty(0, np.float32)
    if pixels.size == 0:
        return 0.0, 1.0
    near, far = (float(v) for v in np.percentile(pixels, (1, 99)))
    return near, max(far, near + 0.1)


def overlay(rgb: Image, labels: Image, space: LabelSpace, *, alpha: float = 0.5) -> Image:
    """Return `(H, W, 3)` colour image with the label colours laid over it, borders drawn white."""
    blended = cv2.addWeighted(rgb, 1.0 - alpha, space.colourise(labels), alpha, 0.0)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    blended[edge] = 255
    return np.asarray(blended, np.uint8)


def label_anchors(labels: Image, *, smallest: float = 0.025) -> list[tuple[int, float, float]]:
    """Return (label, x, y) of the roomiest spot of each large class, x and y in parts of the size.

    Args:
        labels: `(H, W)` ids; 255 gets no anchor.
        smallest: Classes whose largest region is below this part of the image get none.
    """
    height, width = labels.shape
    anchors = []
    for label in np.unique(labels):
        if label == UNLABELLED:
            continue
        mask = np.pad((labels == label).astype(np.uint8), 1)
        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.max() < smallest * height * width:
            continue
        largest = (regions == 1 + int(np.argmax(areas))).astype(np.uint8)
        room = cv2.distanceTransform(largest, cv2.DIST_L2, 3)
        y, x = np.unravel_index(int(np.argmax(room)), room.shape)
        anchors.append((int(label), (float(x) - 0.5) / width, (float(y) - 0.5) / height))
    return anchors


# ------------------------------------------------------------------------------- sections


def _header(data: ReportData) -> str:
    cards = ''.join(
        f'<div class="card {_text(card.tone)}"><b>{_text(card.value)}</b>'
        f'<span>{_text(card.caption)}</span><small>{_text(card.note)}</small></div>'
        for card in data.cards
    )
    failed = [check for check in data.checks if not check.passed]
    verdict = ''
    if data.checks:
        verdict = (
            f'<a class="pill bad" href="#checks">{len(failed)} of {len(data.checks)} checks failed'
            '</a>'
            if failed
            else f'<a class="pill good" href="#checks">all {len(data.checks)} checks passed</a>'
        )
    notice = f'<p class="notice">{_text(data.notice)}</p>' if data.notice else ''
    return (
        f'<header><div class="brand">{_LOGO}<span>DiffPixel</span>{verdict}</div>'
        f'<h1>{_text(data.title)}</h1><p class="lead">{_text(data.summary)}</p>{notice}'
        f'<div class="cards">{cards}</div></header>'
    )


def _contact_sheet(data: ReportData) -> str:
    if not data.frames:
        return ''
    for frame in data.frames:
        _check_sizes(frame)
    near, far = depth_range([frame.depth_m for frame in data.frames])
    # The frame with the most to see goes first and large; it is not the one with the best score.
    leading = max(range(len(data.frames)), key=lambda i: _variety(data.frames[i]))
    order = [leading, *(i for i in range(len(data.frames)) if i != leading)]
    rows = ''.join(
        _frame_row(data.frames[i], data.label_space, near, far, large=i == leading) for i in order
    )
    return (
        '<section id="pictures"><h2>What went in, what came out</h2>'
        '<p class="hint">Point at a prediction or the truth to read the class; click to enlarge, '
        'arrow keys to walk through.</p>'
        f'{_legend(data)}{rows}</section>'
    )


def _frame_row(frame: ReportFrame, space: LabelSpace, near: float, far: float, *,
               large: bool) -> str:
    width = 640 if large else 400
    depth_bar = _scale(_TURBO_GRADIENT, f'{near:.1f} m', f'{far:.1f} m')
    confidence_bar = _scale(_VIRIDIS_GRADIENT, '0 %', '100 %')
    names = ''.join(_name_tag(space.names[label], x, y)
                    for label, x, y in label_anchors(frame.prediction))
    holes = 100.0 * float(np.mean(frame.depth_m <= 0.0))
    tiles = [
        _tile('colour', _jpeg(frame.rgb, width)),
        _tile(f'depth · {holes:.0f} % not measured',
              _jpeg(colour_depth(frame.depth_m, near, far), width), depth_bar),
        _tile('prediction', _png(space.colourise(frame.prediction), width), kind='labels'),
    ]
    if frame.truth is not None:
        tiles.append(_tile('truth', _png(space.colourise(frame.truth), width), kind='labels'))
    if frame.confidence is not None:
        picture = _colour_map(frame.confidence, cv2.COLORMAP_VIRIDIS)
        tiles.append(_tile('confidence', _jpeg(picture, width), confidence_bar))
    blended = overlay(*_shrunk(frame.rgb, frame.prediction, width), space)
    tiles.append(_tile('prediction over colour', _jpeg(blended, width), names, kind='named'))
    return (
        f'<article class="{"frame large" if large else "frame"} n{len(tiles)}">'
        f'<h3>{_text(frame.title)}</h3><div class="tiles">{"".join(tiles)}</div></article>'
    )


def _name_tag(name: str, x: float, y: float) -> str:
    half = 0.01 + 0.0125 * len(name)  # of the picture's width, so that no name is cut at the edge
    return (f'<i style="left:{100 * min(max(x, half), 1 - half):.1f}%;'
            f'top:{100 * min(max(y, 0.05), 0.95):.1f}%">{_text(name)}</i>')


def _tile(caption: str, source: str, extra: str = '', *, kind: str = '') -> str:
    return (
        f'<figure class="{kind}" tabindex="0"><div class="picture">'
        f'<img alt="{_text(caption)}" src="{source}">{extra}</div>'
        f'<figcaption>{_text(caption)}</figcaption></figure>'
    )


def _legend(data: ReportData) -> str:
    present: set[int] = set()
    for frame in data.frames:
        for labels in (frame.prediction, frame.truth):
            if labels is not None:
                present |= {int(v) for v in np.unique(labels)}
    chips = ''.join(
        f'<li>{_swatch(data.label_space, label)}{_text(data.label_space.names[label])}</li>'
        for label in sorted(present - {UNLABELLED})
    )
    if UNLABELLED in present:
        chips += '<li><span class="swatch" style="background:#000"></span>unlabelled</li>'
    return f'<ul class="legend">{chips}</ul>'


def _classes(data: ReportData) -> str:
    if not data.class_scores:
        return ''
    rows = ''.join(
        f'<div class="bar"><span class="name">{_swatch(data.label_space, score.label)}'
        f'{_text(data.label_space.names[score.label])}</span>'
        f'<span class="track"><span style="width:{100 * score.iou:.1f}%;'
        f'background:{_hex(data.label_space, score.label)}"></span></span>'
        f'<b>{100 * score.iou:.0f}</b><small>{_share(score.share)}</small></div>'
        for score in sorted(data.class_scores, key=lambda score: -score.iou)
    )
    return (
        '<section id="classes"><h2>Class by class</h2>'
        '<p class="hint">Intersection over union in %, over all scored frames; on the right each '
        'class’s share of the labelled pixels. Only classes that occur in the truth.</p>'
        f'<div class="bars">{rows}</div></section>'
    )


def _latency(latency: Latency | None) -> str:
    if latency is None or not latency.latency_ms:
        return ''
    return (
        '<section id="latency"><h2>Latency</h2><p class="hint">From publishing the later image of '
        'a pair to receiving its label image, both over DDS. Red ticks: frames without an output.'
        '</p>'
        f'<div class="plots">{_latency_over_time(latency)}{_latency_histogram(latency)}</div>'
        '</section>'
    )


def _highest_shown(values: npt.NDArray[np.float64]) -> float:
    """Return where the axis may end: one outlier must not flatten everything else."""
    highest, usual = float(values.max()), float(np.percentile(values, 95))
    return highest if highest <= 4 * usual else 2 * usual


def _latency_over_time(latency: Latency) -> str:
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


def _latency_histogram(latency: Latency) -> str:
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


def _flow(data: ReportData) -> str:
    total = sum(data.flow.values())
    bar = ''
    if total:
        parts = ''.join(
            f'<span class="{"out" if i == 0 else f"lost{i % 4}"}" style="flex:{count}" '
            f'title="{_text(name)}: {count}"><em>{_text(name)} {count}</em></span>'
            for i, (name, count) in enumerate(data.flow.items()) if count
        )
        bar = f'<div class="flow">{parts}</div>'
    rows = ''.join(
        f'<tr class="{"" if loss.count else "zero"}"><th>{_text(loss.cause)}</th>'
        f'<td class="number">{loss.count}</td><td>{_text(loss.meaning)}</td>'
        f'<td>{_text(loss.remedy)}</td></tr>'
        for loss in sorted(data.losses, key=lambda loss: -loss.count)
    )
    table = (
        '<div class="scroll"><table><thead><tr><th>cause</th><th>count</th><th>what it means</th>'
        f'<th>what helps</th></tr></thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ''
    )
    if not bar and not table:
        return ''
    return f'<section id="drops"><h2>Where every frame went</h2>{bar}{table}</section>'


def _checks(checks: Sequence[Check]) -> str:
    if not checks:
        return ''
    rows = ''.join(
        f'<tr class="{"good" if check.passed else "bad"}"><td class="sign">'
        f'{"✓" if check.passed else "✗"}</td><th>{_text(check.claim)}</th>'
        f'<td>{_text(check.detail)}</td></tr>'
        for check in sorted(checks, key=lambda check: check.passed)
    )
    return (
        '<section id="checks"><h2>What was checked</h2><div class="scroll"><table class="checks">'
        f'<tbody>{rows}</tbody></table></div></section>'
    )


def _environment(data: ReportData) -> str:
    rows = ''.join(
        f'<dt>{_text(name)}</dt><dd>{_text(value)}</dd>' for name, value in data.environment.items()
    )
    command = f'<pre><code>{_text(data.command)}</code></pre>' if data.command else ''
    if not rows and not command:
        return ''
    return (
        f'<section id="environment"><h2>How to get this page again</h2>{command}<dl>{rows}</dl>'
        '</section>'
    )


# --------------------------------------------------------------------------------- pieces


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _share(share: float) -> str:
    return f'{100 * share:.0f} %' if share >= 0.0095 else f'{100 * share:.1f} %'


def _hex(space: LabelSpace, label: int) -> str:
    red, green, blue = (int(v) for v in space.colours[label])
    return f'#{red:02x}{green:02x}{blue:02x}'


def _swatch(space: LabelSpace, label: int) -> str:
    return f'<span class="swatch" style="background:{_hex(space, label)}"></span>'


def _scale(gradient: str, low: str, high: str) -> str:
    return (f'<div class="scale"><u>{low}</u><s style="background:{gradient}"></s><u>{high}</u>'
            '</div>')


def _colour_map(grey: Image, name: int) -> Image:
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, name), cv2.COLOR_BGR2RGB), np.uint8)


def _gradient(name: int, *, reverse: bool) -> str:
    samples = np.linspace(0, 255, 13).astype(np.uint8).reshape(1, -1)
    colours = _colour_map(np.ascontiguousarray(samples[:, ::-1]) if reverse else samples, name)[0]
    return f'linear-gradient(90deg,{",".join(f"rgb({r},{g},{b})" for r, g, b in colours)})'


def _check_sizes(frame: ReportFrame) -> None:
    size = frame.rgb.shape[:2]
    pictures: dict[str, npt.NDArray[Any] | None] = {
        'depth_m': frame.depth_m, 'prediction': frame.prediction, 'truth': frame.truth,
        'confidence': frame.confidence}
    for name, picture in pictures.items():
        if picture is not None and picture.shape != size:
            raise ReportError(f'{frame.title}: {name} is {picture.shape}, the colour image '
                              f'{size}; resize it to that (labels to the nearest pixel)')


def _variety(frame: ReportFrame) -> float:
    """Return how much there is to see: the entropy of the truth, or of the prediction, in bits."""
    labels = frame.prediction if frame.truth is None else frame.truth
    counts = np.bincount(labels[labels != UNLABELLED].ravel(), minlength=1).astype(np.float64)
    shares = counts[counts > 0] / max(counts.sum(), 1.0)
    return float(-(shares * np.log2(shares)).sum())


def _shrunk(rgb: Image, labels: Image, width: int) -> tuple[Image, Image]:
    if rgb.shape[1] <= width:
        return rgb, labels
    size = (width, round(rgb.shape[0] * width / rgb.shape[1]))
    return (np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8),
            np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8))


def _jpeg(rgb: Image, width: int) -> str:
    picture, _ = _shrunk(rgb, rgb[..., 0], width)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_JPEG_QUALITY, 84])
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


def _png(rgb: Image, width: int) -> str:
    """Return label colours as a data URI, exact, so that the page can name the class of a pixel."""
    if rgb.shape[1] > width:
        size = (width, round(rgb.shape[0] * width / rgb.shape[1]))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    _, data = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return f'data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}'


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


def _script(data: ReportData) -> str:
    names: dict[str, Any] = {_hex(data.label_space, label): name
                             for label, name in enumerate(data.label_space.names)}
    table = ','.join(f'"{colour}":"{_script_text(name)}"' for colour, name in names.items())
    return f'const NAMES={{{table},"#000000":"unlabelled"}};{_JS}'


def _script_text(value: str) -> str:
    return ''.join(c for c in value if c not in '"\\<>&')


_TURBO_GRADIENT = _gradient(cv2.COLORMAP_TURBO, reverse=True)
_VIRIDIS_GRADIENT = _gradient(cv2.COLORMAP_VIRIDIS, reverse=False)

_LOGO = (
    '<svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">'
    '<rect x="1" y="1" width="10" height="10" rx="2" fill="#4f7cff"/>'
    '<rect x="13" y="1" width="10" height="10" rx="2" fill="#20b29b"/>'
    '<rect x="1" y="13" width="10" height="10" rx="2" fill="#f2a33a"/>'
    '<rect x="13" y="13" width="10" height="10" rx="2" fill="#e2557b"/></svg>'
)

_CSS = """
:root{color-scheme:light dark;--page:#f6f7f9;--panel:#fff;--ink:#15181e;--soft:#5b6472;
--rule:#e1e5ea;--accent:#3563e9;--good:#16845b;--warn:#b46a00;--bad:#c8304a;--track:#eceff3}
@media(prefers-color-scheme:dark){:root{--page:#0f1216;--panel:#181c22;--ink:#e8ebf0;--soft:#98a2b1;
--rule:#2a3039;--accent:#7aa0ff;--good:#46c795;--warn:#e8a548;--bad:#ff6f86;--track:#262c35}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1360px;margin:0 auto;padding:28px clamp(14px,3vw,40px) 60px}
.brand{display:flex;align-items:center;gap:10px;font-weight:650;letter-spacing:.01em}
.pill{margin-left:auto;font-size:.85rem;font-weight:600;text-decoration:none;border-radius:99px;
padding:4px 13px;border:1px solid currentColor}.pill.good{color:var(--good)}
.pill.bad{color:var(--bad)}
h1{font-size:clamp(1.6rem,4vw,2.3rem);line-height:1.15;margin:22px 0 8px;letter-spacing:-.02em}
h2{font-size:1.3rem;margin:0 0 4px;letter-spacing:-.01em}.lead{font-size:1.08rem;margin:0 0 10px;
max-width:75ch}.hint{color:var(--soft);margin:0 0 14px;font-size:.93rem;max-width:85ch}
.notice{color:var(--soft);font-size:.93rem;margin:0 0 6px;padding-left:12px;max-width:85ch;
border-left:3px solid var(--warn)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:12px;margin-top:20px}
.card{background:var(--panel);border:1px solid var(--rule);border-top:3px solid var(--accent);
border-radius:10px;padding:13px 15px 11px;display:flex;flex-direction:column}
.card.good{border-top-color:var(--good)}.card.warn{border-top-color:var(--warn)}
.card.bad{border-top-color:var(--bad)}.card b{font-size:1.75rem;line-height:1.15;font-weight:680;
letter-spacing:-.02em;font-variant-numeric:tabular-nums;white-space:nowrap}
.card span{font-weight:560}
.card small{color:var(--soft);line-height:1.35;margin-top:2px}
section{background:var(--panel);border:1px solid var(--rule);border-radius:14px;margin-top:22px;
padding:22px clamp(14px,2.2vw,28px)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:5px 16px;padding:0;margin:0 0 18px;
font-size:.9rem}.legend li{display:flex;align-items:center;gap:7px}
.swatch{width:14px;height:14px;border-radius:4px;display:inline-block;flex:none;
box-shadow:inset 0 0 0 1px rgba(128,128,128,.45)}
.frame{margin-top:18px}.frame h3{font-size:.9rem;font-weight:560;margin:0 0 6px;color:var(--soft);
font-variant-numeric:tabular-nums}.tiles{display:grid;gap:10px}
.n6 .tiles{grid-template-columns:repeat(6,1fr)}.n5 .tiles{grid-template-columns:repeat(5,1fr)}
.n4 .tiles{grid-template-columns:repeat(4,1fr)}.large .tiles{grid-template-columns:repeat(3,1fr)}
.n4.large .tiles{grid-template-columns:repeat(2,1fr)}
.n5.large .tiles{grid-template-columns:repeat(6,1fr)}.n5.large figure{grid-column:span 2}
.n5.large figure:nth-last-child(-n+2){grid-column:span 3}
@media(max-width:900px){.n6 .tiles,.n5 .tiles{grid-template-columns:repeat(3,1fr)}}
@media(max-width:560px){.frame .tiles,.frame.large .tiles{grid-template-columns:repeat(2,1fr)}
.n5.large figure,.n5.large figure:nth-last-child(-n+2){grid-column:auto}
.n5 figure:last-child,.n5.large figure:last-child{grid-column:span 2}}
figure{margin:0;cursor:zoom-in;container-type:inline-size;min-width:0}
.picture{position:relative;border-radius:7px;overflow:hidden;background:#000}
.picture img{display:block;width:100%;height:auto}.labels img{image-rendering:pixelated}
figcaption{color:var(--soft);font-size:.8rem;margin-top:3px;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
.picture i{position:absolute;transform:translate(-50%,-50%);font:600 clamp(8px,4.1cqw,15px)/1.1
system-ui,sans-serif;color:#fff;text-shadow:0 0 2px #000,0 0 3px #000,0 1px 4px #000;
white-space:nowrap;pointer-events:none}
.scale{position:absolute;left:0;right:0;bottom:0;display:flex;align-items:center;gap:6px;
padding:12px 7px 5px;background:linear-gradient(transparent,rgba(0,0,0,.72));color:#fff;
font-size:clamp(8px,4cqw,13px)}.scale s{flex:1;height:5px;border-radius:3px}
.scale u{text-decoration:none;white-space:nowrap}
.bars{columns:2;column-gap:44px}@media(max-width:800px){.bars{columns:1}}
.bar{display:grid;grid-template-columns:minmax(110px,9.5em) 1fr 2.2em 3.6em;align-items:center;
gap:10px;padding:3px 0;break-inside:avoid;font-size:.93rem;font-variant-numeric:tabular-nums}
.bar .name{display:flex;gap:8px;align-items:center}.bar b{text-align:right}.bar small{
text-align:right;color:var(--soft)}.track{background:var(--track);border-radius:4px;height:13px;
display:block;overflow:hidden}.track span{display:block;height:100%;min-width:2px;
border-radius:4px;box-shadow:inset 0 0 0 1px rgba(128,128,128,.4)}
.plots{display:flex;gap:26px;flex-wrap:wrap}.plots svg{min-width:min(100%,330px);display:block}
path.over,svg text.over{fill:var(--bad)}
svg text{fill:var(--soft);font:11.5px system-ui,sans-serif;font-variant-numeric:tabular-nums}
.grid{stroke:var(--rule)}.line{fill:none;stroke:var(--accent);stroke-width:1;opacity:.45}
.dot,.column{fill:var(--accent)}.column{opacity:.8}.lost{stroke:var(--bad);stroke-width:1.6}
path.mark{stroke-dasharray:5 4;stroke-width:1.4}path.p50{stroke:var(--good)}
path.p95{stroke:var(--warn)}text.mark{font-weight:650;paint-order:stroke;stroke:var(--panel);
stroke-width:4px}text.p50{fill:var(--good)}text.p95{fill:var(--warn)}
.flow{display:flex;height:34px;border-radius:8px;overflow:hidden;margin:12px 0 16px;gap:2px}
.flow span{min-width:5px;display:grid;align-items:center;overflow:hidden;container-type:inline-size}
.flow em{font-style:normal;font-weight:600;font-size:.86rem;white-space:nowrap;color:#fff;
padding:0 10px}@container(max-width:110px){.flow em{display:none}}
.flow .out{background:#178f66}.flow .lost1{background:#b97410}.flow .lost2{background:#c23a55}
.flow .lost3{background:#7a5bc0}.flow .lost0{background:#68707d}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:7px 12px 7px 0;border-top:1px solid var(--rule)}
thead th{border-top:0;color:var(--soft);font-weight:560;font-size:.85rem}th{font-weight:600}
tbody th{white-space:nowrap}.number{font-variant-numeric:tabular-nums;font-weight:650}
tr.zero{color:var(--soft)}tr.zero th{font-weight:500}.checks th{font-weight:500;white-space:normal}
.checks td{color:var(--soft)}.sign{width:1.6em;font-weight:700}tr.good .sign{color:var(--good)}
tr.bad .sign,tr.bad th{color:var(--bad)}
@media(max-width:640px){thead{display:none}tbody tr{display:grid;grid-template-columns:1fr auto;
border-top:1px solid var(--rule);padding:8px 0}tbody th,tbody td{border:0;padding:1px 0}
tbody td:nth-child(n+3){grid-column:1/-1}.checks tbody tr{grid-template-columns:1.6em 1fr}
tr.zero td:nth-child(n+3){display:none}}
pre{background:var(--track);border-radius:8px;padding:12px 14px;overflow-x:auto;font-size:.9rem;
margin:10px 0 14px}dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 22px;margin:0;
font-size:.93rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
dialog{border:0;padding:0;background:none;max-width:96vw;max-height:96vh;overflow:hidden}
dialog::backdrop{background:rgba(0,0,0,.82)}dialog figure{cursor:zoom-out;
width:min(94vw,calc(88vh*var(--aspect,1.333)))}
dialog figcaption{color:#e8ebf0;font-size:1rem}#tip{position:fixed;pointer-events:none;z-index:9;
background:#15181e;color:#fff;font-size:.85rem;font-weight:600;padding:3px 9px;border-radius:6px;
display:none;border:1px solid #555}
@media print{section{break-inside:avoid}body{background:#fff}}
"""

_JS = """
const tiles=[...document.querySelectorAll('article figure')],zoom=document.getElementById('zoom');
const shown=zoom.querySelector('figure');let at=0;
function show(i){at=(i+tiles.length)%tiles.length;const t=tiles[at],m=t.querySelector('img');
shown.innerHTML=t.innerHTML;shown.className=t.className;
shown.querySelector('figcaption').textContent+=
' · '+t.closest('article').querySelector('h3').textContent;
shown.style.setProperty('--aspect',m.naturalWidth/m.naturalHeight);if(!zoom.open)zoom.showModal()}
tiles.forEach((t,i)=>{t.onclick=()=>show(i);t.onkeydown=e=>{if(e.key==='Enter')show(i)}});
zoom.onclick=()=>zoom.close();
zoom.onkeydown=e=>{if(e.key==='ArrowRight')show(at+1);if(e.key==='ArrowLeft')show(at-1)};
const tip=document.createElement('div');tip.id='tip';document.body.append(tip);
const board=document.createElement('canvas').getContext('2d',{willReadFrequently:true});
let drawn='';
document.addEventListener('mousemove',e=>{const m=e.target;
if(m.tagName!=='IMG'||!m.closest('.labels')){tip.style.display='none';return}
if(drawn!==m.src){board.canvas.width=m.naturalWidth;board.canvas.height=m.naturalHeight;
board.drawImage(m,0,0);drawn=m.src}
const r=m.getBoundingClientRect(),x=(e.clientX-r.left)/r.width*m.naturalWidth,
y=(e.clientY-r.top)/r.height*m.naturalHeight,p=board.getImageData(x|0,y|0,1,1).data;
const name=NAMES['#'+[p[0],p[1],p[2]].map(v=>v.toString(16).padStart(2,'0')).join('')];
if(!name){tip.style.display='none';return}
(zoom.open?zoom:document.body).append(tip);tip.textContent=name;tip.style.display='block';
tip.style.left=Math.min(e.clientX+14,innerWidth-tip.offsetWidth-8)+'px';tip.style.top=e.clientY+14+'px'});
"""
