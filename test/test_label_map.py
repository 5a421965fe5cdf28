# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label maps: classes go where the file says, and a file that cannot be meant is refused."""

from pathlib import Path

import numpy as np
import pytest

from diffpixel_core.label_map import identity, load_label_map
from diffpixel_core.labels import UNLABELLED, LabelError, LabelSpace, load_label_space

NYU40 = load_label_space('nyu40')
SHIPPED = Path(__file__).resolve().parents[1] / 'config' / 'class_map_nav.yaml'
FILE = """
name: small
classes:
  seat: {from: [chair, sofa], rgb: [1, 2, 3], group: sit}
  ground: {from: ['group:traversable']}
  furniture: {from: ['group:furniture', box]}
  other: {}
rest: other
"""


def written(folder: Path, text: str) -> Path:
    path = folder / 'map.yaml'
    path.write_text(text)
    return path


def test_each_class_goes_where_the_file_says(tmp_path: Path) -> None:
    result = load_label_map(written(tmp_path, FILE), NYU40)
    assert (result.space.name, result.space.names) == ('small', ('seat', 'ground', 'furniture',
                                                                 'other'))
    for label, (name, group) in enumerate(zip(NYU40.names, NYU40.groups, strict=True)):
        expected = ('seat' if name in ('chair', 'sofa') else
                    'furniture' if name == 'box' or group == 'furniture' else
                    'ground' if group == 'traversable' else 'other')
        assert result.space.names[result.table[label]] == expected
    assert (result.table[40:] == UNLABELLED).all()


def test_what_a_class_does_not_say_is_its_first_sources(tmp_path: Path) -> None:
    space = load_label_map(written(tmp_path, FILE), NYU40).space
    assert space.colours.tolist() == [
        [1, 2, 3], NYU40.colours[NYU40.index('floor')].tolist(),
        NYU40.colours[NYU40.index('cabinet')].tolist(), NYU40.colours[0].tolist()]
    assert space.groups == ('sit', 'traversable', 'furniture', 'structure')


def test_the_rest_may_be_unlabelled(tmp_path: Path) -> None:
    path = written(tmp_path, 'name: one\nclasses: {ground: {from: [floor]}}\nrest: unlabelled')
    table = load_label_map(path, NYU40).table
    assert table[1] == 0
    assert (np.delete(table, 1) == UNLABELLED).all()


def test_labels_are_mapped_as_by_a_loop(tmp_path: Path) -> None:
    result = load_label_map(written(tmp_path, FILE), NYU40)
    labels = np.random.default_rng(0).integers(0, 40, (7, 9)).astype(np.uint8)
    labels[0, 0] = UNLABELLED
    mapped = result.apply(labels)
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == [[int(result.table[label]) for label in row] for row in labels]
    assert mapped[0, 0] == UNLABELLED


def test_no_map_changes_nothing_and_copies_nothing() -> None:
    labels = np.zeros((2, 3), np.uint8)
    for result in (identity(NYU40), load_label_map('', NYU40)):
        assert result.space is NYU40
        assert result.apply(labels) is labels
        assert result.table[:40].tolist() == list(range(40))
        assert (result.table[40:] == UNLABELLED).all()


def test_dropping_the_last_class_is_a_change(tmp_path: Path) -> None:
    """Such a table begins like the identity's."""
    names = ', '.join(f'{name}: {{from: [{name}]}}' for name in ('wall', 'floor'))
    path = written(tmp_path, f'name: two\nclasses: {{{names}, c: {{from: [bed]}}}}\nrest: c')
    assert load_label_map(path, NYU40).apply(np.array([[39]], np.uint8)).tolist() == [[2]]


def test_groups_become_classes() -> None:
    result = load_label_map('groups', NYU40)
    assert result.space.names == ('structure', 'traversable', 'furniture', 'opening', 'object',
                                  'person')
    for label, group in enumerate(NYU40.groups):
        assert result.space.names[result.table[label]] == group
    assert result.table[UNLABELLED] == UNLABELLED


@pytest.mark.parametrize('space', ['nyu40', 'sun37'])
def test_the_shipped_map_fits_the_spaces_it_names(space: str) -> None:
    source = load_label_space(space)
    result = load_label_map(SHIPPED, source)
    assert result.space.names == ('traversable', 'obstacle', 'person')
    assert result.space.names[result.table[source.index('chair')]] == 'obstacle'
    for name in ('wall', 'ceiling', 'door', 'window'):
        assert result.table[source.index(name)] == UNLABELLED


