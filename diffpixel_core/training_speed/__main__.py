# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m diffpixel_core.training_speed`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffpixel_core.config import load_config
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.threads import let_waiting_threads_sleep


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m diffpixel_core.training_speed',
        description='Measure training with the loader beside a plain loop without.')
    parser.add_argument('--config', type=Path, required=True, metavar='YAML')
    parser.add_argument('--steps', type=int, default=10, help='per block; default 10')
    parser.add_argument('--rounds', type=int, default=3, help='blocks of each kind; default 3')
    parser.add_argument('--json', type=Path, metavar='FILE', help='file for all figures')
    options, overrides = parser.parse_known_args(arguments)
    if min(options.steps, options.rounds) < 1:
        parser.error('--steps and --rounds are at least 1')
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f'--json {options.json}: there is no folder {options.json.parent}')
    let_waiting_threads_sleep()
    from diffpixel_core.datasets import open_frames
    from diffpixel_core.training_speed import measure
    try:
        config = load_config(options.config, overrides)
        frames = open_frames(config.data, 'train')
        speed = measure.measure_speed(config, frames, steps=options.steps, rounds=options.rounds)
        print(measure.describe_speed(speed))
        if options.json is not None:
            measure.write_figures(speed, options.json)
    except DiffPixelError as error:
        print(f'{parser.prog}: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
