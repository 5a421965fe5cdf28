# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel prepare`: downloaded data sets become folders to train on."""

import argparse
from pathlib import Path

from diffpixel_core.commands.arguments import path

ABOUT = 'Turn a downloaded data set into image files to train on.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data_sets = parser.add_subparsers(dest='data_set', required=True, metavar='DATA_SET')
    nyu = data_sets.add_parser(
        'nyudv2', help='NYUDv2: nyu_depth_v2_labeled.mat -> 795 training and 654 test frames',
        description='Write the labelled frames of nyu_depth_v2_labeled.mat as images: colour, '
                    'depth in-painted and raw (mm), labels of 40 classes. Run it again after an '
                    'interruption: it goes on where it stopped.')
    nyu.add_argument('source', type=path, metavar='MAT', help='nyu_depth_v2_labeled.mat')
    nyu.add_argument('--output', type=path, metavar='DIR',
                     help='default: the folder nyudv2 beside the file')
    sun = data_sets.add_parser(
        'sunrgbd', help='SUN RGB-D: labels out of SUNRGBDtoolbox, beside the original folders',
        description='Write the labels of SUN RGB-D, which come as one MATLAB file, as images. '
                    'Training does the same on first use.')
    sun.add_argument('root', type=path, metavar='ROOT',
                     help='the folder that holds SUNRGBD and SUNRGBDtoolbox')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.data_set == 'nyudv2':
        _prepare_nyudv2(options.source, options.output or options.source.parent / 'nyudv2')
    else:
        _prepare_sunrgbd(options.root)


def _prepare_nyudv2(source: Path, output: Path) -> None:
    from diffpixel_core.prepare import prepare_nyudv2
    done = prepare_nyudv2(source, output)
    told = 'is there already' if done.was_there else 'prepared'
    print(f'{done.folder}: NYUDv2 {told}, {done.train} training and {done.test} test frames, '
          'depth in mm, 40 classes')
    print(f'look at it: diffpixel doctor {done.folder} --sheet {done.folder.name}.png')


def _prepare_sunrgbd(root: Path) -> None:
    from diffpixel_core.prepare.sunrgbd import prepare_sunrgbd
    done = prepare_sunrgbd(root)
    splits = ', '.join(f'{count} {split}' for split, count in done.splits.items())
    print(f'{done.folder}: labels of {done.labelled} scenes ({splits}), 37 classes')
    print(f'look at it: diffpixel doctor {root} --sheet sunrgbd.png')
