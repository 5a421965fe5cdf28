# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One way to read every bag: rosbag2 in any storage, compression and version, and ROS 1 bags."""

import contextlib
import heapq
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from rosbags.rosbag1 import ReaderError
from rosbags.typesys.store import Typestore

from diffpixel_core.bags import ros1
from diffpixel_core.bags.contents import BagError, BagFile, BagMessage, TopicInfo, blaming
from diffpixel_core.bags.rosbag2 import Opened, has_metadata, open_rosbag2, storage_files

_log = logging.getLogger(__name__)


class BagReader:
    """Read a bag: a folder that `ros2 bag record` made, a `.mcap` or `.db3` file, a `.bag` file.

    Folders need no metadata.yaml, files may be packed with zstd, and what an aborted recording
    left behind is read as far as it goes, with a warning. Use it in a `with` statement.

    Args:
        path: The folder or file.

    Attributes:
        topics: What is in it, by name.
        warnings: What is missing or was mended, also logged; each a sentence for the user.

    Raises:
        BagError: If it does not exist, is damaged, is empty, or is no bag; on entering.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, TopicInfo] = {}
        self.warnings: list[str] = []
        self._stack = contextlib.ExitStack()
        self._files: list[BagFile] = []
        self._stores: dict[str, Typestore] = {}

    def __enter__(self) -> 'BagReader':
        """Open the bag and learn what is in it."""
        with contextlib.ExitStack() as stack:
            opened = _open(self.path, stack)
            self._files, self.warnings = opened.files, opened.warnings
            self.topics = self._inventory(opened)
            for warning in self.warnings:
                _log.warning('%s', warning)
            if not any(topic.count for topic in self.topics.values()):
                why = f' ({"; ".join(self.warnings)})' if self.warnings else ''
                raise BagError(f'bag {self.path} is empty: it has no message{why}; record it again')
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return min(file.start_ns for file in self._files)

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last, seconds."""
        return (max(file.end_ns for file in self._files) - 1 - self.start_ns) / 1e9

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
        """Return the messages of some topics (default: all), ordered by recording time.

        Raises:
            BagError: At once if a topic is not in the bag or its messages cannot be read; on the
                way if the bag is damaged or does not yield as many messages as it counts.
        """
        names = list(self.topics) if topics is None else list(topics)
        self.require_topics(names)
        for file in self._files:
            for connection in file.connections:
                if connection.topic in names and (obstacle := file.obstacle(connection)):
                    raise BagError(f'{connection.topic} ({connection.msgtype}) in bag {self.path} '
                                   f'{obstacle}; leave it out')
        return self._messages(set(names))

    def decode(self, message: BagMessage) -> Any:
        """Return a message as an object with the fields of its type; arrays share its bytes.

        Raises:
            BagError: If its type is unknown or its bytes are not of this type.
        """
        raw = memoryview(message.raw)
        if (known := self._stores.get(message.type)) is not None:
            with self._blaming_message(message):
                return known.deserialize_cdr(raw, message.type)
        problem: Exception | None = None
        with blaming(self.path, f'the definition of {message.type}'):
            for store in self._candidates(message.type):
                try:
                    decoded = store.deserialize_cdr(raw, message.type)
                except Exception as error:  # An older release may fit; the first is the likeliest.
                    problem = problem or error
                else:
                    self._stores[message.type] = store
                    return decoded
        if problem is None:
            raise BagError(f'{message.topic} in {self.path} is of type {message.type}, which is '
                           'neither described in the bag nor part of ROS 2 Jazzy; leave it out')
        with self._blaming_message(message):
            raise problem

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

    def _inventory(self, opened: Opened) -> dict[str, TopicInfo]:
        """Return the topics with the greater of the counts of files and metadata.yaml."""
        topics: dict[str, TopicInfo] = {}
        for file in opened.files:
            for connection in file.connections:
                known = topics.get(connection.topic, TopicInfo(connection.msgtype, 0, ()))
                qos = (tuple(getattr(connection.ext, 'offered_qos_profiles', ()))
                       or ros1.latched_qos(connection))
                topics[connection.topic] = TopicInfo(
                    known.type, known.count + connection.msgcount, known.qos or qos)
        for name, promised in opened.promised.items():
            found = topics.get(name, promised)
            topics[name] = TopicInfo(found.type, max(found.count, promised.count),
                                     found.qos or promised.qos)
            if found.count > promised.count:
                self.warnings.append(f'bag {self.path} has {found.count} messages of {name}, more '
                                     f'than the {promised.count} that its metadata.yaml counts')
        return topics

    def _messages(self, topics: set[str]) -> Iterator[BagMessage]:
        counts: Counter[str] = Counter()
        with blaming(self.path):
            for message in _in_order(self._files, topics):
                counts[message.topic] += 1
                yield message
        for name in sorted(topics):
            if counts[name] != self.topics[name].count:
                raise BagError(f'bag {self.path} yields {counts[name]} of the '
                               f'{self.topics[name].count} messages of {name} that it counts; copy '
                               'it again or repair it with `ros2 bag reindex`')

    def _candidates(self, kind: str) -> Iterator[Typestore]:
        for file in self._files:
            if any(connection.msgtype == kind for connection in file.connections):
                yield from file.stores(kind)

    def _blaming_message(self, message: BagMessage) -> contextlib.AbstractContextManager[None]:
        return blaming(self.path, f'a message of {message.topic} at {message.time_ns} ns')


def _open(path: Path, stack: contextlib.ExitStack) -> Opened:
    if not path.exists():
        raise BagError(f'bag {path} does not exist; give a rosbag2 folder, or a .mcap, .db3 or '
                       '.bag file')
    with blaming(path):
        bags = sorted(path.glob('*.bag'), key=lambda file: (len(file.name), file.name))
        if path.is_dir() and not has_metadata(path) and not storage_files(path):
            if not bags:
                raise BagError(f'{path} is no bag: it has neither metadata.yaml nor .mcap or .db3 '
                               'files; give the folder that `ros2 bag record` made')
            return Opened([_open_ros1(file, stack) for file in bags])
        if path.is_file():
            with path.open('rb') as stream:
                if stream.read(len(ros1.MAGIC)) == ros1.MAGIC:
                    return Opened([_open_ros1(path, stack)])
    return open_rosbag2(path, stack)


def _open_ros1(path: Path, stack: contextlib.ExitStack) -> BagFile:
    try:
        return ros1.Ros1File(path, stack)
    except ReaderError as error:
        raise BagError(f'cannot read ROS 1 bag {path}: {str(error).rstrip(".")}; repair it with '
                       f'`rosbag reindex {path}` or copy it again') from error


def _in_order(files: Sequence[BagFile], topics: set[str]) -> Iterator[BagMessage]:
    """Yield messages by time; files that follow one another are opened one after the other."""
    group: list[BagFile] = []
    end_ns = 0
    for file in sorted((file for file in files if file.end_ns), key=attrgetter('start_ns')):
        if group and file.start_ns >= end_ns:
            yield from _merged(group, topics)
            group = []
        group.append(file)
        end_ns = max(end_ns, file.end_ns)
    yield from _merged(group, topics)


def _merged(files: Sequence[BagFile], topics: set[str]) -> Iterator[BagMessage]:
    return heapq.merge(*(file.messages(topics) for file in files), key=attrgetter('time_ns'))
