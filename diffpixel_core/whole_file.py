# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, whatever interrupts their writing."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffpixel_core.errors import DiffPixelError

PART = '.part'  # ends the name of a file that is not whole yet; the name begins with a dot


class WriteError(DiffPixelError, OSError):
    """A file that cannot be written; `errno` and `strerror` say why."""

    def __init__(self, path: Path, error: OSError) -> None:
        DiffPixelError.__init__(self, f'cannot write {path} ({error.strerror}); free some space or '
                                      'choose another place')
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        """Return the message; `OSError` would say its number instead."""
        return str(self.args[0])


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a file to write instead, beside `path`; it takes its place when the block ends.

    If the block raises, what was at `path` is still there, and the other file is not.

    Raises:
        OSError: If the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix=PART)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; its folder is made.

    Raises:
        WriteError: If that is impossible, for want of space or permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise WriteError(path, error) from error
