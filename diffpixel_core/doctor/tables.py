# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the doctor found, for the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diffpixel_core.doctor.depth_check import UNIT_NAMES
from diffpixel_core.doctor.examination import Examination
from diffpixel_core.doctor.verdict import Severity, Verdict, nothing_wrong, number_of

_MARKS: dict[Severity, tuple[str, str]] = {
    'error': ('✗', 'bold red'), 'warning': ('!', 'bold yellow'), 'note': ('·', 'bold cyan')}
_CLASSES, _BAR, _FILES = 12, 24, 3


def findings(examination: Examination) -> RenderableType:
    """Return figures and verdicts of a data set."""
    description = examination.description
    parts: list[RenderableType] = [
        Text.assemble((description.name, 'bold'), f'  {description.root}\n',
                      (examination.headline(), 'dim')), '', _depth(examination)]
    if examination.labels.frames:
        parts += ['', *_classes(examination)]
    return Group(*parts, '', _alignment(examination), '', *_verdicts(examination))


def _depth(examination: Examination) -> RenderableType:
    depth = examination.depth
    if depth.median_m is None or depth.hole_fraction is None:
        return Text(f'depth: none that could be read as {UNIT_NAMES[depth.unit]}', 'red')
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style='dim')
    for name in ('depth' + ' (nominal)' * (not depth.metric), '1 % nearer than', 'median',
                 '99 % nearer than', 'not measured'):
        table.add_column(name)
    table.add_row('', f'{depth.p01_m:.2f} m', f'{depth.median_m:.2f} m', f'{depth.p99_m:.2f} m',
                  f'{depth.hole_fraction:.1%}')
    return table


def _classes(examination: Examination) -> list[RenderableType]:
    """Return bars of the commonest classes, and the shares of the others."""
    histogram = dict(examination.labels.histogram)
    total = max(1, sum(histogram.values()))
    unlabelled = histogram.pop('unlabelled')
    space = examination.description.label_space
    order = sorted((name for name in histogram if histogram[name]),
                   key=lambda name: -histogram[name])
    widest = max([*histogram.values(), unlabelled, 1])
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, show_header=False)
    table.add_column(justify='right')
    table.add_column(justify='right')
    table.add_column()
    rows = [(name, histogram[name], 'rgb({},{},{})'.format(*space.colours[space.index(name)]))
            for name in order[:_CLASSES]]
    for name, pixels, colour in [*rows, ('unlabelled', unlabelled, 'grey30')]:
        bar = '█' * max(round(_BAR * pixels / widest), int(pixels > 0))
        table.add_row(name, f'{pixels / total:.1%}', Text(bar, colour))
    others = ', '.join(f'{name} {histogram[name] / total:.1%}' for name in order[_CLASSES:])
    return [table, *[Text(f'and {others}', 'dim')] * bool(others)]


def _alignment(examination: Examination) -> RenderableType:
    said = []
    for what, found in (('depth', examination.depth_alignment),
                        ('labels', examination.label_alignment)):
        if found is not None and found.tells:
            said.append(f'{what} {found.score:.2f} in {number_of(found.frames, "frame")}')
        elif what == 'depth' or examination.labels.frames:
            said.append(f'{what}: too few frames to tell')
    return Text(f'alignment (about 1 or more where registered): {", ".join(said)}', 'dim')


def _verdicts(examination: Examination) -> list[RenderableType]:
    rows: list[RenderableType] = [_verdict(verdict) for verdict in examination.verdicts]
    if nothing_wrong(examination.verdicts):
        rows.insert(0, Text.assemble(('✓ ', 'bold green'), ('nothing looks wrong', 'bold')))
    return rows


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
    return table
