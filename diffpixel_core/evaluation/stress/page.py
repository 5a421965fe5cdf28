# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The stress sheet as one self-contained HTML page, in the manner of the other reports."""

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from diffpixel_core.evaluation.stress.curves import Curve, Score, StressResults
from diffpixel_core.evaluation.stress.panels import STYLE, key, panel
from diffpixel_core.evaluation.stress.summary import (
    LOSS,
    caution,
    change,
    relative,
    setting,
    summary,
    warned,
)
from diffpixel_core.report.pictures import Depth, Image, colour_depth, depth_range, jpeg, png

_WIDTH = 360  # pixels of a picture
_STYLE = STYLE + """
.say{margin:12px 0 4px;padding-left:1.2em;max-width:92ch}.say li{margin:5px 0}
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:18px 22px}
.examples .frame{margin:0}.examples .tiles{grid-template-columns:1fr 1fr;gap:6px}
.examples .wide{grid-column:1/-1}.examples .wide .tiles{grid-template-columns:repeat(4,1fr)}
.watch td,.watch thead th+th{text-align:left}.watch td{color:var(--soft)}
.watch .number{color:var(--bad);white-space:nowrap}
.every td:nth-child(2),.every thead th:nth-child(2){text-align:left}
.every tr.over td:nth-child(5){color:var(--bad);font-weight:650}
@media(min-width:641px){.every td,.every tbody th{white-space:nowrap}
.every td:nth-child(2){white-space:normal}.every tr.first>*{border-top:2px solid var(--rule)}
.every tr:not(.first)>*{border-top:0;padding-top:1px;padding-bottom:3px}}
@media(max-width:640px){.examples .wide .tiles{grid-template-columns:1fr 1fr}
.watch tbody td{text-align:left}.every tbody td:nth-child(2){grid-column:1/-1}}
"""


def render_stress(results: StressResults, *, command: str = '') -> str:
    """Return the page as HTML text.

    Args:
        results: What was measured.
        command: How the user called it.
    """
    title = f'Stress sheet of {results.model}'
    sections = [
        _header(title, results), _watch(results), _curves(results), _examples(results),
        _every(results), _protocol(results.protocol, results, command)]
    names = {f'#{r:02x}{g:02x}{b:02x}': ''.join(c for c in name if c not in '"\\<>&')
             for name, (r, g, b) in zip(results.label_space.names,
                                        results.label_space.colours.tolist(), strict=True)}
    table = ','.join(f'"{colour}":"{name}"' for colour, name in names.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(title)}</title><style>\n{_asset("report.css")}{_STYLE}</style></head>\n'
        '<body><main>\n' + '\n'.join(section for section in sections if section)
        + '\n</main>\n<dialog id="zoom"><figure></figure></dialog><script>'
        f'const NAMES={{{table},"#000000":"unlabelled"}};\n{_asset("report.js")}</script>'
        '</body></html>\n')


def _header(title: str, results: StressResults) -> str:
    first, *others = summary(results)
    notice = f'<p class="notice">{_text(words)}</p>' if (words := caution(results)) else ''
    says = ''.join(f'<li>{_text(sentence)}</li>' for sentence in others)
    return (f'<header><div class="brand"><span>DiffPixel</span></div><h1>{_text(title)}</h1>'
            f'<p class="lead">{_text(setting(results))}. {_text(first)}</p>{notice}'
            f'<ul class="say">{says}</ul>'
            f'<div class="cards">{_cards(results)}</div></header>')


