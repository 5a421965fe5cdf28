# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Public data sets are told apart and read the same, and what is wrong with them is named."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imsave

from diffpixel_core.datasets import DataError, Description, FileFrames, describe
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.image_folder import read_depth

RNG = np.random.default_rng(0)
H, W = 12, 16
NAMES = ('0001', '0433')
RGB = {name: RNG.integers(0, 256, (H, W, 3), dtype=np.uint8) for name in NAMES}
MM = {name: RNG.integers(500, 9000, (H, W)).astype(np.uint16) for name in NAMES}
RAW_MM = {name: np.where(RNG.random((H, W)) < 0.3, 0, MM[name]).astype(np.uint16) for name in NAMES}
LABELS = {name: RNG.integers(0, 40, (H, W)).astype(np.uint8) for name in NAMES}
for labels in LABELS.values():
    labels[0, :5] = 255, 0, 39, 0, 255


def save(path: Path, image: npt.NDArray[Any]) -> None:
    """Write an image; three channels are RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.npy':
        np.save(path, image)
    else:
        assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def from_one(name: str) -> npt.NDArray[np.uint8]:
    """Return labels as most data sets write them: 0 = unlabelled, 1..40."""
    return np.where(LABELS[name] == 255, 0, LABELS[name].astype(int) + 1).astype(np.uint8)


def tokenfusion(root: Path) -> None:
    for name in NAMES:
        save(root / f'rgb/00{name}.png', RGB[name])
        save(root / f'depth/00{name}.png', (MM[name] * 5.0).astype(np.uint16))
        save(root / f'masks/00{name}.png', LABELS[name])
    (root / 'val.txt').write_text(''.join(
        f'rgb/00{n}.png\tmasks/00{n}.png\tdepth/00{n}.png\n' for n in NAMES))


def dformer(root: Path, *, depth: str = 'picture', label: str = 'Label') -> None:
    for name in NAMES:
        save(root / f'RGB/{name}.jpg', RGB[name])
        save(root / f'{label}/{name}.png', from_one(name))
        if depth == 'picture':
            (root / 'Depth').mkdir(exist_ok=True)
            imsave(root / f'Depth/{name}.png', MM[name] / 1000, cmap='Greys_r')
        elif depth == 'metres':
            save(root / f'Depth/{name}.npy', (MM[name] / 1000).astype(np.float32))
        else:
            save(root / f'Depth/{name}.png', MM[name])
    (root / 'test.txt').write_text(''.join(f'RGB/{n}.jpg {label}/{n}.png\n' for n in NAMES))


def by_split(root: Path, label: str) -> None:
    for name in NAMES:
        save(root / f'test/rgb/{name}.png', RGB[name])
        save(root / f'test/depth/{name}.png', MM[name])
        save(root / f'test/depth_raw/{name}.png', RAW_MM[name])
        save(root / f'test/{label}/{name}.png', from_one(name))
    (root / 'test.txt').write_text(''.join(f'{n}\n' for n in NAMES))


def gupta(root: Path) -> None:
    for name in NAMES:
        save(root / f'rgb/{name}.png', RGB[name])
        save(root / f'depth/{name}.png', MM[name])
        save(root / f'labels_40/{name}.png', from_one(name))


def dplnet(root: Path) -> None:
    for name in NAMES:
        save(root / f'test/image/{name}.jpg', RGB[name])
        save(root / f'test/depth/{name}.png', MM[name])
        save(root / f'test/label/{name}.png', from_one(name))


def plain(root: Path, folder: str = '') -> None:
    for name in NAMES:
        save(root / folder / f'{name}.color.png', RGB[name])
        save(root / folder / f'{name}.depth.png', MM[name])
        save(root / folder / f'{name}.label.png', LABELS[name])


WRITERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    'tokenfusion': (tokenfusion, 'tokenfusion', 'val'),
    'dformer': (lambda root: dformer(root, depth='mm'), 'dformer', 'test'),
    'sagate': (lambda root: dformer(root, depth='metres'), 'dformer', 'test'),
    'stitch': (lambda root: dformer(root, depth='mm', label='Labels'), 'dformer', 'test'),
    'esanet': (lambda root: by_split(root, 'labels_40'), 'esanet', 'test'),
    'nicr': (lambda root: by_split(root, 'semantic_40'), 'nicr', 'test'),
    'gupta': (gupta, 'gupta', 'all'),
    'dplnet': (dplnet, 'dplnet', 'test'),
    'images': (plain, 'images', 'all'),
    'images by split': (lambda root: plain(root, 'val'), 'images', 'val'),
}


@pytest.mark.parametrize('kind', WRITERS)
def test_frames_written_in_any_layout_come_out_alike(tmp_path: Path, kind: str) -> None:
    write, layout, split = WRITERS[kind]
    write(tmp_path)
    description = describe(tmp_path)
    assert (description.layout, list(description.splits)) == (layout, [split])
    assert description.metric
    frames = FileFrames(description, split)
    assert len(frames) == len(NAMES)
    for name, frame in zip(NAMES, frames, strict=True):
        np.testing.assert_array_equal(frame.labels, LABELS[name])
        np.testing.assert_allclose(frame.depth_m, MM[name] / 1000, atol=1e-6)
        if layout not in ('dformer', 'dplnet'):  # JPEG
            np.testing.assert_array_equal(frame.rgb, RGB[name])


def test_depth_pictures_are_an_affine_image_of_metres_and_not_metric(tmp_path: Path) -> None:
    dformer(tmp_path)
    description = describe(tmp_path)
    assert (description.depth_unit, description.metric) == ('relative', False)
    for name, frame in zip(NAMES, FileFrames(description, 'test'), strict=True):
        metres = MM[name] / 1000
        fit = np.polyfit(frame.depth_m.ravel(), metres.ravel(), 1)
        step = (metres.max() - metres.min()) / 256
        assert np.abs(np.polyval(fit, frame.depth_m) - metres).max() < 1.6 * step
        np.testing.assert_array_equal(frame.labels, LABELS[name])


@pytest.mark.parametrize('lines', [
    '0001\n0433\n',
    '0001\r\n\r\n0433\r\n',
    '\ufeff0001\n  0433  \n\n\n',
    '0001.jpg\n0433.png\n',
    '0001 0\n0433 whatever else\n',
    'RGB/0001.jpg Label/0001.png\nRGB/0433.jpg Label/0433.png\n',
    'RGB/0001\tLabel/0001\tDepth/0001\nRGB/0433\tLabel/0433\tDepth/0433\n',
    'Label/0001.png RGB/0001.png\nDepth/0433.png\tRGB/0433.jpg\n',
    'RGB\\0001.jpg Label\\0001.png\nRGB\\0433.jpg Label\\0433.png',
    '/somewhere/RGB/else/RGB/0001.jpg\n./RGB/0433.jpg',
])
def test_every_form_of_a_list_names_the_same_frames(tmp_path: Path, lines: str) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'test.txt').write_bytes(lines.encode())
    frames = FileFrames(describe(tmp_path), 'test')
    assert [file.name for file in frames.files] == list(NAMES)
    for name, frame in zip(NAMES, frames, strict=True):
        np.testing.assert_array_equal(frame.labels, LABELS[name])


def test_lists_keep_their_order_and_files_of_other_names_are_followed(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'Label/0433.png').rename(tmp_path / 'Label/other.v2.png')
    (tmp_path / 'test.txt').write_text('RGB/0433.jpg Label/other.v2.png\nRGB/0001.jpg\n')
    frames = FileFrames(describe(tmp_path), 'test')
    assert [file.name for file in frames.files] == ['0433', '0001']
    np.testing.assert_array_equal(frames[0].labels, LABELS['0433'])


def test_list_that_points_nowhere_is_named_with_its_line(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'test.txt').write_text('0001\n\n77\n')
    with pytest.raises(DataError, match=r'test\.txt names images that are not there, 3 in all, '
                                        r'the first in line 3: .*RGB/77\.\*'):
        describe(tmp_path)
    (tmp_path / 'test.txt').write_text('0001\n0433\n')
    (tmp_path / 'Label/0433.png').unlink()
    with pytest.raises(DataError, match=r'1 in all, the first in line 2: .*Label/0433\.\*'):
        describe(tmp_path)


def test_frame_named_twice_is_refused(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'test.txt').write_text('0001\n0433\nRGB/0001.jpg\n')
    with pytest.raises(DataError, match=r"test\.txt names '0001' twice, in lines 1 and 3"):
        describe(tmp_path)


def test_empty_list_is_an_empty_split_and_does_no_harm_to_others(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'train.txt').write_text('\n\n')
    description = describe(tmp_path)
    assert len(FileFrames(description, 'test')) == 2
    with pytest.raises(DataError, match=r"split 'train' .* is empty: .*train\.txt names no frame"):
        FileFrames(description, 'train')
    with pytest.raises(DataError, match=r"has no split 'val'; it has train, test"):
        FileFrames(description, 'val')


def test_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    (tmp_path / 'test.txt').write_bytes(b'\xff\xfe\x80')
    with pytest.raises(DataError, match=r'cannot read the list .*test\.txt'):
        describe(tmp_path)


@pytest.mark.parametrize(('kind', 'folder', 'last'), [
    ('tokenfusion', 'masks', 39), ('dformer', 'Label', 40), ('esanet', 'test/labels_40', 40),
])
def test_id_beyond_the_classes_is_named_with_its_file(tmp_path: Path, kind: str, folder: str,
                                                      last: int) -> None:
    write, _, split = WRITERS[kind]
    write(tmp_path)
    path = sorted((tmp_path / folder).iterdir())[1]
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    labels[3, 3:5] = last + 1
    save(path, labels)
    frames = FileFrames(describe(tmp_path), split)
    frames[0]
    with pytest.raises(DataError, match=rf'{path.name} holds id {last + 1} \(2 pixels\)'):
        frames[1]


def test_neither_0_nor_255_wraps_round_and_16_bit_ids_are_read(tmp_path: Path) -> None:
    by_split(tmp_path, 'labels_40')
    ids = np.zeros((H, W), np.uint16)
    ids[0, :4] = 0, 255, 1, 40
    save(tmp_path / 'test/labels_40/0001.png', ids)
    frames = FileFrames(describe(tmp_path), 'test')
    assert list(frames[0].labels[0, :4]) == [255, 255, 0, 39]
    ids[0, 0] = 256  # 0 in 8 bits
    save(tmp_path / 'test/labels_40/0001.png', ids)
    with pytest.raises(DataError, match='holds id 256'):
        frames[0]


def test_raw_depth_is_that_before_in_painting(tmp_path: Path) -> None:
    by_split(tmp_path / 'esanet', 'labels_40')
    for raw, expected in ((True, RAW_MM), (False, MM)):
        frames = FileFrames(describe(tmp_path / 'esanet', raw_depth=raw), 'test')
        for name, frame in zip(NAMES, frames, strict=True):
            np.testing.assert_allclose(frame.depth_m, expected[name] / 1000, atol=1e-6)
    tokenfusion(tmp_path / 'tokenfusion')
    plain(tmp_path / 'plain')
    for other in ('tokenfusion', 'plain'):
        with pytest.raises(DataError, match='keeps one depth only'):
            describe(tmp_path / other, raw_depth=True)
    for file in (tmp_path / 'esanet/test/depth_raw').iterdir():
        file.unlink()
    (tmp_path / 'esanet/test/depth_raw').rmdir()
    with pytest.raises(DataError, match='has no depth_raw/'):
        describe(tmp_path / 'esanet', raw_depth=True)


def test_data_set_one_folder_below_is_found_unless_there_are_two(tmp_path: Path) -> None:
    dformer(tmp_path / 'NYUDepthv2', depth='mm')
    (tmp_path / 'readme').mkdir()
    assert describe(tmp_path).root == tmp_path / 'NYUDepthv2'
    gupta(tmp_path / 'crops')
    with pytest.raises(DataError, match=r'several data sets: NYUDepthv2/ \(dformer\), '
                                        r'crops/ \(gupta\); give one'):
        describe(tmp_path)


def test_folder_of_something_else_is_told_what_was_looked_for_and_found(tmp_path: Path) -> None:
    for name in ('RGB', 'HHA', 'Label'):
        save(tmp_path / name / '0.png', RGB['0001'])
    with pytest.raises(DataError, match=r'is no data set: in it are HHA/, Label/, RGB/; HHA '
                                        r'pictures hold no metres.*wanted.*RGB/ Depth/ '
                                        r'Label\|Labels/ \(dformer\)'):
        describe(tmp_path)


def test_empty_folder_is_told_the_simplest_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'in it is nothing; wanted are X\.color\.png') as refused:
        describe(tmp_path)
    assert 'dformer' not in str(refused.value)
    for name in ('rgb', 'depth', 'label'):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match='depth/, label/, rgb/ without an image in them; wanted'):
        describe(tmp_path)


def test_missing_path_and_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nowhere does not exist'):
        describe(tmp_path / 'nowhere')
    (tmp_path / 'x.zip').write_text('')
    with pytest.raises(DataError, match=r'x\.zip is a file; give its folder'):
        describe(tmp_path / 'x.zip')


def test_image_cut_short_is_named(tmp_path: Path) -> None:
    tokenfusion(tmp_path)
    frames = FileFrames(describe(tmp_path), 'val')
    for folder in ('rgb', 'depth', 'masks'):
        path = tmp_path / folder / '000433.png'
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
        with pytest.raises(DiffPixelError, match=rf'{folder}/000433\.png is damaged'):
            frames[1]
        path.write_bytes(whole)
    frames[1]


@pytest.mark.parametrize(('folder', 'image'), [('depth', MM['0001'][:5]),
                                               ('masks', LABELS['0001'][:, :7])])
def test_images_of_two_sizes_are_named(tmp_path: Path, folder: str,
                                       image: npt.NDArray[np.generic]) -> None:
    tokenfusion(tmp_path)
    save(tmp_path / folder / '000001.png', image)
    with pytest.raises(DataError, match=rf'{folder}/000001\.png is .* but its colour image '
                                        rf'000001\.png is {W}x{H}'):
        FileFrames(describe(tmp_path), 'val')[0]


def test_unit_and_label_space_can_be_overruled(tmp_path: Path) -> None:
    by_split(tmp_path, 'labels_40')
    assert describe(tmp_path, depth_unit='m5000').depth_unit == 'm5000'
    with pytest.raises(DataError, match=r'no labels of nyu13 \(looked for labels_13\)'):
        describe(tmp_path, label_space='nyu13')
    for name in NAMES:
        save(tmp_path / f'test/labels_13/{name}.png', np.full((H, W), 13, np.uint8))
    description = describe(tmp_path, label_space='nyu13')
    assert description.label_space.name == 'nyu13'
    assert (FileFrames(description, 'test')[0].labels == 12).all()


def test_depth_of_an_unknown_type_is_named(tmp_path: Path) -> None:
    dformer(tmp_path, depth='mm')
    for name in NAMES:
        (tmp_path / f'Depth/{name}.png').unlink()
        save(tmp_path / f'Depth/{name}.npy', MM[name].astype(np.int64))
    with pytest.raises(DataError, match=r'Depth/0001\.npy holds int64 values'):
        describe(tmp_path)


def test_folders_image_depth_label_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    dplnet(tmp_path)
    for name in NAMES:
        save(tmp_path / f'test/label/{name}.png', LABELS[name])
    description = describe(tmp_path)
    assert description.layout == 'images'
    np.testing.assert_array_equal(FileFrames(description, 'test')[0].labels, LABELS['0001'])
    for name in NAMES:
        save(tmp_path / f'test/label/{name}.png', np.full((H, W), 7, np.uint8))
    with pytest.raises(DataError, match=r'test/label may begin at 0 .* or at 1.*label_offset'):
        describe(tmp_path)


def test_colour_without_depth_is_counted_and_named(tmp_path: Path) -> None:
    gupta(tmp_path)
    (tmp_path / 'depth/0433.png').unlink()
    with pytest.raises(DataError, match=r'1 of 2 images in rgb/ have none of their name in '
                                        r'depth/, the first is 0433\.png'):
        describe(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    gupta(tmp_path)
    save(tmp_path / 'rgb/0433.jpg', RGB['0433'])
    with pytest.raises(DataError, match='two images of one name'):
        describe(tmp_path)


def test_frames_without_labels_are_described_but_not_opened(tmp_path: Path) -> None:
    gupta(tmp_path)
    (tmp_path / 'labels_40/0433.png').unlink()
    description = describe(tmp_path)
    assert [file.label is None for file in description.frames('all')] == [False, True]
    with pytest.raises(DataError, match=r"1 of 2 frames .* have no label image.*'0433'"):
        FileFrames(description, 'all')


def test_plain_folder_is_split_by_lists(tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / 'train.txt').write_text('0433.color.png\n')
    (tmp_path / 'val.txt').write_text('0001\n')
    description = describe(tmp_path)
    assert {split: [file.name for file in frames] for split, frames in description.splits.items()
            } == {'train': ['0433'], 'val': ['0001']}
    (tmp_path / 'val.txt').write_text('0001\n9\n')
    with pytest.raises(DataError, match=r"val\.txt names '9' in line 2"):
        describe(tmp_path)


def test_packed_sun_rgbd_has_37_classes_and_rotated_or_pictured_depth(tmp_path: Path) -> None:
    for split in ('train', 'test'):
        save(tmp_path / f'RGB/{split}_0.jpg', RGB['0001'])
        save(tmp_path / f'Depth/{split}_0.png', MM['0001'] << 3)
        save(tmp_path / f'labels/{split}_0.png', np.full((H, W), 37, np.uint8))
    (tmp_path / 'train.txt').write_text('RGB/train_0.jpg labels/train_0.png\n')
    (tmp_path / 'test.txt').write_text('RGB/test_0.jpg\tlabels/test_0.png\tDepth/test_0.png\n')
    description = describe(tmp_path)
    assert (description.layout, description.label_space.name) == ('sunrgbd_packed', 'sun37')
    for split in ('train', 'test'):
        frame, = FileFrames(description, split)
        assert (frame.labels == 36).all()
        np.testing.assert_allclose(frame.depth_m, (MM['0001'] & 0x1FFF) / 1000, atol=1e-6)
        imsave(tmp_path / f'Depth/{split}_0.png', MM['0001'] / 1000, cmap='Greys_r')
    assert describe(tmp_path).depth_unit == 'relative'


def test_nicr_sun_rgbd_names_the_camera(tmp_path: Path) -> None:
    names = ('kv2/kinect2data/0001_a', 'xtion/sun3ddata/hotel/1/0002')
    for name in names:
        save(tmp_path / f'train/rgb/{name}.jpg', RGB['0001'])
        save(tmp_path / f'train/depth/{name}.png', MM['0001'] & 0x1FFF)
        save(tmp_path / f'train/semantic/{name}.png', np.ones((H, W), np.uint8))
    (tmp_path / 'train.txt').write_text('\n'.join(names))
    description = describe(tmp_path)
    frames = FileFrames(description, 'train')
    assert (description.layout, list(frames.cameras)) == ('sunrgbd_nicr', ['kv2', 'xtion'])
    assert (frames[1].labels == 0).all()


@pytest.mark.skipif('DIFFPIXEL_SAMPLES' not in os.environ, reason='needs the real samples')
def test_real_frames_in_four_layouts_come_out_alike() -> None:
    base = Path(os.environ['DIFFPIXEL_SAMPLES'])
    crop = np.s_[6:474, 7:632]  # how tokenfusion's images lie in the frame

    def opened(name: str) -> tuple[Description, FileFrames]:
        description = describe(base / 'nyu-layouts' / name)
        return description, FileFrames(description, next(iter(description.splits)))

    _, whole = opened('esanet')
    for name in ('tokenfusion', 'dformer', 'nicr'):
        description, frames = opened(name)
        for frame, true in zip(frames, whole, strict=True):
            part = crop if name == 'tokenfusion' else np.s_[:, :]
            np.testing.assert_array_equal(frame.labels, true.labels[part])
            truth = true.depth_m[part]
            if description.metric:
                assert np.abs(frame.depth_m - truth).max() < 0.0006
                continue
            np.testing.assert_array_equal(frame.depth_m > 0, truth > 0)
            seen = truth > 0
            fit = np.polyfit(frame.depth_m[seen], truth[seen], 1)
            lowest = truth.min()  # 0 where there are holes
            assert (np.abs(np.polyval(fit, frame.depth_m[seen]) - truth[seen]).max()
                    < 1.6 * (truth.max() - lowest) / 256)
    sun = describe(base / 'sun-scenes')
    for file, (near, far) in zip(sun.frames('all'), ((1.43, 2.525), (0.64, 3.783)), strict=True):
        depth_m = read_depth(file.depth, sun.depth_unit)
        np.testing.assert_allclose((depth_m.min(), depth_m.max()), (near, far), atol=1e-3)
