# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""How well a model still does as its images get worse: scores over severity, fault by fault."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffpixel_core.checkpoints import find_model
from diffpixel_core.config import DataConfig
from diffpixel_core.datasets import held_out_samples, open_frames
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.evaluation.stress.corruptions import CORRUPTIONS, Corruption
from diffpixel_core.frame import Frame
from diffpixel_core.geometry import Camera
from diffpixel_core.labels import UNLABELLED, LabelSpace
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.segmenter import load_segmenter
from diffpixel_core.transforms import Sample

Labels = npt.NDArray[np.uint8]
Segment = Callable[[Frame], Labels]  # a frame's labels, at its own size

_GROUPS = 10  # of frames, each left out once to see by how much figures differ by chance


class StressError(DiffPixelError):
    """A stress test that cannot say anything."""


@dataclass(frozen=True)
class Score:
    """How well one severity of one fault is borne.

    Attributes:
        severity: In the fault's unit.
        miou: Mean intersection over union, 0..1.
        pixel_accuracy: Share of the pixels that are right, 0..1.
        drop: Points of mIoU (0..100) lost against the clean images; negative if it gained.
        error: Standard error of `drop` by the choice of frames, points; None with one frame.
    """

    severity: float
    miou: float
    pixel_accuracy: float
    drop: float
    error: float | None


@dataclass(frozen=True)
class Curve:
    """All severities of one fault, in the order in which they are drawn."""

    corruption: Corruption
    scores: tuple[Score, ...]

    @property
    def worst(self) -> Score:
        """The severity that costs most."""
        return max(self.scores, key=lambda score: score.drop)

    @property
    def worst_of_spoiled(self) -> Score:
        """The severity that costs most, the clean image left out; its drop may be negative."""
        return max((score for score in self.scores
                    if score.severity != self.corruption.clean), key=lambda score: score.drop)

    def first_over(self, points: float) -> Score | None:
        """Return the mildest severity that costs more than this many points; None if none does.

        Of two equally far from clean (1 px left, 1 px right) the one that costs more.
        """
        over = [score for score in self.scores if score.drop > points]
        return min(over, default=None, key=lambda score: (
            self.corruption.strength(score.severity), -score.drop))


@dataclass(frozen=True, eq=False)
class Spoiled:
    """The example frame with one fault at its strongest, and what the model made of it."""

    severity: float
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    prediction: Labels


@dataclass(frozen=True, eq=False)
class Example:
    """One frame, clean and spoiled: the one whose truth has the most to see."""

    sample: Sample
    prediction: Labels
    spoiled: dict[str, Spoiled]  # by the fault's name

    @property
    def classes(self) -> list[int]:
        """The classes that cover a hundredth of its truth or of its clean prediction."""
        large: set[int] = set()
        for labels in (self.sample.labels, self.prediction):
            found, counts = np.unique(labels, return_counts=True)
            large |= {int(label) for label in found[100 * counts >= labels.size]}
        return sorted(large - {UNLABELLED})


@dataclass(frozen=True, eq=False)
class Measured:
    """What all faults do to one model.

    Attributes:
        frames: How many were scored.
        widths: Of the narrowest and the widest frame, pixels.
        clean: Scores with both images as they are.
        clean_miou_evaluated: Their mIoU as `diffpixel evaluate` counts it: a class that is only
            predicted, never true, is a class of IoU 0.
        curves: One for each fault.
        example: Pictures.
    """

    frames: int
    widths: tuple[int, int]
    clean: Score
    clean_miou_evaluated: float
    curves: tuple[Curve, ...]
    example: Example

    def curve(self, name: str) -> Curve | None:
        """Return the curve of a fault; None if it was not tried."""
        return next((curve for curve in self.curves if curve.corruption.name == name), None)


@dataclass(frozen=True, eq=False)
class StressResults:
    """What all faults do to one model, and how that was measured.

    Attributes:
        model: Name of its folder.
        label_space: Of predictions and truth.
        camera: That of the first frame, for angles; NYUDv2's where none is known.
        measured: The scores.
        protocol: How they were measured, plain types.
    """

    model: str
    label_space: LabelSpace
    camera: Camera
    measured: Measured
    protocol: dict[str, Any]


