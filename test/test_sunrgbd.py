# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""SUN RGB-D is read from its original folders, and its labels out of the toolbox's MATLAB files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

h5py = pytest.importorskip('h5py')
savemat = pytest.importorskip('scipy.io').savemat

from diffpixel_core.datasets import DataError, FileFrames, describe  # noqa: E402
from diffpixel_core.datasets.sunrgbd import CAMERAS, find_scenes  # noqa: E402
from diffpixel_core.datasets.sunrgbd_toolbox import LABELS, scene_of  # noqa: E402

RNG = np.random.default_rng(0)
SIZES = {'kv1': (10, 14), 'kv2': (12, 18), 'realsense': (11, 15), 'xtion': (9, 16)}
TEST = ('kv2/kinect2data/000002_x-resize', 'kv1/NYUdata/NYU0001', 'realsense/sa/2014_a')
TRAIN = ('kv1/b3dodata/img_0063', 'xtion/sun3ddata/hotel/hotel_1/0000110-000003653244')
ORDER = TEST + TRAIN
IDS = {name: RNG.integers(0, 38, SIZES[name.split('/')[0]]).astype(np.uint8) for name in ORDER}
MM = {name: RNG.integers(600, 8000, SIZES[name.split('/')[0]]).astype(np.uint16) for name in ORDER}
ELSEWHERE = '/n/fs/sun3d/data/SUNRGBD/'


def write_scene(folder: Path, name: str) -> None:
    mm = MM[name]
    raw = np.where(RNG.random(mm.shape) < 0.3, 0, mm).astype(np.uint16)
    file = name.split('/')[-1][-7:]
    for kind, image in (('image', np.full((*mm.shape, 3), 90, np.uint8)), ('depth', raw << 3),
                        ('depth_bfx', mm << 3)):
        (folder / kind).mkdir(parents=True)
        end = '.jpg' if kind == 'image' else '_abs.png'
        assert cv2.imwrite(str(folder / kind / f'{file}{end}'), image)
    (folder / 'intrinsics.txt').write_text('500 0 8 0 500 6 0 0 1')
    (folder / 'extrinsics').mkdir()
    (folder / 'fullres').mkdir()


def write_scenes(root: Path) -> None:
    for name in ORDER:
        write_scene(root / name, name)


def write_allsplit(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Some of the published paths end in a slash.
    cells = {key: np.array([f'{ELSEWHERE}{name}{"/" * (i % 2)}' for i, name in enumerate(names)],
                           dtype=object) for key, names in (('alltrain', TRAIN), ('alltest', TEST))}
    savemat(str(path), cells)


def write_labels(path: Path, order: tuple[str, ...] = ORDER) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        group = file.create_group('SUNRGBD2Dseg')
        references = group.create_dataset('seglabel', (len(order), 1), dtype=h5py.ref_dtype)
        for i, name in enumerate(order):
            stored = file.create_dataset(f'#refs#/{i}', data=IDS[name].T)
            references[i, 0] = stored.ref


def write_meta(path: Path, order: tuple[str, ...]) -> None:
    rows = np.empty(len(order), dtype=[('sequenceName', object), ('rgbpath', object)])
    for i, name in enumerate(order):
        rows[i] = (f'SUNRGBD/{name}', f'{ELSEWHERE}{name}//image/0000103.jpg')
    savemat(str(path), {'SUNRGBDMeta': rows})


def write_all(top: Path) -> Path:
    """Write scenes and toolbox side by side, as their archives unpack; return the scenes' root."""
    write_scenes(top / 'SUNRGBD')
    write_allsplit(top / 'SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat')
    write_labels(top / 'SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat')
    return top / 'SUNRGBD'


def check(path: Path) -> None:
    description = describe(path)
    assert (description.layout, description.depth_unit) == ('sunrgbd', 'sun')
    for split, names in (('train', TRAIN), ('test', TEST)):
        frames = FileFrames(description, split)
        assert [file.name for file in frames.files] == list(names)
        assert list(frames.cameras) == [name.split('/')[0] for name in names]
        for name, frame in zip(names, frames, strict=True):
            np.testing.assert_array_equal(frame.labels, IDS[name].astype(int) - 1
                                          + 256 * (IDS[name] == 0))
            np.testing.assert_allclose(frame.depth_m, MM[name] / 1000, atol=1e-6)


def test_scenes_splits_cameras_and_labels_are_found_from_either_folder(tmp_path: Path) -> None:
    root = write_all(tmp_path)
    check(tmp_path)
    check(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ('SUNRGBD', 'SUNRGBDtoolbox', LABELS))  # labels were written once, beside the toolbox
    assert {scene.camera for scene in find_scenes(root)} == set(CAMERAS)


def test_toolbox_may_lie_among_the_scenes(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    write_allsplit(tmp_path / 'SUNRGBDtoolbox/SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat')
    write_labels(tmp_path / 'SUNRGBDtoolbox/SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat')
    check(tmp_path)


def test_labels_go_by_the_order_of_the_toolbox_where_it_says_one(tmp_path: Path) -> None:
    write_all(tmp_path)
    other = ORDER[::-1]
    write_labels(tmp_path / 'SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat', other)
    with pytest.raises(DataError, match=r'not in one order; put SUNRGBDMeta\.mat'):
        describe(tmp_path)
    write_meta(tmp_path / 'SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat', other)
    check(tmp_path)


def test_extraction_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    root = write_all(tmp_path)
    describe(root)
    kept = tmp_path / LABELS / f'{ORDER[0]}.png'
    before = kept.stat().st_mtime_ns
    (tmp_path / LABELS / f'{ORDER[3]}.png').unlink()
    check(root)
    assert kept.stat().st_mtime_ns == before
    assert not [path for path in (tmp_path / LABELS).rglob('.*')]
    (tmp_path / 'SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat').unlink()
    check(root)  # not needed any more


def test_raw_depth_has_holes(tmp_path: Path) -> None:
    write_all(tmp_path)
    frame = FileFrames(describe(tmp_path, raw_depth=True), 'test')[0]
    holes = frame.depth_m == 0
    assert 0.1 < holes.mean() < 0.5
    np.testing.assert_allclose(frame.depth_m[~holes], MM[TEST[0]][~holes] / 1000, atol=1e-6)


def test_without_the_toolbox_there_are_scenes_but_no_labels(tmp_path: Path) -> None:
    write_scene(tmp_path / 'kv1-img_0063', TRAIN[0])
    write_scene(tmp_path / 'kv2-2014', TEST[0])
    description = describe(tmp_path)
    assert [(file.name, file.camera, file.label) for file in description.frames('all')] == [
        ('kv1-img_0063', 'kv1', None), ('kv2-2014', 'kv2', None)]
    with pytest.raises(DataError, match='no label image'):
        FileFrames(description, 'all')
    assert describe(tmp_path / 'kv2-2014').frames('all')[0].camera == 'kv2'


def test_part_of_the_scenes_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_all(tmp_path)
    (tmp_path / 'SUNRGBD/xtion').rename(tmp_path / 'elsewhere')
    description = describe(tmp_path)
    assert {split: len(frames) for split, frames in description.splits.items()
            } == {'train': 1, 'test': 3}
    assert '4 of the 5 scenes' in caplog.text


def test_scene_with_an_image_missing_is_named(tmp_path: Path) -> None:
    root = write_all(tmp_path)
    for path in (root / TRAIN[0] / 'depth_bfx').iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf'{TRAIN[0]}/depth_bfx holds 0 images'):
        describe(root)


def test_splits_of_other_scenes_are_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / 'SUNRGBD/kv1/mine/1', TRAIN[0])
    write_allsplit(tmp_path / 'SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat')
    with pytest.raises(DataError, match=r"allsplit\.mat names none of the 1 scenes.*'kv1/mine/1'"):
        describe(tmp_path)


