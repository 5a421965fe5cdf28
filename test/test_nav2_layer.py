# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Nav2's semantic_segmentation_layer can read what we publish, and marks what it should.

`Layer` is a reader of our own that does, message by message, what the layer's source does.
Source: kiwicampus/semantic_segmentation_layer, a70cf6e, segmentation_buffer.{hpp,cpp} and
semantic_segmentation_layer.cpp.
"""

import math
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from diffpixel_core.camera_info import LensCamera
from diffpixel_core.cloud import NavTriple, fill_cloud, nav_triple
from diffpixel_core.geometry import Camera
from diffpixel_core.label_map import load_label_map
from diffpixel_core.labels import UNLABELLED, LabelSpace, load_label_space
from diffpixel_core.messages import fill_image
from diffpixel_ros.outputs import CLOUD_QOS, LATCHED, label_info_message

ROOT = Path(__file__).resolve().parents[1]
COSTMAP = yaml.safe_load((ROOT / 'config' / 'nav2_semantic_layer.yaml').read_text())[
    'local_costmap']['local_costmap']['ros__parameters']
LAYER = COSTMAP['semantic_layer']
SOURCE = LAYER['camera']
SPACE = load_label_map(ROOT / 'config' / 'class_map_nav.yaml', load_label_space('nyu40')).space
FREE, BLOCKED, PERSON = (SPACE.index(name) for name in ('traversable', 'obstacle', 'person'))
RESOLUTION = 0.05  # of Nav2's local costmap, metres
NO_INFORMATION = 255
CAMERA_HEIGHT_M = 0.5


@dataclass
class VisionClass:
    """Stands for vision_msgs/VisionClass, which has no wheel."""

    class_id: int
    class_name: str


@dataclass
class LabelInfo:
    """Stands for vision_msgs/LabelInfo."""

    class_map: list[VisionClass] = field(default_factory=list)
    threshold: float = 0.0


@dataclass
class Tile:
    """What was seen of one tile: for each class the confidences, oldest first."""

    queues: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    dominant: int | None = None

    def push(self, label: int, confidence: int, *, priority: bool) -> None:
        self.queues[label].append(confidence)
        size = len(self.queues[self.dominant]) if self.dominant is not None else 0
        if priority or len(self.queues[label]) > size:
            self.queues = defaultdict(list, {label: self.queues[label]})
            self.dominant = label


class Layer:
    """One observation source; the global frame's z is up, the camera looks along its x."""

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = source
        self.costs = {name: source[kind] for kind in source['class_types']
                      for name in source[kind]['classes']}
        self.table: dict[int, dict[str, Any]] | None = None
        self.tiles: dict[tuple[int, int], Tile] = {}
        self.undefined: list[str] = []
        self.observed: list[int] = []  # pixels that became an observation in the last frame

    def label_info(self, message: LabelInfo) -> None:
        self.table = {}
        for row in message.class_map:
            if row.class_name in self.costs:
                self.table[row.class_id & 0xFF] = self.costs[row.class_name]  # kept as uint8
            else:
                self.undefined.append(row.class_name)

    def frame(self, mask: Image, cloud: PointCloud2, confidence: Image) -> None:
        assert mask.width * mask.height == cloud.width * cloud.height, 'will not buffer'
        assert len(mask.data) >= mask.width * mask.height, 'will not buffer'
        assert self.table, 'the layer would dereference a table it has not got'
        offset = {row.name: row.offset for row in cloud.fields}
        assert all(row.datatype == PointField.FLOAT32 for row in cloud.fields if row.name in 'xyz')
        best: dict[tuple[int, int], int] = {}
        for v in range(mask.height):
            for u in range(mask.width):
                pixel = v * mask.width + u
                x, y, z = (struct.unpack_from('<f', cloud.data, pixel * cloud.point_step
                                              + offset[axis])[0] for axis in 'xyz')
                # The transform to the global frame; NaN stays NaN in all three.
                x, y, z = z, -x, CAMERA_HEIGHT_M - y
                if not math.isfinite(z):
                    continue
                distance = math.dist((x, y, z), (0, 0, CAMERA_HEIGHT_M))
                if not (self.source['min_obstacle_distance'] < distance
                        < self.source['max_obstacle_distance']):
                    continue
                tile = (math.floor(x / RESOLUTION), math.floor(y / RESOLUTION))
                if tile not in best or self._better(pixel, best[tile], mask, confidence):
                    best[tile] = pixel
        self.observed = []
        for tile, pixel in best.items():
            cost = self.table.get(mask.data[pixel])
            if cost is not None:
                self.observed.append(pixel)
                self.tiles.setdefault(tile, Tile()).push(
                    mask.data[pixel], confidence.data[pixel], priority=cost['dominant_priority'])

    def cost(self, x: float, y: float) -> int:
        """Return the cost of the tile at a place in the global frame."""
        tile = self.tiles.get((math.floor(x / RESOLUTION), math.floor(y / RESOLUTION)))
        if tile is None or tile.dominant is None:
            return NO_INFORMATION
        assert self.table is not None
        cost, seen = self.table[tile.dominant], tile.queues[tile.dominant]
        sure = len(seen) >= cost['samples_to_max_cost'] \
            and sum(seen) / len(seen) > cost['mark_confidence']
        return int(cost['max_cost'] if sure else cost['base_cost'])

    def _better(self, pixel: int, held: int, mask: Image, confidence: Image) -> bool:
        if not self.source['use_cost_selection']:
            return bool(confidence.data[pixel] > confidence.data[held])
        assert self.table is not None
        new, old = (self.table.get(mask.data[which], {'max_cost': 0})['max_cost']
                    for which in (pixel, held))
        return bool(new > old)


