# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Recent: what was made for the last few frame sizes."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar('Key')
Value = TypeVar('Value')
FRAME_SIZES = 4  # a robot has one or two cameras; each size costs as much memory as the first


class Recent(Generic[Key, Value]):
    """The values of the last few keys that were asked for.

    Args:
        limit: How many; the one not used for longest goes first.
    """

    def __init__(self, limit: int = FRAME_SIZES) -> None:
        self._limit = limit
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, or None if it was never there or has gone."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, instead of the oldest if there are enough."""
        while len(self._values) >= self._limit:
            self._values.popitem(last=False)
        self._values[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
