# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Replay through the running node: bags over DDS at their own rate, scored as offline replay does.

    bag -> Player -> (DDS) -> node process -> (DDS) -> Recorder -> what came back
    what came back, and the bag once more -> Scorer -> Tally, prediction bag

The first half sees only bytes, so that it costs next to nothing beside the node; decoding and
scoring come when the node has ended.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from diffpixel_core.bags import BagReader
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.label_map import LabelMap, load_label_map
from diffpixel_core.replay.offline import find_truth, replay_topics
from diffpixel_core.replay.predictions import PredictionBag
from diffpixel_core.replay.scoring import Scorer
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.spread import BagRun, Job, Report, warnings_as_notes
from diffpixel_core.replay.tally import Tally, rate_hz
from diffpixel_core.replay.truth import TopicTruth, Truth
from diffpixel_core.rgbd_bags import RgbdTopics
from diffpixel_core.segmenter import locate_model
from diffpixel_ros.client.live_outcomes import (
    QUEUE,
    TIMINGS,
    Event,
    Outcomes,
    node_outputs,
    sent_pairs,
)
from diffpixel_ros.client.play_and_record import header_stamp_ns
from diffpixel_ros.client.playback import Playback, play
from diffpixel_ros.client.run_record import CONFIDENCE, SEMANTIC, Run, count_drops

logger = logging.getLogger(__name__)

_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
MISSING_AFTER_S = 0.5  # the synchroniser's own, which offline replay keeps
_FACTS = {'network': 'network', 'engine': 'backend', 'device': 'device', 'precision': 'precision'}


def run_live(jobs: Sequence[Job], report: Report, *, rate: float, loop: int) -> Iterator[BagRun]:
    """Yield how each bag ended, each played to a node of its own, one after the other.

    The node's log is written beside the folder that the predictions go to.

    Args:
        jobs: The bags.
        report: Called with the progress of each bag.
        rate: Speed; 1 = as recorded.
        loop: How often to play each bag.
    """
    for job in jobs:
        def progress(done: int, total: int, index: int = job.index) -> None:
            report(index, done, total)

        try:
            with warnings_as_notes():
                run = _run(job, rate=rate, loop=loop, progress=progress)
            yield run
        except DiffPixelError as error:
            yield BagRun(job.index, None, str(error))
        except Exception as error:  # a bug of ours must not take the other bags along
            logger.exception('%s cannot be replayed', job.bag)
            yield BagRun(job.index, None, f'{job.bag}: this is a bug, report it: '
                         f'{type(error).__name__}: {error}')


