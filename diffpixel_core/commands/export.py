# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel export`: a model as an engine for one runtime, checked against the model."""

import argparse

from diffpixel_core.commands.arguments import count, expanded, path, size
from diffpixel_core.commands.outcome import UsageError
from diffpixel_core.depth import DEPTH_UNITS

ABOUT = 'Write a model as an ONNX, OpenVINO or TensorRT engine that agrees with it.'
FORMATS = ('onnx', 'openvino', 'tensorrt')
PRECISIONS = ('fp32', 'bf16', 'fp16', 'int8')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('model', type=expanded, help='model directory or shipped name')
    parser.add_argument('--format', choices=FORMATS, default='openvino',
                        help='openvino for CPUs, tensorrt for NVIDIA GPUs and Jetson, onnx for '
                        'other programs (default: openvino)')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32',
                        help='of the network inside; not every format has each (default: fp32)')
    parser.add_argument('--size', type=size, metavar='HxW',
                        help='of the camera\'s frames (default: those the model was trained on)')
    parser.add_argument('--batch', type=_batch, default=1, metavar='N',
                        help='frames in one run, or dynamic: any number (default: 1)')
    parser.add_argument('--frames', type=path, metavar='DIR',
                        help='images of your camera, as predict and bag read them, to check it '
                        'on and to calibrate int8 with (default: generated ones)')
    parser.add_argument('--depth-unit', choices=DEPTH_UNITS, default='mm',
                        help='of these images (default: mm)')
    parser.add_argument('--allow-disagreement', type=_percentage, metavar='PERCENT',
                        help='write it if no more pixels than these get another label (default: '
                        '0.1 in fp32, 1 otherwise)')
    parser.add_argument('--output', type=path, metavar='DIR',
                        help='(default: out/<model>_<format>_<precision>)')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from diffpixel_core.artefacts import is_artefact
    from diffpixel_core.checkpoints import find_model
    from diffpixel_core.export.run import ExportSettings, export_model
    from diffpixel_core.termination import terminable

    if is_artefact(options.model):
        raise UsageError(f'{options.model} is an exported engine; give the model it was made of')
    allowed = options.allow_disagreement
    name = find_model(options.model).resolve().name
    settings = ExportSettings(
        model=options.model, kind=options.format, precision=options.precision,
        output=options.output or Path('out') / f'{name}_{options.format}_{options.precision}',
        size=options.size, batch=options.batch, frames=options.frames,
        depth_unit=options.depth_unit, allowed=None if allowed is None else allowed / 100)
    with terminable():
        exported = export_model(settings)
    record = exported.record
    table = Table('checked on', 'frames', 'same label', 'worst frame', 'max |d score|', 'ms a run')
    for source, row in exported.measured.items():
        table.add_row(source, str(row.frames), f'{row.agreement:.3%}', f'{row.worst:.3%}',
                      f'{row.score_difference:.2g}', f'{row.engine_ms:.1f}')
    console = Console(markup=False, emoji=False)
    console.print(table)
    height, width = record.frame_size
    print(f'{exported.folder}: {record.format} in {record.precision} for frames of '
          f'{width}x{height}, network at {record.network_size[1]}x{record.network_size[0]}, '
          f'{record.batch or "any number of"} at a time; {exported.mib:.1f} MiB, '
          f'{exported.seconds:.0f} s')


def _batch(text: str) -> int:
    """Return a number of frames; 0 for `dynamic`."""
    return 0 if text == 'dynamic' else count(text)


def _percentage(text: str) -> float:
    """Return a number from 0 to 100."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not a percentage, 0 to 100')
    return value
