# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the `diffpixel` commands: what they take, and one line when they do not."""

import argparse
from pathlib import Path


def expanded(text: str) -> str:
    """Return a path or a name, a leading `~` replaced: shells leave it in `--output=~/out`."""
    try:
        return str(Path(text).expanduser()) if text.startswith('~') else text
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f'{text}: there is no such home folder') from error


def path(text: str) -> Path:
    """Return a path, a leading `~` replaced."""
    return Path(expanded(text))


def positive(text: str) -> float:
    """Return a positive, finite number."""
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive whole number')
    return value


def size(text: str) -> tuple[int, int]:
    """Return height and width of a text such as 480x640."""
    height, cross, width = text.lower().partition('x')
    if not cross or not height.isdigit() or not width.isdigit() or not int(height) * int(width):
        raise argparse.ArgumentTypeError(f'{text!r} is no size; write HEIGHTxWIDTH, as in 480x640')
    return int(height), int(width)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Declare `--engine`, `--device` and `--precision`."""
    parser.add_argument('--engine', default='auto', metavar='NAME',
                        help='runtime: auto, torch, openvino, onnxruntime or tensorrt (default: '
                        'auto, the best that works here)')
    parser.add_argument('--device', default='auto', metavar='D',
                        help='auto, cpu, cuda or cuda:N (default: auto)')
    parser.add_argument('--precision', default='auto', metavar='P',
                        help='arithmetic: auto, fp32, bf16, fp16 or int8 (default: auto, the '
                        'fastest of the engine here)')
