# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel evaluate`: score a model on held-out frames."""

import argparse
import json

from diffpixel_core.commands.arguments import expanded, path
from diffpixel_core.commands.outcome import require_writable, write_text
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Score a model on held-out frames.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('model', type=expanded, help='model directory or shipped name')
    parser.add_argument('--data', type=path, required=True, metavar='YAML',
                        help='a recipe; its held-out frames are scored')
    parser.add_argument('--json', type=path, metavar='FILE', help='write the figures there, too')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.json is not None:
        require_writable(options.json)
    from diffpixel_core.config import load_data_config
    data = load_data_config(options.data)
    let_waiting_threads_sleep()
    from diffpixel_core.evaluate import evaluate_model
    figures = json.dumps(evaluate_model(options.model, data), indent=2)
    print(figures)
    if options.json is not None:
        write_text(options.json, figures + '\n')
