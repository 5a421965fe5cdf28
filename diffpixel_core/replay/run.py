# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A replay from beginning to end: bags in, one report and the predictions of each bag out."""

import csv
import dataclasses
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffpixel_core.replay.result import ReplayResult, unique_names
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.spread import BagRun, Job, Report
from diffpixel_core.replay.summary import metrics, report_data
from diffpixel_core.replay.tally import FrameRow, Tally
from diffpixel_core.report import write_report
from diffpixel_core.termination import terminable
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

# Who replays the bags: takes them and where to report progress, yields how each ended.
Runner = Callable[[Sequence[Job], Report], Iterator[BagRun]]

_RESULTS = ('report.html', 'metrics.json', 'frames.csv')


def run_replay(bags: Sequence[Path], settings: ReplaySettings, output: Path, runner: Runner, *,
               how: str, command: str = '') -> ReplayResult:
    """Replay bags and return what came of them.

    Writes `report.html`, `metrics.json`, `frames.csv` and `predictions/<bag>.mcap` into `output`.
    A bag that fails is named in the result; the others' results are written all the same.

    Args:
        bags: The recordings, at least one.
        settings: How to replay them. With several bags, a truth folder holds one folder for each,
            named as the bag.
        output: Folder for the results; made if need be.
        runner: Who replays them, such as `spread.run_here`.
        how: What the runner does, for the report: `offline`, for example.
        command: How the user called this, for the report.

    Those of an earlier replay are removed first. When it is interrupted, what the bags that have
    ended gave is written all the same.

    Raises:
        KeyboardInterrupt: If it was interrupted, also by SIGTERM.
        ReplayError: If a bag is given twice, none could be replayed, or the output cannot be
            written.
        CheckpointError: If there is no such model.
    """
    from diffpixel_core.checkpoints import find_model
    _require_different(bags)
    _remove_results(output)
    settings = dataclasses.replace(settings, model=str(find_model(settings.model)))
    try:
        (output / 'predictions').mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReplayError(f'cannot make the folder {output}: {error.strerror}; choose another '
                          '--output') from error
    started = time.perf_counter()
    with terminable():
        runs = _replayed(bags, settings, output, runner)
        interrupted = len(runs) < len(bags)
        if all(run.tally is None for run in runs):
            if interrupted:
                raise KeyboardInterrupt
            raise ReplayError(runs[0].failure if len(runs) == 1 else
                              f'none of {len(runs)} bags could be replayed; why is said above')
        result = ReplayResult(tuple(runs), tuple(str(bag) for bag in bags), settings, how,
                              time.perf_counter() - started, command)
        write_report(output / 'report.html', report_data(result))
        write_whole(output / 'frames.csv', _frames_csv(result))
        write_whole(output / 'metrics.json',
                     json.dumps(metrics(result), indent=2, allow_nan=False) + '\n')
    if interrupted:
        logger.warning('%s; what has ended is in %s', result.problem, output)
        raise KeyboardInterrupt
    return result


def _replayed(bags: Sequence[Path], settings: ReplaySettings, output: Path,
              runner: Runner) -> list[BagRun]:
    """Return how each bag ended, in the order given; of an interrupted replay those that have."""
    names = unique_names([str(bag) for bag in bags])
    runs: list[BagRun] = []
    with tempfile.TemporaryDirectory(dir=output, prefix='.replay') as scratch:
        jobs = [Job(index, bag, _settings_of(settings, name, single=len(bags) == 1),
                    Path(scratch) / f'{name}.mcap')
                for index, (bag, name) in enumerate(zip(bags, names, strict=True))]
        try:
            with _Bars(names) as bars:
                for run in runner(jobs, bars.report):
                    if run.failure and len(bags) > 1:  # of a single bag it is what is raised
                        logger.error('%s', run.failure)
                    if run.tally is not None:
                        _keep(run.tally, jobs[run.index], output / 'predictions')
                    runs.append(run)
                    bars.ended(run)
        except KeyboardInterrupt:
            if len(runs) == len(bags):  # nothing was left to interrupt but the end itself
                raise
    return sorted(runs, key=lambda run: run.index)


def _keep(tally: Tally, job: Job, folder: Path) -> None:
    """Move the predictions of a bag to where they stay, and tell its notes."""
    final = folder / job.predictions.name
    job.predictions.replace(final)
    tally.files['predictions'] = str(final)
    for note in tally.notes:
        logger.warning('%s', note if tally.bag in note else f'{tally.bag}: {note}')


def _require_different(bags: Sequence[Path]) -> None:
    """Refuse a bag that is given twice."""
    places = [bag.resolve() for bag in bags]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise ReplayError(f'bag {bags[index]} is given twice (first as '
                              f'{bags[places.index(place)]}); give each bag once')


def _remove_results(output: Path) -> None:
    """Remove what an earlier replay wrote: if this one fails it must not pass for its results."""
    try:
        for name in _RESULTS:
            if (output / name).is_file():
                (output / name).unlink()
    except OSError as error:
        raise ReplayError(f'cannot remove {error.filename} of an earlier replay: {error.strerror}; '
                          'choose another --output') from error


class _Bars:
    """Progress of every bag on standard error; only those at work are shown."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._tasks: dict[int, TaskID] = {}
        self._totals: dict[int, int] = {}
        self._progress = Progress(
            TextColumn('{task.description}', markup=False), BarColumn(), TaskProgressColumn(),
            TextColumn('{task.completed:.0f} of {task.total:.0f}'), TimeElapsedColumn(),
            TimeRemainingColumn(), console=Console(stderr=True))
        self._all = self._progress.add_task('bags', total=len(names), visible=len(names) > 1)

    def __enter__(self) -> '_Bars':
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, index: int, done: int, total: int) -> None:
        """Show how far a bag is, colour images done of those there are."""
        if index not in self._tasks:
            self._tasks[index] = self._progress.add_task(self._names[index], total=total)
        self._totals[index] = total
        self._progress.update(self._tasks[index], completed=done, total=total)

    def ended(self, run: BagRun) -> None:
        """Fill the bar of a bag that succeeded, and take it away where there are others."""
        self._progress.advance(self._all)
        if run.index not in self._tasks:
            return
        if run.tally is not None:  # the last images may have given no frame
            self._progress.update(self._tasks[run.index], completed=self._totals[run.index])
        if len(self._names) > 1:
            self._progress.update(self._tasks[run.index], visible=False)


def _settings_of(settings: ReplaySettings, name: str, *, single: bool) -> ReplaySettings:
    """Return the settings of one bag: of several, each has its own folder of truth."""
    folder = Path(settings.truth)
    if single or not settings.truth or not folder.is_dir():
        return settings
    return dataclasses.replace(settings, truth=str(folder / name))


def _frames_csv(result: ReplayResult) -> str:
    rows: list[Sequence[object]] = [('bag', *FrameRow._fields)]
    for tally in result.tallies:
        rows += [(tally.bag, *row) for row in tally.frames]
    text = io.StringIO(newline='')
    csv.writer(text).writerows(rows)
    return text.getvalue()
