# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What `info` knows as tables for people: all networks, one network, the paper's tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import diffpixel_core.paper as paper
from diffpixel_core.info import Info, ModelRow, Recount, is_met, recount_tables
from diffpixel_core.models.cost import RULE, Size

_DATA = {paper.NYUDV2: 'NYUDv2', paper.SUNRGBD: 'SUN RGB-D'}


def models_table(rows: Sequence[ModelRow]) -> RenderableType:
    """Return a table of networks for people, one section a backbone."""
    dead = any(row.parameters_dead for row in rows)
    table = _table('')
    for title in ('param.\nM', *(['dead\nM'] if dead else []), 'cost\nGMAC',
                  *(['dead\nGMAC'] if dead else []), 'NYUDv2\nmIoU', 'SUN\nmIoU'):
        table.add_column(title, justify='right', no_wrap=True)
    for backbone in dict.fromkeys(row.backbone for row in rows):
        table.add_section()
        table.add_row(Text(backbone, style='bold'))
        section = [row for row in rows if row.backbone == backbone]
        stem = section[0].name
        for row in section:
            accuracy = paper.published_accuracy(row.name)
            short = row is not section[0] and row.name.startswith(stem)
            table.add_row(
                f'  …{row.name.removeprefix(stem)}' if short else f'  {row.name}',
                f'{row.parameters / 1e6:.3f}',
                *([_unless_zero(row.parameters_dead / 1e6, 3)] if dead else []),
                f'{row.cost.gmac:.2f}',
                *([_unless_zero(row.cost.gmac_dead, 2)] if dead else []),
                *(f'{accuracy[data].miou:.2f}' if data in accuracy else ''
                  for data in (paper.NYUDV2, paper.SUNRGBD)))
    height, width = rows[0].size
    return Group(table, Text(
        f'\nGMAC: 10^9 multiply-accumulates for one pair of {height}x{width} images, '
        f'{rows[0].classes} classes; attention, norms and enlargement included, activations not.'
        + (' Dead: what the published code has besides, in vain.' if dead else '')
        + ' mIoU: printed in the paper, per cent; probably measured with the _released networks.'
        ' …: the first name of the section.', style='dim'))


def model_card(info: Info) -> RenderableType:
    """Return all that is known of one network, for people."""
    row, cost = info.rows[0], info.rows[0].cost
    height, width = row.size
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style='dim', no_wrap=True)
    table.add_column(overflow='fold')
    if info.trained is not None:
        for name in ('directory', 'label_space', 'modalities', 'weights_sha256'):
            table.add_row(name.replace('_', ' '), _plain(info.trained[name]))
    table.add_row('network', Text(row.name, style='bold'))
    table.add_row('backbone, fusion', f'{row.backbone}, {row.fusion}')
    table.add_row('parameters', f'{row.parameters:,} with {row.classes} classes')
    if row.parameters_dead:
        table.add_row('', f'+ {row.parameters_dead:,} dead in the published code '
                          f'= {row.parameters_published:,}')
    table.add_row('cost', f'{cost.gmac:.4f} GMAC for one pair of {height}x{width} images')
    if cost.gmac_dead:
        table.add_row('', f'+ {cost.gmac_dead:.4f} dead in the published code '
                          f'= {cost.gmac_published:.4f}')
    elif cost.gmac_published > cost.gmac:
        table.add_row('', f'{cost.gmac_published:.4f} with a product for each of the three values')
    table.add_row('', f'{cost.gmac_executed:.4f} as it runs here: each level of the decoder fused '
                      'before it is enlarged')
    accuracy = paper.published_accuracy(row.name)
    for data, figures in accuracy.items():
        table.add_row(f'paper, {_DATA[data]}', f'mIoU {figures.miou:.2f} %, '
                      f'pixel accuracy {figures.pixel_accuracy:.2f} %, '
                      f'mean accuracy {figures.mean_accuracy:.2f} %')
    if accuracy and paper.measured_with(row.name) != row.name:
        table.add_row('', f'probably measured with {paper.measured_with(row.name)}'
                      if paper.measured_with(row.name) else 'unclear what was measured: in the '
                      'published code this part has no influence')
    if info.trained is not None:
        for name in ('metrics', 'provenance'):
            for i, (key, value) in enumerate(info.trained[name].items()):
                table.add_row('' if i else name, f'{key}: {_plain(value)}')
    return Group(table, Text(f'\n{RULE}', style='dim'))


