# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel bag`: a rosbag2 of an image folder."""

import argparse
import logging
from pathlib import Path

from diffpixel_core.commands.arguments import path, positive
from diffpixel_core.commands.outcome import stderr
from diffpixel_core.depth import DEPTH_UNITS

ABOUT = 'Make a rosbag2 of a folder of colour and depth images.'

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--frames', type=path, required=True, metavar='DIR')
    parser.add_argument('--depth-unit', choices=DEPTH_UNITS, required=True, metavar='U',
                        help=f'one of {", ".join(DEPTH_UNITS)}')
    parser.add_argument('--fps', type=positive, default=30.0)
    parser.add_argument('--storage', choices=('mcap', 'sqlite3'), default='mcap')
    parser.add_argument('--output', type=path, required=True, metavar='BAG')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    frames = folder_bag(options.frames, options.depth_unit, options.fps, options.storage,
                        options.output)
    print(f'{options.output}: {frames} frames at {options.fps:g} Hz, {options.storage}')


def folder_bag(folder: Path, unit: str, fps: float, storage: str, bag: Path) -> int:
    """Write a bag of an image folder; return its frames."""
    from rich.progress import track

    from diffpixel_core.geometry import NYU_CAMERA
    from diffpixel_core.image_folder import find_frames, load_pair, read_camera
    from diffpixel_core.rgbd_bags import samples_from_folder, write_rgbd_bag
    frames = find_frames(folder)
    height, width = load_pair(frames[0], unit)[1].shape
    camera = read_camera(folder, width=width, height=height)
    if camera is None:
        camera = NYU_CAMERA.resized(width, height)
        logger.warning('%s has no camera file: camera_info gets the intrinsics of a Kinect v1; '
                       'labels do not depend on them, point clouds would', folder)
    samples = track(samples_from_folder(folder, unit, fps=fps), f'writing {bag.name}',
                    total=len(frames), console=stderr(), transient=True)
    return write_rgbd_bag(bag, samples, camera, storage=storage)