def on_the_wire(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


def messages(triple: NavTriple) -> tuple[Image, PointCloud2, Image]:
    """The three messages of a frame, as they come out of DDS."""
    header = Header(frame_id='camera')
    mask, confidence, cloud = Image(), Image(), PointCloud2()
    fill_image(mask, triple.mask, encoding='mono8', header=header)
    fill_image(confidence, triple.confidence, encoding='mono8', header=header)
    fill_cloud(cloud, triple.xyz, header, PointField)
    return on_the_wire(mask), on_the_wire(cloud), on_the_wire(confidence)


def layer(space: LabelSpace = SPACE, **changes: Any) -> Layer:
    made = Layer({**SOURCE, **changes})
    made.label_info(label_info_message(LabelInfo, VisionClass, space, threshold=0.0))
    return made


@dataclass
class View:
    """A camera half a metre above a floor, with a box 0.4 m wide 1.2 m ahead and a wall behind."""

    camera: LensCamera
    depth_m: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.uint8]

    def triple(self, stride: int = 1) -> NavTriple:
        return nav_triple(self.depth_m, self.camera, self.labels, self.confidence, stride=stride)


@pytest.fixture
def view() -> View:
    width, height, focal = 81, 61, 50.0
    camera = LensCamera(Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2))
    x, y = np.meshgrid((np.arange(width) - camera.pinhole.cx) / focal,
                       (np.arange(height) - camera.pinhole.cy) / focal)
    with np.errstate(divide='ignore'):
        floor_m = np.where(y > 0, CAMERA_HEIGHT_M / y, np.inf)
    depth_m = np.minimum(floor_m, 2.5)
    labels = np.where(floor_m < 2.5, FREE, UNLABELLED)  # the wall is void
    box = (np.abs(x) * 1.2 < 0.2) & (y * 1.2 < CAMERA_HEIGHT_M) & (y * 1.2 > -0.1)
    depth_m[box], labels[box] = 1.2, BLOCKED
    depth_m[0:3] = 0  # not measured
    return View(camera, depth_m.astype(np.float32), labels.astype(np.uint8),
                np.full(labels.shape, 200, np.uint8))


def test_every_published_class_is_in_exactly_one_type() -> None:
    listed = [name for kind in SOURCE['class_types'] for name in SOURCE[kind]['classes']]
    assert sorted(listed) == sorted(SPACE.names)
    assert layer().undefined == [], 'the layer would log CRITICAL ERROR'


