# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own, described by a YAML.

    name: warehouse
    root: /data/warehouse              # relative to this file; left out = the folder of this file
    colour: rgb/{name}.png
    depth: depth/{name}.png
    raw_depth: depth_raw/{name}.png    # if depth is in-painted and the original is kept
    label: labels/{name}.png           # left out = no labels
    depth_unit: mm                     # mm, m, m5000, sun or relative
    splits:                            # lists, or globs of colour images; left out = one, 'all'
      train: train.txt
      val: rgb/val_*.png
    classes: [floor, {name: pallet, rgb: [200, 120, 40], group: object}]
    label_space: nyu40                 # instead of classes
    label_offset: 1                    # id of the first class in the label images
    void: [0, 255]                     # ids, or colours as [r, g, b], of unlabelled pixels
    label_images: auto                 # ids, colours, or whichever the first image holds
    camera: [518.9, 519.5, 325.6, 253.7]   # fx, fy, cx, cy or the nine numbers of K

Images may have other suffixes than the patterns say. Any other key is an error.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any

import yaml

from diffpixel_core.datasets.description import Description, FrameFiles, LabelColours, RawIds
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.datasets.label_images import read_label_picture
from diffpixel_core.datasets.lists import read_list, without_suffix
from diffpixel_core.depth import READABLE_UNITS
from diffpixel_core.image_folder import IMAGE_SUFFIXES, natural_order
from diffpixel_core.labels import (
    LABEL_SPACES,
    UNLABELLED,
    LabelError,
    LabelSpace,
    load_label_space,
    own_label_space,
)

YAML_SUFFIXES = ('.yaml', '.yml')
_KEYS = ('name', 'root', 'colour', 'depth', 'raw_depth', 'label', 'depth_unit', 'splits',
         'classes', 'label_space', 'label_offset', 'void', 'label_images', 'camera')
_CLASS_KEYS = ('name', 'rgb', 'group')
_LABEL_IMAGES = ('auto', 'ids', 'colours')
_BLACK = (0, 0, 0)


def describe_yaml(path: Path, *, depth_unit: str | None = None, label_space: str | None = None,
                  raw_depth: bool = False) -> Description:
    """Return the data set that a YAML describes.

    Args:
        path: The YAML; its keys are those of this module's example, others are errors.
        depth_unit: Unit of the depth images; None = what the YAML says.
        label_space: Label space of the label images; None = what the YAML says.
        raw_depth: Take the images of its key `raw_depth`.

    Raises:
        DiffPixelError: If the YAML cannot be read, says something impossible, or names images
            that are not there.
    """
    rows = _read(path)
    root = (path.parent / Path(_text(rows, 'root', path, '.')).expanduser())
    if not root.is_dir():
        raise DataError(f'{path}: root {root} is no folder; correct it')
    unit = depth_unit or _choice(rows, 'depth_unit', path, READABLE_UNITS)
    name = _text(rows, 'name', path, path.stem)
    space = load_label_space(label_space) if label_space else _label_space(rows, name, path)
    patterns = {role: _pattern(rows, key, path) for role, key in
                (('colour', 'colour'), ('depth', 'raw_depth' if raw_depth else 'depth'),
                 ('label', 'label')) if key in rows or role != 'label'}
    splits, lists = _splits(rows, path, root, patterns)
    void, void_colours = _void(rows, path)
    raw_ids = RawIds(len(space), _integer(rows, 'label_offset', path, 0), void)
    colours = _colours(rows, path, splits, raw_ids, void_colours)
    return Description(name, 'yaml', root, splits, unit, space, raw_ids, colours,
                       _camera(rows, path), lists)


def _read(path: Path) -> dict[str, Any]:
    try:
        rows = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'the description {path} cannot be read ({error}); give a YAML file or '
                        'the folder of a data set') from error
    except yaml.YAMLError as error:
        raise DataError(f'{path} is no YAML: {" ".join(str(error).split())}') from error
    if not isinstance(rows, dict):
        raise DataError(f'{path} holds a {type(rows).__name__}; it should describe a data set by '
                        f'{", ".join(_KEYS)}')
    if 'model' in rows or 'data' in rows:
        raise DataError(f'{path} is a training recipe; give the data set it names')
    _require_known(rows, _KEYS, str(path))
    return rows


def _require_known(rows: Mapping[Any, Any], known: Sequence[str], what: str) -> None:
    for key in rows:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, 1, 0.6)
            hint = f'did you mean {nearest[0]!r}?' if nearest else f'known: {", ".join(known)}'
            raise DataError(f'{what} says {key!r}, which nothing reads; {hint}')


def _text(rows: Mapping[str, Any], key: str, path: Path, default: str) -> str:
    value = rows.get(key, default)
    if not isinstance(value, str) or not value:
        raise DataError(f'{path}: {key} is {value!r}; it must be a text')
    return value


