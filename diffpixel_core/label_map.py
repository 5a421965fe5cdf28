# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label maps: the classes a robot wants, made of the classes a network knows.

A YAML file such as `config/class_map_nav.yaml` lists them; their order is their number:

    name: nav
    classes:
      floor: {from: [floor, floor mat]}
      obstacle: {from: ['group:furniture', box], rgb: [230, 57, 53], group: obstacle}
    rest: unlabelled                        # or the name of one of the classes above

`group:X` means every class of that group, except those that are listed by their own name.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from diffpixel_core.labels import UNLABELLED, LabelError, LabelSpace, is_label_space

REST_UNLABELLED = 'unlabelled'
GROUPS = 'groups'
_GROUP = 'group:'
_KEYS = ('name', 'classes', 'rest')
_CLASS_KEYS = ('from', 'rgb', 'group')


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A table from the labels of a network to the labels that are published.

    Attributes:
        space: The classes that come out.
        table: `(256,)` uint8; 255 stays 255, as does whatever is no label of the network.
    """

    space: LabelSpace
    table: npt.NDArray[np.uint8]

    def apply(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return `(H, W)` uint8 labels of `space` for labels of the network; 255 = unlabelled.

        A map that changes nothing returns `labels` themselves.
        """
        return np.asarray(cv2.LUT(labels, self.table), np.uint8) if self._changes else labels

    @cached_property
    def _changes(self) -> bool:
        classes = len(self.space)
        return not np.array_equal(self.table[:classes], np.arange(classes)) \
            or bool((self.table[classes:] != UNLABELLED).any())


def identity(space: LabelSpace) -> LabelMap:
    """Return the map that leaves every class of a space as it is."""
    table = np.full(256, UNLABELLED, np.uint8)
    table[: len(space)] = np.arange(len(space))
    return LabelMap(space, table)


def load_label_map(spec: str | Path, space: LabelSpace) -> LabelMap:
    """Return the map that a parameter or flag names.

    Args:
        spec: Empty for the network's own classes, `groups` for one class per group, else the path
            of a YAML file as the head of this module shows.
        space: The classes of the network.

    Raises:
        LabelError: If the file cannot be read or says something that cannot be done with `space`.
    """
    if spec == '':
        return identity(space)
    if spec == GROUPS:
        return _by_group(space)
    path = Path(spec).expanduser()
    return _Reader(space, str(path)).label_map(_read(path))


def _by_group(space: LabelSpace) -> LabelMap:
    groups = list(dict.fromkeys(space.groups))
    table = np.full(256, UNLABELLED, np.uint8)
    table[: len(space)] = [groups.index(group) for group in space.groups]
    first = [space.groups.index(group) for group in groups]
    return LabelMap(LabelSpace(f'{space.name}_groups', tuple(groups), space.colours[first],
                               tuple(groups), {}), table)


