# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What came of an evaluation: the figures, and everything one must know to compare them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.evaluation.extremes import Picture
from diffpixel_core.evaluation.protocols import PROTOCOLS, STREAMS
from diffpixel_core.evaluation.scoring import Scores
from diffpixel_core.labels import LabelSpace
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.whole_file import write_whole

RESULTS_VERSION = 1
ABSENT_RULE = ('miou and mean_accuracy skip a class that does not occur (eq. 10 and 11 of '
               'DiffPixelFormer); under absent_zero it counts 0, as CMNeXt and DFormer do')


class EvaluationError(DiffPixelError):
    """An evaluation that cannot be made or written."""


@dataclass(frozen=True, eq=False)
class Results:
    """What came of an evaluation.

    Attributes:
        label_space: What was scored in: the classes the model predicts.
        scores: By protocol, in the order in which they were asked for.
        model: What was scored: path, network, hash of the weights, size it was trained at.
        data: What it was scored on: name, layout, unit, split, number of frames.
        how: Device, precision, processes, versions, command, date, seconds.
        worst: Frames of the lowest mIoU under the first protocol, worst first.
        best: Frames of the highest, best first.
    """

    label_space: LabelSpace
    scores: Mapping[str, Scores]
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    how: Mapping[str, Any]
    worst: Sequence[Picture] = ()
    best: Sequence[Picture] = ()

    def matrix(self, protocol: str, stream: str = 'ensemble') -> ConfusionMatrix:
        """Return the confusion matrix of a stream."""
        return self.scores[protocol].matrices[stream]

    def as_json(self) -> dict[str, Any]:
        """Return everything but pictures and single frames as plain types."""
        space = self.label_space
        true = self.scores[next(iter(self.scores))].matrices['ensemble'].counts.sum(1) > 0
        return {
            'version': RESULTS_VERSION, 'model': dict(self.model), 'data': dict(self.data),
            'label_space': {'name': space.name, 'classes': list(space.names),
                            'never_true': [name for name, occurs
                                           in zip(space.names, true, strict=True) if not occurs]},
            'absent_rule': ABSENT_RULE, **self.how,
            'protocols': {name: self._protocol(name) for name in self.scores},
        }

    def _protocol(self, name: str) -> dict[str, Any]:
        row, scores, space = PROTOCOLS[name], self.scores[name], self.label_space
        depths = [frame.depth_m for frame in scores.frames if frame.depth_m is not None]
        frames = len(scores.frames)
        return {
            'protocol': row.description, 'scales': list(row.scales), 'flip': row.flip,
            'frames': frames, 'depth_median_m': float(np.median(depths)) if depths else None,
            'seconds_per_frame': scores.seconds / frames if frames else None,
            'streams': {stream: scores.matrices[stream].as_dict(space.names)
                        for stream in STREAMS},
            'cameras': {camera: {stream: _means(matrices[stream]) for stream in STREAMS}
                        for camera, matrices in scores.by_camera.items() if camera},
        }

    def write(self, folder: Path) -> None:
        """Write `results.json` and, as tables, classes, confusion and frames; each whole or not.

        Raises:
            EvaluationError: If they cannot be written.
        """
        write_whole(folder / 'results.json', json.dumps(self.as_json(), indent=1) + '\n')
        write_whole(folder / 'classes.csv', _csv(self._class_rows()))
        write_whole(folder / 'confusion.csv', _csv(self._confusion_rows()))
        write_whole(folder / 'frames.csv', _csv(self._frame_rows()))

    def _class_rows(self) -> list[Sequence[object]]:
        columns = [(protocol, stream) for protocol in self.scores for stream in STREAMS]
        pixels = self.matrix(next(iter(self.scores))).counts.sum(1)
        rows: list[Sequence[object]] = [
            ('class', 'pixels', *(f'iou_{protocol}_{stream}' for protocol, stream in columns))]
        ious = [self.matrix(*column).iou for column in columns]
        for label, name in enumerate(self.label_space.names):
            rows.append((name, int(pixels[label]), *(_cell(iou[label]) for iou in ious)))
        return rows

    def _confusion_rows(self) -> list[Sequence[object]]:
        rows: list[Sequence[object]] = [('protocol', 'stream', 'truth', 'prediction', 'pixels')]
        names = (*self.label_space.names, 'no class')
        for protocol, scores in self.scores.items():
            for stream, matrix in scores.matrices.items():
                rows += [(protocol, stream, names[truth], names[said],
                          int(matrix.counts[truth, said]))
                         for truth, said in np.argwhere(matrix.counts)]
        return rows

    def _frame_rows(self) -> list[Sequence[object]]:
        rows: list[Sequence[object]] = [
            ('protocol', 'frame', 'camera', 'miou', 'pixel_accuracy', 'depth_median_m')]
        for protocol, scores in self.scores.items():
            rows += [(protocol, frame.name, frame.camera, _cell(frame.miou),
                      _cell(frame.pixel_accuracy), _cell(frame.depth_m))
                     for frame in scores.frames]
        return rows


def _means(matrix: ConfusionMatrix) -> dict[str, Any]:
    """Return the scores of a matrix without those of single classes."""
    figures = matrix.as_dict([str(i) for i in range(matrix.classes)])
    return {name: value for name, value in figures.items() if name != 'iou'}


def _cell(value: float | None) -> str:
    return '' if value is None or np.isnan(value) else f'{value:.6f}'


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()
