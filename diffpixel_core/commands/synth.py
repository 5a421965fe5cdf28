# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel synth`: generated rooms as image folders."""

import argparse

from diffpixel_core.commands.arguments import count, path, positive, size

ABOUT = 'Generate indoor rooms as image folders with exact labels.'
SENSORS = ('perfect', 'kinect_v1', 'realsense')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('kind', choices=('frames', 'walk'),
                        help='single views of many rooms, or a camera walk through one')
    parser.add_argument('--count', type=count, default=20, metavar='N', help='number of frames')
    parser.add_argument('--seed', type=int, default=0, metavar='S')
    parser.add_argument('--sensor', choices=SENSORS, default='kinect_v1', help='depth noise')
    parser.add_argument('--size', type=size, default=(480, 640), metavar='HxW')
    parser.add_argument('--fps', type=positive, default=30.0, help='frames per second of a walk')
    parser.add_argument('--workers', type=count, default=2, metavar='N', help='processes')
    parser.add_argument('--output', type=path, required=True, metavar='DIR')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.synthetic.generate import generate_frames, generate_walk
    height, width = options.size
    camera = NYU_CAMERA.resized(width, height)
    if options.kind == 'frames':
        report = generate_frames(options.output, count=options.count, seed=options.seed,
                                 sensor=options.sensor, camera=camera, workers=options.workers)
    else:
        report = generate_walk(options.output, count=options.count, seed=options.seed,
                               sensor=options.sensor, camera=camera, fps=options.fps,
                               workers=options.workers)
    print(f'{report.folder}: {report.frames} frames, sensor {report.sensor}')
    pixels = max(1, sum(report.classes.values()))
    for name, number in sorted(report.classes.items(), key=lambda row: -row[1]):
        print(f'{number / pixels:8.3%}  {name}')
