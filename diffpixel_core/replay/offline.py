# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One bag through the synchroniser and the network, as fast as the machine goes, without ROS.

    bag -> Synchroniser -> Intake -> Segmenter -> labels -> prediction bag
                 the node's own, all three          '-> Scorer -> Tally

Every pair is segmented: nothing is dropped because something newer has come.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diffpixel_core.bags import BagMessage, BagReader
from diffpixel_core.camera_info import alignment
from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS
from diffpixel_core.frame import Frame, FrameError
from diffpixel_core.intake import DepthSettings, Intake, finish
from diffpixel_core.label_map import LabelMap, load_label_map
from diffpixel_core.messages import MessageError, stamp_ns
from diffpixel_core.pairing import PairCounts
from diffpixel_core.replay.ahead import ahead
from diffpixel_core.replay.predictions import PredictionBag
from diffpixel_core.replay.scoring import Outcome, Scorer
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.tally import Tally, rate_hz
from diffpixel_core.replay.truth import FolderTruth, TopicTruth, Truth
from diffpixel_core.rgbd_topics import TF_STATIC_TOPIC, TF_TOPIC, RgbdTopics, find_rgbd_topics
from diffpixel_core.segmenter import Segmenter
from diffpixel_core.synchronise import Synchroniser

_QUEUE = 50  # messages of a stream that wait for a partner; files are written more unevenly
_JUMP_BACK_NS = 100_000_000  # as the node's jump_back_reset
_AHEAD = 6  # frames and other messages that are ready before the network asks for them
_STREAM_CAUSES = ('unpaired', 'overflow', 'reset', 'duplicate')
_TF_TYPE = 'tf2_msgs/msg/TFMessage'
_LABEL_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')

Progress = Callable[[int, int], None]  # colour images done, colour images in the bag


class _Colour(NamedTuple):
    """A colour message on its way: when it was recorded, its place, milliseconds to read it."""

    message: Any
    time_ns: int
    place: int
    read_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A frame to segment, with what its outcome needs."""

    frame: Frame
    colour: _Colour
    now_ns: int
    ms: dict[str, float]


class _Done(NamedTuple):
    """A frame that has been segmented; when its colour image was recorded, when it came out."""

    outcome: Outcome
    time_ns: int
    now_ns: int


class _Aside(NamedTuple):
    """Another message of the bag, raw and decoded: its role is `truth`, `info`, `tf` or so."""

    role: str
    raw: BagMessage
    message: Any


def replay_bag(bag: Path, settings: ReplaySettings, segmenter: Segmenter, predictions: Path, *,
               progress: Progress | None = None) -> Tally:
    """Return what came of one bag, and write its predictions.

    Args:
        bag: The recording.
        settings: How to replay it; the model is already in the segmenter.
        segmenter: The network.
        predictions: The `.mcap` file to write, which must not exist.
        progress: Called after each colour image.

    Raises:
        BagError: If the bag is damaged or lacks the topics.
        ReplayError: If no pair comes out, or the truth folder does not fit.
        LabelError: If the class map does not fit the network.
    """
    started = time.perf_counter()
    label_map = load_label_map(settings.class_map, segmenter.label_space)
    with BagReader(bag) as reader:
        topics = replay_topics(reader, settings)
        tally = Tally(str(bag), label_map.space, topics=_by_role(topics),
                      bag_s=reader.duration_s)
        tally.notes += reader.warnings
        truth = find_truth(reader, topics, settings)
        if truth is not None:
            tally.topics['truth'] = truth.where
        scorer = Scorer(tally, truth=truth, truth_space=settings.truth_space,
                        model_space=segmenter.label_space, label_map=label_map)
        manifest = segmenter.manifest
        model = {'name': manifest.model, 'weights_sha256': manifest.weights_sha256}
        source = _Source(reader, topics, settings, tally)
        total = reader.topics[topics.colour].count
        # Reading, the network and scoring each have a thread, so that none waits for another.
        with PredictionBag(predictions, label_map.space, model) as written, \
                ahead(source.events(), _AHEAD) as events, \
                ahead(_segmented(events, segmenter, settings, label_map), _AHEAD) as results:
            for result in results:
                if isinstance(result, _Aside):
                    _take_aside(result, scorer, truth, written)
                    continue
                outcome = result.outcome
                written.add(outcome.labels, outcome.confidence, stamp_ns=outcome.stamp_ns,
                            frame_id=outcome.frame_id, time_ns=result.time_ns)
                scorer.add(outcome, result.now_ns)
                if progress is not None:
                    progress(outcome.place + 1, total)
            scorer.finish()
            if not tally.frames_out:
                raise ReplayError(_nothing_out(tally, settings))
    tally.run_s = time.perf_counter() - started
    return tally


def replay_topics(reader: BagReader, settings: ReplaySettings) -> RgbdTopics:
    """Return the topics to replay, all of a type that can be read; no truth if it is in a folder.

    Raises:
        BagError: If the bag has no such topics, or several RGB-D cameras.
        ReplayError: If one is of another type, or has no message.
    """
    in_folder = bool(settings.truth) and _is_folder(settings.truth, reader)
    topics = find_rgbd_topics(reader, colour=settings.colour_topic, depth=settings.depth_topic,
                              truth='' if in_folder else settings.truth)
    if in_folder:
        topics = topics._replace(truth=None)
    for topic, known in ((topics.colour, COLOUR_CODECS), (topics.depth, DEPTH_CODECS)):
        kind = reader.topics[topic].type
        if kind not in known:
            raise ReplayError(f'{topic} in {reader.path} is {kind}, it must be '
                              f'{" or ".join(known)}; name another (--rgb-topic, --depth-topic)')
        if not reader.topics[topic].count:
            raise ReplayError(f'{topic} in {reader.path} has no message; record it again, or name '
                              'another (--rgb-topic, --depth-topic)')
    return topics


def find_truth(reader: BagReader, topics: RgbdTopics, settings: ReplaySettings) -> Truth | None:
    """Return where the truth of a bag is: as the settings say, else its own topic, if it has one.

    Args:
        reader: The bag.
        topics: From `replay_topics`.
        settings: How it is replayed.

    Raises:
        ReplayError: If the topic is no label topic, or the folder does not fit.
    """
    tolerance_ns = settings.slop_ns // 2
    if settings.truth and topics.truth is None:
        frames = reader.topics[topics.colour].count
        return FolderTruth(Path(settings.truth), frames, tolerance_ns)
    topic = topics.truth
    if topic is None:
        return None
    kind, count = reader.topics[topic].type, reader.topics[topic].count
    if kind not in _LABEL_TYPES:
        raise ReplayError(f'{topic} in {reader.path} is {kind}; labels come as '
                          f'{" or ".join(_LABEL_TYPES)}')
    return TopicTruth(topic, count, tolerance_ns)


def _is_folder(truth: str, reader: BagReader) -> bool:
    """Tell a folder from a topic: one that exists, or what cannot be a topic's full name."""
    return Path(truth).is_dir() or (truth not in reader.topics and not truth.startswith('/'))


