# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The record of a bag played through the node: what was sent, what came back, what was lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffpixel_core.pairing import Pairer
from diffpixel_core.rgbd_bags import RgbdTopics
from diffpixel_ros.client.play_and_record import Received, Sent
from diffpixel_ros.diagnostics import MESSAGE_CAUSES, PAIR_CAUSES
from diffpixel_ros.parameters import NodeParameters

SEMANTIC, CONFIDENCE, LABELS = '/semantic', '/semantic/confidence', '/semantic/labels'


@dataclass(frozen=True)
class Run:
    """The record of one replay, times in nanoseconds of this process' monotonic clock.

    Attributes:
        topics: Which topics were played.
        sent: Every message published.
        received: Every message that came back.
        counters: The node's last diagnostics.
        lost: Outputs DDS says it could not deliver.
        exit_code: How the node's process ended after SIGINT.
        stop_s: Seconds it took to end.
    """

    topics: RgbdTopics
    sent: Sequence[Sent]
    received: Sequence[Received]
    counters: Mapping[str, str]
    lost: int
    exit_code: int
    stop_s: float

    def count(self, name: str) -> int:
        """Return one of the node's counters; 0 if it has none of that name."""
        return int(self.counters.get(name, 0))

    @property
    def frames_in(self) -> int:
        """Colour images published."""
        return sum(message.topic == self.topics.colour for message in self.sent)

    @property
    def outputs(self) -> list[Received]:
        """The label images, oldest first."""
        return [message for message in self.received if message.topic == SEMANTIC]


def pair_stamps(sent: Sequence[Sent], topics: RgbdTopics) -> dict[int, int]:
    """Return the depth stamp by colour stamp, as the node pairs them if nothing gets lost.

    Args:
        sent: What was published, in order.
        topics: Which of it is colour and depth.
    """
    node = NodeParameters()
    pairer: Pairer[int, int] = Pairer(round(node.sync_slop * 1e9), queue=50,
                                      jump_back_ns=round(node.jump_back_reset * 1e9))
    pairs: list[tuple[int, int]] = []
    for message in sent:
        if message.topic == topics.colour:
            pairs += pairer.add_a(message.stamp_ns, message.stamp_ns)
        elif message.topic == topics.depth:
            pairs += pairer.add_b(message.stamp_ns, message.stamp_ns)
    return dict(pairs + pairer.flush())


def latencies_ms(run: Run) -> dict[int, float]:
    """Return by output stamp the milliseconds from publishing its pair to receiving it.

    A pair is published when the later of its two images is.
    """
    sent_ns = {(message.topic, message.stamp_ns): message.sent_ns for message in run.sent}
    pairs = pair_stamps(run.sent, run.topics)
    return {m.stamp_ns: (m.received_ns - max(sent_ns[run.topics.colour, m.stamp_ns],
                                             sent_ns[run.topics.depth, pairs[m.stamp_ns]])) / 1e6
            for m in run.outputs if m.stamp_ns in pairs}


def count_drops(run: Run) -> dict[str, int]:
    """Return how many messages and pairs were lost by cause.

    Beside the node's own causes: `transport_lost`, images published that the node never saw;
    `unfinished`, pairs it still had when we gave up; `output_lost`, outputs it published that never
    came; `unexplained`, pairs that no counter accounts for.
    """
    drops = {cause: run.count(f'drops.{cause}') for cause in MESSAGE_CAUSES + PAIR_CAUSES}
    published = sum(m.topic in (run.topics.colour, run.topics.depth) for m in run.sent)
    drops['transport_lost'] = published - run.count('colour_in') - run.count('depth_in')
    drops['unfinished'] = run.count('in_flight')
    drops['output_lost'] = run.count('frames_out') - len(run.outputs)
    ended = sum(drops[cause] for cause in (*PAIR_CAUSES, 'unfinished', 'output_lost'))
    drops['unexplained'] = run.count('pairs') - len(run.outputs) - ended
    return drops
