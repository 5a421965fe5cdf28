# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How much time the node adds to its network, measured end to end: a table.

`python -m diffpixel_ros.measure.overhead` runs camera, node and receiver as three processes, for
every combination of image size, reliability and shared-memory profile. The overhead of a frame is
the time from publishing its later image to the receipt of `/semantic`, minus what the network took
and what the frame waited for the network to finish the one before (`network`, `tail` and `queue`
of the node's own timings). What is left is transport both ways, conversion and hand-over.

A tiny network with random weights is used, on one core, so that there is time for 30 frames a
second and a core for camera and receiver.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rclpy.serialization import deserialize_message
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from std_msgs.msg import String

from diffpixel_core.tiny_model import TINY_MODEL, save_tiny_model
from diffpixel_ros.client.node_process import NodeProcess, private_domain
from diffpixel_ros.client.play_and_record import Received, Recorder
from diffpixel_ros.client.session import START_S, Health, spinning, wait_until
from diffpixel_ros.measure.camera_process import CameraProcess, CameraSettings, Shot

SEMANTIC, TIMINGS = '/semantic', '/semantic/timings'
SIZES = ((640, 480), (1280, 720))
PERCENTILES = (50, 95, 99)
_WARM_UP_S = 1.0  # first frames touch every page for the first time
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Combination:
    """What is measured at a time."""

    width: int  # pixels
    height: int  # pixels
    reliable: bool  # the camera; the node follows it
    profile: bool  # whether the shared-memory profile is in use
    rate_hz: float = 30.0
    seconds: float = 8.0


@dataclass(frozen=True)
class Overhead:
    """What came of one combination.

    Attributes:
        combination: What was measured.
        sent: Pairs published.
        answered: Label images received for them.
        images_lost: Images the node never saw, of twice `sent`.
        superseded: Pairs a newer one overtook while the network was busy.
        overhead_ms: `p50`, `p95`, `p99` of the time beside the network; empty without an answer.
        own_ms: Likewise of the node's own code: arrival to publication without the network.
        stages_ms: Median milliseconds by stage, the network's too; `transport` is the overhead
            without the node's own code.
    """

    combination: Combination
    sent: int
    answered: int
    images_lost: int
    superseded: int
    overhead_ms: dict[str, float] = field(default_factory=dict)
    own_ms: dict[str, float] = field(default_factory=dict)
    stages_ms: dict[str, float] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Pairs without an answer that were not overtaken: lost on the way."""
        return self.sent - self.answered - self.superseded


def measure(combination: Combination, model: Path) -> Overhead:
    """Return the overhead of one combination. Call it in a process of its own.

    Args:
        combination: What to measure.
        model: Directory of a model fast enough for the rate.

    Raises:
        NodeError: If the node does not come up.
        CameraError: If the camera ends early.
    """
    received: dict[int, int] = {}
    timings: dict[int, dict[str, float]] = {}
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # for the node, which inherits it

    def keep(message: Received, raw: bytes) -> None:
        if message.topic == SEMANTIC:
            received[message.stamp_ns] = message.received_ns
        else:
            row = json.loads(deserialize_message(raw, String).data)
            timings[row['stamp_ns']] = row['ms']

    settings = CameraSettings(combination.width, combination.height, combination.rate_hz,
                              combination.seconds, combination.reliable)
    with tempfile.TemporaryDirectory() as scratch, \
            private_domain(profile=combination.profile) as domain, \
            spinning(domain, 'overhead') as node:
        folder = Path(scratch)
        # PyTorch has nothing to convert when the first image comes.
        process = NodeProcess(folder / 'node.log', remappings={},
                              parameters={'model_path': str(model), 'backend': 'torch',
                                          'diagnostics_period': 0.5})
        with process:
            health = Health(node)
            recorder = Recorder(node, images=(SEMANTIC,), others={TIMINGS: 'std_msgs/msg/String'},
                                latched={}, keep=keep)
            process.bring_up(node, timeout_s=START_S)
            camera = CameraProcess(settings, folder)
            with camera:
                while not camera.finished():
                    process.check()
                    recorder.check()
                    time.sleep(0.05)
                shots = camera.shots()
            _settle(health, recorder)
    drops = health.drops()
    seen = health.count('colour_in') + health.count('depth_in')
    answered = sum(shot.stamp_ns in received for shot in shots)
    return Overhead(combination, len(shots), answered, 2 * len(shots) - seen, drops['superseded'],
                    **figures(shots, received, timings))


def _settle(health: Health, recorder: Recorder) -> None:
    """Wait until nothing has come for a while and the counters are those of the end."""
    count, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < _QUIET_S:
        if (now := recorder.count(SEMANTIC)) != count:
            count, since_s = now, time.monotonic()
        time.sleep(0.05)
    wait_until(lambda: health.received_s > since_s, 5.0)


def figures(shots: Sequence[Shot], received: Mapping[int, int],
            timings: Mapping[int, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the figures of the frames after the warm-up, as `Overhead` has them.

    Args:
        shots: What the camera sent when.
        received: When the answer came, `time.monotonic_ns()`, by stamp.
        timings: What the node says of each frame, milliseconds by stage, by stamp.

    Returns:
        `overhead_ms`, `own_ms` and `stages_ms`; empty if no frame is left.
    """
    start_ns = shots[0].depth_ns + _WARM_UP_S * 1e9 if shots else 0
    rows = []
    for shot in shots:
        if shot.depth_ns < start_ns or shot.stamp_ns not in received.keys() & timings.keys():
            continue
        stages = timings[shot.stamp_ns]
        network_ms = stages['network'] + stages['tail'] + stages['queue']
        overhead_ms = (received[shot.stamp_ns] - shot.depth_ns) / 1e6 - network_ms
        rows.append({'overhead': overhead_ms, 'transport': overhead_ms - stages['own'], **stages})
    if not rows:
        return {}
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        'overhead_ms': _percentiles(columns['overhead']), 'own_ms': _percentiles(columns['own']),
        'stages_ms': {name: float(np.median(column)) for name, column in columns.items()}}


