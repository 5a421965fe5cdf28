# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: a bag through the real node over real DDS, with every frame accounted for.

bag → Player → camera topics → (DDS) → node process → /semantic → (DDS) → Recorder → semantic.mcap,
which is then read back, checked against the bag that was played, scored, and shown.
"""

import json
import logging
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from diffpixel_core.bags import BagReader, BagWriter
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.report import write_report
from diffpixel_core.rgbd_bags import RgbdTopics, find_rgbd_topics
from diffpixel_ros.demo_examine import examine
from diffpixel_ros.demo_report import report_data
from diffpixel_ros.demo_result import (
    CONFIDENCE,
    LABELS,
    SEMANTIC,
    DemoResult,
    Run,
    judge,
)
from diffpixel_ros.node_process import NodeProcess, private_domain
from diffpixel_ros.replay import Player, Received, Recorder, Sent

logger = logging.getLogger(__name__)

_START_S = 120.0  # the node may take this long to load its model
_CONNECT_S = 15.0
_BUSY_S = 60.0  # after the last image: how long one inference may take before we give up
_LOST_S = 6.0  # how long a message may be on its way; Fast DDS repeats lost ones after 3 s
_SETTLE_S = 0.3  # endpoints have found each other on our side; the other side needs a moment
_PICTURES = 8
_IMAGE = 'sensor_msgs/msg/Image'


class DemoError(DiffPixelError):
    """The demo cannot be run as asked."""


def run_demo(*, bag: Path, model: str | Path, engine: str, rate: float, output: Path,
             rgb_topic: str = '', depth_topic: str = '', generated: bool = False,
             command: str = '') -> DemoResult:
    """Play a bag through the node and return what came out.

    Writes `report.html`, `metrics.json`, `semantic.mcap` and `node.log` into `output`.

    Args:
        bag: A rosbag2 with colour and aligned depth images.
        model: A model directory or the name of a shipped model.
        engine: Engine the node is to use; `auto` leaves it the choice.
        rate: Speed of the replay; 1 = as recorded.
        output: Folder for the results; made if need be.
        rgb_topic: Topic of the colour images; empty: as the common drivers name it.
        depth_topic: Topic of the depth images aligned to them; likewise.
        generated: Whether the images are generated rooms; the report then says so.
        command: How the user called this, for the report.

    Raises:
        BagError: If the bag cannot be read or lacks the topics.
        NodeError: If the node does not start, or ends too early.
        DemoError: If `rate` is no positive number, or the node does not hear or answer us.
    """
    if not 0 < rate < math.inf:
        raise DemoError(f'rate is {rate}, it must be a positive number; 1 plays as recorded')
    files = {name: output / name
             for name in ('report.html', 'metrics.json', 'semantic.mcap', 'node.log')}
    output.mkdir(parents=True, exist_ok=True)
    with BagReader(bag) as reader, tempfile.TemporaryDirectory(dir=output, prefix='.part') as part:
        topics = _image_topics(reader, rgb_topic, depth_topic)
        recorded = Path(part) / 'semantic.mcap'
        with _terminable(), Progress(
                SpinnerColumn(), TextColumn('{task.description}'), BarColumn(),
                TextColumn('{task.fields[figures]}'), TimeElapsedColumn(),
                console=Console(stderr=True)) as progress:
            run = _replay(reader, topics, model=model, engine=engine, rate=rate,
                          log=files['node.log'], recorded=recorded, progress=progress)
            task = progress.add_task('checking and scoring', total=None, figures='')
            findings = examine(reader, recorded, run, pictures=_PICTURES)
            result = judge(run, findings, bag=bag, model=model, rate=rate,
                           files={name: str(path) for name, path in files.items()})
            write_report(files['report.html'], report_data(
                result, run, findings, generated=generated, command=command))
            progress.update(task, total=1, completed=1)
        recorded.replace(files['semantic.mcap'])
        _write_json(files['metrics.json'], result.as_json())
    return result


def demo_table(result: DemoResult) -> Table:
    """Return the result as a table for the terminal."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify='right')
    table.add_row('bag', Path(result.bag).name)
    table.add_row('model', f'{Path(result.model).name} ({result.network})')
    table.add_row('engine', f'{result.engine} on {result.device}, {result.precision}')
    table.add_section()
    table.add_row('frames in', str(result.frames_in))
    table.add_row('paired', str(result.pairs))
    table.add_row('frames out', str(result.frames_out))
    for cause, number in result.drops.items():
        if number:
            table.add_row(f'dropped: {cause.replace("_", " ")}', str(number))
    if not any(result.drops.values()):
        table.add_row('dropped', '0')
    for name in ('p50', 'p95'):
        value = result.latency_ms[name]
        table.add_row(f'latency {name}', '-' if value is None else f'{value:.1f} ms')
    for name, score in (('mIoU', result.miou), ('pixel accuracy', result.pixel_accuracy)):
        table.add_row(name, 'no truth' if score is None else f'{100 * score:.1f} %')
    failed = [check for check in result.checks if not check.passed]
    table.add_section()
    table.add_row('checks', f'{len(result.checks) - len(failed)} of {len(result.checks)} passed')
    for check in failed:
        table.add_row(f'  failed: {check.claim}', check.detail)
    return table


