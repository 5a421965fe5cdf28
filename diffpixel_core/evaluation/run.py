# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation from end to end: model and frames opened, shared out, scored, written down."""

import dataclasses
import logging
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffpixel_core.checkpoints import Manifest, find_model, load_model
from diffpixel_core.config import DataConfig
from diffpixel_core.datasets import FileFrames, held_out_samples, open_frames
from diffpixel_core.devices import device_name, precision_of
from diffpixel_core.evaluation.extremes import Extremes
from diffpixel_core.evaluation.fabric import PRECISIONS, evaluation_fabric
from diffpixel_core.evaluation.page import report_data
from diffpixel_core.evaluation.protocols import find_protocol
from diffpixel_core.evaluation.results import EvaluationError, Results
from diffpixel_core.evaluation.scoring import Scores, score_samples
from diffpixel_core.labels import UNLABELLED, LabelSpace, mapping
from diffpixel_core.report import write_report
from diffpixel_core.transforms import Sample

logger = logging.getLogger(__name__)

_LOOKED_AT = 4      # frames shown of the worst, and of the best
_FIRST = 8          # frames whose depth must be plausible before the rest is scored
_NEAREST_M = 0.2    # no RGB-D camera measures nearer


def evaluate_model(model: str | Path, data: DataConfig, *,
                   protocol: str | Sequence[str] = 'whole', split: str | None = None,
                   limit: int | None = None, seed: int = 0, device: str = 'auto',
                   precision: str = 'fp32', fabric: Fabric | None = None,
                   output: Path | None = None, command: str = '') -> Results:
    """Return the scores of a model on held-out frames, by stream, class, camera and protocol.

    Labels of the data are translated into the classes of the model. Several processes share the
    frames: each scores every n-th one, and every process returns the figures of all.

    Args:
        model: A model directory, its weights file or the name of a shipped model.
        data: Where the held-out frames come from.
        protocol: One or several keys of `protocols.PROTOCOLS`.
        split: Which split of the data; none = the one its settings name.
        limit: Only so many frames, evenly spread; none = all.
        seed: Of the sensor noise on exact depth: the same seed, the same images.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, or `bf16`, `fp16` by autocast.
        fabric: What was opened for `device` and `precision`; none = it is opened here.
        output: Folder for `results.json`, `report.html` and the tables `classes.csv`,
            `confusion.csv`, `frames.csv`; none = nothing is written.
        command: How the user called this, for the record.

    Raises:
        DiffPixelError: If model or frames are missing or do not fit.
    """
    protocols = (protocol,) if isinstance(protocol, str) else tuple(dict.fromkeys(protocol))
    for name in protocols:
        find_protocol(name)
    if not protocols or (limit is not None and limit < 1):
        raise EvaluationError(f'{len(protocols)} protocols on {limit} frames are nothing to '
                              'score; give at least one of each')
    started = time.perf_counter()
    if fabric is None:
        fabric = evaluation_fabric(device, precision)
    network, manifest = load_model(model)
    network.to(fabric.device)
    with fabric.rank_zero_first():  # generated rooms are rendered once
        frames = _open(data, split)
    if not frames.description.metric:
        logger.warning('the depth of %s has lost its scale: a model that was trained on metres '
                       'sees distances that are not there', frames.description.root)
    space = manifest.space
    lost = _classes_lost(frames.label_space, space)
    count = len(frames) if limit is None else min(limit, len(frames))
    cameras = dict(zip(frames.names, frames.cameras, strict=True))
    extremes = Extremes(_LOOKED_AT)
    scores: dict[str, Scores] = {}
    for name in protocols:
        samples = held_out_samples(frames, label_space=space, sensor=data.val_sensor, count=count,
                                   seed=seed, rank=fabric.global_rank, world=fabric.world_size)
        own = len(range(fabric.global_rank, count, fabric.world_size))
        checked = _plausible(samples, manifest, frames)
        scores[name] = score_samples(
            network, _shown(checked, name, own, fabric), normalisation=manifest.normalisation,
            input_size=manifest.input_size, protocol=name, classes=len(space),
            device=fabric.device, autocast=fabric.autocast, cameras=cameras,
            watch=extremes.offer if name == protocols[0] else None).reduce(fabric)
    if not scores[protocols[0]].matrices['ensemble'].pixels:
        raise EvaluationError(f'none of the {count} frames of {frames.description.root} has a '
                              f'pixel labelled as a class of {space.name!r}; there is nothing to '
                              'score')
    worst, best = extremes.reduce(fabric)
    results = Results(
        space, scores, _model_facts(model, manifest),
        _data_facts(data, frames, count, seed=seed, lost=lost),
        _how(fabric, command, time.perf_counter() - started), worst, best)
    if output is not None and fabric.is_global_zero:
        results.write(output)
        try:
            write_report(output / 'report.html', report_data(results))
        except OSError as error:
            raise EvaluationError(f'cannot write {output}/report.html: {error.strerror}; free '
                                  'some space or choose another --output') from error
    return results