def run_stress(model: str | Path, data: DataConfig, *, limit: int | None = None, seed: int = 0,
               engine: str = 'auto', device: str = 'auto', precision: str = 'fp32',
               corruptions: Sequence[Corruption] = CORRUPTIONS) -> StressResults:
    """Return the scores of a model on held-out frames, clean and with every fault.

    The frames go through the same `Segmenter` as on a robot, labels at their native size. A frame
    is decoded once; all faults are tried on it. Progress is shown on standard error.

    Args:
        model: Model directory or the name of a shipped model.
        data: Where the held-out frames come from; its `val` split is used.
        limit: Only so many frames, evenly spread; none = all.
        seed: Of noise and holes: the same seed and limit, the same images.
        engine: Runtime; this and the next two as for `segmenter.load_segmenter`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, or `fp16` on CUDA.
        corruptions: Which faults, of `CORRUPTIONS`.

    Raises:
        StressError: If `limit` is not positive or no pixel of the frames is labelled.
        DiffPixelError: If model or frames are missing or do not fit.
    """
    if limit is not None and limit < 1:
        raise StressError(f'the limit is {limit} frames; give at least 1, or leave it out for all')
    segmenter = load_segmenter(model, engine, device=device, precision=precision)
    labels = segmenter.label_space
    frames = open_frames(data, 'val')
    count = len(frames) if limit is None else min(limit, len(frames))
    samples = held_out_samples(frames, label_space=labels, sensor=data.val_sensor, count=count,
                               seed=seed)
    measured = measure(lambda frame: segmenter(frame).labels, samples, classes=len(labels),
                       count=count, seed=seed, corruptions=corruptions)
    first = frames[0]
    generated = data.source == 'generated'
    return StressResults(find_model(model).name, labels, frames.camera(first), measured, {
        'model': str(model),
        'weights_sha256': segmenter.manifest.weights_sha256,
        'network': segmenter.manifest.model,
        'frames': count,
        'frames_in_split': len(frames),
        'frame_widths': list(measured.widths),
        'data': 'generated rooms' if generated else data.val_path or data.path,
        'room_seed': data.val_seed if generated else None,
        'sensor': 'as stored' if first.cosine is None else data.val_sensor,
        'seed': seed,
        'label_space': labels.name,
        'date': datetime.now().astimezone().isoformat(timespec='seconds'),
        'scoring': 'whole frame, bilinear scores at native label size, labels never resized nor '
                   'spoiled; mean IoU over the classes in the truth, the same for every severity',
        'errors': f'standard error of the drop: {_GROUPS} groups of frames, each left out once',
        'engine': segmenter.engine_name,
        'precision': segmenter.precision,
        'device': segmenter.device,
    })


