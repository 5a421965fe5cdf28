# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Many bags: one after the other here, in processes of this machine, or on a Ray cluster.

Whoever replays them, each bag ends as a `BagRun`: its tally and the file with its predictions, or
in one line why there is none. One bag that fails does not take the others along.
"""

import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.replay.offline import replay_bag
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.tally import Tally

logger = logging.getLogger(__name__)

_EVERY = 5  # colour images between two reports of progress from another process
_STOP_S = 5.0  # a worker that was told to end gets this long
# Threads of numerical libraries; what the user set stays.
_THREAD_VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


@dataclass(frozen=True, slots=True)
class Job:
    """One bag to replay: its place among all, its settings, where its predictions go."""

    index: int
    bag: Path
    settings: ReplaySettings
    predictions: Path


@dataclass(frozen=True, slots=True)
class BagRun:
    """How a bag ended: `tally`, or one line in `failure`; `facts` of the machine that ran it."""

    index: int
    tally: Tally | None
    failure: str = ''
    facts: tuple[tuple[str, str], ...] = ()


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Keep the bag reader from logging its warnings: they are notes of the tally, told once."""
    reader = logging.getLogger('diffpixel_core.bags.reader')
    before = reader.level
    reader.setLevel(logging.ERROR)
    try:
        yield
    finally:
        reader.setLevel(before)


Report = Callable[[int, int, int], None]  # index of the bag, colour images done, colour images


def run_here(jobs: Sequence[Job], report: Report) -> Iterator[BagRun]:
    """Yield how each bag ended, one after the other in this process."""
    bench = _Bench()
    for job in jobs:
        yield bench.run(job, report)


