# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How a command ends, and how it writes its results."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.whole_file import WriteError, write_whole

if TYPE_CHECKING:
    from rich.console import Console


class UsageError(DiffPixelError):
    """Options that do not go together."""


class FailedChecksError(Exception):
    """The demo ran, but not everything that came out was right: our fault, not the user's."""


def write_text(file: Path, text: str) -> None:
    """Write a result file, whole or not at all; a pipe or device gets the text as it is."""
    if file.exists() and not file.is_file():  # nothing may take the place of /dev/null
        try:
            file.write_text(text)
        except OSError as error:
            raise WriteError(file, error) from error
    else:
        write_whole(file.resolve(), text)


def require_writable(file: Path) -> None:
    """Refuse a result file that could not be written, before the work begins.

    Raises:
        UsageError: If its folder does not exist, or it or its folder may not be written.
    """
    if not file.parent.is_dir():
        raise UsageError(f'cannot write {file}: there is no folder {file.parent}; make it, or '
                         'choose another file')
    if file.is_dir():
        raise UsageError(f'cannot write {file}: it is a folder; name a file in it')
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f'cannot write {file}: no permission; choose another file')


def make_folder(folder: Path) -> None:
    """Make an output folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'cannot make the folder {folder}: {error.strerror}; choose another '
                         '--output') from error


def stderr() -> 'Console':
    """Return a console for progress, which does not mix with results."""
    from rich.console import Console
    return Console(stderr=True)
