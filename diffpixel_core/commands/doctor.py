# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel doctor`: what is wrong with a data set, before anyone trains on it."""

import argparse
import json
from pathlib import Path

from diffpixel_core.commands.arguments import count, path
from diffpixel_core.commands.outcome import UsageError, require_writable, write_text
from diffpixel_core.depth import READABLE_UNITS

ABOUT = 'Examine a data set: depth unit, labels, files, alignment.'
_LIMIT = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('path', type=path, nargs='?', metavar='PATH',
                        help='folder of a data set, or the YAML that describes it')
    parser.add_argument('--split', metavar='S', help='only this split (default: all)')
    parser.add_argument('--limit', type=count, default=_LIMIT, metavar='N',
                        help='frames to read, spread evenly (default: %(default)s)')
    parser.add_argument('--depth-unit', choices=READABLE_UNITS,
                        help='default: what the layout or the YAML says, else mm')
    parser.add_argument('--raw-depth', action='store_true',
                        help='depth with its holes, where there is an in-painted one too')
    parser.add_argument('--labels', metavar='SPACE',
                        help='label space; default: what the layout or the YAML says')
    parser.add_argument('--json', nargs='?', type=path, const=Path('-'), metavar='FILE',
                        help='as JSON, to standard output or a file')
    parser.add_argument('--sheet', type=path, metavar='FILE.png',
                        help='write a contact sheet: colour, depth, labels, alignment')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.path is None:
        given = options.json if options.json is not None else Path('PATH')
        raise UsageError(f'no data set is named; it goes first: diffpixel doctor {given} --json')
    if options.sheet is not None and options.sheet.suffix.lower() != '.png':
        raise UsageError(f'the sheet is a PNG; call it {options.sheet.with_suffix(".png")}')
    to_stdout = options.json == Path('-')
    for file in (options.sheet, None if to_stdout else options.json):
        if file is not None:
            require_writable(file)

    from diffpixel_core.datasets import describe
    from diffpixel_core.doctor import examine
    description = describe(options.path, depth_unit=options.depth_unit,
                           label_space=options.labels, raw_depth=options.raw_depth)
    examination = examine(description, split=options.split, limit=options.limit)
    if options.json is not None:
        text = json.dumps(examination.as_json(), indent=2)
        if to_stdout:
            print(text)
        else:
            write_text(options.json, text + '\n')
    if not to_stdout:
        from rich.console import Console

        from diffpixel_core.doctor.tables import findings
        Console(markup=False, emoji=False, highlight=False).print(findings(examination))
    if options.sheet is not None:
        from diffpixel_core.doctor.sheet import write_sheet
        write_sheet(examination, options.sheet)
        if not to_stdout:
            print(f'\nsheet: {options.sheet}')
