# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Bags come out as they went in, whatever their storage, compression and version."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from diffpixel_core.bags import BagError, BagReader, BagWriter
from diffpixel_core.bags.definitions import described

STORAGES = ['mcap', 'sqlite3']
BOTH = pytest.mark.parametrize('storage', STORAGES)
KINDS = pytest.mark.parametrize(('storage', 'compression'), [
    ('mcap', 'none'), ('mcap', 'zstd-file'), ('mcap', 'zstd-message'), ('mcap', 'zstd-chunk'),
    ('sqlite3', 'none'), ('sqlite3', 'zstd-file'), ('sqlite3', 'zstd-message')])
START_NS, STEP_NS = 5_000_000_000, 33_333_333
FLAG = 'std_msgs/msg/Bool', b'\0\1\0\0\1'


def images(count: int = 5, seed: int = 0) -> dict[str, list[npt.NDArray[Any]]]:
    """Return random images by encoding."""
    rng = np.random.default_rng(seed)
    return {'rgb8': list(rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)),
            'mono8': list(rng.integers(0, 256, (count, 6, 8), dtype=np.uint8)),
            '16UC1': list(rng.integers(0, 65536, (count, 6, 8), dtype=np.uint16))}


def write_bag(path: Path, *, storage: str = 'mcap', count: int = 5,
              compression: str = 'none') -> None:
    """Write images on `/rgb8`, `/mono8`, `/16UC1`, 33 ms apart, and one latched flag."""
    with BagWriter(path, storage=storage, compression=compression) as bag:
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


@KINDS
def test_every_storage_and_compression_yields_the_same(tmp_path: Path, storage: str,
                                                       compression: str) -> None:
    write_bag(tmp_path / 'plain')
    write_bag(tmp_path / 'packed', storage=storage, compression=compression)
    with BagReader(tmp_path / 'plain') as plain, BagReader(tmp_path / 'packed') as packed:
        expected = sorted(plain.messages())
        assert sorted(packed.messages()) == expected
        assert packed.topics == plain.topics
        assert (packed.start_ns, packed.duration_s) == (plain.start_ns, plain.duration_s)
        assert len(expected) == 1 + 5 * 3
        assert packed.warnings == []
    file, = (path for path in (tmp_path / 'packed').iterdir() if path.suffix != '.yaml')
    assert (file.suffix == '.zstd') == (compression == 'zstd-file')
    with BagReader(file) as bag:  # The file alone, whose name may say little about what is in it.
        assert sorted(bag.messages()) == expected