def _percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {f'p{percent}': float(np.percentile(values, percent)) for percent in PERCENTILES}


def measure_all(seconds: float, *, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Overhead]:
    """Return the overhead of every combination, each measured for `seconds`.

    Args:
        seconds: How long the camera sends.
        sizes: Width and height of the images.
    """
    results = []
    # A process reads the profile once, so each combination gets a fresh one.
    context = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as bar:
        model = save_tiny_model(Path(folder))
        combinations = [Combination(width, height, reliable, profile, seconds=seconds)
                        for (width, height), profile, reliable in itertools.product(
                            sizes, (True, False), (False, True))]
        for combination in bar.track(combinations, description='measuring'):
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                results.append(pool.submit(measure, combination, model).result())
    return results


def overhead_table(results: Sequence[Overhead]) -> Table:
    """Return the measurements for the terminal."""
    table = Table(title='node overhead end to end, ms beside the network: p50 / p95 / p99')
    for name in ('size', 'QoS', 'profile'):
        table.add_column(name)
    for name in ('overhead', 'own code', 'overtaken', 'lost'):
        table.add_column(name, justify='right')
    for result in results:
        row = result.combination
        table.add_row(f'{row.width}x{row.height}', 'reliable' if row.reliable else 'best effort',
                      'yes' if row.profile else 'no', _cell(result.overhead_ms),
                      _cell(result.own_ms), str(result.superseded),
                      f'{100 * result.lost / max(result.sent, 1):.1f} %')
    return table


def _cell(figures_ms: Mapping[str, float]) -> str:
    return ' / '.join(f'{value:.1f}' for value in figures_ms.values()) or '-'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the file; return the exit code."""
    parser = argparse.ArgumentParser(prog='python -m diffpixel_ros.measure.overhead',
                                     description='Measure how much time the node adds to its '
                                     'network, end to end.')
    parser.add_argument('--seconds', type=float, default=8.0, help='per combination')
    parser.add_argument('--json', type=Path, help='file for all figures')
    options = parser.parse_args(arguments)
    results = measure_all(options.seconds)
    console = Console()
    console.print(overhead_table(results))
    console.print(f'{TINY_MODEL}; 30 Hz; rgb8 + 16UC1; {os.cpu_count()} CPUs, '
                  f'{platform.machine()}, Python {platform.python_version()}')
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
