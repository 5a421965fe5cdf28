# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel train`: train a network from a recipe."""

import argparse

from diffpixel_core.commands.arguments import expanded, path
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Train a network from a YAML recipe.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--config', type=path, required=True, metavar='YAML')
    parser.add_argument('--backbone-weights', '--backbone_weights', type=expanded,
                        metavar='SOURCE',
                        help='ImageNet weights to start from: a file, or a repository of the '
                        'Hugging Face Hub such as nvidia/mit-b0')
    parser.add_argument('overrides', nargs=argparse.REMAINDER, metavar='--any.key value',
                        help='settings that override the recipe')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from diffpixel_core.config import load_config
    if options.backbone_weights is not None:
        options.overrides += ['--backbone_weights', options.backbone_weights]
    config = load_config(options.config, options.overrides)
    let_waiting_threads_sleep()
    from diffpixel_core.train import train
    print(train(config))