def test_compressed_images_come_out_as_they_went_in(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_compressed_image('/x', 'jpeg', b'\xff\xd8', START_NS, 'camera')
    with BagReader(tmp_path / 'bag') as bag:
        image, = (bag.decode(message) for message in bag.messages())
    assert (image.format, image.data.tobytes(), image.header.frame_id) == \
        ('jpeg', b'\xff\xd8', 'camera')


# Older recorders.

def write_old(path: Path, version: int, *, distro: str = '') -> None:
    """Write the content of `write_bag` as recorders of metadata version 1 to 7 did, to SQLite.

    Source: rosbag2_storage/yaml.hpp and sqlite_storage.cpp of Dashing (1) to Iron (7).
    """
    write_bag(path.with_suffix('.new'), storage='sqlite3')
    with BagReader(path.with_suffix('.new')) as bag:
        topics, messages = bag.topics, list(bag.messages())
    path.mkdir()
    qos = ('- history: 3\n  depth: 0\n  reliability: 1\n  durability: 1\n  deadline:\n    sec: 0\n'
           '    nsec: 0\n  lifespan:\n    sec: 0\n    nsec: 0\n  liveliness: 1\n'
           '  liveliness_lease_duration:\n    sec: 0\n    nsec: 0\n'
           '  avoid_ros_namespace_conventions: false')
    database = sqlite3.connect(path / 'old_0.db3')
    extra = ', offered_qos_profiles TEXT NOT NULL' if version >= 4 else ''
    if version >= 7:
        extra += ', type_description_hash TEXT NOT NULL'
        database.execute('CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT,'
                         ' encoding TEXT, encoded_message_definition TEXT, '
                         'type_description_hash TEXT)')
        # Where the recorder had no definition at hand.
        database.execute("INSERT INTO message_definitions VALUES (1, 'std_msgs/msg/Bool', "
                         "'unknown', '', '')")
    database.execute('CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, '
                     f'type TEXT NOT NULL, serialization_format TEXT NOT NULL{extra})')
    database.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, '
                     'timestamp INTEGER NOT NULL, data BLOB NOT NULL)')
    database.execute('CREATE INDEX timestamp_idx ON messages (timestamp ASC)')
    if version >= 6:
        database.execute('CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, '
                         'ros_distro TEXT NOT NULL)')
        database.execute('INSERT INTO schema VALUES (?, ?)', (version - 3, distro))
    numbers = {name: number for number, name in enumerate(topics, 1)}
    for name, number in numbers.items():
        more = ([qos] if version >= 4 else []) + ([''] if version >= 7 else [])
        database.execute(f'INSERT INTO topics VALUES (?, ?, ?, ?{", ?" * len(more)})',
                         (number, name, topics[name].type, 'cdr', *more))
    database.executemany('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
                         [(numbers[m.topic], m.time_ns, m.raw) for m in messages])
    database.commit()
    database.close()
    described_topics = [
        {'topic_metadata': {'name': name, 'type': topic.type, 'serialization_format': 'cdr'}
         | ({'offered_qos_profiles': qos} if version >= 4 else {}), 'message_count': topic.count}
        for name, topic in topics.items()]
    times = {'duration': {'nanoseconds': 4 * STEP_NS},
             'starting_time': {'nanoseconds_since_epoch': START_NS},
             'message_count': len(messages)}
    content = {'version': version, 'storage_identifier': 'sqlite3',
               'relative_file_paths': [f'{path.name}/old_0.db3' if version < 4 else 'old_0.db3'],
               **times, 'topics_with_message_count': described_topics}
    if version >= 3:
        content |= {'compression_format': '', 'compression_mode': ''}
    if version >= 5:
        content |= {'files': [{'path': 'old_0.db3', **times}]}
    if version >= 6:
        content |= {'custom_data': None}
    (path / 'metadata.yaml').write_text(yaml.safe_dump({'rosbag2_bagfile_information': content}))


@pytest.mark.parametrize('version', range(1, 8))
def test_recordings_of_older_releases_yield_the_same(tmp_path: Path, version: int) -> None:
    write_bag(tmp_path / 'new')
    write_old(tmp_path / 'old', version)
    with BagReader(tmp_path / 'new') as new, BagReader(tmp_path / 'old') as old:
        assert sorted(old.messages()) == sorted(new.messages())
        assert {name: (topic.type, topic.count) for name, topic in old.topics.items()} == \
            {name: (topic.type, topic.count) for name, topic in new.topics.items()}
        assert old.topics['/flag'].latched == (version >= 4)
        for message in old.messages(['/rgb8', '/flag']):
            assert str(old.decode(message)) == str(new.decode(message))
    with BagReader(tmp_path / 'old/old_0.db3') as alone:
        assert len(list(alone.messages())) == 16


@BOTH
@pytest.mark.parametrize('version', [8, 9])
def test_versions_that_rosbags_writes_are_read(tmp_path: Path, storage: str,
                                               version: Any) -> None:
    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    with Writer(tmp_path / 'bag', version=version, storage_plugin=plugin) as writer:
        flag = writer.add_connection('/flag', FLAG[0], typestore=get_typestore(Stores.ROS2_JAZZY))
        writer.write(flag, 5, FLAG[1])
    with BagReader(tmp_path / 'bag') as bag:
        assert list(bag.messages()) == [('/flag', FLAG[0], 5, FLAG[1])]


MARKER = 'visualization_msgs/msg/Marker'  # Humble put fields into its middle.


def default(store: Any, kind: str) -> Any:
    """Return a message with a few of its fields set, the others empty."""
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), 'map')
    vector = types['geometry_msgs/msg/Vector3'](1.0, 2.0, 3.0)
    pose = types['geometry_msgs/msg/Pose'](types['geometry_msgs/msg/Point'](4.0, 5.0, 6.0),
                                           types['geometry_msgs/msg/Quaternion'](0, 0, 0, 1))
    return types[kind](header, 'ns', 7, 1, 0, pose, vector,
                       types['std_msgs/msg/ColorRGBA'](1.0, 0.5, 0.25, 1.0),
                       types['builtin_interfaces/msg/Duration'](0, 0), False, [], [], 'text',
                       'mesh', True)


