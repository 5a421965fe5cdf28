# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags read as if ROS 2 Jazzy had recorded them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from diffpixel_core.bags import BagError, BagReader, BagWriter
from diffpixel_core.rgbd_bags import find_rgbd_topics

NOETIC = get_typestore(Stores.ROS1_NOETIC)
JAZZY = get_typestore(Stores.ROS2_JAZZY)
IMAGE, INFO, PACKED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo', \
    'sensor_msgs/msg/CompressedImage'
TF, STRING = 'tf2_msgs/msg/TFMessage', 'std_msgs/msg/String'
NOETIC.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', TF))
FORMATS: list[Writer.CompressionFormat | None] = [
    None, Writer.CompressionFormat.BZ2, Writer.CompressionFormat.LZ4]


def contents(store: Any) -> list[tuple[str, str, Any, int]]:
    """Return topic, type, message and time of a short recording, in the types of a store."""
    types = store.types
    rng = np.random.default_rng(0)
    time, is_ros1 = types['builtin_interfaces/msg/Time'], store is NOETIC

    def header(stamp_ns: int) -> Any:
        stamp = time(*divmod(stamp_ns, 10**9))
        kind = types['std_msgs/msg/Header']
        return kind(7, stamp, 'camera') if is_ros1 else kind(stamp, 'camera')

    found = []
    for i in range(4):
        ns = 1_600_000_000_000_000_000 + i * 33_333_333
        colour = types[IMAGE](header(ns), 6, 8, 'rgb8', 0, 24,
                              rng.integers(0, 256, 144, dtype=np.uint8))
        depth = types[IMAGE](header(ns), 6, 8, '16UC1', 0, 16,
                             rng.integers(0, 256, 96, dtype=np.uint8))
        packed = types[PACKED](header(ns), 'jpeg', rng.integers(0, 256, 33 + i, dtype=np.uint8))
        k = np.arange(9.0)
        info = types[INFO](header(ns), 6, 8, 'plumb_bob', np.arange(5.0), k, k + 1, np.arange(12.0),
                           1, 1, types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False))
        cloud = types['sensor_msgs/msg/PointCloud2'](
            header(ns), 1, 2, [types['sensor_msgs/msg/PointField']('x', 0, 7, 1)], False, 4, 8,
            rng.integers(0, 256, 8, dtype=np.uint8), True)
        pose = types['geometry_msgs/msg/TransformStamped'](
            header(ns), 'base', types['geometry_msgs/msg/Transform'](
                types['geometry_msgs/msg/Vector3'](1.0, 2.0, 3.0),
                types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)))
        found += [('/camera/rgb/image_raw', IMAGE, colour, ns),
                  ('/camera/depth/image_raw', IMAGE, depth, ns + 1),
                  ('/camera/rgb/image_raw/compressed', PACKED, packed, ns + 2),
                  ('/camera/rgb/camera_info', INFO, info, ns + 3),
                  ('/cloud', 'sensor_msgs/msg/PointCloud2', cloud, ns + 4),
                  ('/tf', TF, types[TF]([pose]), ns + 5),
                  ('/note', STRING, types[STRING](f'note {i}'), ns + 6)]
    return found


def write_ros1(path: Path, compression: Writer.CompressionFormat | None = None) -> None:
    """Write `contents` as a ROS 1 bag."""
    writer = Writer(path)
    writer.chunk_threshold = 600  # Many chunks.
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        connections: dict[str, Any] = {}
        for topic, kind, message, time_ns in contents(NOETIC):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=NOETIC,
                                                           latching=int(topic == '/note'))
            writer.write(connections[topic], time_ns, NOETIC.serialize_ros1(message, kind))


def write_one(path: Path, topic: str, kind: str, raw: Any, store: Any = NOETIC) -> None:
    with Writer(path) as writer:
        writer.write(writer.add_connection(topic, kind, typestore=store), 5, raw)


@pytest.mark.parametrize('compression', FORMATS)
def test_ros1_bag_equals_the_rosbag2_of_the_same_content(
        tmp_path: Path, compression: Writer.CompressionFormat | None) -> None:
    write_ros1(tmp_path / 'a.bag', compression)
    with BagWriter(tmp_path / 'b') as writer:
        for topic, _, message, time_ns in contents(JAZZY):
            writer.add(topic, message, time_ns, latched=topic == '/note')
    with BagReader(tmp_path / 'a.bag') as one, BagReader(tmp_path / 'b') as two:
        assert list(one.messages()) == list(two.messages())  # To the byte.
        assert len(list(one.messages())) == 28
        assert {name: (topic.type, topic.count, topic.latched)
                for name, topic in one.topics.items()} == \
            {name: (topic.type, topic.count, topic.latched) for name, topic in two.topics.items()}
        assert (one.start_ns, one.duration_s) == (two.start_ns, two.duration_s)
        info = one.decode(next(one.messages(['/camera/rgb/camera_info'])))
        assert info.k.tolist() == list(range(9))
        assert find_rgbd_topics(one) == find_rgbd_topics(two)


