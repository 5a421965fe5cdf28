# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Rosbag2 recordings without ROS: write them, read them back, and find the RGB-D streams in them.

A bag comes into being whole or not at all, and reading one either yields every message its
metadata promises or fails: no silent halves.
"""

import contextlib
import dataclasses
import heapq
import logging
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from rosbags.typesys.stores.ros2_jazzy import builtin_interfaces__msg__Time as Time
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Quaternion as Quaternion
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Transform as Transform
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__TransformStamped as StampedTf
from rosbags.typesys.stores.ros2_jazzy import geometry_msgs__msg__Vector3 as Vector3
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CameraInfo as CameraInfo
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as Image
from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__RegionOfInterest as Region
from rosbags.typesys.stores.ros2_jazzy import std_msgs__msg__Header as Header
from rosbags.typesys.stores.ros2_jazzy import tf2_msgs__msg__TFMessage as TFMessage

from diffpixel_core.depth import depth_in_millimetres
from diffpixel_core.errors import DiffPixelError
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
_PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}
_PIXELS: dict[str, tuple[type, tuple[int, ...]]] = {
    'rgb8': (np.uint8, (3,)), 'bgr8': (np.uint8, (3,)), 'mono8': (np.uint8, ()),
    'mono16': (np.uint16, ()), '16UC1': (np.uint16, ()), '32FC1': (np.float32, ())}
# x forward, y left, z up (camera_link) as seen from x right, y down, z forward (optical).
# Source: REP 103, "Coordinate Frame Conventions", suffix frames.
_LINK_IN_OPTICAL = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)

_log = logging.getLogger(__name__)


class BagError(DiffPixelError):
    """A bag that cannot be written, read, or lacks what is asked of it."""


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


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What a bag holds of one topic: message type, message count, the publishers' QoS."""

    type: str
    count: int
    qos: tuple[Qos, ...]

    @property
    def latched(self) -> bool:
        """Whether late subscribers get the last message too."""
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in self.qos)


class BagMessage(NamedTuple):
    """One recorded message; `raw` is CDR as on the wire, `time_ns` when it was recorded."""

    topic: str
    type: str
    time_ns: int
    raw: bytes


class RgbdTopics(NamedTuple):
    """Names of the topics of an RGB-D camera; None where the bag has none."""

    colour: str
    depth: str
    info: str | None
    truth: str | None