@pytest.mark.parametrize('distro', ['foxy', ''])
def test_types_that_have_changed_are_decoded_as_they_were_recorded(tmp_path: Path,
                                                                   distro: str) -> None:
    foxy = get_typestore(Stores.ROS2_FOXY)
    write_old(tmp_path / 'old', 6, distro=distro)
    database = sqlite3.connect(tmp_path / 'old/old_0.db3')
    database.execute("INSERT INTO topics VALUES (9, '/marker', ?, 'cdr', '')", (MARKER,))
    raw = bytes(foxy.serialize_cdr(default(foxy, MARKER), MARKER))
    database.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (9, 1, ?)', (raw,))
    database.commit()
    database.close()
    with BagReader(tmp_path / 'old/old_0.db3') as bag:
        marker, = (bag.decode(message) for message in bag.messages(['/marker']))
    assert (marker.text, marker.id, marker.pose.position.z) == ('text', 7, 6.0)


def test_split_recordings_come_in_time_order(tmp_path: Path) -> None:
    # As `ros2 bag record -d` splits: more than ten files, _9 before _10, the last two overlapping.
    with BagWriter(tmp_path / 'whole') as writer:
        for i in range(24):
            writer.add_image('/x', images()['mono8'][0] + i, 'mono8', 100 + i, 'camera')
    with BagReader(tmp_path / 'whole') as bag:
        given = list(bag.messages())
    folder = tmp_path / 'split'
    folder.mkdir()
    for part in range(12):
        chosen = given[2 * part:2 * part + 2] if part < 10 else given[20 + part % 2::2]
        with BagWriter(folder / f'split_{part}.mcap') as writer:
            for message in chosen:
                writer.add_raw(message.topic, message.type, message.raw, message.time_ns)
    (folder / 'metadata.yaml').write_text(
        (tmp_path / 'whole/metadata.yaml').read_text().replace(
            '- whole.mcap', '\n'.join(f'- split_{part}.mcap' for part in range(12))
            .replace('\n', '\n  '), 1))
    with BagReader(folder) as bag:
        assert list(bag.messages()) == given
        assert bag.duration_s == pytest.approx(23e-9)
        assert bag.warnings == []


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


def test_storage_must_be_known_and_match_suffix_and_compression(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="'rosbag1' is unknown; choose mcap or sqlite3"):
        BagWriter(tmp_path / 'bag', storage='rosbag1')
    with pytest.raises(BagError, match=r'ends in \.db3 but storage mcap'):
        BagWriter(tmp_path / 'bag.db3')
    with pytest.raises(BagError, match="'lz4' is unknown; choose none, zstd-file"):
        BagWriter(tmp_path / 'bag', compression='lz4')
    with pytest.raises(BagError, match='sqlite3 has no chunks'):
        BagWriter(tmp_path / 'bag', storage='sqlite3', compression='zstd-chunk')
    with pytest.raises(BagError, match=r'bag\.mcap has not; write a folder'):
        BagWriter(tmp_path / 'bag.mcap', compression='zstd-message')


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

@pytest.mark.parametrize(('content', 'message'), [
    (None, r'x\.mcap does not exist'), (b'', 'neither an mcap file nor a SQLite database'),
    (b'hello', 'neither an mcap file nor a SQLite database')])
def test_file_that_is_no_bag_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / 'x.mcap'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BagError, match=message), BagReader(path):
        pass


def test_other_things_that_are_no_bag_are_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r'neither metadata\.yaml nor .*; give the folder'), \
            BagReader(tmp_path):
        pass
    write_bag(tmp_path / 'bag')
    (tmp_path / 'bag/bag.mcap').unlink()
    with pytest.raises(BagError, match=r'lacks bag\.mcap'), BagReader(tmp_path / 'bag'):
        pass
    (tmp_path / 'bag/bag.mcap').mkdir()
    with pytest.raises(BagError, match=r'cannot read bag\.mcap in bag .*Is a directory'), \
            BagReader(tmp_path / 'bag'):
        pass


