# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files without a usable index: read as if one stood at their end.

A recorder that loses power leaves whole chunks behind, but neither index nor footer, and `rosbags`
reads by index. The file is walked once, and what an orderly end would have said is appended in
memory; nothing is written to the disk.

Source of all layouts here: https://mcap.dev/spec, "Records".
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from rosbags.interfaces.typing import RPath
from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS, _DATA_END, _LAST = 0x07, 0x08, 0x0B, 0x0F, 0x0F
_DEFINITION_ENCODINGS = (b'ros2msg', b'ros2idl', b'omgidl', b'')
_NEVER = 2**63 - 1


@dataclass(slots=True)
class _Chunk:
    """One chunk; `entries` are time and offset of the messages of each channel."""

    position: int
    length: int
    compression: bytes
    compressed_size: int
    size: int
    start_ns: int
    end_ns: int
    entries: dict[int, list[tuple[int, int]]]


@dataclass(slots=True)
class _Walk:
    """What was found from the beginning of the file to the first byte that makes no sense."""

    end: int = 0  # bytes that are used
    is_whole: bool = False  # whether the data section was closed
    schemas: dict[int, bytes] = field(default_factory=dict)
    channels: dict[int, bytes] = field(default_factory=dict)
    chunks: list[_Chunk] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    start_ns: int = _NEVER
    end_ns: int = 0


