# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SUN RGB-D: labels out of the toolbox ahead of time; training would do it on first use."""

from dataclasses import dataclass
from pathlib import Path

from diffpixel_core.datasets.layouts import describe
from diffpixel_core.datasets.sunrgbd_toolbox import SEGMENTATION, find_toolbox
from diffpixel_core.prepare.writing import PrepareError


@dataclass(frozen=True, slots=True)
class PreparedLabels:
    """What there is now.

    Attributes:
        folder: Where the label images are.
        splits: Number of frames by split.
        labelled: Frames that have a label image.
    """

    folder: Path
    splits: dict[str, int]
    labelled: int


def prepare_sunrgbd(root: Path) -> PreparedLabels:
    """Write the label image of every scene that has none yet; an interrupted run is completed.

    Args:
        root: The folder that holds `SUNRGBD` and `SUNRGBDtoolbox`.

    Raises:
        PrepareError: If these are not the original folders, or the toolbox is not there.
        DataError: If a file is damaged or there is no room; it names it.
    """
    description = describe(root)
    if description.layout != 'sunrgbd':
        raise PrepareError(f'{root} is a data set in the layout {description.layout}, not SUN '
                           'RGB-D in its original folders; there is nothing to prepare')
    files = [file for split in description.splits.values() for file in split]
    labelled = sum(file.label is not None for file in files)
    if not labelled:
        raise PrepareError(f'{root} has no labels: SUNRGBDtoolbox/Metadata/{SEGMENTATION} is not '
                           'there; unpack SUNRGBDtoolbox.zip beside SUNRGBD')
    return PreparedLabels(find_toolbox(description.root).labels,
                          {split: len(of) for split, of in description.splits.items()}, labelled)
