# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel bench`: engines measured against two baselines on this machine."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from diffpixel_core.commands.arguments import count, expanded, path, size
from diffpixel_core.commands.outcome import UsageError, make_folder, require_writable, write_text
from diffpixel_core.depth import DEPTH_UNITS
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Measure engines on this machine, in turns, against two baselines.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--model', type=expanded, required=True, metavar='NAME_OR_PATH',
                        help='a network\'s name (random weights), a shipped name or a model '
                        'directory')
    parser.add_argument('--size', type=size, required=True, metavar='HxW',
                        help='that the network works at')
    parser.add_argument('--engines', default='published,eager,torch', metavar='A,B,C',
                        help='published, eager, torch, torch-bf16, torch-compiled, '
                        'openvino-fp32, openvino-bf16, openvino-int8, onnxruntime, cuda-fp32, '
                        'cuda-bf16, cuda-fp16-plain, cuda-fp16, cuda-fp16-triton, '
                        'cuda-fp16-compiled, tensorrt-fp32, tensorrt-fp16, tensorrt-int8 '
                        '(default: published,eager,torch)')
    parser.add_argument('--frame', type=size, metavar='HxW',
                        help='of the camera\'s frames and of the labels (default: as --size)')
    parser.add_argument('--batch', type=count, default=1, metavar='B',
                        help='frames a call (default: 1)')
    parser.add_argument('--rounds', type=count, default=10, metavar='N',
                        help='turns of every engine (default: 10)')
    parser.add_argument('--threads', type=count, metavar='N',
                        help='of the CPU (default: as many as torch takes)')
    parser.add_argument('--device', default='auto', metavar='D',
                        help='of published, eager and torch: auto, cpu, cuda or cuda:N (default: '
                        'auto)')
    parser.add_argument('--frames', type=path, metavar='DIR',
                        help='real frames instead of drawn ones: pairs of images, as predict and '
                        'bag read them')
    parser.add_argument('--depth-unit', choices=DEPTH_UNITS, default='mm',
                        help='of these frames (default: mm)')
    parser.add_argument('--no-memory', action='store_true',
                        help='leave memory out: saves a process for every engine')
    parser.add_argument('--json', nargs='?', type=path, const=Path('-'), metavar='FILE',
                        help='everything as JSON, to standard output or a file')
    parser.add_argument('--markdown', action='store_true',
                        help='the table as Markdown, as docs/benchmarks.md holds it')
    parser.add_argument('--output', type=path, metavar='DIR',
                        help='bench.json, bench.md and bench.png go there')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    file = options.json
    if file == Path('-') and options.markdown:
        raise UsageError('--json and --markdown both go to standard output; give --json a file')
    if file not in (None, Path('-')):
        require_writable(file)
    if options.output is not None:  # said now, not after minutes of work
        make_folder(options.output)
        require_writable(options.output / 'bench.json')
    let_waiting_threads_sleep()
    from diffpixel_core.bench.results import markdown
    from diffpixel_core.bench.run import Settings, run_bench
    names = tuple(name.strip() for name in options.engines.split(',') if name.strip())
    bench = run_bench(
        Settings(model=options.model, engines=names, size=options.size, frame=options.frame,
                 batch=options.batch, rounds=options.rounds, threads=options.threads,
                 device=options.device, frames=options.frames, depth_unit=options.depth_unit,
                 memory=not options.no_memory),
        command=shlex.join(['diffpixel', *sys.argv[1:]]))
    text = json.dumps(bench.as_json(), indent=1) + '\n'
    if file == Path('-'):
        print(text, end='')
    elif options.markdown:
        print(markdown(bench), end='')
    else:
        from diffpixel_core.bench.table import print_table
        print_table(bench)
    if file not in (None, Path('-')):
        write_text(file, text)
    if options.output is not None:
        from diffpixel_core.bench.plot import draw
        write_text(options.output / 'bench.json', text)
        write_text(options.output / 'bench.md', markdown(bench))
        try:
            draw(bench, options.output / 'bench.png')
        except OSError as error:
            raise UsageError(f'cannot write {options.output / "bench.png"}: '
                             f'{error.strerror}') from error
