# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel demo`: RGB-D images through the real node over ROS 2, with a report."""

import argparse
import logging
import shlex
import sys
from pathlib import Path

from diffpixel_core.commands.arguments import add_engine, expanded, path, positive
from diffpixel_core.commands.bag import folder_bag
from diffpixel_core.commands.outcome import FailedChecksError, UsageError, make_folder
from diffpixel_core.depth import DEPTH_UNITS

ABOUT = 'Play RGB-D images over ROS 2 through the node; report and score.'
# The demo's walk: 8 s through a living room that no model was trained on (training seeds lie below
# 900,000), picked among 48 for how many classes it shows and how far it goes.
WALK_SEED, WALK_KIND = 950_008, 'living_room'
WALK_FRAMES, WALK_FPS = 120, 15.0

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--bag', type=path, help='a rosbag2 to play (default: a generated walk)')
    source.add_argument('--frames', type=path, metavar='DIR',
                        help='a folder of colour and depth images to play')
    parser.add_argument('--depth-unit', choices=DEPTH_UNITS, help='unit of the folder\'s depth')
    parser.add_argument('--fps', type=positive, default=30.0, help='frames per second of --frames')
    parser.add_argument('--rgb-topic', default='', metavar='TOPIC',
                        help='colour images in --bag (default: as the common drivers name them)')
    parser.add_argument('--depth-topic', default='', metavar='TOPIC',
                        help='depth images aligned to them')
    parser.add_argument('--model', type=expanded, default='rooms_t', metavar='PATH',
                        help='model directory or shipped name (default: rooms_t)')
    add_engine(parser)
    parser.add_argument('--rate', type=positive, default=1.0, metavar='R',
                        help='speed of replay; 0.2 = five times slower (default: 1)')
    parser.add_argument('--output', type=path, default=Path('out/demo'), metavar='DIR')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.frames is not None and options.depth_unit is None:
        raise UsageError('--frames needs --depth-unit (one of '
                         f'{", ".join(DEPTH_UNITS)}): images do not say what a depth step is')
    if options.frames is None and options.depth_unit is not None:
        raise UsageError('--depth-unit belongs to --frames; a bag says its own unit')
    from diffpixel_core.segmenter import locate_model
    model = locate_model(options.model)[0].parent  # before minutes of rendering, not after

    make_folder(options.output)
    generated = options.bag is None and options.frames is None
    if generated:
        bag = _walk_bag(options.output)
    elif options.frames is not None:
        bag = options.output / 'frames.mcap'
        bag.unlink(missing_ok=True)
        folder_bag(options.frames, options.depth_unit, options.fps, 'mcap', bag)
    else:
        bag = options.bag

    from rich.console import Console

    from diffpixel_ros.demo.run import demo_table, run_demo
    result = run_demo(bag=bag, model=model, engine=options.engine, device=options.device,
                      precision=options.precision, rate=options.rate,
                      output=options.output, rgb_topic=options.rgb_topic,
                      depth_topic=options.depth_topic, generated=generated,
                      command=shlex.join(['diffpixel', *sys.argv[1:]]))
    Console().print(demo_table(result))
    if not result.passed:
        raise FailedChecksError(f'some checks failed; {options.output}/report.html says which')


def _walk_bag(output: Path) -> Path:
    """Return a bag of a camera walk through a generated room; rendered once, then reused."""
    bag = output / f'walk-{WALK_SEED}-{WALK_FRAMES}.mcap'
    if bag.exists():
        return bag
    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.rgbd_bags import samples_from_folder, write_rgbd_bag
    from diffpixel_core.synthetic.generate import generate_walk
    folder = output / f'walk-{WALK_SEED}-{WALK_FRAMES}'
    generate_walk(folder, count=WALK_FRAMES, seed=WALK_SEED, sensor='kinect_v1',
                  camera=NYU_CAMERA, fps=WALK_FPS, workers=2, kind=WALK_KIND)
    write_rgbd_bag(bag, samples_from_folder(folder, 'mm', fps=WALK_FPS), NYU_CAMERA)
    return bag
