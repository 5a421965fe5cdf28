# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The page about a demo: what the figures are called, what each loss means and what helps."""

import os
import platform
import shlex
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from diffpixel_core.replay.causes import CAUSES, UNKNOWN
from diffpixel_core.report import Card, ClassScore, Latency, Loss, ReportData, ReportFrame
from diffpixel_ros.client.run_record import Run, latencies_ms
from diffpixel_ros.demo.result import DemoResult, Findings, Picture
from diffpixel_ros.diagnostics import PAIR_CAUSES

_ALWAYS = ('superseded', 'unpaired', 'transport_lost', 'unexplained')  # shown even if 0
_GENERATED = ('The rooms are generated, with exact labels. The score tells that the chain works '
              'and what this model finds in such rooms; it is never a stand-in for NYUDv2 or '
              'SUN RGB-D.')
_NO_TRUTH = 'This recording has no truth, so there is no score: judge the pictures yourself.'


def report_data(result: DemoResult, run: Run, findings: Findings, *, generated: bool,
                command: str) -> ReportData:
    """Return all that the page of a demo shows.

    Args:
        result: The figures.
        run: The record of the replay.
        findings: What the outputs turned out to be.
        generated: Whether the images are generated rooms.
        command: How the user called the demo; empty: the plain call that does the same.
    """
    late = latencies_ms(run)
    colour = [m.stamp_ns for m in run.sent if m.topic == run.topics.colour]
    first_ns = min(colour)
    span_s = max((max(colour) - min(colour)) / 1e9, 1e-9)
    hertz = (len(colour) - 1) / span_s * result.rate if len(colour) > 1 else 0.0
    what = 'a camera walk through a generated room' if generated else Path(result.bag).name
    pace = 'at its own rate' if result.rate == 1 else f'at {result.rate:g} times its own rate'
    losses = [Loss(cause.replace('_', ' '), number, *CAUSES.get(cause, UNKNOWN))
              for cause, number in result.drops.items() if number or cause in _ALWAYS]
    return ReportData(
        title='Colour and depth in, labels out',
        summary=f'{result.frames_in} colour images with depth of {what} were played over ROS 2 '
                f'topics into the DiffPixel node, {pace} ({hertz:.1f} frames/s). The node ran '
                f'{result.network} with the engine {result.engine} on {result.device} as a process '
                f'of its own; {result.frames_out} label images came back on /semantic.',
        notice=_GENERATED if generated else '' if result.miou is not None else _NO_TRUTH,
        label_space=findings.label_space, cards=_cards(result, findings, hertz),
        frames=[_frame(picture, first_ns, colour, late) for picture in findings.pictures],
        class_scores=_class_scores(findings),
        latency=Latency([(stamp - first_ns) / 1e9 for stamp in late], list(late.values()),
                        sorted((s - first_ns) / 1e9 for s in set(colour) - late.keys())),
        flow=_flow(result), losses=losses, checks=result.checks,
        environment=_environment(result, run.counters),
        command=command or shlex.join([
            'diffpixel', 'demo', *(() if generated else ('--bag', result.bag)),
            '--model', result.model, '--rate', f'{result.rate:g}']))


def _cards(result: DemoResult, findings: Findings, hertz: float) -> list[Card]:
    p50, p95 = result.latency_ms['p50'], result.latency_ms['p95']
    share = result.frames_out / max(result.frames_in, 1)
    cards = [
        Card('frames in', str(result.frames_in), f'{result.seconds:.1f} s at {hertz:.1f} Hz'),
        Card('pairs', str(result.pairs), 'colour with depth',
             '' if result.pairs == result.frames_in else 'warn'),
        Card('frames out', str(result.frames_out),
             f'{100 * share:.0f} % of frames in, {share * hertz:.1f} Hz',
             'good' if result.frames_out == result.frames_in else 'warn'),
        Card('latency p50', '–' if p50 is None else f'{p50:.0f} ms',
             'no output' if p95 is None else f'p95 {p95:.0f} ms'),
    ]
    if findings.score is None or result.miou is None or result.pixel_accuracy is None:
        return cards
    classes = int(np.sum(~np.isnan(findings.score.iou)))
    return [*cards,
            Card('mIoU', f'{100 * result.miou:.1f} %', f'{classes} classes true or predicted'),
            Card('pixel accuracy', f'{100 * result.pixel_accuracy:.1f} %',
                 f'{findings.score.pixels / 1e6:.1f} million labelled pixels')]


def _frame(picture: Picture, first_ns: int, colour: list[int], late: Mapping[int, float]
           ) -> ReportFrame:
    title = (f'frame {colour.index(picture.stamp_ns) + 1} of {len(colour)} · '
             f'{(picture.stamp_ns - first_ns) / 1e9:.2f} s')
    if picture.stamp_ns in late:
        title += f' · {late[picture.stamp_ns]:.0f} ms'
    if picture.truth is not None and (labelled := picture.truth != 255).any():
        right = np.mean(picture.truth[labelled] == picture.prediction[labelled])
        title += f' · {100 * right:.0f} % of the pixels right'
    return ReportFrame(title, picture.rgb, picture.depth_m, picture.prediction, picture.truth,
                       picture.confidence)


def _class_scores(findings: Findings) -> list[ClassScore]:
    if findings.score is None or not findings.score.pixels:
        return []
    pixels = findings.score.counts.sum(1)
    return [ClassScore(int(label), float(findings.score.iou[label]),
                       float(pixels[label] / pixels.sum())) for label in np.flatnonzero(pixels)]


def _flow(result: DemoResult) -> dict[str, int]:
    """Return where each colour image went: out, a cause that ends a pair, or never in a pair."""
    ends = (*PAIR_CAUSES, 'unfinished', 'output_lost', 'unexplained')
    parts = {'out': result.frames_out}
    parts |= {cause.replace('_', ' '): result.drops[cause] for cause in ends
              if result.drops[cause] > 0}
    return parts | {'never in a pair': max(0, result.frames_in - result.pairs)}


def _environment(result: DemoResult, counters: Mapping[str, str]) -> dict[str, str]:
    versions = [f'{name} {_version(name)}'
                for name in ('diffpixel_ros', 'torch', 'ros-rclpy', 'numpy')]
    return {
        'date': datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
        'machine': f'{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()} '
                   f'{platform.release()}',
        'versions': f'Python {platform.python_version()}, ' + ', '.join(versions),
        'model': f'{Path(result.model).name} ({result.network}, labels {result.label_space})',
        'engine': f'{result.engine} on {result.device}, {result.precision}',
        'pairing': f'gap {counters.get("sync_gap_ms", "unknown")} ms',
        'transport': f'colour {counters.get("colour_topic", "unknown")}; '
                     f'depth {counters.get("depth_topic", "unknown")}',
        'inside the node': ', '.join(
            f'{stage} {counters.get(f"latency_ms.{stage}.p50") or "–"}'
            for stage in ('decode', 'network', 'tail', 'publish', 'total')) + ' ms (p50)',
        'player': f'{result.late_ms_p95:.1f} ms late (p95)',
        'files': ', '.join(Path(path).name for path in result.files.values()),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return '(not installed as a package)'
