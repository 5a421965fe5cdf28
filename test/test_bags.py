# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Bags come out as they went in, in both storages; damaged or incomplete ones are refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from diffpixel_core.bags import (
    CAMERA_FRAME,
    COLOUR_FRAME,
    COLOUR_INFO_TOPIC,
    COLOUR_TOPIC,
    DEPTH_INFO_TOPIC,
    DEPTH_TOPIC,
    MAP_FRAME,
    TF_STATIC_TOPIC,
    TF_TOPIC,
    TRUTH_TOPIC,
    BagError,
    BagReader,
    BagWriter,
    RgbdSample,
    find_rgbd_topics,
    samples_from_folder,
    write_rgbd_bag,
)
from diffpixel_core.geometry import Camera
from diffpixel_core.image_folder import ImageFolderError

CAMERA = Camera(8, 6, 7.0, 7.5, 3.5, 2.5)
STORAGES = ['mcap', 'sqlite3']
BOTH = pytest.mark.parametrize('storage', STORAGES)
PIXELS = {'rgb8': (np.uint8, (3,)), 'mono8': (np.uint8, ()), '16UC1': (np.uint16, ())}


def samples(count: int = 5, seed: int = 0) -> list[RgbdSample]:
    """Return random frames with labels and poses, 33 ms apart."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(rng.normal(size=3))[0]
        pose[:3, 3] = rng.normal(size=3)
        found.append(RgbdSample(
            stamp_ns=5_000_000_000 + i * 33_333_333,
            rgb=rng.integers(0, 256, (6, 8, 3), dtype=np.uint8),
            depth_m=(rng.integers(300, 5000, (6, 8)) / 1000).astype(np.float32),
            labels=rng.integers(0, 40, (6, 8), dtype=np.uint8), pose=pose))
    return found


def pixels(message: Any) -> npt.NDArray[Any]:
    """Return the pixels of an image message."""
    dtype, channels = PIXELS[message.encoding]
    return np.asarray(message.data.view(dtype).reshape(message.height, message.width, *channels))


def images(bag: BagReader, topic: str) -> list[npt.NDArray[Any]]:
    return [pixels(bag.decode(message)) for message in bag.messages([topic])]


def matrix(stamped: Any) -> npt.NDArray[np.float64]:
    """Return a transform message as a matrix, by the textbook formula of quaternions."""
    q, t = stamped.transform.rotation, stamped.transform.translation
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), t.x],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), t.y],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), t.z],
        [0, 0, 0, 1]])


# Round trips.

@BOTH
@pytest.mark.parametrize('name', ['bag', 'a.b', 'single'])
def test_images_come_out_as_they_went_in(tmp_path: Path, storage: str, name: str) -> None:
    if name == 'single':
        name += {'mcap': '.mcap', 'sqlite3': '.db3'}[storage]
    path, given = tmp_path / 'new' / name, samples()
    assert write_rgbd_bag(path, given, CAMERA, storage=storage) == 5
    assert path.is_file() == name.startswith('single')
    with BagReader(path) as bag:
        assert bag.start_ns == given[0].stamp_ns
        assert bag.duration_s == pytest.approx(4 * 0.033333333)
        for topic, expected in ((COLOUR_TOPIC, [sample.rgb for sample in given]),
                                (DEPTH_TOPIC, [np.rint(s.depth_m * 1000) for s in given]),
                                (TRUTH_TOPIC, [sample.labels for sample in given])):
            found = images(bag, topic)
            assert bag.topics[topic].count == len(found) == 5
            np.testing.assert_array_equal(found, np.array(expected))
        for message in bag.messages([COLOUR_TOPIC, DEPTH_TOPIC, TRUTH_TOPIC]):
            header = bag.decode(message).header
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == message.time_ns
            assert header.frame_id == COLOUR_FRAME
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_both_storages_yield_the_same(tmp_path: Path) -> None:
    contents = []
    for storage in STORAGES:
        write_rgbd_bag(tmp_path / storage, samples(), CAMERA, storage=storage)
        with BagReader(tmp_path / storage) as bag:
            contents.append((bag.topics, sorted(bag.messages())))
    assert contents[0] == contents[1]
    assert len(contents[0][1]) == 1 + 5 * 6


@BOTH
def test_raw_messages_keep_their_bytes_type_time_and_qos(tmp_path: Path, storage: str) -> None:
    write_rgbd_bag(tmp_path / 'first', samples(), CAMERA)
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
                [TF_STATIC_TOPIC]


def test_messages_come_in_time_order_and_only_those_asked_for(tmp_path: Path) -> None:
    write_rgbd_bag(tmp_path / 'bag', samples(30), CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        messages = list(bag.messages([TF_TOPIC, DEPTH_TOPIC]))
    assert {message.topic for message in messages} == {TF_TOPIC, DEPTH_TOPIC}
    times = [message.time_ns for message in messages]
    assert times == sorted(times)
    assert len(times) == 60


def test_camera_info_is_that_of_an_undistorted_pinhole(tmp_path: Path) -> None:
    write_rgbd_bag(tmp_path / 'bag', samples(1), CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        for message in bag.messages([COLOUR_INFO_TOPIC, DEPTH_INFO_TOPIC]):
            info = bag.decode(message)
            assert (info.width, info.height, info.distortion_model) == (8, 6, 'plumb_bob')
            assert info.d.tolist() == [0] * 5
            assert info.k.tolist() == [7, 0, 3.5, 0, 7.5, 2.5, 0, 0, 1]
            assert info.p.tolist() == [7, 0, 3.5, 0, 0, 7.5, 2.5, 0, 0, 0, 1, 0]
            assert info.r.tolist() == np.eye(3).ravel().tolist()


def test_transforms_lead_from_the_map_to_the_optical_frame(tmp_path: Path) -> None:
    given = samples(20)
    turned = np.diag([-1.0, 1, -1, 1])  # Half a turn, where naive formulas divide by zero.
    given.append(replace(given[-1], stamp_ns=given[-1].stamp_ns + 1, pose=turned))
    write_rgbd_bag(tmp_path / 'bag', given, CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        static, = (bag.decode(message).transforms[0] for message in bag.messages([TF_STATIC_TOPIC]))
        assert (static.header.frame_id, static.child_frame_id) == (CAMERA_FRAME, COLOUR_FRAME)
        # The optical axis points forward (x of camera_link), image right is to the right (-y).
        np.testing.assert_allclose(matrix(static) @ [0, 0, 1, 0], [1, 0, 0, 0], atol=1e-12)
        np.testing.assert_allclose(matrix(static) @ [1, 0, 0, 0], [0, -1, 0, 0], atol=1e-12)
        for message, sample in zip(bag.messages([TF_TOPIC]), given, strict=True):
            moving, = bag.decode(message).transforms
            assert (moving.header.frame_id, moving.child_frame_id) == (MAP_FRAME, CAMERA_FRAME)
            assert sample.pose is not None
            assert np.abs(matrix(moving) @ matrix(static) - sample.pose).max() < 1e-7


def test_samples_without_labels_and_poses_leave_these_topics_out(tmp_path: Path) -> None:
    bare = [replace(sample, labels=None, pose=None) for sample in samples()]
    write_rgbd_bag(tmp_path / 'bag', bare, CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        assert sorted(bag.topics) == sorted([COLOUR_TOPIC, COLOUR_INFO_TOPIC, DEPTH_TOPIC,
                                             DEPTH_INFO_TOPIC, TF_STATIC_TOPIC])
        assert find_rgbd_topics(bag) == (COLOUR_TOPIC, DEPTH_TOPIC, COLOUR_INFO_TOPIC, None)


def test_unmeasured_depth_becomes_zero(tmp_path: Path) -> None:
    sample = samples(1)[0]
    sample.depth_m[0, :5] = np.nan, np.inf, -1, 0, 1.5
    write_rgbd_bag(tmp_path / 'bag', [sample], CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        assert images(bag, DEPTH_TOPIC)[0][0, :5].tolist() == [0, 0, 0, 0, 1500]


def test_image_size_may_change_and_the_camera_follows(tmp_path: Path) -> None:
    first, second = samples(2)
    second = replace(second, rgb=second.rgb[::2, ::2], depth_m=second.depth_m[::2, ::2],
                     labels=None)
    write_rgbd_bag(tmp_path / 'bag', [first, second], CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        np.testing.assert_array_equal(images(bag, COLOUR_TOPIC)[1], second.rgb)
        info = [bag.decode(message) for message in bag.messages([COLOUR_INFO_TOPIC])][1]
        assert (info.width, info.height, info.k[0]) == (4, 3, 3.5)


def test_rate_restamps_and_progress_counts(tmp_path: Path) -> None:
    counts: list[int] = []
    write_rgbd_bag(tmp_path / 'bag', samples(3), CAMERA, fps=10, progress=counts.append)
    with BagReader(tmp_path / 'bag') as bag:
        times = [message.time_ns for message in bag.messages([DEPTH_TOPIC])]
    assert times == [5_000_000_000, 5_100_000_000, 5_200_000_000]
    assert counts == [1, 2, 3]


def test_folder_goes_through_a_bag_unchanged(tmp_path: Path) -> None:
    given, folder = samples(3), tmp_path / 'frames'
    folder.mkdir()
    for i, sample in enumerate(given):
        cv2.imwrite(str(folder / f'{i}.color.png'), sample.rgb[..., ::-1])
        cv2.imwrite(str(folder / f'{i}.depth.png'), np.rint(sample.depth_m * 1000).astype('u2'))
        if i == 1:
            assert sample.labels is not None and sample.pose is not None  # noqa: PT018
            cv2.imwrite(str(folder / f'{i}.label.png'), sample.labels)
            np.savetxt(folder / f'{i}.pose.txt', sample.pose)
    write_rgbd_bag(tmp_path / 'bag', samples_from_folder(folder, 'mm', fps=20, start_ns=7), CAMERA)
    with BagReader(tmp_path / 'bag') as bag:
        np.testing.assert_array_equal(images(bag, COLOUR_TOPIC), [s.rgb for s in given])
        np.testing.assert_allclose(np.array(images(bag, DEPTH_TOPIC)) / 1000,
                                   [sample.depth_m for sample in given], atol=1e-6)
        truth, = bag.messages([TRUTH_TOPIC])
        np.testing.assert_array_equal(pixels(bag.decode(truth)), given[1].labels)
        assert truth.time_ns == 50_000_007
        assert bag.topics[TF_TOPIC].count == 1


# Writing goes wrong.

def test_existing_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match='bag exists already'):
        write_rgbd_bag(tmp_path / 'bag', samples(), CAMERA)
    (tmp_path / 'x.mcap').write_text('mine')
    with pytest.raises(BagError, match=r'x\.mcap exists already'):
        write_rgbd_bag(tmp_path / 'x.mcap', samples(), CAMERA)
    assert (tmp_path / 'x.mcap').read_text() == 'mine'


def interrupted() -> Iterator[RgbdSample]:
    """Yield some samples, then fail."""
    yield from samples()
    raise KeyboardInterrupt


@BOTH
@pytest.mark.parametrize('name', ['bag', 'single'])
def test_failure_leaves_nothing_on_the_disk(tmp_path: Path, storage: str, name: str) -> None:
    path = tmp_path / (name if name == 'bag' else name + ('.mcap' if storage == 'mcap' else '.db3'))
    good, bad = samples(2)
    with pytest.raises(BagError, match='would be empty'):
        write_rgbd_bag(path, [], CAMERA, storage=storage)
    with pytest.raises(KeyboardInterrupt):
        write_rgbd_bag(path, interrupted(), CAMERA, storage=storage)
    with pytest.raises(BagError, match=r'frame 1 .stamp 5033333333 ns.: depth has shape .3, 8.'):
        write_rgbd_bag(path, [good, replace(bad, depth_m=bad.depth_m[:3])], CAMERA, storage=storage)
    with pytest.raises(BagError, match='frame 1 has the stamp 5000000000 ns, not after'):
        write_rgbd_bag(path, [good, good], CAMERA, storage=storage)
    with pytest.raises(ImageFolderError, match='does not exist'):
        write_rgbd_bag(path, samples_from_folder(tmp_path / 'no', 'mm'), CAMERA, storage=storage)
    assert list(tmp_path.iterdir()) == []


def test_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match=r'cannot write bag .*file/bag'):
        write_rgbd_bag(tmp_path / 'file' / 'bag', samples(), CAMERA)


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
    write_rgbd_bag(tmp_path / 'bag', samples(200), CAMERA, storage=storage)
    file, = (path for path in (tmp_path / 'bag').iterdir() if path.suffix != '.yaml')
    data = file.read_bytes()
    file.write_bytes(data[:int(kept * len(data))])
    with pytest.raises(BagError, match=str(tmp_path / 'bag')), \
            BagReader(file if single else tmp_path / 'bag') as bag:
        list(bag.messages())


@pytest.mark.parametrize(('content', 'message'), [
    (None, r'x\.mcap does not exist'), (b'', 'cannot read it'), (b'hello', 'cannot read it')])
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
    write_rgbd_bag(tmp_path / 'bag', samples(), CAMERA)
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
    write_rgbd_bag(tmp_path / 'bag', samples(), CAMERA)
    edit_metadata(tmp_path / 'bag', old, new)
    with pytest.raises(BagError, match='cannot read it in bag'), BagReader(tmp_path / 'bag'):
        pass


def test_empty_bag_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=9):
        pass
    with pytest.raises(BagError, match='is empty'), BagReader(tmp_path / 'bag'):
        pass


@BOTH
def test_qos_that_differs_between_metadata_and_storage_loses_nothing(
        tmp_path: Path, storage: str) -> None:
    write_rgbd_bag(tmp_path / 'bag', samples(), CAMERA, storage=storage)
    with BagReader(tmp_path / 'bag') as bag:
        expected = sorted(bag.messages())
    # As recorders do: an infinite deadline is 0 here and 2147483647 there.
    edit_metadata(tmp_path / 'bag', 'sec: 0', 'sec: 2147483647')
    with BagReader(tmp_path / 'bag') as bag:
        assert sorted(bag.messages()) == expected


def test_fewer_messages_than_counted_are_an_error(tmp_path: Path) -> None:
    write_rgbd_bag(tmp_path / 'bag', samples(), CAMERA)
    edit_metadata(tmp_path / 'bag', 'message_count: 5', 'message_count: 6')
    with BagReader(tmp_path / 'bag') as bag, \
            pytest.raises(BagError, match='yields 5 of the 6 messages'):
        list(bag.messages([DEPTH_TOPIC]))


@pytest.mark.parametrize('mode', [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_bags_are_read(tmp_path: Path, mode: CompressionMode) -> None:
    write_rgbd_bag(tmp_path / 'plain', samples(), CAMERA)
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with BagReader(tmp_path / 'plain') as plain, writer:
        given = list(plain.messages([COLOUR_TOPIC]))
        connection = writer.add_connection(COLOUR_TOPIC, given[0].type, typestore=store)
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


# Which topics are the camera's.

IMAGE, SMALL = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def topics_found(tmp_path: Path, topics: dict[str, str]) -> tuple[str | None, ...]:
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, kind in topics.items():
            writer.add_raw(topic, kind, b'', 1)
    with BagReader(tmp_path / 'bag') as bag:
        return find_rgbd_topics(bag)


@pytest.mark.parametrize(('colour', 'depth', 'info'), [
    ('/camera/camera/color/image_raw', '/camera/camera/aligned_depth_to_color/image_raw',
     '/camera/camera/color/camera_info'),
    ('/rgb/image_raw', '/depth_to_rgb/image_raw', '/rgb/camera_info'),
    ('/camera/color/image_raw', '/camera/depth/image_raw', '/camera/color/camera_info'),
    ('/camera/rgb/image_raw', '/camera/depth_registered/image_raw', '/camera/rgb/camera_info'),
    ('/robot/front/color/image_raw/compressed',
     '/robot/front/aligned_depth_to_color/image_raw/compressedDepth',
     '/robot/front/color/camera_info'),
])
def test_topics_of_the_common_drivers_are_found(tmp_path: Path, colour: str, depth: str,
                                                info: str) -> None:
    image = SMALL if 'compressed' in colour else IMAGE
    topics = {'/camera/depth/image_rect_raw': IMAGE, '/camera/infra1/image_rect_raw': IMAGE,
              colour: image, depth: image, info: 'sensor_msgs/msg/CameraInfo'}
    assert topics_found(tmp_path, topics) == (colour, depth, info, None)


def test_registered_depth_is_preferred_and_raw_to_compressed(tmp_path: Path) -> None:
    camera = '/camera/color/image_raw'
    topics = {'/camera/depth/image_raw': IMAGE, DEPTH_TOPIC: IMAGE, camera: IMAGE,
              f'{camera}/compressed': SMALL, f'{DEPTH_TOPIC}/compressedDepth': SMALL,
              TRUTH_TOPIC: IMAGE}
    assert topics_found(tmp_path, topics) == (camera, DEPTH_TOPIC, None, TRUTH_TOPIC)


def test_depth_of_its_own_frame_is_not_taken(tmp_path: Path) -> None:
    topics = {COLOUR_TOPIC: IMAGE, '/camera/depth/image_rect_raw': IMAGE}
    with pytest.raises(BagError, match=r'align_depth\.enable:=true.*/camera/depth/image_rect_raw '):
        topics_found(tmp_path, topics)


def test_two_cameras_are_ambiguous(tmp_path: Path) -> None:
    topics = {f'/{side}/{leaf}/image_raw': IMAGE for side in ('left', 'right')
              for leaf in ('color', 'depth')}
    with pytest.raises(BagError, match=r'several .*/left/color/image_raw, /right/color'):
        topics_found(tmp_path, topics)
