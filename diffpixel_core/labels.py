# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label spaces: the names, colours and groups behind the numbers in a label image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError

UNLABELLED = 255
LABEL_TABLE_SCHEMA = 1
LABEL_SPACES = ('nyu40', 'nyu13', 'sun37')
# How a label image is published: type of a pixel, and its number for "unlabelled".
# Source: vision_msgs/LabelInfo.msg (255 and 65535); semantic_inference and Hydra (-1).
LABEL_ENCODINGS: Mapping[str, tuple[type[np.integer[Any]], int]] = MappingProxyType({
    'mono8': (np.uint8, UNLABELLED),
    '16UC1': (np.uint16, 65535),
    '16SC1': (np.int16, -1),
    '32SC1': (np.int32, -1),
})


class LabelError(DiffPixelError):
    """A label space or class that does not exist."""


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """An ordered list of classes; a label image holds their indices, 255 = unlabelled.

    Attributes:
        name: Key of the label space.
        names: One name per class.
        colours: `(N, 3)` uint8, red first.
        groups: What a robot does with the class: one group name per class.
        parents: For each target label space, the class every class belongs to there.
    """

    name: str
    names: tuple[str, ...]
    colours: npt.NDArray[np.uint8]
    groups: tuple[str, ...]
    parents: Mapping[str, Mapping[str, str]]

    def __len__(self) -> int:
        """Return the number of classes, without "unlabelled"."""
        return len(self.names)

    def index(self, class_name: str) -> int:
        """Return the label of a class.

        Raises:
            LabelError: If no class has that name.
        """
        if class_name not in self.names:
            raise LabelError(f'label space {self.name!r} has no class {class_name!r}; '
                             f'it has {", ".join(self.names)}')
        return self.names.index(class_name)

    @cached_property
    def colour_table(self) -> npt.NDArray[np.uint8]:
        """`(256, 3)` uint8 colours by label; black where there is no class."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.colours
        return table

    def colourise(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return `(H, W, 3)` uint8 RGB of a `(H, W)` label image; unlabelled is black."""
        return np.asarray(cv2.applyColorMap(labels, self.colour_table[:, None]), np.uint8)

    def as_json(self) -> dict[str, Any]:
        """Return names, colours and groups as plain types."""
        return {
            'name': self.name,
            'unlabelled': UNLABELLED,
            'classes': [
                {'id': i, 'name': name, 'rgb': [int(c) for c in colour], 'group': group}
                for i, (name, colour, group)
                in enumerate(zip(self.names, self.colours, self.groups, strict=True))
            ],
        }


def own_label_space(name: str, classes: Sequence[Mapping[str, Any]]) -> LabelSpace:
    """Return a label space that does not come with the program, as data sets and manifests say it.

    Args:
        name: What to call it; not one of `LABEL_SPACES`.
        classes: In the order of their labels: `name`, and if known `rgb` (three of 0..255) and
            `group` ('object' if not given).

    Raises:
        LabelError: If the name is taken, or a class lacks its name, repeats one, or has no colour
            that is one.
    """
    if is_label_space(name):
        raise LabelError(f'a label space {name!r} comes with the program; choose another name')
    if not 1 <= len(classes) <= UNLABELLED:
        raise LabelError(f'label space {name!r} has {len(classes)} classes; give 1 to {UNLABELLED}')
    names: list[str] = []
    colours = _numbered(len(classes)).colours.copy()
    for i, row in enumerate(classes):
        class_name = row.get('name')
        if not isinstance(class_name, str) or not class_name or class_name in names:
            raise LabelError(f'class {i} of label space {name!r} is called {class_name!r}; give '
                             'every class a name of its own')
        names.append(class_name)
        rgb = row.get('rgb', colours[i])
        if len(rgb) != 3 or any(not 0 <= int(c) <= 255 for c in rgb):
            raise LabelError(f'class {class_name!r} of label space {name!r} has rgb {rgb!r}; give '
                             'three of 0 to 255')
        colours[i] = rgb
    return LabelSpace(name, tuple(names), colours,
                      tuple(str(row.get('group', 'object')) for row in classes), {})


def own_classes(space: LabelSpace) -> tuple[dict[str, Any], ...]:
    """Return what `own_label_space` makes the space of again; nothing if the program has it."""
    if is_label_space(space.name):
        return ()
    return tuple({key: row[key] for key in ('name', 'rgb', 'group')}
                 for row in space.as_json()['classes'])


def label_table(label_space: LabelSpace, model: Mapping[str, str], *,
                encoding: str = 'mono8') -> dict[str, Any]:
    """Return what the topic `semantic/labels` carries as JSON.

    `unlabelled` is the value in `/semantic`; clouds and the Nav2 mask have 255 there.

    Args:
        label_space: Names and colours of the labels that are published.
        model: Manifest facts: at least `name` and `weights_sha256`.
        encoding: Key of `LABEL_ENCODINGS`, that of `/semantic`.
    """
    space = label_space.as_json()
    return {'schema': LABEL_TABLE_SCHEMA, 'model': dict(model), 'label_space': space['name'],
            'encoding': encoding, 'unlabelled': LABEL_ENCODINGS[encoding][1],
            'unlabelled_in_points': UNLABELLED, 'classes': space['classes']}


