# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel predict`: one pair of images to labels."""

import argparse
from pathlib import Path

from diffpixel_core.commands.arguments import add_engine, expanded, path
from diffpixel_core.commands.outcome import UsageError, make_folder
from diffpixel_core.depth import DEPTH_UNITS

ABOUT = 'Segment one pair of images; write labels and a picture.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('model', type=expanded, help='model directory or shipped name')
    parser.add_argument('rgb', type=path)
    parser.add_argument('depth', type=path)
    parser.add_argument('--depth-unit', choices=DEPTH_UNITS, default='mm')
    add_engine(parser)
    parser.add_argument('--output', type=path, default=Path('out/predict'), metavar='DIR')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    import cv2

    from diffpixel_core.frame import Frame
    from diffpixel_core.image_folder import read_colour, read_depth
    from diffpixel_core.segmenter import load_segmenter
    frame = Frame(read_colour(options.rgb), read_depth(options.depth, options.depth_unit))
    segmenter = load_segmenter(options.model, options.engine, device=options.device,
                               precision=options.precision)
    seen = segmenter(frame)
    picture = seen.label_space.colourise(seen.labels)
    overlay = cv2.addWeighted(frame.rgb, 0.4, picture, 0.6, 0)
    make_folder(options.output)
    for name, image in (('labels', seen.labels), ('confidence', seen.confidence),
                        ('colour', picture[..., ::-1]), ('overlay', overlay[..., ::-1])):
        file = options.output / f'{options.rgb.stem}.{name}.png'
        if not cv2.imwrite(str(file), image):
            raise UsageError(f'cannot write {file}; choose another --output')
        print(file)
