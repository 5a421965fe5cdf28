# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D recordings as bags: what the topics and frames of a camera are called, and what goes there.

Recordings are written as a RealSense camera with aligned depth would make them, and the streams of
other cameras are found by the names their drivers give them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Quaternion as Quaternion
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Transform as Transform
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__TransformStamped as StampedTf
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Vector3 as Vector3
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CameraInfo as CameraInfo
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__RegionOfInterest as Region
from rosbags.typesys.stores.ros2_jazzy import tf2_msgs__msg__TFMessage as TFMessage

from diffpixel_core.bags import BagError, BagReader, BagWriter, message_header
from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.geometry import Camera
from diffpixel_core.image_folder import find_frames, load_pair, read_label, read_pose

COLOUR_TOPIC = '/camera/color/image_raw'
DEPTH_TOPIC = '/camera/aligned_depth_to_color/image_raw'
COLOUR_INFO_TOPIC = '/camera/color/camera_info'
DEPTH_INFO_TOPIC = '/camera/aligned_depth_to_color/camera_info'
TRUTH_TOPIC = '/ground_truth/semantic'
TF_TOPIC = '/tf'
TF_STATIC_TOPIC = '/tf_static'
COLOUR_FRAME = 'camera_color_optical_frame'
CAMERA_FRAME = 'camera_link'
MAP_FRAME = 'map'

# Leaves of the colour topic and of the depth registered to it, under one camera's name.
# Source: the drivers' defaults: realsense-ros 4, Azure Kinect (humble), OpenNI, Orbbec SDK v2.
_DRIVER_TOPICS = (
    ('color/image_raw', 'aligned_depth_to_color/image_raw'),
    ('rgb/image_raw', 'depth_to_rgb/image_raw'),
    ('rgb/image_raw', 'depth_registered/image_raw'),
    ('rgb/image_rect_color', 'depth_registered/image_raw'),
    ('color/image_raw', 'depth/image_raw'),
    ('rgb/image_raw', 'depth/image_raw'),
)
_IMAGE, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
# x forward, y left, z up (camera_link) as seen from x right, y down, z forward (optical).
# Source: REP 103, "Coordinate Frame Conventions", suffix frames.
_LINK_IN_OPTICAL = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)


@dataclass(frozen=True, slots=True)
class RgbdSample:
    """One moment of an RGB-D recording.

    Attributes:
        stamp_ns: Capture time, nanoseconds.
        rgb: `(H, W, 3)` uint8.
        depth_m: `(H, W)` float32 metres, 0 = not measured.
        labels: `(H, W)` uint8 class ids, 255 = unlabelled, or None.
        pose: `(4, 4)` camera-to-world, metres, OpenCV camera axes (z forward), or None.
    """

    stamp_ns: int
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8] | None = None
    pose: npt.NDArray[np.float64] | None = None


class RgbdTopics(NamedTuple):
    """Names of the topics of an RGB-D camera; None where the bag has none."""

    colour: str
    depth: str
    info: str | None
    truth: str | None