def _run(job: Job, *, rate: float, loop: int, progress: Callable[[int, int], None]) -> BagRun:
    settings, predictions = job.settings, job.predictions.resolve()
    if settings.stride != 1:
        raise ReplayError(f'stride is {settings.stride}, but a node segments what it has time for; '
                          'leave --stride out, or replay offline')
    manifest = locate_model(settings.model)[1]
    model = {'name': manifest.model, 'weights_sha256': manifest.weights_sha256}
    label_map = load_label_map(settings.class_map, manifest.space)
    with BagReader(job.bag) as reader, \
            tempfile.TemporaryDirectory(dir=predictions.parent, prefix='.live') as scratch:
        topics = replay_topics(reader, settings)
        _require_distinct_stamps(reader, topics)
        truth = find_truth(reader, topics, settings)
        playback = _playback(reader, topics, settings, rate=rate, loops=loop)
        total = loop * reader.topics[topics.colour].count

        def show(stage: str, done: int, messages: int, figures: str) -> None:
            if messages:
                progress(done * total // messages, total)

        recorded = Path(scratch) / 'recorded.mcap'
        log = predictions.parents[1] / f'{predictions.stem}-node.log'
        run = play(reader, playback, log=log, recorded=recorded, progress=show)
        if not run.outputs:
            raise ReplayError(f'bag {job.bag} gives no frame through the node: '
                              f'{run.frames_in} colour images were played, its last error is '
                              f'{run.counters.get("last_error", "")!r}; its log is {log}')
        tally = _tally(job.bag, reader, run, topics, settings, label_map)
        tally.files['node_log'] = str(log)
        scorer = Scorer(tally, truth=truth, truth_space=settings.truth_space,
                        model_space=manifest.space, label_map=label_map)
        with BagReader(recorded) as outputs, \
                PredictionBag(predictions, label_map.space, model) as written:
            _score(Outcomes(reader, run, settings, node_outputs(outputs, run)), scorer, truth,
                   written, loops=loop)
        if truth is not None:
            tally.topics['truth'] = truth.where
        # Complete outputs only: one whose confidence got lost was not scored.
        tally.drops['output_lost'] += len(run.outputs) - tally.frames_out
    return BagRun(job.index, tally, '', tuple((name, run.counters.get(key, ''))
                                              for name, key in _FACTS.items()))


def _require_distinct_stamps(reader: BagReader, topics: RgbdTopics) -> None:
    """Refuse a bag whose outputs could not be told apart: they carry nothing but the stamp.

    Raises:
        ReplayError: If two images of a topic have the same stamp.
    """
    for topic in (topics.colour, topics.depth):
        seen: set[int] = set()
        repeats: list[int] = []
        for message in reader.messages([topic]):
            stamp_ns = header_stamp_ns(message.raw)
            if stamp_ns in seen:
                repeats.append(stamp_ns)
            seen.add(stamp_ns)
        if repeats:
            raise ReplayError(f'{len(repeats)} of {reader.topics[topic].count} images of {topic} '
                              f'in {reader.path} repeat the stamp of an earlier one, the first '
                              f'{repeats[0]} ns, so that what comes back could not be told '
                              'apart; replay offline (leave --live out)')


def _playback(reader: BagReader, topics: RgbdTopics, settings: ReplaySettings, *, rate: float,
              loops: int) -> Playback:
    """Return how to play a bag: under the node's own names, which every bag's can be given."""
    # Offline waits this long in recorded time; the node's clock runs slower or faster by the rate.
    # Beyond the parameter's range the two may differ.
    missing_after_s = min(max(MISSING_AFTER_S / rate, 0.05), 60.0)
    compressed = {topic: reader.topics[topic].type == _COMPRESSED
                  for topic in (topics.colour, topics.depth)}
    class_map = Path(settings.class_map).expanduser()
    names = {topics.colour: 'rgb/image_raw' + '/compressed' * compressed[topics.colour],
             topics.depth: 'depth/image_raw' + '/compressedDepth' * compressed[topics.depth]}
    for topic, name in ((topics.info, 'rgb/camera_info'), (topics.depth_info, 'depth/camera_info')):
        if topic is not None and topic not in names:
            names[topic] = name
    return Playback(
        topics, names, remappings={}, images=(SEMANTIC, CONFIDENCE), texts=(TIMINGS,), rate=rate,
        loops=loops, parameters={
            'model_path': str(locate_model(settings.model)[0].parent.resolve()),
            'backend': settings.engine,
            'device': settings.device, 'precision': settings.precision,
            'sync_slop': float(settings.sync_slop_s),
            'sync_queue': QUEUE, 'missing_depth': settings.missing_depth,
            'missing_depth_after': missing_after_s,
            'class_map': str(class_map.resolve()) if class_map.is_file() else settings.class_map,
            'confidence_threshold': float(settings.confidence_threshold),
            'rgb_transport': 'compressed' if compressed[topics.colour] else 'raw',
            'depth_transport': 'compressedDepth' if compressed[topics.depth] else 'raw',
            'alignment_check': 'warn', 'label_info': 'off'})


def _tally(bag: Path, reader: BagReader, run: Run, topics: RgbdTopics, settings: ReplaySettings,
           label_map: LabelMap) -> Tally:
    """Return the tally of a replay without what the scorer adds."""
    tally = Tally(str(bag), label_map.space, bag_s=reader.duration_s, topics={
        role: topic for role, topic in topics._asdict().items() if topic is not None})
    tally.notes += reader.warnings
    times_ns = [message.bag_ns for message in run.sent if message.topic == topics.colour]
    tally.rate_hz = rate_hz(reader.topics[topics.colour].count, min(times_ns), max(times_ns))
    tally.frames_in = run.frames_in
    tally.depth_in = sum(message.topic == topics.depth for message in run.sent)
    tally.pairs, tally.alone = run.count('pairs'), run.count('alone')
    tally.resets = run.count('resets')
    drops = count_drops(run)
    del drops['unexplained']  # which the tally works out by itself
    tally.drops.update({cause: number for cause, number in drops.items() if number})
    gaps = [abs(depth - colour) / 1e6 for colour, depth in sent_pairs(run, settings).items()]
    if gaps:
        tally.gap_mean_ms, tally.gap_max_ms = float(np.mean(gaps)), max(gaps)
    tally.run_s = (run.received[-1].received_ns - run.sent[0].sent_ns) / 1e9
    if run.counters.get('last_error'):
        tally.notes.append(f'the last error of the node: {run.counters["last_error"]}')
    if run.exit_code:
        tally.notes.append(f'the node ended with exit code {run.exit_code}')
    return tally


def _score(outcomes: Outcomes, scorer: Scorer, truth: Truth | None, written: PredictionBag, *,
           loops: int) -> None:
    """Judge everything; the prediction bag gets each stamp once, however often it was played."""
    stamps: set[int] = set()
    truth_topic = truth.where if isinstance(truth, TopicTruth) else None
    for number in range(loops):
        for event in outcomes.events(truth_topic):
            _take_aside(event, outcomes, scorer, truth)
            if number == 0 and event.role == 'info':
                written.add_info(event.message)
            elif number == 0 and event.role in ('tf', 'tf_static'):
                written.add_tf(event.message, static=event.role == 'tf_static')
            for outcome, time_ns in event.outcomes:
                if outcome.stamp_ns not in stamps:
                    written.add(outcome.labels, outcome.confidence, stamp_ns=outcome.stamp_ns,
                                frame_id=outcome.frame_id, time_ns=time_ns)
                    stamps.add(outcome.stamp_ns)
                scorer.add(outcome, event.message.time_ns)
            scorer.tick(event.message.time_ns)
    scorer.finish()


def _take_aside(event: Event, outcomes: Outcomes, scorer: Scorer, truth: Truth | None) -> None:
    """Tell the scorer what is no image of the camera."""
    if event.role == 'truth' and isinstance(truth, TopicTruth):
        truth.add(outcomes.decode(event.message))
    elif event.role == 'info':
        scorer.add_info(outcomes.decode(event.message))
    elif event.role in ('tf', 'tf_static'):
        scorer.add_tf(outcomes.decode(event.message), static=event.role == 'tf_static')
