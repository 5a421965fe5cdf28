# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel train`: train a network from a recipe."""

import argparse
import os

from diffpixel_core.commands.arguments import expanded, path
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Train a network from a YAML recipe.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--config', type=path, required=True, metavar='YAML')
    parser.add_argument('--backbone-weights', '--backbone_weights', type=expanded,
                        metavar='SOURCE',
                        help='ImageNet weights to start from: a file, or a repository of the '
                        'Hugging Face Hub such as nvidia/mit-b0')
    parser.add_argument('--plan', action='store_true',
                        help='print how long the run is and its learning rate; train nothing')
    parser.add_argument('--plan-picture', '--plan_picture', type=path, metavar='FILE.png',
                        help='like --plan, and draw the learning rate')
    parser.set_defaults(overrides=[])  # whatever else stands there: `main` collects it, in order
    parser.epilog = ('Every other --key value is a setting that overrides the YAML: --epochs 100, '
                     '--recipe paper, --devices 4, --optimiser.lr 1e-4, --resume true.')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from diffpixel_core.config import load_config
    if options.backbone_weights is not None:
        options.overrides += ['--backbone_weights', options.backbone_weights]
    config = load_config(options.config, options.overrides)
    let_waiting_threads_sleep()
    if options.plan or options.plan_picture is not None:
        from diffpixel_core.train.plan import plan_run, save_picture
        plan = plan_run(config)
        print(plan.text())
        if options.plan_picture is not None:
            save_picture(plan, options.plan_picture)
        return
    from diffpixel_core.train import train
    try:
        model = train(config)
    except DiffPixelError:
        if _number():
            raise SystemExit(2) from None  # the first process says it for all
        raise
    if not _number():
        print(model)


def _number() -> int:
    """Return which process of the run this is, as torchrun or Fabric numbered it."""
    return int(os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0')))