class BagWriter:
    """Write a rosbag2, which appears under its name when the `with` block ends without error.

    A path that ends in `.mcap` or `.db3` becomes that single file, which describes itself; any
    other a folder with the file and `metadata.yaml`, as `ros2 bag record` makes.

    Args:
        path: What to write; must not exist.
        storage: `mcap` or `sqlite3`.

    Raises:
        BagError: If the path exists or does not go with the storage, on entering; if nothing was
            written or the disk refuses, on leaving.
    """

    def __init__(self, path: Path, *, storage: str = 'mcap') -> None:
        if storage not in _PLUGINS:
            raise BagError(f'bag storage {storage!r} is unknown; choose mcap or sqlite3')
        self.path = path
        self._is_file = path.suffix in _SUFFIXES.values()
        if self._is_file and path.suffix != _SUFFIXES[storage]:
            raise BagError(f'{path} ends in {path.suffix} but storage {storage} makes '
                           f'{_SUFFIXES[storage]} files; change one of them')
        self._storage = storage
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._connections: dict[str, Connection] = {}
        self._is_empty = True

    def __enter__(self) -> 'BagWriter':
        """Start the bag in a hidden folder beside its final place."""
        self._refuse_existing()
        with self._blaming(), contextlib.ExitStack() as stack:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(
                TemporaryDirectory(prefix=f'.{self.path.name}.', dir=self.path.parent))
            name = self.path.stem if self._is_file else self.path.name
            self._writer = Writer(Path(scratch) / name, version=9,
                                  storage_plugin=_PLUGINS[self._storage])
            self._writer.open()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Move the finished bag to its place, or leave nothing after an error."""
        assert self._writer is not None
        writer, self._writer = self._writer, None
        with self._stack:
            if kind is not None or self._is_empty:
                writer.abort()
                if kind is None:
                    raise BagError(f'bag {self.path} would be empty: no message was given; '
                                   'nothing was written')
                return
            with self._blaming():
                writer.close()
                self._refuse_existing()
                done = writer.path
                if self._is_file:
                    done = done / (done.name + _SUFFIXES[self._storage])
                done.rename(self.path)

    def add_raw(self, topic: str, msgtype: str, raw: bytes | memoryview, time_ns: int, *,
                latched: bool = False) -> None:
        """Write a serialised message.

        Args:
            topic: Its topic; a topic has one type and one QoS, those of its first message.
            msgtype: Its type, such as `sensor_msgs/msg/Image`.
            raw: The message as CDR.
            time_ns: When it was received.
            latched: Offer it to late subscribers too (transient local), as `/tf_static`.
        """
        assert self._writer is not None, 'use BagWriter in a with statement'
        if time_ns < 0:
            raise BagError(f'a message of {topic} has the time {time_ns} ns; times start at 0')
        with self._blaming():
            connection = self._connections.get(topic)
            if connection is None:
                if msgtype not in _jazzy().types:
                    raise BagError(f'{topic} is of type {msgtype}, which is none of ROS 2 Jazzy; '
                                   'leave it out')
                connection = self._connections[topic] = self._writer.add_connection(
                    topic, msgtype, typestore=_jazzy(), offered_qos_profiles=[_qos(latched)])
            if connection.msgtype != msgtype:
                raise BagError(f'{topic} has messages of {connection.msgtype}, a {msgtype} cannot '
                               'go there too')
            self._writer.write(connection, time_ns, raw)
        self._is_empty = False

    def add(self, topic: str, message: Any, time_ns: int, *, latched: bool = False) -> None:
        """Write a message object of `rosbags`, as `BagReader.decode` returns."""
        kind = message.__msgtype__
        self.add_raw(topic, kind, _jazzy().serialize_cdr(message, kind), time_ns, latched=latched)

    def add_image(self, topic: str, array: npt.NDArray[Any], encoding: str, stamp_ns: int,
                  frame_id: str) -> None:
        """Write an image, recorded at its stamp.

        Args:
            topic: Its topic.
            array: `(H, W)` or `(H, W, C)` of the encoding's type.
            encoding: `rgb8`, `bgr8`, `mono8`, `16UC1`, `mono16` or `32FC1`.
            stamp_ns: Its capture time.
            frame_id: The camera's optical frame.

        Raises:
            BagError: If the array is not of this encoding.
        """
        dtype, depth = _PIXELS.get(encoding, (None, ()))
        if array.dtype != dtype or array.ndim < 2 or array.shape[2:] != depth:
            raise BagError(f'an image of {topic} is {array.dtype} of shape {array.shape}, which is '
                           f'not {encoding}')
        height, width = array.shape[:2]
        pixels = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        step = array[:1].nbytes
        self.add(topic, Image(_header(stamp_ns, frame_id), height, width, encoding, 0, step,
                              pixels), stamp_ns)

    def _refuse_existing(self) -> None:
        if self.path.exists():
            raise BagError(f'{self.path} exists already; remove it or choose another name')

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        """Name the bag when the disk refuses."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise BagError(f'cannot write bag {self.path}: {error}') from error


