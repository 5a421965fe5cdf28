# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Run the node for long under a camera's full rate: does its memory grow, is every drop explained?

`python -m diffpixel_ros.measure.soak --minutes 30` runs camera, node and receiver as three
processes and samples the node's memory and counters. Memory is judged by a line fitted after the
warm-up.
"""

import argparse
import json
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.termination import terminable
from diffpixel_core.tiny_model import TINY_MODEL, save_tiny_model
from diffpixel_ros.client.node_process import NodeProcess, private_domain
from diffpixel_ros.client.play_and_record import Recorder
from diffpixel_ros.client.session import START_S, Health, spinning, wait_until
from diffpixel_ros.diagnostics import MESSAGE_CAUSES, PAIR_CAUSES
from diffpixel_ros.measure.camera_process import CameraProcess, CameraSettings

_SEMANTIC = '/semantic'
_TINY = 'tiny'
# Of the time, but at most so many seconds. The heap settles in steps of whole images, one of them
# 10 minutes after the start; a line through such a step is no slope.
_WARM_UP = 0.5
_WARM_UP_S = 900.0
_SETTLE_S = 10.0
# Counted by the node, but no place where a message ends.
_NO_END = ('transport_lost', 'callback_error', 'bad_camera_info')


class SoakError(DiffPixelError):
    """A soak that cannot be run or judged."""


class Sample(NamedTuple):
    """The node at one moment.

    Attributes:
        seconds: Since the camera's process was started.
        rss_mib: Resident memory, mebibytes, shared memory and files included.
        anonymous_mib: That part of it which only this process can have: heap and stacks.
        threads: Number of threads.
        frames_out: Label images it had published.
    """

    seconds: float
    rss_mib: float
    anonymous_mib: float
    threads: int
    frames_out: int


@dataclass(frozen=True)
class Soak:
    """What came of a soak.

    Attributes:
        model: What was run.
        rate_hz: Pairs per second, of 640x480 pixels.
        seconds: How long the camera sent.
        pairs_sent: Pairs the camera published.
        counters: The node's counters at the end.
        drops: What was lost, by cause; those that are not 0.
        answered: Label images received, each for a pair that was sent.
        unexplained: Images and pairs that no counter accounts for.
        samples: The node over time.
        mib_per_hour: Slope of `rss_mib` after the warm-up, and its standard error, as if samples
            were independent of each other.
        anonymous_mib_per_hour: The same of `anonymous_mib`.
    """

    model: str
    rate_hz: float
    seconds: float
    pairs_sent: int
    counters: dict[str, int]
    drops: dict[str, int]
    answered: int
    unexplained: int
    samples: list[Sample] = field(repr=False)
    mib_per_hour: tuple[float, float]
    anonymous_mib_per_hour: tuple[float, float]


def run_soak(seconds: float, *, model: str = _TINY, rate_hz: float = 30.0,
             progress: Callable[[float], None] = lambda seconds: None) -> Soak:
    """Run the node under a camera and return what came of it.

    Args:
        seconds: How long the camera sends.
        model: `tiny`, or a model directory or shipped name.
        rate_hz: Pairs per second.
        progress: Called with the seconds that have passed.

    Raises:
        SoakError: If there are too few samples to fit a line.
        NodeError: If the node does not come up, or ends.
        CameraError: If the camera ends early.
    """
    samples: list[Sample] = []
    stamps: list[int] = []
    with tempfile.TemporaryDirectory() as scratch, private_domain() as domain, \
            spinning(domain, 'soak') as node:
        folder = Path(scratch)
        path = str(save_tiny_model(folder / 'model')) if model == _TINY else model
        process = NodeProcess(folder / 'node.log', remappings={},
                              parameters={'model_path': path, 'diagnostics_period': 0.5})
        camera = CameraProcess(CameraSettings(rate_hz=rate_hz, seconds=seconds), folder)
        with process:
            health = Health(node)
            recorder = Recorder(node, images=(_SEMANTIC,), latched={},
                                keep=lambda message, raw: stamps.append(message.stamp_ns))
            process.bring_up(node, timeout_s=START_S)
            period_s = min(5.0, max(0.25, seconds / 200))
            started = time.monotonic()
            with camera:
                while not camera.finished():
                    process.check()
                    recorder.check()
                    elapsed_s = time.monotonic() - started
                    samples.append(_sample(process.pid, elapsed_s, health.count('frames_out')))
                    progress(elapsed_s)
                    time.sleep(period_s)
                shots = camera.shots()
            _settle(health, recorder)
            counters = {name: health.count(name) for name in (
                'colour_in', 'depth_in', 'pairs', 'alone', 'frames_out', 'in_flight', 'waiting',
                'resets')}
            drops = health.drops()
    sent = {shot.stamp_ns for shot in shots}
    drops['transport_lost'] = 2 * len(shots) - counters['colour_in'] - counters['depth_in']
    drops['output_lost'] = counters['frames_out'] - len(stamps)
    return Soak(
        TINY_MODEL if model == _TINY else model, rate_hz, seconds, len(shots), counters,
        {cause: number for cause, number in drops.items() if number},
        sum(stamp in sent for stamp in stamps), unexplained(counters, drops), samples,
        slope_per_hour([sample.seconds for sample in samples],
                       [sample.rss_mib for sample in samples]),
        slope_per_hour([sample.seconds for sample in samples],
                       [sample.anonymous_mib for sample in samples]))


def unexplained(counters: dict[str, int], drops: dict[str, int]) -> int:
    """Return how many images and pairs ended that no counter of the node accounts for.

    Args:
        counters: The node's counters.
        drops: Its drops by cause.
    """
    refused = sum(drops.get(cause, 0) for cause in MESSAGE_CAUSES if cause not in _NO_END)
    images = counters['colour_in'] + counters['depth_in'] - 2 * counters['pairs'] \
        - counters['alone'] - refused - counters['waiting']
    pairs = counters['pairs'] + counters['alone'] - counters['frames_out'] \
        - counters['in_flight'] - sum(drops.get(cause, 0) for cause in PAIR_CAUSES)
    return abs(images) + abs(pairs)


def slope_per_hour(seconds: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the slope of a line fitted after the warm-up, per hour, and its standard error.

    The warm-up is half of the time, at most a quarter of an hour.

    Args:
        seconds: When each value was taken.
        values: The values.

    Raises:
        SoakError: If fewer than four values are left.

    Source: ordinary least squares of one variable; its standard error is
        sqrt(sum(residual^2) / (n - 2) / sum((t - mean(t))^2)).
    """
    times = np.asarray(seconds, np.float64)
    start = times[0] + min(_WARM_UP_S, _WARM_UP * (times[-1] - times[0])) if times.size else 0.0
    kept = times >= start
    t, y = times[kept] / 3600, np.asarray(values, np.float64)[kept]
    if t.size < 4:
        raise SoakError(f'{t.size} samples after the warm-up are too few to fit a line; run longer')
    centred: npt.NDArray[np.float64] = t - t.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    return slope, float(np.sqrt(residual @ residual / (t.size - 2) / spread))


