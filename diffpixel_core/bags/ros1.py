# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags: their messages come out as ROS 2 Jazzy would have serialised them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
    Nodetype,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.interfaces.typing import FieldDesc
from rosbags.rosbag1 import Reader
from rosbags.typesys.store import Typestore

from diffpixel_core.bags.contents import BagMessage
from diffpixel_core.bags.definitions import described, jazzy, store_of

MAGIC = b'#ROSBAG V'
_HEADER = 'std_msgs/msg/Header'
_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}
_UNSET = QosTime(0, 0)
_LATCHED = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
               _UNSET, _UNSET, QosLiveliness.SYSTEM_DEFAULT, _UNSET,
               avoid_ros_namespace_conventions=False)

Convert = Callable[[bytes], 'bytes | memoryview']


class Ros1File:
    """One ROS 1 bag; see `BagFile`.

    Messages of types that Jazzy has too come out as Jazzy's, without `Header.seq`; all others as
    the bag describes them. A type whose fields Jazzy changed beyond that is listed but not read.

    Args:
        path: The file.
        stack: What closes it.

    Raises:
        ValueError: If its two indexes count different numbers of messages.
        Exception: Whatever `rosbags` raises on a damaged file.
    """

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.path = path
        self._reader = stack.enter_context(Reader(path))
        for topic, info in self._reader.topics.items():
            # Of the chunks, and of the messages in them, of which `rosbags` reads by the latter.
            indexed = sum(connection.msgcount for connection in info.connections)
            if indexed != info.msgcount:
                raise ValueError(f'{topic} has {indexed} of its {info.msgcount} messages indexed')
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time
        self.connections: Sequence[Connection] = [
            connection._replace(msgtype=_RENAMED.get(connection.msgtype, connection.msgtype))
            for connection in self._reader.connections]
        self._own: dict[str, Typestore] = {}
        self._conversions: dict[str, Convert | str] = {}

    def messages(self, topics: set[str]) -> Iterator[BagMessage]:
        """Yield the messages of some topics, ordered by recording time."""
        chosen = {connection.id: connection for connection in self.connections
                  if connection.topic in topics}
        originals = [connection for connection in self._reader.connections
                     if connection.id in chosen]
        if not originals:  # `rosbags` would read all of them.
            return
        conversions = {number: self._conversion(connection)
                       for number, connection in chosen.items()}
        for original, time_ns, raw in self._reader.messages(originals):
            connection, convert = chosen[original.id], conversions[original.id]
            assert not isinstance(convert, str), convert
            yield BagMessage(connection.topic, connection.msgtype, time_ns, bytes(convert(raw)))

    def stores(self, kind: str) -> Iterator[Typestore]:
        """Yield what decodes the converted messages of a type."""
        if kind in jazzy().types:
            yield jazzy()
            return
        for connection in self.connections:
            if connection.msgtype == kind:
                yield self._described(connection)

    def obstacle(self, connection: Connection) -> str:
        """Return why the messages of a topic cannot be converted, or '' if they can."""
        conversion = self._conversion(connection)
        return conversion if isinstance(conversion, str) else ''

    def _conversion(self, connection: Connection) -> Convert | str:
        # Two nodes may have different ideas of a type; the definition is part of the key.
        key = connection.msgtype + connection.msgdef.data
        if key not in self._conversions:
            self._conversions[key] = self._find_conversion(connection)
        return self._conversions[key]

    def _find_conversion(self, connection: Connection) -> Convert | str:
        kind = connection.msgtype
        try:
            own = self._described(connection)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return f'has a definition that cannot be parsed ({reason})'
        if kind not in jazzy().types:
            return lambda raw: own.ros1_to_cdr(raw, kind)
        if _is_laid_out_alike(own, kind):
            return lambda raw: jazzy().ros1_to_cdr(raw, kind)
        return _conversion_by_fields(own, kind)

    def _described(self, connection: Connection) -> Typestore:
        """Return the types of a connection as the bag describes them, but the header of ROS 2."""
        kind, text = connection.msgtype, connection.msgdef.data
        if (known := self._own.get(kind + text)) is not None:
            return known
        types = described(MessageDefinition(MessageDefinitionFormat.MSG, text), kind)
        # An empty text is a type without fields, such as std_msgs/Empty.
        types.setdefault(kind, ([], []))
        types[_HEADER] = jazzy().fielddefs[_HEADER]
        self._own[kind + text] = store = store_of(types)
        return store


def _is_laid_out_alike(own: Typestore, kind: str) -> bool:
    """Tell whether the fields of a type follow one another as in Jazzy; names may differ.

    CameraInfo, for one, has D, K, R, P in ROS 1 and d, k, r, p in ROS 2.
    """
    ours, theirs = own.fielddefs[kind][1], jazzy().fielddefs[kind][1]
    return len(ours) == len(theirs) and all(
        _is_same(own, mine, other) for (_, mine), (_, other) in zip(ours, theirs, strict=True))


def _is_same(own: Typestore, mine: FieldDesc, other: FieldDesc) -> bool:
    if mine != other:
        return False
    inner: Any = mine[1] if mine[0] is Nodetype.NAME else mine[1][0]
    if mine[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        inner = inner[1] if inner[0] is Nodetype.NAME else None
    elif mine[0] is Nodetype.BASE:
        inner = None
    return inner is None or _is_laid_out_alike(own, inner)


def _conversion_by_fields(own: Typestore, kind: str) -> Convert | str:
    """Return what carries fields over by name; those that are new in Jazzy become 0 or ''."""
    mine = {name.lower(): (name, field) for name, field in own.fielddefs[kind][1]}
    theirs = dict(jazzy().fielddefs[kind][1])
    fresh = {name: field for name, field in theirs.items() if name.lower() not in mine}
    shared = {name: mine[name.lower()] for name in theirs if name not in fresh}
    lost = mine.keys() - {name.lower() for name in theirs}
    if lost or any(field[0] is not Nodetype.BASE for field in fresh.values()) or not all(
            _is_same(own, field, theirs[name]) for name, (_, field) in shared.items()):
        return 'has other fields in ROS 1 than in ROS 2'
    defaults = {name: '' if field[1][0] == 'string' else 0 for name, field in fresh.items()}

    def convert(raw: bytes) -> memoryview:
        message = vars(own.deserialize_cdr(own.ros1_to_cdr(raw, kind), kind))
        values = {name: message[old] for name, (old, _) in shared.items()}
        return jazzy().serialize_cdr(jazzy().types[kind](**values, **defaults), kind)
    return convert


def latched_qos(connection: Connection) -> tuple[Qos, ...]:
    """Return the QoS that a ROS 1 topic would have in ROS 2, if it is latched."""
    ext = connection.ext
    return (_LATCHED,) if isinstance(ext, ConnectionExtRosbag1) and ext.latching else ()
