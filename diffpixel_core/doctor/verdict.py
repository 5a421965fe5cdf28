# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the doctor says: a plain sentence, how bad it is, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal['error', 'warning', 'note']
SEVERITIES: tuple[Severity, ...] = ('error', 'warning', 'note')
_FILES_NAMED = 20
_SINGULAR = {'hold': 'holds', 'are': 'is', 'have': 'has', 'show': 'shows', 'lie': 'lies'}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding.

    Attributes:
        severity: 'error' = training on this gives wrong results or stops; 'warning' = look at it;
            'note' = good to know.
        text: The finding, a plain sentence.
        remedy: What to do; '' where nothing is to be done.
        files: Files it is about, at most twenty.
    """

    severity: Severity
    text: str
    remedy: str = ''
    files: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain types."""
        return {'severity': self.severity, 'text': self.text, 'remedy': self.remedy,
                'files': list(self.files)}


def named(paths: Iterable[Path], root: Path) -> tuple[str, ...]:
    """Return the first files of many, as seen from the folder of the data set."""
    return tuple(within(path, root) for path in list(paths)[:_FILES_NAMED])


def within(path: Path, root: Path) -> str:
    """Return a path as seen from the folder of the data set, whole if it lies elsewhere."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def counted(number: int, total: int, what: str, verb: str) -> str:
    """Return such as 'all 40 frames have', '1 of 40 frames has', 'the only frame has'."""
    if total == 1:
        return f'the only {what} {_SINGULAR[verb]}'
    if number == total:
        return f'{"both" if total == 2 else f"all {total}"} {what}s {verb}'
    return f'{number} of {total} {what}s {_SINGULAR[verb] if number == 1 else verb}'


def number_of(number: int, what: str) -> str:
    """Return such as '1 file', '2 files'."""
    return f'{number} {what}{"s" * (number != 1)}'


def nothing_wrong(verdicts: Sequence[Verdict]) -> bool:
    """Return whether there are notes at most."""
    return all(verdict.severity == 'note' for verdict in verdicts)


def sorted_by_severity(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the worst first, otherwise in the order given."""
    return sorted(verdicts, key=lambda verdict: SEVERITIES.index(verdict.severity))
