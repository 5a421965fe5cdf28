# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel replay`: recordings, offline or through the running node."""

import argparse
import json
import shlex
import sys
from functools import partial
from pathlib import Path

from diffpixel_core.commands.arguments import add_engine, count, expanded, path, positive
from diffpixel_core.commands.outcome import (
    FailedChecksError,
    UsageError,
    require_writable,
    write_text,
)
from diffpixel_core.synchronise import MISSING_DEPTH
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Segment recordings: scores, statistics, predictions, report.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bags', nargs='+', type=path, metavar='BAG',
                        help='a rosbag2 folder, a .mcap or .db3 file, or a ROS 1 .bag')
    parser.add_argument('--live', action='store_true',
                        help='through the running node over ROS 2 (default: offline, without ROS, '
                        'every pair, as fast as the machine goes)')
    parser.add_argument('--rate', type=positive, metavar='R',
                        help='speed of --live; 0.2 = five times slower (default: 1)')
    parser.add_argument('--loop', type=count, metavar='N',
                        help='play each bag N times, with --live (default: 1)')
    parser.add_argument('--truth', type=expanded, default='', metavar='TOPIC_OR_DIR',
                        help='label topic, or folder of PNG label images named by stamp in '
                        'nanoseconds or in order of the colour images; for several bags one folder '
                        'each, named as the bag (default: the label topic of the bag, if any)')
    parser.add_argument('--truth-space', default='nyu40', metavar='NAME',
                        help='label space of the truth (default: nyu40)')
    parser.add_argument('--rgb-topic', default='', metavar='TOPIC',
                        help='colour images (default: as the common drivers name them)')
    parser.add_argument('--depth-topic', default='', metavar='TOPIC',
                        help='depth images aligned to them')
    parser.add_argument('--model', type=expanded, default='rooms_t', metavar='PATH',
                        help='model directory or shipped name (default: rooms_t)')
    add_engine(parser)
    parser.add_argument('--workers', type=count, default=1, metavar='N',
                        help='bags replayed at a time, each in a process (default: 1)')
    parser.add_argument('--ray', metavar='ADDRESS',
                        help='spread the bags over a Ray cluster: auto, local or ray://HOST:PORT; '
                        'the bags must be readable on its machines')
    parser.add_argument('--missing-depth', choices=MISSING_DEPTH, default='wait',
                        help='what becomes of colour while no depth comes (default: wait)')
    parser.add_argument('--sync-slop', type=float, default=0.02, metavar='S',
                        help='largest difference of the stamps of a pair, seconds (default: 0.02)')
    parser.add_argument('--class-map', type=expanded, default='', metavar='FILE',
                        help='YAML file that groups the classes, or groups')
    parser.add_argument('--confidence-threshold', type=float, default=0.0, metavar='C',
                        help='less certain pixels become unlabelled, 0 to 1 (default: 0)')
    parser.add_argument('--stride', type=count, default=1, metavar='N',
                        help='segment every Nth pair only (default: 1)')
    parser.add_argument('--json', nargs='?', type=path, const=Path('-'), metavar='FILE',
                        help='the figures as JSON, to standard output or a file')
    parser.add_argument('--output', type=path, required=True, metavar='DIR')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if not options.live and (options.rate or options.loop):
        raise UsageError('--rate and --loop belong to --live; offline every pair is segmented as '
                         'fast as the machine goes')
    if options.live and (options.ray or options.workers > 1 or options.stride > 1):
        raise UsageError('--live plays one bag after the other through one node; leave --workers, '
                         '--ray and --stride out')
    if options.ray and options.workers > 1:
        raise UsageError('--ray and --workers exclude each other: Ray knows how many bags its '
                         'machines can take')
    file = options.json
    # The output folder is yet to be made.
    if file not in (None, Path('-')) and file.parent.resolve() != options.output.resolve():
        require_writable(file)
    from diffpixel_core.replay.settings import ReplaySettings
    settings = ReplaySettings(
        model=options.model, engine=options.engine, device=options.device,
        precision=options.precision, colour_topic=options.rgb_topic,
        depth_topic=options.depth_topic, truth=options.truth,
        truth_space=options.truth_space, missing_depth=options.missing_depth,
        sync_slop_s=options.sync_slop, class_map=options.class_map,
        confidence_threshold=options.confidence_threshold, stride=options.stride)
    let_waiting_threads_sleep()

    from diffpixel_core.replay.run import run_replay
    from diffpixel_core.replay.spread import run_here, run_in_processes, run_on_ray
    how = 'offline'
    runner = run_here
    if options.live:
        from diffpixel_ros.client.live_replay import run_live
        rate, loop = options.rate or 1.0, options.loop or 1
        runner = partial(run_live, rate=rate, loop=loop)
        how = f'through the running node at {rate:g} times the recorded rate'
    elif options.ray:
        runner = partial(run_on_ray, address=options.ray)
        how = 'offline, on a Ray cluster,'
    elif options.workers > 1 and len(options.bags) > 1:
        runner = partial(run_in_processes, workers=options.workers)
        how = f'offline, in {min(options.workers, len(options.bags))} processes,'
    result = run_replay(options.bags, settings, options.output, runner, how=how,
                        command=shlex.join(['diffpixel', *sys.argv[1:]]))

    from diffpixel_core.replay.summary import metrics, remarks, replay_table
    if options.json == Path('-'):
        print(json.dumps(metrics(result), indent=2))
    else:
        from rich.console import Console
        console = Console(markup=False, emoji=False)
        console.print(replay_table(result))
        for remark in remarks(result):
            console.print(remark, soft_wrap=True)
        if options.json is not None:
            write_text(options.json, json.dumps(metrics(result), indent=2) + '\n')
    if result.problem:
        raise UsageError(f'{result.problem} (all other results are in {options.output})')
    if not result.passed:
        raise FailedChecksError(f'some checks failed; {options.output}/report.html says which')
