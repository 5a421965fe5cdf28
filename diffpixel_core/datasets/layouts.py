# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The conventions public data sets are written in, one row each, and how they are told apart."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from diffpixel_core.datasets import plain, sunrgbd
from diffpixel_core.datasets.description import Description, FrameFiles, RawIds
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.datasets.label_images import read_ids
from diffpixel_core.datasets.lists import (
    LABEL_SUFFIXES,
    SPLITS,
    Line,
    images_below,
    list_files,
    read_list,
)
from diffpixel_core.datasets.own import YAML_SUFFIXES, describe_yaml
from diffpixel_core.image_folder import IMAGE_SUFFIXES, stored_type
from diffpixel_core.labels import UNLABELLED, LabelSpace, load_label_space

logger = logging.getLogger(__name__)

_LABELS_TO_TELL = 20  # of each split, images
_VOID_FIRST = 0, UNLABELLED  # unlabelled ids where 0 is one: 255 is what "-1" made of it elsewhere


@dataclass(frozen=True)
class Layout:
    """A convention: folders of images of one name, depth unit and ids.

    Attributes:
        dataset: The data set it is a form of.
        colour: Folder of the colour images.
        depth: Folder of the depth images.
        label: Folders that may hold the label images; `{classes}` is the number of classes.
        units: Depth unit by the type the images are stored in; where there is one, it holds for
            all types.
        first: Raw id of class 0.
        void: Raw ids of unlabelled pixels.
        label_space: What the classes are.
        by_split: Whether the folders lie in `train/`, `val/`, `test/`.
        raw_depth: Folder of the depth before in-painting, if it is kept.
        cameras: Whether the first part of a frame's name is its camera.
        told_by_ids: Whether plain folders have these names too, so that the ids in the label
            images must tell.
    """

    dataset: str
    colour: str
    depth: str
    label: tuple[str, ...]
    units: Mapping[str, str]
    first: int = 1
    void: tuple[int, ...] = _VOID_FIRST
    label_space: str = 'nyu40'
    by_split: bool = False
    raw_depth: str | None = None
    cameras: bool = False
    told_by_ids: bool = False

    def __str__(self) -> str:
        """Return what its folders are called."""
        classes = len(load_label_space(self.label_space))
        label = '|'.join(name.format(classes=classes) for name in self.label)
        below = 'train|val|test/ with ' * self.by_split
        return f'{below}{self.colour}/ {self.depth}/ {label}/'


# Source: the loaders named in lists.read_list. tokenfusion: CEN's config, depth_scale 1/5000; its
# images are rows 6..473 and columns 7..631 of the 480x640 frame (measured: labels equal, depth to
# 0.4 mm). dformer: its README for 8-bit depth; SA-Gate writes the same folders with float metres
# (.npy). esanet and nicr: TUI-NICR's ESANet and nicr-scene-analysis-datasets, flat: s-gupta/kong.
LAYOUTS: Mapping[str, Layout] = MappingProxyType({
    'tokenfusion': Layout('nyudv2', 'rgb', 'depth', ('masks',), {'uint16': 'm5000'},
                          first=0, void=(UNLABELLED,)),
    'dformer': Layout('nyudv2', 'RGB', 'Depth', ('Label', 'Labels'),
                      {'uint8': 'relative', 'uint16': 'mm', 'float32': 'm', 'float64': 'm'}),
    'esanet': Layout('nyudv2', 'rgb', 'depth', ('labels_{classes}',), {'uint16': 'mm'},
                     by_split=True, raw_depth='depth_raw'),
    'nicr': Layout('nyudv2', 'rgb', 'depth', ('semantic_{classes}',), {'uint16': 'mm'},
                   by_split=True, raw_depth='depth_raw'),
    'gupta': Layout('nyudv2', 'rgb', 'depth', ('labels_{classes}',), {'uint16': 'mm'},
                    raw_depth='depth_raw'),
    'dplnet': Layout('nyudv2', 'image', 'depth', ('label',),
                     {'uint8': 'relative', 'uint16': 'mm'}, by_split=True, told_by_ids=True),
    'sunrgbd_packed': Layout('sunrgbd', 'RGB', 'Depth', ('labels',),
                             {'uint8': 'relative', 'uint16': 'sun', 'float32': 'm',
                              'float64': 'm'}, label_space='sun37'),
    'sunrgbd_nicr': Layout('sunrgbd', 'rgb', 'depth', ('semantic',), {'uint16': 'sun'},
                           label_space='sun37', by_split=True, raw_depth='depth_raw',
                           cameras=True),
})