@cache
def load_label_space(name: str) -> LabelSpace:
    """Return a label space by name.

    Besides `LABEL_SPACES` there is `numbered<N>`: N classes without names, for foreign networks
    that do not say what they predict.

    Raises:
        LabelError: If there is none of that name.
    """
    count = name.removeprefix('numbered')
    if count != name and count.isdecimal() and 1 <= int(count) <= UNLABELLED:
        return _numbered(int(count))
    if name not in LABEL_SPACES:
        raise LabelError(f'label space {name!r} is unknown; choose one of '
                         f'{", ".join(LABEL_SPACES)}')
    text = resources.files('diffpixel_core').joinpath('label_spaces', f'{name}.json').read_text()
    rows = json.loads(text)
    classes = rows['classes']
    return LabelSpace(
        name=name,
        names=tuple(row['name'] for row in classes),
        colours=np.array([row['rgb'] for row in classes], np.uint8),
        groups=tuple(row['group'] for row in classes),
        parents={target: dict(table) for target, table in rows.get('parents', {}).items()},
    )


def is_label_space(name: str) -> bool:
    """Return whether there is a label space of that name, numbered ones included."""
    try:
        load_label_space(name)
    except LabelError:
        return False
    return True


def space_of_size(classes: int) -> str:
    """Return the name of the label space with this many classes; a numbered one if none is known.

    Raises:
        LabelError: If labels of 8 bits cannot hold them.
    """
    if not 1 <= classes <= UNLABELLED:
        raise LabelError(f'{classes} classes do not fit into 8-bit labels; use 1 to {UNLABELLED}')
    known = {len(load_label_space(name)): name for name in LABEL_SPACES}
    return known.get(classes, f'numbered{classes}')


def _numbered(classes: int) -> LabelSpace:
    # Hues a golden angle apart, so that neighbours differ; three rings of brightness.
    hsv = [(int(i * 180 * 0.618034) % 180, 150 + 35 * (i % 3), 250 - 45 * (i // 3 % 3))
           for i in range(classes)]
    colours = cv2.cvtColor(np.array([hsv], np.uint8), cv2.COLOR_HSV2RGB)[0]
    return LabelSpace(f'numbered{classes}', tuple(f'class {i}' for i in range(classes)), colours,
                      ('object',) * classes, {})


def mapping(source: LabelSpace, target: LabelSpace) -> npt.NDArray[np.uint8]:
    """Return the `(256,)` uint8 table that turns labels of `source` into labels of `target`.

    A class goes to its parent where `source` names one, else to the class of the same name; one
    without either becomes unlabelled (255).

    Raises:
        LabelError: If the two spaces share no class at all.
    """
    table = np.full(256, UNLABELLED, np.uint8)
    parents = source.parents.get(target.name, {})
    for label, name in enumerate(source.names):
        parent = parents.get(name, name)
        if parent in target.names:
            table[label] = target.index(parent)
    if (table == UNLABELLED).all():
        raise LabelError(f'no class of label space {source.name!r} exists in {target.name!r}; '
                         'score in the label space the model was trained with')
    return table


def encode_labels(labels: npt.NDArray[np.uint8], encoding: str) -> npt.NDArray[Any]:
    """Return labels as the pixels of an encoding, "unlabelled" as that encoding says it.

    Args:
        labels: `(H, W)` uint8, 255 = unlabelled.
        encoding: Key of `LABEL_ENCODINGS`; mono8 returns `labels` themselves.

    Raises:
        LabelError: If the encoding is none of these.
    """
    if encoding not in LABEL_ENCODINGS:
        raise LabelError(f'label encoding {encoding!r} is unknown; choose one of '
                         f'{", ".join(LABEL_ENCODINGS)}')
    if encoding == 'mono8':
        return labels
    return np.asarray(cv2.LUT(labels, _encoding_table(encoding)))


def decode_labels(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return `(H, W)` uint8 labels of a label image of any integer type, 255 = unlabelled.

    Args:
        image: `(H, W)` integers; all that is not 0 to 254 counts as unlabelled.

    Raises:
        LabelError: If its pixels are no integers.
    """
    if image.dtype.kind not in 'iu':
        raise LabelError(f'a label image has integer pixels, this one has {image.dtype}; use one '
                         f'of {", ".join(LABEL_ENCODINGS)}')
    if image.dtype == np.uint8:
        return image
    # As unsigned numbers of 16 bits or more, negative ones are larger than any label.
    unsigned = image.astype(f'u{max(2, image.dtype.itemsize)}')
    return np.asarray(np.minimum(unsigned, UNLABELLED), np.uint8)


@cache
def _encoding_table(encoding: str) -> npt.NDArray[Any]:
    dtype, unlabelled = LABEL_ENCODINGS[encoding]
    table = np.arange(256).astype(dtype)
    table[UNLABELLED] = unlabelled
    return table
