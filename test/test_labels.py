# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Label spaces are complete, distinct, and translate into one another."""

from typing import Any

import numpy as np
import pytest

from diffpixel_core.labels import (
    LABEL_ENCODINGS,
    LABEL_SPACES,
    UNLABELLED,
    LabelError,
    decode_labels,
    encode_labels,
    load_label_space,
    mapping,
    space_of_size,
)


@pytest.mark.parametrize(('name', 'count'), [('nyu40', 40), ('nyu13', 13), ('sun37', 37)])
def test_spaces_have_their_classes(name: str, count: int) -> None:
    space = load_label_space(name)
    assert len(space) == len(set(space.names)) == len(space.groups) == count
    assert len({tuple(colour) for colour in space.colours}) == count
    assert not (space.colours == 0).all(1).any(), 'black means unlabelled'


def test_sun37_is_the_first_37_of_nyu40() -> None:
    assert load_label_space('sun37').names == load_label_space('nyu40').names[:37]


def test_forty_classes_fold_into_thirteen_as_published() -> None:
    """The official class13Mapping.mat, 1-based, in the order of the 40 classes."""
    published = [12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5, 7, 3, 2, 6, 11,
                 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7]
    table = mapping(load_label_space('nyu40'), load_label_space('nyu13'))
    np.testing.assert_array_equal(table[:40] + 1, published)
    assert (table[40:] == UNLABELLED).all()


def test_classes_without_a_counterpart_become_unlabelled() -> None:
    table = mapping(load_label_space('nyu40'), load_label_space('sun37'))
    assert table[36] == 36
    assert (table[37:40] == UNLABELLED).all()


def test_spaces_without_a_common_class_are_refused() -> None:
    sun, nyu13 = load_label_space('sun37'), load_label_space('nyu13')
    strangers = type(sun)('x', ('alpha',), nyu13.colours[:1], ('object',), {})
    with pytest.raises(LabelError, match="'x'"):
        mapping(strangers, nyu13)


def test_numbered_spaces_serve_networks_that_do_not_name_their_classes() -> None:
    space = load_label_space('numbered20')
    assert (space.name, len(space), space.names[19]) == ('numbered20', 20, 'class 19')
    assert len({tuple(colour) for colour in space.colours}) == 20
    for name in ('numbered0', 'numbered256', 'numbered', 'numbered-1'):
        with pytest.raises(LabelError):
            load_label_space(name)


def test_a_number_of_classes_means_the_space_that_has_them() -> None:
    assert [space_of_size(n) for n in (40, 37, 13, 20)] == ['nyu40', 'sun37', 'nyu13',
                                                            'numbered20']
    with pytest.raises(LabelError, match='8-bit'):
        space_of_size(256)


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_colours_and_names_agree_with_the_json(name: str) -> None:
    space = load_label_space(name)
    for row in space.as_json()['classes']:
        assert space.index(row['name']) == row['id']
        assert list(space.colour_table[row['id']]) == row['rgb']


def test_unlabelled_is_black() -> None:
    space = load_label_space('nyu40')
    picture = space.colourise(np.array([[0, UNLABELLED]], np.uint8))
    assert list(picture[0, 0]) == list(space.colours[0])
    assert list(picture[0, 1]) == [0, 0, 0]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(LabelError, match='nyu40, nyu13, sun37'):
        load_label_space('cityscapes')
    with pytest.raises(LabelError, match='no class'):
        load_label_space('nyu13').index('refridgerator')


def every_label() -> Any:
    return np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 16)


@pytest.mark.parametrize(('encoding', 'dtype', 'unlabelled'), [
    ('mono8', np.uint8, 255), ('16UC1', np.uint16, 65535), ('16SC1', np.int16, -1),
    ('32SC1', np.int32, -1)])
def test_every_encoding_says_unlabelled_its_own_way(encoding: str, dtype: Any,
                                                    unlabelled: int) -> None:
    labels = every_label()
    image = encode_labels(labels, encoding)
    assert image.dtype == dtype
    assert image.tolist() == [[unlabelled if label == 255 else int(label) for label in row]
                              for row in labels]
    assert LABEL_ENCODINGS[encoding] == (dtype, unlabelled)


def test_mono8_is_not_copied() -> None:
    labels = every_label()
    assert encode_labels(labels, 'mono8') is labels
    assert decode_labels(labels) is labels


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabelError, match=r'8UC1.*mono8, 16UC1, 16SC1, 32SC1'):
        encode_labels(every_label(), '8UC1')


@pytest.mark.parametrize('encoding', LABEL_ENCODINGS)
def test_encoded_labels_come_back(encoding: str) -> None:
    labels = every_label()
    np.testing.assert_array_equal(decode_labels(encode_labels(labels, encoding)), labels)


@pytest.mark.parametrize('dtype', ['u1', 'i1', '<u2', '>u2', '<i2', '>i2', '<i4', '>i4', '<u4',
                                   '<i8', '<u8'])
def test_whatever_is_no_label_is_unlabelled(dtype: str) -> None:
    limits = np.iinfo(np.dtype(dtype))
    values = [v for v in (limits.min, -2, -1, 0, 1, 127, 128, 254, 255, 256, 65535, 65536,
                          limits.max) if limits.min <= v <= limits.max]
    labels = decode_labels(np.array([values], dtype))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[v if 0 <= v <= 254 else 255 for v in values]]


@pytest.mark.parametrize('dtype', [np.float32, np.bool_, np.complex64])
def test_label_images_without_integers_are_refused(dtype: Any) -> None:
    with pytest.raises(LabelError, match='integer'):
        decode_labels(np.zeros((2, 2), dtype))