def _image_topics(reader: BagReader, colour: str, depth: str) -> RgbdTopics:
    topics = find_rgbd_topics(reader, colour=colour, depth=depth)
    for topic in filter(None, (topics.colour, topics.depth, topics.truth)):
        kind = reader.topics[topic].type
        if kind != _IMAGE:
            raise DemoError(f'{topic} in {reader.path} is {kind}, it must be {_IMAGE}: republish '
                            'it as raw images, or record it so')
        if not reader.topics[topic].count:
            raise DemoError(f'{topic} in {reader.path} has no message; record it again, or name '
                            'another topic')
    return topics


def _replay(reader: BagReader, topics: RgbdTopics, *, model: str | Path, engine: str, rate: float,
            log: Path, recorded: Path, progress: Progress) -> Run:
    names = [topic for topic in (topics.colour, topics.depth, topics.info) if topic is not None]
    remappings = {'rgb/image_raw': topics.colour, 'depth/image_raw': topics.depth}
    if topics.info is not None:
        remappings['rgb/camera_info'] = topics.info
    path = Path(model).expanduser()
    process = NodeProcess(log, remappings=remappings, parameters={
        'model_path': str(path.resolve()) if path.exists() else str(model), 'engine': engine,
        'diagnostics_period': 0.25})
    with private_domain() as domain, _spinning(domain) as node, process, \
            BagWriter(recorded) as writer:
        task = progress.add_task('starting the node', total=None, figures='')
        health = _Health(node)
        sent: list[Sent] = []
        tables: list[tuple[str, bytes]] = []

        def keep(message: Received, raw: bytes) -> None:
            if message.topic == LABELS:
                tables.append((message.topic, raw))
                return
            if not sent:
                raise DemoError(f'an image came on {message.topic} before any was sent')
            # On the bag's own clock, so that input and output can be viewed side by side.
            elapsed_ns = round((message.received_ns - sent[0].sent_ns) * rate)
            writer.add_raw(message.topic, _IMAGE, raw, sent[0].bag_ns + elapsed_ns)

        recorder = Recorder(node, images=(SEMANTIC, CONFIDENCE),
                            latched={LABELS: 'std_msgs/msg/String'}, keep=keep)
        process.bring_up(node, timeout_s=_START_S)
        player = Player(node, reader, {name: name for name in names})
        _wait_connected(player, recorder, process, topics)
        progress.update(task, total=1, completed=1)

        total = sum(reader.topics[name].count for name in names)
        task = progress.add_task('playing', total=total, figures='')
        frames = 0

        def watch() -> None:
            process.check()
            recorder.check()

        def on_sent(message: Sent) -> None:
            nonlocal frames
            sent.append(message)
            frames += message.topic == topics.colour
            progress.update(task, advance=1,
                            figures=f'{frames} in, {recorder.count(SEMANTIC)} out')

        player.play(rate=rate, on_sent=on_sent, on_wait=watch)
        task = progress.add_task('waiting for the last frames', total=None, figures='')
        images = sum(message.topic in (topics.colour, topics.depth) for message in sent)
        _drain(health, recorder, process, images=images)
        progress.update(task, total=1, completed=1)
        process.stop()
        for topic, raw in tables[-1:]:
            writer.add_raw(topic, 'std_msgs/msg/String', raw, sent[0].bag_ns, latched=True)
        assert process.exit_code is not None
        return Run(topics, sent, list(recorder.received), dict(health.values), recorder.lost,
                   process.exit_code, process.stop_s)