def soak_table(soak: Soak) -> Table:
    """Return the result for the terminal."""
    table = Table(title=f'{soak.seconds / 60:.1f} minutes of 640x480 at {soak.rate_hz:g} Hz',
                  show_header=False)
    table.add_column()
    table.add_column(justify='right')
    last = soak.samples[-1]
    for name, text in (
            ('model', soak.model), ('pairs sent', str(soak.pairs_sent)),
            ('answered', str(soak.answered)),
            *((f'dropped: {cause.replace("_", " ")}', str(number))
              for cause, number in soak.drops.items()),
            ('unexplained', str(soak.unexplained)),
            ('memory at the end', f'{last.rss_mib:.1f} MiB, {last.threads} threads'),
            ('memory per hour', '{:+.2f} ± {:.2f} MiB'.format(*soak.mib_per_hour)),
            ('heap per hour', '{:+.2f} ± {:.2f} MiB'.format(*soak.anonymous_mib_per_hour))):
        table.add_row(name, text)
    return table


def soak_picture(soak: Soak, path: Path) -> None:
    """Write an SVG of the memory over time."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(8, 3.5), layout='constrained')
    axes = figure.subplots()
    minutes = [sample.seconds / 60 for sample in soak.samples]
    for label, values in (('resident', [sample.rss_mib for sample in soak.samples]),
                          ('heap', [sample.anonymous_mib for sample in soak.samples])):
        axes.plot(minutes, values, label=label)
    axes.set(xlabel='minutes', ylabel='MiB', ylim=(0, None), title=soak.model)
    axes.legend()
    figure.savefig(path, format='svg')


def _settle(health: Health, recorder: Recorder) -> None:
    """Wait until the counters no longer change and every output is here, or give up."""
    def settled() -> bool:
        return health.count('in_flight') == 0 \
            and recorder.count(_SEMANTIC) >= health.count('frames_out')

    since_s = time.monotonic()
    wait_until(lambda: health.received_s > since_s + 1.0 and settled(), _SETTLE_S)


def _sample(pid: int, seconds: float, frames_out: int) -> Sample:
    """Return the memory of a process.

    Source: VmRSS, RssAnon (kB) and Threads of /proc/PID/status: proc_pid_status(5).
    """
    text = Path(f'/proc/{pid}/status').read_text()

    def row(name: str) -> int:
        found = re.search(rf'^{name}:\s+(\d+)', text, re.MULTILINE)
        if found is None:
            raise SoakError(f'/proc/{pid}/status has no {name}; a soak needs Linux 4.5 or later')
        return int(found[1])

    return Sample(round(seconds, 3), row('VmRSS') / 1024, row('RssAnon') / 1024, row('Threads'),
                  frames_out)


def _json(soak: Soak) -> str:
    values: dict[str, Any] = asdict(soak)
    values['samples'] = [sample._asdict() for sample in soak.samples]
    return json.dumps(values | {'python': platform.python_version()}, indent=1) + '\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak, print the table, write the files; return 1 if a drop is unexplained."""
    parser = argparse.ArgumentParser(prog='python -m diffpixel_ros.measure.soak',
                                     description='Run the node for long at full rate; report its '
                                     'memory and its drops.')
    parser.add_argument('--minutes', type=float, default=30.0, help='how long (default: 30)')
    parser.add_argument('--model', default=_TINY, help='tiny, a model directory or a shipped name '
                        '(default: tiny)')
    parser.add_argument('--rate', type=float, default=30.0, help='pairs per second (default: 30)')
    parser.add_argument('--json', type=Path, help='file for all figures')
    parser.add_argument('--svg', type=Path, help='file for a picture of the memory')
    options = parser.parse_args(arguments)
    seconds = 60 * options.minutes
    try:
        with terminable(), Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task('soaking', total=seconds)
            soak = run_soak(seconds, model=options.model, rate_hz=options.rate,
                            progress=lambda now: bar.update(task, completed=now))
    except DiffPixelError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    Console().print(soak_table(soak))
    if options.json:
        options.json.write_text(_json(soak))
    if options.svg:
        soak_picture(soak, options.svg)
    return int(soak.unexplained != 0)


if __name__ == '__main__':
    sys.exit(main())
