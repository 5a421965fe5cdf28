# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The official NYUDv2 file becomes folders; damaged, foreign and interrupted ones are told."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diffpixel_core.__main__ import main
from diffpixel_core.datasets import FileFrames, describe
from diffpixel_core.labels import load_label_space
from diffpixel_core.prepare import PrepareError, prepare_nyudv2
from diffpixel_core.prepare.nyudv2 import nyudv2_facts

h5py = pytest.importorskip('h5py')
WIDTH, HEIGHT = 32, 24


def write_mat(path: Path, *, frames: int = 4, names: list[str] | None = None,
              skip: str = '', **replaced: Any) -> dict[str, Any]:
    """Write a file as MATLAB does: axes reversed, text as characters behind references."""
    rng = np.random.default_rng(0)
    arrays = {'images': rng.integers(0, 256, (frames, 3, WIDTH, HEIGHT), dtype=np.uint8),
              'depths': rng.uniform(0.7, 9.9, (frames, WIDTH, HEIGHT)).astype(np.float32),
              'rawDepths': rng.uniform(0.7, 9.9, (frames, WIDTH, HEIGHT)).astype(np.float32),
              'labels': rng.integers(0, 895, (frames, WIDTH, HEIGHT)).astype(np.uint16), **replaced}
    arrays['rawDepths'][:, :4] = 0
    arrays.pop(skip, None)
    with h5py.File(path, 'w') as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, chunks=True, compression='gzip')
        if names is not None:
            cells = file.create_dataset('names', (1, len(names)), h5py.ref_dtype)
            for i, name in enumerate(names):
                text = file.create_dataset(f'#refs#/n{i}',
                                           data=np.array([[ord(c)] for c in name], np.uint16))
                cells[0, i] = text.ref
    return arrays


def official_names() -> list[str]:
    names = [f'thing {i}' for i in range(1, 895)]
    for name, i in nyudv2_facts().anchors.items():
        names[i - 1] = name
    return names


def image(path: Path) -> Any:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found


def test_official_split_and_classes() -> None:
    facts = nyudv2_facts()
    assert len(facts.test) == 654
    assert facts.frames - len(facts.test) == 795
    assert 1 <= min(facts.test) <= max(facts.test) <= 1449
    assert {1, 433} <= facts.test
    counts = Counter(facts.to_40[1:].tolist())
    assert facts.to_40[0] == 0
    assert len(facts.to_40) == 895
    assert all(counts[i] == 1 for i in range(1, 38))  # a name of their own among the 894
    assert [counts[i] for i in (38, 39, 40)] == [68, 82, 707]
    names = load_label_space('nyu40').names
    assert {names[facts.to_40[i] - 1] for i in facts.anchors.values()} == set(names[:37])


def test_frames_equal_the_file(tmp_path: Path) -> None:
    arrays = write_mat(tmp_path / 'nyu.mat', names=official_names())
    done = prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out')
    assert (done.train, done.test) == (2, 2)
    assert (tmp_path / 'out/test.txt').read_text() == '0001\n0002\n'
    assert (tmp_path / 'out/train.txt').read_text() == '0003\n0004\n'
    facts = nyudv2_facts()
    for number, split in ((1, 'test'), (2, 'test'), (3, 'train'), (4, 'train')):
        folder, i, name = tmp_path / 'out' / split, number - 1, f'{number:04d}.png'
        rgb = image(folder / 'rgb' / name)[..., ::-1]
        depth, raw = image(folder / 'depth' / name), image(folder / 'depth_raw' / name)
        labels = image(folder / 'labels_40' / name)
        assert depth.dtype == raw.dtype == np.uint16
        assert labels.dtype == np.uint8
        for y, x in ((0, 0), (5, 17), (23, 31)):
            assert rgb[y, x].tolist() == arrays['images'][i, :, x, y].tolist()
            assert depth[y, x] == round(float(arrays['depths'][i, x, y]) * 1000)
            assert raw[y, x] == round(float(arrays['rawDepths'][i, x, y]) * 1000)
            assert labels[y, x] == facts.to_40[arrays['labels'][i, x, y]]
        assert (raw[:, :4] == 0).all()
        assert (raw[:, 4:] > 0).all()


def test_interrupted_run_is_completed_and_nothing_is_half_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mat(tmp_path / 'nyu.mat')
    written: list[str] = []

    def encode(suffix: str, *arguments: Any) -> Any:
        written.append(suffix)
        if len(written) == 6:  # in the middle of the second frame
            raise KeyboardInterrupt
        return real(suffix, *arguments)

    real = cv2.imencode
    monkeypatch.setattr(cv2, 'imencode', encode)
    with pytest.raises(KeyboardInterrupt):
        prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    first = tmp_path / 'out.partial/test/rgb/0001.png'
    before = first.stat().st_mtime_ns
    assert prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out').test == 2
    assert len(written) == 6 + 12  # three frames of four images
    assert (tmp_path / 'out/test/rgb/0001.png').stat().st_mtime_ns == before
    assert not (tmp_path / 'out.partial').exists()
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 16
    assert not list((tmp_path / 'out').rglob('.writing-*'))
    assert prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out').was_there
    assert len(written) == 18


