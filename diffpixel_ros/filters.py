# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""FilterSynchroniser: `message_filters.ApproximateTimeSynchronizer` behind our own interface.

For those who must have it (parameter `synchronizer: message_filters`). Our own `Synchroniser` does
better: this one takes the first partner within the slop instead of the nearest, pairs nothing at
slop 0, and little or nothing after a looped bag starts anew. test/test_synchronisers.py has the
cases that fail, and why.
"""

import importlib
import os
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from rclpy.time import Time

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.pairing import PairCounts, StreamCounts
from diffpixel_core.synchronise import MISSING_DEPTH

C = TypeVar('C')
D = TypeVar('D')
T = TypeVar('T')


class FilterError(DiffPixelError):
    """message_filters is wanted but not installed."""


class FilterSynchroniser(Generic[C, D]):
    """Turn stamped colour and depth items into pairs the way message_filters does.

    Its callback runs under a lock that an exception leaves held for ever; ours only collects.
    A stamp from the past is a very late one to it: whoever sees the clock jump calls `reset`.
    Not thread-safe: feed it from one thread.

    Args:
        slop_ns: Stamps must differ by less.
        queue: Items of a stream that may wait; the one with the oldest stamp is dropped first.
        missing_depth: One of `MISSING_DEPTH`: what becomes of colour while depth is silent.
        missing_after_ns: How long no depth may arrive before it counts as silent.

    Attributes:
        alone: Colour items that came out without depth.
        no_depth: Colour items dropped because depth was silent.
        depth_is_silent: Whether that was so when the last colour item came.

    Raises:
        FilterError: If message_filters is not installed.

    Source: src/message_filters/__init__.py, ros2/message_filters@361e42c7 (rolling; jazzy and
    humble differ in style only).
    """

    def __init__(self, slop_ns: int, *, queue: int = 10, missing_depth: str = 'wait',
                 missing_after_ns: int = 500_000_000) -> None:
        assert missing_depth in MISSING_DEPTH, missing_depth
        self._filters = _import_message_filters()
        self._slop_s = slop_ns / 1e9
        self._queue = queue
        self._missing_depth = missing_depth
        self._missing_after_ns = missing_after_ns
        self._alone_since_ns: int | None = None
        self._pairs: list[tuple[C, D]] = []
        self._colour: _Stream[C] = _Stream()
        self._depth: _Stream[D] = _Stream()
        self._resets = 0
        self._gap_sum_ns = 0
        self._gap_max_ns = 0
        self.alone = 0
        self.no_depth = 0
        self.depth_is_silent = False
        self._connect()

    def add_colour(self, stamp_ns: int, item: C, now_ns: int) -> list[tuple[C, D | None]]:
        """Offer a colour item; return the pair it completes, or what goes out without depth."""
        if self._alone_since_ns is None or now_ns < self._alone_since_ns:
            self._alone_since_ns = now_ns
        return [*self._add(self._colour, stamp_ns, item), *self.tick(now_ns)]

    def add_depth(self, stamp_ns: int, item: D, now_ns: int) -> list[tuple[C, D | None]]:
        """Offer a depth item; return the pair it completes, if any."""
        self._alone_since_ns = None
        self.depth_is_silent = False
        return [*self._add(self._depth, stamp_ns, item)]

    def tick(self, now_ns: int) -> list[tuple[C, D | None]]:
        """Return the colour items that need not wait any longer because depth is silent."""
        if self._alone_since_ns is None:
            return []
        self.depth_is_silent = now_ns - self._alone_since_ns > self._missing_after_ns
        if not self.depth_is_silent or self._missing_depth == 'wait' or not self._colour.waiting:
            return []
        waiting = sorted(self._colour.waiting, key=lambda item: item.header.stamp.nanoseconds)
        items = [envelope.item for envelope in waiting]
        self._colour.released += len(items)
        self._connect()
        if self._missing_depth == 'drop':
            self.no_depth += len(items)
            return []
        self.alone += len(items)
        return [(item, None) for item in items]

    def flush(self) -> list[tuple[C, D | None]]:
        """Return nothing: here every pair comes out when its second half comes in."""
        for stream in (self._colour, self._depth):
            stream.unpaired += len(stream.waiting)
        self._connect()
        return []

    def reset(self) -> None:
        """Empty both queues because time starts anew."""
        self._resets += 1
        for stream in (self._colour, self._depth):
            stream.reset += len(stream.waiting)
        self._connect()

    @property
    def counts(self) -> PairCounts:
        """What happened so far; `overflow` is all that message_filters let go."""
        pairs = self._colour.paired
        return PairCounts(a=self._colour.counts, b=self._depth.counts, pairs=pairs,
                          resets=self._resets,
                          gap_mean_ns=self._gap_sum_ns / pairs if pairs else 0.0,
                          gap_max_ns=self._gap_max_ns)

    def _connect(self) -> None:
        """Begin with empty queues; message_filters has no way to empty the old ones."""
        for stream in (self._colour, self._depth):
            stream.entrance = self._filters.SimpleFilter()
            stream.waiting.clear()
        self._synchronizer = self._filters.ApproximateTimeSynchronizer(
            [self._colour.entrance, self._depth.entrance], self._queue, self._slop_s)
        self._synchronizer.registerCallback(self._collect)

    def _add(self, stream: '_Stream[T]', stamp_ns: int, item: T) -> list[tuple[C, D]]:
        stream.offered += 1
        if stamp_ns < 0:
            stream.unpaired += 1  # rclpy has no time before 1970
            return []
        envelope = _Envelope(_Header(Time(nanoseconds=stamp_ns)), item)
        stream.waiting.add(envelope)
        stream.entrance.signalMessage(envelope)
        pairs, self._pairs = self._pairs, []
        return pairs

    def _collect(self, colour: '_Envelope[C]', depth: '_Envelope[D]') -> None:
        gap_ns = abs(colour.header.stamp.nanoseconds - depth.header.stamp.nanoseconds)
        self._gap_sum_ns += gap_ns
        self._gap_max_ns = max(self._gap_max_ns, gap_ns)
        self._pairs.append((self._colour.take(colour), self._depth.take(depth)))


@dataclass(frozen=True, slots=True)
class _Header:
    stamp: Time


@dataclass(frozen=True, eq=False)
class _Envelope(Generic[T]):
    """What message_filters takes for a message."""

    header: _Header
    item: T


class _Stream(Generic[T]):
    """Where one stream goes in, and its counts."""

    def __init__(self) -> None:
        self.entrance: Any = None
        self.offered = self.paired = self.unpaired = self.reset = self.released = 0
        # message_filters tells nobody what it drops, but nothing else keeps what it has.
        self.waiting: WeakSet[_Envelope[T]] = WeakSet()

    def take(self, envelope: '_Envelope[T]') -> T:
        """Return the item of an envelope that found its partner."""
        self.paired += 1
        return envelope.item

    @property
    def counts(self) -> StreamCounts:
        """An unchanging copy of the counts."""
        waiting = len(self.waiting)
        known = self.paired + self.unpaired + self.reset + self.released + waiting
        return StreamCounts(offered=self.offered, paired=self.paired, unpaired=self.unpaired,
                            overflow=self.offered - known, reset=self.reset, duplicate=0,
                            released=self.released, waiting=waiting)


def _import_message_filters() -> Any:
    try:
        return importlib.import_module('message_filters')
    except ModuleNotFoundError as error:
        distribution = os.environ.get('ROS_DISTRO', 'jazzy')
        raise FilterError("synchronizer is 'message_filters', but that is not installed; sudo apt "
                          f"install ros-{distribution}-message-filters, or set synchronizer to "
                          "'pairer'") from error
