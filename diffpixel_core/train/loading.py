# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Batches as they come from the loader, or why one does not come."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from diffpixel_core.datasets import Batch
from diffpixel_core.errors import DiffPixelError


class Loaded(NamedTuple):
    """This process's share of a step.

    Attributes:
        parts: Its batches; fewer if one failed.
        fault: What is wrong with a file, as a sentence; '' = nothing.
        waited_s: Seconds until they were there.
    """

    parts: list[Batch]
    fault: str
    waited_s: float


def take_parts(batches: Iterator[Batch], count: int) -> Loaded:
    """Return the next batches; a fault is returned, so that all processes can hear of it."""
    started, parts, fault = time.monotonic(), list[Batch](), ''
    try:
        for _ in range(count):
            parts.append(next(batches))
    except DiffPixelError as error:
        fault = _as_raised(error)
    return Loaded(parts, fault, time.monotonic() - started)


def _as_raised(error: DiffPixelError) -> str:
    """Return an error's message; torch puts the traceback of a loader's process before it."""
    text = str(error)
    return text.rpartition(f'.{type(error).__qualname__}: ')[2] if 'Traceback' in text else text
