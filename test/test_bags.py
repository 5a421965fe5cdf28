# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Bags come out as they went in, in both storages; damaged or incomplete ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from diffpixel_core.bags import BagError, BagReader, BagWriter

STORAGES = ['mcap', 'sqlite3']
BOTH = pytest.mark.parametrize('storage', STORAGES)
START_NS, STEP_NS = 5_000_000_000, 33_333_333
FLAG = 'std_msgs/msg/Bool', b'\0\1\0\0\1'


def images(count: int = 5, seed: int = 0) -> dict[str, list[npt.NDArray[Any]]]:
    """Return random images by encoding."""
    rng = np.random.default_rng(seed)
    return {'rgb8': list(rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)),
            'mono8': list(rng.integers(0, 256, (count, 6, 8), dtype=np.uint8)),
            '16UC1': list(rng.integers(0, 65536, (count, 6, 8), dtype=np.uint16))}


def write_bag(path: Path, *, storage: str = 'mcap', count: int = 5) -> None:
    """Write images on `/rgb8`, `/mono8`, `/16UC1`, 33 ms apart, and one latched flag."""
    with BagWriter(path, storage=storage) as bag:
        bag.add_raw('/flag', *FLAG, START_NS, latched=True)
        given = images(count)
        for i in range(count):
            for encoding, arrays in given.items():
                bag.add_image(f'/{encoding}', arrays[i], encoding, START_NS + i * STEP_NS, 'camera')


# Round trips.

@BOTH
@pytest.mark.parametrize('name', ['bag', 'a.b', 'single'])
def test_images_come_out_as_they_went_in(tmp_path: Path, storage: str, name: str) -> None:
    if name == 'single':
        name += {'mcap': '.mcap', 'sqlite3': '.db3'}[storage]
    path = tmp_path / 'new' / name
    write_bag(path, storage=storage)
    assert path.is_file() == name.startswith('single')
    with BagReader(path) as bag:
        assert bag.start_ns == START_NS
        assert bag.duration_s == pytest.approx(4 * 0.033333333)
        for encoding, given in images().items():
            found = [bag.decode(message) for message in bag.messages([f'/{encoding}'])]
            assert bag.topics[f'/{encoding}'].count == len(found) == 5
            for i, (image, array) in enumerate(zip(found, given, strict=True)):
                assert (image.height, image.width, image.encoding) == (6, 8, encoding)
                assert image.step * 6 == array.nbytes
                assert image.data.tobytes() == array.tobytes()
                assert image.header.frame_id == 'camera'
                assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == \
                    START_NS + i * STEP_NS
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_both_storages_yield_the_same(tmp_path: Path) -> None:
    contents = []
    for storage in STORAGES:
        write_bag(tmp_path / storage, storage=storage)
        with BagReader(tmp_path / storage) as bag:
            contents.append((bag.topics, sorted(bag.messages())))
    assert contents[0] == contents[1]
    assert len(contents[0][1]) == 1 + 5 * 3


@BOTH
def test_raw_messages_keep_their_bytes_type_time_and_qos(tmp_path: Path, storage: str) -> None:
    write_bag(tmp_path / 'first')
    with BagReader(tmp_path / 'first') as first:
        given = list(first.messages())
        with BagWriter(tmp_path / 'copy', storage=storage) as copy:
            for message in given:
                copy.add_raw(message.topic, message.type, message.raw, message.time_ns,
                             latched=first.topics[message.topic].latched)
        with BagReader(tmp_path / 'copy') as second:
            assert sorted(second.messages()) == sorted(given)
            assert second.topics == first.topics
            assert [name for name, topic in second.topics.items() if topic.latched] == \
                ['/flag']


def test_messages_come_in_time_order_and_only_those_asked_for(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag', count=30)
    with BagReader(tmp_path / 'bag') as bag:
        messages = list(bag.messages(['/mono8', '/16UC1']))
    assert {message.topic for message in messages} == {'/mono8', '/16UC1'}
    times = [message.time_ns for message in messages]
    assert times == sorted(times)
    assert len(times) == 60


# Writing goes wrong.

def test_existing_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match='bag exists already'):
        write_bag(tmp_path / 'bag')
    (tmp_path / 'x.mcap').write_text('mine')
    with pytest.raises(BagError, match=r'x\.mcap exists already'):
        write_bag(tmp_path / 'x.mcap')
    assert (tmp_path / 'x.mcap').read_text() == 'mine'


