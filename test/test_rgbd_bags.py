# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a camera saw comes out of a bag as it went in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.bags import BagError, BagReader
from diffpixel_core.compressed import decode_colour, decode_depth
from diffpixel_core.geometry import Camera
from diffpixel_core.image_folder import ImageFolderError
from diffpixel_core.rgbd_bags import (
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
    RgbdSample,
    find_rgbd_topics,
    samples_from_folder,
    write_rgbd_bag,
)

CAMERA = Camera(8, 6, 7.0, 7.5, 3.5, 2.5)
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

@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_images_come_out_as_they_went_in(tmp_path: Path, storage: str) -> None:
    given = samples()
    assert write_rgbd_bag(tmp_path / 'bag', given, CAMERA, storage=storage) == 5
    with BagReader(tmp_path / 'bag') as bag:
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
        assert [name for name, topic in bag.topics.items() if topic.latched] == [TF_STATIC_TOPIC]


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
        assert find_rgbd_topics(bag) == (COLOUR_TOPIC, DEPTH_TOPIC, COLOUR_INFO_TOPIC, None,
                                         DEPTH_INFO_TOPIC)


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


def test_samples_that_do_not_fit_leave_nothing_on_the_disk(tmp_path: Path) -> None:
    path, (good, bad) = tmp_path / 'bag', samples(2)
    with pytest.raises(BagError, match='would be empty'):
        write_rgbd_bag(path, [], CAMERA)
    with pytest.raises(BagError, match=r'frame 1 .stamp 5033333333 ns.: depth has shape .3, 8.'):
        write_rgbd_bag(path, [good, replace(bad, depth_m=bad.depth_m[:3])], CAMERA)
    with pytest.raises(BagError, match='frame 1 has the stamp 5000000000 ns, not after'):
        write_rgbd_bag(path, [good, good], CAMERA)
    with pytest.raises(ImageFolderError, match='does not exist'):
        write_rgbd_bag(path, samples_from_folder(tmp_path / 'no', 'mm'), CAMERA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('storage', 'compression'), [
    ('mcap', 'none'), ('mcap', 'zstd-chunk'), ('sqlite3', 'zstd-file'), ('mcap', 'zstd-message')])
def test_compressed_images_hold_what_the_camera_saw(tmp_path: Path, storage: str,
                                                    compression: str) -> None:
    ramp = np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1).astype(np.uint8)
    rgb = np.dstack([3 * ramp, ramp[..., :1]])  # Smooth, as JPEG likes it.
    depth_m = (np.arange(48 * 64).reshape(48, 64) / 1000).astype(np.float32)
    given = [RgbdSample(stamp_ns=5 + i, rgb=rgb, depth_m=depth_m + i,
                        labels=np.full((48, 64), i, np.uint8)) for i in range(3)]
    write_rgbd_bag(tmp_path / 'bag', given, CAMERA, storage=storage, compression=compression,
                   images='compressed')
    with BagReader(tmp_path / 'bag') as bag:
        topics = find_rgbd_topics(bag)
        assert topics == (f'{COLOUR_TOPIC}/compressed', f'{DEPTH_TOPIC}/compressedDepth',
                          COLOUR_INFO_TOPIC, TRUTH_TOPIC, DEPTH_INFO_TOPIC)
        colour = [bag.decode(message) for message in bag.messages([topics.colour])]
        depth = [bag.decode(message) for message in bag.messages([topics.depth])]
        np.testing.assert_array_equal(images(bag, TRUTH_TOPIC), [s.labels for s in given])
    for sample, packed, packed_depth in zip(given, colour, depth, strict=True):
        difference = decode_colour(packed).astype(int) - sample.rgb
        assert np.abs(difference).mean() < 3
        np.testing.assert_allclose(decode_depth(packed_depth), sample.depth_m, atol=1e-6)
        assert packed.header.frame_id == packed_depth.header.frame_id == COLOUR_FRAME


def test_kind_of_images_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="images 'jpeg' are unknown; choose raw or compressed"):
        write_rgbd_bag(tmp_path / 'bag', samples(1), CAMERA, images='jpeg')
