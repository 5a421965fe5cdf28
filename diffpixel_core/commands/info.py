# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel info`: what each network is and costs."""

import argparse
import json
from pathlib import Path

from diffpixel_core.commands.arguments import count, expanded, path, size
from diffpixel_core.commands.outcome import UsageError, write_text

ABOUT = 'List every network: parameters, cost, published accuracy.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('model', nargs='?', type=expanded,
                        help='a network\'s name, a model directory or a shipped name (default: all '
                        'networks)')
    parser.add_argument('--classes', type=count, metavar='N',
                        help='default: 40, or a trained model\'s own')
    parser.add_argument('--size', type=size, metavar='HxW',
                        help='default: 480x640, or the size a model was trained at')
    parser.add_argument('--tables', action='store_true',
                        help='the paper\'s Tables II to V beside ours, misprints explained')
    parser.add_argument('--json', nargs='?', type=path, const=Path('-'), metavar='FILE',
                        help='as JSON, to standard output or a file')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from diffpixel_core.info import find_info, info_json, is_known
    if options.json is not None and is_known(str(options.json)):
        raise UsageError(f'--json would write a file called {options.json}; the model goes first: '
                         f'diffpixel info {options.json} --json')
    if options.tables and options.model is None and (options.classes or options.size):
        raise UsageError('--tables are counted at the paper\'s sizes and number of classes; leave '
                         '--size and --classes out')
    tables_only = options.tables and options.model is None and options.json is None
    info = None if tables_only else find_info(options.model, classes=options.classes,
                                              size=options.size)
    if options.json is not None and info is not None:
        text = json.dumps(info_json(info, tables=options.tables), indent=2)
        if options.json == Path('-'):
            print(text)
        else:
            write_text(options.json, text + '\n')
        return

    from rich.console import Console

    from diffpixel_core.info_tables import model_card, models_table, paper_tables
    console = Console(markup=False, emoji=False)  # a path may hold brackets
    if info is not None:
        console.print(models_table(info.rows) if options.model is None else model_card(info))
    if options.tables:
        console.print(paper_tables())
