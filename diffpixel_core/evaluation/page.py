# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as a page: figures by protocol, classes, confusion, cameras, best and worst."""

import os
import platform
from collections.abc import Sequence

import numpy as np

from diffpixel_core.evaluation.extremes import Picture
from diffpixel_core.evaluation.protocols import PROTOCOLS, STREAMS
from diffpixel_core.evaluation.results import ABSENT_RULE, Results
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.report import Card, ClassScore, Confusion, ReportData, ReportFrame, Table

_GENERATED = ('These frames are generated rooms: the figures say how well the pipeline works, not '
              'how well the model would do in a real room.')
_STREAM_NAMES = {'ensemble': 'ensemble', 'rgb': 'colour', 'depth': 'depth'}
CAMERA_HEAD = ('camera', 'frames', 'mIoU', 'colour', 'depth', 'pixel acc.', 'mean acc.')
HEAD = ('protocol', 'stream', 'mIoU', 'absent = 0', 'pixel acc.', 'mean acc.', 's a frame')


def figure_rows(results: Results) -> list[tuple[str, ...]]:
    """Return a row of `HEAD` for every protocol and stream."""
    rows = []
    for protocol, scores in results.scores.items():
        for stream in STREAMS:
            seconds = f'{scores.seconds / len(scores.frames):.2f}' if stream == STREAMS[0] else ''
            rows.append((protocol if seconds else '', _STREAM_NAMES[stream],
                         *_means(scores.matrices[stream]), seconds))
    return rows


def camera_rows(results: Results) -> list[tuple[str, ...]]:
    """Return a row for every camera under the first protocol; none if only one is known."""
    protocol, scores = next(iter(results.scores.items()))
    if len(scores.by_camera) < 2:
        return []
    frames = [frame.camera for frame in scores.frames]
    rows = [(camera or 'unknown', str(frames.count(camera)),
             *(percent(matrices[stream].miou) for stream in STREAMS),
             percent(matrices['ensemble'].pixel_accuracy),
             percent(matrices['ensemble'].mean_accuracy))
            for camera, matrices in scores.by_camera.items()]
    total = results.matrix(protocol)
    return [*rows, ('all', str(len(frames)),
                    *(percent(results.matrix(protocol, stream).miou) for stream in STREAMS),
                    percent(total.pixel_accuracy), percent(total.mean_accuracy))]


def report_data(results: Results) -> ReportData:
    """Return all that the page of an evaluation shows."""
    data, model = results.data, results.model
    protocol = next(iter(results.scores))
    whole = f'{data["frames"]} frames'
    if data['frames'] < data['frames_in_split']:
        whole = f'{data["frames"]} of {data["frames_in_split"]} frames'
    return ReportData(
        title=f'{model["folder"]} on {data["name"]}',
        summary=f'{model["network"]} on {whole} of the split {data["split"]!r} of {data["name"]} '
                f'({data["layout"]}), in the {len(results.label_space)} classes of '
                f'{results.label_space.name}. Protocol: {PROTOCOLS[protocol].description}.',
        label_space=results.label_space,
        notice=_GENERATED if data['room_seed'] is not None else '',
        cards=_cards(results, protocol),
        frames=[_frame(picture, f'{kind} {place}') for kind, pictures
                in (('worst', results.worst), ('best', results.best))
                for place, picture in enumerate(pictures, 1)],
        frames_title='The worst frames and the best, by mIoU',
        frames_in_order=True,
        class_scores=_class_scores(results.matrix(protocol)),
        confusion=Confusion(results.matrix(protocol).counts,
                            f'Ensemble, {protocol}; fields below 0.5 % stay empty.'),
        tables=_tables(results, protocol),
        environment=_environment(results),
        command=str(results.how['command']))


