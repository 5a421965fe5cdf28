# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One benchmark, step by step: open, warm up, compare labels, take turns, measure memory apart."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import nn

from diffpixel_core.bench import timing
from diffpixel_core.bench.contenders import (
    EAGER,
    PUBLISHED,
    BenchError,
    open_contender,
    stacked,
)
from diffpixel_core.bench.filling import has_published_weights
from diffpixel_core.bench.memory import Memory, MemoryMeasureError, measure_memory
from diffpixel_core.bench.published import published_network
from diffpixel_core.bench.resident import Resident, resident_ms
from diffpixel_core.bench.results import Row, timed_row
from diffpixel_core.bench.roofline import ELEMENT_BYTES, Peaks, Work, count_work, measure_peaks
from diffpixel_core.bench.subject import BASELINES, Subject
from diffpixel_core.bench.timing import Call, Runner, Timings
from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import Ensemble, fold
from diffpixel_core.engines.engine import Engine
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame
from diffpixel_core.segmenter import Segmenter

logger = logging.getLogger(__name__)

FOLDED = 'folded'  # the one graph of every engine
_GPU_WARM_CALLS = 50


class Session:
    """The steps of one benchmark and what they found, engine by engine.

    Args:
        model: What every engine holds.
        frames: Real or drawn; calls go round them.
        progress: Where to show how far it is.
        engines: Keys of `contenders.NAMES`.
        path_of: What to open for one of them.
        size: `(height, width)` the network works at, pixels.
        batch: Frames a call.
        rounds: Turns of every engine.
        device: For whatever runs on more than one.
        threads: Of the CPU.
        seed: Of the order of turns.
        memory: Whether to measure memory.
    """

    def __init__(self, model: Subject, frames: Sequence[Frame], progress: Progress, *,
                 engines: Sequence[str], path_of: Callable[[str], Path], size: tuple[int, int],
                 batch: int, rounds: int, device: str, threads: int, seed: int,
                 memory: bool) -> None:
        self._model, self._frames, self._progress = model, frames, progress
        self._engines, self._size, self._batch, self._rounds = engines, size, batch, rounds
        self._device, self._threads, self._seed, self._has_memory = device, threads, seed, memory
        self._task = progress.add_task('', total=None)
        self._path_of = path_of
        self._open: dict[str, Engine] = {}
        self._unavailable: dict[str, str] = {}
        self._work: dict[str, Work] = {}

    def measure(self) -> tuple[tuple[Row, ...], dict[str, Peaks]]:
        """Return a row for every engine, and what the devices reach at best.

        Raises:
            BenchError: If no engine is to be had.
        """
        try:
            self._open_all()
            milliseconds = self._warm_up()
            agreement = self._compare()
            peaks = self._measure_peaks()
            timings = self._take_turns(milliseconds)
            resident = self._time_residents()
            devices = {name: contender.device_name for name, contender in self._open.items()}
            precisions = {name: contender.precision for name, contender in self._open.items()}
        finally:
            for contender in self._open.values():
                contender.close()
            self._open.clear()
        memory = {name: self._measure_memory(name) for name in timings if self._has_memory}
        rows = []
        for name in self._engines:
            if name in self._unavailable:
                rows.append(Row(name, unavailable=self._unavailable[name]))
            else:
                rows.append(replace(
                    self._row(name, devices[name], precisions[name], timings, memory.get(name),
                              peaks),
                    agreement=agreement.get(name), resident_ms_median=resident.get(name)))
        return tuple(rows), peaks

    def _open_all(self) -> None:
        for name in self._engines:
            self._say(f'opening {name}')
            self._progress.stop()  # an export for int8 shows its own
            try:
                self._open[name] = self._opened(name)
            except DiffPixelError as error:
                self._give_up(name, error)
            finally:
                self._progress.start()
        self._require_any()

    def _warm_up(self) -> dict[str, float]:
        """Return the milliseconds of a call, of those that can be called."""
        found = {}
        for name, contender in list(self._open.items()):
            self._say(f'warming up {name}')
            calls = _GPU_WARM_CALLS if contender.device_name.startswith('cuda') else 2
            try:
                found[name] = timing.warm_up(self._runner(name), calls=calls)
            except DiffPixelError as error:  # such as memory that does not suffice
                self._open.pop(name).close()
                self._give_up(name, error)
        self._require_any()
        return found

    def _compare(self) -> dict[str, float]:
        """Return the share of labels equal to those of `eager`, per cent."""
        if self._model.artefact is not None:
            return {}  # whose weights are not those of the baselines
        self._say('comparing labels')
        eager = self._open[EAGER] if EAGER in self._open else self._opened(EAGER)
        wanted = self._labels(eager)
        if EAGER not in self._open:
            eager.close()
        found = {}
        for name, contender in self._open.items():
            if name == PUBLISHED and not has_published_weights(self._model.manifest):
                continue  # other parameters: another network, of the published cost
            same = [float((one == two).mean()) for one, two
                    in zip(wanted, self._labels(contender), strict=True)]
            found[name] = 100 * float(np.mean(same))
        return found

    def _measure_peaks(self) -> dict[str, Peaks]:
        self._say('measuring what the machine reaches')
        precisions: dict[str, dict[str, None]] = {}
        for contender in self._open.values():
            kinds = precisions.setdefault(torch.device(contender.device_name).type, {})
            if contender.precision in ELEMENT_BYTES:
                kinds[contender.precision] = None
        return {kind: measure_peaks(torch.device(kind), tuple(found))
                for kind, found in precisions.items()}

    def _take_turns(self, milliseconds: dict[str, float]) -> dict[str, Timings]:
        calls = {name: timing.calls_a_turn(ms) for name, ms in milliseconds.items()}
        cost = {name: (calls[name] + 1) * ms for name, ms in milliseconds.items()}
        self._say('taking turns', total=self._rounds * sum(cost.values()))
        return timing.take_turns(
            {name: self._runner(name) for name in self._open}, calls, rounds=self._rounds,
            seed=self._seed, after_turn=lambda name: self._progress.advance(self._task, cost[name]))

    def _time_residents(self) -> dict[str, float]:
        """Return the milliseconds of a call without transfers, of those on a GPU that can."""
        self._say('timing without transfers')
        return {name: float(np.median(resident_ms(engine, self._frames[:self._batch])))
                for name, engine in self._open.items()
                if engine.device_name.startswith('cuda') and isinstance(engine, Resident)}

    def _measure_memory(self, name: str) -> Memory | None:
        self._say(f'measuring the memory of {name}')
        try:
            return measure_memory(
                self._path_of(name), name, cache=self._model.cache, batch=self._batch,
                frame=self._frames[0].x.shape, device=self._device, threads=self._threads)
        except MemoryMeasureError as error:
            logger.warning('memory was not measured: %s', error)
            return None

    def _row(self, name: str, device: str, precision: str, timings: dict[str, Timings],
             memory: Memory | None, peaks: dict[str, Peaks]) -> Row:
        own, baselines = timings[name], (timings.get(PUBLISHED), timings.get(EAGER))
        kind = name if name in BASELINES else FOLDED
        if kind not in self._work:
            self._work[kind] = count_work(self._network(kind), self._size, self._batch)
        work = self._work[kind]
        row = timed_row(name, own, published=baselines[0], eager=baselines[1], batch=self._batch)
        if memory is not None:
            row = replace(row, peak_mib=memory.peak_mib, released_mib=memory.released_mib,
                          device_mib=memory.device_mib)
        floors = work.floors_ms(precision, peaks[torch.device(device).type])
        if floors is not None:
            row = replace(row, floor_compute_ms=floors.compute, floor_memory_ms=floors.memory,
                          of_floor=100 * max(floors) / own.median())
        return replace(row, device=device, precision=precision, gmac=work.gmac)

    def _opened(self, name: str) -> Engine:
        return open_contender(name, self._path_of(name), device=self._device,
                              cache=self._model.cache)

    def _runner(self, name: str) -> Runner:
        """Return what makes one timed call on the next frame, or on the next few at once."""
        contender, frames, batch = self._open[name], self._frames, self._batch
        turn = 0

        if batch == 1:
            segment = Segmenter(contender)

            def run() -> Call:
                nonlocal turn
                turn += 1
                started = time.perf_counter()
                seen = segment(frames[turn % len(frames)])
                return Call(seen.timings_ms['network'], (time.perf_counter() - started) * 1e3)
            return run

        batches = [stacked([frames[(first + i) % len(frames)] for i in range(batch)])
                   for first in range(len(frames))]

        def run_batch() -> Call:
            nonlocal turn
            turn += 1
            started = time.perf_counter()
            contender.scores(*batches[turn % len(batches)])
            spent = (time.perf_counter() - started) * 1e3
            return Call(spent, spent)
        return run_batch

    def _labels(self, contender: Engine) -> list[npt.NDArray[np.uint8]]:
        segment = Segmenter(contender)
        return [segment(frame).labels for frame in self._frames]

    def _network(self, kind: str) -> nn.Module:
        """Return what a baseline, or any engine, computes, to count its products."""
        manifest = self._model.manifest
        if kind == PUBLISHED:
            return published_network(manifest.model, manifest.classes)
        model, _ = load_model(self._model.folder)
        return Ensemble(model) if kind == EAGER else fold(model)

    def _give_up(self, name: str, error: DiffPixelError) -> None:
        self._unavailable[name] = ' '.join(str(error).split())

    def _require_any(self) -> None:
        if not self._open:
            raise BenchError('none of these engines is to be had here: ' + '; '.join(
                f'{name}: {why}' for name, why in self._unavailable.items()))

    def _say(self, what: str, *, total: float | None = None) -> None:
        self._progress.reset(self._task, description=what, total=total)
