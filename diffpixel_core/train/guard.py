# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What ends a run early: mistakes and requests to stop."""

import logging
import signal
import time
from types import FrameType
from typing import Any

from diffpixel_core.errors import DiffPixelError, StoppedError

logger = logging.getLogger(__name__)

_GRACE_S = 3.0  # launchers pass a Ctrl-C on that the terminal has already sent to everyone


class TrainError(DiffPixelError):
    """A run that cannot start, go on or be resumed."""


class TrainingInterruptedError(TrainError, StoppedError):
    """The run was asked to stop; its checkpoint is written."""


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a flag while it is entered.

    One more of them, some seconds later, acts at once.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._earlier: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether someone asked to stop."""
        return self._asked_at is not None

    def __enter__(self) -> 'StopRequest':
        """Take over both signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._earlier[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            logger.warning('%s: stopping after this step, with a checkpoint; once more, in some '
                           'seconds, stops at once, without', signal.Signals(number).name)
        elif now - self._asked_at > _GRACE_S:
            raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        """Give both signals back."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
