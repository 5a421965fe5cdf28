# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel evaluate`: score a model on held-out frames."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from diffpixel_core.commands.arguments import count, expanded, path
from diffpixel_core.commands.outcome import UsageError, make_folder, require_writable, write_text
from diffpixel_core.threads import let_waiting_threads_sleep

ABOUT = 'Score a model on held-out frames.'
_PROTOCOLS = ('whole', 'slide', 'multiscale', 'released')
_PRECISIONS = ('fp32', 'bf16', 'fp16')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('model', type=expanded, help='model directory or shipped name')
    parser.add_argument('--data', type=path, required=True, metavar='YAML_OR_DIR',
                        help='a recipe (its held-out frames are scored), a data set\'s folder, or '
                        'a YAML that describes one')
    parser.add_argument('--protocol', action='append', choices=_PROTOCOLS, metavar='P',
                        help=f'{", ".join(_PROTOCOLS)}; may be given several times (default: '
                        'whole, as deployed)')
    parser.add_argument('--split', metavar='S', help='default: the one that is held out')
    parser.add_argument('--limit', type=count, metavar='N',
                        help='only N frames, evenly spread over the split')
    parser.add_argument('--device', default='auto', metavar='D',
                        help='auto, cpu, cuda or cuda:N; under torchrun one process each (default: '
                        'auto)')
    parser.add_argument('--precision', choices=_PRECISIONS, default='fp32', metavar='P',
                        help=f'{", ".join(_PRECISIONS)} (default: fp32)')
    parser.add_argument('--stress', action='store_true',
                        help='also with depth shifted, missing, noisy, and colour dark, blurred, '
                        'missing: how much each costs, against its severity')
    parser.add_argument('--json', nargs='?', type=path, const=Path('-'), metavar='FILE',
                        help='the figures as JSON, to standard output or a file')
    parser.add_argument('--output', type=path, metavar='DIR',
                        help='results.json, report.html and tables (CSV) go there; with --stress '
                        'stress.png, stress.html and stress.json, too')


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    file = options.json
    if file not in (None, Path('-')) and (
            options.output is None or file.parent.resolve() != options.output.resolve()):
        require_writable(file)
    if options.output is not None:  # said now, not after minutes of work
        make_folder(options.output)
        require_writable(options.output / 'results.json')
    if options.stress and options.precision == 'bf16':
        raise UsageError('--stress runs the model as a robot does, in fp32 or fp16; leave '
                         '--precision bf16 out')
    let_waiting_threads_sleep()
    from diffpixel_core.evaluation import evaluate_model, held_out_data
    from diffpixel_core.evaluation.fabric import evaluation_fabric
    data = held_out_data(options.data, split=options.split)
    command = shlex.join(['diffpixel', *sys.argv[1:]])
    fabric = evaluation_fabric(options.device, options.precision)
    results = evaluate_model(options.model, data, protocol=options.protocol or ['whole'],
                             limit=options.limit, device=options.device,
                             precision=options.precision, fabric=fabric, output=options.output,
                             command=command)
    if not fabric.is_global_zero:  # the others have done their share
        return
    figures = results.as_json()
    if file != Path('-'):
        from diffpixel_core.evaluation.tables import print_results
        print_results(results, options.output)
    if options.stress:
        from diffpixel_core.evaluation import stress
        borne = stress.run_stress(options.model, data, limit=options.limit, device=options.device,
                                  precision=options.precision)
        figures['stress'] = stress.as_json(borne, command=command)
        if file != Path('-'):
            print('\n' + '\n'.join(stress.summary(borne)))
        if options.output is not None:
            written = stress.write_stress(borne, options.output, command=command)
            if file != Path('-'):
                print(f'stress sheet: {", ".join(map(str, written))}')
        elif file != Path('-'):
            print('stress sheet with curves and pictures: --output DIR')
    if file is not None:
        text = json.dumps(figures, indent=1)
        if file == Path('-'):
            print(text)
        else:
            write_text(file, text + '\n')
