# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The streams of an RGB-D camera are found by drivers' names, else by what is in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CameraInfo as CameraInfo
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__RegionOfInterest as Region

from diffpixel_core.bags import BagError, BagReader, BagWriter, message_header
from diffpixel_core.compressed import COMPRESSED_DEPTH_16, encode_colour, encode_compressed_depth
from diffpixel_core.rgbd_bags import COLOUR_TOPIC, DEPTH_TOPIC, TRUTH_TOPIC, find_rgbd_topics

IMAGE, SMALL = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
PIXELS = {'rgb8': (np.uint8, (3,)), 'bgr8': (np.uint8, (3,)), 'mono8': (np.uint8, ()),
          '16UC1': (np.uint16, ()), '32FC1': (np.float32, ())}


def topics_found(tmp_path: Path, topics: dict[str, str]) -> tuple[str | None, ...]:
    """Return what is found among topics given by type, with messages nobody could decode."""
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, kind in topics.items():
            writer.add_raw(topic, kind, b'', 1)
    with BagReader(tmp_path / 'bag') as bag:
        return find_rgbd_topics(bag)


# By name.

@pytest.mark.parametrize(('colour', 'depth', 'info', 'depth_info'), [
    ('/camera/camera/color/image_raw', '/camera/camera/aligned_depth_to_color/image_raw',
     '/camera/camera/color/camera_info', '/camera/camera/aligned_depth_to_color/camera_info'),
    ('/rgb/image_raw', '/depth_to_rgb/image_raw', '/rgb/camera_info', None),
    ('/camera/color/image_raw', '/camera/depth/image_raw', '/camera/color/camera_info',
     '/camera/depth/camera_info'),
    ('/camera/rgb/image_raw', '/camera/depth_registered/image_raw', '/camera/rgb/camera_info',
     None),
    ('/robot/front/color/image_raw/compressed',
     '/robot/front/aligned_depth_to_color/image_raw/compressedDepth',
     '/robot/front/color/camera_info', '/robot/front/aligned_depth_to_color/camera_info'),
])
def test_topics_of_the_common_drivers_are_found(tmp_path: Path, colour: str, depth: str,
                                                info: str, depth_info: str | None) -> None:
    image = SMALL if 'compressed' in colour else IMAGE
    topics = {'/camera/depth/image_rect_raw': IMAGE, '/camera/infra1/image_rect_raw': IMAGE,
              colour: image, depth: image, info: INFO}
    if depth_info is not None:
        topics[depth_info] = INFO
    assert topics_found(tmp_path, topics) == (colour, depth, info, None, depth_info)


def test_registered_depth_is_preferred_and_raw_to_compressed(tmp_path: Path) -> None:
    camera = '/camera/color/image_raw'
    topics = {'/camera/depth/image_raw': IMAGE, DEPTH_TOPIC: IMAGE, camera: IMAGE,
              f'{camera}/compressed': SMALL, f'{DEPTH_TOPIC}/compressedDepth': SMALL,
              TRUTH_TOPIC: IMAGE}
    assert topics_found(tmp_path, topics) == (camera, DEPTH_TOPIC, None, TRUTH_TOPIC, None)


def test_depth_of_its_own_frame_is_not_taken(tmp_path: Path) -> None:
    topics = {COLOUR_TOPIC: IMAGE, '/camera/depth/image_rect_raw': IMAGE}
    with pytest.raises(BagError, match=r'align_depth\.enable:=true.*/camera/depth/image_rect_raw '):
        topics_found(tmp_path, topics)


def test_two_cameras_are_ambiguous(tmp_path: Path) -> None:
    topics = {f'/{side}/{leaf}/image_raw': IMAGE for side in ('left', 'right')
              for leaf in ('color', 'depth')}
    with pytest.raises(BagError, match=r'several .*/left/color/image_raw, /right/color'):
        topics_found(tmp_path, topics)


def test_topics_that_are_named_are_taken_or_missed(tmp_path: Path) -> None:
    odd = {'/head/picture': IMAGE, '/head/range': IMAGE, COLOUR_TOPIC: IMAGE, DEPTH_TOPIC: IMAGE,
           '/head/camera_info': INFO, '/classes': IMAGE}
    topics_found(tmp_path, odd)
    with BagReader(tmp_path / 'bag') as bag:
        found = find_rgbd_topics(bag, colour='/head/picture', depth='/head/range',
                                 truth='/classes')
        assert found == ('/head/picture', '/head/range', '/head/camera_info', '/classes',
                         '/head/camera_info')
        with pytest.raises(BagError, match='no /head/distance'):
            find_rgbd_topics(bag, colour='/head/picture', depth='/head/distance')
        with pytest.raises(BagError, match='no /labels; name the label topic'):
            find_rgbd_topics(bag, truth='/labels')
        with pytest.raises(BagError, match='go together'):
            find_rgbd_topics(bag, depth='/head/range')


