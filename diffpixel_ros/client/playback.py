# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A bag through the real node over real DDS: started, played to, recorded, and ended.

bag -> Player -> camera topics -> (DDS) -> node process -> its outputs -> (DDS) -> Recorder -> bag
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpixel_core.bags import BagReader, BagWriter
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.rgbd_bags import RgbdTopics
from diffpixel_ros.client.node_process import NodeProcess, private_domain
from diffpixel_ros.client.play_and_record import Player, Received, Recorder, Sent
from diffpixel_ros.client.run_record import LABELS, Run
from diffpixel_ros.client.session import START_S, Health, spinning, wait_until

logger = logging.getLogger(__name__)

_CONNECT_S = 15.0
_BUSY_S = 60.0  # after the last image: how long one inference may take before we give up
_LOST_S = 6.0  # how long a message may be on its way; Fast DDS repeats lost ones after 3 s
_SETTLE_S = 0.3  # endpoints have found each other on our side; the other side needs a moment
_IMAGE, _STRING = 'sensor_msgs/msg/Image', 'std_msgs/msg/String'

# The stage, how much of it is done, how much there is (0: nobody knows), and figures to show.
Progress = Callable[[str, int, int, str], None]


class PlaybackError(DiffPixelError):
    """The node and whoever plays to it do not hear each other."""


@dataclass(frozen=True, slots=True)
class Playback:
    """What is played to the node and how.

    Attributes:
        topics: The bag's colour and depth images, and further topics of the camera.
        names: Name to publish under, by name in the bag.
        parameters: The node's parameters.
        remappings: New topic by topic name of the node, so that it hears those names.
        images: Outputs of the node to record, of which there is one per frame; the first is one
            that is always published.
        rate: Speed; 1 = as recorded.
        loops: How often to play the bag.
        texts: Further outputs to record, of type `std_msgs/String`.
    """

    topics: RgbdTopics
    names: Mapping[str, str]
    parameters: Mapping[str, bool | int | float | str]
    remappings: Mapping[str, str]
    images: tuple[str, ...]
    rate: float = 1.0
    loops: int = 1
    texts: tuple[str, ...] = ()


def play(reader: BagReader, playback: Playback, *, log: Path, recorded: Path,
         progress: Progress) -> Run:
    """Play a bag to a node of its own in a private domain, and return the record of it.

    Args:
        reader: The bag.
        playback: What to play and how.
        log: File for what the node writes.
        recorded: Bag to write: what the node publishes, on the clock of the bag that is played, and
            the table of its labels.
        progress: Told how far it is.

    Raises:
        NodeError: If the node does not start, or ends too early.
        PlaybackError: If it does not hear us.
        ReplayError: If something cannot be played or kept.
    """
    topics = playback.topics
    process = NodeProcess(log, remappings=playback.remappings, parameters={
        **playback.parameters, 'diagnostics_period': 0.25})
    with private_domain() as domain, spinning(domain, 'diffpixel_player') as node, process, \
            BagWriter(recorded) as writer:
        progress('starting the node', 0, 0, '')
        health = Health(node)
        sent: list[Sent] = []
        tables: list[bytes] = []

        def keep(message: Received, raw: bytes) -> None:
            if message.topic == LABELS:
                tables.append(raw)
                return
            if not sent:
                raise PlaybackError(f'{message.topic} came before any image was sent')
            # On the bag's own clock, so that input and output can be viewed side by side.
            elapsed_ns = round((message.received_ns - sent[0].sent_ns) * playback.rate)
            writer.add_raw(message.topic, _IMAGE if message.topic in playback.images else _STRING,
                           raw, sent[0].bag_ns + elapsed_ns)

        recorder = Recorder(node, images=playback.images, latched={LABELS: _STRING}, keep=keep,
                            others=dict.fromkeys(playback.texts, _STRING))
        process.bring_up(node, timeout_s=START_S)
        player = Player(node, reader, playback.names)
        _wait_connected(player, recorder, process, (topics.colour, topics.depth))
        total = playback.loops * sum(reader.topics[name].count for name in playback.names)
        frames = 0

        def watch() -> None:
            process.check()
            recorder.check()

        def on_sent(message: Sent) -> None:
            nonlocal frames
            sent.append(message)
            frames += message.topic == topics.colour
            progress('playing', len(sent), total,
                     f'{frames} in, {recorder.count(playback.images[0])} out')

        player.play(rate=playback.rate, on_sent=on_sent, on_wait=watch, loops=playback.loops)
        progress('waiting for the last frames', 0, 0, '')
        images = sum(message.topic in (topics.colour, topics.depth) for message in sent)
        _drain(health, recorder, process, images=images, outputs=playback.images)
        # A pair that waits for a better partner comes out when the node is deactivated.
        process.change(node, ('deactivate',), timeout_s=_BUSY_S)
        _drain(health, recorder, process, images=0, outputs=playback.images)
        process.stop()
        for raw in tables[-1:]:
            writer.add_raw(LABELS, _STRING, raw, sent[0].bag_ns, latched=True)
        assert process.exit_code is not None
        return Run(topics, sent, list(recorder.received), dict(health.values), recorder.lost,
                   process.exit_code, process.stop_s)


def _wait_connected(player: Player, recorder: Recorder, process: NodeProcess,
                    topics: Sequence[str]) -> None:
    """Wait until the node listens to the player's topics, and the recorder to the node's."""
    def connected() -> bool:
        process.check()
        return player.subscribed(topics) and recorder.connected()

    if not wait_until(connected, _CONNECT_S):
        raise PlaybackError(f'the node is active but does not listen to {" and ".join(topics)} '
                            f'after {_CONNECT_S:.0f} s; is multicast on the loopback interface '
                            'blocked by a firewall?')
    time.sleep(_SETTLE_S)


def _drain(health: Health, recorder: Recorder, process: NodeProcess, *, images: int,
           outputs: Sequence[str]) -> None:
    """Wait until the node has seen all images, has nothing left to do, and its outputs are here.

    What does not come is given up after a while; the counters then say what is missing.
    """
    state: tuple[int, ...] = ()
    moved_s = reported_s = time.monotonic()
    reports = 0  # diagnostics since anything last changed; the first may be older than the change
    while True:
        process.check()
        recorder.check()
        counts = {name: health.count(name)
                  for name in ('colour_in', 'depth_in', 'pairs', 'frames_out', 'in_flight')}
        received = recorder.count(outputs[0])
        now_state = (*(recorder.count(topic) for topic in outputs), *counts.values())
        if now_state != state:
            state, moved_s, reports = now_state, time.monotonic(), 0
        if health.received_s > reported_s:
            reported_s = health.received_s
            reports += 1
        busy = counts['in_flight'] > 0
        if reports >= 2 and not busy and received >= counts['frames_out'] \
                and counts['colour_in'] + counts['depth_in'] >= images:
            return
        if (silent_s := time.monotonic() - moved_s) > (_BUSY_S if busy else _LOST_S):
            logger.warning('after %.0f s in which nothing came, the node has seen %d of %d images, '
                           'has %d pairs in work, and %d of its %d outputs are here', silent_s,
                           counts['colour_in'] + counts['depth_in'], images, counts['in_flight'],
                           received, counts['frames_out'])
            return
        time.sleep(0.02)
