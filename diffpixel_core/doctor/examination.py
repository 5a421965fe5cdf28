# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A data set examined: frames spread evenly over its splits, read and judged."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from diffpixel_core.datasets.description import Description, FrameFiles
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.doctor.alignment import Alignment, alignment_verdicts, combined
from diffpixel_core.doctor.depth_check import (
    UNIT_NAMES,
    DepthSummary,
    depth_summary,
    depth_verdicts,
    unit_verdicts,
)
from diffpixel_core.doctor.file_check import file_verdicts, split_verdicts, swapped_verdicts
from diffpixel_core.doctor.label_check import LabelSummary, label_summary, label_verdicts
from diffpixel_core.doctor.reading import Measured, measure
from diffpixel_core.doctor.verdict import Verdict, sorted_by_severity

DEFAULT_LIMIT = 300
_FRAMES_WITH_EDGES = 60  # enough for the edges, which take half of the time
_WORKERS = 2


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        description: The data set.
        splits: The splits that were looked at.
        frames: The frames that were read.
        depth: Depth in figures.
        labels: Labels in figures.
        depth_alignment: How depth lies on colour; None if no frame has edges to compare.
        label_alignment: The same of labels.
        verdicts: What to know, the worst first.
    """

    description: Description
    splits: tuple[str, ...]
    frames: tuple[Measured, ...]
    depth: DepthSummary
    labels: LabelSummary
    depth_alignment: Alignment | None
    label_alignment: Alignment | None
    verdicts: tuple[Verdict, ...]

    def headline(self) -> str:
        """Return layout, frames, depth unit and label space on one line."""
        description = self.description
        splits = ', '.join(f'{name} {len(files)}' for name, files in description.splits.items())
        parts = [f'layout {description.layout}', f'frames: {splits} ({len(self.frames)} read)',
                 f'depth: {UNIT_NAMES[description.depth_unit]}']
        if self.labels.frames:
            parts.append(f'labels: {description.label_space.name}')
        return ' · '.join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return plain types."""
        description = self.description
        return {
            'data': {
                'name': description.name, 'layout': description.layout,
                'root': str(description.root),
                'label_space': description.label_space.name,
                'splits': {split: len(files) for split, files in description.splits.items()},
                'frames_read': len(self.frames), 'frames_labelled': self.labels.frames,
            },
            'depth': self.depth.as_json(),
            'labels': self.labels.as_json(),
            'alignment': {what: found and found.as_json() for what, found in
                          (('depth', self.depth_alignment), ('labels', self.label_alignment))},
            'verdicts': [verdict.as_json() for verdict in self.verdicts],
        }


def examine(description: Description, *, split: str | None = None,
            limit: int = DEFAULT_LIMIT) -> Examination:
    """Return what is right and wrong with a data set; nothing wrong in it raises.

    Args:
        description: The data set.
        split: The only split to look at; None = all.
        limit: How many frames to read, spread evenly.

    Raises:
        DataError: If there is no such split.
    """
    if split is not None and split not in description.splits:
        raise DataError(f'{description.root} ({description.layout}) has no split {split!r}; it has '
                        f'{", ".join(description.splits)}')
    splits = tuple(description.splits) if split is None else (split,)
    chosen = spread(description, splits, limit)
    frames = _measured(description, chosen)
    depth, labels = depth_summary(description, frames), label_summary(description, frames)
    depth_alignment = combined([frame.depth_agreement for frame in frames])
    label_alignment = combined([frame.label_agreement for frame in frames])
    verdicts = [*split_verdicts(description, splits), *file_verdicts(description, frames)]
    swapped = swapped_verdicts(description, frames)
    if frames and not swapped:
        unit = unit_verdicts(description, frames)
        verdicts += [*unit, *depth_verdicts(description, frames),
                     *alignment_verdicts(depth_alignment, label_alignment, unit_is_right=not unit),
                     *label_verdicts(description, frames, labels)]
    return Examination(description, splits, tuple(frames), depth, labels, depth_alignment,
                       label_alignment, tuple(sorted_by_severity([*swapped, *verdicts])))


def spread(description: Description, splits: Sequence[str],
           limit: int) -> list[tuple[str, FrameFiles]]:
    """Return at most `limit` frames with their split, evenly spread over all."""
    every = [(split, file) for split in splits for file in description.splits[split]]
    if not every:
        return []
    places = np.linspace(0, len(every) - 1, min(limit, len(every))).round().astype(int)
    return [every[place] for place in places]


def _measured(description: Description, chosen: Sequence[tuple[str, FrameFiles]]) -> list[Measured]:
    with_edges = set(np.linspace(0, len(chosen) - 1, min(_FRAMES_WITH_EDGES, len(chosen)))
                     .round().astype(int).tolist())
    jobs = [partial(measure, description, split, file, edges=i in with_edges)
            for i, (split, file) in enumerate(chosen)]
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        futures = [pool.submit(job) for job in jobs]
        return [future.result() for future in
                track(futures, 'examining', console=Console(stderr=True), transient=True)]
    finally:
        pool.shutdown(cancel_futures=True)
