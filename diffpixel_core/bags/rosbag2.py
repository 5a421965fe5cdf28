# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Rosbag2: folders with or without metadata.yaml and single files, in every storage.

Each file is read by itself. `rosbags` reads folders by matching topics of metadata.yaml to those
of the files by name and QoS, but recorders write an infinite deadline as 0 here and 2147483647
there, and such a topic would yield nothing.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from rosbags.typesys.store import Typestore

from diffpixel_core.bags import databases, mended_mcap
from diffpixel_core.bags.contents import BagError, BagFile, BagMessage, TopicInfo, blaming
from diffpixel_core.bags.definitions import stores_for
from diffpixel_core.bags.mended_mcap import MendedMcap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STORAGE_SUFFIXES = ('.mcap', '.db3')
_NEWEST_VERSION = 9
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'  # RFC 8878, section 3.1.1; no CDR message begins like this

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What metadata.yaml says: the files, every topic with its number of messages, the release."""

    files: tuple[str, ...]
    topics: Mapping[str, TopicInfo]
    distro: str


@dataclass(slots=True)
class Opened:
    """An opened bag.

    Attributes:
        files: Its files in the order they were recorded.
        promised: Topics as metadata.yaml counts them; empty without one.
        warnings: What is missing or was mended; each a sentence for the user.
    """

    files: list[BagFile] = field(default_factory=list)
    promised: Mapping[str, TopicInfo] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Rosbag2File:
    """One storage file; see `BagFile`."""

    def __init__(self, path: Path, reader: McapReader | Sqlite3Reader, distro: str) -> None:
        self.path = path
        self.connections: Sequence[Connection] = reader.connections
        self.start_ns = reader.metadata.start_time
        self.end_ns = reader.metadata.end_time
        self._reader = reader
        self._distro = distro

    def messages(self, topics: set[str]) -> Iterator[BagMessage]:
        """Yield the messages of some topics, ordered by recording time."""
        chosen = [connection for connection in self.connections if connection.topic in topics]
        for connection, time_ns, raw in self._reader.messages(chosen):
            yield BagMessage(connection.topic, connection.msgtype, time_ns,
                             zstd.decompress(raw) if raw.startswith(_ZSTD_MAGIC) else raw)

    def stores(self, kind: str) -> Iterator[Typestore]:
        """Yield what may decode messages of a type, the likeliest first."""
        definitions = [connection.msgdef for connection in self.connections
                       if connection.msgtype == kind]
        return stores_for(kind, definitions[:1], self._distro)

    def obstacle(self, connection: Connection) -> str:
        """Return why the messages of a topic cannot be read, or '' if they can."""
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        form = connection.ext.serialization_format
        return '' if form == 'cdr' else f'is serialised as {form!r}, not as cdr'


def open_rosbag2(path: Path, stack: contextlib.ExitStack) -> Opened:
    """Return the files of a rosbag2, opened until the stack ends.

    Raises:
        BagError: If it is no rosbag2 or is damaged.
    """
    opened = Opened()
    is_closed = False
    distro = ''
    if path.is_file():
        names = [path]
    elif has_metadata(path):
        with blaming(path, 'metadata.yaml'):
            metadata = read_metadata(path / 'metadata.yaml')
        names = [path / name for name in metadata.files]
        if missing := [file.name for file in names if not file.exists()]:
            raise BagError(f'bag {path} lacks {", ".join(missing)}, which its metadata.yaml '
                           'names; copy it again')
        is_closed, distro, opened.promised = True, metadata.distro, metadata.topics
    else:
        names = storage_files(path)
        opened.warnings.append(
            f'{path} has no metadata.yaml, as after an aborted recording: read from '
            f'{", ".join(file.name for file in names)}')
    scratch = _Scratch(stack)
    for file in names:
        if path.is_dir() and not is_closed and not file.stat().st_size:
            opened.warnings.append(f'{file} is empty: the recorder stopped before it wrote to it')
            continue
        with blaming(path, '' if path.is_file() else file.name):
            opened.files.append(_open_file(file, scratch, stack, distro, is_closed=is_closed,
                                           warn=opened.warnings.append))
    return opened


def has_metadata(folder: Path) -> bool:
    """Tell whether a folder has a metadata.yaml; an empty one is what a power failure leaves."""
    path = folder / 'metadata.yaml'
    return path.is_file() and path.stat().st_size > 0


def storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder in the order they were recorded."""
    files: dict[str, Path] = {}
    for file in folder.iterdir():
        plain = file.name.removesuffix('.zstd')
        # Beside the file that was being compressed when the recording ended lies half a copy.
        if plain.endswith(STORAGE_SUFFIXES) and (plain not in files or plain == file.name):
            files[plain] = file
    return sorted(files.values(), key=lambda file: (len(file.name), file.name))  # _9 before _10.