def write_half(path: Path, storage: str) -> None:
    with BagWriter(path, storage=storage) as bag:
        bag.add_raw('/flag', *FLAG, START_NS)
        raise KeyboardInterrupt


@BOTH
@pytest.mark.parametrize('name', ['bag', 'single'])
def test_failure_leaves_nothing_on_the_disk(tmp_path: Path, storage: str, name: str) -> None:
    path = tmp_path / (name if name == 'bag' else name + ('.mcap' if storage == 'mcap' else '.db3'))
    with pytest.raises(BagError, match='would be empty'), BagWriter(path, storage=storage):
        pass
    with pytest.raises(KeyboardInterrupt):
        write_half(path, storage)
    assert list(tmp_path.iterdir()) == []


def test_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match=r'cannot write bag .*file/bag'):
        write_bag(tmp_path / 'file' / 'bag')


def test_storage_must_be_known_and_match_the_suffix(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="'rosbag1' is unknown; choose mcap or sqlite3"):
        BagWriter(tmp_path / 'bag', storage='rosbag1')
    with pytest.raises(BagError, match=r'ends in \.db3 but storage mcap'):
        BagWriter(tmp_path / 'bag.db3')


@pytest.mark.parametrize(('image', 'encoding'), [
    (np.zeros((6, 8), np.uint8), 'rgb8'), (np.zeros((6, 8, 3), np.uint8), 'mono8'),
    (np.zeros((6, 8), np.int16), '16UC1'), (np.zeros(8, np.uint8), 'mono8'),
    (np.zeros((6, 8), np.uint8), 'yuv422')])
def test_image_that_is_not_of_its_encoding_is_refused(
        tmp_path: Path, image: npt.NDArray[Any], encoding: str) -> None:
    with pytest.raises(BagError, match=f'which is not {encoding}'), \
            BagWriter(tmp_path / 'bag') as bag:
        bag.add_image('/x', image, encoding, 1, 'camera')


def test_topic_keeps_its_type_and_types_must_be_known(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_raw('/x', 'std_msgs/msg/String', b'\0\1\0\0\1\0\0\0\0', 1)
        with pytest.raises(BagError, match='/x has messages of std_msgs/msg/String'):
            bag.add_raw('/x', 'std_msgs/msg/Bool', b'\0\1\0\0\1', 2)
        with pytest.raises(BagError, match='vision_msgs/msg/LabelInfo, which is none of'):
            bag.add_raw('/y', 'vision_msgs/msg/LabelInfo', b'', 2)
        with pytest.raises(BagError, match='has the time -1 ns'):
            bag.add_raw('/x', 'std_msgs/msg/String', b'', -1)


# Reading goes wrong.

@BOTH
@pytest.mark.parametrize('kept', [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('single', [False, True])
def test_bag_cut_short_is_refused(tmp_path: Path, storage: str, kept: float, single: bool) -> None:
    write_bag(tmp_path / 'bag', storage=storage, count=200)
    file, = (path for path in (tmp_path / 'bag').iterdir() if path.suffix != '.yaml')
    data = file.read_bytes()
    file.write_bytes(data[:int(kept * len(data))])
    with pytest.raises(BagError, match=str(tmp_path / 'bag')), \
            BagReader(file if single else tmp_path / 'bag') as bag:
        list(bag.messages())


@pytest.mark.parametrize(('content', 'message'), [
    (None, r'x\.mcap does not exist'), (b'', 'cannot read bag'), (b'hello', 'cannot read bag')])
def test_file_that_is_no_bag_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / 'x.mcap'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BagError, match=message), BagReader(path):
        pass


def test_other_things_that_are_no_bag_are_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'no metadata\.yaml; give the folder'), BagReader(tmp_path):
        pass
    (tmp_path / 'old.bag').write_text('#ROSBAG V2.0')
    with pytest.raises(BagError, match=r'ROS 1 bag, convert it'), BagReader(tmp_path / 'old.bag'):
        pass
    write_bag(tmp_path / 'bag')
    (tmp_path / 'bag/metadata.yaml').unlink()
    with pytest.raises(BagError, match=r'give the file bag\.mcap'), BagReader(tmp_path / 'bag'):
        pass


def edit_metadata(bag: Path, old: str, new: str) -> None:
    """Replace text in metadata.yaml."""
    text = (bag / 'metadata.yaml').read_text()
    assert old in text
    (bag / 'metadata.yaml').write_text(text.replace(old, new))


@pytest.mark.parametrize(('old', 'new'), [
    ('version: 9', 'version: 99'), ('storage_identifier: mcap', 'storage_identifier: tape'),
    ('message_count:', 'message_number:'), ('  duration:', '\t duration:')])
def test_damaged_metadata_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write_bag(tmp_path / 'bag')
    edit_metadata(tmp_path / 'bag', old, new)
    with pytest.raises(BagError, match='cannot read bag'), BagReader(tmp_path / 'bag'):
        pass


def test_empty_bag_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=9):
        pass
    with pytest.raises(BagError, match='is empty'), BagReader(tmp_path / 'bag'):
        pass