def find_rgbd_topics(reader: BagReader, *, colour: str = '', depth: str = '') -> RgbdTopics:
    """Return the topics of the RGB-D camera in a bag, named as one of the common drivers does.

    Args:
        reader: The opened bag.
        colour: Topic of the colour images, where the user knows it; then `depth` too.
        depth: Topic of the depth images registered to them.

    Raises:
        BagError: If there is no colour with depth registered to it, or more than one, or the bag
            lacks a topic that was named.
    """
    kinds = {name: topic.type for name, topic in reader.topics.items() if topic.count}
    if colour or depth:
        if not (colour and depth):
            raise BagError('colour and depth topics go together; name both '
                           '(--rgb-topic, --depth-topic)')
        reader.require_topics([colour, depth], 'give the names this bag uses')
        return _with_companions(colour, depth, kinds)

    def offered(topic: str, compressed: str) -> list[str]:
        return [name for name, kind in ((topic, _IMAGE), (topic + compressed, _COMPRESSED))
                if kinds.get(name) == kind][:1]

    def pairs(colour_leaf: str, depth_leaf: str) -> list[tuple[str, str]]:
        cameras = {name.removesuffix('/compressed').removesuffix(colour_leaf) for name in kinds
                   if name.removesuffix('/compressed').endswith('/' + colour_leaf)}
        return [(colour, depth) for camera in sorted(cameras)
                for colour in offered(camera + colour_leaf, '/compressed')
                for depth in offered(camera + depth_leaf, '/compressedDepth')]

    found = [pair for leaves in _DRIVER_TOPICS for pair in pairs(*leaves)]
    if (COLOUR_TOPIC, DEPTH_TOPIC) in found:
        found = [(COLOUR_TOPIC, DEPTH_TOPIC)]
    if not found:
        raise BagError(f'bag {reader.path} has no colour images with depth registered to them '
                       'under a known name; record with registration on (RealSense '
                       'align_depth.enable:=true, Orbbec depth_registration:=true) or name '
                       f'them (--rgb-topic, --depth-topic). It has: {reader.listing()}')
    if len({colour for colour, _ in found}) > 1:
        raise BagError(f'bag {reader.path} has several RGB-D cameras '
                       f'({", ".join(colour for colour, _ in found)}); name one '
                       '(--rgb-topic, --depth-topic)')
    return _with_companions(*found[0], kinds)


def _with_companions(colour: str, depth: str, kinds: Mapping[str, str]) -> RgbdTopics:
    info = colour.removesuffix('/compressed').rsplit('/', 1)[0] + '/camera_info'
    return RgbdTopics(colour, depth, info if info in kinds else None,
                      TRUTH_TOPIC if TRUTH_TOPIC in kinds else None)


def samples_from_folder(folder: Path, unit: str, *, fps: float = 30.0,
                        start_ns: int = 1_000_000_000) -> Iterator[RgbdSample]:
    """Yield the frames of an image folder at an even rate, with labels and poses where present.

    Args:
        folder: What `image_folder.find_frames` reads.
        unit: Unit of the depth images, one of `depth.DEPTH_UNITS`.
        fps: Frames per second.
        start_ns: Stamp of the first frame; not 0, which means "no time" in ROS.

    Raises:
        BagError: If `fps` is not positive.
        ImageFolderError: If the folder or one of its images is incomplete or damaged.
    """
    for index, file in enumerate(find_frames(folder)):
        rgb, depth_m = load_pair(file, unit)
        yield RgbdSample(stamp_ns=_evenly(start_ns, index, fps), rgb=rgb, depth_m=depth_m,
                         labels=read_label(file.label) if file.label else None,
                         pose=read_pose(file.pose) if file.pose else None)


def write_rgbd_bag(path: Path, samples: Iterable[RgbdSample], camera: Camera, *,
                   storage: str = 'mcap', fps: float | None = None,
                   progress: Callable[[int], None] | None = None) -> int:
    """Write a rosbag2 as a RealSense camera with aligned depth would record it; return the frames.

    Colour is rgb8, depth 16UC1 in millimetres (0 = not measured), ground truth mono8
    (255 = unlabelled); each message is stamped and recorded at its sample's time. `/tf_static`
    tells where the optical frame sits in `camera_link`, `/tf` where `camera_link` is in `map`.

    Args:
        path: A folder, or a `.mcap` or `.db3` file; must not exist.
        samples: At least one, stamps rising.
        camera: The camera of colour and depth; scaled for samples of another size.
        storage: `mcap` or `sqlite3`.
        fps: Restamp the samples at this rate from the first one's stamp on.
        progress: Called after each frame with the number of frames so far.

    Raises:
        BagError: If the path exists, there is no sample, or one does not fit together; then
            nothing is left on the disk.
    """
    count = 0
    with BagWriter(path, storage=storage) as bag:
        for index, sample in enumerate(samples):
            if index == 0:
                first_ns = previous_ns = sample.stamp_ns
                bag.add(TF_STATIC_TOPIC, _transform(sample.stamp_ns, CAMERA_FRAME, COLOUR_FRAME,
                                                    np.linalg.inv(_LINK_IN_OPTICAL)),
                        sample.stamp_ns, latched=True)
            if fps is not None:
                sample = dataclasses.replace(sample, stamp_ns=_evenly(first_ns, index, fps))
            if index > 0 and sample.stamp_ns <= previous_ns:
                raise BagError(f'frame {index} has the stamp {sample.stamp_ns} ns, not after '
                               f'{previous_ns} ns of the frame before; sort them or give fps')
            previous_ns = sample.stamp_ns
            _add_sample(bag, sample, camera, index)
            count += 1
            if progress is not None:
                progress(count)
    return count


