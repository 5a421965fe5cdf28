# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as rows, JSON and tables."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffpixel_core.bench.machine import in_words
from diffpixel_core.bench.roofline import Peaks
from diffpixel_core.bench.timing import Timings, speedup, spread


@dataclass(frozen=True, slots=True)
class Row:
    """One engine in numbers; None = not measured, or it makes no sense.

    Attributes:
        engine: Its name.
        unavailable: Why it could not be measured here; empty if it was.
        device: As torch spells it.
        precision: Of its products.
        ms_median: From images to class scores, a call.
        ms_p95: What 95 % of the calls stay below.
        frames_per_s: Batch over `ms_median`.
        ratio_to_published: How many times faster than `published`: median over the rounds.
        ratio_to_eager: Likewise, than `eager`.
        ratios_to_published: Least and greatest of the rounds.
        ratios_to_eager: Likewise.
        end_to_end_ms_median: From a frame to labels and confidence at its size.
        end_to_end_ms_p95: Likewise.
        end_to_end_ratio_to_published: How many times faster than `published`, likewise.
        resident_ms_median: On a GPU, without transfers: from images that are there to scores there.
        agreement: Per cent of the pixels with the label `eager` gives.
        peak_mib: Resident memory above the imports, see `memory`.
        released_mib: What is left of it after closing.
        device_mib: The most torch held on a GPU.
        gmac: 10^9 multiply-accumulates in the products of the graph it runs.
        floor_compute_ms: See `roofline`.
        floor_memory_ms: Likewise.
        of_floor: Higher floor over `ms_median`, per cent.
        calls: Timed calls.
    """

    engine: str
    unavailable: str = ''
    device: str | None = None
    precision: str | None = None
    ms_median: float | None = None
    ms_p95: float | None = None
    frames_per_s: float | None = None
    ratio_to_published: float | None = None
    ratio_to_eager: float | None = None
    ratios_to_published: tuple[float, float] | None = None
    ratios_to_eager: tuple[float, float] | None = None
    end_to_end_ms_median: float | None = None
    end_to_end_ms_p95: float | None = None
    end_to_end_ratio_to_published: float | None = None
    resident_ms_median: float | None = None
    agreement: float | None = None
    peak_mib: float | None = None
    released_mib: float | None = None
    device_mib: float | None = None
    gmac: float | None = None
    floor_compute_ms: float | None = None
    floor_memory_ms: float | None = None
    of_floor: float | None = None
    calls: int | None = None


def timed_row(name: str, own: Timings, *, published: Timings | None, eager: Timings | None,
              batch: int) -> Row:
    """Return what an engine's timings say, alone and against the baselines'.

    Args:
        name: The engine's.
        own: Its timings.
        published: Of the baseline, if it was measured.
        eager: Likewise.
        batch: Frames a call; several at once have no way to labels.
    """
    def ratio(baseline: Timings | None, part: str = 'network') -> float | None:
        return None if baseline is None else speedup(baseline, own, part)

    def ratios(baseline: Timings | None) -> tuple[float, float] | None:
        return None if baseline is None else spread(baseline, own)

    one = batch == 1
    return Row(
        name, ms_median=own.median(), ms_p95=own.p95(), calls=len(own.milliseconds()),
        frames_per_s=1e3 * batch / own.median(),
        ratio_to_published=ratio(published), ratio_to_eager=ratio(eager),
        ratios_to_published=ratios(published), ratios_to_eager=ratios(eager),
        end_to_end_ms_median=own.median('whole') if one else None,
        end_to_end_ms_p95=own.p95('whole') if one else None,
        end_to_end_ratio_to_published=ratio(published, 'whole') if one else None)


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark: what was measured, on what, how.

    Attributes:
        model: What the user called it.
        network: Key of `MODELS`.
        weights: `random`, or what the user called where they are from.
        size: `(height, width)` the network works at, pixels.
        frame: `(height, width)` of images and labels, pixels.
        batch: Frames a call.
        rounds: Turns of every engine.
        threads: Of the CPU.
        frames: Where the images of the agreement are from, and how many.
        machine: See `machine.describe_machine`.
        peaks: See `roofline.Peaks`, by kind of device.
        date: Start, UTC.
        command: That repeats it.
        rows: One per engine, in the order asked for.
    """

    model: str
    network: str
    weights: str
    size: tuple[int, int]
    frame: tuple[int, int]
    batch: int
    rounds: int
    threads: int
    frames: str
    machine: dict[str, Any]
    peaks: dict[str, Peaks]
    date: str
    command: str
    rows: tuple[Row, ...] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """Return plain types; numbers to six digits that count."""
        return {key: _rounded(value) for key, value in dataclasses.asdict(self).items()}

    @property
    def heading(self) -> str:
        """What was measured, in one line."""
        size, frame = ('{}x{}'.format(*side) for side in (self.size, self.frame))
        seen = f' from frames of {frame}' if frame != size else ''
        batch = f', batch {self.batch}' if self.batch > 1 else ''
        weights = 'random weights' if self.weights == 'random' else f'weights of {self.weights}'
        threads = '1 thread' if self.threads == 1 else f'{self.threads} threads'
        return f'{self.network} at {size}{seen}{batch}, {threads}; {weights}'


Cell = Callable[[Row], str]
_Value = Callable[[Row], float | None]


def _number(value: _Value, digits: int) -> Cell:
    def show(row: Row) -> str:
        found = value(row)
        return '–' if found is None else f'{found:.{digits}f}'
    return show


def _milliseconds(value: _Value) -> Cell:
    def show(row: Row) -> str:
        found = value(row)
        if found is None:
            return '–'
        return f'{found:.{0 if found >= 1000 else 1 if found >= 10 else 2}f}'
    return show


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        caption: For a page.
        short: For a terminal; empty = not there, for it is narrow.
        cell: What stands below it.
        on_a_gpu: Whether it makes sense only there.
    """

    caption: str
    short: str
    cell: Cell
    on_a_gpu: bool = False


