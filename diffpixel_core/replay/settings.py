# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a replay can be told, and what it refuses."""

import math
from dataclasses import dataclass

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import load_label_space
from diffpixel_core.synchronise import MISSING_DEPTH


class ReplayError(DiffPixelError):
    """A replay that cannot be run as asked, or that did not come to what was asked for."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How bags are replayed.

    Attributes:
        model: Model directory, or the name of a shipped model.
        engine: Runtime, `auto` or a name of `engines.ENGINES`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto` or one of `artefacts.PRECISIONS`.
        colour_topic: Topic of the colour images; empty: as the common drivers name it.
        depth_topic: Topic of the depth images aligned to them; likewise.
        truth: A label topic or a folder of label images; empty: the bag's own where it has one.
        truth_space: Label space of the truth.
        missing_depth: What becomes of colour while no depth comes: `wait`, `rgb_only` or `drop`.
        sync_slop_s: Largest stamp difference of a pair, seconds.
        class_map: YAML file that groups classes, or `groups`; empty: the model's own classes.
        confidence_threshold: Less certain pixels become unlabelled, 0..1.
        stride: Only every so many pairs is segmented.

    Raises:
        ReplayError: If a value is out of range or unknown.
        LabelError: If there is no such label space.
    """

    model: str = 'rooms_t'
    engine: str = 'auto'
    device: str = 'auto'
    precision: str = 'auto'
    colour_topic: str = ''
    depth_topic: str = ''
    truth: str = ''
    truth_space: str = 'nyu40'
    missing_depth: str = 'wait'
    sync_slop_s: float = 0.02
    class_map: str = ''
    confidence_threshold: float = 0.0
    stride: int = 1

    def __post_init__(self) -> None:
        """Reject what cannot be meant."""
        if not 0 <= self.sync_slop_s < math.inf:
            raise ReplayError(f'sync_slop is {self.sync_slop_s} s; it must be a number of seconds, '
                              '0 or more')
        if not 0 <= self.confidence_threshold <= 1:
            raise ReplayError(f'confidence_threshold is {self.confidence_threshold}; it must lie '
                              'between 0 and 1')
        if self.stride < 1:
            raise ReplayError(f'stride is {self.stride}; it must be 1 or more')
        if self.missing_depth not in MISSING_DEPTH:
            raise ReplayError(f'missing_depth is {self.missing_depth!r}; choose one of '
                              f'{", ".join(MISSING_DEPTH)}')
        load_label_space(self.truth_space)

    @property
    def slop_ns(self) -> int:
        """`sync_slop_s` in nanoseconds."""
        return round(self.sync_slop_s * 1e9)
