# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a training run writes down and shows: CSV, TensorBoard, progress bar or log lines."""

import contextlib
import csv
import io
import logging
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch.utils.tensorboard import SummaryWriter

from diffpixel_core.train.guard import TrainError
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

COLUMNS = ('step', 'epoch', 'minutes', 'lr', 'loss', 'loss_rgb', 'loss_x', 'loss_ensemble',
           'gradient_norm', 'images_per_s', 'loader_share', 'miou', 'pixel_accuracy',
           'mean_accuracy', 'miou_rgb', 'miou_depth')


class TrainingLog:
    """Record a run; enter it, then tell it about every step.

    Losses are means over the steps since the last row.

    Args:
        output: Folder of `metrics.csv` and of the TensorBoard events.
        step: Steps done before; rows of later steps (of an interrupted run) are dropped.
        total: Steps of the run, for display.
        every: Steps per row.
        epoch_steps: Steps per epoch.
    """

    def __init__(self, output: Path, *, step: int, total: int, every: int,
                 epoch_steps: float) -> None:
        self._path = output / 'metrics.csv'
        self._first_step = step
        self._total = total
        self._every = every
        self._epoch_steps = epoch_steps
        self._rows: list[dict[str, float]] = []
        self._waited_s = 0.0
        self._images = 0
        self._since = self._last = time.monotonic()
        self._miou = ''
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn(),
                console=console)

    def __enter__(self) -> 'TrainingLog':
        """Open the files, show the bar.

        Raises:
            TrainError: If they cannot be written.
        """
        text = io.StringIO(newline='')
        table = csv.DictWriter(text, COLUMNS, extrasaction='ignore')
        table.writeheader()
        table.writerows(self._earlier_rows())
        write_whole(self._path, text.getvalue())
        try:
            self._file = self._path.open('a', newline='')
            self._csv = csv.DictWriter(self._file, COLUMNS)
            self._board = SummaryWriter(
                str(self._path.parent),
                purge_step=self._first_step + 1 if self._first_step else None)
        except OSError as error:
            raise self._unwritable(error) from error
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task('training', total=1.0)
        self._since = self._last = time.monotonic()
        return self

    def _earlier_rows(self) -> list[dict[str, str]]:
        """Return the rows up to the step of the checkpoint, without one that was cut short."""
        if not self._first_step or not self._path.is_file():
            return []
        with self._path.open(newline='') as file:
            return [row for row in csv.DictReader(file)
                    if None not in row.values() and int(row['step']) <= self._first_step]

    def __exit__(self, *error: object) -> None:
        """Close the files, end the bar."""
        if self._progress is not None:
            self._progress.stop()
        for file in (self._board, self._file):
            with contextlib.suppress(OSError):  # on a full disk the row itself has said so
                file.close()

    def step(self, step: int, row: dict[str, float], *, images: int, waited_s: float,
             minutes: float, done: float) -> None:
        """Record a step.

        Args:
            step: Steps done.
            row: Values for columns of the same names.
            images: Images of this step.
            waited_s: Seconds the step waited for its batch.
            minutes: Duration of the run so far.
            done: Part of the run that is over, 0..1.
        """
        self._rows.append(row)
        self._images += images
        self._waited_s += waited_s
        left = _duration(minutes / done * (1 - done)) if done > 0 else '?'
        if self._progress is not None:
            speed = self._images / max(1e-9, time.monotonic() - self._since)
            self._progress.update(self._task, completed=done, description=(
                f'step {step}/{self._total} loss {row["loss"]:.3f} lr {row["lr"]:.1e} '
                f'{speed:.2f} img/s{self._miou}, {left} left'))
        if step % self._every:
            self._last = time.monotonic()
            return
        spent = max(1e-9, time.monotonic() - self._since)
        means = {key: sum(r[key] for r in self._rows) / len(self._rows) for key in row}
        means |= {'lr': row['lr'], 'images_per_s': self._images / spent,
                  'loader_share': self._waited_s / spent}
        self._write(step, means, minutes)
        if self._progress is None:
            logger.info('step %d/%d loss %.3f (rgb %.3f x %.3f) lr %.2e norm %.2f %.2f img/s '
                        'loader %.0f%% %s left', step, self._total, means['loss'],
                        means['loss_rgb'], means['loss_x'], means['lr'], means['gradient_norm'],
                        means['images_per_s'], 100 * means['loader_share'], left)
        self._rows, self._images, self._waited_s = [], 0, 0.0
        self._since = self._last = time.monotonic()

    def scores(self, step: int, scores: dict[str, float], *, minutes: float) -> None:
        """Record scores on held-out frames, 0..1, as soon as they are known."""
        self._write(step, scores, minutes)
        self._miou = f' mIoU {100 * scores["miou"]:.1f}'
        logger.info('step %d held-out mIoU %.2f %% pixel accuracy %.2f %%', step,
                    100 * scores['miou'], 100 * scores['pixel_accuracy'])
        now = time.monotonic()
        self._since += now - self._last  # scoring is no part of the speed of training
        self._last = now

    def _write(self, step: int, values: dict[str, float], minutes: float) -> None:
        try:
            self._csv.writerow({'step': step, 'epoch': f'{step / self._epoch_steps:.3f}',
                                'minutes': f'{minutes:.2f}',
                                **{key: repr(float(value)) for key, value in values.items()}})
            self._file.flush()
            for key, value in values.items():
                self._board.add_scalar(key, value, step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> TrainError:
        return TrainError(f'cannot write {self._path} and the TensorBoard events beside it '
                          f'({error.strerror}); free some space')


def _duration(minutes: float) -> str:
    """Return a time as a person says it: '40 s', '12 min', '5 h 07 min'."""
    if minutes < 1:
        return f'{60 * minutes:.0f} s'
    if minutes < 60:
        return f'{minutes:.0f} min'
    hours, rest = divmod(round(minutes), 60)
    return f'{hours} h {rest:02d} min'
