# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What came back from a node that a bag was played to, put together with what went in."""

import json
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.bags import BagMessage, BagReader
from diffpixel_core.codecs import COLOUR_CODECS, DEPTH_CODECS
from diffpixel_core.intake import DepthSettings, Intake
from diffpixel_core.replay.scoring import Outcome
from diffpixel_core.replay.settings import ReplaySettings
from diffpixel_core.rgbd_bags import TF_STATIC_TOPIC, TF_TOPIC
from diffpixel_core.synchronise import Synchroniser
from diffpixel_ros.client.play_and_record import header_stamp_ns
from diffpixel_ros.client.run_record import CONFIDENCE, SEMANTIC, Run

TIMINGS = '/semantic/timings'
QUEUE = 50  # as offline: files are written more unevenly than cameras send
_MOST_DEPTHS = 200  # depth messages whose colour image never comes must not pile up
_LATE_PARTS = 20  # frames after which a part of an earlier one is given up


def sent_pairs(run: Run, settings: ReplaySettings) -> dict[int, int]:
    """Return the depth stamp by colour stamp, as the node pairs what was sent.

    Args:
        run: What was sent.
        settings: How it was replayed.
    """
    synchroniser: Synchroniser[int, int] = Synchroniser(settings.slop_ns, queue=QUEUE)
    pairs: list[tuple[int, int | None]] = []
    for message in run.sent:
        if message.topic == run.topics.colour:
            pairs += synchroniser.add_colour(message.stamp_ns, message.stamp_ns, message.sent_ns)
        elif message.topic == run.topics.depth:
            pairs += synchroniser.add_depth(message.stamp_ns, message.stamp_ns, message.sent_ns)
    return {colour: depth for colour, depth in [*pairs, *synchroniser.flush()]
            if depth is not None}


@dataclass(slots=True, eq=False)
class NodeOutput:
    """What came back for one frame, part by part.

    Attributes:
        stamp_ns: Capture time of its colour image.
        received_ns: `time.monotonic_ns()` when the labels came.
        labels: The message on `/semantic`.
        confidence: That on `/semantic/confidence`; None before it came.
        ms: Milliseconds by stage, from `/semantic/timings`; likewise.
    """

    stamp_ns: int
    received_ns: int
    labels: Any
    confidence: Any = None
    ms: Mapping[str, float] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all parts are there."""
        return self.confidence is not None and self.ms is not None


def node_outputs(outputs: BagReader, run: Run) -> Iterator[NodeOutput]:
    """Yield what came back, frame by frame in the order of the labels.

    Frames whose confidence got lost are left out; those whose timings got lost are not.

    Args:
        outputs: The bag it was recorded to.
        run: The record of the replay.
    """
    waiting: deque[NodeOutput] = deque()
    received = iter(run.outputs)
    early: dict[tuple[str, int], deque[Any]] = defaultdict(deque)

    def take(topic: str, stamp_ns: int) -> Any:
        parts = early.get((topic, stamp_ns))
        return parts.popleft() if parts else None

    wanted = [topic for topic in (SEMANTIC, CONFIDENCE, TIMINGS) if topic in outputs.topics]
    for message in outputs.messages(wanted):
        content = outputs.decode(message)
        if message.topic == SEMANTIC:
            stamp_ns = header_stamp_ns(message.raw)
            waiting.append(NodeOutput(stamp_ns, next(received).received_ns, content))
        elif message.topic == CONFIDENCE:
            early[CONFIDENCE, header_stamp_ns(message.raw)].append(content)
        else:
            row = json.loads(content.data)
            early[TIMINGS, row['stamp_ns']].append(row['ms'])
        for output in waiting:
            output.confidence = output.confidence or take(CONFIDENCE, output.stamp_ns)
            output.ms = output.ms or take(TIMINGS, output.stamp_ns)
        while waiting and (waiting[0].is_whole or len(waiting) > _LATE_PARTS):
            output = waiting.popleft()
            if output.confidence is not None:
                yield output
    yield from (output for output in waiting if output.confidence is not None)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """An output with the colour message it belongs to, and that message's place in the bag."""

    output: NodeOutput
    colour: BagMessage
    place: int


class Event(NamedTuple):
    """A message of the bag, and what is complete by then.

    Attributes:
        message: The message.
        role: `colour`, `depth`, `info`, `truth`, `tf`, `tf_static`; `end` for the last one again.
        outcomes: With the time at which their colour image was recorded, nanoseconds.
    """

    message: BagMessage
    role: str
    outcomes: list[tuple[Outcome, int]]