_COLUMNS = (
    Column('engine', 'engine', lambda row: row.engine),
    Column('network ms', 'ms', _milliseconds(lambda row: row.ms_median)),
    Column('p95', 'p95', _milliseconds(lambda row: row.ms_p95)),
    Column('× published', '×publ.', _number(lambda row: row.ratio_to_published, 2)),
    Column('× eager', '×eager', _number(lambda row: row.ratio_to_eager, 2)),
    Column('frame to labels ms', 'labels', _milliseconds(lambda row: row.end_to_end_ms_median)),
    Column('p95', '', _milliseconds(lambda row: row.end_to_end_ms_p95)),
    Column('without transfers ms', 'on GPU', _milliseconds(lambda row: row.resident_ms_median),
           on_a_gpu=True),
    Column('agreement %', 'agree%', _number(lambda row: row.agreement, 2)),
    Column('peak MiB', 'MiB', _number(lambda row: row.peak_mib, 0)),
    Column('after close MiB', 'left', _number(lambda row: row.released_mib, 0)),
    Column('GPU MiB', 'GPU', _number(lambda row: row.device_mib, 0), on_a_gpu=True),
    Column('GMAC', '', _number(lambda row: row.gmac, 2)),
    Column('of the roofline %', 'roof%', _number(lambda row: row.of_floor, 0)),
)


def columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns that say something about these rows."""
    on_a_gpu = any((row.device or '').startswith('cuda') for row in rows)
    return [column for column in _COLUMNS if on_a_gpu or not column.on_a_gpu]


def notes(bench: Bench) -> list[str]:
    """Return what one must know to read the table, a line each."""
    return [
        f'machine: {in_words(bench.machine)}',
        f'date: {bench.date}; load before the start {bench.machine["load"]}; rounds: '
        f'{bench.rounds}',
        f'command: {bench.command}',
        f'agreement: labels equal to those of eager, on {bench.frames}',
        *(f'roofline of the {kind}: {_peaks_in_words(peaks)}'
          for kind, peaks in bench.peaks.items()),
        *(f'{row.engine}: {row.unavailable}' for row in bench.rows if row.unavailable),
    ]


def _peaks_in_words(peaks: Peaks) -> str:
    products = ', '.join(f'{precision} {value:.0f}'
                         for precision, value in peaks.gemm_gflops.items())
    return f'products {products} GFLOP/s, copy {peaks.copy_gb_s:.0f} GB/s'


def markdown(bench: Bench) -> str:
    """Return the table and its notes, as `docs/benchmarks.md` holds them."""
    chosen = columns(bench.rows)
    lines = [f'**{bench.heading}**', '',
             '| ' + ' | '.join(column.caption for column in chosen) + ' |',
             '|---' + '|---:' * (len(chosen) - 1) + '|']
    lines += ['| ' + ' | '.join(column.cell(row) for column in chosen) + ' |'
              for row in bench.rows]
    return '\n'.join([*lines, '', *(f'- {note}' for note in notes(bench))]) + '\n'


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f'{value:.6g}')
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
