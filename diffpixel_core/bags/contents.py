# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a bag holds: messages of topics, in files; and how a damaged one is blamed."""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from rosbags.interfaces import Connection, Qos, QosDurability
from rosbags.typesys.store import Typestore

from diffpixel_core.errors import DiffPixelError

# What parsers raise on bytes they did not expect; the text would tell a user nothing.
_NONSENSE = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError,
             UnicodeError, struct.error)


class BagError(DiffPixelError):
    """A bag that cannot be written, read, or lacks what is asked of it."""


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What a bag holds of one topic: message type, message count, the publishers' QoS."""

    type: str
    count: int
    qos: tuple[Qos, ...]

    @property
    def latched(self) -> bool:
        """Whether late subscribers get the last message too."""
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in self.qos)


class BagMessage(NamedTuple):
    """One recorded message; `raw` is CDR as on the wire, `time_ns` when it was recorded."""

    topic: str
    type: str
    time_ns: int
    raw: bytes


class BagFile(Protocol):
    """One opened file of a bag, whatever its storage.

    Attributes:
        path: Where the user has it.
        connections: Topics with their types and numbers of messages.
        start_ns: When its first message was recorded.
        end_ns: One nanosecond after the last.
    """

    path: Path
    connections: Sequence[Connection]
    start_ns: int
    end_ns: int

    def messages(self, topics: set[str]) -> Iterator[BagMessage]:
        """Yield the messages of some topics, ordered by recording time."""

    def stores(self, kind: str) -> Iterator[Typestore]:
        """Yield what may decode messages of a type, the likeliest first."""

    def obstacle(self, connection: Connection) -> str:
        """Return why the messages of a topic cannot be read, or '' if they can."""


@contextlib.contextmanager
def blaming(path: Path, what: str = '') -> Iterator[None]:
    """Name the bag whatever goes wrong: parsers of damaged bytes raise anything.

    Args:
        path: The bag.
        what: The part that is being read, if not all of it.
    """
    try:
        yield
    except BagError:
        raise
    except Exception as error:
        place = f'{what} in bag' if what else 'bag'
        if isinstance(error, OSError):
            raise BagError(f'cannot read {place} {path}: {error}') from error
        lines = str(error).splitlines()
        reason = (lines[0].rstrip('.') if lines and not isinstance(error, _NONSENSE)
                  else 'the bytes make no sense')
        raise BagError(f'cannot read {place} {path}: {reason}; the bag is damaged or of an '
                       'unknown kind, copy or record it again') from error
