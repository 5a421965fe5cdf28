# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: a bag through the real node over real DDS, with every frame accounted for.

bag → Player → camera topics → (DDS) → node process → /semantic → (DDS) → Recorder → semantic.mcap,
which is then read back, checked against the bag that was played, scored, and shown.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from diffpixel_core.bags import BagReader
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.report import write_report
from diffpixel_core.rgbd_bags import RgbdTopics, find_rgbd_topics
from diffpixel_core.termination import terminable
from diffpixel_core.whole_file import write_whole
from diffpixel_ros.client.playback import Playback, play
from diffpixel_ros.client.run_record import CONFIDENCE, SEMANTIC, Run
from diffpixel_ros.demo.examine import examine
from diffpixel_ros.demo.report import report_data
from diffpixel_ros.demo.result import DemoResult, judge

_PICTURES = 8
_IMAGE = 'sensor_msgs/msg/Image'


class DemoError(DiffPixelError):
    """The demo cannot be run as asked."""


def run_demo(*, bag: Path, model: str | Path, engine: str, rate: float, output: Path,
             device: str = 'auto', precision: str = 'auto', rgb_topic: str = '',
             depth_topic: str = '', generated: bool = False, command: str = '') -> DemoResult:
    """Play a bag through the node and return what came out.

    Writes `report.html`, `metrics.json`, `semantic.mcap` and `node.log` into `output`.

    Args:
        bag: A rosbag2 with colour and aligned depth images.
        model: A model directory or the name of a shipped model.
        engine: Engine the node is to use; `auto` leaves it the choice.
        rate: Speed of the replay; 1 = as recorded.
        output: Folder for the results; made if need be.
        device: Where it is to compute, and
        precision: in which arithmetic; `auto` leaves it the choice.
        rgb_topic: Topic of the colour images; empty: as the common drivers name it.
        depth_topic: Topic of the depth images aligned to them; likewise.
        generated: Whether the images are generated rooms; the report then says so.
        command: How the user called this, for the report.

    Raises:
        BagError: If the bag cannot be read or lacks the topics.
        NodeError: If the node does not start, or ends too early.
        PlaybackError: If the node does not hear us.
        DemoError: If `rate` is no positive number, or the topics are no raw images.
    """
    if not 0 < rate < math.inf:
        raise DemoError(f'rate is {rate}, it must be a positive number; 1 plays as recorded')
    files = {name: output / name
             for name in ('report.html', 'metrics.json', 'semantic.mcap', 'node.log')}
    output.mkdir(parents=True, exist_ok=True)
    with BagReader(bag) as reader, tempfile.TemporaryDirectory(dir=output, prefix='.part') as part:
        topics = _image_topics(reader, rgb_topic, depth_topic)
        recorded = Path(part) / 'semantic.mcap'
        with terminable(), Progress(
                SpinnerColumn(), TextColumn('{task.description}'), BarColumn(),
                TextColumn('{task.fields[figures]}'), TimeElapsedColumn(),
                console=Console(stderr=True)) as progress:
            run = _play(reader, topics, model=model, engine=engine, device=device,
                        precision=precision, rate=rate, log=files['node.log'],
                        recorded=recorded, progress=progress)
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


def _play(reader: BagReader, topics: RgbdTopics, *, model: str | Path, engine: str, device: str,
          precision: str, rate: float, log: Path, recorded: Path, progress: Progress) -> Run:
    names = [topic for topic in (topics.colour, topics.depth, topics.info) if topic is not None]
    remappings = {'rgb/image_raw': topics.colour, 'depth/image_raw': topics.depth}
    if topics.info is not None:
        remappings['rgb/camera_info'] = topics.info
    path = Path(model).expanduser()
    playback = Playback(
        topics, {name: name for name in names}, remappings=remappings,
        parameters={'model_path': str(path.resolve()) if path.exists() else str(model),
                    'backend': engine, 'device': device, 'precision': precision},
        images=(SEMANTIC, CONFIDENCE), rate=rate)
    tasks: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int, figures: str) -> None:
        if stage not in tasks:
            for task in tasks.values():
                progress.update(task, total=1, completed=1)
            tasks[stage] = progress.add_task(stage, total=total or None, figures='')
        if total:
            progress.update(tasks[stage], completed=done, total=total, figures=figures)

    run = play(reader, playback, log=log, recorded=recorded, progress=show)
    progress.update(tasks['waiting for the last frames'], total=1, completed=1)
    return run


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + '\n')
