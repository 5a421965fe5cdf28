# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own is read as its YAML says, and a YAML that says nonsense is refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from diffpixel_core.datasets import DataError, FileFrames, describe
from diffpixel_core.datasets.description import UNKNOWN_COLOUR, LabelColours
from diffpixel_core.errors import DiffPixelError

RNG = np.random.default_rng(0)
H, W = 6, 8
RGB = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
MM = RNG.integers(400, 5000, (H, W)).astype(np.uint16)
IDS = RNG.integers(1, 4, (H, W)).astype(np.uint8)
IDS[0, :4] = 0, 255, 1, 3
LABELS = np.where((IDS == 0) | (IDS == 255), 255, IDS.astype(int) - 1)
NAMES = ('a_1', 'a_2', 'b_10')
CLASSES = [{'name': 'floor', 'rgb': [10, 20, 30], 'group': 'traversable'},
           {'name': 'pallet', 'rgb': [200, 120, 40]}, {'name': 'lorry', 'rgb': [0, 0, 255]}]


def save(path: Path, image: npt.NDArray[Any]) -> None:
    """Write an image; three channels are RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def write(root: Path, /, **changes: Any) -> Path:
    """Write frames and their description, with some of its keys changed; None leaves one out."""
    for name in NAMES:
        save(root / f'data/rgb/{name}_c.png', RGB)
        save(root / f'data/depth/{name}.png', MM)
        save(root / f'data/label/{name}.png', IDS)
    rows = {'name': 'yard', 'root': 'data', 'colour': 'rgb/{name}_c.png',
            'depth': 'depth/{name}.png', 'label': 'label/{name}.png', 'depth_unit': 'mm',
            'classes': CLASSES, 'label_offset': 1} | changes
    path = root / 'yard.yaml'
    path.write_text(yaml.safe_dump({key: row for key, row in rows.items() if row is not None}))
    return path


def test_frames_classes_and_camera_are_as_described(tmp_path: Path) -> None:
    path = write(tmp_path, camera=[[500, 0, 4], [0, 510, 3], [0, 0, 1]])
    description = describe(path)
    assert (description.name, description.layout, description.metric) == ('yard', 'yaml', True)
    space = description.label_space
    assert space.names == ('floor', 'pallet', 'lorry')
    assert space.groups == ('traversable', 'object', 'object')
    np.testing.assert_array_equal(space.colours[1], [200, 120, 40])
    frames = FileFrames(description, 'all')
    assert [file.name for file in frames.files] == list(NAMES)
    for frame in frames:
        np.testing.assert_array_equal(frame.rgb, RGB)
        np.testing.assert_array_equal(frame.labels, LABELS)
        np.testing.assert_allclose(frame.depth_m, MM / 1000, rtol=1e-6)
    camera = frames.camera(frames[0])
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width) == (500, 510, 4, 3, W)


def test_classes_may_be_bare_names_or_a_known_label_space(tmp_path: Path) -> None:
    path = write(tmp_path, classes=['floor', 'pallet', 'lorry'])
    assert describe(path).label_space.names == ('floor', 'pallet', 'lorry')
    path = write(tmp_path, classes=None, label_space='nyu13', label_offset=None, void=[0, 255])
    with pytest.raises(DiffPixelError, match='ids \\[0\\] are classes and unlabelled at once'):
        describe(path)
    description = describe(write(tmp_path, classes=None, label_space='nyu13'))
    assert (description.label_space.name, description.raw_ids.void) == ('nyu13', (0, 255))


@pytest.mark.parametrize('splits', [
    {'train': 'train.txt', 'val': 'val.txt'},
    {'train': 'rgb/a_*.png', 'val': 'rgb/b_*'},
    {'train': 'a_*', 'val': 'b_*'},
    {'train': 'train.txt', 'val': '**/b_*.png'},
])
def test_splits_are_lists_or_globs(tmp_path: Path, splits: dict[str, str]) -> None:
    path = write(tmp_path, splits=splits)
    (tmp_path / 'data/train.txt').write_text('a_2\r\n\r\nrgb/a_1_c.png label/a_1.png\n')
    (tmp_path / 'val.txt').write_text('b_10_c.png\n')  # beside the YAML will do
    description = describe(path)
    assert {split: sorted(file.name for file in frames)
            for split, frames in description.splits.items()} == {'train': ['a_1', 'a_2'],
                                                                'val': ['b_10']}
    np.testing.assert_array_equal(FileFrames(description, 'val')[0].labels, LABELS)


def test_frames_may_have_a_folder_each(tmp_path: Path) -> None:
    for name in NAMES:
        for kind, image in (('c', RGB), ('d', MM), ('l', IDS)):
            save(tmp_path / f'data/{name}/{kind}.png', image)
    path = write(tmp_path, colour='{name}/c.png', depth='{name}/d.png', label='{name}/l.png',
                 splits={'train': '*/c.png', 'val': 'val.txt', 'test': 'test.txt'})
    (tmp_path / 'val.txt').write_text('b_10\n')
    (tmp_path / 'test.txt').write_text('a_2/c.png a_2/l.png\n')
    assert {split: [file.name for file in frames]
            for split, frames in describe(path).splits.items()
            } == {'train': list(NAMES), 'val': ['b_10'], 'test': ['a_2']}


def test_suffixes_on_disk_may_differ(tmp_path: Path) -> None:
    path = write(tmp_path, colour='rgb/{name}_c.jpg', depth='depth/{name}')
    assert len(FileFrames(describe(path), 'all')) == 3


def test_raw_depth_and_overruled_unit(tmp_path: Path) -> None:
    path = write(tmp_path, raw_depth='raw/{name}.png')
    for name in NAMES:
        save(tmp_path / f'data/raw/{name}.png', MM * (MM > 2000))
    description = describe(path, raw_depth=True, depth_unit='m5000')
    np.testing.assert_allclose(FileFrames(description, 'all')[0].depth_m,
                               MM * (MM > 2000) / 5000, rtol=1e-6)
    with pytest.raises(DataError, match='lacks raw_depth'):
        describe(write(tmp_path), raw_depth=True)


def coloured(root: Path) -> npt.NDArray[np.uint8]:
    """Return and write the labels as colours; black is unlabelled."""
    table = np.zeros((256, 3), np.uint8)
    table[1:4] = [row['rgb'] for row in CLASSES]
    for name in NAMES:
        save(root / f'data/label/{name}.png', table[IDS])
    return table[IDS]


@pytest.mark.parametrize('how', ['auto', 'colours'])
@pytest.mark.parametrize('offset', [0, 1, 1000])
def test_colour_coded_labels_are_read_by_the_colours_of_the_classes(tmp_path: Path, offset: int,
                                                                    how: str) -> None:
    path = write(tmp_path, label_offset=offset, label_images=how)
    picture = coloured(tmp_path)
    frames = FileFrames(describe(path), 'all')
    np.testing.assert_array_equal(frames[0].labels, LABELS)
    picture[2, 3] = 1, 2, 3
    save(tmp_path / f'data/label/{NAMES[0]}.png', picture)
    with pytest.raises(DataError, match=r'a_1\.png holds colour \(1, 2, 3\) \(1 pixels\)'):
        frames[0]
    path = write(tmp_path, label_offset=offset, void=[[0, 0, 0], [1, 2, 3]])
    coloured(tmp_path)
    save(tmp_path / f'data/label/{NAMES[0]}.png', picture)
    assert FileFrames(describe(path), 'all')[0].labels[2, 3] == 255


def test_grey_image_among_colour_coded_ones_is_colours_too(tmp_path: Path) -> None:
    path = write(tmp_path, label_offset=0)
    coloured(tmp_path)
    save(tmp_path / f'data/label/{NAMES[2]}.png', np.zeros((H, W), np.uint8))
    assert (FileFrames(describe(path), 'all')[2].labels == 255).all()  # black, not class 0


def test_colour_of_no_class_is_unknown() -> None:
    colours = LabelColours(((9, 0, 0), (0, 9, 0)), (5, 300))
    ids = colours.raw_ids(np.array([[[9, 0, 0], [0, 9, 0], [0, 0, 9], [255, 255, 255]]], np.uint8))
    assert ids.tolist() == [[5, 300, UNKNOWN_COLOUR, UNKNOWN_COLOUR]]


def palette_png(path: Path, ids: npt.NDArray[np.uint8], palette: list[list[int]]) -> None:
    """Write a palette image; what paletted PNG files are is tested in test_label_images."""
    from test_label_images import palette_png as encoded

    path.write_bytes(encoded(ids, np.array(palette, np.uint8), 8))


def test_palette_is_indices_unless_its_colours_contradict(tmp_path: Path) -> None:
    path = write(tmp_path)
    label = tmp_path / f'data/label/{NAMES[0]}.png'
    names: list[list[int]] = [row['rgb'] for row in CLASSES]  # type: ignore[misc]
    ids = np.where(IDS == 255, 0, IDS).astype(np.uint8)
    for palette in ([[0, 0, 0], *names], [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]]):
        palette_png(label, ids, palette)
        np.testing.assert_array_equal(FileFrames(describe(path), 'all')[0].labels, LABELS)
    palette_png(label, ids, [[0, 0, 0], *names[::-1]])
    with pytest.raises(DataError, match=r'a_1\.png is a palette image whose index 1 has the '
                                        r"colour of id 3; set label_images"):
        FileFrames(describe(path), 'all')[0]
    for how, expected in (('ids', LABELS), ('colours', np.where(LABELS == 255, 255, 2 - LABELS))):
        frames = FileFrames(describe(write(tmp_path, label_images=how)), 'all')
        palette_png(label, ids, [[0, 0, 0], *names[::-1]])
        np.testing.assert_array_equal(frames[0].labels, expected)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'model': 'diffpixelformer_t'}, 'is a training recipe; give the data set'),
    ({'depht_unit': 'mm'}, r"says 'depht_unit', which nothing reads; did you mean 'depth_unit'"),
    ({'classes': [{'name': 'floor', 'color': [1, 2, 3]}]}, r"says 'color', .*known: name, rgb"),
    ({'depth_unit': 'cm'}, r"depth_unit is 'cm'; choose one of mm, m, m5000, sun, relative"),
    ({'depth_unit': None}, r'depth_unit is not given; choose'),
    ({'colour': None}, r"lacks colour: .*'colour/\{name\}\.png'"),
    ({'depth': 'depth/*.png'}, r'depth is .*must have \{name\} in it, once'),
    ({'depth': 'depth/{nam}.png'}, r'must have \{name\} in it'),
    ({'classes': None}, 'must say what its classes are, once'),
    ({'label_space': 'nyu40'}, 'must say what its classes are, once'),
    ({'classes': None, 'label_space': 'ade20k'}, "'ade20k' is unknown"),
    ({'classes': 'floor'}, 'classes must be a list'),
    ({'classes': ['floor', 'floor']}, 'give every class a name of its own'),
    ({'classes': [{'name': 'floor', 'rgb': [1, 2, 300]}]}, r'rgb \[1, 2, 300\]; give three'),
    ({'classes': [{'name': 'floor', 'rgb': 'red'}]}, "rgb 'red'; give three"),
    ({'name': 'nyu40'}, 'choose another name'),
    ({'label_offset': -1}, 'label_offset is -1'),
    ({'label_offset': 65533}, 'ids 65533 to 65535'),
    ({'label_offset': True}, 'label_offset is True'),
    ({'void': 255}, 'void is 255; give a list'),
    ({'void': [2]}, r'raw ids \[2\] are classes and unlabelled at once'),
    ({'camera': [1, 2, 3]}, 'camera is .*fx, fy, cx, cy'),
    ({'camera': {'fx': 1}}, 'camera is .*fx, fy, cx, cy'),
    ({'root': 'nowhere'}, r'root .*nowhere is no folder'),
    ({'splits': 'train.txt'}, 'splits is .*for each'),
    ({'splits': {'train': 'train.txt'}}, r'cannot read the list .*train\.txt'),
    ({'splits': {'train': 'rgb/z_*.png'}}, r"split 'train' is empty: 'rgb/z_\*\.png' matches no"),
    ({'splits': {'train': 'list.txt'}}, r'list\.txt in line 2: colour image .*z_c\.png does not'),
    ({'label': 'labels/{name}.png'}, r"split 'all': label image .*labels/a_1\.png does not exist"),
    ({'label_images': 'colours', 'classes': ['a', 'b', 'c']}, 'an rgb of its own for every class'),
    ({'label_images': 'colors'}, "label_images is 'colors'; choose one of auto, ids, colours"),
])
def test_descriptions_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any],
                                                 message: str) -> None:
    path = write(tmp_path, **changes)
    (tmp_path / 'list.txt').write_text('a_1\nz\n')
    with pytest.raises(DiffPixelError, match=message):
        describe(path)


@pytest.mark.parametrize(('text', 'message'), [
    ('a: [', 'is no YAML'), ('- a\n- b', 'holds a list'), ('', 'holds a NoneType')])
def test_files_that_are_no_description_are_refused(tmp_path: Path, text: str,
                                                   message: str) -> None:
    (tmp_path / 'd.yaml').write_text(text)
    with pytest.raises(DataError, match=rf'd\.yaml {message}'):
        describe(tmp_path / 'd.yaml')
    with pytest.raises(DataError, match=r'description .*e\.yml cannot be read'):
        describe(tmp_path / 'e.yml')


def test_label_beyond_the_classes_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, classes=CLASSES[:2])
    with pytest.raises(DataError, match=r'a_1\.png holds id 3 .*1\.\.2 as classes and 0, 255'):
        FileFrames(describe(path), 'all')[0]


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, label=None)
    assert describe(path).frames('all')[0].label is None