class _Health:
    """The node's last diagnostics: `values`, and when they came, `received_s`."""

    def __init__(self, node: Node) -> None:
        self.values: dict[str, str] = {}
        self.received_s = 0.0
        node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)

    def count(self, name: str) -> int:
        return int(self.values.get(name, 0))

    def _take(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith('/segment'):
                self.values = {pair.key: pair.value for pair in status.values}
                self.received_s = time.monotonic()


def _wait_connected(player: Player, recorder: Recorder, process: NodeProcess,
                    topics: RgbdTopics) -> None:
    deadline = time.monotonic() + _CONNECT_S
    while not (player.subscribed((topics.colour, topics.depth)) and recorder.connected()):
        process.check()
        if time.monotonic() > deadline:
            raise DemoError(f'the node is active but does not listen to {topics.colour} and '
                            f'{topics.depth} after {_CONNECT_S:.0f} s; is multicast on the '
                            'loopback interface blocked by a firewall?')
        time.sleep(0.02)
    time.sleep(_SETTLE_S)


def _drain(health: _Health, recorder: Recorder, process: NodeProcess, *, images: int) -> None:
    """Wait until the node has seen all `images`, has nothing left to do, and its outputs are here.

    What does not come is given up after a while; the counters then say what is missing.
    """
    state: tuple[int, ...] = ()
    moved_s = reported_s = time.monotonic()
    reports = 0  # diagnostics since anything last changed; the first may be older than the change
    while True:
        process.check()
        recorder.check()
        counts = {name: health.count(name)
                  for name in ('colour_in', 'depth_in', 'pairs', 'frames_out', 'in_flight')}
        outputs = recorder.count(SEMANTIC)
        if (now_state := (outputs, recorder.count(CONFIDENCE), *counts.values())) != state:
            state, moved_s, reports = now_state, time.monotonic(), 0
        if health.received_s > reported_s:
            reported_s = health.received_s
            reports += 1
        busy = counts['in_flight'] > 0
        if reports >= 2 and not busy and outputs >= counts['frames_out'] \
                and counts['colour_in'] + counts['depth_in'] >= images:
            return
        if (silent_s := time.monotonic() - moved_s) > (_BUSY_S if busy else _LOST_S):
            logger.warning('after %.0f s in which nothing came, the node has seen %d of %d images, '
                           'has %d pairs in work, and %d of its %d outputs are here', silent_s,
                           counts['colour_in'] + counts['depth_in'], images, counts['in_flight'],
                           outputs, counts['frames_out'])
            return
        time.sleep(0.02)


@contextmanager
def _spinning(domain: int) -> Iterator[Node]:
    """Yield a ROS node that a thread of its own spins."""
    context = Context()
    context.init(args=[], domain_id=domain)
    node = Node('diffpixel_demo', context=context, use_global_arguments=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            logger.debug('the ROS context was shut down')

    thread = threading.Thread(target=spin, name='demo_spin', daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(2.0)
        node.destroy_node()
        context.try_shutdown()


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that it never leaves a node behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix='.part')
    with os.fdopen(handle, 'w', encoding='utf-8') as file:
        file.write(json.dumps(value, indent=2, allow_nan=False) + '\n')
    Path(name).chmod(0o644)
    Path(name).replace(path)
