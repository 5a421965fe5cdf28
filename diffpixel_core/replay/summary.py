# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A replay in figures: as JSON, as a page, and as a table for the terminal."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable

from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.replay.causes import CAUSES, UNKNOWN
from diffpixel_core.replay.pictures import report_frame
from diffpixel_core.replay.result import ReplayResult
from diffpixel_core.replay.tally import MESSAGE_CAUSES, PERCENTILES, Picture, Tally
from diffpixel_core.report import (
    Card,
    Check,
    ClassScore,
    Latency,
    Loss,
    ReportData,
    ReportFrame,
    Table,
)

_ALWAYS = ('unpaired',)  # shown even if 0
_RARE = 0.002  # of the pixels compared; classes below share a row of the flicker table
_MOST_POINTS = 1500  # of the plot; more would make the page slow
_NO_TRUTH = 'This recording has no truth, so there is no score: judge the pictures yourself.'
_WORST = {'truth': 'by pixel accuracy', 'flicker': 'by flicker', 'confidence': 'by mean confidence'}
_STAGES = {'age': 'capture to start of decoding', 'read': 'both messages from the file',
           'decode': 'messages to arrays', 'network': 'upload, resize, forward',
           'tail': 'upsampling, argmax, confidence', 'publish': 'labels to the middleware',
           'own': 'the node without network and tail'}


def metrics(result: ReplayResult) -> dict[str, Any]:
    """Return all figures as plain types: of all bags together, then of each."""
    return {
        'model': result.settings.model, **result.facts, 'how': result.how,
        'seconds': result.seconds, 'passed': result.passed, 'problem': result.problem,
        **result.total.as_json(),
        'bags': [{'name': result.names[tally.bag], **tally.as_json()} for tally in result.tallies],
        'failed': [{'bag': result.bags[run.index], 'error': run.failure}
                   for run in result.runs if run.failure],
    }


def report_data(result: ReplayResult) -> ReportData:
    """Return all that the page of a replay shows."""
    total, tallies, names = result.total, result.tallies, result.names
    several = len(result.bags) > 1
    facts = result.facts
    what = f'{len(tallies)} of {len(result.bags)} bags' if len(result.runs) < len(result.bags) \
        else f'{len(tallies)} bags' if several else Path(result.bags[0]).resolve().name
    failed = [run.failure for run in result.runs if run.failure]
    notes = [f'{result.problem}.'] if len(result.runs) < len(result.bags) else []
    notes += [f'Not replayed: {text}' for text in failed] + \
        [f'{names[tally.bag]}: {note}' if several else note
         for tally in tallies for note in tally.notes]
    if not total.scored and not any('score' in note for note in notes):
        notes.append(_NO_TRUTH)
    return ReportData(
        title=f'Replay of {what}',
        summary=f'{total.frames_in} colour and {total.depth_in} depth images '
                f'({_seconds(total.bag_s)} of recording) went {result.how} through '
                f'{facts["network"]} with the engine {facts["engine"]} on {facts["device"]}; '
                f'{total.frames_out} label images came out in {_seconds(result.seconds)}.',
        notice=' · '.join(notes), label_space=total.label_space, cards=_cards(result, total),
        frames=[_frame(picture, names[picture.bag] if several else '')
                for picture in total.pictures],
        frames_title=_frames_title(total.pictures), frames_in_order=True,
        class_scores=_class_scores(total), latency=_latency(tallies),
        tables=[*_bag_table(result, total, several=several), _stage_table(total),
                _pairing_table(result, total), *_flicker_table(total)],
        flow=_flow(total), losses=_losses(total), checks=_checks(tallies),
        environment=_environment(result, total), command=result.command)


