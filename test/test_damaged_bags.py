# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged and aborted recordings: read as far as they go and said so, or refused in one line."""

import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from diffpixel_core.bags import BagError, BagMessage, BagReader, BagWriter
from diffpixel_core.bags.mended_mcap import MAGIC

KINDS = [('mcap', 'none'), ('mcap', 'zstd-file'), ('mcap', 'zstd-message'), ('mcap', 'zstd-chunk'),
         ('sqlite3', 'none'), ('sqlite3', 'zstd-file'), ('sqlite3', 'zstd-message')]
NOETIC = get_typestore(Stores.ROS1_NOETIC)


def write_bag(path: Path, storage: str = 'mcap', compression: str = 'none', *, count: int = 40,
              side: int = 8, start_ns: int = 100) -> None:
    """Write `count` images each on /a and /b; mcap closes a chunk after each megabyte."""
    rng = np.random.default_rng(0)
    with BagWriter(path, storage=storage, compression=compression) as bag:
        for i in range(count):
            for topic in ('/a', '/b'):
                image = rng.integers(0, 256, (side, side), dtype=np.uint8)
                bag.add_image(topic, image, 'mono8', start_ns + i, 'camera')


def storage_file(folder: Path) -> Path:
    file, = (path for path in folder.iterdir() if path.suffix != '.yaml')
    return file


def read(path: Path) -> list[BagMessage]:
    with BagReader(path) as bag:
        return list(bag.messages())


# Recordings that were never closed.

