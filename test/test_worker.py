# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One thread, the newest item, and an account of all the others."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from diffpixel_ros.worker import LatestWorker, WorkerCounts


@pytest.fixture
def make() -> Iterator[Callable[..., LatestWorker[object]]]:
    workers: list[LatestWorker[object]] = []

    def build(job: Callable[[object], None],
              on_error: Callable[[Exception], None] | None = None) -> LatestWorker[object]:
        workers.append(LatestWorker(job, name='test', on_error=on_error))
        workers[-1].start()
        return workers[-1]
    yield build
    for worker in workers:
        assert worker.stop(5.0)


def _adds_up(counts: WorkerCounts) -> bool:
    parts = asdict(counts)
    return parts.pop('submitted') == sum(parts.values())


def test_newest_item_wins(make: Callable[..., LatestWorker[object]]) -> None:
    seen: list[object] = []
    started, release = threading.Event(), threading.Event()

    def job(item: object) -> None:
        seen.append(item)
        started.set()
        assert release.wait(5)
    worker = make(job)
    assert worker.submit(0) == 0
    assert started.wait(5)
    assert [worker.submit(number) for number in range(1, 5)] == [0, 1, 1, 1]
    assert worker.counts == WorkerCounts(submitted=5, done=0, failed=0, superseded=3, discarded=0,
                                         in_flight=2)
    release.set()
    assert worker.drain(5)
    assert seen == [0, 4]
    assert worker.counts == WorkerCounts(submitted=5, done=2, failed=0, superseded=3, discarded=0,
                                         in_flight=0)


def test_exception_is_reported_and_the_thread_goes_on(
        make: Callable[..., LatestWorker[object]]) -> None:
    seen: list[object] = []
    errors: list[Exception] = []

    def job(item: object) -> None:
        if item == 'bad':
            raise ValueError('no good')
        seen.append(item)
    worker = make(job, errors.append)
    for item in ('bad', 'good', 'bad', 'good'):
        worker.submit(item)
        assert worker.drain(5)
    assert seen == ['good', 'good']
    assert [str(error) for error in errors] == ['no good', 'no good']
    assert (worker.counts.done, worker.counts.failed) == (2, 2)


def test_failing_report_does_not_end_the_thread(
        make: Callable[..., LatestWorker[object]]) -> None:
    def fail(_: object) -> None:
        raise RuntimeError('again')
    worker = make(fail, fail)
    for _ in range(3):
        worker.submit(None)
        assert worker.drain(5)
    assert worker.counts.failed == 3


def test_counts_add_up_under_load_from_several_threads(
        make: Callable[..., LatestWorker[object]]) -> None:
    def job(item: object) -> None:
        if item == 7:
            raise ValueError
    worker = make(job)
    seen: list[WorkerCounts] = []

    def feed() -> None:
        for number in range(300):
            worker.submit(number % 10)
            seen.append(worker.counts)
    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.drain(5)
    assert all(_adds_up(counts) for counts in seen)
    assert worker.counts.submitted == 1200
    assert worker.counts.in_flight == 0
    assert _adds_up(worker.counts)


def test_drain_gives_up_in_time(make: Callable[..., LatestWorker[object]]) -> None:
    release = threading.Event()
    worker = make(lambda _: release.wait(5) and None)
    worker.submit(None)
    started = time.monotonic()
    assert not worker.drain(0.05)
    assert time.monotonic() - started < 1
    release.set()
    assert worker.drain(5)


def test_stop_discards_what_waits_and_ends_the_running_job() -> None:
    seen: list[object] = []
    started, release = threading.Event(), threading.Event()

    def job(item: object) -> None:
        started.set()
        release.wait(5)
        seen.append(item)
    worker: LatestWorker[object] = LatestWorker(job, name='test')
    worker.start()
    worker.submit('running')
    assert started.wait(5)
    worker.submit('waiting')
    assert not worker.stop(0.05)  # still busy
    release.set()
    assert worker.stop(5)
    worker.submit('late')
    assert seen == ['running']
    assert worker.counts == WorkerCounts(submitted=3, done=1, failed=0, superseded=0, discarded=2,
                                         in_flight=0)


def test_idle_worker_keeps_no_item_alive(make: Callable[..., LatestWorker[object]]) -> None:
    import weakref

    class Picture:
        pass
    worker = make(lambda _: None)
    picture = Picture()
    watch = weakref.ref(picture)
    worker.submit(picture)
    assert worker.drain(5)
    del picture
    assert watch() is None