def test_255_classes_fit_and_256_do_not(tmp_path: Path) -> None:
    space = load_label_space('numbered255')

    def rows(count: int) -> str:
        listed = ''.join(f'  c{i}: {{from: [class {i % 255}]}}\n' for i in range(count))
        return f'name: many\nclasses:\n{listed}rest: unlabelled\n'
    result = load_label_map(written(tmp_path, rows(255)), space)
    assert result.table.tolist() == list(range(256))
    with pytest.raises(LabelError, match='256 classes'):
        load_label_map(written(tmp_path, rows(256)), space)


@pytest.mark.parametrize(('old', 'new', 'match'), [
    ('chair, sofa', 'chair, settee', "'settee'.*no such class.*wall, floor"),
    ('chair, sofa', "'group:seats'", "'group:seats'.*no such group.*structure, traversable"),
    ('box]', 'chair]', "'chair' twice, in 'seat' and in 'furniture'"),
    ("'group:furniture', box", "'group:furniture', 'group:traversable'", 'group:traversable.*twic'),
    ('chair, sofa', 'chair, chair', "'chair' twice"),
    ('[chair, sofa]', 'chair', 'write a list'),
    ('[chair, sofa]', '[]', "'seat' is made of nothing"),
    ('chair, sofa', 'chair, 7', 'is from 7'),
    ('  other: {}', '  seat: {from: [bed]}\n  other: {}', 'seat comes twice'),
    ('  other: {}', '  other: {colour: red}', "unknown key 'colour'.*from, rgb, group"),
    ('  other: {}', '  other: [bed]', r"class 'other' as \['bed'\]"),
    ('  other: {}', '  7: {from: [bed]}', 'class name 7'),
    ('  other: {}', '  unlabelled: {from: [bed]}', 'means no class'),
    ('rest: other', 'rest: others', "'others'.*seat, ground"),
    ('rest: other', '', "lacks 'rest'"),
    ('name: small', 'label: small', "unknown key 'label'"),
    ('name: small', 'name: nyu13', 'label space already'),
    ('name: small', 'name: [a]', 'must be text'),
    ('[1, 2, 3]', '[1, 2]', r'colour \[1, 2\]'),
    ('[1, 2, 3]', '[1, 2, 256]', '0 to 255'),
    ('[1, 2, 3]', '[1, 2, 3.0]', '0 to 255'),
    ('[1, 2, 3]', '[1, 2, true]', '0 to 255'),
    ('[1, 2, 3]', '[0, 0, 0]', 'black means unlabelled'),
    ('[1, 2, 3]', 'red', "colour 'red'"),
    ('[1, 2, 3]', str(load_label_space('nyu40').colours[1].tolist()), "the colour of 'ground'"),
    ('group: sit', 'group: 3', "group of class 'seat' 3"),
    ('classes:', 'classes: &a [*a', 'is no YAML'),
])
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, old: str, new: str,
                                                 match: str) -> None:
    assert old in FILE
    path = written(tmp_path, FILE.replace(old, new))
    with pytest.raises(LabelError, match=f'map.yaml.*{match}') as caught:
        load_label_map(path, NYU40)
    assert '\n' not in str(caught.value)


def test_a_class_left_without_pixels_is_refused(tmp_path: Path) -> None:
    """Here every class of the group has a place of its own."""
    colours = np.array([[1, 1, 1], [2, 2, 2]], np.uint8)
    space = LabelSpace('two', ('a', 'b'), colours, ('g', 'g'), {})
    text = 'name: n\nclasses: {x: {from: [a, b]}, y: {from: ["group:g"]}}\nrest: unlabelled'
    with pytest.raises(LabelError, match="'y' is empty"):
        load_label_map(written(tmp_path, text), space)


@pytest.mark.parametrize('content', [b'', b'- a\n', b'name', b'\xff\xfe\x00', b'classes: {}',
                                     b'name: a\nrest: unlabelled\nclasses: {}', b'? [a]\n: b\n'])
def test_files_that_are_no_class_map_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'map.yaml'
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r'map\.yaml'):
        load_label_map(path, NYU40)


def test_a_missing_file_is_refused_with_the_alternatives(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match='groups, or nothing'):
        load_label_map(tmp_path / 'none.yaml', NYU40)
    with pytest.raises(LabelError, match='cannot be read'):
        load_label_map(tmp_path, NYU40)