def read_metadata(path: Path) -> Metadata:
    """Return what a metadata.yaml says.

    Raises:
        ValueError: If it is damaged or newer than this program; other errors where values are of
            the wrong kind.

    Source: rosbag2 (jazzy), rosbag2_storage/yaml.hpp, versions 1 to 9.
    """
    try:
        content = yaml.safe_load(path.read_text('utf8'))['rosbag2_bagfile_information']
    except yaml.YAMLError as error:
        raise ValueError(f'it is no YAML ({str(error).splitlines()[0]})') from error
    if not 1 <= content['version'] <= _NEWEST_VERSION:
        raise ValueError(f'its version is {content["version"]}, this program reads 1 to '
                         f'{_NEWEST_VERSION}')
    if (storage := content['storage_identifier']) not in ('mcap', 'sqlite3'):
        raise ValueError(f'its storage is {storage!r}, this program reads mcap and sqlite3')
    form = content.get('compression_format') or 'zstd'
    if content.get('compression_mode', '').lower() not in ('', 'none') and form != 'zstd':
        raise ValueError(f'it is compressed with {form!r}, this program reads zstd')
    topics: dict[str, TopicInfo] = {}
    for entry in content['topics_with_message_count']:
        topic = entry['topic_metadata']
        if (form := topic['serialization_format']) != 'cdr':
            raise ValueError(f'messages of {topic["name"]} are serialised as {form!r}, this '
                             'program reads cdr')
        # Splitting at several publishers gives several entries.
        known = topics.get(topic['name'], TopicInfo(topic['type'], 0, ()))
        qos = tuple(parse_qos(topic.get('offered_qos_profiles') or []))
        topics[topic['name']] = TopicInfo(known.type, known.count + int(entry['message_count']),
                                          known.qos or qos)
    # Until version 3 a file was named from the folder above.
    files = tuple(PurePath(name).name for name in content['relative_file_paths'])
    return Metadata(files, topics, str(content.get('ros_distro') or ''))


class _Scratch:
    """Folders for unpacked and mended copies, made when first needed, gone with the stack."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def folder(self) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory(prefix='diffpixel_bag_')))


def _open_file(path: Path, scratch: _Scratch, stack: contextlib.ExitStack, distro: str, *,
               is_closed: bool, warn: Callable[[str], None]) -> Rosbag2File:
    """Open one storage file, by what it is rather than by what it is called."""
    place = path
    with path.open('rb') as stream:
        magic = stream.read(16)
    if magic.startswith(_ZSTD_MAGIC):
        place = scratch.folder() / path.name.removesuffix('.zstd')
        try:
            with zstd.open(path, 'rb') as packed, place.open('wb') as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        except OSError as error:
            raise BagError(f'cannot unpack {path} into {place.parent}: {error}; free some space '
                           'or name a folder in TMPDIR') from error
        with place.open('rb') as stream:
            magic = stream.read(16)
    if magic.startswith(mended_mcap.MAGIC):
        reader: McapReader | Sqlite3Reader = _open_mcap(path, place, stack, is_closed=is_closed,
                                                        warn=warn)
    elif magic == databases.MAGIC:
        reader, recorder = _open_database(path, place, scratch, stack, warn=warn)
        distro = distro or recorder
    else:
        raise ValueError(f'{path.name} is neither an mcap file nor a SQLite database')
    return Rosbag2File(path, reader, distro)


def _open_mcap(path: Path, place: Path, stack: contextlib.ExitStack, *, is_closed: bool,
               warn: Callable[[str], None]) -> McapReader:
    with place.open('rb') as stream:
        stream.seek(max(0, place.stat().st_size - len(mended_mcap.MAGIC)))
        has_end = stream.read() == mended_mcap.MAGIC
    reader = McapReader(place)
    problem: Exception | None = None
    if has_end:
        try:
            reader.open()
        except Exception as error:  # The index may be damaged, or a definition unknown.
            problem = error
        else:
            stack.callback(reader.close)
            if not _silent_topics(reader):
                return reader
    elif is_closed:
        raise ValueError(f'{path.name} lacks its end (to read what there is, give {path} itself '
                         'or remove metadata.yaml; `mcap recover` repairs it)')
    mended = MendedMcap(place)
    if has_end and not mended.is_whole:
        raise problem or ValueError(f'{path.name} has no index and its data are damaged')
    reader = McapReader(mended.as_path())
    reader.open()
    stack.callback(reader.close)
    if not mended.is_whole:
        warn(f'{path} was not closed by its recorder: {reader.metadata.message_count} messages in '
             f'the first {mended.used} of its {place.stat().st_size} bytes can be read')
    else:
        _log.info('%s has no index that rosbags can use: rebuilt', path)
    return reader


def _silent_topics(reader: McapReader) -> list[str]:
    """Return topics that are counted but yield nothing, as without message indexes."""
    return [connection.topic for connection in reader.connections
            if connection.msgcount and next(reader.messages([connection]), None) is None]


def _open_database(path: Path, place: Path, scratch: _Scratch, stack: contextlib.ExitStack, *,
                   warn: Callable[[str], None]) -> tuple[Sqlite3Reader, str]:
    if leftovers := databases.leftovers(path):
        warn(f'{path} was not closed by its recorder: read with what it left in '
             f'{", ".join(file.name for file in leftovers)}')
    else:
        databases.refuse_short_database(place)
    if leftovers or databases.has_unknown_definitions(place):
        place = databases.mended_database(place, scratch.folder())
    reader = Sqlite3Reader(place)
    reader.open()
    stack.callback(reader.close)
    counted = sum(connection.msgcount for connection in reader.connections)
    if counted != reader.metadata.message_count:
        raise ValueError(f'{reader.metadata.message_count - counted} of its '
                         f'{reader.metadata.message_count} messages belong to no topic')
    return reader, databases.recorder_of(place)
