# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that is known of a replayed bag, whoever replayed it: offline, live, or elsewhere.

A tally is plain data: it can be sent between processes, merged with others and written as JSON.
It grows by some hundred bytes a frame; of the images only the worst few are kept, compressed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from diffpixel_core.labels import LabelSpace
from diffpixel_core.metrics import ConfusionMatrix

# Causes by which a single message ends; all others end a pair, or a colour image that went alone.
MESSAGE_CAUSES = ('bad_encoding', 'bad_size', 'bad_data', 'future', 'unpaired', 'overflow', 'reset',
                  'duplicate', 'no_depth', 'transport_lost', 'callback_error')
PERCENTILES = {'p50': 50, 'p95': 95, 'p99': 99, 'max': 100}

_Counts = npt.NDArray[np.int64]


class FrameRow(NamedTuple):
    """The figures of one frame.

    Attributes:
        stamp_ns: Capture time of the colour image.
        ms: Latency, milliseconds: the sum of the stages offline, input to output live.
        confidence: Mean over the image, 0..1.
        pixel_accuracy: 0..1; None without truth.
        miou: 0..1, over the classes true or predicted in this frame; None without truth.
        flicker: Share of the compared pixels whose label changed since the frame before, 0..1;
            None if nothing could be compared.
    """

    stamp_ns: int
    ms: float
    confidence: float
    pixel_accuracy: float | None = None
    miou: float | None = None
    flicker: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame to look at, each image encoded; `badness` and `reason` say why it was kept.

    Attributes:
        bag: The bag it is from.
        place: How many colour images the bag has before it.
        row: Its figures.
        badness: The larger, the worse; comparable among pictures of the same `reason`.
        reason: `truth`, `flicker` or `confidence`: what was judged.
        rgb: JPEG of the colour image.
        depth_mm: PNG, 16 bit, millimetres, 0 = not measured.
        labels: PNG of the prediction.
        confidence: PNG, 255 = certain.
        truth: PNG of the truth in the same label space; None without.
    """

    bag: str
    place: int
    row: FrameRow
    badness: float
    reason: str
    rgb: bytes
    depth_mm: bytes
    labels: bytes
    confidence: bytes
    truth: bytes | None = None


@dataclass
class Flicker:
    """Label changes of points that did not move, counted over pairs of consecutive frames.

    Attributes:
        compared: `(K,)` int64 pixels compared, by their label in the earlier frame.
        changed: `(K,)` int64 those of them that have another label in the later frame.
        frame_pairs: Pairs of consecutive frames looked at.
        by_pose: Those compared through camera poses.
        by_still: Those compared pixel to pixel because the camera stood still.
    """

    compared: _Counts
    changed: _Counts
    frame_pairs: int = 0
    by_pose: int = 0
    by_still: int = 0

    @property
    def share(self) -> float | None:
        """Part of the compared pixels that changed, 0..1; None if none could be compared."""
        total = int(self.compared.sum())
        return int(self.changed.sum()) / total if total else None

    def add(self, other: 'Flicker') -> None:
        """Add the counts of another recording with the same classes."""
        self.compared = self.compared + other.compared
        self.changed = self.changed + other.changed
        self.frame_pairs += other.frame_pairs
        self.by_pose += other.by_pose
        self.by_still += other.by_still

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return all figures as plain types; shares are None where nothing was compared."""
        return {'share': self.share, 'pixels_compared': int(self.compared.sum()),
                'pixels_changed': int(self.changed.sum()), 'frame_pairs': self.frame_pairs,
                'compared_by_pose': self.by_pose, 'compared_by_still_camera': self.by_still,
                'per_class': {name: int(changed) / int(compared) for name, changed, compared
                              in zip(names, self.changed, self.compared, strict=True) if compared}}