def measure(segment: Segment, samples: Iterable[Sample], *, classes: int, count: int,
            seed: int = 0, corruptions: Sequence[Corruption] = CORRUPTIONS) -> Measured:
    """Return the scores of a segmentation, clean and with every fault.

    Args:
        segment: What to try: frame in, labels out.
        samples: The frames; labels >= `classes` do not count.
        classes: Number of classes.
        count: Number of frames, for the progress.
        seed: Of noise and holes.
        corruptions: The faults to try.

    Raises:
        StressError: If no pixel is labelled.
    """
    trials = [(corruption, severity) for corruption in corruptions
              for severity in corruption.severities if severity != corruption.clean]
    tallies = [_Tally(classes) for _ in range(1 + len(trials))]  # the clean one first
    example: Example | None = None
    most = -1.0
    widths: list[int] = []
    with _progress() as progress:
        task = progress.add_task('stress', total=count * len(tallies), frame=0, frames=count)
        for place, sample in enumerate(samples):
            variety = _variety(sample.labels)
            healthy = segment(Frame(sample.rgb, sample.depth_m))
            tallies[0].add(place, sample.labels, healthy)
            progress.update(task, advance=1, frame=place + 1)
            spoiled: dict[str, Spoiled] = {}
            for (corruption, severity), tally in zip(trials, tallies[1:], strict=True):
                rgb, depth_m = corruption.apply(
                    sample.rgb, sample.depth_m, severity, _rng(seed, place, corruption))
                prediction = segment(Frame(rgb, depth_m))
                tally.add(place, sample.labels, prediction)
                progress.update(task, advance=1)
                if variety > most and severity == corruption.severities[-1]:
                    spoiled[corruption.name] = Spoiled(severity, rgb, depth_m, prediction)
            if variety > most:
                most, example = variety, Example(sample, healthy, spoiled)
            widths.append(sample.rgb.shape[1])
    if example is None or not tallies[0].pixels:
        raise StressError('no pixel of the frames has a label the model knows; nothing can be '
                          'scored: check data.labels')
    clean = tallies[0]
    scored = iter(tallies[1:])
    curves = tuple(Curve(corruption, tuple(
        (clean if severity == corruption.clean else next(scored)).score(severity, clean)
        for severity in corruption.severities)) for corruption in corruptions)
    return Measured(len(widths), (min(widths), max(widths)), clean.score(0, clean),
                    clean.total().miou, curves, example)


def _rng(seed: int, place: int, corruption: Corruption) -> np.random.Generator:
    """Return the randomness of one fault on one frame: the same at every severity.

    So holes grow instead of wandering, and a curve does not jump by another draw.
    """
    return np.random.default_rng((seed, place, zlib.crc32(corruption.name.encode())))


class _Tally:
    """Pixels counted by truth and prediction, in groups of frames."""

    def __init__(self, classes: int) -> None:
        self._groups = [ConfusionMatrix(classes) for _ in range(_GROUPS)]

    def add(self, place: int, truth: Labels, prediction: Labels) -> None:
        self._groups[place % _GROUPS].update(truth, prediction)

    @property
    def pixels(self) -> int:
        return sum(group.pixels for group in self._groups)

    def score(self, severity: float, clean: '_Tally') -> Score:
        here, there = self.total(), clean.total()
        # Jackknife over the groups, each frame with and without the fault in the same group.
        drops = [100 * (_miou(b) - _miou(a))
                 for a, b in zip(self._without_each(), clean._without_each(), strict=True)]
        error = None
        if len(drops) > 1:
            error = float(np.sqrt((len(drops) - 1) * np.var(drops)))
        return Score(severity, _miou(here), here.pixel_accuracy,
                     100 * (_miou(there) - _miou(here)), error)

    def total(self) -> ConfusionMatrix:
        return _merged(self._groups)

    def _without_each(self) -> Iterator[ConfusionMatrix]:
        used = [group for group in self._groups if group.pixels]
        for out in used:
            rest = [group for group in used if group is not out]
            if rest:
                yield _merged(rest)


def _merged(groups: Sequence[ConfusionMatrix]) -> ConfusionMatrix:
    total = ConfusionMatrix(groups[0].classes)
    for group in groups:
        total.merge(group)
    return total


def _miou(matrix: ConfusionMatrix) -> float:
    """Return the mean IoU over the classes in the truth.

    Not over those predicted as well: a fault that makes the model name one pixel after a class
    that is not there would add a class of 0 to the mean.
    """
    return float(matrix.iou[matrix.counts.sum(1) > 0].mean())


def _variety(labels: Labels) -> float:
    """Return how much there is to see: the entropy of the labels, in bits."""
    counts = np.bincount(labels[labels != UNLABELLED].ravel(), minlength=1).astype(np.float64)
    shares = counts[counts > 0] / max(counts.sum(), 1.0)
    return float(-(shares * np.log2(shares)).sum())


def _progress() -> Progress:
    return Progress(
        TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(),
        TextColumn('frame {task.fields[frame]} of {task.fields[frames]}'), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True))
