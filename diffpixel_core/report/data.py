# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a report shows, as plain data; how it looks is not said here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import LabelSpace
from diffpixel_core.report.pictures import Depth, Image


class ReportError(DiffPixelError):
    """A report cannot be made from what was passed."""


@dataclass(frozen=True)
class Card:
    """One headline figure."""

    caption: str
    value: str
    note: str = ''
    tone: str = ''  # '' | 'good' | 'warn' | 'bad': the colour of the rule above the figure


@dataclass(frozen=True)
class ReportFrame:
    """The pictures of one frame; all of one size."""

    title: str  # 'frame 12, 0.40 s, 85 ms'
    rgb: Image  # (H, W, 3)
    depth_m: Depth  # (H, W) metres, 0 = not measured
    prediction: Image  # (H, W) label ids, 255 = unlabelled
    truth: Image | None = None  # (H, W) label ids of the same space, 255 = unlabelled
    confidence: Image | None = None  # (H, W), 255 = certain


@dataclass(frozen=True)
class ClassScore:
    """How well one class of the truth was found."""

    label: int
    iou: float  # 0..1
    share: float  # part of the labelled pixels, 0..1


@dataclass(frozen=True, eq=False)
class Confusion:
    """What each true class was taken for.

    Attributes:
        counts: `(K, K + 1)` integers; row = truth, column = prediction, the last column counts
            predictions that are no class.
        hint: What was counted.
    """

    counts: npt.NDArray[np.int64]
    hint: str = ''


@dataclass(frozen=True)
class Loss:
    """One reason for which frames or pairs did not come out, and what to do about it."""

    cause: str
    count: int
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One claim about the run that was tested."""

    claim: str
    passed: bool
    detail: str = ''


@dataclass(frozen=True)
class Latency:
    """When each output came and how late it was."""

    time_s: Sequence[float]  # since the first frame
    latency_ms: Sequence[float]
    lost_s: Sequence[float] = ()  # when frames came that have no output
    meaning: str = ('From publishing the later image of a pair to receiving its label image, both '
                    'over DDS. Red ticks: frames without an output.')


@dataclass(frozen=True)
class Table:
    """Figures in rows: a section of its own, placed after the latency.

    Attributes:
        title: Its heading.
        head: One caption per column; the first column names the row.
        rows: As many cells as captions; '' where there is nothing.
        hint: What the figures mean.
        total: Whether the last row sums up the others.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    hint: str = ''
    total: bool = False


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows; a part that is empty is left out."""

    title: str
    summary: str  # one plain sentence: what was run on what
    label_space: LabelSpace
    notice: str = ''  # what the figures must not be taken for
    cards: Sequence[Card] = ()
    frames: Sequence[ReportFrame] = ()
    frames_title: str = 'What went in, what came out'
    frames_in_order: bool = False  # else the frame with the most to see goes first
    class_scores: Sequence[ClassScore] = ()
    confusion: Confusion | None = None
    latency: Latency | None = None
    tables: Sequence[Table] = ()
    flow: Mapping[str, int] = field(default_factory=dict)  # parts of the input frames; 'out' first
    losses: Sequence[Loss] = ()
    checks: Sequence[Check] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ''
