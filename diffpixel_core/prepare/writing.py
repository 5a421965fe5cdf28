# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that appears only once it is whole, and goes on where it was interrupted."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.whole_file import PART, write_whole

RECORD = 'prepared.json'
_PARTIAL = '.partial'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # a tenth larger than the best, four times as fast


class PrepareError(DiffPixelError):
    """A data set that cannot be prepared: another file, a damaged one, or nowhere to put it."""


class GrowingFolder:
    """The folder `output`, written under the name `output.partial` until it is whole.

    Args:
        output: The folder to be.
        record: What decides its content; kept in it as `prepared.json`. A folder that was begun
            with the same record is completed.

    Attributes:
        path: Where to write.
        complete: Whether `output` is there already, with the same record.

    Raises:
        PrepareError: If `output` or its partial folder holds something else.
    """

    def __init__(self, output: Path, record: Mapping[str, Any]) -> None:
        output = output.resolve()  # '.' has no name
        self._output = output
        self.path = output.with_name(output.name + _PARTIAL)
        self.complete = False
        if _is_used(output):
            if _read(output / RECORD) != record:
                raise PrepareError(f'{output} is there already and was not prepared from this '
                                   'file; remove it, or choose another --output')
            self.complete = True
        elif _is_used(self.path) and _read(self.path / RECORD) != record:
            raise PrepareError(f'{self.path} was begun from another file; remove it, or choose '
                               'another --output')
        elif not _is_used(self.path):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _cannot(self.path, error) from error
            self.write_text(RECORD, json.dumps(record, indent=2) + '\n')

    def has(self, name: str) -> bool:
        """Return whether a file is there, whole."""
        path = self.path / name
        return path.is_file() and path.stat().st_size > 0

    def write_png(self, name: str, image: npt.NDArray[Any]) -> None:
        """Write `(H, W)` uint8 or uint16, or `(H, W, 3)` uint8 RGB, and the folders above it.

        Raises:
            PrepareError: If there is no room, or no permission.
        """
        pixels = image[..., ::-1] if image.ndim == 3 else image
        done, data = cv2.imencode('.png', np.ascontiguousarray(pixels), _QUICK)
        assert done
        self._write(name, data.tobytes())

    def write_text(self, name: str, text: str) -> None:
        """Write a text file; raises what `write_png` does."""
        self._write(name, text.encode())

    def finish(self) -> None:
        """Give the folder its name: all of it is there.

        Raises:
            PrepareError: If it cannot be renamed.
        """
        try:
            for leftover in self.path.rglob(f'.*{PART}'):  # of a run that was killed
                leftover.unlink()
            self.path.rename(self._output)
        except OSError as error:
            raise PrepareError(f'cannot rename {self.path} to {self._output.name} '
                               f'({error.strerror}); it is complete, rename it by hand') from error

    def _write(self, name: str, data: bytes) -> None:
        path = self.path / name
        try:
            write_whole(path, data)
        except OSError as error:
            raise _cannot(path, error) from error


def _is_used(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _read(record: Path) -> Any:
    try:
        return json.loads(record.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None


def _cannot(path: Path, error: OSError) -> PrepareError:
    remedy = ('free some space, then run the same command again: it goes on where it stopped'
              if error.errno in _FULL else 'choose another --output')
    return PrepareError(f'cannot write {path} ({error.strerror}); {remedy}')
