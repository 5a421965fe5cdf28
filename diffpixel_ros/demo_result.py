# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay came to: every image accounted for, every output held against input and truth."""

import dataclasses
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.bags import BagReader
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import (
    UNLABELLED,
    LabelError,
    LabelSpace,
    load_label_space,
    mapping,
)
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.pairing import Pairer
from diffpixel_core.report import Check
from diffpixel_core.rgbd_bags import RgbdTopics
from diffpixel_ros.diagnostics import MESSAGE_CAUSES, PAIR_CAUSES
from diffpixel_ros.messages import decode_colour, decode_depth
from diffpixel_ros.parameters import NodeParameters
from diffpixel_ros.replay import Received, Sent, header_stamp_ns

logger = logging.getLogger(__name__)

SEMANTIC, CONFIDENCE, LABELS = '/semantic', '/semantic/confidence', '/semantic/labels'
TRUTH_SPACE = 'nyu40'  # what `diffpixel synth` and `diffpixel bag` write on the truth topic
# Counted by the node, but no place where a message ends.
_NO_END = ('transport_lost', 'callback_error')

_Labels = npt.NDArray[np.uint8]


class ResultError(DiffPixelError):
    """What came back is nothing that could be judged."""


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


@dataclass(frozen=True)
class Picture:
    """One frame to look at: input, output and truth, all of one size."""

    stamp_ns: int
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    prediction: _Labels
    truth: _Labels | None
    confidence: _Labels | None