def _integer(rows: Mapping[str, Any], key: str, path: Path, default: int) -> int:
    value = rows.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 65536:
        raise DataError(f'{path}: {key} is {value!r}; it must be a whole number, 0 or more')
    return value


def _choice(rows: Mapping[str, Any], key: str, path: Path, choices: Sequence[str]) -> str:
    if rows.get(key) not in choices:
        said = f'{rows[key]!r}' if key in rows else 'not given'
        raise DataError(f'{path}: {key} is {said}; choose one of {", ".join(choices)}')
    return str(rows[key])


def _pattern(rows: Mapping[str, Any], key: str, path: Path) -> str:
    if key not in rows:
        raise DataError(f"{path} lacks {key}: where these images are, such as '{key}/{{name}}.png'")
    pattern = _text(rows, key, path, '')
    if pattern.count('{name}') != 1 or '{' in pattern.replace('{name}', ''):
        raise DataError(f'{path}: {key} is {pattern!r}; it must have {{name}} in it, once, where '
                        'the name of the frame belongs')
    return pattern


def _label_space(rows: Mapping[str, Any], name: str, path: Path) -> LabelSpace:
    if ('classes' in rows) == ('label_space' in rows):
        raise DataError(f'{path} must say what its classes are, once: by classes (a list of names) '
                        f'or by label_space (one of {", ".join(LABEL_SPACES)})')
    try:
        if 'label_space' in rows:
            return load_label_space(_text(rows, 'label_space', path, ''))
        return own_label_space(name, _classes(rows, path))
    except LabelError as error:
        raise DataError(f'{path}: {error}') from error