def run_in_processes(jobs: Sequence[Job], report: Report, *, workers: int) -> Iterator[BagRun]:
    """Yield how each bag ended, in the order in which they end; a worker that dies is replaced.

    Args:
        jobs: The bags.
        workers: Processes; each loads the model once and gets an equal part of the cores.
        report: Called with the progress of each bag.
    """
    workers = min(workers, len(jobs))
    threads = max(1, (os.cpu_count() or 1) // workers)
    pending = list(jobs)[::-1]
    with _crew() as crew:
        while pending or crew:
            while pending and len(crew) < workers:
                crew.append(_Worker(pending.pop(), threads))
            for ready in wait([worker.pipe for worker in crew]):
                worker = next(worker for worker in crew if worker.pipe is ready)
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    crew.remove(worker)
                    yield worker.obituary()
                    continue
                if isinstance(message, tuple):
                    report(*message)
                    continue
                yield message
                if pending:
                    worker.give(pending.pop())
                else:
                    crew.remove(worker)
                    worker.dismiss()


def run_on_ray(jobs: Sequence[Job], report: Report, *, address: str) -> Iterator[BagRun]:
    """Yield how each bag ended, in the order in which they end, on the machines of a Ray cluster.

    Each bag takes one core, and one GPU where the cluster has any and the device is not `cpu`.
    The bags, and a model that is a path, must be readable under the same path on every machine,
    and this package installed there. Predictions come back with the result and are written here.

    Args:
        jobs: The bags.
        address: `auto` for a cluster that runs, `local` to start one here, or `ray://HOST:PORT`.
        report: Called when a bag has ended.

    Raises:
        ReplayError: If Ray is not installed, or the cluster cannot be reached.
    """
    try:
        ray: Any = importlib.import_module('ray')
    except ImportError as error:
        raise ReplayError("--ray needs Ray, which is not installed; pip install "
                          "'diffpixel_ros[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR,
                     include_dashboard=False if address == 'local' else None)
        except Exception as error:  # Ray raises its own, ConnectionError, ValueError, gRPC's
            raise ReplayError(f'cannot reach the Ray cluster {address!r}: '
                              f'{" ".join(str(error).split())[:300]}; give auto, local or '
                              'ray://HOST:PORT') from error
    try:
        # Ray hides the GPUs of a machine from tasks that do not ask for one.
        gpus = int(jobs[0].settings.device != 'cpu' and ray.cluster_resources().get('GPU', 0) > 0)
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(_on_ray)
        running = {task.remote(job): job for job in jobs}
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(ended)
            try:
                run, data = ray.get(ended)
            except Exception as error:  # a machine died, or this package is another one there
                yield BagRun(job.index, None, f'{job.bag}: its Ray task failed: '
                             f'{" ".join(str(error).split())[-300:]}')
                continue
            if run.tally is not None:
                job.predictions.write_bytes(data)
                report(job.index, run.tally.frames_in, run.tally.frames_in)
            yield run
    finally:
        if ours:
            ray.shutdown()


class _Bench:
    """Replays bags, and keeps the network between them."""

    def __init__(self) -> None:
        self._segmenter: Any = None

    def run(self, job: Job, report: Report) -> BagRun:
        """Return how a bag ended; only an interruption is raised."""
        try:
            if self._segmenter is None:
                from diffpixel_core.segmenter import load_segmenter
                self._segmenter = load_segmenter(job.settings.model, job.settings.engine,
                                                 device=job.settings.device,
                                                 precision=job.settings.precision)
            with warnings_as_notes():
                tally = replay_bag(job.bag, job.settings, self._segmenter, job.predictions,
                                   progress=lambda done, total: report(job.index, done, total))
        except DiffPixelError as error:
            return BagRun(job.index, None, str(error))
        except Exception as error:  # a bug of ours must not take the other bags along
            logger.exception('%s cannot be replayed', job.bag)
            return BagRun(job.index, None, f'{job.bag}: this is a bug, report it: '
                          f'{type(error).__name__}: {error}')
        seg = self._segmenter
        facts = (('network', seg.manifest.model), ('engine', seg.engine_name),
                 ('device', seg.device), ('precision', seg.precision))
        return BagRun(job.index, tally, '', facts)


class _Worker:
    """A process that replays the bags it is given, and the bag it has now."""

    def __init__(self, job: Job, threads: int) -> None:
        context = multiprocessing.get_context('spawn')
        self.pipe, theirs = context.Pipe()
        self.job = job
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, threads),
                                                     daemon=True,
                                                     name=f'diffpixel_replay-{job.index}')
        with _thread_limit(threads):  # libraries read it when they are loaded
            self._process.start()
        theirs.close()
        self.pipe.send(job)

    def give(self, job: Job) -> None:
        """Hand over the next bag."""
        self.job = job
        self.pipe.send(job)

    def dismiss(self) -> None:
        """Let the process end by itself; stop it if it does not."""
        self.pipe.close()
        self._process.join(_STOP_S)
        self.stop()

    def stop(self) -> None:
        """End the process."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def obituary(self) -> BagRun:
        """Return how its bag ended after it died."""
        self.stop()
        code = self._process.exitcode
        how = f'was ended by signal {-code} ({signal.Signals(-code).name})' \
            if code is not None and code < 0 else f'ended with exit code {code}'
        return BagRun(self.job.index, None, f'{self.job.bag}: the process that replayed it {how}; '
                      'is there enough memory for so many --workers?')


@contextmanager
def _crew() -> Iterator[list[_Worker]]:
    """Yield a list of workers that are stopped at the end, whatever ends it."""
    crew: list[_Worker] = []
    try:
        yield crew
    finally:
        for worker in crew:
            worker.stop()


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Set the number of threads for a child that is started meanwhile."""
    added = [name for name in _THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _work(pipe: 'Connection[Any, Any]', threads: int) -> None:
    """Replay bags until nobody gives any more; runs in a process of its own."""
    # Ctrl-C reaches the whole group; the parent answers it and stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2
    cv2.setNumThreads(threads)
    bench = _Bench()

    def report(index: int, done: int, total: int) -> None:
        if done % _EVERY == 0 or done == total:
            pipe.send((index, done, total))

    try:
        while True:
            pipe.send(bench.run(pipe.recv(), report))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _on_ray(job: Job) -> tuple[BagRun, bytes]:
    """Return how a bag ended and the bytes of its predictions; runs on a machine of the cluster."""
    folder = Path(tempfile.mkdtemp(prefix='diffpixel_replay'))
    try:
        there = Job(job.index, job.bag, job.settings, folder / job.predictions.name)
        run = _Bench().run(there, lambda index, done, total: None)
        return run, there.predictions.read_bytes() if run.tally is not None else b''
    finally:
        shutil.rmtree(folder, ignore_errors=True)
