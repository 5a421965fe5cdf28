# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The `diffpixel` command; what each of its commands does is in `commands`.

Progress goes to standard error, results to standard output. Exit code 0: done; 2: a mistake the
user can mend, named in one line; 1: a bug of ours, with its traceback; 130: interrupted.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from diffpixel_core.commands import (
    bag,
    bench,
    convert,
    demo,
    doctor,
    evaluate,
    export,
    info,
    predict,
    prepare,
    replay,
    synth,
    train,
)
from diffpixel_core.commands.outcome import FailedChecksError
from diffpixel_core.errors import DiffPixelError, StoppedError

COMMANDS = {'demo': demo, 'replay': replay, 'synth': synth, 'bag': bag, 'prepare': prepare,
            'doctor': doctor, 'train': train,
            'evaluate': evaluate, 'predict': predict, 'info': info, 'convert': convert,
            'export': export, 'bench': bench}


class _Parser(argparse.ArgumentParser):
    """Argument parser whose complaints fit on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message}; see {self.prog} --help\n')


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog='diffpixel', description='RGB-D semantic segmentation for robots.')
    parser.add_argument('--verbose', action='store_true', help='log what happens, in detail')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, command in COMMANDS.items():
        child = commands.add_parser(name, help=command.ABOUT, description=command.ABOUT)
        command.add_arguments(child)
        child.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        if options.command != 'train':
            parser.error(f'{options.command} does not know {" ".join(rest)}')
        options.overrides = [*rest, *options.overrides]
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO,
                        format='%(levelname)s %(name)s: %(message)s', stream=sys.stderr)
    if not options.verbose:
        logging.getLogger('rosbags').setLevel(logging.WARNING)
    try:
        options.run(options)
    except DiffPixelError as error:
        print(f'diffpixel {options.command}: {" ".join(str(error).split())}', file=sys.stderr)
        return 130 if isinstance(error, StoppedError) else 2
    except FailedChecksError as error:
        print(f'diffpixel {options.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'diffpixel {options.command}: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == '__main__':
    sys.exit(main())
