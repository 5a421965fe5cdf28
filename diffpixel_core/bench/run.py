# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A whole benchmark: memory apart, labels compared, then everyone timed in turns."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffpixel_core.bench.contenders import BenchError, require_known
from diffpixel_core.bench.frames import drawn_frames, real_frames
from diffpixel_core.bench.int8 import engine_path
from diffpixel_core.bench.machine import describe_machine
from diffpixel_core.bench.results import Bench
from diffpixel_core.bench.session import Session
from diffpixel_core.bench.subject import Subject, subject
from diffpixel_core.checkpoints import Manifest
from diffpixel_core.deploy import network_size
from diffpixel_core.frame import Frame

logger = logging.getLogger(__name__)

COMPARED = 8        # frames on which labels are compared, and which take turns while timing
_BUSY = 0.5         # load average above which figures deserve a warning


@dataclass(frozen=True, slots=True)
class Settings:
    """What is to be measured, and how.

    Attributes:
        model: Key of `MODELS` (random weights), shipped name or model directory.
        engines: Keys of `contenders.NAMES`.
        size: `(height, width)` the network works at, pixels.
        frame: `(height, width)` of images and labels; None = `size`.
        batch: Frames a call.
        rounds: Turns of every engine.
        threads: Of the CPU; None = one per core this process may use.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for whatever runs on more than one.
        frames: Folder of real frames; None = drawn ones.
        depth_unit: Of that folder's depth images.
        memory: Whether to measure memory.
        seed: Of the drawn frames and of the order of turns.
    """

    model: str
    engines: tuple[str, ...]
    size: tuple[int, int]
    frame: tuple[int, int] | None = None
    batch: int = 1
    rounds: int = 10
    threads: int | None = None
    device: str = 'auto'
    frames: Path | None = None
    depth_unit: str = 'mm'
    memory: bool = True
    seed: int = 0


def run_bench(settings: Settings, *, command: str = '') -> Bench:
    """Return what was measured; progress goes to standard error.

    Args:
        settings: What to measure.
        command: That repeats it, for the record.

    Raises:
        BenchError: If an engine's name is unknown, sizes do not fit, or no engine is to be had.
        SubjectError: If the model is not to be had, or its size too small.
        ImageFolderError: If the folder of frames holds none.
    """
    require_known(settings.engines)
    _require_same_shape(settings)
    threads = settings.threads or torch.get_num_threads()
    started = datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M')
    machine = describe_machine()
    if machine['load'] > _BUSY:
        logger.warning('load average is %.1f: other work disturbs the figures, the ratios less',
                       machine['load'])
    with (_threads(threads), _subject(settings) as model,
          _progress() as progress):
        frames = _frames(settings, model.manifest)
        rows, peaks = Session(
            model, frames, progress, engines=settings.engines, path_of=partial(
                engine_path, model, frame=settings.frame or settings.size, batch=settings.batch,
                frames=settings.frames, depth_unit=settings.depth_unit),
            size=settings.size, batch=settings.batch, rounds=settings.rounds,
            device=settings.device, threads=threads, seed=settings.seed,
            memory=settings.memory).measure()
    source = 'drawn' if settings.frames is None else str(settings.frames)
    return Bench(
        model=settings.model, network=model.manifest.model, weights=model.weights,
        size=settings.size, frame=settings.frame or settings.size, batch=settings.batch,
        rounds=settings.rounds, threads=threads, frames=f'{len(frames)} frames, {source}',
        machine=machine, peaks=peaks, date=started, command=command, rows=rows)


def _require_same_shape(settings: Settings) -> None:
    """Refuse frames that the network would see at another size than asked for."""
    if settings.frame is None:
        return
    seen = network_size(settings.frame, settings.size)
    if seen != settings.size:
        raise BenchError(f'frames of {settings.frame[0]}x{settings.frame[1]} would be seen at '
                         f'{seen[0]}x{seen[1]}, not at {settings.size[0]}x{settings.size[1]}: a '
                         'network keeps the shape of the frame; give --frame and --size the same '
                         'ratio of height to width')


def _subject(settings: Settings) -> AbstractContextManager[Subject]:
    return subject(settings.model, settings.size, settings.frame or settings.size)


def _frames(settings: Settings, manifest: Manifest) -> list[Frame]:
    size, modality = settings.frame or settings.size, manifest.modalities[1]
    if settings.frames is None:
        return drawn_frames(COMPARED, size, modality=modality, seed=settings.seed)
    return real_frames(settings.frames, settings.depth_unit, size=size, modality=modality,
                       most=COMPARED)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give every runtime so many threads: torch at once, the others by the variable they read."""
    before, variable = torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS')
    torch.set_num_threads(count)
    os.environ['OMP_NUM_THREADS'] = str(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ['OMP_NUM_THREADS']
        else:
            os.environ['OMP_NUM_THREADS'] = variable


def _progress() -> Progress:
    return Progress(TextColumn('{task.description}'), BarColumn(), TimeRemainingColumn(),
                    console=Console(stderr=True), transient=True)
