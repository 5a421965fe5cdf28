# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Play a bag's messages over DDS, as they were serialised, and keep all that comes back.

Raw bytes go from the bag to the wire and from the wire to the bag; nothing is decoded on the way,
so that player and recorder cost next to nothing beside the node they measure.
"""

import importlib
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from diffpixel_core.bags import BagReader
from diffpixel_core.errors import DiffPixelError

_PLAY_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
# Deep enough for minutes of a spin thread that gets no turn; nothing is ever pushed out.
_RECORD_QOS = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE,
                          durability=DurabilityPolicy.TRANSIENT_LOCAL)
_LAP_S = 0.2  # pause between two laps
_SLICE_S = 0.05  # how long the player sleeps before it looks whether the node still lives


class ReplayError(DiffPixelError):
    """A bag cannot be played, or what came back cannot be kept."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was published.

    Attributes:
        topic: Name in the bag.
        stamp_ns: Capture time in its header, nanoseconds; 0 for types without a header.
        bag_ns: When it was recorded, nanoseconds.
        sent_ns: `time.monotonic_ns()` when it was handed to DDS.
        late_ns: How much later than its turn that was.
    """

    topic: str
    stamp_ns: int
    bag_ns: int
    sent_ns: int
    late_ns: int


@dataclass(frozen=True, slots=True)
class Received:
    """One message that came back.

    Attributes:
        topic: Name it came on.
        stamp_ns: Capture time in its header, nanoseconds; 0 for types without a header.
        received_ns: `time.monotonic_ns()` when it was taken from DDS.
    """

    topic: str
    stamp_ns: int
    received_ns: int


def message_class(type_name: str) -> Any:
    """Return the ROS message class of a name such as `sensor_msgs/msg/Image`.

    Raises:
        ReplayError: If its package is not installed.
    """
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ReplayError(f'message type {type_name} is not installed ({error}); install the ROS 2 '
                          f'package {package}') from error


def header_stamp_ns(raw: bytes | memoryview) -> int:
    """Return the capture time of a serialised message that begins with a header, nanoseconds.

    Raises:
        ReplayError: If the message is too short to hold one.

    Source: OMG DDS-XTypes 1.3, section 7.6.3.1.2: the second byte tells the byte order, data begin
        after four.
    """
    if len(raw) < 12:
        raise ReplayError(f'a serialised message of {len(raw)} bytes holds no header; '
                          'the bag is damaged, record it again')
    seconds, nanoseconds = struct.unpack_from('<iI' if raw[1] & 1 else '>iI', raw, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


class Player:
    """Publish some topics of a bag at the pace they were recorded.

    Args:
        node: The node that publishes.
        reader: An open bag.
        topics: Name to publish under, by name in the bag; every message must begin with a header.

    Raises:
        ReplayError: If a message type is not installed.
    """

    def __init__(self, node: Node, reader: BagReader, topics: Mapping[str, str]) -> None:
        self._reader = reader
        self._topics = dict(topics)
        self._publishers = {
            topic: node.create_publisher(message_class(reader.topics[topic].type), name, _PLAY_QOS)
            for topic, name in self._topics.items()
        }

    def subscribed(self, topics: Sequence[str]) -> bool:
        """Tell whether somebody listens to each of these topics (names in the bag)."""
        return all(self._publishers[topic].get_subscription_count() for topic in topics)

    def play(self, *, rate: float, on_sent: Callable[[Sent], None], on_wait: Callable[[], None],
             loops: int = 1) -> None:
        """Publish every message at its turn; one that is late goes out at once.

        Args:
            rate: Speed; 1 = as recorded, 0.5 = half as fast.
            on_sent: Called after each message.
            on_wait: Called often while waiting for a turn; it may raise to end the replay.
            loops: How often to play the bag, with the same stamps each time.

        Raises:
            ReplayError: If a message has no header.
        """
        for lap in range(loops):
            if lap:
                # Topics overtake one another: the first image of a lap must not meet the last
                # depth of the one before.
                time.sleep(_LAP_S)
                on_wait()
            self._play_once(rate, on_sent, on_wait)

    def _play_once(self, rate: float, on_sent: Callable[[Sent], None],
                   on_wait: Callable[[], None]) -> None:
        start_ns = first_ns = None
        for message in self._reader.messages(list(self._topics)):
            raw = bytes(message.raw)
            stamp_ns = header_stamp_ns(raw)
            if start_ns is None or first_ns is None:
                start_ns, first_ns = time.monotonic_ns(), message.time_ns
            due_ns = start_ns + round((message.time_ns - first_ns) / rate)
            while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0:
                time.sleep(min(left_s, _SLICE_S))
                on_wait()
            now_ns = time.monotonic_ns()
            self._publishers[message.topic].publish(raw)
            on_sent(Sent(message.topic, stamp_ns, message.time_ns, now_ns,
                         max(0, now_ns - due_ns)))


class Recorder:
    """Subscribe to topics and hand on every message, in the order it came, noting when.

    Callbacks run in the thread that spins the node; the attributes may be read from any thread.

    Args:
        node: The node that subscribes.
        images: Names of topics with `sensor_msgs/msg/Image`.
        latched: Type by name of topics whose publisher keeps the last message for late subscribers.
        others: Type by name of further topics; what comes there counts as without a header.
        keep: Called with each message as it was serialised, for example to write it to a bag.

    Attributes:
        received: One entry per message, oldest first.
        lost: Messages DDS says it could not deliver.
        problem: What `keep` raised; nothing is kept after that.
    """

    def __init__(self, node: Node, *, images: Sequence[str], latched: Mapping[str, str],
                 keep: Callable[[Received, bytes], None],
                 others: Mapping[str, str] = MappingProxyType({})) -> None:
        self.received: list[Received] = []
        self._numbers: Counter[str] = Counter()
        self.lost = 0
        self.problem: Exception | None = None
        self._keep = keep
        self._subscriptions = [
            node.create_subscription(
                message_class(kind), topic, self._receiver(topic, stamped=topic in images), qos,
                raw=True, event_callbacks=SubscriptionEventCallbacks(message_lost=self._count))
            for topic, kind, qos in [
                *((topic, 'sensor_msgs/msg/Image', _RECORD_QOS) for topic in images),
                *((topic, kind, _RECORD_QOS) for topic, kind in others.items()),
                *((topic, kind, _LATCHED_QOS) for topic, kind in latched.items())]
        ]

    def connected(self) -> bool:
        """Tell whether somebody publishes each topic."""
        return all(subscription.get_publisher_count() for subscription in self._subscriptions)

    def count(self, topic: str) -> int:
        """Return how many messages came on a topic."""
        return self._numbers[topic]

    def check(self) -> None:
        """Raise what went wrong in the thread that receives.

        Raises:
            ReplayError: If a message could not be kept.
        """
        if self.problem is not None:
            raise ReplayError(f'a received message cannot be kept ({self.problem}); is the disk '
                              'full?') from self.problem

    def _receiver(self, topic: str, *, stamped: bool) -> Callable[[bytes], None]:
        def receive(raw: bytes) -> None:
            now_ns = time.monotonic_ns()
            if self.problem is not None:
                return
            try:  # rclpy would end the spin, and with it everything, at the first exception
                message = Received(topic, header_stamp_ns(raw) if stamped else 0, now_ns)
                self.received.append(message)
                self._numbers[topic] += 1
                self._keep(message, raw)
            except Exception as error:
                self.problem = error
        return receive

    def _count(self, event: QoSMessageLostInfo) -> None:
        self.lost += event.total_count_change