def _classes(rows: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    if not isinstance(rows['classes'], list):
        raise DataError(f'{path}: classes must be a list, of names or of name, rgb and group')
    classes: list[dict[str, Any]] = []
    for row in rows['classes']:
        row = row if isinstance(row, dict) else {'name': row}
        _require_known(row, _CLASS_KEYS, f'{path}: class {row.get("name")!r}')
        if 'rgb' in row and not _is_colour(row['rgb']):
            raise DataError(f'{path}: class {row.get("name")!r} has rgb {row["rgb"]!r}; give three '
                            'whole numbers of 0 to 255')
        classes.append(row)
    return classes


def _is_colour(value: object) -> bool:
    return (isinstance(value, list) and len(value) == 3
            and all(type(part) is int and 0 <= part <= 255 for part in value))


def _void(rows: Mapping[str, Any], path: Path) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Return the ids and the colours of unlabelled pixels.

    Not given, they are 255, and 0 where classes begin later; black in colour-coded images.
    """
    default = [UNLABELLED] if rows.get('label_offset', 0) == 0 else [0, UNLABELLED]
    values = rows.get('void', default)
    if not isinstance(values, list) or not all(
            _is_colour(value) or (type(value) is int and 0 <= value < 65536) for value in values):
        raise DataError(f'{path}: void is {values!r}; give a list of ids, or of colours as '
                        '[r, g, b]')
    ids = [value for value in values if isinstance(value, int)]
    colours = [tuple(value) for value in values if isinstance(value, list)]
    return tuple(ids if ids or not colours else default), colours


def _camera(rows: Mapping[str, Any], path: Path) -> tuple[float, float, float, float] | None:
    value = rows.get('camera')
    if value is None:
        return None
    rows_of_k = isinstance(value, list) and all(isinstance(row, list) for row in value)
    flat = [part for row in value for part in row] if rows_of_k else value
    numbers = isinstance(flat, list) and all(type(part) in (int, float) for part in flat)
    if numbers and len(flat) == 9:
        flat = [flat[0], flat[4], flat[2], flat[5]]
    if not numbers or len(flat) != 4 or min(flat[:2]) <= 0:
        raise DataError(f'{path}: camera is {value!r}; give fx, fy, cx, cy in pixels, or the nine '
                        'numbers of K row by row')
    fx, fy, cx, cy = map(float, flat)
    return fx, fy, cx, cy


def _splits(rows: Mapping[str, Any], path: Path, root: Path, patterns: Mapping[str, str],
            ) -> tuple[dict[str, list[FrameFiles]], dict[str, Path]]:
    """Return the frames of every split, and the lists that named them."""
    everything = without_suffix(patterns['colour']).replace('{name}', '*') + '.*'
    said = rows.get('splits', {'all': everything})
    if not isinstance(said, dict) or not said or not all(
            isinstance(part, str) and part for row in said.items() for part in row):
        raise DataError(f'{path}: splits is {said!r}; give a list file or a glob for each, such as '
                        'train: train.txt')
    splits: dict[str, list[FrameFiles]] = {}
    lists: dict[str, Path] = {}
    for split, where in said.items():
        if '*' in where or '?' in where:
            names = _globbed(where, root, patterns['colour'])
            if not names:
                raise DataError(f'{path}: split {split!r} is empty: {where!r} matches no colour '
                                f'image {patterns["colour"]!r} in {root}')
            places = [f'{path}: split {split!r}'] * len(names)
        else:
            lists[split] = root / where if (root / where).exists() else path.parent / where
            named = _named(lists[split], patterns['colour'])
            names = list(named.values())
            places = [f'{lists[split]} in line {number}' for number in named]
        splits[split] = [_frame(name, root, patterns, place)
                         for name, place in zip(names, places, strict=True)]
    return splits, lists


def _globbed(wanted: str, root: Path, pattern: str) -> list[str]:
    """Return the names of the colour images that a glob of paths, or of names, matches."""
    before, after = (re.escape(part) for part in
                     _below(str(root), without_suffix(pattern)).split('{name}'))
    for attempt in (wanted, pattern.replace('{name}', wanted)):
        found = (os.path.splitext(path) for path in
                 glob(_below(escape(str(root)), attempt), recursive=True))
        matches = (re.fullmatch(f'{before}(.+){after}', stem) for stem, suffix in found
                   if suffix.lower() in IMAGE_SUFFIXES)
        names = {match[1] for match in matches if match}
        if names:
            return sorted(names, key=natural_order)
    return []


def _below(root: str, path: str) -> str:
    """Return a path below a root, or itself if it is absolute, without `.` and `..`."""
    return os.path.normpath(os.path.join(root, path))


def _named(path: Path, pattern: str) -> dict[int, str]:
    """Return the names in a list by line; a line may begin with the path of the colour image."""
    # The whole path as in the pattern, one that has more before it, or the file alone.
    stem = without_suffix(pattern.removeprefix('./'))
    before, after = map(re.escape, stem.split('{name}'))
    patterns = [f'{before}(.+){after}', f'.*/{before}(.+){after}']
    if '{name}' in Path(stem).name:
        patterns.append(f'{before.rpartition("/")[2]}([^/]+){after}')
    names: dict[int, str] = {}
    for line in read_list(path, {}):
        listed = line.stems['colour']
        match = next(filter(None, (re.fullmatch(form, listed) for form in patterns)), None)
        names[line.number] = match[1] if match else listed
    return names


def _frame(name: str, root: Path, patterns: Mapping[str, str], place: str) -> FrameFiles:
    files = {role: _existing(root / pattern.replace('{name}', name), f'{place}: {role} image')
             for role, pattern in patterns.items()}
    return FrameFiles(name, files['colour'], files['depth'], files.get('label'))


def _existing(path: Path, what: str) -> Path:
    """Return a file, of another suffix if need be."""
    if path.is_file():
        return path
    stem = path.with_suffix('') if path.suffix.lower() in IMAGE_SUFFIXES else path
    for suffix in IMAGE_SUFFIXES:
        other = stem.with_name(stem.name + suffix)
        if other.is_file():
            return other
    raise DataError(f'{what} {path} does not exist; add it, or correct the list or the pattern')


def _colours(rows: Mapping[str, Any], path: Path, splits: Mapping[str, Iterable[FrameFiles]],
             raw_ids: RawIds, void: Sequence[tuple[int, ...]]) -> LabelColours | None:
    """Return what the colours of label images mean; None if they hold ids only."""
    how = _choice({'label_images': 'auto'} | dict(rows), 'label_images', path, _LABEL_IMAGES)
    classes = rows.get('classes', [])
    rgb = [tuple(row['rgb']) for row in classes if isinstance(row, dict) and 'rgb' in row]
    complete = bool(rgb) and len(rgb) == len(classes)
    first = next((file.label for frames in splits.values() for file in frames if file.label), None)
    if how == 'ids' or first is None or (how == 'auto' and not complete):
        return None
    if not complete or len(set(rgb)) != len(rgb):
        raise DataError(f'{path}: colour-coded labels need an rgb of its own for every class')
    of_palettes = how == 'colours'
    if how == 'auto':
        ids, colours = read_label_picture(first)
        if colours is None:
            return None
        of_palettes = ids is None
    void_id = next(iter(raw_ids.void), UNLABELLED)
    void_rgb = [colour for colour in void or [_BLACK] if colour not in rgb]
    if void_rgb and void_id not in raw_ids.void:
        raise DataError(f'{path}: void colours need an id of unlabelled pixels in void too')
    colours_of_ids = {**{colour: raw_ids.first + i for i, colour in enumerate(rgb)},
                      **dict.fromkeys(void_rgb, void_id)}
    return LabelColours(tuple((c[0], c[1], c[2]) for c in colours_of_ids),
                        tuple(colours_of_ids.values()), of_palettes)