def describe(path: Path, *, depth_unit: str | None = None, label_space: str | None = None,
             raw_depth: bool = False) -> Description:
    """Return what the data set at a path is; its layout is found out.

    Args:
        path: Its folder, or one that holds nothing else; or a YAML that describes it
            (`own.describe_yaml`).
        depth_unit: Unit of the depth images; None = what the layout says, 'mm' for plain folders.
        label_space: Label space of the label images; None = what the layout says, 'nyu40' for
            plain folders.
        raw_depth: Take depth as measured, with its holes, where there is an in-painted one too.

    Raises:
        DiffPixelError: If nothing there is a data set (the message says what was looked for and
            found), or frames that a list names are missing.
    """
    path = Path(path)
    if path.suffix.lower() in YAML_SUFFIXES and not path.is_dir():
        return describe_yaml(path, depth_unit=depth_unit, label_space=label_space,
                             raw_depth=raw_depth)
    if not path.is_dir():
        what = 'is a file' if path.exists() else 'does not exist'
        raise DataError(f'data set {path} {what}; give its folder, or a YAML that describes it')
    if not _is_readable(path):
        raise DataError(f'data set {path} cannot be read; ask its owner for the permission')
    root, layout = _find(path)
    if layout == 'sunrgbd':
        return sunrgbd.describe_scenes(root, depth_unit=depth_unit, label_space=label_space,
                                       raw_depth=raw_depth)
    if layout == 'images':
        return plain.describe_folder(root, depth_unit=depth_unit, label_space=label_space,
                                     raw_depth=raw_depth)
    return _described(root, layout, depth_unit, label_space, raw_depth=raw_depth)


def _find(path: Path) -> tuple[Path, str]:
    """Return the root of the data set at or just below a path, and its layout."""
    layout = _layout_of(path)
    if layout is not None:
        return path, layout
    below = [(folder, found) for folder in sorted(path.iterdir())
             if folder.is_dir() and _is_readable(folder) and not folder.name.startswith('.')
             and (found := _layout_of(folder)) is not None]
    if len(below) == 1:
        logger.info('%s is a data set in the layout %s', *below[0])
        return below[0]
    if below:
        found = ', '.join(f'{folder.name}/ ({layout})' for folder, layout in below)
        raise DataError(f'{path} holds several data sets: {found}; give one of them')
    present = sorted(entry.name + '/' * entry.is_dir() for entry in path.iterdir())
    there = ', '.join(present[:12]) + ', ...' * (len(present) > 12) if present else 'nothing'
    if present and not any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.glob('*/*')):
        there += ' without an image in them'
    hint = ('; HHA pictures hold no metres: Depth/ is needed'
            if {'HHA', 'HHA/', 'hha/'} & set(present) else '')
    raise DataError(f'{path} is no data set: in it {"are" if len(present) > 1 else "is"} {there}'
                    f'{hint}; wanted are {_nearest(present)}, with images of equal names. Give the '
                    'right folder, or describe your own data set by a YAML')


def _nearest(present: Sequence[str]) -> str:
    """Return the folders of the layouts that have most of their names among those present."""
    told = {**{name: str(row) for name, row in LAYOUTS.items()}, **sunrgbd.FOLDERS, **plain.FOLDERS}
    there = {name.rstrip('/').lower() for name in present}
    common = {name: len(there & set(re.findall(r'\w+', folders.lower())))
              for name, folders in told.items()}
    most = max(common.values())
    names = [name for name in told if common[name] == most] if most else list(plain.FOLDERS)
    return ' or '.join(f'{told[name]} ({name})' for name in names)


def _is_readable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _layout_of(path: Path) -> str | None:
    for name, row in LAYOUTS.items():
        labels = [base / label for base in _bases(path, row).values()
                  if (label := _label_folder(base, row, row.label_space))]
        if labels and (not row.told_by_ids or _counts_from_one(labels, row)):
            return name
    if sunrgbd.is_root(path):
        return 'sunrgbd'
    return 'images' if plain.is_root(path) else None


def _counts_from_one(folders: list[Path], row: Layout) -> bool:
    """Tell whether labels hold the ids of a row, not those from 0 of plain folders.

    Raises:
        DataError: If the first of them do not tell.
    """
    last = len(load_label_space(row.label_space))
    for folder in folders:
        for path in list(images_below(folder, LABEL_SUFFIXES).values())[:_LABELS_TO_TELL]:
            ids = read_ids(path)
            if last in ids:
                return True
            if UNLABELLED in ids:
                return False
    raise DataError(f'labels in {folders[0]} may begin at 0 (plain folders) or at 1 with 0 = '
                    f'unlabelled (DPLNet): neither {last} nor {UNLABELLED} is in the first of '
                    'them; describe the data set by a YAML with its label_offset')


def _bases(root: Path, row: Layout) -> dict[str, Path]:
    """Return the folders that may hold colour, depth and labels, by split; '' = no such folders."""
    if not row.by_split:
        return {'': root}
    return {split: root / split for split in SPLITS if (root / split).is_dir()}


