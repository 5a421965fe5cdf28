# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node gave back, read from the recorded bag and held against what was played."""

import json
import logging
import zlib
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
    is_label_space,
    load_label_space,
    mapping,
    own_label_space,
)
from diffpixel_core.messages import decode_colour, decode_depth
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.report import Check
from diffpixel_ros.client.play_and_record import header_stamp_ns
from diffpixel_ros.client.run_record import CONFIDENCE, LABELS, SEMANTIC, Run, pair_stamps
from diffpixel_ros.demo.result import Findings, Picture

logger = logging.getLogger(__name__)

TRUTH_SPACE = 'nyu40'  # what `diffpixel synth` and `diffpixel bag` write on the truth topic

_Labels = npt.NDArray[np.uint8]


class ResultError(DiffPixelError):
    """What came back is nothing that could be judged."""


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
    name = str(table['label_space'])
    if is_label_space(name):
        return load_label_space(name)
    return own_label_space(name, table['classes'])


def _plane(image: Any) -> _Labels:
    """Return `(H, W)` of a mono8 image whose step is its width."""
    return np.asarray(image.data, np.uint8).reshape(image.height, image.width)
