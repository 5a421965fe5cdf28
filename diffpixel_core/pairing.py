# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Pair colour and depth images by capture time: one object for the live node and for bag replay.

Two streams of stamped items come in, in any interleaving; pairs of nearest stamps come out.

    stream a   ──●────────●────────●──────       each ● is paired with its nearest ○,
    stream b   ───○────────────────○──────       an item without a partner is counted and let go

Bags are played in loops; cameras run at unequal rates, drop frames, stop and come back. Whatever
happens, each item offered is in exactly one place: paired, dropped under a named cause, or waiting.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

from diffpixel_core.errors import DiffPixelError

A = TypeVar('A')
B = TypeVar('B')
T = TypeVar('T')

# Intervals remembered to tell a stream's period: half a second of a camera at 30 Hz.
_INTERVALS = 16


class PairingError(DiffPixelError):
    """Settings with which nothing could ever be paired."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """Where the items of one stream are; `offered` is the sum of all the others.

    Attributes:
        offered: Items given to the pairer.
        paired: Items that found their partner.
        unpaired: Dropped because no partner within the slop can come any more.
        overflow: Dropped because the queue was full, as when the other stream is silent.
        reset: Dropped because time jumped back while they waited.
        duplicate: Dropped because an item with the same stamp was waiting already.
        released: Taken back by whoever feeds the pairer, to be used without a partner.
        waiting: Items in the queue now.
    """

    offered: int
    paired: int
    unpaired: int
    overflow: int
    reset: int
    duplicate: int
    released: int
    waiting: int

    @property
    def dropped(self) -> int:
        """Items that will never be paired, whatever the cause."""
        return self.unpaired + self.overflow + self.reset + self.duplicate


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What a pairer has done so far.

    Attributes:
        a: The items of stream a.
        b: The items of stream b.
        pairs: Pairs that came out.
        resets: How often time jumped back, or `reset` was called.
        gap_mean_ns: Mean stamp difference of the pairs, 0 without any.
        gap_max_ns: Largest stamp difference of the pairs.
    """

    a: StreamCounts
    b: StreamCounts
    pairs: int
    resets: int
    gap_mean_ns: float
    gap_max_ns: int


class Pairer(Generic[A, B]):
    """Pair the items of two streams whose stamps are nearest to each other.

    The smallest gap is paired first, then the next smallest, and so on; pairs never cross, and no
    gap exceeds the slop. A pair comes out as soon as no message to come can change it. That is
    at once in the usual case: a gap of at most half a period cannot be beaten by the next frame,
    so synchronisation adds no frame of latency. Not thread-safe: feed it from one thread.

    Args:
        slop_ns: Largest stamp difference of a pair, inclusive; 0 pairs equal stamps only.
        queue: Items of a stream that may wait for a partner; the oldest is dropped first.
        jump_back_ns: A stamp this much older than its stream's newest is a new lap of a bag or a
            clock set back; what waits beyond it is dropped. Anything less is taken as reordering.

    Raises:
        PairingError: If an argument is out of range.
    """

    def __init__(self, slop_ns: int, *, queue: int = 10, jump_back_ns: int = 500_000_000) -> None:
        """Start with empty queues and all counts at zero."""
        if slop_ns < 0 or queue < 1 or jump_back_ns < 0:
            raise PairingError(f'cannot pair with slop_ns={slop_ns}, queue={queue}, '
                               f'jump_back_ns={jump_back_ns}: queue must be at least 1 and the '
                               'times not negative')
        self.slop_ns = slop_ns
        self.jump_back_ns = jump_back_ns
        self._a: _Stream[A] = _Stream(queue)
        self._b: _Stream[B] = _Stream(queue)
        self._ahead: _Stream[Any] | None = None  # has jumped back while the other has not yet
        self._resets = 0
        self._gap_sum_ns = 0
        self._gap_max_ns = 0

    def add_a(self, stamp_ns: int, item: A) -> list[tuple[A, B]]:
        """Offer an item of stream a; return the pairs that became certain, oldest first."""
        return self._add(self._a, stamp_ns, item)

    def add_b(self, stamp_ns: int, item: B) -> list[tuple[A, B]]:
        """Offer an item of stream b; return the pairs that became certain, oldest first."""
        return self._add(self._b, stamp_ns, item)

    def flush(self) -> list[tuple[A, B]]:
        """Return the pairs still open at the end of a recording; what is left over is unpaired."""
        pairs = self._settle(last=True)
        for stream in (self._a, self._b):
            stream.unpaired += stream.forget()
        return pairs

    def release_a(self) -> list[A]:
        """Take back all items of stream a that wait, oldest first; stream b has gone silent."""
        return self._a.release()

    def reset(self) -> None:
        """Empty both queues because time starts anew; a node calls it when its clock jumps."""
        self._resets += 1
        self._ahead = None
        for stream in (self._a, self._b):
            stream.reset += stream.forget()

    @property
    def counts(self) -> PairCounts:
        """Everything that happened since the start, as an unchanging copy."""
        pairs = self._a.paired
        return PairCounts(a=self._a.counts, b=self._b.counts, pairs=pairs, resets=self._resets,
                          gap_mean_ns=self._gap_sum_ns / pairs if pairs else 0.0,
                          gap_max_ns=self._gap_max_ns)

    def _add(self, stream: '_Stream[T]', stamp_ns: int, item: T) -> list[tuple[A, B]]:
        if stream.newest_ns is not None and stamp_ns < stream.newest_ns - self.jump_back_ns:
            self._begin_again(stream, stamp_ns)
        stream.insert(stamp_ns, item)
        pairs = self._settle(last=False)
        stream.trim()  # Only now: the newcomer may just have found its partner.
        return pairs

    def _begin_again(self, stream: '_Stream[Any]', stamp_ns: int) -> None:
        """Let go of what waits, because a stream has jumped back to a stamp.

        Where the other stream has jumped before, its items are of the new lap already, and stay.
        Else its newest item stays if it does not lie beyond: after a single wrong stamp from the
        future, the good item that follows must find its partner, which came just before.
        """
        other = self._b if stream is self._a else self._a
        stream.reset += stream.forget()
        if self._ahead is other:
            self._ahead = None
            return
        self._resets += 1
        self._ahead = stream
        other.reset += other.forget_but_newest(until_ns=stamp_ns + self.jump_back_ns)

    def _settle(self, *, last: bool) -> list[tuple[A, B]]:
        """Take out of the queues all that can be decided, oldest first."""
        a, b = self._a, self._b
        pairs: list[tuple[A, B]] = []
        while a.waiting and b.waiting:
            gap = b.waiting[0][0] - a.waiting[0][0]
            older, younger = (a, b) if gap >= 0 else (b, a)
            belong = abs(gap) <= self.slop_ns and _heads_belong(older, younger, last=last)
            if belong is None:
                break
            if belong:
                pairs.append((a.take(), b.take()))
                self._ahead = None
                self._gap_sum_ns += abs(gap)
                self._gap_max_ns = max(self._gap_max_ns, abs(gap))
            elif not last and (len(older.waiting) == 1 or older is self._ahead) \
                    and younger.waiting[0][0] - older.waiting[-1][0] > self.jump_back_ns:
                # The younger head may be the end of the old lap, or a single wrong stamp from the
                # future: what is older waits until the other stream goes on.
                break
            else:
                # All that follows in the other stream is further away still.
                older.drop_head()
        return pairs