def _cards(results: StressResults) -> str:
    measured = results.measured
    cards = [('both images healthy', measured.clean, 'good')]
    for name, caption in (('depth_missing', 'without depth'), ('colour_missing', 'without colour')):
        curve = measured.curve(name)
        if curve is not None:
            cards.append((caption, curve.scores[-1], _tone(curve.scores[-1])))
    shifts = [score for name in ('depth_shift_x', 'depth_shift_y')
              if (curve := measured.curve(name)) is not None
              for score in curve.scores if abs(score.severity) == 3]
    if shifts:
        worst = max(shifts, key=lambda score: score.drop)
        cards.append(('depth 3 px beside colour', worst, _tone(worst)))
    return ''.join(
        f'<div class="card {tone}"><b>{100 * score.miou:.1f} %</b><span>{_text(caption)}</span>'
        f'<small>mIoU{"" if score is measured.clean else f", {change(score.drop)} points"}</small>'
        '</div>' for caption, score, tone in cards)


def _watch(results: StressResults) -> str:
    rows = ''.join(
        f'<tr><th>{_text(row.curve.corruption.title)}</th>'
        f'<td class="number" data-head="at worst">{change(row.curve.worst.drop)}</td>'
        f'<td data-head="from">{_text(row.onset(_sense(row.curve, row.first, results)))}</td>'
        f'<td data-head="where it comes from">{_text(row.curve.corruption.cause)}</td>'
        f'<td data-head="what helps">{_text(row.curve.corruption.remedy)}</td></tr>'
        for row in warned(results.measured))
    if not rows:
        return (f'<section><h2>What to watch on a robot</h2><p class="hint">No fault costs more '
                f'than {LOSS:g} points.</p></section>')
    return ('<section id="watch"><h2>What to watch on a robot</h2><p class="hint">Every fault that '
            f'costs more than {LOSS:g} points of mIoU, the costliest first.</p>'
            '<div class="scroll"><table class="watch"><thead><tr><th>fault</th><th>at worst</th>'
            f'<th>more than {LOSS:g} points from</th><th>where it comes from</th>'
            f'<th>what helps</th></tr></thead><tbody>{rows}</tbody></table></div></section>')


def _curves(results: StressResults) -> str:
    parts = []
    for modality in ('depth', 'colour'):
        panels = ''.join(panel(curve, results.measured, results.camera)
                         for curve in results.measured.curves
                         if curve.corruption.modality == modality)
        if panels:
            parts.append(f'<section id="{modality}"><h2>When {modality} gets worse</h2>'
                         f'<p class="hint">{_spoiled(modality)} Point at a dot to read what '
                         f'it means.</p>{key()}<div class="stress">{panels}</div></section>')
    return '\n'.join(parts)


def _spoiled(modality: str) -> str:
    other = 'Colour' if modality == 'depth' else 'Depth'
    return f'{other} and labels stay as they are.'


def _examples(results: StressResults) -> str:
    example = results.measured.example
    sample = example.sample
    near, far = depth_range([sample.depth_m])

    def prediction(labels: Image) -> str:
        return png(results.label_space.colourise(labels), _WIDTH)

    def depth(depth_m: Depth) -> str:
        return jpeg(colour_depth(depth_m, near, far), _WIDTH)

    rows = _article('both images healthy', [
        ('colour', jpeg(sample.rgb, _WIDTH), ''), ('depth', depth(sample.depth_m), ''),
        ('prediction', prediction(example.prediction), 'labels'),
        ('truth', prediction(sample.labels), 'labels')], wide=True)
    for curve in results.measured.curves:
        spoiled = example.spoiled[curve.corruption.name]
        if curve.corruption.modality == 'depth':
            picture = ('depth', depth(spoiled.depth_m), '')
        else:
            picture = ('colour', jpeg(spoiled.rgb, _WIDTH), '')
        title = curve.corruption.at(spoiled.severity)
        rows += _article(f'{title}: {change(curve.scores[-1].drop)} points', [
            picture, ('prediction', prediction(spoiled.prediction), 'labels')])
    return ('<section id="pictures"><h2>One frame, every fault at its strongest</h2>'
            '<p class="hint">The frame with most to see. The points are those of all frames. '
            f'Depth from {near:.1f} m (warm) to {far:.1f} m (cold), black = not measured. Point at '
            'a prediction to read the class; click to enlarge, arrow keys to walk through.</p>'
            f'{_legend(results)}<div class="examples">{rows}</div></section>')


