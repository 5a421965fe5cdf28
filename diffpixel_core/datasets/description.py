# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a data set on disk is: its files by split, the unit of its depth, the meaning of its ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.datasets.frames import DataError
from diffpixel_core.labels import UNLABELLED, LabelSpace

UNKNOWN_COLOUR = 65535  # raw id of a pixel whose colour is that of no class
_NO_CLASS = 256  # in the table of raw ids: neither a class nor unlabelled


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """The files of one frame.

    Attributes:
        name: What to call it, unique in its split.
        colour: The colour image.
        depth: The depth image.
        label: The label image; None where there is none.
        cosine: The incidence cosine (8 bit, 255 = 1) of a rendered frame, whose depth is exact.
        camera: The sensor it was taken with, for scores by camera; '' where there is only one.
    """

    name: str
    colour: Path
    depth: Path
    label: Path | None = None
    cosine: Path | None = None
    camera: str = ''


@dataclass(frozen=True)
class RawIds:
    """What the numbers in the label images of a data set mean.

    Attributes:
        classes: Number of classes K.
        first: Raw id of class 0; the K ids from there on are the classes in order.
        void: Raw ids that mean unlabelled.
        others: Raw ids that are some class out of that order: raw id -> class.
    """

    classes: int
    first: int = 0
    void: tuple[int, ...] = (UNLABELLED,)
    others: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse ids that mean two things at once, or do not fit into 16 bits."""
        if self.first < 0 or self.first + self.classes > UNKNOWN_COLOUR:
            raise DataError(f'ids {self.first} to {self.first + self.classes - 1} of the classes '
                            f'do not fit into label images; they may be 0 to {UNKNOWN_COLOUR - 1}')
        both = sorted(set(self.void) & set(range(self.first, self.first + self.classes)))
        if both:
            raise DataError(f'raw ids {both} are classes and unlabelled at once; correct the '
                            'offset of the labels or the list of void ids')

    @cached_property
    def table(self) -> npt.NDArray[np.int32]:
        """`(65536,)` class by raw id; 255 = unlabelled, 256 = an id that must not occur."""
        table = np.full(65536, _NO_CLASS, np.int32)
        table[self.first:self.first + self.classes] = np.arange(self.classes)
        for raw, label in self.others:
            table[raw] = label
        table[list(self.void)] = UNLABELLED
        return table

    def translate(self, raw: npt.NDArray[Any], *, name: object) -> npt.NDArray[np.uint8]:
        """Return `(H, W)` uint8 labels of an image of raw ids, 255 = unlabelled.

        Args:
            raw: `(H, W)` uint8 or uint16.
            name: The file, for the message.

        Raises:
            DataError: If an id is neither a class nor void.
        """
        labels: npt.NDArray[np.int32] = self.table[raw]
        if (labels == _NO_CLASS).any():
            ids, counts = np.unique(raw[labels == _NO_CLASS], return_counts=True)
            found = ', '.join(f'{i} ({n} pixels)' for i, n in
                              list(zip(ids, counts, strict=True))[:5])
            void = ', '.join(map(str, self.void)) or 'none'
            raise DataError(f'{name} holds id {found}, which is no class: this data set has '
                            f'{self.first}..{self.first + self.classes - 1} as classes and '
                            f'{void} as unlabelled; correct its label_offset or void ids, or name '
                            'the label space it was written in')
        return np.asarray(labels, np.uint8)

    def out_of_range(self, raw: npt.NDArray[Any]) -> dict[int, int]:
        """Return how many pixels hold each id that is neither a class nor void."""
        ids, counts = np.unique(raw[self.table[raw] == _NO_CLASS], return_counts=True)
        return {int(i): int(n) for i, n in zip(ids, counts, strict=True)}


@dataclass(frozen=True)
class LabelColours:
    """The colours that stand for ids in colour-coded label images.

    Attributes:
        rgb: The colours, three of 0..255 each.
        ids: The raw id each of them stands for.
        of_palettes: Whether palette images are colour-coded too; else their indices are the ids,
            and a palette that says otherwise is refused.
    """

    rgb: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]
    of_palettes: bool = False

    def raw_ids(self, colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
        """Return `(H, W)` raw ids of `(H, W, 3)` RGB; `UNKNOWN_COLOUR` where it is none of them."""
        codes = _codes(np.array(self.rgb, np.uint8))
        order = np.argsort(codes)
        codes = codes[order]
        wanted = _codes(colours)
        place = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        ids = np.array(self.ids, np.uint16)[order][place]
        return np.where(codes[place] == wanted, ids, np.uint16(UNKNOWN_COLOUR))


def _codes(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    return np.asarray(rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32), np.int32)


@dataclass(frozen=True)
class Description:
    """A data set on disk.

    Attributes:
        name: What to call it: 'nyudv2', or its own name.
        layout: The convention its files follow: a key of `layouts.LAYOUTS`, 'sunrgbd', 'images'
            (plain folders) or 'yaml'.
        root: Its folder.
        splits: Frames by split: 'train', 'val', 'test'; 'all' where there are no splits.
        depth_unit: One of `depth.READABLE_UNITS`.
        label_space: What the classes are.
        raw_ids: What the numbers in its label images mean.
        label_colours: What the colours in its label images mean, if those may be colour-coded.
        intrinsics: fx, fy, cx, cy of its camera, pixels; None = in the folder's camera file.
        lists: The file that named the frames of a split, where one did.
    """

    name: str
    layout: str
    root: Path
    splits: Mapping[str, Sequence[FrameFiles]]
    depth_unit: str
    label_space: LabelSpace
    raw_ids: RawIds
    label_colours: LabelColours | None = None
    intrinsics: tuple[float, float, float, float] | None = None
    lists: Mapping[str, Path] = field(default_factory=dict)

    @property
    def metric(self) -> bool:
        """Whether its depth is in metres, not only an affine image of them."""
        return self.depth_unit != 'relative'

    def frames(self, split: str) -> Sequence[FrameFiles]:
        """Return the frames of a split.

        Raises:
            DataError: If there is no such split, or it is empty.
        """
        if split not in self.splits:
            raise DataError(f'{self.root} ({self.layout}) has no split {split!r}; it has '
                            f'{", ".join(self.splits)}')
        if not self.splits[split]:
            where = f': {self.lists[split]} names no frame' if split in self.lists else ''
            raise DataError(f'split {split!r} of {self.root} is empty{where}; add frames or choose '
                            'another split')
        return self.splits[split]