class _Source:
    """Reads a bag and makes frames; counts in the tally what never becomes one."""

    def __init__(self, reader: BagReader, topics: RgbdTopics, settings: ReplaySettings,
                 tally: Tally) -> None:
        self._reader = reader
        self._topics = topics
        self._settings = settings
        self._tally = tally
        kinds = reader.topics
        self._intake = Intake(COLOUR_CODECS[kinds[topics.colour].type],
                              DEPTH_CODECS[kinds[topics.depth].type], DepthSettings())
        self._pairs = 0
        self._colour_ns: tuple[int, int] | None = None  # when the first and the last was recorded
        self._roles = self._find_roles()

    def events(self) -> Iterator[_Ready | _Aside]:
        """Yield frames as soon as their pair is certain, and other messages as they come."""
        synchroniser: Synchroniser[_Colour, tuple[Any, float]] = Synchroniser(
            self._settings.slop_ns, queue=_QUEUE, jump_back_ns=_JUMP_BACK_NS,
            missing_depth=self._settings.missing_depth)
        colour_info = depth_info = None
        now_ns = 0
        begun = time.perf_counter()
        for raw in self._reader.messages(list(self._roles)):
            now_ns = raw.time_ns
            role = self._roles[raw.topic]
            message = self._reader.decode(raw)
            read_ms = (time.perf_counter() - begun) * 1e3
            pairs = []
            if role == 'colour':
                self._tally.frames_in += 1
                self._colour_ns = (self._colour_ns or (now_ns, now_ns))[0], now_ns
                if self._good(self._intake.colour.check, message):
                    item = _Colour(message, now_ns, self._tally.frames_in - 1, read_ms)
                    pairs = synchroniser.add_colour(stamp_ns(message), item, now_ns)
            elif role == 'depth':
                self._tally.depth_in += 1
                if self._good(self._intake.depth.check, message):
                    pairs = synchroniser.add_depth(stamp_ns(message), (message, read_ms), now_ns)
            else:
                colour_info = message if role == 'info' else colour_info
                depth_info = message if role == 'depth_info' else depth_info
                if role == 'depth_info' and colour_info is not None:
                    self._check_alignment(colour_info, depth_info)
                yield _Aside(role, raw, message)
            yield from self._frames(pairs, now_ns)
            begun = time.perf_counter()
        yield from self._frames(synchroniser.flush(), now_ns)
        self._count(synchroniser.counts, synchroniser.no_depth, synchroniser.alone)

    def _find_roles(self) -> dict[str, str]:
        topics = self._topics
        roles = {topics.depth_info: 'depth_info', topics.info: 'info', topics.truth: 'truth',
                 topics.colour: 'colour', topics.depth: 'depth'}
        # Poses are a bonus: a bag whose /tf is something else is replayed without.
        roles |= {topic: role for topic, role in ((TF_TOPIC, 'tf'), (TF_STATIC_TOPIC, 'tf_static'))
                  if topic in self._reader.topics and self._reader.topics[topic].type == _TF_TYPE}
        return {topic: role for topic, role in roles.items()
                if topic is not None and topic in self._reader.topics}

    def _good(self, check: Callable[[Any], object], message: Any) -> bool:
        try:
            check(message)
        except MessageError as error:
            self._tally.drops[error.cause] += 1
            self._note(f'messages were refused, the first because {error}')
            return False
        return True

    def _frames(self, pairs: list[tuple[_Colour, tuple[Any, float] | None]],
                now_ns: int) -> Iterator[_Ready]:
        for colour, depth in pairs:
            self._pairs += 1
            if (self._pairs - 1) % self._settings.stride:
                self._tally.drops['skipped'] += 1
                continue
            begun = time.perf_counter()
            try:
                frame = self._intake.frame(colour.message, depth[0] if depth else None)
            except FrameError as error:
                self._tally.drops['size_mismatch'] += 1
                self._note(f'pairs were refused, the first because {error}')
                continue
            except MessageError as error:
                self._tally.drops['decode_error'] += 1
                self._note(f'images could not be decoded, the first because {error}')
                continue
            decode_ms = (time.perf_counter() - begun) * 1e3
            read_ms = colour.read_ms + (depth[1] if depth else 0.0)
            yield _Ready(frame, colour, now_ns, {'read': read_ms, 'decode': decode_ms})

    def _check_alignment(self, colour_info: Any, depth_info: Any) -> None:
        found = alignment(colour_info, depth_info)
        if found.verdict != 'aligned':
            self._note(f'depth is {found.verdict}: {found.text}')

    def _note(self, text: str) -> None:
        """Keep the first note of its kind, which ends at the first comma or colon."""
        kind = text.replace(':', ',').partition(',')[0]
        if not any(note.startswith(kind) for note in self._tally.notes):
            self._tally.notes.append(text)

    def _count(self, counts: PairCounts, no_depth: int, alone: int) -> None:
        tally = self._tally
        tally.pairs, tally.alone, tally.resets = counts.pairs, alone, counts.resets
        tally.gap_mean_ms, tally.gap_max_ms = counts.gap_mean_ns / 1e6, counts.gap_max_ns / 1e6
        if self._colour_ns is not None:
            tally.rate_hz = rate_hz(tally.frames_in, *self._colour_ns)
        tally.drops['no_depth'] = no_depth
        for stream in (counts.a, counts.b):
            tally.drops.update({'unpaired': stream.unpaired, 'overflow': stream.overflow,
                                'reset': stream.reset, 'duplicate': stream.duplicate})