def paper_tables() -> RenderableType:
    """Return Tables II to V for people: printed, counted again, ours; misprints and notes."""
    parts: list[RenderableType] = []
    for number, lines in recount_tables().items():
        if number == 'I':
            continue  # its costs and accuracies are in Table IV
        parts.append(Text(f'\nTable {number}: {paper.TABLES[number].title}\n', style='bold'))
        parts += [_costs(lines) if lines[0].row.gflops else _our_costs(lines), Text(''),
                  _accuracies(lines)]
    parts.append(Text(
        '\n!: not what counting again gives. Counted again: the network the line was '
        'counted with, as the paper counted. Ours: our network for the line, eval mode, one pair. '
        'M: million parameters. G: GMAC. …: diffpixelformer_s. Accuracies, per cent, are the '
        'paper\'s: our networks were not trained on these data.', style='dim'))
    parts.append(Text('\nMisprints', style='bold'))
    for misprint in paper.MISPRINTS:
        parts.append(Text.assemble(f'{misprint.where}: “{misprint.printed}” → ',
                                   (misprint.correct, 'bold')))
        parts.append(Padding(Text(misprint.why), (0, 0, 0, 4)))
    parts.append(Text('\nNotes', style='bold'))
    notes = Table.grid(padding=(0, 1, 0, 0))
    for note in paper.NOTES:
        notes.add_row('-', note)
    return Group(*parts, notes)


def _costs(lines: Sequence[Recount]) -> Table:
    """Return printed costs beside ours."""
    table = _table('', '')
    for title in ('printed', 'counted\nagain', 'ours'):
        table.add_column(title, justify='right', no_wrap=True)
    table.add_column('remark', overflow='fold', ratio=1)
    for line in lines:
        row = line.row
        assert row.parameters is not None
        table.add_section()
        table.add_row(row.label, 'M', _marked(row.parameters, line.parameters),
                      f'{line.parameters:.3f}', f'{line.parameters_ours:.3f}',
                      row.remarks.get('parameters', ''))
        for i, (data, size) in enumerate(paper.SIZES.items()):
            table.add_row('' if i else Text(_short(row.model), style='dim'), f'G {_by(size)}',
                          _marked(row.gflops[data], line.gflops[data]),
                          f'{line.gflops[data]:.3f}', f'{line.gmac_ours[data]:.3f}',
                          '' if i else row.remarks.get('gflops', ''))
    return table


def _our_costs(lines: Sequence[Recount]) -> Table:
    """Return our costs for lines that print none."""
    table = _table('', 'ours')
    for title in ('M', *(f'G\n{_by(size)}' for size in paper.SIZES.values())):
        table.add_column(title, justify='right', no_wrap=True)
    for line in lines:
        table.add_row(line.row.label, Text(_short(line.row.model), style='dim'),
                      f'{line.parameters_ours:.3f}',
                      *(f'{value:.3f}' for value in line.gmac_ours.values()))
    return table


def _accuracies(lines: Sequence[Recount]) -> Table:
    """Return printed accuracies."""
    table = _table('')
    measured = lines[0].row.accuracy
    for data in measured:
        for title in (f'{_DATA[data]}\nmIoU', '\npixel', '\nmean'):
            table.add_column(title, justify='right', no_wrap=True)
    for line in lines:
        table.add_row(line.row.label, *(f'{value:.2f}' for data in measured
                                        for value in dataclasses.astuple(line.row.accuracy[data])))
    return table


def _table(*words: str) -> Table:
    """Return a table with columns of words so named, to be completed with columns of numbers."""
    table = Table(box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0), header_style='bold')
    for word in words:
        table.add_column(word, no_wrap=True)
    return table


def _marked(printed: float, counted: float) -> Text:
    """Return a printed number, marked where counting again gives another."""
    if is_met(printed, counted):
        return Text(f'{printed:.2f}')
    return Text(f'! {printed:.2f}', style='red')


def _unless_zero(value: float, digits: int) -> str:
    return f'{value:.{digits}f}' if value else ''


def _by(size: Size) -> str:
    return f'{size[0]}x{size[1]}'


def _short(name: str) -> str:
    stem, slash, ablation = name.partition('/')
    return f'…/{ablation}' if slash else stem


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        if any(isinstance(part, Mapping) for part in value.values()):
            return 'see --json'
        return ', '.join(f'{key} {_plain(part)}' for key, part in value.items())
    if isinstance(value, list | tuple):
        return ', '.join(map(_plain, value))
    return f'{value:.4g}' if isinstance(value, float) else str(value)