def _add_sample(bag: BagWriter, sample: RgbdSample, camera: Camera, index: int) -> None:
    height, width = sample.rgb.shape[:2]
    for name, image in (('depth', sample.depth_m), ('labels', sample.labels)):
        if image is not None and image.shape != (height, width):
            raise BagError(f'frame {index} (stamp {sample.stamp_ns} ns): {name} has shape '
                           f'{image.shape} but colour {sample.rgb.shape}; sizes must be equal')
    stamp_ns = sample.stamp_ns
    info = _camera_info(camera.resized(width, height), stamp_ns)
    if sample.pose is not None:
        bag.add(TF_TOPIC, _transform(stamp_ns, MAP_FRAME, CAMERA_FRAME,
                                     sample.pose @ _LINK_IN_OPTICAL), stamp_ns)
    bag.add(COLOUR_INFO_TOPIC, info, stamp_ns)
    bag.add_image(COLOUR_TOPIC, sample.rgb, 'rgb8', stamp_ns, COLOUR_FRAME)
    bag.add(DEPTH_INFO_TOPIC, info, stamp_ns)
    bag.add_image(DEPTH_TOPIC, depth_in_millimetres(sample.depth_m), '16UC1', stamp_ns,
                  COLOUR_FRAME)
    if sample.labels is not None:
        bag.add_image(TRUTH_TOPIC, sample.labels, 'mono8', stamp_ns, COLOUR_FRAME)


def _camera_info(camera: Camera, stamp_ns: int) -> CameraInfo:
    projection = np.hstack([camera.matrix, np.zeros((3, 1))])
    return CameraInfo(message_header(stamp_ns, COLOUR_FRAME), camera.height, camera.width,
                      'plumb_bob', d=np.zeros(5), k=camera.matrix.ravel(),
                      r=np.eye(3).ravel(), p=projection.ravel(), binning_x=0, binning_y=0,
                      roi=Region(0, 0, 0, 0, do_rectify=False))


def _transform(stamp_ns: int, parent: str, child: str, pose: npt.NDArray[Any]) -> TFMessage:
    """Return the transform message that places `child` in `parent`."""
    vector = cv2.Rodrigues(pose[:3, :3])[0].ravel()  # Axis times angle.
    angle = float(np.linalg.norm(vector))
    x, y, z = vector * (0.5 * np.sinc(angle / (2 * np.pi)))  # Axis times sin(angle / 2).
    rotation = Quaternion(float(x), float(y), float(z), float(np.cos(angle / 2)))
    translation = Vector3(*(float(metres) for metres in pose[:3, 3]))
    return TFMessage([StampedTf(message_header(stamp_ns, parent), child,
                                Transform(translation, rotation))])


def _evenly(start_ns: int, index: int, fps: float) -> int:
    if not fps > 0:
        raise BagError(f'{fps} frames per second are impossible; fps must be positive')
    return start_ns + round(index * 1e9 / fps)
