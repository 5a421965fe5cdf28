# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the doctor found, for the terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from diffpixel_core.doctor.depth_check import UNIT_NAMES
from diffpixel_core.doctor.examination import Examination
from diffpixel_core.doctor.verdict import Severity, Verdict

_MARKS: dict[Severity, tuple[str, str]] = {
    'error': ('✗', 'bold red'), 'warning': ('!', 'bold yellow'), 'note': ('·', 'bold cyan')}
_CLASSES, _BAR, _FILES = 12, 24, 3


def findings(examination: Examination) -> RenderableType:
    """Return figures and verdicts of a data set."""
    parts: list[RenderableType] = [_heading(examination), '', _depth(examination)]
    if examination.labels.frames:
        parts += ['', _classes(examination)]
    return Group(*parts, '', *_verdicts(examination))


def _heading(examination: Examination) -> Text:
    description = examination.description
    splits = ', '.join(f'{split} {len(files)}' for split, files in description.splits.items())
    return Text.assemble(
        (description.name, 'bold'), f'  {description.root}\n',
        (f'layout {description.layout} · {splits} frames · {len(examination.frames)} read'
         + f', {examination.labels.frames} with labels' * bool(examination.labels.frames)
         + f' ({description.label_space.name})' * bool(examination.labels.frames), 'dim'))


def _depth(examination: Examination) -> RenderableType:
    depth = examination.depth
    if depth.median_m is None or depth.hole_fraction is None:
        return Text(f'depth: none that could be read as {UNIT_NAMES[depth.unit]}', 'red')
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style='dim')
    for name in ('depth', 'median', '1 %', '99 %', 'not measured', 'read as'):
        table.add_column(name)
    table.add_row('', f'{depth.median_m:.2f} m', f'{depth.p01_m:.2f} m', f'{depth.p99_m:.2f} m',
                  f'{depth.hole_fraction:.1%}', UNIT_NAMES[depth.unit])
    return table


def _classes(examination: Examination) -> RenderableType:
    histogram = dict(examination.labels.histogram)
    total = max(1, sum(histogram.values()))
    unlabelled = histogram.pop('unlabelled')
    space = examination.description.label_space
    order = sorted((name for name in histogram if histogram[name]),
                   key=lambda name: -histogram[name])
    widest = max([histogram[name] for name in order[:1]] + [unlabelled, 1])
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, show_header=False)
    table.add_column(justify='right')
    table.add_column(justify='right')
    table.add_column()
    rows = [(name, histogram[name], 'rgb({},{},{})'.format(*space.colours[space.index(name)]))
            for name in order[:_CLASSES]]
    rest = sum(histogram[name] for name in order[_CLASSES:])
    if rest:
        rows.append((f'{len(order) - _CLASSES} more classes', rest, 'grey50'))
    rows.append(('unlabelled', unlabelled, 'grey30'))
    for name, pixels, colour in rows:
        bar = '█' * max(round(_BAR * min(1, pixels / widest)), int(pixels > 0))
        table.add_row(name, f'{pixels / total:.1%}', Text(bar, colour))
    return table


def _verdicts(examination: Examination) -> list[RenderableType]:
    if not examination.verdicts:
        return [Text.assemble(('✓ ', 'bold green'), 'nothing looks wrong')]
    return [_verdict(verdict) for verdict in examination.verdicts]


def _verdict(verdict: Verdict) -> RenderableType:
    mark, style = _MARKS[verdict.severity]
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1, style=style)
    table.add_column()
    text = Text(verdict.text, '' if verdict.severity == 'note' else 'bold')
    if verdict.remedy:
        text.append(f'\n→ {verdict.remedy}', 'not bold')
    if verdict.files:
        more = len(verdict.files) - _FILES
        text.append('\n' + ', '.join(verdict.files[:_FILES]) + ', ...' * (more > 0),
                    'not bold dim')
    table.add_row(mark, text)
    return Padding(table, (0, 0, 0, 0))