def test_only_messages_asked_for_come_out(tmp_path: Path) -> None:
    write_ros1(tmp_path / 'a.bag')
    with BagReader(tmp_path / 'a.bag') as bag:
        assert {message.topic for message in bag.messages(['/tf', '/note'])} == {'/tf', '/note'}
        with pytest.raises(BagError, match='has no /odom'):
            bag.messages(['/odom'])


def test_split_ros1_bags_are_one(tmp_path: Path) -> None:
    for part in (0, 1, 10, 2):
        write_one(tmp_path / f'a_{part}.bag', '/note', STRING,
                  NOETIC.serialize_ros1(NOETIC.types[STRING](str(part)), STRING))
    with BagReader(tmp_path) as bag:
        assert [bag.decode(message).data for message in bag.messages()] == ['0', '1', '2', '10']


def test_transforms_of_the_old_tf_are_those_of_tf2(tmp_path: Path) -> None:
    _, _, message, _ = next(item for item in contents(NOETIC) if item[0] == '/tf')
    text, digest = NOETIC.generate_msgdef(TF, ros_version=1)
    with Writer(tmp_path / 'a.bag') as writer:
        connection = writer.add_connection('/tf', 'tf/msg/tfMessage', msgdef=text, md5sum=digest)
        writer.write(connection, 5, NOETIC.serialize_ros1(message, TF))
    with BagReader(tmp_path / 'a.bag') as bag:
        assert bag.topics['/tf'].type == TF
        found = bag.decode(next(bag.messages()))
    assert found.transforms[0].transform.translation.z == 3.0


def test_fields_that_are_new_in_ros2_are_zero(tmp_path: Path) -> None:
    kind, types = 'sensor_msgs/msg/Range', NOETIC.types
    header = types['std_msgs/msg/Header'](3, types['builtin_interfaces/msg/Time'](4, 5), 'sonar')
    raw = NOETIC.serialize_ros1(types[kind](header, 1, 0.5, 0.25, 4.0, 2.5), kind)
    write_one(tmp_path / 'a.bag', '/sonar', kind, raw)
    with BagReader(tmp_path / 'a.bag') as bag:
        message, = bag.messages()
        found = JAZZY.deserialize_cdr(message.raw, kind)
    assert (found.range, found.variance, found.header.frame_id) == (2.5, 0.0, 'sonar')


def test_type_of_the_bags_own_is_decoded_as_it_describes_it(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    kind = 'our_msgs/msg/Class'
    store.register(get_types_from_msg('Header header\ntime seen\nuint8 id\nstring[] names', kind))
    time = store.types['builtin_interfaces/msg/Time']
    header = store.types['std_msgs/msg/Header'](9, time(1, 2), 'map')
    raw = store.serialize_ros1(store.types[kind](header, time(3, 4), 5, ['sofa', 'bed']), kind)
    write_one(tmp_path / 'a.bag', '/class', kind, raw, store)
    with BagReader(tmp_path / 'a.bag') as bag:
        found = bag.decode(next(bag.messages()))
    assert (found.header.stamp.sec, found.header.frame_id, found.seen.nanosec, found.id,
            found.names) == (1, 'map', 4, 5, ['sofa', 'bed'])


def test_type_that_cannot_be_converted_is_listed_and_refused_by_name(tmp_path: Path) -> None:
    with Writer(tmp_path / 'a.bag') as writer:
        note = writer.add_connection('/note', STRING, typestore=NOETIC)
        # Renamed fields: nothing says that `reading` is the `data` of ROS 2.
        other = writer.add_connection('/temperature', 'std_msgs/msg/Float64', md5sum='0' * 32,
                                      msgdef='float32 reading\n')
        writer.write(note, 5, NOETIC.serialize_ros1(NOETIC.types[STRING]('a'), STRING))
        writer.write(other, 6, b'\0\0\0\0')
    with BagReader(tmp_path / 'a.bag') as bag:
        assert bag.topics['/temperature'].count == 1
        with pytest.raises(BagError, match=r'/temperature \(std_msgs/msg/Float64\) .* has other '
                                           'fields in ROS 1 than in ROS 2; leave it out'):
            bag.messages(['/note', '/temperature'])
        with pytest.raises(BagError, match='/temperature'):
            bag.messages()
        assert len(list(bag.messages(['/note']))) == 1


def test_message_without_fields_is_read(tmp_path: Path) -> None:
    write_one(tmp_path / 'a.bag', '/go', 'std_msgs/msg/Empty', b'')
    with BagReader(tmp_path / 'a.bag') as bag:
        message, = bag.messages()
        bag.decode(message)
    JAZZY.deserialize_cdr(message.raw, 'std_msgs/msg/Empty')


def test_recording_that_was_not_closed_names_the_remedy(tmp_path: Path) -> None:
    write_ros1(tmp_path / 'a.bag')
    data = bytearray((tmp_path / 'a.bag').read_bytes())
    place = data.index(b'index_pos=') + 10
    data[place:place + 8] = bytes(8)
    (tmp_path / 'a.bag.active').write_bytes(data)
    with pytest.raises(BagError, match=r'not indexed.*rosbag reindex .*a\.bag\.active'), \
            BagReader(tmp_path / 'a.bag.active'):
        pass