def _legend(results: StressResults) -> str:
    space = results.label_space
    chips = ''.join(
        f'<li><span class="swatch" style="background:rgb({r},{g},{b})"></span>{_text(name)}</li>'
        for name, (r, g, b) in ((space.names[label], space.colours[label])
                                for label in results.measured.example.classes))
    return f'<ul class="legend">{chips}</ul>'


def _article(title: str, pictures: Sequence[tuple[str, str, str]], *, wide: bool = False) -> str:
    tiles = ''.join(
        f'<figure class="{kind}" tabindex="0"><div class="picture"><img alt="{_text(caption)}" '
        f'src="{source}"></div><figcaption>{_text(caption)}</figcaption></figure>'
        for caption, source, kind in pictures)
    return (f'<article class="frame{" wide" if wide else ""}"><h3>{_text(title)}</h3>'
            f'<div class="tiles">{tiles}</div></article>')


def _every(results: StressResults) -> str:
    head = ('fault', 'how much', 'mIoU, %', 'pixels right, %', 'change, points', 'change, %',
            '± points')
    rows = ''
    for curve in results.measured.curves:
        spoiled = [score for score in curve.scores if score.severity != curve.corruption.clean]
        for number, score in enumerate(spoiled):
            kinds = ' '.join(kind for kind, on in (('first', number == 0),
                                                   ('over', score.drop > LOSS)) if on)
            share = relative(score.drop, results.measured)
            cells = (_sense(curve, score, results), f'{100 * score.miou:.1f}',
                     f'{100 * score.pixel_accuracy:.1f}', change(score.drop), change(share),
                     '' if score.error is None else f'{2 * score.error:.1f}')
            rows += (f'<tr class="{kinds}"><th>'
                     f'{_text(curve.corruption.title) if number == 0 else ""}</th>'
                     + ''.join(f'<td data-head="{_text(caption)}">{_text(cell)}</td>'
                               for caption, cell in zip(head[1:], cells, strict=True)) + '</tr>')
    clean = results.measured.clean
    captions = ''.join(f'<th>{_text(caption)}</th>' for caption in head)
    return ('<section class="figures every"><h2>Every figure</h2><p class="hint">With both images '
            f'healthy: {100 * clean.miou:.1f} % mIoU, {100 * clean.pixel_accuracy:.1f} % of the '
            'pixels right. Changes are those of mIoU; ± is two standard errors.</p>'
            f'<div class="scroll"><table><thead><tr>{captions}</tr></thead>'
            f'<tbody>{rows}</tbody></table></div></section>')


def _protocol(protocol: Mapping[str, Any], results: StressResults, command: str) -> str:
    rows = {name.replace('_', ' '): _value(value) for name, value in protocol.items()
            if value is not None}
    evaluated = 100 * results.measured.clean_miou_evaluated
    rows['reference'] = (f'“diffpixel evaluate” says {evaluated:.1f} % mIoU for the healthy '
                         'frames: it also counts classes that are only predicted, each as 0')
    listed = ''.join(f'<dt>{_text(name)}</dt><dd>{_text(value)}</dd>'
                     for name, value in rows.items())
    called = f'<pre><code>{_text(command)}</code></pre>' if command else ''
    return (f'<section id="environment"><h2>How to get this page again</h2>{called}<dl>{listed}'
            '</dl></section>')


def _value(value: Any) -> str:
    return ' to '.join(str(v) for v in dict.fromkeys(value)) if isinstance(value, list) else str(
        value)


def _sense(curve: Curve, score: Score, results: StressResults) -> str:
    return curve.corruption.meaning(score.severity, results.camera)


def _tone(score: Score) -> str:
    return 'bad' if score.drop > LOSS else 'warn' if score.drop > LOSS / 2 else ''


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _asset(name: str) -> str:
    return resources.files('diffpixel_core.report').joinpath(name).read_text(encoding='utf-8')