@pytest.mark.parametrize('kept', [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(('file', 'message'), [
    ('Metadata/SUNRGBD2Dseg.mat', 'is damaged or no MATLAB 7.3 file'),
    ('traintestSUNRGBD/allsplit.mat', 'cannot be read as a MATLAB file'),
])
def test_damaged_file_of_the_toolbox_is_named(tmp_path: Path, file: str, message: str,
                                              kept: float) -> None:
    write_all(tmp_path)
    path = tmp_path / 'SUNRGBDtoolbox' / file
    data = path.read_bytes()
    path.write_bytes(data[:int(kept * len(data))])
    with pytest.raises(DataError, match=f'{path.name} {message}'):
        describe(tmp_path)


def test_wrong_files_under_the_toolbox_names_are_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    allsplit = tmp_path / 'SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat'
    whole = allsplit.read_bytes()
    savemat(str(allsplit), {'trainNdxs': [1, 2]})
    with pytest.raises(DataError, match=r'allsplit\.mat has no alltrain, alltest'):
        describe(tmp_path)
    allsplit.write_bytes(whole)
    labels = tmp_path / 'SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat'
    write_labels(labels, ORDER[:3])
    with pytest.raises(DataError, match='holds labels of 3 scenes, but the scenes are 5'):
        describe(tmp_path)
    with h5py.File(labels, 'w') as file:
        file['images'] = np.zeros((3, 3))
    with pytest.raises(DataError, match='has no SUNRGBD2Dseg/seglabel'):
        describe(tmp_path)


def test_labels_that_cannot_be_written_say_so_and_leave_nothing_behind(tmp_path: Path) -> None:
    root = write_all(tmp_path)
    (tmp_path / LABELS).symlink_to('/proc')  # where not even root may write
    with pytest.raises(DataError, match=r'cannot write the label image .*links to SUNRGBD'):
        describe(root)


@pytest.mark.parametrize(('path', 'name'), [
    ('/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001/', 'kv1/NYUdata/NYU0001'),
    ('SUNRGBD/realsense/sa/2014_a//image/0000063.jpg', 'realsense/sa/2014_a'),
    ('D:\\SUNRGBD\\kv2\\kinect2data\\1', 'kv2/kinect2data/1'),
])
def test_scene_is_known_by_any_path_into_it(path: str, name: str) -> None:
    assert scene_of(path) == name


def test_path_without_camera_is_no_scene() -> None:
    with pytest.raises(DataError, match='none of kv1, kv2, realsense, xtion'):
        scene_of('/data/NYU0001')