def replay_table(result: ReplayResult) -> TerminalTable:
    """Return the result as a table for the terminal: a list for one bag, a row for each of many."""
    if len(result.bags) == 1:
        table = TerminalTable(show_header=False)
        table.add_column()
        table.add_column(justify='right')
        for name, value in _terminal_figures(result.total, result.names).items():
            table.add_row(name, value)
        return table
    table = TerminalTable(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for tally in [*result.tallies, result.total]:
        figures = _terminal_figures(tally, result.names)
        if not table.columns:
            for name in figures:
                table.add_column(name, justify='left' if name == 'bag' else 'right',
                                 no_wrap=name != 'bag', overflow='fold')
        table.add_row(*figures.values())
    return table


def remarks(result: ReplayResult) -> list[str]:
    """Return what explains the table, a line each: every cause of a loss, what lowers the mIoU."""
    lines = [f'{number} {cause.replace("_", " ")}: {CAUSES.get(cause, UNKNOWN)[0]}'
             for cause, number in result.total.drops.items() if number]
    if (score := result.total.score) is not None and (wrong := _never_true(score)):
        lines.append(f'mIoU: {wrong} of {_judged_classes(score)} classes were predicted without '
                     'occurring in the truth; each counts 0')
    return lines


def _judged_classes(score: ConfusionMatrix) -> int:
    """Return over how many classes the mIoU is the mean: those true or predicted."""
    return int(np.sum(~np.isnan(score.iou)))


def _never_true(score: ConfusionMatrix) -> int:
    """Return how many classes were predicted without occurring in the truth."""
    return _judged_classes(score) - int(np.count_nonzero(score.counts.sum(1)))


def _terminal_figures(tally: Tally, names: Mapping[str, str]) -> dict[str, str]:
    ms, score = tally.latency_figures().get('total'), tally.score
    return {
        'bag': names.get(tally.bag, tally.bag), 'in': str(tally.frames_in),
        'pairs': str(tally.pairs), 'out': str(tally.frames_out),
        'lost': str(sum(tally.drops.values())),
        'ms p50': f'{ms["p50"]:.1f}' if ms else '–', 'p95': f'{ms["p95"]:.1f}' if ms else '–',
        'mIoU': _percent(score.miou if score else None),
        'accuracy': _percent(score.pixel_accuracy if score else None),
        'flicker': _percent(tally.flicker.share)}


def _cards(result: ReplayResult, total: Tally) -> list[Card]:
    ms = total.latency_figures().get('total', {})
    pace = total.frames_out / max(result.seconds, 1e-9)
    rates = [f'{tally.rate_hz:.1f}' for tally in result.tallies if tally.rate_hz]
    slowest_first = sorted(set(rates), key=float)
    hertz = ' to '.join(dict.fromkeys((slowest_first[0], slowest_first[-1]))) if rates else ''
    cards = [
        Card('frames in', str(total.frames_in),
             f'{_seconds(total.bag_s)} at {hertz} Hz' if hertz else ''),
        Card('pairs', str(total.pairs), f'gap {total.gap_mean_ms:.1f} ms, at most '
             f'{total.gap_max_ms:.1f} ms', '' if total.pairs == total.frames_in else 'warn'),
        Card('frames out', str(total.frames_out), f'{pace:.1f} a second, '
             f'{100 * total.frames_out / max(total.frames_in, 1):.0f} % of frames in',
             'good' if total.frames_out == total.frames_in else 'warn'),
    ]
    if ms:
        cards.append(Card('latency p50', f'{ms["p50"]:.0f} ms',
                          f'p95 {ms["p95"]:.0f} ms, p99 {ms["p99"]:.0f} ms'))
    if (score := total.score) is not None and score.pixels:
        wrong = _never_true(score)
        classes = f'{_judged_classes(score) - wrong} classes in the truth'
        if wrong:
            classes += f', and {wrong} predicted without occurring there: each counts 0'
        cards += [Card('mIoU', _percent(score.miou), classes),
                  Card('pixel accuracy', _percent(score.pixel_accuracy),
                       f'{score.pixels / 1e6:.1f} million labelled pixels, {total.scored} '
                       'frames')]
    flicker = total.flicker
    cards.append(Card('flicker', _percent(flicker.share),
                      f'{flicker.by_pose + flicker.by_still} of {flicker.frame_pairs} frame pairs '
                      'could be compared'))
    return cards


def _frames_title(pictures: Sequence[Picture]) -> str:
    reasons = list(dict.fromkeys(picture.reason for picture in pictures))
    if len(pictures) <= 1 or not reasons:
        return 'What went in, what came out'
    if len({picture.bag for picture in pictures}) > 1:
        return 'The worst frames of each bag'
    return 'The worst frames, ' + ', then '.join(_WORST[reason] for reason in reasons)


def _frame(picture: Picture, name: str) -> ReportFrame:
    row = picture.row
    parts = [name] * bool(name)
    parts += [f'frame {picture.place + 1}', f'stamp {row.stamp_ns / 1e9:.3f} s',
              f'{row.ms:.0f} ms']
    if row.pixel_accuracy is not None and row.miou is not None:
        parts.append(f'{_percent(row.pixel_accuracy)} of the pixels right, mIoU '
                     f'{_percent(row.miou)}')
    if row.flicker is not None:
        parts.append(f'flicker {_percent(row.flicker)}')
    parts.append(f'confidence {_percent(row.confidence)}')
    return report_frame(picture, ' · '.join(parts))


def _class_scores(total: Tally) -> list[ClassScore]:
    if (score := total.score) is None or not score.pixels:
        return []
    pixels = score.counts.sum(1)
    return [ClassScore(int(label), float(score.iou[label]), float(pixels[label] / pixels.sum()))
            for label in np.flatnonzero(pixels)]


def _latency(tallies: Sequence[Tally]) -> Latency:
    """Return the latency over the recording, one bag after the other, its peaks kept."""
    times: list[float] = []
    values: list[float] = []
    offset_s = 0.0
    for tally in tallies:
        if tally.frames:
            first_ns = min(row.stamp_ns for row in tally.frames)
            seconds = [(row.stamp_ns - first_ns) / 1e9 for row in tally.frames]
            times += [offset_s + second for second in seconds]
            values += [row.ms for row in tally.frames]
            offset_s += max(*seconds, tally.bag_s)
    share = max(1, -(-len(values) // _MOST_POINTS))
    peaks = [max(range(i, min(i + share, len(values))), key=values.__getitem__)
             for i in range(0, len(values), share)]
    meaning = 'Each frame at its time in the recording'
    meaning += ', bags one after the other.' if len(tallies) > 1 else '.'
    if share > 1:
        meaning += f' Of every {share} frames the slowest is shown; the table below has all.'
    return Latency([times[i] for i in peaks], [values[i] for i in peaks], meaning=meaning)


def _bag_table(result: ReplayResult, total: Tally, *, several: bool) -> list[Table]:
    if not several:
        return []
    rows = [_bag_row(tally, result.names[tally.bag]) for tally in result.tallies]
    rows += [(f'{result.names[result.bags[run.index]]}: failed', *[''] * 9)
             for run in result.runs if run.failure]
    return [Table('Bag by bag', ('bag', 'frames in', 'pairs', 'out', 'bag s', 'run s', 'ms p50',
                                 'mIoU', 'accuracy', 'flicker'),
                  [*rows, _bag_row(total, 'all')], total=True)]


def _bag_row(tally: Tally, name: str) -> tuple[str, ...]:
    ms, score = tally.latency_figures().get('total'), tally.score
    return (name, str(tally.frames_in), str(tally.pairs), str(tally.frames_out),
            f'{tally.bag_s:.1f}', f'{tally.run_s:.1f}', f'{ms["p50"]:.0f}' if ms else '',
            _percent(score.miou if score else None),
            _percent(score.pixel_accuracy if score else None), _percent(tally.flicker.share))


def _stage_table(total: Tally) -> Table:
    rows = [(f'{stage}: {_STAGES[stage]}' if stage in _STAGES else stage,
             *(f'{figures[name]:.1f}' for name in PERCENTILES))
            for stage, figures in total.latency_figures().items()]
    return Table('Latency by stage', ('stage', *PERCENTILES), rows, 'Milliseconds per frame.',
                 total=bool(rows) and rows[-1][0].startswith('total'))


def _pairing_table(result: ReplayResult, total: Tally) -> Table:
    def row(tally: Tally, name: str) -> tuple[str, ...]:
        lost = sum(tally.drops[cause] for cause in MESSAGE_CAUSES)
        return (name, str(tally.frames_in), str(tally.depth_in), str(tally.pairs),
                str(tally.alone), f'{tally.gap_mean_ms:.2f}', f'{tally.gap_max_ms:.2f}', str(lost),
                str(tally.resets))

    rows = [row(tally, result.names[tally.bag]) for tally in result.tallies]
    if len(rows) > 1:
        rows.append(row(total, 'all'))
    return Table('Pairing', ('bag', 'colour', 'depth', 'pairs', 'colour alone', 'gap mean ms',
                             'gap max ms', 'messages lost', 'resets'), rows,
                 'Which colour image went with which depth image; the causes of losses are below.',
                 total=len(rows) > 1)


def _flicker_table(total: Tally) -> list[Table]:
    flicker = total.flicker
    if flicker.share is None:
        return []
    rare = (flicker.compared > 0) & (flicker.compared < _RARE * flicker.compared.sum())
    common = np.flatnonzero((flicker.compared > 0) & ~rare)
    named = [(total.label_space.names[label], flicker.changed[label], flicker.compared[label])
             for label in common[np.argsort(-flicker.changed[common], kind='stable')]]
    if rare.any():
        named.append((f'{rare.sum()} rarer ones', flicker.changed[rare].sum(),
                      flicker.compared[rare].sum()))
    named.append(('all', flicker.changed.sum(), flicker.compared.sum()))
    rows = [(name, _percent(changed / compared), f'{changed:,}', f'{compared:,}')
            for name, changed, compared in named]
    hint = ('Share of the points that did not move between two consecutive frames but changed '
            f'their label, by the label they had. {flicker.by_pose} of {flicker.frame_pairs} pairs '
            'of frames were compared through camera poses (a point counts where both frames '
            f'measured the same depth, within 3 % or 2 cm), {flicker.by_still} pixel to pixel '
            'because the camera stood still; every second row and column.')
    return [Table('Flicker', ('class', 'changed', 'pixels changed', 'pixels compared'), rows, hint,
                  total=True)]


def _flow(total: Tally) -> dict[str, int]:
    """Return where each colour image went: out, a cause that ends a pair, or never in a pair."""
    parts = {'out': total.frames_out}
    parts |= {cause.replace('_', ' '): number for cause, number in total.drops.items()
              if number and cause not in MESSAGE_CAUSES}
    return parts | {'never in a pair': max(0, total.frames_in - total.pairs - total.alone)}


def _losses(total: Tally) -> list[Loss]:
    causes = dict.fromkeys(_ALWAYS, 0) | total.drops
    return [Loss(cause.replace('_', ' '), number, *CAUSES.get(cause, UNKNOWN))
            for cause, number in causes.items() if number or cause in _ALWAYS]


def _checks(tallies: Sequence[Tally]) -> list[Check]:
    lost = [tally for tally in tallies if tally.unexplained]
    checks = [Check('every pair came out or is counted under a cause', not lost,
                    f'{lost[0].unexplained} of {lost[0].bag} do not' if lost else
                    f'{sum(tally.pairs + tally.alone for tally in tallies)} of '
                    f'{sum(tally.pairs + tally.alone for tally in tallies)}')]
    with_truth = [tally for tally in tallies if tally.truth_in]
    if with_truth:
        blind = [tally for tally in with_truth if not tally.scored]
        checks.append(Check(
            'every bag with truth was scored', not blind,
            f'nothing of {blind[0].bag} was' if blind else
            f'{sum(tally.scored for tally in with_truth)} frames against '
            f'{sum(tally.truth_in or 0 for tally in with_truth)} label images'))
    return checks


def _environment(result: ReplayResult, total: Tally) -> dict[str, str]:
    facts, settings = result.facts, result.settings
    versions = [f'{name} {_version(name)}' for name in ('diffpixel_ros', 'torch', 'numpy')]
    tallies = result.tallies
    return {
        'date': datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
        'machine': f'{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()} '
                   f'{platform.release()}',
        'versions': f'Python {platform.python_version()}, ' + ', '.join(versions),
        'model': f'{Path(settings.model).name} ({facts["network"]}, labels '
                 f'{total.label_space.name})',
        'engine': f'{facts["engine"]} on {facts["device"]}, {facts["precision"]}',
        'topics': '; '.join(f'{role} {topic}' for role, topic in tallies[0].topics.items()),
        'pairing': f'slop {settings.sync_slop_s * 1e3:g} ms, missing depth: '
                   f'{settings.missing_depth}, stride {settings.stride}',
        'truth': 'none' if total.truth_in is None else
                 f'{total.truth_in} label images in {settings.truth_space}, matched by equal stamp '
                 f'or the nearest within {settings.sync_slop_s * 500:g} ms',
        'files': ', '.join(('report.html', 'metrics.json', 'frames.csv',
                            *(f'predictions/{Path(tally.files["predictions"]).name}'
                              for tally in tallies if 'predictions' in tally.files))),
    }


def _percent(share: float | None) -> str:
    if share is None or np.isnan(share):
        return '–'
    return f'{100 * share:.1f} %' if share >= 0.0005 or share == 0 else f'{100 * share:.3f} %'


def _seconds(seconds: float) -> str:
    return f'{seconds:.1f} s' if seconds < 120 else f'{seconds / 60:.1f} min'


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return '(not installed as a package)'
