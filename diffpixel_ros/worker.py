# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""LatestWorker: one thread that always works on the newest thing there is."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar('T')


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """What became of every item submitted; `submitted` is the sum of all others.

    Attributes:
        submitted: Items handed over.
        done: Items whose job returned.
        failed: Items whose job raised.
        superseded: Items replaced by a newer one before their turn.
        discarded: Items thrown away by `stop`, or submitted after it.
        in_flight: Items waiting or being worked on.
    """

    submitted: int
    done: int
    failed: int
    superseded: int
    discarded: int
    in_flight: int


class LatestWorker(Generic[T]):
    """Run a job in its own thread on the newest item; an older one that still waits is dropped.

    An exception in the job is counted, logged and handed to `on_error`; the thread goes on.

    Args:
        job: Called with one item at a time, in the worker's thread.
        name: Name of the thread.
        on_error: Called in the worker's thread with what `job` raised.
    """

    def __init__(self, job: Callable[[T], None], *, name: str,
                 on_error: Callable[[Exception], None] | None = None) -> None:
        self._job = job
        self._on_error = on_error
        self._changed = threading.Condition()
        self._slot: list[T] = []  # at most one item; a list because None may be an item
        self._running = False
        self._stopping = False
        self._submitted = self._done = self._failed = self._superseded = self._discarded = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def submit(self, item: T) -> int:
        """Put an item in the slot; return how many (0 or 1) it superseded there."""
        with self._changed:
            self._submitted += 1
            if self._stopping:
                self._discarded += 1
                return 0
            superseded = len(self._slot)
            self._superseded += superseded
            self._slot = [item]
            self._changed.notify_all()
            return superseded

    def drain(self, timeout: float) -> bool:
        """Wait until nothing waits or runs; False if that took longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._slot or self._running:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) \
                        and time.monotonic() >= deadline:
                    return not (self._slot or self._running)
            return True

    def stop(self, timeout: float) -> bool:
        """Discard what waits, let the running job end; False if it took longer than `timeout` s."""
        with self._changed:
            self._stopping = True
            self._discarded += len(self._slot)
            self._slot = []
            self._changed.notify_all()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def counts(self) -> WorkerCounts:
        """All counters, taken at one moment."""
        with self._changed:
            return WorkerCounts(self._submitted, self._done, self._failed, self._superseded,
                                self._discarded, len(self._slot) + self._running)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._slot and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                item = self._slot.pop()
                self._running = True
            failed = False
            try:
                self._job(item)
            except Exception as error:
                failed = True
                self._report(error)
            finally:
                del item  # images must not live on in an idle thread
                with self._changed:
                    self._running = False
                    self._done += not failed
                    self._failed += failed
                    self._changed.notify_all()

    def _report(self, error: Exception) -> None:
        logger.exception('%s: the job failed; going on with the next item', self._thread.name)
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception:
                logger.exception('%s: reporting the failure failed', self._thread.name)