def test_output_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path / 'nyu.mat')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.txt').write_text('mine')
    with pytest.raises(PrepareError, match='out is there already'):
        prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out')
    prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'other')
    write_mat(tmp_path / 'nyu.mat', frames=3)
    with pytest.raises(PrepareError, match='other is there already'):
        prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'other')


def test_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    mat, out = tmp_path / 'nyu.mat', tmp_path / 'out'
    with pytest.raises(PrepareError, match=r'cannot read .*No such file'):
        prepare_nyudv2(mat, out)
    mat.write_bytes(b'<!DOCTYPE html><html>404</html>')
    with pytest.raises(PrepareError, match='web page'):
        prepare_nyudv2(mat, out)
    mat.write_bytes(b'MATLAB 5.0 MAT-file, Platform: GLNXA64' + bytes(600))
    with pytest.raises(PrepareError, match=r'no MATLAB 7\.3 file'):
        prepare_nyudv2(mat, out)
    write_mat(mat)
    whole = mat.read_bytes()
    mat.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(PrepareError, match='cut short or damaged'):
        prepare_nyudv2(mat, out)
    write_mat(mat, skip='rawDepths')
    with pytest.raises(PrepareError, match='has no rawDepths'):
        prepare_nyudv2(mat, out)
    write_mat(mat, labels=np.full((4, WIDTH, HEIGHT), 895, np.uint16))
    with pytest.raises(PrepareError, match=r'frame 1 of .* holds label 895'):
        prepare_nyudv2(mat, out)
    write_mat(mat, images=np.zeros((4, 3, HEIGHT, WIDTH), np.uint8))
    with pytest.raises(PrepareError, match='images 4x3x24x32'):
        prepare_nyudv2(mat, out)
    write_mat(mat, names=sorted(official_names()))
    with pytest.raises(PrepareError, match='classes in another order'):
        prepare_nyudv2(mat, tmp_path / 'other')
    assert not out.exists()


def test_damage_inside_names_the_frame(tmp_path: Path) -> None:
    mat = tmp_path / 'nyu.mat'
    write_mat(mat)
    with h5py.File(mat) as file:
        chunks = [file['depths'].id.get_chunk_info(i)
                  for i in range(file['depths'].id.get_num_chunks())]
    last = max((chunk for chunk in chunks), key=lambda chunk: chunk.chunk_offset)
    content = bytearray(mat.read_bytes())
    content[last.byte_offset:last.byte_offset + last.size] = bytes(last.size)
    mat.write_bytes(content)
    with pytest.raises(PrepareError, match=r'nyu\.mat is damaged at frame \d'):
        prepare_nyudv2(mat, tmp_path / 'out')


def test_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_mat(tmp_path / 'nyu.mat')
    code = ('import resource, signal, sys\n'
            'from pathlib import Path\n'
            'from diffpixel_core.prepare import prepare_nyudv2\n'
            'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n'
            'prepare_nyudv2(Path(sys.argv[1]), Path(sys.argv[2]))')
    done = subprocess.run([sys.executable, '-c', code, tmp_path / 'nyu.mat', tmp_path / 'out'],
                          capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert 'PrepareError: cannot write' in done.stderr.splitlines()[-1]
    assert 'goes on where it stopped' in done.stderr.splitlines()[-1]
    assert not (tmp_path / 'out').exists()
    assert not list(tmp_path.rglob('.writing-*'))


def test_output_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    write_mat(tmp_path / 'nyu.mat')
    (tmp_path / 'file').write_text('')
    with pytest.raises(PrepareError, match=r'cannot write .*choose another --output'):
        prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'file/out')


def test_result_is_read_as_a_data_set(tmp_path: Path) -> None:
    write_mat(tmp_path / 'nyu.mat')
    prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out')
    for raw_depth, holes in ((False, False), (True, True)):
        description = describe(tmp_path / 'out', raw_depth=raw_depth)
        assert (description.layout, description.depth_unit) == ('esanet', 'mm')
        assert [file.name for file in description.splits['train']] == ['0003', '0004']
        assert [file.name for file in description.splits['test']] == ['0001', '0002']
        frame = FileFrames(description, 'train')[0]
        assert bool((frame.depth_m == 0).any()) is holes


def test_missing_h5py_says_what_to_install(tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(PrepareError, match=r"pip install 'diffpixel_ros\[data\]'"):
        prepare_nyudv2(tmp_path / 'nyu.mat', tmp_path / 'out')


def test_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mat(tmp_path / 'nyu.mat')
    assert main(['prepare', 'nyudv2', str(tmp_path / 'nyu.mat')]) == 0
    assert '2 training and 2 test frames' in capsys.readouterr().out
    record = json.loads((tmp_path / 'nyudv2/prepared.json').read_text())
    assert record['train'] == record['test'] == 2
    assert main(['prepare', 'nyudv2', str(tmp_path / 'nothing.mat')]) == 2
    assert 'nothing.mat' in capsys.readouterr().err
