# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The page itself: its sections in order, from data to HTML text, written whole or not at all."""

import html
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.labels import UNLABELLED, LabelSpace
from diffpixel_core.report.confusion import confusion_picture
from diffpixel_core.report.data import (
    Check,
    Latency,
    ReportData,
    ReportError,
    ReportFrame,
    Table,
)
from diffpixel_core.report.pictures import (
    colour_depth,
    colour_map,
    depth_range,
    gradient,
    jpeg,
    label_anchors,
    overlay,
    png,
    shrunk,
)
from diffpixel_core.report.plots import latency_histogram, latency_over_time
from diffpixel_core.whole_file import write_whole

_LOGO = (
    '<svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">'
    '<rect x="1" y="1" width="10" height="10" rx="2" fill="#4f7cff"/>'
    '<rect x="13" y="1" width="10" height="10" rx="2" fill="#20b29b"/>'
    '<rect x="1" y="13" width="10" height="10" rx="2" fill="#f2a33a"/>'
    '<rect x="13" y="13" width="10" height="10" rx="2" fill="#e2557b"/></svg>'
)


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page, all of it or nothing, and return where it lies.

    Args:
        path: The HTML file; its folder is made.
        data: What to show.

    Raises:
        ReportError: If the pictures of a frame differ in size.
    """
    write_whole(path, render_page(data))
    return path


def render_page(data: ReportData) -> str:
    """Return the whole page as HTML text."""
    sections = [
        _header(data),
        _contact_sheet(data),
        _classes(data),
        _confusion(data),
        _latency(data.latency),
        *(_table(table) for table in data.tables),
        _flow(data),
        _checks(data.checks),
        _environment(data),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(data.title)}</title><style>\n{_asset("report.css")}</style></head>\n'
        '<body><main>\n'
        + '\n'.join(section for section in sections if section)
        + f'\n</main>\n<dialog id="zoom"><figure></figure></dialog><script>{_script(data)}</script>'
        '</body></html>\n'
    )


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
    leading = 0 if data.frames_in_order else max(
        range(len(data.frames)), key=lambda i: _variety(data.frames[i]))
    order = [leading, *(i for i in range(len(data.frames)) if i != leading)]
    rows = ''.join(
        _frame_row(data.frames[i], data.label_space, near, far, large=i == leading) for i in order
    )
    return (
        f'<section id="pictures"><h2>{_text(data.frames_title)}</h2>'
        '<p class="hint">Point at a prediction or the truth to read the class; click to enlarge, '
        'arrow keys to walk through.</p>'
        f'{_legend(data)}{rows}</section>'
    )


def _frame_row(frame: ReportFrame, space: LabelSpace, near: float, far: float, *,
               large: bool) -> str:
    width = 640 if large else 400
    depth_bar = _scale(gradient(cv2.COLORMAP_TURBO, reverse=True), f'{near:.1f} m', f'{far:.1f} m')
    confidence_bar = _scale(gradient(cv2.COLORMAP_VIRIDIS, reverse=False), '0 %', '100 %')
    names = ''.join(_name_tag(space.names[label], x, y)
                    for label, x, y in label_anchors(frame.prediction))
    holes = 100.0 * float(np.mean(frame.depth_m <= 0.0))
    tiles = [
        _tile('colour', jpeg(frame.rgb, width)),
        _tile(f'depth · {holes:.0f} % not measured',
              jpeg(colour_depth(frame.depth_m, near, far), width), depth_bar),
        _tile('prediction', png(space.colourise(frame.prediction), width), kind='labels'),
    ]
    if frame.truth is not None:
        tiles.append(_tile('truth', png(space.colourise(frame.truth), width), kind='labels'))
    if frame.confidence is not None:
        picture = colour_map(frame.confidence, cv2.COLORMAP_VIRIDIS)
        tiles.append(_tile('confidence', jpeg(picture, width), confidence_bar))
    blended = overlay(*shrunk(frame.rgb, frame.prediction, width), space)
    tiles.append(_tile('prediction over colour', jpeg(blended, width), names, kind='named'))
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


def _confusion(data: ReportData) -> str:
    if data.confusion is None or not data.confusion.counts.any():
        return ''
    return (
        '<section id="confusion"><h2>What was taken for what</h2>'
        '<p class="hint">Each row is a true class, in % of its pixels; each column is what the '
        f'model said. Point at a field to read it. {_text(data.confusion.hint)}</p>'
        f'<div class="scroll">{confusion_picture(data.confusion, data.label_space)}</div></section>'
    )


def _latency(latency: Latency | None) -> str:
    if latency is None or not latency.latency_ms:
        return ''
    return (
        f'<section id="latency"><h2>Latency</h2><p class="hint">{_text(latency.meaning)}</p>'
        f'<div class="plots">{latency_over_time(latency)}{latency_histogram(latency)}</div>'
        '</section>'
    )


def _table(table: Table) -> str:
    if not table.rows:
        return ''
    head = ''.join(f'<th>{_text(caption)}</th>' for caption in table.head)
    rows = ''
    for number, (name, *cells) in enumerate(table.rows, 1):
        kind = ' class="total"' if table.total and number == len(table.rows) else ''
        rows += f'<tr{kind}><th>{_text(name)}</th>' + ''.join(
            f'<td data-head="{_text(caption)}">{_text(cell)}</td>'
            for caption, cell in zip(table.head[1:], cells, strict=True)) + '</tr>'
    hint = f'<p class="hint">{_text(table.hint)}</p>' if table.hint else ''
    return (f'<section class="figures"><h2>{_text(table.title)}</h2>{hint}<div class="scroll">'
            f'<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>')


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


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _share(share: float) -> str:
    return f'{100 * share:.0f} %' if share >= 0.0095 else f'{100 * share:.1f} %'


def _hex(space: LabelSpace, label: int) -> str:
    red, green, blue = (int(v) for v in space.colours[label])
    return f'#{red:02x}{green:02x}{blue:02x}'


def _swatch(space: LabelSpace, label: int) -> str:
    return f'<span class="swatch" style="background:{_hex(space, label)}"></span>'


def _scale(colours: str, low: str, high: str) -> str:
    return (f'<div class="scale"><u>{low}</u><s style="background:{colours}"></s><u>{high}</u>'
            '</div>')


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


def _script(data: ReportData) -> str:
    names: dict[str, Any] = {_hex(data.label_space, label): name
                             for label, name in enumerate(data.label_space.names)}
    table = ','.join(f'"{colour}":"{_script_text(name)}"' for colour, name in names.items())
    return f'const NAMES={{{table},"#000000":"unlabelled"}};\n{_asset("report.js")}'


def _script_text(value: str) -> str:
    return ''.join(c for c in value if c not in '"\\<>&')


def _asset(name: str) -> str:
    """Return a text file that lies beside this one."""
    return resources.files('diffpixel_core.report').joinpath(name).read_text(encoding='utf-8')