class BagReader:
    """Read a rosbag2: a folder with `metadata.yaml`, or one `.mcap` or `.db3` file.

    Use it in a `with` statement.

    Args:
        path: The folder or file.

    Raises:
        BagError: If it does not exist, is damaged, is empty, or is no rosbag2; on entering.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, TopicInfo] = {}
        self._stack = contextlib.ExitStack()
        self._readers: list[Reader] = []
        self._stores: dict[str, Typestore] = {}

    def __enter__(self) -> 'BagReader':
        """Open the bag and learn what is in it."""
        with contextlib.ExitStack() as stack:
            self._readers = [self._open(self.path, stack)]
            if self.path.is_dir():
                self._mend(stack)
            self.topics = self._inventory()
            if not any(topic.count for topic in self.topics.values()):
                raise BagError(f'bag {self.path} is empty: it has no message; record it again')
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return min(reader.start_time for reader in self._readers)

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last, seconds."""
        # The end that rosbags reports lies one nanosecond after the last message.
        return (max(reader.end_time for reader in self._readers) - 1 - self.start_ns) / 1e9

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
        """Return the messages of some topics (default: all), ordered by recording time.

        Raises:
            BagError: At once if a topic is not in the bag; on the way if the bag is damaged or
                ends before all messages its metadata counts.
        """
        names = list(self.topics) if topics is None else list(topics)
        self.require_topics(names)
        return self._messages(set(names))

    def decode(self, message: BagMessage) -> Any:
        """Return a message as an object with the fields of its type.

        Raises:
            BagError: If its type is unknown or its bytes are not of this type.
        """
        with self._blaming(f'the definition of {message.type}'):
            store = self._stores.get(message.type) or self._learn(message.type)
        if message.type not in store.types:
            raise BagError(f'{message.topic} in {self.path} is of type {message.type}, which is '
                           'neither described in the bag nor part of ROS 2 Jazzy; leave it out')
        with self._blaming(f'a message of {message.topic} at {message.time_ns} ns'):
            return store.deserialize_cdr(message.raw, message.type)

    def require_topics(self, topics: Iterable[str],
                       remedy: str = 'give the names this bag uses') -> None:
        """Refuse a bag that lacks topics.

        Args:
            topics: The names it must have.
            remedy: What the caller's user can do, such as the options to pass.

        Raises:
            BagError: If one is missing; it lists what there is.
        """
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            raise BagError(f'bag {self.path} has no {" and no ".join(missing)}; {remedy}. '
                           f'It has: {self._listing()}')

    def _listing(self) -> str:
        return ', '.join(f'{name} ({topic.type})' for name, topic in sorted(self.topics.items()))

    def _open(self, path: Path, stack: contextlib.ExitStack) -> Reader:
        if not path.exists():
            raise BagError(f'bag {path} does not exist; give a rosbag2 folder or a .mcap or .db3 '
                           'file')
        files = _storage_files(path)
        if path.is_dir() and not (path / 'metadata.yaml').is_file():
            remedy = (f'run `ros2 bag reindex {path}` or give the file {files[0].name} in it'
                      if files else 'give the folder that `ros2 bag record` made')
            raise BagError(f'{path} is no rosbag2: it has no metadata.yaml; {remedy}')
        if not path.is_dir() and path.suffix not in _SUFFIXES.values():
            remedy = ('a ROS 1 bag, convert it with rosbags-convert' if path.suffix == '.bag'
                      else 'give a rosbag2 folder or a .mcap or .db3 file')
            raise BagError(f'{path} is no rosbag2; {remedy}')
        with self._blaming('it'):
            for file in files:
                _refuse_short_database(file)
            return stack.enter_context(Reader(path))

    def _mend(self, stack: contextlib.ExitStack) -> None:
        """Read the storage files one by one where `rosbags` would pass over their messages.

        It matches topics of metadata.yaml to those of the files by name and QoS. Recorders write
        an infinite deadline as 0 here and 2147483647 there, and such a topic yields nothing.
        """
        whole, = self._readers
        with self._blaming('it'):
            silent = [connection.topic for connection in whole.connections
                      if connection.msgcount and next(whole.messages([connection]), None) is None]
        if not silent:
            return
        counted, compression = whole.message_count, whole.compression_mode
        if not compression:
            self._readers = [self._open(file, stack) for file in _storage_files(self.path)]
        found = sum(reader.message_count for reader in self._readers)
        if compression or found != counted:
            raise BagError(f'bag {self.path} counts messages of {", ".join(silent)} but yields '
                           f'none; repair it with `ros2 bag reindex {self.path}`')
        _log.info('%s: metadata.yaml and storage disagree on QoS, reading the storage files',
                  self.path)

    def _inventory(self) -> dict[str, TopicInfo]:
        topics: dict[str, TopicInfo] = {}
        for reader in self._readers:
            for connection in reader.connections:
                known = topics.get(connection.topic, TopicInfo(connection.msgtype, 0, ()))
                qos = tuple(getattr(connection.ext, 'offered_qos_profiles', ()))
                topics[connection.topic] = TopicInfo(
                    known.type, known.count + connection.msgcount, known.qos or qos)
        return topics

    def _messages(self, topics: set[str]) -> Iterator[BagMessage]:
        chosen = [(reader, [connection for connection in reader.connections
                            if connection.topic in topics]) for reader in self._readers]
        # Without connections `rosbags` would read all of them.
        sources = [reader.messages(connections) for reader, connections in chosen if connections]
        expected = sum(self.topics[topic].count for topic in topics)
        count = 0
        with self._blaming('it'):
            for connection, time_ns, raw in heapq.merge(*sources, key=itemgetter(1)):
                count += 1
                yield BagMessage(connection.topic, connection.msgtype, time_ns, raw)
        if count != expected:
            raise BagError(f'bag {self.path} yields {count} of the {expected} messages its '
                           'metadata counts; copy it again or repair it with `ros2 bag reindex`')

    def _learn(self, kind: str) -> Typestore:
        """Return the types of a message: as described in the bag, as newer ones do, or Jazzy's."""
        store = _jazzy()
        for reader in self._readers:
            for connection in reader.connections:
                definition = connection.msgdef
                if connection.msgtype == kind and definition.format is MessageDefinitionFormat.MSG:
                    store = get_typestore(Stores.EMPTY)
                    store.register(get_types_from_msg(definition.data, kind))
        self._stores[kind] = store
        return store

    @contextlib.contextmanager
    def _blaming(self, what: str) -> Iterator[None]:
        """Name the bag whatever goes wrong: parsers of damaged bytes raise anything."""
        try:
            yield
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip('.')
            raise BagError(f'cannot read {what} in bag {self.path}: {reason}; the bag is damaged '
                           'or of an unknown kind, copy or record it again') from error


