# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A benchmark as a table for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from diffpixel_core.bench.results import Bench, columns, notes


def print_table(bench: Bench) -> None:
    """Print what was measured, and what one must know to read it, to standard output."""
    console = Console(markup=False, emoji=False)  # a path may hold brackets
    console.print(bench.heading, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    chosen = [column for column in columns(bench.rows) if column.short]
    for place, column in enumerate(chosen):
        # The first column is what a row is looked up by: the captions wrap instead.
        table.add_column(column.short, justify='right' if place else 'left', no_wrap=not place)
    for row in bench.rows:
        table.add_row(*(column.cell(row) for column in chosen))
    console.print(table)
    console.print('ms: from images to class scores; labels: from a frame to labels at its size; '
                  'MiB above the imports: at most, and left after closing', soft_wrap=True)
    for note in notes(bench):
        console.print(note, soft_wrap=True)
