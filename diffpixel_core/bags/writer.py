# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Write rosbag2 recordings without ROS."""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.stores.ros2_jazzy import builtin_interfaces__msg__Time as Time
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CompressedImage as CompressedImage
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as Image
from rosbags.typesys.stores.ros2_jazzy import std_msgs__msg__Header as Header

from diffpixel_core.bags.contents import BagError
from diffpixel_core.bags.definitions import jazzy

_PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}
_MODES = {'none': CompressionMode.NONE, 'zstd-file': CompressionMode.FILE,
          'zstd-message': CompressionMode.MESSAGE, 'zstd-chunk': CompressionMode.STORAGE}
STORAGES = tuple(_PLUGINS)
COMPRESSIONS = tuple(_MODES)
_PIXELS: dict[str, tuple[type, tuple[int, ...]]] = {
    'rgb8': (np.uint8, (3,)), 'bgr8': (np.uint8, (3,)), 'mono8': (np.uint8, ()),
    'mono16': (np.uint16, ()), '16UC1': (np.uint16, ()), '32FC1': (np.float32, ())}


class BagWriter:
    """Write a rosbag2, which appears under its name when the `with` block ends without error.

    A path that ends in `.mcap` or `.db3` becomes that single file, which describes itself; any
    other a folder with the file and `metadata.yaml`, as `ros2 bag record` makes.

    Args:
        path: What to write; must not exist.
        storage: `mcap` or `sqlite3`.
        compression: `none`, `zstd-file`, `zstd-message`, or, for mcap, `zstd-chunk`.
        definitions: Message types beyond those of Jazzy: the text of the .msg file by name, such
            as `vision_msgs/msg/LabelInfo`, with the types it is made of as bags append them.

    Raises:
        BagError: If the path exists or the options do not go together, on entering; if nothing was
            written or the disk refuses, on leaving.
    """

    def __init__(self, path: Path, *, storage: str = 'mcap', compression: str = 'none',
                 definitions: Mapping[str, str] | None = None) -> None:
        if storage not in _PLUGINS:
            raise BagError(f'bag storage {storage!r} is unknown; choose mcap or sqlite3')
        if compression not in _MODES:
            raise BagError(f'bag compression {compression!r} is unknown; choose '
                           f'{", ".join(COMPRESSIONS)}')
        self.path = path
        self._is_file = path.suffix in _SUFFIXES.values()
        if self._is_file and path.suffix != _SUFFIXES[storage]:
            raise BagError(f'{path} ends in {path.suffix} but storage {storage} makes '
                           f'{_SUFFIXES[storage]} files; change one of them')
        if self._is_file and compression in ('zstd-file', 'zstd-message'):
            raise BagError(f'{compression} is noted in metadata.yaml, which the single file {path} '
                           'has not; write a folder or use zstd-chunk')
        if compression == 'zstd-chunk' and storage != 'mcap':
            raise BagError(f'storage {storage} has no chunks; choose zstd-file, zstd-message or '
                           'mcap')
        self._storage = storage
        self._mode = _MODES[compression]
        self._store = jazzy()
        if definitions:
            self._store = get_typestore(Stores.ROS2_JAZZY)
            for name, text in definitions.items():
                self._store.register(get_types_from_msg(text, name))
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
            self._writer.set_compression(self._mode, CompressionFormat.ZSTD)
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
                if msgtype not in self._store.types:
                    raise BagError(f'{topic} is of type {msgtype}, which is none of ROS 2 Jazzy; '
                                   'give its definition or leave it out')
                connection = self._connections[topic] = self._writer.add_connection(
                    topic, msgtype, typestore=self._store, offered_qos_profiles=[_qos(latched)])
            if connection.msgtype != msgtype:
                raise BagError(f'{topic} has messages of {connection.msgtype}, a {msgtype} cannot '
                               'go there too')
            self._writer.write(connection, time_ns, raw)
        self._is_empty = False

    def add(self, topic: str, message: Any, time_ns: int, *, latched: bool = False) -> None:
        """Write a message object of `rosbags`, as `BagReader.decode` returns."""
        kind = message.__msgtype__
        self.add_raw(topic, kind, self._store.serialize_cdr(message, kind), time_ns,
                     latched=latched)

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

    def add_compressed_image(self, topic: str, image_format: str, data: bytes, stamp_ns: int,
                             frame_id: str) -> None:
        """Write a compressed image, recorded at its stamp.

        Args:
            topic: Its topic.
            image_format: What `sensor_msgs/CompressedImage` calls it, such as `jpeg` or
                `16UC1; compressedDepth png`.
            data: The packed image.
            stamp_ns: Its capture time.
            frame_id: The camera's optical frame.
        """
        self.add(topic, CompressedImage(message_header(stamp_ns, frame_id), image_format,
                                        np.frombuffer(data, np.uint8)), stamp_ns)

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


def message_header(stamp_ns: int, frame_id: str) -> Header:
    """Return the header of a message: capture time in nanoseconds, name of the coordinate frame."""
    return Header(Time(*divmod(stamp_ns, 1_000_000_000)), frame_id)


def _qos(latched: bool) -> Qos:
    unset = QosTime(0, 0)
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, unset, unset,
               QosLiveliness.SYSTEM_DEFAULT, unset, avoid_ros_namespace_conventions=False)