def test_folder_without_metadata_is_read_file_by_file(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in (0, 2, 10):  # In the order of numbers, not of letters.
        write_bag(tmp_path / f'new{part}', count=3, start_ns=100 * part)
        (tmp_path / 'bag').mkdir(exist_ok=True)
        storage_file(tmp_path / f'new{part}').rename(tmp_path / f'bag/bag_{part}.mcap')
    (tmp_path / 'bag/bag_11.mcap').touch()  # Opened when the power went.
    (tmp_path / 'bag/metadata.yaml').touch()
    with caplog.at_level(logging.WARNING), BagReader(tmp_path / 'bag') as bag:
        times = [message.time_ns for message in bag.messages(['/a'])]
        warnings = bag.warnings
    assert times == [0, 1, 2, 200, 201, 202, 1000, 1001, 1002]
    assert 'read from bag_0.mcap, bag_2.mcap, bag_10.mcap, bag_11.mcap' in warnings[0]
    assert 'bag_11.mcap is empty' in warnings[1]
    assert [record.message for record in caplog.records] == warnings


def test_file_that_was_being_packed_is_read_once(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag', 'sqlite3', 'zstd-file')
    write_bag(tmp_path / 'plain', 'sqlite3')
    expected = read(tmp_path / 'bag')
    (tmp_path / 'bag/metadata.yaml').unlink()
    packed = storage_file(tmp_path / 'bag')
    assert read(tmp_path / 'bag') == expected
    shutil.copy(storage_file(tmp_path / 'plain'), tmp_path / 'bag/bag.db3')
    packed.write_bytes(packed.read_bytes()[:100])
    assert read(tmp_path / 'bag') == expected


@pytest.mark.parametrize('compression', ['none', 'zstd-chunk'])
@pytest.mark.parametrize('single', [False, True])
def test_mcap_without_its_end_is_read_up_to_there(tmp_path: Path, compression: str,
                                                  single: bool) -> None:
    write_bag(tmp_path / 'bag', compression=compression, count=40, side=300)  # 7 MB, 7 chunks.
    expected = read(tmp_path / 'bag')
    file = storage_file(tmp_path / 'bag')
    (tmp_path / 'bag/metadata.yaml').unlink()
    data = file.read_bytes()
    sizes = []
    for kept in (0.3, 0.5, 0.7, 0.95):
        file.write_bytes(data[:int(kept * len(data))])
        with BagReader(file if single else tmp_path / 'bag') as bag:
            found = list(bag.messages())
            assert sum(topic.count for topic in bag.topics.values()) == len(found)
            assert 'was not closed by its recorder' in bag.warnings[-1]
            assert bag.topics['/a'].type == 'sensor_msgs/msg/Image'
            bag.decode(found[-1])
        assert found == expected[:len(found)]
        sizes.append(len(found))
    assert sizes == sorted(set(sizes))
    assert sizes[-1] >= 70  # All but the last chunk.


def test_power_failure_leaves_zeros_behind(tmp_path: Path) -> None:
    write_bag(tmp_path / 'x.mcap', count=20, side=300)
    expected = read(tmp_path / 'x.mcap')
    data = (tmp_path / 'x.mcap').read_bytes()
    (tmp_path / 'x.mcap').write_bytes(data[:len(data) // 2] + bytes(len(data) // 2))
    found = read(tmp_path / 'x.mcap')
    assert 10 <= len(found) < 40
    assert found == expected[:len(found)]


def test_mcap_with_a_damaged_index_gets_a_new_one(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag', count=20, side=300)
    expected = read(tmp_path / 'bag')
    file = storage_file(tmp_path / 'bag')
    data = bytearray(file.read_bytes())
    footer = len(data) - 37
    summary = int.from_bytes(data[footer + 9:footer + 17], 'little')
    data[summary:summary + 40] = b'\xff' * 40
    file.write_bytes(data)
    assert read(tmp_path / 'bag') == expected
    data[footer + 9:footer + 25] = bytes(16)  # Recorded with noSummary.
    file.write_bytes(data[:summary] + data[footer:])
    assert read(tmp_path / 'bag') == expected


def test_mcap_without_message_indexes_is_not_silent(tmp_path: Path) -> None:
    # As recorded with noMessageIndex: chunk indexes that point to no message index.
    write_bag(tmp_path / 'x.mcap', count=5, side=300)
    expected = read(tmp_path / 'x.mcap')
    data = bytearray((tmp_path / 'x.mcap').read_bytes())
    place = int.from_bytes(data[-28:-20], 'little')
    while data[place] != 0x0B:
        length = int.from_bytes(data[place + 1:place + 9], 'little')
        if data[place] == 0x08:
            offsets = place + 9 + 32
            size = int.from_bytes(data[offsets:offsets + 4], 'little')
            # Without the offsets the record is shorter; a record of a private kind fills the gap.
            rest = bytes(4) + data[offsets + 4 + size:place + 9 + length]
            record = data[place:offsets] + rest
            record[1:9] = (length - size).to_bytes(8, 'little')
            filler = b'\x90' + (size - 9).to_bytes(8, 'little') + bytes(size - 9)
            data[place:place + 9 + length] = record + filler
        place += 9 + length
    (tmp_path / 'x.mcap').write_bytes(data)
    assert read(tmp_path / 'x.mcap') == expected


def test_what_the_recorder_left_beside_a_database_is_read(tmp_path: Path) -> None:
    write_bag(tmp_path / 'x.db3', 'sqlite3')
    live = sqlite3.connect(tmp_path / 'x.db3')
    live.execute('PRAGMA journal_mode = WAL')
    live.execute('INSERT INTO messages(topic_id, timestamp, data) '
                 'SELECT topic_id, timestamp + 1000, data FROM messages')
    live.commit()
    (tmp_path / 'killed').mkdir()
    for name in ('x.db3', 'x.db3-wal'):
        shutil.copy(tmp_path / name, tmp_path / 'killed')
    live.close()
    before = (tmp_path / 'killed/x.db3').read_bytes()
    with BagReader(tmp_path / 'killed/x.db3') as bag:
        assert len(list(bag.messages())) == 160
        assert 'with what it left in x.db3-wal' in bag.warnings[0]
    assert (tmp_path / 'killed/x.db3').read_bytes() == before


# Damage.

@pytest.mark.parametrize(('storage', 'compression'), KINDS)
@pytest.mark.parametrize('kept', [0.0, 0.001, 0.5, 0.999])
def test_closed_bag_that_was_cut_short_is_refused(tmp_path: Path, storage: str, compression: str,
                                                  kept: float) -> None:
    write_bag(tmp_path / 'bag', storage, compression)
    file = storage_file(tmp_path / 'bag')
    data = file.read_bytes()
    file.write_bytes(data[:int(kept * len(data))])
    with pytest.raises(BagError, match=str(tmp_path / 'bag')):
        read(tmp_path / 'bag')


@pytest.mark.parametrize('kept', [0.0, 0.001, 0.5, 0.999])
def test_database_and_ros1_bag_cut_short_are_refused(tmp_path: Path, kept: float) -> None:
    write_bag(tmp_path / 'x.db3', 'sqlite3')
    write_ros1(tmp_path / 'x.bag')
    for file in (tmp_path / 'x.db3', tmp_path / 'x.bag'):
        file.write_bytes(file.read_bytes()[:int(kept * file.stat().st_size)])
        with pytest.raises(BagError, match=str(file)):
            read(file)


def test_mcap_of_nothing_but_a_beginning_is_empty(tmp_path: Path) -> None:
    (tmp_path / 'x.mcap').write_bytes(MAGIC)
    with pytest.raises(BagError, match=r'x\.mcap'):
        read(tmp_path / 'x.mcap')


def write_ros1(path: Path) -> None:
    kind = 'std_msgs/msg/String'
    writer = Ros1Writer(path)
    writer.chunk_threshold = 300
    with writer:
        connections = [writer.add_connection(topic, kind, typestore=NOETIC)
                       for topic in ('/a', '/b')]
        for i in range(40):
            for connection in connections:
                writer.write(connection, 100 + i,
                             NOETIC.serialize_ros1(NOETIC.types[kind](f'note {i}'), kind))


def write_rosbag2(storage: str, compression: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_bag(path, storage, compression)
    return write


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one kind of damage: overwritten, removed, doubled or cut."""
    start, size = int(rng.integers(len(data))), int(rng.choice([1, 1, 2, 8, 64, 512]))
    end = min(len(data), start + size)
    how = rng.integers(5)
    if how <= 1:
        return data[:start] + rng.bytes(end - start) + data[end:]
    if how == 2:
        return data[:start] + data[end:]
    return data[:end] + data[start:] if how == 3 else data[:start]


@pytest.mark.parametrize(('name', 'write'), [
    *((f'{storage}-{compression}', write_rosbag2(storage, compression))
      for storage, compression in KINDS), ('ros1', write_ros1)])
@pytest.mark.parametrize('rounds', [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_bag_is_read_whole_or_refused_in_one_line(
        tmp_path: Path, name: str, write: Callable[[Path], None], rounds: int) -> None:
    rng = np.random.default_rng(len(name))
    write(tmp_path / 'bag')
    is_folder = (tmp_path / 'bag').is_dir()
    files = [path for path in (tmp_path / 'bag').iterdir()] if is_folder else [tmp_path / 'bag']
    originals = {file: file.read_bytes() for file in files}
    refusals: list[str] = []
    for _ in range(rounds):
        file = files[int(rng.integers(len(files)))]
        file.write_bytes(mutate(originals[file], rng))
        try:
            with BagReader(tmp_path / 'bag') as bag:
                counts = Counter(message.topic for message in bag.messages())
                if set(bag.topics) == {'/a', '/b'} and not bag.warnings:
                    assert counts == {'/a': 40, '/b': 40}
                else:  # A name was hit, or it is said what is missing.
                    assert bag.warnings or counts.total() == 80
        except BagError as error:
            refusals.append(str(error))
        file.write_bytes(originals[file])
    assert refusals
    assert all('\n' not in text and str(tmp_path / 'bag') in text for text in refusals)
    assert len(read(tmp_path / 'bag')) == 80