def test_every_parameter_is_one_the_layer_declares_with_its_type() -> None:
    """A wrong type is an exception in the costmap: 3 is not 3.0."""
    declared = {'plugin': str, 'enabled': bool, 'combination_method': int,
                'use_approximate_time_sync': bool, 'observation_sources': str, 'camera': dict}
    of_source = {'segmentation_topic': str, 'confidence_topic': str, 'labels_topic': str,
                 'pointcloud_topic': str, 'observation_persistence': float,
                 'expected_update_rate': float, 'class_types': list, 'max_obstacle_distance': float,
                 'min_obstacle_distance': float, 'tile_map_decay_time': float,
                 'visualize_tile_map': bool, 'use_cost_selection': bool}
    of_type = {'classes': list, 'base_cost': int, 'max_cost': int, 'mark_confidence': int,
               'samples_to_max_cost': int, 'dominant_priority': bool}
    assert {name: type(value) for name, value in LAYER.items()} == declared
    kinds = {kind: SOURCE[kind] for kind in SOURCE['class_types']}
    assert {name: type(value) for name, value in SOURCE.items() if name not in kinds} == of_source
    for kind in kinds.values():
        assert {name: type(value) for name, value in kind.items()} == of_type
        assert all(0 <= kind[name] <= 255 for name in ('base_cost', 'max_cost', 'mark_confidence'))
    assert LAYER['observation_sources'].split() == ['camera']
    plugins = COSTMAP['plugins']
    assert plugins.index('semantic_layer') < plugins.index('inflation_layer')


def test_the_topics_are_the_nodes() -> None:
    published = (ROOT / 'diffpixel_ros' / 'outputs.py').read_text()
    for name in ('segmentation_topic', 'confidence_topic', 'labels_topic', 'pointcloud_topic'):
        assert SOURCE[name].startswith('/semantic/')
        assert f"'{SOURCE[name].removeprefix('/')}'" in published