@dataclass
class Findings:
    """What the outputs turned out to be.

    Attributes:
        label_space: What the node says it predicts.
        score: All scored pixels; None without truth.
        scored: Number of frames in `score`.
        pictures: The frames asked for, oldest first.
        checks: One per property that every output must have.
    """

    label_space: LabelSpace
    score: ConfusionMatrix | None = None
    scored: int = 0
    pictures: list[Picture] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class DemoResult:
    """What came out of a demo.

    Attributes:
        bag: The bag that was played.
        model: Path or name of the model.
        network: Name of the network in it.
        label_space: Labels it predicts.
        engine: Runtime the node used; `device` and `precision` likewise.
        rate: Speed of the replay; 1 = as recorded.
        seconds: How long the replay took.
        late_ms_p95: How late the player itself was, 95th percentile.
        frames_in: Colour images published.
        pairs: Pairs the node made of them.
        frames_out: Label images received.
        drops: Messages and pairs lost by cause; `unexplained` are those no counter knows of.
        latency_ms: `p50`, `p95`, `max`; None without outputs.
        miou: 0..1 over the classes true or predicted somewhere; None without truth.
        pixel_accuracy: 0..1; None without truth.
        per_class: Intersection over union by class name, None where there is nothing to score.
        scored_frames: Outputs that had a truth.
        checks: What was verified.
        files: Path of each file written.
    """

    bag: str
    model: str
    network: str
    label_space: str
    engine: str
    device: str
    precision: str
    rate: float
    seconds: float
    late_ms_p95: float
    frames_in: int
    pairs: int
    frames_out: int
    drops: dict[str, int]
    latency_ms: dict[str, float | None]
    miou: float | None
    pixel_accuracy: float | None
    per_class: dict[str, float | None]
    scored_frames: int
    checks: tuple[Check, ...]
    files: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain types."""
        return dataclasses.asdict(self) | {'passed': self.passed}


def judge(run: Run, findings: Findings, *, bag: Path, model: str | Path, rate: float,
          files: Mapping[str, str]) -> DemoResult:
    """Return the figures of a run."""
    drops = count_drops(run)
    late = list(latencies_ms(run).values())
    figures = findings.score.as_dict(findings.label_space.names) if findings.score else None
    return DemoResult(
        bag=str(bag), model=str(model), network=run.counters.get('network', ''),
        label_space=findings.label_space.name, engine=run.counters.get('engine', ''),
        device=run.counters.get('device', ''), precision=run.counters.get('precision', ''),
        rate=rate, seconds=(run.sent[-1].sent_ns - run.sent[0].sent_ns) / 1e9,
        late_ms_p95=float(np.percentile([message.late_ns for message in run.sent], 95)) / 1e6,
        frames_in=run.frames_in, pairs=run.count('pairs'), frames_out=len(run.outputs),
        drops=drops,
        latency_ms={'p50': float(np.percentile(late, 50)) if late else None,
                    'p95': float(np.percentile(late, 95)) if late else None,
                    'max': max(late) if late else None},
        miou=figures['miou'] if figures else None,
        pixel_accuracy=figures['pixel_accuracy'] if figures else None,
        per_class=figures['iou'] if figures else {}, scored_frames=findings.scored,
        checks=(*findings.checks, *account(run, drops)), files=dict(files))


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


def account(run: Run, drops: Mapping[str, int]) -> list[Check]:
    """Return whether all that went in is accounted for, and whether the node ended well."""
    pairs, out = run.count('pairs'), len(run.outputs)
    arrived = run.count('colour_in') + run.count('depth_in')
    waiting = run.count('waiting')
    refused = sum(drops[cause] for cause in MESSAGE_CAUSES if cause not in _NO_END)
    parts = [f'{out} out', *(f'{drops[cause]} {cause.replace("_", " ")}' for cause in (
        *PAIR_CAUSES, 'unfinished', 'output_lost', 'unexplained') if drops[cause])]
    return [
        Check('every pair came out or is counted under a cause',
              drops['unexplained'] == 0 and drops['unfinished'] == 0,
              f'{pairs} pairs = {" + ".join(parts)}'),
        Check('every image the node received was paired or is counted under a cause',
              arrived == 2 * pairs + refused + waiting,
              f'{arrived} images = 2 × {pairs} paired + {refused} dropped + {waiting} waiting'),
        Check('every output the node published was received',
              drops['output_lost'] == 0 and run.lost == 0,
              f'{run.count("frames_out")} published, {out} received'),
        Check('the node ended cleanly when asked to', run.exit_code == 0,
              f'exit code {run.exit_code}, {run.stop_s:.1f} s after SIGINT'),
    ]


def examine(reader: BagReader, recorded: Path, run: Run, *, pictures: int) -> Findings:
    """Return what the recorded outputs are worth, read back from the bag they were written to.

    Args:
        reader: The bag that was played.
        recorded: The bag with the outputs.
        run: What was sent and received.
        pictures: How many frames to keep, evenly spaced.

    Raises:
        ResultError: If the node has not said what its labels mean, or the truth is not mono8.
    """
    stamps = sorted({message.stamp_ns for message in run.outputs})
    chosen = {stamps[i] for i in np.linspace(0, len(stamps) - 1, min(pictures, len(stamps)))
              .round().astype(int)} if stamps else set()
    inputs = _Inputs(reader, run, set(stamps), chosen)
    with BagReader(recorded) as outputs:
        space = _label_space(outputs)
        table = _truth_table(space) if inputs.truth else None
        if table is None:
            inputs.truth.clear()
        findings = Findings(space)
        judged = _Judge(inputs, space)
        confidence: dict[int, _Labels] = {}
        predictions: dict[int, _Labels] = {}
        for message in outputs.messages([t for t in (SEMANTIC, CONFIDENCE) if t in outputs.topics]):
            stamp_ns = header_stamp_ns(message.raw)
            image = outputs.decode(message)
            if message.topic == CONFIDENCE:
                judged.confidence(stamp_ns, image)
                if stamp_ns in chosen:
                    confidence[stamp_ns] = _plane(image)
                continue
            labels = judged.labels(stamp_ns, image)
            if labels is None:
                continue
            if stamp_ns in chosen:
                predictions[stamp_ns] = labels
            truth = inputs.truth_of(stamp_ns, labels.shape, table)
            if truth is not None:
                findings.score = findings.score or ConfusionMatrix(len(space))
                findings.score.update(truth, labels)
                findings.scored += 1
    findings.checks = judged.checks(scored=findings.scored)
    findings.pictures = [
        Picture(stamp_ns, inputs.rgb[stamp_ns], inputs.depth_m[stamp_ns], predictions[stamp_ns],
                inputs.truth_of(stamp_ns, predictions[stamp_ns].shape, table),
                confidence.get(stamp_ns))
        for stamp_ns in sorted(chosen & inputs.rgb.keys() & inputs.depth_m.keys()
                               & predictions.keys())]
    return findings


class _Inputs:
    """What the bag holds for the stamps of the outputs; pictures only for the chosen ones."""

    def __init__(self, reader: BagReader, run: Run, stamps: set[int], chosen: set[int]) -> None:
        self.colour: dict[int, tuple[int, int, str]] = {}  # width, height, frame_id
        self.rgb: dict[int, npt.NDArray[np.uint8]] = {}
        self.depth_m: dict[int, npt.NDArray[np.float32]] = {}
        self.truth: dict[int, tuple[bytes, tuple[int, int]]] = {}  # compressed: some 5 KB a frame
        topics = run.topics
        pairs = pair_stamps(run.sent, topics)
        colour_of = {pairs[stamp_ns]: stamp_ns for stamp_ns in chosen if stamp_ns in pairs}
        for message in reader.messages([topic for topic in (topics.colour, topics.depth,
                                                            topics.truth) if topic is not None]):
            stamp_ns = header_stamp_ns(message.raw)
            if message.topic == topics.depth:
                if stamp_ns in colour_of:
                    self.depth_m[colour_of[stamp_ns]] = decode_depth(reader.decode(message))
                continue
            if stamp_ns not in stamps:
                continue
            image = reader.decode(message)
            if message.topic == topics.truth:
                if (image.encoding, image.step) != ('mono8', image.width):
                    raise ResultError(f'{topics.truth} is {image.encoding} with step {image.step} '
                                      f'at width {image.width}, it must be mono8 with step = '
                                      'width; record it so, or leave the topic out')
                labels = _plane(image)
                self.truth[stamp_ns] = zlib.compress(labels.tobytes(), 1), labels.shape
            else:
                self.colour[stamp_ns] = image.width, image.height, image.header.frame_id
                if stamp_ns in chosen:
                    self.rgb[stamp_ns] = decode_colour(image)

    def truth_of(self, stamp_ns: int, size: tuple[int, ...],
                 table: _Labels | None) -> _Labels | None:
        """Return the truth of a frame in the prediction's label space; None without one that fits.

        Args:
            stamp_ns: Capture time of the frame.
            size: `(H, W)` of the prediction.
            table: Label of the prediction's space by label of the truth's; None without truth.
        """
        if stamp_ns not in self.truth or table is None:
            return None
        packed, shape = self.truth[stamp_ns]
        if shape != size:
            return None
        return table[np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)]


class _Judge:
    """Counts how many outputs have each property they must have."""

    def __init__(self, inputs: _Inputs, space: LabelSpace) -> None:
        self._inputs = inputs
        self._space = space
        self._seen: set[int] = set()
        self._confident: set[int] = set()
        self._faults: dict[str, list[str]] = {claim: [] for claim in (
            'every output has the stamp of a colour image', 'no stamp came out twice',
            'every output has the frame_id of its colour image',
            'every output has the size of its colour image',
            'every output is mono8 with step = width',
            'every label is a class of the label space or 255',
            'every confidence image has the stamp and size of a label image')}

    def labels(self, stamp_ns: int, image: Any) -> _Labels | None:
        """Judge a label image; return it if it can be read."""
        stamp, twice, frame, size, kind, known, _ = self._faults.values()
        name = f'stamp {stamp_ns} ns'
        if stamp_ns in self._seen:
            twice.append(name)
        self._seen.add(stamp_ns)
        if stamp_ns not in self._inputs.colour:
            stamp.append(name)
        else:
            width, height, frame_id = self._inputs.colour[stamp_ns]
            if (image.width, image.height) != (width, height):
                size.append(f'{name}: {image.width}x{image.height} for {width}x{height}')
            if image.header.frame_id != frame_id:
                frame.append(f'{name}: {image.header.frame_id!r} for {frame_id!r}')
        if image.encoding != 'mono8' or image.step != image.width or \
                len(image.data) != image.width * image.height:
            kind.append(f'{name}: {image.encoding}, step {image.step}, width {image.width}')
            return None
        labels = _plane(image)
        strange = labels[(labels >= len(self._space)) & (labels != UNLABELLED)]
        if strange.size:
            known.append(f'{name}: label {strange[0]} of {len(self._space)} classes')
        return labels

    def confidence(self, stamp_ns: int, image: Any) -> None:
        """Judge a confidence image."""
        self._confident.add(stamp_ns)
        width, height, _ = self._inputs.colour.get(stamp_ns, (0, 0, ''))
        if (image.width, image.height, image.encoding) != (width, height, 'mono8'):
            self._faults['every confidence image has the stamp and size of a label image'].append(
                f'stamp {stamp_ns} ns: {image.width}x{image.height} {image.encoding}')

    def checks(self, *, scored: int) -> list[Check]:
        """Return one check per property; `scored` outputs were held against their truth."""
        number = len(self._seen)
        checks = [Check('the node gave at least one output', number > 0, f'{number} outputs')]
        checks += [Check(claim, not faults,
                         f'{len(faults)} do not, first: {faults[0]}' if faults
                         else f'{number} of {number}')
                   for claim, faults in self._faults.items()]
        missing = len(self._seen - self._confident)
        checks.append(Check('every label image has a confidence image', missing == 0,
                            f'{number - missing} of {number}'))
        if true := len(self._inputs.truth):  # some recordings have it for a few frames only
            checks.append(Check('every output was scored against the truth of its own stamp, '
                                'where there is one', scored == true,
                                f'{scored} of {true} that have one'))
        return checks


def _truth_table(space: LabelSpace) -> _Labels | None:
    """Return the table from the truth's labels to the node's; None if they share no class."""
    try:
        return mapping(load_label_space(TRUTH_SPACE), space)
    except LabelError as error:
        logger.warning('the outputs are not scored: %s', error)
        return None


def _label_space(outputs: BagReader) -> LabelSpace:
    """Return the label space the node announced on its label topic."""
    if LABELS not in outputs.topics:
        raise ResultError(f'the node published nothing on {LABELS}, so its labels mean nothing; '
                          'see node.log')
    *_, message = outputs.messages([LABELS])
    table = json.loads(outputs.decode(message).data)
    return load_label_space(str(table['label_space']))


def _plane(image: Any) -> _Labels:
    """Return `(H, W)` of a mono8 image whose step is its width."""
    return np.asarray(image.data, np.uint8).reshape(image.height, image.width)
