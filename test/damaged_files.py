# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Files as a failing disk or an interrupted copy leaves them; the same ones for a number."""

from pathlib import Path

import numpy as np

PLACES = range(20)


def damage(folder: Path, place: int) -> Path:
    """Change a byte of one of a folder's files, or cut it short, and return the file.

    Args:
        folder: Its files take turns.
        place: One of `PLACES`; decides which file, where, and how.
    """
    draw = np.random.default_rng(place)
    files = sorted(folder.iterdir())
    file = files[place % len(files)]
    content = bytearray(file.read_bytes())
    at = int(draw.integers(len(content)))
    if place < 12:
        content[at] ^= int(draw.integers(1, 256))
    else:
        del content[at:]
    file.write_bytes(content)
    return file