# By content.

def write_streams(path: Path, streams: dict[str, tuple[str, int, int]],
                  focal: dict[str, float] | None = None) -> None:
    """Write an image per topic of an encoding, width and height; camera_infos of a focal length."""
    with BagWriter(path) as bag:
        for topic, (encoding, width, height) in streams.items():
            if encoding == 'jpeg':
                rgb = np.zeros((height, width, 3), np.uint8)
                bag.add_compressed_image(topic, *encode_colour(rgb), 1, 'camera')
            elif encoding == COMPRESSED_DEPTH_16:
                depth = np.full((height, width), 1000, np.uint16)
                bag.add_compressed_image(topic, encoding, encode_compressed_depth(depth), 1, 'c')
            else:
                dtype, channels = PIXELS[encoding]
                image: Any = np.ones((height, width, *channels), dtype)
                bag.add_image(topic, image, encoding, 1, 'camera')
        for topic, length in (focal or {}).items():
            k = np.array([length, 0, 32, 0, length, 24, 0, 0, 1], float)
            p = np.insert(k.reshape(3, 3), 3, 0, axis=1).ravel()
            bag.add(topic, CameraInfo(message_header(1, 'camera'), 48, 64, 'plumb_bob', np.zeros(5),
                                      k, np.eye(3).ravel(), p, 0, 0,
                                      Region(0, 0, 0, 0, do_rectify=False)), 1)


def found_in(path: Path) -> tuple[str, str]:
    with BagReader(path) as bag:
        return find_rgbd_topics(bag)[:2]


@pytest.mark.parametrize(('colour', 'depth'), [('bgr8', '32FC1'), ('rgb8', '16UC1'),
                                               ('jpeg', COMPRESSED_DEPTH_16)])
def test_only_colour_and_depth_of_one_size_are_taken(tmp_path: Path, colour: str,
                                                     depth: str) -> None:
    tail, packed = ('/compressed', '/compressedDepth') if colour == 'jpeg' else ('', '')
    write_streams(tmp_path / 'bag', {
        f'/head/picture{tail}': (colour, 64, 48), f'/head/range{packed}': (depth, 64, 48),
        '/wide/picture': ('rgb8', 32, 24), '/semantic': ('16UC1', 64, 48),
        '/semantic/overlay': ('rgb8', 64, 48), '/my_labels': ('16UC1', 64, 48),
        '/head/grey': ('mono8', 64, 48), '/depth/image_rect_raw': ('16UC1', 64, 48)})
    assert found_in(tmp_path / 'bag') == (f'/head/picture{tail}', f'/head/range{packed}')


def test_compressed_twins_are_one_stream(tmp_path: Path) -> None:
    write_streams(tmp_path / 'bag', {
        '/picture': ('rgb8', 64, 48), '/picture/compressed': ('jpeg', 64, 48),
        '/range/compressed': ('16UC1', 64, 48),
        '/range/compressedDepth': (COMPRESSED_DEPTH_16, 64, 48)})
    assert found_in(tmp_path / 'bag') == ('/picture', '/range/compressedDepth')


def test_the_label_topic_is_no_depth(tmp_path: Path) -> None:
    write_streams(tmp_path / 'bag', {'/picture': ('rgb8', 64, 48), '/range': ('16UC1', 64, 48),
                                     '/classes': ('16UC1', 64, 48)})
    with BagReader(tmp_path / 'bag') as bag:
        with pytest.raises(BagError, match=r'several streams .*colour /picture \(rgb8, 64x48\); '
                                           r'depth /classes \(16UC1, 64x48\), /range .*name them'):
            find_rgbd_topics(bag)
        assert find_rgbd_topics(bag, truth='/classes')[:2] == ('/picture', '/range')


def test_camera_infos_that_contradict_say_that_depth_is_not_registered(tmp_path: Path) -> None:
    streams = {'/rgb/picture': ('rgb8', 64, 48), '/tof/range': ('16UC1', 64, 48)}
    write_streams(tmp_path / 'one', streams, {'/rgb/camera_info': 60.0, '/tof/camera_info': 45.0})
    with pytest.raises(BagError, match=r'focal length 45\.0, 45\.0 pixels but colour has 60\.0'):
        found_in(tmp_path / 'one')
    write_streams(tmp_path / 'two', streams, {'/rgb/camera_info': 60.0, '/tof/camera_info': 60.0})
    assert found_in(tmp_path / 'two') == ('/rgb/picture', '/tof/range')


def test_streams_of_different_sizes_are_listed(tmp_path: Path) -> None:
    write_streams(tmp_path / 'bag', {'/picture': ('rgb8', 64, 48), '/range': ('16UC1', 32, 24)})
    with pytest.raises(BagError, match=r'no colour images with depth registered to them by what is '
                                       r'in them: colour /picture .*; depth /range \(16UC1, 32x24'):
        found_in(tmp_path / 'bag')
