# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Curves drawn as inline SVG, one small panel for each fault, all to the same scale."""

import html
import math
from collections.abc import Callable, Sequence

from diffpixel_core.evaluation.stress.curves import Curve, Measured, Score
from diffpixel_core.evaluation.stress.summary import LOSS, change
from diffpixel_core.geometry import Camera

_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 348.0, 10.0, 168.0

STYLE = """
.stress{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:20px 26px}
.stress h3{font-size:1rem;margin:0}.stress p{color:var(--soft);font-size:.84rem;line-height:1.35;
margin:2px 0 0}.stress svg{width:100%;height:auto;display:block}
.stress h3{display:flex;justify-content:space-between;white-space:nowrap}
.stress h3 small{font-weight:400;color:var(--soft)}.stress h3 .bad{color:var(--bad)}
.miou{fill:none;stroke:var(--accent);stroke-width:2}.band{fill:var(--accent);opacity:.16}
.healthy{stroke:var(--good);stroke-dasharray:5 4;stroke-width:1.3}
.none{stroke:var(--bad);stroke-dasharray:2 3;stroke-width:1.3}
.point{fill:var(--accent)}.point.bad{fill:var(--bad)}.point.clean{fill:var(--good)}
.key{display:flex;flex-wrap:wrap;gap:4px 22px;list-style:none;padding:0;margin:0 0 16px;
color:var(--soft);font-size:.88rem}.key li{display:flex;align-items:center;gap:7px}
.key svg{width:30px;height:12px;flex:none}
"""


def key() -> str:
    """Return the meaning of the lines, once for all panels, as HTML."""
    rows = (
        ('<path class="miou" d="M0 6H30"/><circle class="point" cx="15" cy="6" r="3.4"/>',
         'mIoU; the band is two standard errors of its loss'),
        ('<circle class="point bad" cx="15" cy="6" r="3.4"/>', f'more than {LOSS:g} points lost'),
        ('<path class="healthy" d="M0 6H30"/>', 'mIoU with both images healthy'),
        ('<path class="none" d="M0 6H30"/>', 'mIoU without this image at all'),
    )
    return '<ul class="key">' + ''.join(
        f'<li><svg viewBox="0 0 30 12" aria-hidden="true">{line}</svg>{html.escape(words)}</li>'
        for line, words in rows) + '</ul>'


def panel(curve: Curve, measured: Measured, camera: Camera) -> str:
    """Return the curve of one fault as HTML: its name, the plot, where the fault comes from."""
    corruption = curve.corruption
    top = highest(measured)
    inset = 60 if len(curve.scores) == 2 else 16
    across = [_LEFT + inset + (_RIGHT - _LEFT - 2 * inset) * i / (len(curve.scores) - 1)
              for i in range(len(curve.scores))]

    def y_of(share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(100 * share / top, 0), 1)

    parts = [_grid(top, y_of)]
    parts.append(_level(measured.clean.miou, 'healthy', y_of))
    none = measured.curve(f'{corruption.modality}_missing')
    if none is not None and none is not curve:
        parts.append(_level(none.scores[-1].miou, 'none', y_of))
    band = _band(curve.scores)
    upper = [f'{x:.1f},{y_of(high):.1f}' for x, (_, high) in zip(across, band, strict=True)]
    lower = [f'{x:.1f},{y_of(low):.1f}' for x, (low, _) in zip(across, band, strict=True)]
    parts.append(f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>')
    points = ' '.join(f'{x:.1f},{y_of(score.miou):.1f}'
                      for x, score in zip(across, curve.scores, strict=True))
    parts.append(f'<polyline class="miou" points="{points}"/>')
    for x, score in zip(across, curve.scores, strict=True):
        parts.append(f'<circle class="{_kind(curve, score)}" cx="{x:.1f}" '
                     f'cy="{y_of(score.miou):.1f}" r="3.6"><title>'
                     f'{html.escape(_words(curve, score, camera))}</title></circle>'
                     f'<text x="{x:.1f}" y="182" text-anchor="middle">'
                     f'{html.escape(corruption.tick(score.severity))}</text>')
    if corruption.unit:
        parts.append(f'<text x="{(_LEFT + _RIGHT) / 2:.0f}" y="196" text-anchor="middle">'
                     f'{html.escape(corruption.unit)}</text>')
    worst = curve.worst_of_spoiled.drop
    return (f'<div><h3>{html.escape(corruption.title)} <small{" class=bad" * (worst > LOSS)}>at '
            f'worst {change(worst)}</small></h3><svg viewBox="0 0 356 200" role="img" '
            f'aria-label="{html.escape(corruption.title)}">{"".join(parts)}</svg>'
            f'<p>{html.escape(corruption.cause)}</p></div>')


def highest(measured: Measured) -> float:
    """Return where the axis of all panels ends, percent: a multiple of 10 above every mIoU."""
    shares = [measured.clean.miou]
    shares += [score.miou for curve in measured.curves for score in curve.scores]
    return max(10.0, 10.0 * math.ceil(10 * max(shares) - 1e-9))


def ticks(top: float) -> list[int]:
    """Return the figures at the axis that ends at `top`, percent."""
    return list(range(0, round(top) + 1, 10 if top <= 50 else 20))


def _band(scores: Sequence[Score]) -> list[tuple[float, float]]:
    """Return mIoU minus and plus two standard errors of the drop, 0..1."""
    errors = [(score.error or 0) / 50 for score in scores]
    return [(score.miou - error, score.miou + error)
            for score, error in zip(scores, errors, strict=True)]


def _kind(curve: Curve, score: Score) -> str:
    if score.severity == curve.corruption.clean:
        return 'point clean'
    return 'point bad' if score.drop > LOSS else 'point'


def _words(curve: Curve, score: Score, camera: Camera) -> str:
    meaning = curve.corruption.meaning(score.severity, camera)
    return (f'{meaning}: mIoU {100 * score.miou:.1f} %, {score.drop:.1f} points lost; '
            f'{100 * score.pixel_accuracy:.1f} % of the pixels right')


def _grid(top: float, y_of: Callable[[float], float]) -> str:
    return ''.join(
        f'<path class="grid" d="M{_LEFT:.0f} {y_of(value / 100):.1f}H{_RIGHT:.0f}"/>'
        f'<text x="{_LEFT - 6:.0f}" y="{y_of(value / 100) + 4:.1f}" text-anchor="end">{value}'
        f'{" %" if value == ticks(top)[-1] else ""}</text>' for value in ticks(top))


def _level(share: float, kind: str, y_of: Callable[[float], float]) -> str:
    return f'<path class="{kind}" d="M{_LEFT:.0f} {y_of(share):.1f}H{_RIGHT:.0f}"/>'