def _open(data: DataConfig, split: str | None) -> FileFrames:
    """Return the held-out frames straight from their files."""
    frames = open_frames(dataclasses.replace(data, in_memory=False,
                                             val_split=split or data.val_split), 'val')
    assert isinstance(frames, FileFrames)
    return frames


def _classes_lost(source: LabelSpace, target: LabelSpace) -> list[str]:
    """Return the classes of the data that the model has no counterpart for; their pixels are out.

    Raises:
        LabelError: If the two label spaces share no class.
    """
    table = mapping(source, target)
    lost = [name for label, name in enumerate(source.names) if table[label] == UNLABELLED]
    if lost:
        logger.warning('%d classes of %s have no counterpart in %s and do not count: %s',
                       len(lost), source.name, target.name, ', '.join(lost))
    return lost


def _plausible(samples: Iterable[Sample], manifest: Manifest,
               frames: FileFrames) -> Iterator[Sample]:
    """Yield the samples, as long as the depth of the first ones can be what the unit says.

    Raises:
        EvaluationError: If most of it lies farther than the model can see, or nearer than any
            camera measures.
    """
    medians: list[float] = []
    for place, sample in enumerate(samples):
        measured = sample.depth_m[sample.depth_m > 0]
        if place < _FIRST and measured.size:
            medians.append(float(np.median(measured)))
        if place == _FIRST - 1:
            _require_plausible(medians, manifest, frames)
        yield sample
    _require_plausible(medians, manifest, frames)  # where there are fewer


def _require_plausible(medians: Sequence[float], manifest: Manifest, frames: FileFrames) -> None:
    farthest_m = float(manifest.normalisation[manifest.modalities[1]]['maximum'])
    middle = float(np.median(medians)) if medians else farthest_m
    if not _NEAREST_M <= middle <= farthest_m:
        description = frames.description
        raise EvaluationError(
            f'the depth of {description.root} has a median of {middle:.3g} m, read as '
            f'{description.depth_unit!r}, but cameras measure from {_NEAREST_M} m on and this '
            f'model sees up to {farthest_m:g} m; correct the depth unit (`diffpixel doctor` says '
            'what it looks like)')


def _shown(samples: Iterable[Sample], name: str, count: int, fabric: Fabric) -> Iterator[Sample]:
    """Yield the samples, with progress and time left on standard error of the first process."""
    if not fabric.is_global_zero:
        yield from samples
        return
    processes = f' (of {fabric.world_size} processes)' if fabric.world_size > 1 else ''
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(samples, total=count, description=f'{name}{processes}')


def _model_facts(model: str | Path, manifest: Manifest) -> dict[str, Any]:
    return {'path': str(model), 'folder': find_model(model).name, 'network': manifest.model,
            'weights_sha256': manifest.weights_sha256, 'input_size': list(manifest.input_size),
            'modalities': list(manifest.modalities)}


def _data_facts(data: DataConfig, frames: FileFrames, count: int, *, seed: int,
                lost: Sequence[str]) -> dict[str, Any]:
    description = frames.description
    split = next(name for name, files in description.splits.items() if files is frames.files)
    generated = data.source == 'generated'
    exact = frames.files[0].cosine is not None
    return {
        'name': 'generated rooms' if generated else description.name,
        'layout': description.layout, 'path': str(description.root), 'split': split,
        'frames': count, 'frames_in_split': len(frames), 'depth_unit': description.depth_unit,
        'raw_depth': data.raw_depth, 'metric': description.metric,
        'label_space': frames.label_space.name, 'classes_without_counterpart': list(lost),
        'room_seed': data.val_seed if generated else None,
        'sensor': data.val_sensor if exact else 'as stored', 'seed': seed,
    }


def _how(fabric: Fabric, command: str, seconds: float) -> dict[str, Any]:
    device = str(fabric.device)
    if fabric.device.type == 'cuda':
        device += f' ({device_name(fabric)})'
    # A launcher's options count, whatever was asked for here.
    precision = next(name for name, fabrics in PRECISIONS.items()
                     if fabrics == precision_of(fabric))
    return {
        'device': device, 'precision': precision, 'processes': fabric.world_size,
        'seconds': seconds, 'date': datetime.now().astimezone().isoformat(timespec='seconds'),
        'versions': {'python': platform.python_version()} | {
            name: _version(name)
            for name in ('diffpixel_ros', 'torch', 'lightning-fabric', 'numpy')},
        'command': command,
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return 'not installed as a package'