def edit_metadata(bag: Path, old: str, new: str) -> None:
    """Replace text in metadata.yaml."""
    text = (bag / 'metadata.yaml').read_text()
    assert old in text
    (bag / 'metadata.yaml').write_text(text.replace(old, new))


@pytest.mark.parametrize(('old', 'new', 'reason'), [
    ('version: 9', 'version: 99', 'its version is 99'),
    ('storage_identifier: mcap', 'storage_identifier: tape', "its storage is 'tape'"),
    ('message_count:', 'message_number:', 'the bytes make no sense'),
    ("compression_mode: ''", 'compression_mode: file\n  compression_format: lz4', "'lz4'"),
    ('serialization_format: cdr', 'serialization_format: xml', "serialised as 'xml'"),
    ('  duration:', '\t duration:', 'it is no YAML')])
def test_damaged_metadata_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    write_bag(tmp_path / 'bag')
    edit_metadata(tmp_path / 'bag', "  compression_format: ''\n", '')
    edit_metadata(tmp_path / 'bag', old, new)
    with pytest.raises(BagError, match=rf'cannot read metadata\.yaml in bag .*{reason}'), \
            BagReader(tmp_path / 'bag'):
        pass


def test_empty_bag_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=9):
        pass
    with pytest.raises(BagError, match='is empty'), BagReader(tmp_path / 'bag'):
        pass


@KINDS
def test_qos_that_differs_between_metadata_and_storage_loses_nothing(
        tmp_path: Path, storage: str, compression: str) -> None:
    write_bag(tmp_path / 'bag', storage=storage, compression=compression)
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
            pytest.raises(BagError, match='yields 5 of the 6 messages of /16UC1 that it counts'):
        list(bag.messages(['/16UC1']))


def test_more_messages_than_counted_are_read_and_said(tmp_path: Path) -> None:
    write_bag(tmp_path / 'bag')
    edit_metadata(tmp_path / 'bag', 'message_count: 5', 'message_count: 4')
    with BagReader(tmp_path / 'bag') as bag:
        assert len(list(bag.messages())) == 16
        assert any('has 5 messages of /16UC1, more than the 4' in text for text in bag.warnings)


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


def test_types_beyond_jazzy_are_written_with_their_definition(tmp_path: Path) -> None:
    text = 'uint16 class_id\nour_msgs/Colour colour\n' + '=' * 80 + \
        '\nMSG: our_msgs/Colour\nuint8[3] rgb\n'
    kind = 'our_msgs/msg/Class'
    with BagWriter(tmp_path / 'bag', definitions={kind: text}) as writer:
        writer.add_raw('/class', kind, b'\0\1\0\0\7\0\1\2\3', 1)
    with BagReader(tmp_path / 'bag') as bag:
        found, = (bag.decode(message) for message in bag.messages())
    assert (found.class_id, found.colour.rgb.tolist()) == (7, [1, 2, 3])


def test_definition_in_idl_is_understood() -> None:
    rule = '=' * 80
    text = (f'{rule}\nIDL: our_msgs/msg/Outer\nmodule our_msgs {{ module msg {{ struct Outer {{ '
            'our_msgs::msg::Inner inner; }; }; };\n'
            f'{rule}\nIDL: our_msgs/msg/Inner\nmodule our_msgs {{ module msg {{ struct Inner {{ '
            'uint16 number; }; }; };\n')
    found = described(MessageDefinition(MessageDefinitionFormat.IDL, text), 'our_msgs/msg/Outer')
    assert sorted(found) == ['our_msgs/msg/Inner', 'our_msgs/msg/Outer']


@BOTH
def test_definition_in_an_unknown_language_spoils_nothing(tmp_path: Path, storage: str) -> None:
    # As recorders write where they have no definition at hand.
    path = tmp_path / {'mcap': 'x.mcap', 'sqlite3': 'x.db3'}[storage]
    write_bag(path, storage=storage)
    data = path.read_bytes()
    assert b'ros2msg' in data
    path.write_bytes(re.sub(b'ros2msg', b'unknown', data))
    with BagReader(path) as bag:
        assert len(list(bag.messages())) == 16
        assert bag.decode(next(bag.messages(['/flag']))).data is True


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
