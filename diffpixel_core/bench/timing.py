# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Timing several runners against each other: in turns, in shuffled order, ratios round by round.

A machine's clock and its neighbours change over minutes. Whoever is timed later would win or lose
by it; runners that take turns suffer alike, and a ratio within one round hardly moves.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BLOCK_S = 0.5             # what a runner's turn should last
CALLS = (2, 50)           # fewest and most timed calls of a turn
_WARM_S, _WARM_CALLS = 1.0, 2


class Call(NamedTuple):
    """Milliseconds of one call.

    Attributes:
        network: From images to class scores.
        whole: From images to labels.
    """

    network: float
    whole: float


Runner = Callable[[], Call]


@dataclass(frozen=True, slots=True)
class Timings:
    """Every timed call of a runner, turn by turn."""

    rounds: tuple[tuple[Call, ...], ...]

    def milliseconds(self, part: str = 'network') -> list[float]:
        """Return all calls' milliseconds, `network` or `whole`."""
        return [_part(call, part) for turn in self.rounds for call in turn]

    def median(self, part: str = 'network') -> float:
        """Return the median of all calls, milliseconds."""
        return float(np.median(self.milliseconds(part)))

    def p95(self, part: str = 'network') -> float:
        """Return what 95 % of all calls stay below, milliseconds."""
        return float(np.percentile(self.milliseconds(part), 95))

    def medians(self, part: str = 'network') -> list[float]:
        """Return each turn's median, milliseconds."""
        return [float(np.median([_part(call, part) for call in turn])) for turn in self.rounds]


def speedup(baseline: Timings, other: Timings, part: str = 'network') -> float:
    """Return how many times faster than the baseline: the median of every round's own ratio."""
    return float(np.median(speedups(baseline, other, part)))


def speedups(baseline: Timings, other: Timings, part: str = 'network') -> list[float]:
    """Return how many times faster than the baseline, round by round."""
    return [one / two for one, two in zip(baseline.medians(part), other.medians(part),
                                          strict=True)]


def spread(baseline: Timings, other: Timings, part: str = 'network') -> tuple[float, float]:
    """Return the least and the greatest of the rounds' ratios."""
    found = speedups(baseline, other, part)
    return min(found), max(found)


def warm_up(runner: Runner, *, calls: int = _WARM_CALLS, seconds: float = _WARM_S) -> float:
    """Run until a runner has settled; return the last call's milliseconds.

    Args:
        runner: What to run.
        calls: At least so many.
        seconds: At least so long.
    """
    spent, done = 0.0, 0
    while True:
        call = runner()
        spent, done = spent + call.whole / 1e3, done + 1
        if done >= calls and spent >= seconds:
            return call.whole


def take_turns(runners: Mapping[str, Runner], calls: Mapping[str, int], *, rounds: int, seed: int,
               after_turn: Callable[[str], None] = lambda name: None) -> dict[str, Timings]:
    """Return the timings of runners that are warm.

    Each turn begins with a call that does not count: what the runner before left in the caches is
    not this one's fault.

    Args:
        runners: By name.
        calls: Timed calls of a turn, by name.
        rounds: In each, every runner has one turn.
        seed: Of the order, which is another in every round.
        after_turn: Called with the name of whoever had it.
    """
    draw = random.Random(seed)
    turns: dict[str, list[tuple[Call, ...]]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name in draw.sample(sorted(runners), len(runners)):
            runners[name]()
            turns[name].append(tuple(runners[name]() for _ in range(calls[name])))
            after_turn(name)
    return {name: Timings(tuple(turn)) for name, turn in turns.items()}


def calls_a_turn(milliseconds: float) -> int:
    """Return how many calls of so many milliseconds make a turn."""
    fewest, most = CALLS
    return min(most, max(fewest, round(BLOCK_S * 1e3 / milliseconds)))


def _part(call: Call, part: str) -> float:
    return {'network': call.network, 'whole': call.whole}[part]
