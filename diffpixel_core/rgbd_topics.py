# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of a bag that are an RGB-D camera's: by drivers' names, else by what is in them."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from diffpixel_core.bags import BagError, BagReader
from diffpixel_core.camera_info import alignment
from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS
from diffpixel_core.messages import MessageError

COLOUR_TOPIC = '/camera/color/image_raw'
DEPTH_TOPIC = '/camera/aligned_depth_to_color/image_raw'
COLOUR_INFO_TOPIC = '/camera/color/camera_info'
DEPTH_INFO_TOPIC = '/camera/aligned_depth_to_color/camera_info'
TRUTH_TOPIC = '/ground_truth/semantic'
TF_TOPIC = '/tf'
TF_STATIC_TOPIC = '/tf_static'

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
_UNREGISTERED = 'depth/image_rect_raw'  # realsense-ros: depth as the infrared camera sees it
# What labels, infrared images and the outputs of segmentation are called: never a camera's stream.
_OTHER_IMAGES = ('semantic', 'segment', 'label', 'mask', 'truth', 'confidence', 'overlay', 'infra',
                 '/ir/')
_IMAGE, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_INFO = 'sensor_msgs/msg/CameraInfo'
_REMEDY = 'name them (--rgb-topic, --depth-topic)'

_log = logging.getLogger(__name__)


class RgbdTopics(NamedTuple):
    """Names of the topics of an RGB-D camera; None where the bag has none.

    `info` and `depth_info` are the camera_infos of colour and depth, `truth` is a label image.
    """

    colour: str
    depth: str
    info: str | None
    truth: str | None
    depth_info: str | None = None


class _Stream(NamedTuple):
    """What the first message of an image topic says."""

    topic: str
    what: str  # encoding or format
    size: tuple[int, int]  # height, width


def find_rgbd_topics(reader: BagReader, *, colour: str = '', depth: str = '',
                     truth: str = '') -> RgbdTopics:
    """Return the topics of the RGB-D camera in a bag.

    Without names these are the one camera whose topics are called as one of the common drivers
    does, raw images before compressed ones; failing that, the only colour stream with a depth
    stream of the same size whose camera_infos, if there are any, do not contradict.

    Args:
        reader: The opened bag.
        colour: Topic of the colour images, where the user knows it; then `depth` too.
        depth: Topic of the depth images registered to them.
        truth: Topic of the true labels; `/ground_truth/semantic` if there is one.

    Raises:
        BagError: If there is no colour with depth registered to it, or more than one, or the bag
            lacks a topic that was named.
    """
    kinds = {name: topic.type for name, topic in reader.topics.items() if topic.count}
    if truth:
        reader.require_topics([truth], 'name the label topic of this bag')
    elif kinds.get(TRUTH_TOPIC) == _IMAGE:
        truth = TRUTH_TOPIC
    if colour or depth:
        if not (colour and depth):
            raise BagError('colour and depth topics go together; name both '
                           '(--rgb-topic, --depth-topic)')
        reader.require_topics([colour, depth], 'give the names this bag uses')
    else:
        colour, depth = _find_by_name(reader, kinds) or _find_by_content(reader, kinds, truth)
    return RgbdTopics(colour, depth, _info_of(colour, kinds), truth or None,
                      _info_of(depth, kinds))


def _find_by_name(reader: BagReader, kinds: Mapping[str, str]) -> tuple[str, str] | None:
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
        return COLOUR_TOPIC, DEPTH_TOPIC
    if len({colour for colour, _ in found}) > 1:
        raise BagError(f'bag {reader.path} has several RGB-D cameras '
                       f'({", ".join(colour for colour, _ in found)}); name one '
                       '(--rgb-topic, --depth-topic)')
    return found[0] if found else None