@dataclass(frozen=True)
class _Reader:
    """Turns the rows of a file into a map, or says which of them cannot be done."""

    space: LabelSpace
    path: str

    def label_map(self, rows: dict[str, Any]) -> LabelMap:
        self._known_keys(rows, _KEYS, 'the file')
        for key in _KEYS:
            if key not in rows:
                raise self._error(f'lacks {key!r}; it needs {", ".join(_KEYS)}')
        name = self._text(rows['name'], 'name')
        if is_label_space(name):
            raise self._error(f'is named {name!r}, which is a label space already; choose another '
                              'name')
        classes = rows['classes']
        if not isinstance(classes, dict) or not classes:
            raise self._error('must list classes, each as `name: {from: [...]}`')
        if len(classes) > UNLABELLED:
            raise self._error(f'has {len(classes)} classes; 8-bit labels hold {UNLABELLED}')
        names = [self._text(key, 'class name') for key in classes]
        if REST_UNLABELLED in names:
            raise self._error(f'calls a class {REST_UNLABELLED!r}, which means no class; choose '
                              'another name')
        rest = self._text(rows['rest'], 'rest')
        if rest not in (REST_UNLABELLED, *names):
            raise self._error(f'says rest: {rest!r}, which is no class of it; write '
                              f'{REST_UNLABELLED} or one of {", ".join(names)}')
        for key, row in classes.items():
            if not isinstance(row, dict):
                raise self._error(f'gives class {key!r} as {row!r}; write {{from: [...]}}')
            self._known_keys(row, _CLASS_KEYS, f'class {key!r}')
        sources = [self._sources(key, row, may_be_empty=key == rest)
                   for key, row in classes.items()]
        table = self._table(names, sources, rest)
        return LabelMap(self._space(name, names, list(classes.values()), sources, table), table)

    def _sources(self, name: str, row: dict[str, Any], *, may_be_empty: bool) -> list[str]:
        sources = row.get('from', [])
        if not isinstance(sources, list):
            raise self._error(f'class {name!r} is from {sources!r}; write a list, from: [...]')
        if not sources and not may_be_empty:
            raise self._error(f'class {name!r} is made of nothing; list classes under from')
        for source in sources:
            if not isinstance(source, str):
                raise self._error(f'class {name!r} is from {source!r}; write class names, in '
                                  'quotes where YAML reads them as something else')
            if source.startswith(_GROUP):
                if source.removeprefix(_GROUP) not in self.space.groups:
                    raise self._error(
                        f'class {name!r} is from {source!r}, but {self.space.name} has no such '
                        f'group; it has {", ".join(dict.fromkeys(self.space.groups))}')
            elif source not in self.space.names:
                raise self._error(
                    f'class {name!r} is from {source!r}, but {self.space.name} has no such class; '
                    f'it has {", ".join(self.space.names)}')
        return sources

    def _table(self, names: list[str], sources: list[list[str]],
               rest: str) -> npt.NDArray[np.uint8]:
        owner: dict[str, str] = {}
        for name, listed in zip(names, sources, strict=True):
            for source in listed:
                if source in owner:
                    raise self._error(f'lists {source!r} twice, in {owner[source]!r} and in '
                                      f'{name!r}; a class can go to one place only')
                owner[source] = name
        table = np.full(256, UNLABELLED, np.uint8)
        for label, (name, group) in enumerate(zip(self.space.names, self.space.groups,
                                                  strict=True)):
            place = owner.get(name, owner.get(_GROUP + group, rest))
            if place != REST_UNLABELLED:
                table[label] = names.index(place)
        for target, name in enumerate(names):
            if target not in table[: len(self.space)]:
                raise self._error(f'class {name!r} is empty, all its classes are listed elsewhere; '
                                  'take it out')
        return table

    def _space(self, name: str, names: list[str], rows: list[dict[str, Any]],
               sources: list[list[str]], table: npt.NDArray[np.uint8]) -> LabelSpace:
        """Return the classes that come out; what a row does not say is its first source's."""
        colours = np.zeros((len(names), 3), np.uint8)
        groups: list[str] = []
        for target, (row, listed) in enumerate(zip(rows, sources, strict=True)):
            first = self._first(listed, np.flatnonzero(table[: len(self.space)] == target).tolist())
            colours[target] = self._colour(names[target], row['rgb']) if 'rgb' in row \
                else self.space.colours[first]
            groups.append(self._text(row['group'], f'group of class {names[target]!r}')
                          if 'group' in row else self.space.groups[first])
        for target, row in enumerate(rows):
            same = np.flatnonzero((colours == colours[target]).all(1))
            if 'rgb' in row and len(same) > 1:
                other = names[int(same[same != target][0])]
                raise self._error(f'gives class {names[target]!r} the colour of {other!r}; choose '
                                  'one that can be told apart')
        return LabelSpace(name, tuple(names), colours, tuple(groups), {})

    def _first(self, listed: list[str], members: list[int]) -> int:
        """Return the member that stands for a class: of its first source, as far as it has any."""
        wanted = listed[0] if listed else ''
        for label in members:
            if wanted in (self.space.names[label], _GROUP + self.space.groups[label]):
                return label
        return members[0]

    def _colour(self, name: str, value: Any) -> list[int]:
        good = isinstance(value, list) and len(value) == 3 and all(
            type(part) is int and 0 <= part <= 255 for part in value)
        if not good or not any(value):
            raise self._error(f'gives class {name!r} the colour {value!r}; write rgb: [red, green, '
                              'blue], each 0 to 255, not all 0 (black means unlabelled)')
        return [int(part) for part in value]

    def _known_keys(self, row: dict[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in row:
            if key not in known:
                raise self._error(f'has an unknown key {key!r} in {where}; there are '
                                  f'{", ".join(known)}')

    def _text(self, value: Any, what: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(f'has the {what} {value!r}; it must be text, in quotes where YAML '
                              'reads it as something else')
        return value

    def _error(self, text: str) -> LabelError:
        return LabelError(f'class map {self.path} {text}')


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error; PyYAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node, checked for keys that come twice."""
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f'{", ".join(twice)} comes twice', node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        rows = yaml.load(path.read_text(encoding='utf-8'), _StrictLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f'class map {path} cannot be read ({error}); give the path of a YAML '
                         f'file, {GROUPS}, or nothing for the classes of the model') from error
    except (yaml.YAMLError, RecursionError) as error:
        raise LabelError(f'class map {path} is no YAML: {" ".join(str(error).split())}') from error
    if not isinstance(rows, dict):
        raise LabelError(f'class map {path} holds {type(rows).__name__}, it should hold the keys '
                         f'{", ".join(_KEYS)}')
    return rows