def _take_aside(event: _Aside, scorer: Scorer, truth: Truth | None,
                written: PredictionBag) -> None:
    if event.role == 'truth' and isinstance(truth, TopicTruth):
        truth.add(event.message)
    elif event.role == 'info':
        scorer.add_info(event.message)
        written.add_info(event.raw)
    elif event.role in ('tf', 'tf_static'):
        scorer.add_tf(event.message, static=event.role == 'tf_static')
        written.add_tf(event.raw, static=event.role == 'tf_static')
    scorer.tick(event.raw.time_ns)


def _segmented(events: Iterator[_Ready | _Aside], segmenter: Segmenter, settings: ReplaySettings,
               label_map: LabelMap) -> Iterator[_Done | _Aside]:
    """Yield the frames with their labels, and all other messages as they are."""
    for event in events:
        if isinstance(event, _Aside):
            yield event
            continue
        seen = finish(segmenter(event.frame), threshold=settings.confidence_threshold,
                      label_map=label_map)
        ms = event.ms | seen.timings_ms
        yield _Done(Outcome(
            stamp_ns=seen.stamp_ns, frame_id=event.colour.message.header.frame_id,
            place=event.colour.place, rgb=event.frame.rgb, depth_m=event.frame.x,
            labels=seen.labels, confidence=seen.confidence,
            ms=ms | {'total': sum(ms.values())}), event.colour.time_ns, event.now_ns)


def _by_role(topics: RgbdTopics) -> dict[str, str]:
    return {role: topic for role, topic in topics._asdict().items() if topic is not None}


def _nothing_out(tally: Tally, settings: ReplaySettings) -> str:
    drops = ', '.join(f'{number} {cause.replace("_", " ")}'
                      for cause, number in tally.drops.items() if number)
    remedy = ('raise --sync-slop' if tally.drops['unpaired'] else 'see what refused them, or name '
              'other topics (--rgb-topic, --depth-topic)')
    return (f'bag {tally.bag} gives no frame: {tally.frames_in} colour and {tally.depth_in} depth '
            f'images made {tally.pairs} pairs within {settings.sync_slop_s * 1e3:g} ms ({drops}); '
            f'{remedy}' + ''.join(f'. Note: {note}' for note in tally.notes))
