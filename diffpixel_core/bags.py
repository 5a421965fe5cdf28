# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Rosbag2 recordings without ROS: write them and read them back.

A bag comes into being whole or not at all, and reading one either yields every message its
metadata promises or fails: no silent halves.
"""

import contextlib
import heapq
import logging
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from rosbags.typesys.stores.ros2_jazzy import builtin_interfaces__msg__Time as Time
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as Image
from rosbags.typesys.stores.ros2_jazzy import std_msgs__msg__Header as Header

from diffpixel_core.errors import DiffPixelError

_PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}
_PIXELS: dict[str, tuple[type, tuple[int, ...]]] = {
    'rgb8': (np.uint8, (3,)), 'bgr8': (np.uint8, (3,)), 'mono8': (np.uint8, ()),
    'mono16': (np.uint16, ()), '16UC1': (np.uint16, ()), '32FC1': (np.float32, ())}

_log = logging.getLogger(__name__)


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


class BagWriter:
    """Write a rosbag2, which appears under its name when the `with` block ends without error.

    A path that ends in `.mcap` or `.db3` becomes that single file, which describes itself; any
    other a folder with the file and `metadata.yaml`, as `ros2 bag record` makes.

    Args:
        path: What to write; must not exist.
        storage: `mcap` or `sqlite3`.

    Raises:
        BagError: If the path exists or does not go with the storage, on entering; if nothing was
            written or the disk refuses, on leaving.
    """

    def __init__(self, path: Path, *, storage: str = 'mcap') -> None:
        if storage not in _PLUGINS:
            raise BagError(f'bag storage {storage!r} is unknown; choose mcap or sqlite3')
        self.path = path
        self._is_file = path.suffix in _SUFFIXES.values()
        if self._is_file and path.suffix != _SUFFIXES[storage]:
            raise BagError(f'{path} ends in {path.suffix} but storage {storage} makes '
                           f'{_SUFFIXES[storage]} files; change one of them')
        self._storage = storage
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._connections: dict[str, Connection] = {}
        self._is_empty = True

    def __enter__(self) -> 'BagWriter':
        """Start the bag in a hidden folder beside its final place."""
        self._refuse_existing()
        with self._blaming(), contextlib.ExitStack() as stack:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(
                TemporaryDirectory(prefix=f'.{self.path.name}.', dir=self.path.parent))
            name = self.path.stem if self._is_file else self.path.name
            self._writer = Writer(Path(scratch) / name, version=9,
                                  storage_plugin=_PLUGINS[self._storage])
            self._writer.open()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Move the finished bag to its place, or leave nothing after an error."""
        assert self._writer is not None
        writer, self._writer = self._writer, None
        with self._stack:
            if kind is not None or self._is_empty:
                writer.abort()
                if kind is None:
                    raise BagError(f'bag {self.path} would be empty: no message was given; '
                                   'nothing was written')
                return
            with self._blaming():
                writer.close()
                self._refuse_existing()
                done = writer.path
                if self._is_file:
                    done = done / (done.name + _SUFFIXES[self._storage])
                done.rename(self.path)

    def add_raw(self, topic: str, msgtype: str, raw: bytes | memoryview, time_ns: int, *,
                latched: bool = False) -> None:
        """Write a serialised message.

        Args:
            topic: Its topic; a topic has one type and one QoS, those of its first message.
            msgtype: Its type, such as `sensor_msgs/msg/Image`.
            raw: The message as CDR.
            time_ns: When it was received.
            latched: Offer it to late subscribers too (transient local), as `/tf_static`.
        """
        assert self._writer is not None, 'use BagWriter in a with statement'
        if time_ns < 0:
            raise BagError(f'a message of {topic} has the time {time_ns} ns; times start at 0')
        with self._blaming():
            connection = self._connections.get(topic)
            if connection is None:
                if msgtype not in _jazzy().types:
                    raise BagError(f'{topic} is of type {msgtype}, which is none of ROS 2 Jazzy; '
                                   'leave it out')
                connection = self._connections[topic] = self._writer.add_connection(
                    topic, msgtype, typestore=_jazzy(), offered_qos_profiles=[_qos(latched)])
            if connection.msgtype != msgtype:
                raise BagError(f'{topic} has messages of {connection.msgtype}, a {msgtype} cannot '
                               'go there too')
            self._writer.write(connection, time_ns, raw)
        self._is_empty = False

    def add(self, topic: str, message: Any, time_ns: int, *, latched: bool = False) -> None:
        """Write a message object of `rosbags`, as `BagReader.decode` returns."""
        kind = message.__msgtype__
        self.add_raw(topic, kind, _jazzy().serialize_cdr(message, kind), time_ns, latched=latched)

    def add_image(self, topic: str, array: npt.NDArray[Any], encoding: str, stamp_ns: int,
                  frame_id: str) -> None:
        """Write an image, recorded at its stamp.

        Args:
            topic: Its topic.
            array: `(H, W)` or `(H, W, C)` of the encoding's type.
            encoding: `rgb8`, `bgr8`, `mono8`, `16UC1`, `mono16` or `32FC1`.
            stamp_ns: Its capture time.
            frame_id: The camera's optical frame.

        Raises:
            BagError: If the array is not of this encoding.
        """
        dtype, depth = _PIXELS.get(encoding, (None, ()))
        if array.dtype != dtype or array.ndim < 2 or array.shape[2:] != depth:
            raise BagError(f'an image of {topic} is {array.dtype} of shape {array.shape}, which is '
                           f'not {encoding}')
        height, width = array.shape[:2]
        pixels = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        step = array[:1].nbytes
        self.add(topic, Image(message_header(stamp_ns, frame_id), height, width, encoding, 0, step,
                              pixels), stamp_ns)

    def _refuse_existing(self) -> None:
        if self.path.exists():
            raise BagError(f'{self.path} exists already; remove it or choose another name')

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        """Name the bag when the disk refuses."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise BagError(f'cannot write bag {self.path}: {error}') from error


class BagReader:
    """Read a rosbag2: a folder with `metadata.yaml`, or one `.mcap` or `.db3` file.

    Use it in a `with` statement.

    Args:
        path: The folder or file.

    Raises:
        BagError: If it does not exist, is damaged, is empty, or is no rosbag2; on entering.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, TopicInfo] = {}
        self._stack = contextlib.ExitStack()
        self._readers: list[Reader] = []
        self._stores: dict[str, Typestore] = {}

    def __enter__(self) -> 'BagReader':
        """Open the bag and learn what is in it."""
        with contextlib.ExitStack() as stack:
            self._readers = [self._open(self.path, stack)]
            if self.path.is_dir():
                self._mend(stack)
            self.topics = self._inventory()
            if not any(topic.count for topic in self.topics.values()):
                raise BagError(f'bag {self.path} is empty: it has no message; record it again')
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return min(reader.start_time for reader in self._readers)

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last, seconds."""
        # The end that rosbags reports lies one nanosecond after the last message.
        return (max(reader.end_time for reader in self._readers) - 1 - self.start_ns) / 1e9

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
        """Return the messages of some topics (default: all), ordered by recording time.

        Raises:
            BagError: At once if a topic is not in the bag; on the way if the bag is damaged or
                ends before all messages its metadata counts.
        """
        names = list(self.topics) if topics is None else list(topics)
        self.require_topics(names)
        return self._messages(set(names))

    def decode(self, message: BagMessage) -> Any:
        """Return a message as an object with the fields of its type.

        Raises:
            BagError: If its type is unknown or its bytes are not of this type.
        """
        with self._blaming(f'the definition of {message.type}'):
            store = self._stores.get(message.type) or self._learn(message.type)
        if message.type not in store.types:
            raise BagError(f'{message.topic} in {self.path} is of type {message.type}, which is '
                           'neither described in the bag nor part of ROS 2 Jazzy; leave it out')
        with self._blaming(f'a message of {message.topic} at {message.time_ns} ns'):
            return store.deserialize_cdr(message.raw, message.type)

    def require_topics(self, topics: Iterable[str],
                       remedy: str = 'give the names this bag uses') -> None:
        """Refuse a bag that lacks topics.

        Args:
            topics: The names it must have.
            remedy: What the caller's user can do, such as the options to pass.

        Raises:
            BagError: If one is missing; it lists what there is.
        """
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            raise BagError(f'bag {self.path} has no {" and no ".join(missing)}; {remedy}. '
                           f'It has: {self.listing()}')

    def listing(self) -> str:
        """Return every topic with its type, for messages to the user."""
        return ', '.join(f'{name} ({topic.type})' for name, topic in sorted(self.topics.items()))

    def _open(self, path: Path, stack: contextlib.ExitStack) -> Reader:
        if not path.exists():
            raise BagError(f'bag {path} does not exist; give a rosbag2 folder or a .mcap or .db3 '
                           'file')
        files = _storage_files(path)
        if path.is_dir() and not (path / 'metadata.yaml').is_file():
            remedy = (f'run `ros2 bag reindex {path}` or give the file {files[0].name} in it'
                      if files else 'give the folder that `ros2 bag record` made')
            raise BagError(f'{path} is no rosbag2: it has no metadata.yaml; {remedy}')
        if not path.is_dir() and path.suffix not in _SUFFIXES.values():
            remedy = ('a ROS 1 bag, convert it with rosbags-convert' if path.suffix == '.bag'
                      else 'give a rosbag2 folder or a .mcap or .db3 file')
            raise BagError(f'{path} is no rosbag2; {remedy}')
        with self._blaming():
            for file in files:
                _refuse_short_database(file)
            return stack.enter_context(Reader(path))

    def _mend(self, stack: contextlib.ExitStack) -> None:
        """Read the storage files one by one where `rosbags` would pass over their messages.

        It matches topics of metadata.yaml to those of the files by name and QoS. Recorders write
        an infinite deadline as 0 here and 2147483647 there, and such a topic yields nothing.
        """
        whole, = self._readers
        with self._blaming():
            silent = [connection.topic for connection in whole.connections
                      if connection.msgcount and next(whole.messages([connection]), None) is None]
        if not silent:
            return
        counted, compression = whole.message_count, whole.compression_mode
        if not compression:
            self._readers = [self._open(file, stack) for file in _storage_files(self.path)]
        found = sum(reader.message_count for reader in self._readers)
        if compression or found != counted:
            raise BagError(f'bag {self.path} counts messages of {", ".join(silent)} but yields '
                           f'none; repair it with `ros2 bag reindex {self.path}`')
        _log.info('%s: metadata.yaml and storage disagree on QoS, reading the storage files',
                  self.path)

    def _inventory(self) -> dict[str, TopicInfo]:
        topics: dict[str, TopicInfo] = {}
        for reader in self._readers:
            for connection in reader.connections:
                known = topics.get(connection.topic, TopicInfo(connection.msgtype, 0, ()))
                qos = tuple(getattr(connection.ext, 'offered_qos_profiles', ()))
                topics[connection.topic] = TopicInfo(
                    known.type, known.count + connection.msgcount, known.qos or qos)
        return topics

    def _messages(self, topics: set[str]) -> Iterator[BagMessage]:
        chosen = [(reader, [connection for connection in reader.connections
                            if connection.topic in topics]) for reader in self._readers]
        # Without connections `rosbags` would read all of them.
        sources = [reader.messages(connections) for reader, connections in chosen if connections]
        expected = sum(self.topics[topic].count for topic in topics)
        count = 0
        with self._blaming():
            for connection, time_ns, raw in heapq.merge(*sources, key=itemgetter(1)):
                count += 1
                yield BagMessage(connection.topic, connection.msgtype, time_ns, raw)
        if count != expected:
            raise BagError(f'bag {self.path} yields {count} of the {expected} messages its '
                           'metadata counts; copy it again or repair it with `ros2 bag reindex`')

    def _learn(self, kind: str) -> Typestore:
        """Return the types of a message: as described in the bag, as newer ones do, or Jazzy's."""
        store = _jazzy()
        for reader in self._readers:
            for connection in reader.connections:
                definition = connection.msgdef
                if connection.msgtype == kind and definition.format is MessageDefinitionFormat.MSG:
                    store = get_typestore(Stores.EMPTY)
                    store.register(get_types_from_msg(definition.data, kind))
        self._stores[kind] = store
        return store

    @contextlib.contextmanager
    def _blaming(self, what: str = '') -> Iterator[None]:
        """Name the bag whatever goes wrong: parsers of damaged bytes raise anything."""
        try:
            yield
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip('.')
            place = f'{what} in bag' if what else 'bag'
            raise BagError(f'cannot read {place} {self.path}: {reason}; the bag is damaged '
                           'or of an unknown kind, copy or record it again') from error