def _label_folder(base: Path, row: Layout, label_space: str) -> str | None:
    """Return the name of the folder of labels if colour, depth and labels are there."""
    # By the names as written: 'Labels' and 'labels' are two data sets, on every file system.
    present = {entry.name for entry in os.scandir(base) if entry.is_dir()}
    classes = len(load_label_space(label_space))
    names = [name.format(classes=classes) for name in row.label]
    if not {row.colour, row.depth} <= present:
        return None
    return next((name for name in names if name in present), None)


def _described(root: Path, layout: str, depth_unit: str | None, label_space: str | None, *,
               raw_depth: bool) -> Description:
    row = LAYOUTS[layout]
    space = load_label_space(label_space or row.label_space)
    splits: dict[str, list[FrameFiles]] = {}
    lists: dict[str, Path] = {}
    for split, base in _bases(root, row).items():
        folders = _folders(base, row, layout, space, raw_depth=raw_depth)
        if folders is None:
            continue
        images = {role: images_below(base / name, LABEL_SUFFIXES if role == 'label'
                                     else IMAGE_SUFFIXES) for role, name in folders.items()}
        named = list_files(root)
        if row.by_split:
            named = {of: path for of, path in (list_files(base) | named).items() if of == split}
        for of, path in named.items():
            splits[of] = _listed(path, read_list(path, folders), base, folders, images, row)
            lists[of] = path
        if not named:
            splits[split or 'all'] = _unlisted(base, folders, images, row)
    unit = depth_unit or _unit(row, layout, splits)
    return Description(row.dataset, layout, root, splits, unit, space,
                       RawIds(len(space), row.first, row.void), lists=lists)


def _folders(base: Path, row: Layout, layout: str, space: LabelSpace, *,
             raw_depth: bool) -> dict[str, str] | None:
    """Return the name of the folder of each role, or None if this split has none of them."""
    label = _label_folder(base, row, space.name)
    if label is None:
        if _label_folder(base, row, row.label_space):
            raise DataError(f'{base} has no labels of {space.name} (looked for '
                            f'{", ".join(name.format(classes=len(space)) for name in row.label)}); '
                            f'leave the label space out: it is {row.label_space}')
        return None
    depth = row.depth
    if raw_depth:
        if row.raw_depth is None:
            raise DataError(f'{base} ({layout}) keeps one depth only, in {row.depth}/; leave '
                            'raw depth out')
        if not (base / row.raw_depth).is_dir():
            raise DataError(f'{base} has no {row.raw_depth}/, where {layout} keeps raw depth; '
                            'leave raw depth out, or write the data set again with it')
        depth = row.raw_depth
    return {'colour': row.colour, 'depth': depth, 'label': label}


def _listed(path: Path, lines: list[Line], base: Path, folders: Mapping[str, str],
            images: Mapping[str, Mapping[str, Path]], row: Layout) -> list[FrameFiles]:
    frames: list[FrameFiles] = []
    lost: list[str] = []
    for line in lines:
        found: dict[str, Path] = {}
        for role, folder in folders.items():
            stem = line.stems.get(role, line.stems['colour'])
            if stem in images[role]:
                found[role] = images[role][stem]
            else:
                lost.append(f'line {line.number}: {base / folder / stem}.*')
        if len(found) == len(folders):
            frames.append(_frame(line.stems['colour'], found, row))
    if lost:
        raise DataError(f'{path} names images that are not there, {len(lost)} in all, the first '
                        f'in {lost[0]}; add the images or correct the list')
    return frames


def _unlisted(base: Path, folders: Mapping[str, str], images: Mapping[str, Mapping[str, Path]],
              row: Layout) -> list[FrameFiles]:
    """Return the frames of folders without a list: all of them, labelled or not."""
    for here, other in (('colour', 'depth'), ('depth', 'colour')):
        lost = [path for stem, path in images[here].items() if stem not in images[other]]
        if lost:
            raise DataError(f'{base}: {len(lost)} of {len(images[here])} images in '
                            f'{folders[here]}/ have none of their name in {folders[other]}/, the '
                            f'first is {lost[0].name}; add them, or name the frames in a list')
    return [_frame(stem, {role: by_stem[stem] for role, by_stem in images.items()
                          if stem in by_stem}, row) for stem in images['colour']]


def _frame(name: str, files: Mapping[str, Path], row: Layout) -> FrameFiles:
    return FrameFiles(name, files['colour'], files['depth'], files.get('label'),
                      camera=name.split('/')[0] if row.cameras and '/' in name else '')


def _unit(row: Layout, layout: str, splits: Mapping[str, Iterable[FrameFiles]]) -> str:
    """Return the unit of depth images stored as the first one is."""
    units = list(row.units.values())
    first = next((frame.depth for frames in splits.values() for frame in frames), None)
    if len(units) == 1 or first is None:
        return units[0]
    kind = stored_type(first)
    if kind not in row.units:
        raise DataError(f'{first} holds {kind} values; in the layout {layout} depth is '
                        f'{", ".join(row.units)}; name its unit')
    return row.units[kind]
