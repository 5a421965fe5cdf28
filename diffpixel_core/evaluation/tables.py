# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as tables for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from diffpixel_core.evaluation.page import CAMERA_HEAD, HEAD, camera_rows, figure_rows
from diffpixel_core.evaluation.protocols import PROTOCOLS
from diffpixel_core.evaluation.results import Results


def print_results(results: Results, output: Path | None) -> None:
    """Print the figures to standard output, and where the rest of them lie.

    Args:
        results: What came of the evaluation.
        output: The folder that was written; None if none was.
    """
    console = Console(markup=False, emoji=False)  # a path may hold brackets
    data = results.data
    console.print(f'{results.model["folder"]} ({results.model["network"]}) on {data["frames"]} '
                  f'frames of {data["name"]}, split {data["split"]}, in the classes of '
                  f'{results.label_space.name}', soft_wrap=True)
    console.print(_table(HEAD, figure_rows(results)))
    if (rows := camera_rows(results)):
        console.print(_table(CAMERA_HEAD, rows))
    for name in results.scores:
        console.print(f'{name}: {PROTOCOLS[name].description}', soft_wrap=True)
    console.print('absent = 0: mIoU in which a class that does not occur counts 0; else it is left '
                  'out', soft_wrap=True)
    console.print(f'report: {output}/report.html' if output is not None else
                  'pictures, classes and confusion matrix: --output DIR', soft_wrap=True)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for place, caption in enumerate(head):
        # The first column is what a row is looked up by: the captions wrap instead.
        table.add_column(caption, justify='right' if place else 'left', no_wrap=not place)
    for row in rows:
        table.add_row(*row)
    return table