@BOTH
def test_qos_that_differs_between_metadata_and_storage_loses_nothing(
        tmp_path: Path, storage: str) -> None:
    write_bag(tmp_path / 'bag', storage=storage)
    with BagReader(tmp_path / 'bag') as bag:
        expected = sorted(bag.messages())
    # As recorders do: an infinite deadline is 0 here and 2147483647 there.
    edit_metadata(tmp_path / 'bag', 'sec: 0', 'sec: 2147483647')
    with BagReader(tmp_path / 'bag') as bag:
        assert sorted(bag.messages()) == expected


def test_fewer_messages_than_counted_are_an_error(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag')
    edit_metadata(tmp_path / 'bag', 'message_count: 5', 'message_count: 6')
    with BagReader(tmp_path / 'bag') as bag, \
            pytest.raises(BagError, match='yields 5 of the 6 messages'):
        list(bag.messages(['/16UC1']))


@pytest.mark.parametrize('mode', [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_bags_are_read(tmp_path: Path, mode: CompressionMode) -> None:
    write_bag(tmp_path / 'plain')
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with BagReader(tmp_path / 'plain') as plain, writer:
        given = list(plain.messages(['/rgb8']))
        connection = writer.add_connection('/rgb8', given[0].type, typestore=store)
        for message in given:
            writer.write(connection, message.time_ns, message.raw)
    with BagReader(tmp_path / 'bag') as bag:
        assert list(bag.messages()) == given


def test_type_described_only_in_the_bag_is_decoded(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('uint16 class_id\nstring class_name', 'our_msgs/msg/Class'))
    message = store.types['our_msgs/msg/Class'](7, 'sofa')
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/class', 'our_msgs/msg/Class', typestore=store)
        writer.write(connection, 1, store.serialize_cdr(message, 'our_msgs/msg/Class'))
    with BagReader(tmp_path / 'bag') as bag:
        found, = (bag.decode(message) for message in bag.messages())
    assert (found.class_id, found.class_name) == (7, 'sofa')


def test_definition_that_cannot_be_parsed_spoils_only_its_own_topic(tmp_path: Path) -> None:
    # As the definitions of service events, which recorders write too.
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        event = writer.add_connection('/event', 'our_msgs/srv/Do_Event', msgdef='bool a\n---\n',
                                      rihs01='RIHS01_0')
        flag = writer.add_connection('/flag', 'std_msgs/msg/Bool',
                                     typestore=get_typestore(Stores.ROS2_JAZZY))
        writer.write(event, 1, b'\0\1\0\0\1')
        writer.write(flag, 2, b'\0\1\0\0\1')
    with BagReader(tmp_path / 'bag') as bag:
        first, second = bag.messages()
        assert bag.decode(second).data is True
        with pytest.raises(BagError, match='cannot read the definition of our_msgs/srv/Do_Event'):
            bag.decode(first)


def test_message_of_wrong_bytes_is_named(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_raw('/x', 'sensor_msgs/msg/Image', b'\0\1\0\0\1', 3)
    with BagReader(tmp_path / 'bag') as bag, \
            pytest.raises(BagError, match='cannot read a message of /x at 3 ns'):
        bag.decode(next(bag.messages()))


def test_missing_topics_are_named_with_what_there_is(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_raw('/x', 'std_msgs/msg/Bool', b'\0\1\0\0\1', 3)
    with BagReader(tmp_path / 'bag') as bag:
        bag.require_topics(['/x'])
        with pytest.raises(BagError, match=r'has no /y and no /z; pass --y\. '
                                           r'It has: /x \(std_msgs/msg/Bool\)'):
            bag.require_topics(['/y', '/x', '/z'], 'pass --y')
        with pytest.raises(BagError, match='has no /y'):
            bag.messages(['/y'])