def message_header(stamp_ns: int, frame_id: str) -> Header:
    """Return the header of a message: capture time in nanoseconds, name of the coordinate frame."""
    return Header(Time(*divmod(stamp_ns, 1_000_000_000)), frame_id)


def _refuse_short_database(file: Path) -> None:
    """Refuse a SQLite file that lacks its end, which SQLite itself would read as zeros.

    Source: https://www.sqlite.org/fileformat.html, section 1.3, offsets 16, 24, 28 and 92.
    """
    with file.open('rb') as stream:
        header = stream.read(100)
    if len(header) < 100 or not header.startswith(b'SQLite format 3\0'):
        return  # The reader says what is wrong with it, or it is no SQLite file.
    page_bytes, = struct.unpack_from('>H', header, 16)
    change, pages = struct.unpack_from('>II', header, 24)
    size, promised = file.stat().st_size, pages * (65536 if page_bytes == 1 else page_bytes)
    if header[92:96] == change.to_bytes(4, 'big') and size < promised:
        raise ValueError(f'{file.name} has {size} of its {promised} bytes')


def _storage_files(path: Path) -> list[Path]:
    """Return the storage files of a bag in the order they were recorded."""
    if not path.is_dir():
        return [path]
    files = [file for suffix in _SUFFIXES.values() for file in path.glob(f'*{suffix}')]
    return sorted(files, key=lambda file: (len(file.name), file.name))  # _9 before _10.


@cache
def _jazzy() -> Typestore:
    return get_typestore(Stores.ROS2_JAZZY)


def _qos(latched: bool) -> Qos:
    unset = QosTime(0, 0)
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, unset, unset,
               QosLiveliness.SYSTEM_DEFAULT, unset, avoid_ros_namespace_conventions=False)
