# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel convert`: a foreign checkpoint to a model directory."""

import argparse

from diffpixel_core.commands.arguments import count, expanded, path

ABOUT = 'Turn a foreign checkpoint into a model directory.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('file', type=expanded,
                        help='safetensors or torch.save; for segformer and swin also a '
                        'repository of the Hugging Face Hub')
    parser.add_argument('--from', dest='kind', required=True,
                        choices=('diffpixelformer', 'geminifusion', 'segformer', 'swin'),
                        help='what the file is: a published RGB-D network, or ImageNet weights')
    parser.add_argument('--model', required=True, metavar='NAME',
                        help='what it becomes, see `diffpixel info`')
    parser.add_argument('--classes', type=count, required=True, metavar='N')
    parser.add_argument('--output', type=path, required=True, metavar='DIR')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from rich.console import Console

    from diffpixel_core.converters.conversion import conversion_text, convert_file
    conversion = convert_file(options.file, options.kind, model=options.model,
                              classes=options.classes, output=options.output)
    Console(markup=False, emoji=False).print(conversion_text(conversion))