class Outcomes:
    """Goes through the bag beside what came back and puts the two together.

    The outputs are in the order of their colour images, though not every image has one.

    Args:
        reader: The bag that was played.
        run: The record of the replay.
        settings: How it was replayed.
        outputs: What came back.
    """

    def __init__(self, reader: BagReader, run: Run, settings: ReplaySettings,
                 outputs: Iterator[NodeOutput]) -> None:
        topics = run.topics
        self._reader = reader
        self._topics = topics
        self._outputs = outputs
        self._next = next(outputs, None)
        self._pairs = sent_pairs(run, settings)
        self._depth_of = set(self._pairs.values())
        self._depths: dict[int, BagMessage] = {}
        self._waiting: deque[_Found] = deque()
        self._sent_ns: dict[tuple[str, int], list[int]] = defaultdict(list)
        for message in run.sent:
            self._sent_ns[message.topic, message.stamp_ns].append(message.sent_ns)
        kinds = reader.topics
        self._intake = Intake(COLOUR_CODECS[kinds[topics.colour].type],
                              DEPTH_CODECS[kinds[topics.depth].type], DepthSettings())
        roles = {topics.info: 'info', TF_TOPIC: 'tf', TF_STATIC_TOPIC: 'tf_static',
                 topics.colour: 'colour', topics.depth: 'depth'}
        self._roles = {topic: role for topic, role in roles.items()
                       if topic is not None and topic in kinds}

    def events(self, truth: str | None) -> Iterator[Event]:
        """Yield every message of the bag once, in order; the next call is the next pass of a loop.

        Args:
            truth: Topic of the truth; None without one.
        """
        roles = {truth: 'truth', **self._roles} if truth is not None else self._roles
        place = -1
        for message in self._reader.messages(list(roles)):
            role = roles[message.topic]
            if role == 'colour':
                place += 1
                if self._next is not None and self._next.stamp_ns == header_stamp_ns(message.raw):
                    self._waiting.append(_Found(self._next, message, place))
                    self._next = next(self._outputs, None)
            elif role == 'depth' and (stamp_ns := header_stamp_ns(message.raw)) in self._depth_of:
                self._depths[stamp_ns] = message
                if len(self._depths) > _MOST_DEPTHS:
                    del self._depths[next(iter(self._depths))]
            yield Event(message, role, [*self._complete(at_end=False)])
        if self._waiting:
            yield Event(message, 'end', [*self._complete(at_end=True)])
        self._depths.clear()

    def decode(self, message: BagMessage) -> Any:
        """Return a message of the bag as an object."""
        return self._reader.decode(message)

    def _complete(self, *, at_end: bool) -> Iterator[tuple[Outcome, int]]:
        while self._waiting:
            found = self._waiting[0]
            depth_ns = self._pairs.get(found.output.stamp_ns)
            if depth_ns is not None and depth_ns not in self._depths and not at_end:
                return
            self._waiting.popleft()
            depth = None if depth_ns is None else self._depths.pop(depth_ns, None)
            yield self._outcome(found, depth, depth_ns), found.colour.time_ns

    def _outcome(self, found: _Found, depth: BagMessage | None, depth_ns: int | None) -> Outcome:
        output = found.output
        colour = self._reader.decode(found.colour)
        frame = self._intake.frame(colour, None if depth is None else self._reader.decode(depth))
        sent_ns = [self._sent(self._topics.colour, output.stamp_ns, output.received_ns)]
        if depth_ns is not None:
            sent_ns.append(self._sent(self._topics.depth, depth_ns, output.received_ns))
        # The stamps are of the recording, so the age the node sees means nothing; its own total
        # begins with the arrival, ours with the publication of the later image.
        ms = {stage: value for stage, value in (output.ms or {}).items() if stage != 'age'}
        ms['total'] = (output.received_ns - max(sent_ns)) / 1e6
        return Outcome(
            stamp_ns=output.stamp_ns, frame_id=colour.header.frame_id, place=found.place,
            rgb=frame.rgb, depth_m=frame.x, labels=_plane(output.labels),
            confidence=_plane(output.confidence), ms=ms)

    def _sent(self, topic: str, stamp_ns: int, received_ns: int) -> int:
        """Return when an image was sent: in a looped bag, the last time before the answer."""
        times = self._sent_ns[topic, stamp_ns]
        return times[max(bisect_right(times, received_ns) - 1, 0)]


def _plane(image: Any) -> npt.NDArray[np.uint8]:
    """Return `(H, W)` of a mono8 image whose step is its width, as the node publishes them."""
    return np.asarray(image.data, np.uint8).reshape(image.height, image.width)
