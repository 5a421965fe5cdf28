# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a user names with --data: a recipe, a YAML that describes a data set, or a folder."""

import dataclasses
from pathlib import Path

import yaml

from diffpixel_core.config import DataConfig, load_data_config
from diffpixel_core.evaluation.results import EvaluationError


def held_out_data(path: Path, *, split: str | None = None) -> DataConfig:
    """Return where the frames to score come from.

    Args:
        path: A folder in one of the known layouts, a YAML that describes a data set of one's own
            (it says where the colour images are), or a training recipe, whose held-out frames
            count.
        split: Which split; none = the one that is held out.

    Raises:
        ConfigError: If the file is none of these.
        EvaluationError: If a split of generated rooms is asked for: they have none.
    """
    if path.is_dir() or _describes_a_data_set(path):
        data = DataConfig(source='dataset', path=str(path))
    else:
        data = load_data_config(path)
    if split is not None and data.source == 'generated':
        raise EvaluationError(f'split {split!r}: {path} has generated rooms, held out by their '
                              'seed, not by a split; leave --split out')
    # Each frame is read once: nothing is gained by decoding into arrays first.
    return dataclasses.replace(data, in_memory=False, val_split=split or data.val_split)


def _describes_a_data_set(path: Path) -> bool:
    try:
        rows = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # read again as a recipe, which says what is wrong with it
    return isinstance(rows, dict) and 'colour' in rows
