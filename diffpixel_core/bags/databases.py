# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SQLite files that `rosbags` would misread: copied and put in order, the original not touched.

`rosbags` opens them as immutable: what an aborted recorder left in the write-ahead log or in the
rollback journal beside the file would be passed over.
"""

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path

MAGIC = b'SQLite format 3\0'


def refuse_short_database(file: Path) -> None:
    """Refuse a SQLite file that lacks its end, which SQLite itself would read as zeros.

    Raises:
        ValueError: If bytes are missing.

    Source: https://www.sqlite.org/fileformat.html, section 1.3, offsets 16, 24, 28 and 92.
    """
    with file.open('rb') as stream:
        header = stream.read(100)
    if len(header) < 100:
        raise ValueError(f'{file.name} has only {len(header)} bytes')
    page_bytes, = struct.unpack_from('>H', header, 16)
    change, pages = struct.unpack_from('>II', header, 24)
    size, promised = file.stat().st_size, pages * (65536 if page_bytes == 1 else page_bytes)
    if header[92:96] == change.to_bytes(4, 'big') and size < promised:
        raise ValueError(f'{file.name} has {size} of its {promised} bytes')


def leftovers(file: Path) -> list[Path]:
    """Return the files beside a database in which its recorder left messages."""
    beside = [file.with_name(file.name + suffix) for suffix in ('-wal', '-journal')]
    return [path for path in beside if path.is_file() and path.stat().st_size]


def mended_database(file: Path, folder: Path) -> Path:
    """Return a copy with the leftovers worked in and no definitions in unknown languages.

    Args:
        file: The database.
        folder: Where the copy goes.

    Raises:
        sqlite3.Error: If it is damaged.
    """
    copy = folder / file.name
    for path in (file, *leftovers(file)):
        shutil.copyfile(path, folder / path.name)
    with contextlib.closing(sqlite3.connect(copy)) as database:
        # Opening rolls back or recovers; leaving the log behind needs this mode.
        database.execute('PRAGMA journal_mode = DELETE')
        if _has_definitions(database):
            database.execute('DELETE FROM message_definitions '
                             "WHERE encoding NOT IN ('ros2msg', 'ros2idl')")
        database.commit()
    return copy


def has_unknown_definitions(file: Path) -> bool:
    """Tell whether a database describes types in a language that `rosbags` stumbles over.

    Raises:
        sqlite3.Error: If it is damaged.
    """
    address = f'{file.absolute().as_uri()}?immutable=1'
    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        return _has_definitions(database) and bool(database.execute(
            'SELECT count(*) FROM message_definitions '
            "WHERE encoding NOT IN ('ros2msg', 'ros2idl')").fetchone()[0])


def recorder_of(file: Path) -> str:
    """Return the release that recorded a database, such as `humble`; '' if it does not say.

    Raises:
        sqlite3.Error: If it is damaged.
    """
    address = f'{file.absolute().as_uri()}?immutable=1'
    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        if not _has_table(database, 'schema'):
            return ''
        row = database.execute('SELECT ros_distro FROM schema').fetchone()
    return str(row[0]) if row else ''


def _has_definitions(database: sqlite3.Connection) -> bool:
    return _has_table(database, 'message_definitions')


def _has_table(database: sqlite3.Connection, name: str) -> bool:
    found = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
                             (name,))
    return found.fetchone() is not None