def _cards(results: Results, protocol: str) -> list[Card]:
    matrix = results.matrix(protocol)
    true = int(np.count_nonzero(matrix.counts.sum(1)))
    judged = int(np.count_nonzero(~np.isnan(matrix.iou)))
    note = f'{true} classes in the truth'
    if judged > true:
        note += f', and {judged - true} predicted without occurring there: each counts 0'
    cards = [Card('mIoU', percent(matrix.miou), note),
             Card('pixel accuracy', percent(matrix.pixel_accuracy),
                  f'{matrix.pixels / 1e6:.1f} million labelled pixels'),
             Card('mean accuracy', percent(matrix.mean_accuracy), 'over the classes in the truth'),
             Card('mIoU of colour', percent(results.matrix(protocol, 'rgb').miou),
                  'the colour stream alone, its input fused with depth'),
             Card('mIoU of depth', percent(results.matrix(protocol, 'depth').miou),
                  'the depth stream alone, its input fused with colour')]
    cards += [Card(f'mIoU, {other}', percent(results.matrix(other).miou), 'of the ensemble')
              for other in results.scores if other != protocol]
    return cards


def _frame(picture: Picture, place: str) -> ReportFrame:
    row, sample = picture.row, picture.sample
    parts = [place, os.path.basename(row.name), *([row.camera] if row.camera else []),
             f'mIoU {percent(row.miou)}', f'{percent(row.pixel_accuracy)} of the pixels right']
    return ReportFrame(' · '.join(parts), sample.rgb, sample.depth_m, picture.prediction,
                       sample.labels)


def _class_scores(matrix: ConfusionMatrix) -> list[ClassScore]:
    pixels = matrix.counts.sum(1)
    return [ClassScore(int(label), float(matrix.iou[label]), float(pixels[label] / pixels.sum()))
            for label in np.flatnonzero(pixels)]


def _tables(results: Results, protocol: str) -> list[Table]:
    words = '. '.join(f'{name}: {PROTOCOLS[name].description}' for name in results.scores)
    tables = [Table('By protocol and stream', HEAD, figure_rows(results), f'{words}. In mIoU and '
                    'mean accuracy a class that does not occur is left out; in the column '
                    '"absent = 0" it counts 0.'),
              Table('Camera by camera', CAMERA_HEAD, camera_rows(results),
                    f'Protocol {protocol}, ensemble but for the two columns that say otherwise. '
                    'Each mean is over the classes that occur with that camera.', total=True)]
    if len(results.scores) > 1:
        tables.append(Table('Class by class and protocol', ('class', *results.scores),
                            _class_rows(results), 'IoU of the ensemble in %.'))
    return tables


def _class_rows(results: Results) -> list[Sequence[str]]:
    ious = [results.matrix(protocol).iou for protocol in results.scores]
    return [(name, *('' if np.isnan(iou[label]) else f'{100 * iou[label]:.1f}' for iou in ious))
            for label, name in enumerate(results.label_space.names)
            if not all(np.isnan(iou[label]) for iou in ious)]


def _environment(results: Results) -> dict[str, str]:
    data, model, how = results.data, results.model, results.how
    lost = ', '.join(data['classes_without_counterpart'])
    versions = ', '.join(f'{name} {version}' for name, version in how['versions'].items())
    return {
        'date': str(how['date']),
        'machine': f'{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}',
        'computed on': f'{how["device"]}, {how["precision"]}, {how["processes"]} '
                       f'{"processes" if how["processes"] > 1 else "process"}',
        'versions': versions,
        'model': f'{model["path"]} (weights {model["weights_sha256"][:12]}, trained at '
                 f'{model["input_size"][0]}x{model["input_size"][1]})',
        'data': f'{data["path"]}, layout {data["layout"]}, depth {data["depth_unit"]}, sensor '
                f'{data["sensor"]}, labels {data["label_space"]}'
                + (f'; without counterpart in the model: {lost}' if lost else ''),
        'absent classes': ABSENT_RULE,
        'files': 'results.json, classes.csv, confusion.csv, frames.csv, report.html',
    }


def percent(share: float | None) -> str:
    """Return a share as per cent with two decimals; a dash where there is none."""
    return '–' if share is None or np.isnan(share) else f'{100 * share:.2f} %'


def _means(matrix: ConfusionMatrix) -> tuple[str, ...]:
    return (percent(matrix.miou), percent(matrix.miou_absent_zero),
            percent(matrix.pixel_accuracy), percent(matrix.mean_accuracy))