@dataclass
class Tally:
    """What came of one bag, or of several merged.

    Attributes:
        bag: Path of the bag, or what the merged ones are called together.
        label_space: The labels that came out.
        topics: Names by role: `colour`, `depth`, and where they exist `info` and `truth`.
        frames_in: Colour images in the bag.
        depth_in: Depth images in the bag.
        pairs: Colour with depth.
        alone: Colour that went on without depth, where `missing_depth` is `rgb_only`.
        frames_out: Label images that came out.
        drops: Messages and pairs that ended without a result, by cause.
        gap_mean_ms: Mean stamp difference of the pairs.
        gap_max_ms: Largest stamp difference of the pairs.
        resets: How often time jumped back.
        bag_s: Length of the recording, seconds.
        rate_hz: Colour images a second as they were recorded; 0 if unknown or of several bags.
        run_s: How long the replay took, seconds.
        latency_ms: Milliseconds of every frame by stage. Offline `read` (both messages from the
            file), `decode` (to arrays), `network`, `tail` (upsampling, argmax), `total` (their
            sum); live what the topic `semantic/timings` reports.
        confusion: `(K, K + 1)` as in `ConfusionMatrix`; None without truth.
        truth_in: Truth images in the bag or folder; None if none were looked for.
        scored: Frames held against a truth.
        flicker: Label changes of points that did not move.
        frames: One row per frame that came out.
        pictures: The worst frames, worst first.
        notes: What a person should know about these figures, one sentence each.
        files: Path of each file written, by kind.
    """

    bag: str
    label_space: LabelSpace
    topics: dict[str, str] = field(default_factory=dict)
    frames_in: int = 0
    depth_in: int = 0
    pairs: int = 0
    alone: int = 0
    frames_out: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    gap_mean_ms: float = 0.0
    gap_max_ms: float = 0.0
    resets: int = 0
    bag_s: float = 0.0
    rate_hz: float = 0.0
    run_s: float = 0.0
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    confusion: _Counts | None = None
    truth_in: int | None = None
    scored: int = 0
    flicker: Flicker = field(init=False)
    frames: list[FrameRow] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the flicker counts, which need the number of classes."""
        self.flicker = Flicker(np.zeros(len(self.label_space), np.int64),
                               np.zeros(len(self.label_space), np.int64))

    @property
    def unexplained(self) -> int:
        """Pairs, and colour images that went alone, that neither came out nor have a cause."""
        ended = sum(number for cause, number in self.drops.items() if cause not in MESSAGE_CAUSES)
        return self.pairs + self.alone - self.frames_out - ended

    @property
    def score(self) -> ConfusionMatrix | None:
        """The confusion matrix with its scores; None without a scored frame."""
        if self.confusion is None or not self.scored:
            return None
        matrix = ConfusionMatrix(len(self.label_space))
        matrix.counts = self.confusion
        return matrix

    def add_latency(self, ms: Mapping[str, float]) -> None:
        """Append the milliseconds of one frame to those of each stage."""
        for stage, value in ms.items():
            self.latency_ms.setdefault(stage, []).append(value)

    def latency_figures(self) -> dict[str, dict[str, float]]:
        """Return p50, p95, p99 and max in milliseconds for each stage that has a value."""
        return {stage: {name: float(np.percentile(values, percent))
                        for name, percent in PERCENTILES.items()}
                for stage, values in self.latency_ms.items() if values}

    def as_json(self) -> dict[str, Any]:
        """Return everything but pictures and single frames as plain types."""
        names = self.label_space.names
        score = self.score.as_dict(names) if self.score else {}
        return {
            'bag': self.bag, 'label_space': self.label_space.name, 'topics': self.topics,
            'frames_in': self.frames_in, 'depth_in': self.depth_in, 'pairs': self.pairs,
            'alone': self.alone, 'frames_out': self.frames_out,
            'drops': dict(self.drops), 'gap_mean_ms': self.gap_mean_ms,
            'gap_max_ms': self.gap_max_ms, 'resets': self.resets, 'bag_s': self.bag_s,
            'rate_hz': self.rate_hz, 'run_s': self.run_s, 'latency_ms': self.latency_figures(),
            'miou': score.get('miou'), 'pixel_accuracy': score.get('pixel_accuracy'),
            'mean_accuracy': score.get('mean_accuracy'), 'per_class': score.get('iou', {}),
            'truth_in': self.truth_in, 'scored_frames': self.scored,
            'flicker': self.flicker.as_json(names), 'notes': self.notes, 'files': self.files,
        }


def rate_hz(images: int, first_ns: int, last_ns: int) -> float:
    """Return how many images came in a second, from the first to the last; 0 if nobody can say."""
    return (images - 1) * 1e9 / (last_ns - first_ns) if last_ns > first_ns else 0.0


def merged(tallies: Sequence[Tally], *, name: str = 'all bags', pictures: int = 8) -> Tally:
    """Return one tally of several bags.

    Args:
        tallies: At least one, all of one label space.
        name: What they are called together.
        pictures: How many pictures to keep: the worst of each bag first, then the second worst,
            and so on, so that no bag hides another.
    """
    assert len({tally.label_space.name for tally in tallies}) == 1
    total = Tally(name, tallies[0].label_space)
    pairs = sum(tally.pairs for tally in tallies)
    for tally in tallies:
        total.frames_in += tally.frames_in
        total.depth_in += tally.depth_in
        total.pairs += tally.pairs
        total.alone += tally.alone
        total.frames_out += tally.frames_out
        total.drops.update(tally.drops)
        total.gap_mean_ms += tally.gap_mean_ms * tally.pairs / max(pairs, 1)
        total.gap_max_ms = max(total.gap_max_ms, tally.gap_max_ms)
        total.resets += tally.resets
        total.bag_s += tally.bag_s
        total.run_s += tally.run_s
        total.scored += tally.scored
        for stage, values in tally.latency_ms.items():
            total.latency_ms.setdefault(stage, []).extend(values)
        if tally.confusion is not None:
            total.confusion = tally.confusion + (0 if total.confusion is None else total.confusion)
        if tally.truth_in is not None:
            total.truth_in = tally.truth_in + (total.truth_in or 0)
        total.flicker.add(tally.flicker)
        total.frames += tally.frames
        total.notes += [note for note in tally.notes if note not in total.notes]
    # By rank first, then by bag.
    ranked = sorted(((rank, index) for index, tally in enumerate(tallies)
                     for rank in range(len(tally.pictures))))
    total.pictures = [tallies[index].pictures[rank] for rank, index in ranked[:pictures]]
    return total
