# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D recordings as bags, written as a RealSense camera with aligned depth would make them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

from diffpixel_core.bags import BagError, BagWriter, message_header
from diffpixel_core.compressed import (
    COMPRESSED_DEPTH_16,
    encode_colour,
    encode_compressed_depth,
)
from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.geometry import Camera
from diffpixel_core.image_folder import find_frames, load_pair, read_label, read_pose
from diffpixel_core.rgbd_topics import (
    COLOUR_INFO_TOPIC,
    COLOUR_TOPIC,
    DEPTH_INFO_TOPIC,
    DEPTH_TOPIC,
    TF_STATIC_TOPIC,
    TF_TOPIC,
    TRUTH_TOPIC,
    RgbdTopics,
    find_rgbd_topics,
)

__all__ = ['CAMERA_FRAME', 'COLOUR_FRAME', 'COLOUR_INFO_TOPIC', 'COLOUR_TOPIC', 'DEPTH_INFO_TOPIC',
           'DEPTH_TOPIC', 'IMAGES', 'MAP_FRAME', 'TF_STATIC_TOPIC', 'TF_TOPIC', 'TRUTH_TOPIC',
           'RgbdSample', 'RgbdTopics', 'find_rgbd_topics', 'samples_from_folder', 'write_rgbd_bag']

IMAGES = ('raw', 'compressed')
COLOUR_FRAME = 'camera_color_optical_frame'
CAMERA_FRAME = 'camera_link'
MAP_FRAME = 'map'

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
                   storage: str = 'mcap', compression: str = 'none', images: str = 'raw',
                   fps: float | None = None,
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
        compression: What `BagWriter` offers.
        images: `raw`, or `compressed`: colour as JPEG on `.../compressed` and depth, losslessly, on
            `.../compressedDepth`, as image_transport publishes them; labels stay raw.
        fps: Restamp the samples at this rate from the first one's stamp on.
        progress: Called after each frame with the number of frames so far.

    Raises:
        BagError: If the path exists, there is no sample, or one does not fit together; then
            nothing is left on the disk.
    """
    if images not in IMAGES:
        raise BagError(f'images {images!r} are unknown; choose {" or ".join(IMAGES)}')
    count = 0
    with BagWriter(path, storage=storage, compression=compression) as bag:
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
            _add_sample(bag, sample, camera, index, images)
            count += 1
            if progress is not None:
                progress(count)
    return count


def _add_sample(bag: BagWriter, sample: RgbdSample, camera: Camera, index: int,
                images: str) -> None:
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
    depth_mm = depth_in_millimetres(sample.depth_m)
    bag.add(COLOUR_INFO_TOPIC, info, stamp_ns)
    if images == 'raw':
        bag.add_image(COLOUR_TOPIC, sample.rgb, 'rgb8', stamp_ns, COLOUR_FRAME)
    else:
        bag.add_compressed_image(f'{COLOUR_TOPIC}/compressed', *encode_colour(sample.rgb), stamp_ns,
                                 COLOUR_FRAME)
    bag.add(DEPTH_INFO_TOPIC, info, stamp_ns)
    if images == 'raw':
        bag.add_image(DEPTH_TOPIC, depth_mm, '16UC1', stamp_ns, COLOUR_FRAME)
    else:
        bag.add_compressed_image(f'{DEPTH_TOPIC}/compressedDepth', COMPRESSED_DEPTH_16,
                                 encode_compressed_depth(depth_mm), stamp_ns, COLOUR_FRAME)
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