class MendedMcap:
    """An MCAP file whose index is rebuilt; give `as_path()` to a reader in place of its path.

    Args:
        path: The file.

    Attributes:
        is_whole: Whether the recorder closed the data, so that nothing is missing.
        used: How many bytes of the file, from its beginning, can be read.

    Raises:
        ValueError: If not even the beginning is that of an MCAP file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with path.open('rb') as stream:
            walk = _walk(stream, size)
        self.is_whole = walk.is_whole
        self.used = walk.end
        self._tail = _tail(walk)

    def as_path(self) -> RPath:
        """Return what `rosbags` opens like a path."""
        return cast('RPath', self)

    def open(self, _mode: str = 'rb') -> BinaryIO:
        """Return the file with its index."""
        return io.BufferedReader(_Joined(self._path.open('rb'), self.used, self._tail))

    def __str__(self) -> str:
        """Return the name of the file, for messages."""
        return str(self._path)


class _Joined(io.RawIOBase):
    """The first bytes of a file, followed by others."""

    def __init__(self, stream: BinaryIO, end: int, tail: bytes) -> None:
        self._stream, self._end, self._tail, self._position = stream, end, tail, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte and return its place."""
        base = (0, self._position, self._end + len(self._tail))[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: 'memoryview') -> int:  # type: ignore[override]
        """Read on and return how many bytes."""
        wanted = len(buffer)
        if self._position < self._end:
            self._stream.seek(self._position)
            block = self._stream.read(min(wanted, self._end - self._position))
        else:
            start = self._position - self._end
            block = self._tail[start:start + wanted]
        buffer[:len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def _records(stream: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and length of the content of each whole record; the caller may seek."""
    place = stream.tell()
    while place + 9 <= size:
        stream.seek(place)
        kind, length = struct.unpack('<BQ', stream.read(9))
        if not 0 < kind <= _LAST or place + 9 + length > size:
            return
        yield kind, place + 9, length
        place += 9 + length


def _walk(stream: BinaryIO, size: int) -> _Walk:
    walk = _Walk()
    if stream.read(8) != MAGIC:
        raise ValueError('it does not begin like an mcap file')
    walk.end = 8
    for kind, place, length in _records(stream, size):
        if kind in (_DATA_END, _FOOTER):
            walk.is_whole = True
            break
        try:
            if kind == _CHUNK:
                _take_chunk(walk, stream.read(length), place - 9)
            else:
                _take_record(walk, kind, stream, length)
        except Exception:  # Whatever a decompressor says: from here on nothing can be trusted.
            break
        walk.end = place + length
    return walk


def _take_chunk(walk: _Walk, content: bytes, position: int) -> None:
    start_ns, end_ns, size, checksum, name = struct.unpack_from('<QQQII', content)
    compression = content[32:32 + name]
    compressed_size, = struct.unpack_from('<Q', content, 32 + name)
    data = content[40 + name:40 + name + compressed_size]
    inner = io.BytesIO(decompress(data, compression.decode(), size, checksum))
    entries: dict[int, list[tuple[int, int]]] = {}
    found = _Walk()
    place = 0
    for kind, place, length in _records(inner, size):
        if kind == _MESSAGE:
            channel, _, time_ns = struct.unpack('<HIQ', inner.read(14))
            entries.setdefault(channel, []).append((time_ns, place - 9))
        else:
            _take_record(found, kind, inner, length)
        place += length
    if place != size:
        raise ValueError('a chunk ends within a record')
    walk.schemas |= found.schemas
    walk.channels |= found.channels
    times = [time_ns for messages in entries.values() for time_ns, _ in messages]
    for channel, messages in entries.items():
        walk.counts[channel] = walk.counts.get(channel, 0) + len(messages)
    if times:
        # Not the times the chunk claims: a reader passes over messages outside them.
        start_ns, end_ns = min(times), max(times)
        walk.start_ns, walk.end_ns = min(walk.start_ns, start_ns), max(walk.end_ns, end_ns)
        walk.chunks.append(_Chunk(position, 9 + len(content), compression, compressed_size, size,
                                  start_ns, end_ns, entries))


def _take_record(walk: _Walk, kind: int, stream: BinaryIO, length: int) -> None:
    if kind == _MESSAGE:
        channel, _, time_ns = struct.unpack('<HIQ', stream.read(14))
        walk.counts[channel] = walk.counts.get(channel, 0) + 1
        walk.start_ns, walk.end_ns = min(walk.start_ns, time_ns), max(walk.end_ns, time_ns)
    elif kind in (_SCHEMA, _CHANNEL):
        content = stream.read(length)
        number, = struct.unpack_from('<H', content)
        (walk.schemas if kind == _SCHEMA else walk.channels)[number] = content


def _tail(walk: _Walk) -> bytes:
    """Return what follows the data of an orderly file: message indexes, summary, footer."""
    tail = bytearray()

    def add(kind: int, content: bytes) -> None:
        tail.extend(struct.pack('<BQ', kind, len(content)) + content)

    indexes: list[bytes] = []
    for chunk in walk.chunks:
        offsets = b''
        for channel, entries in chunk.entries.items():
            offsets += struct.pack('<HQ', channel, walk.end + len(tail))
            packed = b''.join(struct.pack('<QQ', *entry) for entry in entries)
            add(_MESSAGE_INDEX, struct.pack('<HI', channel, len(packed)) + packed)
        # The indexes of a chunk stand behind it; here, behind all of them.
        behind = walk.end + len(tail) - chunk.position - chunk.length
        indexes.append(struct.pack('<QQQQI', chunk.start_ns, chunk.end_ns, chunk.position,
                                   chunk.length, len(offsets)) + offsets
                       + struct.pack('<Q', behind) + _text(chunk.compression)
                       + struct.pack('<QQ', chunk.compressed_size, chunk.size))
    add(_DATA_END, bytes(4))
    summary = walk.end + len(tail)
    for schema in walk.schemas.values():
        add(_SCHEMA, _known_encoding(schema))
    for channel_record in walk.channels.values():
        add(_CHANNEL, channel_record)
    for index in indexes:
        add(_CHUNK_INDEX, index)
    counts = b''.join(struct.pack('<HQ', *item) for item in walk.counts.items())
    add(_STATISTICS, struct.pack('<QHIIIIQQI', sum(walk.counts.values()), len(walk.schemas),
                                 len(walk.channels), 0, 0, len(walk.chunks), walk.start_ns,
                                 walk.end_ns, len(counts)) + counts)
    add(_FOOTER, struct.pack('<QQI', summary, 0, 0))
    return bytes(tail) + MAGIC


def _known_encoding(schema: bytes) -> bytes:
    """Return a schema record without its definition if that is in no language `rosbags` knows.

    Recorders write `unknown` where they had no definition at hand.
    """
    name_end = 6 + struct.unpack_from('<I', schema, 2)[0]
    size, = struct.unpack_from('<I', schema, name_end)
    if schema[name_end + 4:name_end + 4 + size] in _DEFINITION_ENCODINGS:
        return schema
    return schema[:name_end] + _text(b'') + _text(b'')


def _text(text: bytes) -> bytes:
    return struct.pack('<I', len(text)) + text