def _heads_belong(older: '_Stream[Any]', younger: '_Stream[Any]', *, last: bool) -> bool | None:
    """Tell whether two heads are a pair; None while a message to come may change the answer.

    The younger head may prefer the next item of the older one's stream, its rival. But that rival
    may have a still nearer partner of its own, and so on: follow the ever smaller gaps to the
    smallest. That one is a pair; going back from there, every second one is.

    Args:
        older: The stream whose head has the smaller stamp.
        younger: The other stream.
        last: True if no message will follow.
    """
    left_ns, right_ns = older.waiting[0][0], younger.waiting[0][0]
    belong = True
    place = 0
    while True:
        place += 1
        for stream in (older, younger):
            gap = right_ns - left_ns
            if place == len(stream.waiting):
                # The rival is yet to come, a period after `left` or later.
                return belong if last or 2 * gap <= stream.period_ns else None
            rival_ns = stream.waiting[place][0]
            if rival_ns - right_ns >= gap:
                return belong
            # A rival between the two makes the next gap negative, which nothing can beat.
            left_ns, right_ns, belong = right_ns, rival_ns, not belong


class _Stream(Generic[T]):
    """The items of one stream that wait for a partner, in stamp order, and its counts."""

    def __init__(self, size: int) -> None:
        self.waiting: deque[tuple[int, T]] = deque()
        self.newest_ns: int | None = None
        self.period_ns = 0  # The smallest recent interval; 0 promises nothing.
        self.offered = self.paired = self.unpaired = 0
        self.overflow = self.reset = self.duplicate = self.released = 0
        self._size = size
        self._intervals_ns: deque[int] = deque(maxlen=_INTERVALS)

    def insert(self, stamp_ns: int, item: T) -> None:
        """Let an item wait at its place in time, unless its stamp is there already."""
        self.offered += 1
        if self.newest_ns is None or stamp_ns > self.newest_ns:
            if self.newest_ns is not None:
                # The smallest, not the mean: after a lost frame the next one may come on time.
                self._intervals_ns.append(stamp_ns - self.newest_ns)
                self.period_ns = min(self._intervals_ns)
            self.newest_ns = stamp_ns
            self.waiting.append((stamp_ns, item))
            return
        place = bisect_left(self.waiting, stamp_ns, key=itemgetter(0))
        if place < len(self.waiting) and self.waiting[place][0] == stamp_ns:
            self.duplicate += 1
        else:
            self.waiting.insert(place, (stamp_ns, item))

    def take(self) -> T:
        """Return the head, which found its partner."""
        self.paired += 1
        return self.waiting.popleft()[1]

    def drop_head(self) -> None:
        """Let the head go unpaired."""
        self.unpaired += 1
        self.waiting.popleft()

    def trim(self) -> None:
        """Drop the oldest item if there are more than may wait."""
        if len(self.waiting) > self._size:
            self.overflow += 1
            self.waiting.popleft()

    def release(self) -> list[T]:
        """Return all items and empty the queue; stamps go on from where they are."""
        items = [item for _, item in self.waiting]
        self.released += len(items)
        self.waiting.clear()
        return items

    def forget_but_newest(self, *, until_ns: int) -> int:
        """Drop all items but the newest up to a stamp; return how many were dropped."""
        place = bisect_right(self.waiting, until_ns, key=itemgetter(0))
        kept = self.waiting[place - 1] if place else None
        count = self.forget()
        if kept is None:
            return count
        self.waiting.append(kept)
        self.newest_ns = kept[0]
        return count - 1

    def forget(self) -> int:
        """Empty the queue and return how many items were in it; the period stays known."""
        count = len(self.waiting)
        self.waiting.clear()
        self.newest_ns = None
        return count

    @property
    def counts(self) -> StreamCounts:
        """An unchanging copy of the counts."""
        return StreamCounts(offered=self.offered, paired=self.paired, unpaired=self.unpaired,
                            overflow=self.overflow, reset=self.reset, duplicate=self.duplicate,
                            released=self.released, waiting=len(self.waiting))
