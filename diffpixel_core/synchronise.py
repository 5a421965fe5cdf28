# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Synchronise colour with depth, and decide what becomes of colour when no depth comes.

    wait      colour waits for depth as long as the queue has room; nothing comes out without depth
    rgb_only  colour goes on alone once depth has been silent for a while, until depth is back
    drop      colour is dropped once depth has been silent for a while, so that nothing old waits

A colour image without a partner while depth does arrive, as with depth at half rate, is unpaired
under every policy: labels that alternate between two and one modality would flicker.
"""

from typing import Generic, TypeVar

from diffpixel_core.pairing import PairCounts, Pairer, PairingError

C = TypeVar('C')
D = TypeVar('D')
MISSING_DEPTH = ('wait', 'rgb_only', 'drop')


class Synchroniser(Generic[C, D]):
    """Turn stamped colour and depth items into pairs; the same live and in bag replay.

    Not thread-safe: feed it from one thread.

    Args:
        slop_ns: Largest stamp difference of a pair, inclusive.
        queue: Items of a stream that may wait for a partner.
        jump_back_ns: A stamp this far back starts anew, as a looped bag does.
        missing_depth: One of `MISSING_DEPTH`, see above.
        missing_after_ns: How long colour may come without any depth before depth counts as silent.

    Attributes:
        alone: Colour items that came out without depth.
        no_depth: Colour items dropped because depth was silent.
        depth_is_silent: Whether that was so when the last colour item came.

    Raises:
        PairingError: If an argument is out of range.
    """

    def __init__(self, slop_ns: int, *, queue: int = 10, jump_back_ns: int = 500_000_000,
                 missing_depth: str = 'wait', missing_after_ns: int = 500_000_000) -> None:
        if missing_depth not in MISSING_DEPTH or missing_after_ns < 0:
            raise PairingError(f'cannot synchronise with missing_depth={missing_depth!r}, '
                               f'missing_after_ns={missing_after_ns}: choose one of '
                               f'{", ".join(MISSING_DEPTH)} and a time that is not negative')
        self._pairer: Pairer[C, D] = Pairer(slop_ns, queue=queue, jump_back_ns=jump_back_ns)
        self._missing_depth = missing_depth
        self._missing_after_ns = missing_after_ns
        self._alone_since_ns: int | None = None  # arrival of the first colour since the last depth
        self.alone = 0
        self.no_depth = 0
        self.depth_is_silent = False

    def add_colour(self, stamp_ns: int, item: C, now_ns: int) -> list[tuple[C, D | None]]:
        """Offer a colour item; return what became certain, oldest first.

        Args:
            stamp_ns: Its capture time.
            item: Whatever is to come out again.
            now_ns: When it arrived, on any clock that does not depend on the stamps.
        """
        if self._alone_since_ns is None or now_ns < self._alone_since_ns:
            self._alone_since_ns = now_ns
        return [*self._pairer.add_a(stamp_ns, item), *self.tick(now_ns)]

    def add_depth(self, stamp_ns: int, item: D, now_ns: int) -> list[tuple[C, D | None]]:
        """Offer a depth item; return what became certain, oldest first."""
        self._alone_since_ns = None
        self.depth_is_silent = False
        return [*self._pairer.add_b(stamp_ns, item)]

    def tick(self, now_ns: int) -> list[tuple[C, D | None]]:
        """Return the colour items that need not wait any longer because depth is silent."""
        # Not since the last depth item: in a slow stream that is long ago when colour comes first.
        if self._alone_since_ns is None:
            return []
        self.depth_is_silent = now_ns - self._alone_since_ns > self._missing_after_ns
        if not self.depth_is_silent or self._missing_depth == 'wait':
            return []
        items = self._pairer.release_a()
        if self._missing_depth == 'drop':
            self.no_depth += len(items)
            return []
        self.alone += len(items)
        return [(item, None) for item in items]

    def flush(self) -> list[tuple[C, D | None]]:
        """Return the pairs still open at the end of a recording; what is left over is unpaired."""
        return [*self._pairer.flush()]

    def reset(self) -> None:
        """Empty both queues because time starts anew."""
        self._pairer.reset()

    @property
    def counts(self) -> PairCounts:
        """What the pairing has done so far; `counts.a.released` is `alone` + `no_depth`."""
        return self._pairer.counts
