# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An iterator that runs ahead in a thread of its own: read and decode while the network works."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar('T')
_WAIT_S = 0.1  # how soon the thread notices that nobody wants its items any more


@contextmanager
def ahead(source: Iterator[T], size: int) -> Iterator[Iterator[T]]:
    """Yield an iterator over the same items in the same order, up to `size` of them ready.

    What `source` raises is raised where the item would have come. The thread has ended when the
    `with` block has.
    """
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(size)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not stop.is_set():
            try:
                items.put((item, error), timeout=_WAIT_S)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in source:
                if not put(item, None):
                    return
        except BaseException as error:
            put(None, error)
        else:
            put(None, StopIteration())

    def results() -> Iterator[T]:
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item

    thread = threading.Thread(target=run, name='ahead', daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        stop.set()
        thread.join()