def find_rgbd_topics(reader: BagReader) -> RgbdTopics:
    """Return the topics of the RGB-D camera in a bag, named as one of the common drivers does.

    Raises:
        BagError: If there is no colour with depth registered to it, or more than one.
    """
    kinds = {name: topic.type for name, topic in reader.topics.items() if topic.count}

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
                       'align_depth.enable:=true, Orbbec depth_registration:=true) or give the '
                       f'topics by name. It has: {reader._listing()}')
    if len({colour for colour, _ in found}) > 1:
        raise BagError(f'bag {reader.path} has several RGB-D cameras '
                       f'({", ".join(colour for colour, _ in found)}); give the topics by name')
    colour, depth = found[0]
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
    return CameraInfo(_header(stamp_ns, COLOUR_FRAME), camera.height, camera.width, 'plumb_bob',
                      d=np.zeros(5), k=camera.matrix.ravel(), r=np.eye(3).ravel(),
                      p=projection.ravel(), binning_x=0, binning_y=0,
                      roi=Region(0, 0, 0, 0, do_rectify=False))


def _transform(stamp_ns: int, parent: str, child: str, pose: npt.NDArray[Any]) -> TFMessage:
    """Return the transform message that places `child` in `parent`."""
    vector = cv2.Rodrigues(pose[:3, :3])[0].ravel()  # Axis times angle.
    angle = float(np.linalg.norm(vector))
    x, y, z = vector * (0.5 * np.sinc(angle / (2 * np.pi)))  # Axis times sin(angle / 2).
    rotation = Quaternion(float(x), float(y), float(z), float(np.cos(angle / 2)))
    translation = Vector3(*(float(metres) for metres in pose[:3, 3]))
    return TFMessage([StampedTf(_header(stamp_ns, parent), child,
                                Transform(translation, rotation))])


def _header(stamp_ns: int, frame_id: str) -> Header:
    return Header(Time(*divmod(stamp_ns, 1_000_000_000)), frame_id)


def _evenly(start_ns: int, index: int, fps: float) -> int:
    if not fps > 0:
        raise BagError(f'{fps} frames per second are impossible; fps must be positive')
    return start_ns + round(index * 1e9 / fps)


def _refuse_short_database(file: Path) -> None:
    """Refuse a SQLite file that lacks its end, which SQLite itself would read as zeros.

    Source: https://www.sqlite.org/fileformat.html, section 1.3, offsets 16, 24, 28 and 92.
    """
    with file.open('rb') as stream:
        header = stream.read(100)
    if len(header) < 100 or not header.startswith(b'SQLite format 3\0'):
        return  # The reader says what is wrong with it, or it is no SQLite file.
    page_bytes, = struct.unpack_from('>H', header, 16)
    change, pages = struct.unpack_from('>II', header, 24)
    size, promised = file.stat().st_size, pages * (65536 if page_bytes == 1 else page_bytes)
    if header[92:96] == change.to_bytes(4, 'big') and size < promised:
        raise ValueError(f'{file.name} has {size} of its {promised} bytes')


def _storage_files(path: Path) -> list[Path]:
    """Return the storage files of a bag in the order they were recorded."""
    if not path.is_dir():
        return [path]
    files = [file for suffix in _SUFFIXES.values() for file in path.glob(f'*{suffix}')]
    return sorted(files, key=lambda file: (len(file.name), file.name))  # _9 before _10.


@cache
def _jazzy() -> Typestore:
    return get_typestore(Stores.ROS2_JAZZY)


def _qos(latched: bool) -> Qos:
    unset = QosTime(0, 0)
    return Qos(QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE,
               QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE, unset, unset,
               QosLiveliness.SYSTEM_DEFAULT, unset, avoid_ros_namespace_conventions=False)
