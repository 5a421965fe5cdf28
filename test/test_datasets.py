# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames on disk become batches: what is read, mapped, refused, and in which order it comes."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffpixel_core.config import AugmentConfig, DataConfig
from diffpixel_core.datasets import (
    DataError,
    FileFrames,
    MappedFrames,
    TrainBatches,
    describe,
    held_out_samples,
    open_frames,
    train_loader,
)
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import load_label_space

NYU40, NYU13 = load_label_space('nyu40'), load_label_space('nyu13')


def write_frame(folder: Path, i: int, *, size: tuple[int, int] = (32, 48), label: int = 0,
                exact: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(i)
    name = f'{folder}/{i:06d}'
    cv2.imwrite(f'{name}.color.png', rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    depth = np.full(size, 2000 + i, np.uint16)
    depth[0, 0] = 65535
    cv2.imwrite(f'{name}.depth.png', depth)
    labels = np.full(size, label, np.uint8)
    labels[:, :4] = 255
    cv2.imwrite(f'{name}.label.png', labels)
    if exact:
        cv2.imwrite(f'{name}.cosine.png', np.full(size, 204, np.uint8))


def folder_frames(folder: Path, label_space: str = 'nyu40') -> FileFrames:
    return FileFrames(describe(folder, label_space=label_space), 'all')


def mapped(frames: FileFrames) -> MappedFrames:
    root = frames.description.root
    return MappedFrames(frames, root.with_name(root.name + '.cache'))


def batches(frames: FileFrames | MappedFrames, seed: int = 0) -> TrainBatches:
    return TrainBatches(frames, label_space=NYU40, augmentation=AugmentConfig(), crop=(32, 32),
                        batch=2, seed=seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        write_frame(tmp_path / 'frames', i, label=i)
    return tmp_path / 'frames'


def test_mapped_frames_equal_the_files(folder: Path) -> None:
    files = folder_frames(folder)
    arrays = mapped(files)
    assert len(arrays) == len(files) == 5
    for i in range(5):
        one, two = files[i], arrays[i]
        assert one.name == two.name
        assert (one.rgb == two.rgb).all()
        assert (one.labels == two.labels).all()
        assert (one.depth_m == two.depth_m).all()
        assert two.depth_m[0, 0] == 0
        assert two.depth_m[1, 1] == pytest.approx(2 + i / 1000)
        assert one.cosine is None
        assert two.cosine is None


def test_changed_file_renews_the_map(folder: Path) -> None:
    mapped(folder_frames(folder))
    cache = folder.with_name('frames.cache')
    before = (cache / 'label.raw').stat().st_mtime_ns
    for same in (folder, folder / '..' / folder.name):
        mapped(folder_frames(same))
        assert (cache / 'label.raw').stat().st_mtime_ns == before
    earlier = mapped(folder_frames(folder))
    write_frame(folder, 2, label=17)
    os.utime(folder / '000002.label.png', ns=(1, 1))
    assert mapped(folder_frames(folder))[2].labels[5, 5] == 17
    assert earlier[2].labels[5, 5] == 2  # a run that goes on while another begins


def test_mixed_sizes_are_mapped(folder: Path) -> None:
    write_frame(folder, 9, size=(40, 40), label=7)
    write_frame(folder, 10, size=(20, 64), label=8)
    frames = mapped(folder_frames(folder))
    assert [frames[i].labels.shape for i in (4, 5, 6)] == [(32, 48), (40, 40), (20, 64)]
    assert (frames[6].rgb == folder_frames(folder)[6].rgb).all()


def test_half_written_map_is_not_taken_for_a_whole_one(folder: Path) -> None:
    depth = folder / '000003.depth.png'
    content = depth.read_bytes()
    depth.write_bytes(content[:-30])
    for _ in range(2):
        with pytest.raises(DiffPixelError, match=r'000003\.depth\.png'):
            mapped(folder_frames(folder))
    assert list(folder.with_name('frames.cache').iterdir()) == []
    depth.write_bytes(content)
    assert len(mapped(folder_frames(folder))) == 5


def test_cache_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.with_name('frames.cache').write_text('in the way')
    with pytest.raises(DataError, match=r'cannot write .*frames\.cache.*data\.in_memory to false'):
        mapped(folder_frames(folder))


def test_label_beyond_the_classes_names_the_file(folder: Path) -> None:
    write_frame(folder, 3, label=40)
    with pytest.raises(DataError, match=r'000003\.label\.png holds id 40 \(.*0\.\.39'):
        mapped(folder_frames(folder))
    with pytest.raises(DataError, match=r'holds id 40 .*0\.\.36'):
        _ = folder_frames(folder, 'sun37')[3]


def test_frames_without_labels_are_refused(folder: Path) -> None:
    (folder / '000004.label.png').unlink()
    with pytest.raises(DataError, match=r"1 of 5 frames.*'000004'"):
        folder_frames(folder)


def test_label_of_another_size_is_refused(folder: Path) -> None:
    cv2.imwrite(str(folder / '000001.label.png'), np.zeros((16, 24), np.uint8))
    with pytest.raises(DataError, match=r'000001\.label\.png is 24x16.*48x32'):
        _ = folder_frames(folder)[1]


@pytest.mark.parametrize('kind', ['color', 'depth', 'label'])
def test_truncated_image_is_named(folder: Path, kind: str) -> None:
    path = folder / f'000002.{kind}.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DiffPixelError, match=f'000002.{kind}.png'):
        mapped(folder_frames(folder))


def test_every_epoch_sees_every_frame_once_in_another_order(folder: Path) -> None:
    loader = batches(folder_frames(folder))
    names = [name for step in range(10) for name in loader[step].names]
    epochs = [tuple(names[i:i + 5]) for i in range(0, 20, 5)]
    assert all(Counter(epoch) == Counter(epochs[0]) and len(set(epoch)) == 5 for epoch in epochs)
    assert len(set(epochs)) > 1


def test_batch_is_a_function_of_seed_and_step(folder: Path) -> None:
    frames = folder_frames(folder)
    one, two = batches(frames)[3], batches(mapped(frames))[3]
    assert one.names == two.names
    assert (one.rgb == two.rgb).all()
    assert (one.depth_m == two.depth_m).all()
    assert not (one.rgb == batches(frames)[4].rgb).all()
    assert not (one.rgb == batches(frames, seed=1)[3].rgb).all()


def test_loader_starts_at_any_step(folder: Path) -> None:
    source = batches(folder_frames(folder))
    loaded = list(train_loader(source, range(4, 6), workers=1))
    assert [batch.names for batch in loaded] == [source[4].names, source[5].names]
    assert (loaded[1].depth_m == source[5].depth_m).all()
    assert loaded[0].rgb.shape == (2, 32, 32, 3)
    assert loaded[0].labels.shape == (2, 32, 32)


def test_noise_is_added_to_exact_depth_only_and_repeats(tmp_path: Path) -> None:
    for i in range(2):
        write_frame(tmp_path / 'exact', i, exact=True)
        write_frame(tmp_path / 'measured', i)
    exact, measured = (mapped(folder_frames(tmp_path / name))
                       for name in ('exact', 'measured'))
    first, second = (list(held_out_samples(exact, label_space=NYU40, sensor='kinect_v1'))
                     for _ in range(2))
    assert all((a.depth_m == b.depth_m).all() for a, b in zip(first, second, strict=True))
    assert len(np.unique(first[0].depth_m)) > 3
    untouched = next(held_out_samples(measured, label_space=NYU40, sensor='kinect_v1'))
    assert set(np.unique(untouched.depth_m)) == {np.float32(0), np.float32(2)}


def test_held_out_frames_are_spread_and_keep_their_size(folder: Path) -> None:
    samples = list(held_out_samples(folder_frames(folder), label_space=NYU40, count=3,
                                    sensor='perfect'))
    assert [sample.labels[5, 5] for sample in samples] == [0, 2, 4]
    assert samples[0].rgb.shape == (32, 48, 3)


def test_labels_are_translated(folder: Path) -> None:
    samples = list(held_out_samples(folder_frames(folder), label_space=NYU13, sensor='perfect'))
    assert NYU13.names[samples[2].labels[5, 5]] == NYU40.parents['nyu13'][NYU40.names[2]]
    assert (samples[1].labels[:, :4] == 255).all()


def test_folders_of_the_settings_are_opened(folder: Path) -> None:
    data = DataConfig(source='dataset', path=str(folder), val_path='nowhere',
                      cache=str(folder.parent / 'cache'))
    assert len(open_frames(data, 'train')) == 5
    with pytest.raises(DiffPixelError, match='nowhere'):
        open_frames(data, 'val')