def test_the_nodes_qos_is_what_the_layer_subscribes_with() -> None:
    """Sensor data for the triple; reliable and latched for the table."""
    assert CLOUD_QOS.durability != DurabilityPolicy.TRANSIENT_LOCAL
    assert (LATCHED.reliability, LATCHED.durability) == (ReliabilityPolicy.RELIABLE,
                                                         DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('cut', [0, 1, 2, 3])
def test_mask_confidence_and_points_have_the_same_pixels(view: View, stride: int, cut: int) -> None:
    """At sizes that no stride divides, too; and a pixel is at v * width + u, without a step."""
    width, height = 81 - cut, 61 - cut
    pinhole = view.camera.pinhole
    camera = LensCamera(Camera(width, height, pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy))
    labels = np.arange(width * height).reshape(height, width).astype(np.uint8)
    triple = nav_triple(view.depth_m[:height, :width], camera, labels,
                        view.confidence[:height, :width], stride=stride)
    mask, cloud, confidence = messages(triple)
    assert (mask.width, mask.height) == (confidence.width, confidence.height) \
        == (cloud.width, cloud.height) == (-(-width // stride), -(-height // stride))
    assert mask.step == confidence.step == mask.width
    assert mask.encoding == confidence.encoding == 'mono8'
    assert cloud.row_step == cloud.point_step * cloud.width
    assert len(cloud.data) == cloud.row_step * cloud.height
    for v, u in np.ndindex(mask.height, mask.width):
        assert mask.data[v * mask.width + u] == labels[v * stride, u * stride]


@pytest.mark.parametrize('stride', [1, 2])
def test_floor_is_free_and_the_box_is_blocked(view: View, stride: int) -> None:
    costmap = layer()
    costmap.frame(*messages(view.triple(stride)))
    assert costmap.cost(0.84, 0.0) == 0
    assert costmap.cost(1.21, 0.0) == SOURCE['blocked']['base_cost'], 'seen once: avoid'
    for _ in range(2):
        costmap.frame(*messages(view.triple(stride)))
    assert costmap.cost(0.84, 0.0) == 0
    assert costmap.cost(1.21, 0.0) == 254, 'seen three times: lethal'
    assert costmap.cost(2.51, 0.0) == NO_INFORMATION, 'the wall has no class here'


def test_what_stands_up_is_seen_at_once_on_known_floor(view: View) -> None:
    """Not only after it was seen more often than the floor."""
    costmap, free = layer(), View(view.camera, view.depth_m, view.labels.copy(), view.confidence)
    free.labels[free.labels == BLOCKED] = FREE
    for _ in range(20):
        costmap.frame(*messages(free.triple(2)))
    assert costmap.cost(1.21, 0.0) == 0
    view.labels[view.labels == BLOCKED] = PERSON
    costmap.frame(*messages(view.triple(2)))
    assert costmap.cost(1.21, 0.0) == 254


def test_doubtful_obstacles_are_avoided_but_not_lethal(view: View) -> None:
    view.confidence[view.labels == BLOCKED] = SOURCE['blocked']['mark_confidence']
    costmap = layer()
    for _ in range(5):
        costmap.frame(*messages(view.triple()))
    assert costmap.cost(1.21, 0.0) == SOURCE['blocked']['base_cost']


@pytest.mark.parametrize('by_cost', [True, False])
def test_void_pixels_are_never_observed(view: View, by_cost: bool) -> None:
    """However certain the network was, and whatever lies on the same tile."""
    random = np.random.default_rng(0)
    view.labels = random.choice(np.array([FREE, BLOCKED, PERSON, UNLABELLED], np.uint8),
                                view.labels.shape)
    view.confidence = np.where(view.labels == UNLABELLED, 255, 100).astype(np.uint8)
    triple = view.triple()
    costmap = layer(use_cost_selection=by_cost)
    costmap.frame(*messages(triple))
    assert costmap.observed
    assert all(triple.mask.flat[pixel] != UNLABELLED for pixel in costmap.observed)
    void = triple.mask == UNLABELLED
    assert not triple.confidence[void].any()
    assert all(np.isnan(triple.xyz[axis][void]).all() for axis in 'xyz')
    view.labels[:] = UNLABELLED
    empty = layer(use_cost_selection=by_cost)
    empty.frame(*messages(view.triple()))
    assert not empty.tiles


def test_void_pixels_with_points_would_hide_the_floor(view: View) -> None:
    """Why they are NaN: one void pixel per tile is enough, as `use_cost_selection: false` shows."""
    random = np.random.default_rng(0)
    view.labels[:] = FREE
    view.labels[random.random(view.labels.shape) < 0.3] = UNLABELLED
    view.confidence = np.where(view.labels == UNLABELLED, 255, 100).astype(np.uint8)
    ours = view.triple()
    known = View(view.camera, view.depth_m, np.full_like(view.labels, FREE), view.confidence)
    naive = NavTriple(view.labels, view.confidence, known.triple().xyz)
    tiles = []
    for triple in (ours, naive):
        costmap = layer(use_cost_selection=False)
        costmap.frame(*messages(triple))
        tiles.append(len(costmap.tiles))
    assert tiles[1] < 0.9 * tiles[0]


def test_unmeasured_pixels_are_never_observed(view: View) -> None:
    view.labels[:] = FREE
    view.depth_m[:, ::2] = 0
    costmap = layer()
    costmap.frame(*messages(view.triple()))
    assert costmap.observed
    assert all(pixel % 81 % 2 for pixel in costmap.observed)


def test_ids_survive_being_cut_to_eight_bits() -> None:
    """LabelInfo has 16 bits, the layer keeps 8: with 255 classes none may meet another."""
    space = load_label_space('numbered255')
    message = label_info_message(LabelInfo, VisionClass, space, threshold=0.0)
    ids = [row.class_id & 0xFF for row in message.class_map]
    assert len(set(ids)) == 255
    assert UNLABELLED not in ids


def test_frames_before_the_table_are_what_the_layer_cannot_take(view: View) -> None:
    """Hence the latched topic, and `label_info: require`."""
    with pytest.raises(AssertionError, match='dereference'):
        Layer(SOURCE).frame(*messages(view.triple()))
