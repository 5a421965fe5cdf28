# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What came of a replay of one or many bags."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpixel_core.replay.settings import ReplaySettings
from diffpixel_core.replay.spread import BagRun
from diffpixel_core.replay.tally import Tally, merged

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


@dataclass(frozen=True)
class ReplayResult:
    """What came of a replay.

    Attributes:
        runs: How each bag ended, in the order in which they were given; of an interrupted replay
            those that had ended.
        bags: All bags that were given, likewise.
        settings: How they were replayed.
        how: What replayed them, such as `offline`.
        seconds: How long all took together.
        command: How the user called it.
    """

    runs: tuple[BagRun, ...]
    bags: tuple[str, ...]
    settings: ReplaySettings
    how: str
    seconds: float
    command: str

    @property
    def names(self) -> dict[str, str]:
        """A name for each bag, no two alike, by its path as it was given."""
        return dict(zip(self.bags, unique_names(self.bags), strict=True))

    @property
    def tallies(self) -> list[Tally]:
        """Those of the bags that could be replayed."""
        return [run.tally for run in self.runs if run.tally is not None]

    @property
    def total(self) -> Tally:
        """All bags as one; of a single bag, its own tally."""
        tallies = self.tallies
        return tallies[0] if len(tallies) == 1 else merged(tallies)

    @property
    def facts(self) -> dict[str, str]:
        """Network, engine, device and precision, those of the first bag that could be replayed."""
        return dict(next(run.facts for run in self.runs if run.tally is not None))

    @property
    def passed(self) -> bool:
        """Whether every pair is accounted for."""
        return all(tally.unexplained == 0 for tally in self.tallies)

    @property
    def problem(self) -> str:
        """What did not come to what was asked for, in one line; empty if all did."""
        failed = [self.names[self.bags[run.index]] for run in self.runs if run.failure]
        problems = []
        if len(self.runs) < len(self.bags):
            problems.append(f'interrupted after {len(self.runs)} of {len(self.bags)} bags')
        if failed:
            problems.append(f'{len(failed)} of {len(self.bags)} bags could not be replayed: '
                            f'{", ".join(failed)}')
        if problems:
            return '; '.join(problems)
        unscored = [tally for tally in self.tallies if not tally.scored]
        if self.settings.truth and unscored:
            return (f'truth {self.settings.truth} was given but nothing of {unscored[0].bag} was '
                    f'scored: {"; ".join(unscored[0].notes) or "no label image fits"}')
        return ''


def unique_names(bags: Sequence[str]) -> list[str]:
    """Return a name for each bag, no two alike: `run`, `run-2`."""
    names: list[str] = []
    for bag in bags:
        full = Path(bag).resolve()
        name = full.stem if full.suffix in _BAG_SUFFIXES else full.name
        number = 2
        unique = name
        while unique in names:
            unique = f'{name}-{number}'
            number += 1
        names.append(unique)
    return names
