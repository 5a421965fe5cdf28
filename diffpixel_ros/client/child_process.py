# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ChildProcess: a Python module run in a process of its own, with a log, ended without a trace."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import diffpixel_ros
from diffpixel_core.errors import DiffPixelError

ROOT = Path(diffpixel_ros.__file__).resolve().parents[1]


class ChildProcess:
    """`python -m MODULE ARGUMENTS`; a context manager.

    Args:
        module: Dotted name of the module.
        arguments: What follows it on the command line.
        log: File for what it writes.
        name: What it is called in messages, such as `the node`.
        error: Raised by `check`.

    Attributes:
        log: The file.
        exit_code: Its exit code once it has ended, else None.
        stop_s: Seconds it took to end after it was asked to.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path, *, name: str,
                 error: type[DiffPixelError]) -> None:
        self.log = log
        self.exit_code: int | None = None
        self.stop_s = 0.0
        self._command = [sys.executable, '-m', module, *arguments]
        self._name = name
        self._error = error
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> 'ChildProcess':
        """Start the process."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
        with self.log.open('wb') as output:
            # A session of its own: Ctrl-C at the terminal reaches us alone, and we end the child.
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env={**os.environ, 'PYTHONPATH': path})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End the process if it still runs."""
        self.stop()

    @property
    def pid(self) -> int:
        """The number of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Make sure that the process runs.

        Raises:
            DiffPixelError: Of the kind given, if it has ended, with its last words.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            self.exit_code = self._process.returncode
            raise self._error(f'{self._name} ended with exit code {self.exit_code}: '
                              f'{self.last_words()}; its whole log is {self.log}')

    def last_words(self) -> str:
        """Return the last error in the log, or its last line, without the logger's prefix."""
        lines = [line for line in self.log.read_text(errors='replace').splitlines()
                 if line.strip()]
        errors = [line for line in lines if re.search(r'\[(ERROR|FATAL)\]|^\w*Error\b', line)]
        line = (errors or lines or ['it wrote nothing'])[-1]
        return re.sub(r'^(\[[^\]]*\]:? ?)+', '', line).strip()

    def stop(self, *, patience_s: float = 15.0) -> None:
        """End the process by SIGINT, as Ctrl-C would; by force if it does not listen."""
        process = self._process
        if process is None:
            return
        started = time.monotonic()
        try:
            for number, seconds in ((signal.SIGINT, patience_s), (signal.SIGTERM, 3.0)):
                if process.poll() is not None:
                    break
                process.send_signal(number)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
            self.exit_code = process.wait()
            self.stop_s = time.monotonic() - started
            self._process = None

    def kill(self) -> None:
        """End the process by SIGKILL, as the kernel does when memory is short."""
        assert self._process is not None
        self._process.kill()
        self.exit_code = self._process.wait()
        self._process = None