def _find_by_content(reader: BagReader, kinds: Mapping[str, str], truth: str) -> tuple[str, str]:
    """Return the only colour and depth streams that fit together, judged by their first images."""
    colours: list[_Stream] = []
    depths: list[_Stream] = []
    for topic, kind in sorted(kinds.items()):
        raw = topic.removesuffix('/compressedDepth').removesuffix('/compressed')
        is_twin = raw != topic and (kinds.get(raw) == _IMAGE or (
            topic.endswith('/compressed') and raw + '/compressedDepth' in kinds))
        is_other = topic == truth or any(word in topic.lower() for word in _OTHER_IMAGES)
        if kind not in (_IMAGE, _COMPRESSED) or is_twin or is_other or raw.endswith(_UNREGISTERED):
            continue
        _sort_in(topic, kind, _first(reader, topic), colours, depths)
    fitting = [(colour.topic, depth.topic) for colour in colours for depth in depths
               if colour.size == depth.size]
    contradictions = {pair: text for pair in fitting
                      if (text := _contradiction(reader, kinds, *pair))}
    agreed = [pair for pair in fitting if pair not in contradictions]
    if len(agreed) == 1:
        _log.info('%s: colour is %s and depth %s, the only streams of one size', reader.path,
                  *agreed[0])
        return agreed[0]
    if len(agreed) > 1:
        raise BagError(f'bag {reader.path} has several streams that could be an RGB-D camera: '
                       f'colour {_shown(colours)}; depth {_shown(depths)}; {_REMEDY}')
    if colours and not depths and not any(topic.endswith(_UNREGISTERED) for topic in kinds):
        raise BagError(f'bag {reader.path} has colour ({_shown(colours)}) but no depth images; a '
                       'depth topic is needed even with --missing-depth rgb_only, which is for '
                       f'depth that falls silent; record depth too or {_REMEDY}. '
                       f'It has: {reader.listing()}')
    seen = (f' by what is in them: colour {_shown(colours)}; depth {_shown(depths)}'
            if colours and depths else ' under a known name')
    raise BagError(f'bag {reader.path} has no colour images with depth registered to them{seen}'
                   f'{"".join(f" ({text})" for text in contradictions.values())}; record with '
                   'registration on (RealSense align_depth.enable:=true, Orbbec '
                   f'depth_registration:=true) or {_REMEDY}. It has: {reader.listing()}')


def _sort_in(topic: str, kind: str, message: Any, colours: list[_Stream],
             depths: list[_Stream]) -> None:
    """Add a topic to the colours or the depths, or to neither, by its first message."""
    if message is None:
        return
    what = str(message.encoding if kind == _IMAGE else message.format)
    for codecs, streams in ((DEPTH_CODECS, depths), (COLOUR_CODECS, colours)):
        try:
            size = codecs[kind].check(message)
        except MessageError:
            continue
        # Grey images are labels or infrared, at best a camera without colour.
        if streams is depths or not what.startswith('mono'):
            streams.append(_Stream(topic, what, size))
        return


def _contradiction(reader: BagReader, kinds: Mapping[str, str], colour: str, depth: str) -> str:
    """Return why two streams of one size are not one camera's, or ''."""
    topics = _info_of(colour, kinds), _info_of(depth, kinds)
    if topics[0] is None or topics[1] is None or topics[0] == topics[1]:
        return ''
    infos = _first(reader, topics[0]), _first(reader, topics[1])
    if infos[0] is None or infos[1] is None:
        return ''
    found = alignment(*infos)
    return found.text if found.verdict == 'unaligned' else ''


def _first(reader: BagReader, topic: str) -> Any:
    """Return the first message of a topic, decoded; None if it cannot be read."""
    try:
        return reader.decode(next(reader.messages([topic])))
    except (BagError, StopIteration):
        return None  # Not this topic then; whoever reads it later says what is wrong.


def _shown(streams: list[_Stream]) -> str:
    return ', '.join(f'{stream.topic} ({stream.what}, {stream.size[1]}x{stream.size[0]})'
                     for stream in streams) or 'none'


def _info_of(image: str, kinds: Mapping[str, str]) -> str | None:
    base = image.removesuffix('/compressedDepth').removesuffix('/compressed')
    info = base.rsplit('/', 1)[0] + '/camera_info'
    return info if kinds.get(info) == _INFO else None
