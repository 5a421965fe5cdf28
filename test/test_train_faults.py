# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What ends a training run early is said in a line, and leaves something to go on from."""

import csv
import dataclasses
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from diffpixel_core.__main__ import main
from diffpixel_core.config import DataConfig, OptimiserConfig, TrainConfig
from diffpixel_core.datasets import Batch, DataError, TrainBatches
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.train import TrainError, train
from diffpixel_core.train.loading import take_parts
from diffpixel_core.train.log import TrainingLog
from diffpixel_core.train.record import plain
from diffpixel_core.train.step import Stepper
from diffpixel_core.whole_file import WriteError

ROW = {'loss': 1.0, 'loss_rgb': 0.5, 'loss_x': 0.5, 'lr': 0.1, 'gradient_norm': 2.0}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Return a folder of four frames."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        cv2.imwrite(str(folder / f'{i}.color.png'),
                    rng.integers(0, 256, (32, 48, 3)).astype(np.uint8))
        cv2.imwrite(str(folder / f'{i}.depth.png'),
                    rng.integers(500, 4000, (32, 48)).astype(np.uint16))
        cv2.imwrite(str(folder / f'{i}.label.png'),
                    rng.integers(0, 3, (32, 48)).astype(np.uint8))
    return folder


def tiny(frames: Path, output: Path, **changes: object) -> TrainConfig:
    data = DataConfig(source='dataset', path=str(frames), train_split='all', val_split='all',
                      in_memory=False)
    config = TrainConfig(model='diffpixelformer_t/baseline', output=str(output), crop=(32, 48),
                         batch=2, steps=2, workers=0, data=data, accelerator='cpu', log_every=1,
                         threads=1)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_file_ends_a_run_in_a_line_and_can_be_mended(
        frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    """All four frames come in the first two steps; a process of the loader says no more."""
    good = (frames / '1.label.png').read_bytes()
    (frames / '1.label.png').write_bytes(good[:20])
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(yaml.safe_dump(plain(tiny(frames, tmp_path / 'run', workers=workers))))
    assert main(['train', '--config', str(recipe)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f'diffpixel train: image {frames / "1.label.png"} is damaged')
    assert len(said) < 300 + 2 * len(str(tmp_path))
    assert '--resume true' in said
    done = torch.load(tmp_path / 'run' / 'last.ckpt', weights_only=True)['progress']['step']
    assert f'after step {done}' in said
    (frames / '1.label.png').write_bytes(good)
    assert main(['train', '--config', str(recipe), '--resume', 'true']) == 0


def test_a_run_asked_to_stop_has_the_exit_code_of_an_interruption(
        frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(yaml.safe_dump(plain(tiny(frames, tmp_path / 'run'))))
    original = TrainBatches.__getitem__

    def asked(batches: TrainBatches, number: int) -> Batch:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(batches, number)

    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, '__getitem__', asked)
        assert main(['train', '--config', str(recipe)]) == 130
    assert 'stopped after step 1; continue with --resume true' in capsys.readouterr().err
    assert main(['train', '--config', str(recipe), '--resume', 'true']) == 0


def test_too_little_memory_on_a_gpu_names_the_cure(frames: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """The error itself needs a GPU; what is said of it does not."""
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(Stepper, 'take', full)
    with pytest.raises(TrainError, match=r'not enough memory for 2 frames in 1 parts.*accumulate'):
        train(tiny(frames, tmp_path / 'run'))


def test_full_disk_says_from_where_to_go_on(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path / 'run', steps=1))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))
    try:
        with pytest.raises(TrainError, match=r'write .*best.*last checkpoint, after step 1'):
            train(tiny(frames, tmp_path / 'run', steps=3, resume=True, validate_every=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    train(tiny(frames, tmp_path / 'run', steps=3, resume=True))


def test_fault_comes_with_what_it_was_raised_with() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise DataError('a.png: 300x200')

    loaded = take_parts(broken(), 3)  # type: ignore[arg-type]
    assert loaded.parts == [1]
    assert loaded.fault == 'a.png: 300x200'
    assert take_parts(iter([1, 2]), 2).fault == ''  # type: ignore[arg-type]


def test_loss_that_is_not_finite_leaves_the_last_checkpoint(frames: Path, tmp_path: Path) -> None:
    wild = OptimiserConfig(lr=1e30, warmup=0.0, clip_norm=0.0)
    with pytest.raises(TrainError, match=r'\.color\.png.*no checkpoint was written yet'):
        train(tiny(frames, tmp_path / 'new', steps=50, optimiser=wild))
    train(tiny(frames, tmp_path / 'old', steps=1))
    before = (tmp_path / 'old' / 'last.ckpt').read_bytes()
    again = tiny(frames, tmp_path / 'old', steps=50, optimiser=wild, resume=True)
    with pytest.raises(TrainError, match=r'\.color\.png.*from the last checkpoint, after step 1$'):
        train(again)
    assert (tmp_path / 'old' / 'last.ckpt').read_bytes() == before


def test_resume_refuses_other_classes(frames: Path, tmp_path: Path) -> None:
    """A description of the data that was edited since: the head would not fit."""
    description = {'name': 'own', 'root': str(frames), 'colour': '{name}.color.png',
                   'depth': '{name}.depth.png', 'label': '{name}.label.png', 'depth_unit': 'mm',
                   'classes': ['a', 'b', 'c'],
                   'splits': {'train': '*.color.png', 'val': '*.color.png'}}
    file = tmp_path / 'own.yaml'
    file.write_text(yaml.safe_dump(description))
    config = tiny(file, tmp_path / 'run', steps=1)
    config = dataclasses.replace(config, data=dataclasses.replace(
        config.data, train_split='train', val_split='val'))
    train(config)
    file.write_text(yaml.safe_dump(description | {'classes': ['a', 'b', 'c', 'd']}))
    with pytest.raises(DiffPixelError, match=r'last\.ckpt does not fit.*head\.classify\.weight is '
                                             r'\(3, .*should be \(4, .*Resume with'):
        train(dataclasses.replace(config, steps=2, resume=True))


def test_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / 'metrics.csv').mkdir()
    with (pytest.raises(WriteError, match=r'cannot write .*metrics\.csv'),
          TrainingLog(tmp_path, step=0, total=2, every=1, epoch_steps=1)):
        pass


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_row_on_a_full_disk_is_said(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, step=0, total=2, every=1, epoch_steps=1) as log:
        with Path('/dev/full').open('wb') as full:
            os.dup2(full.fileno(), log._file.fileno())
        with pytest.raises(TrainError, match=r'No space left.*free some space'):
            log.step(1, ROW, images=1, waited_s=0.0, minutes=1.0, done=0.5)


def test_row_cut_short_is_dropped_when_the_run_goes_on(tmp_path: Path) -> None:
    """A full disk or a power cut left '12' of step 1234."""
    with TrainingLog(tmp_path, step=0, total=20, every=1, epoch_steps=1) as log:
        log.step(1, ROW, images=1, waited_s=0.0, minutes=1.0, done=0.1)
    file = tmp_path / 'metrics.csv'
    file.write_text(file.read_text() + '12')
    with TrainingLog(tmp_path, step=12, total=20, every=1, epoch_steps=1) as log:
        log.step(13, ROW, images=1, waited_s=0.0, minutes=1.0, done=0.1)
    with file.open(newline='') as table:
        assert [row['step'] for row in csv.DictReader(table)] == ['1', '13']


def test_scoring_is_no_part_of_the_speed(tmp_path: Path) -> None:
    """Also when a row is half full: 250 steps between scores are no multiple of 20."""
    scores = {'miou': 0.5, 'pixel_accuracy': 0.5}
    with TrainingLog(tmp_path, step=0, total=4, every=2, epoch_steps=1) as log:
        log.step(1, ROW, images=1, waited_s=0.0, minutes=1.0, done=0.2)
        time.sleep(0.5)
        log.scores(1, scores, minutes=1.0)
        log.step(2, ROW, images=1, waited_s=0.0, minutes=1.0, done=0.4)
    with (tmp_path / 'metrics.csv').open(newline='') as table:
        speed = [float(row['images_per_s']) for row in csv.DictReader(table) if row['loss']]
    assert speed[0] > 2 / 0.4  # else at most 2 images in 0.5 s


@pytest.mark.parametrize(('done', 'expected'), [(0.5, '30 min left'), (0.25, '1 h 30 min left'),
                                                (0.99, '18 s left')])
def test_time_left_is_that_of_the_whole_run(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                            done: float, expected: str) -> None:
    """Half an hour gone, earlier parts of the run included."""
    caplog.set_level('INFO')
    with TrainingLog(tmp_path, step=7, total=100, every=1, epoch_steps=1) as log:
        log.step(8, ROW, images=1, waited_s=0.0, minutes=30.0, done=done)
    assert expected in caplog.text


def test_failed_checkpoint_leaves_no_half_file(frames: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C while it is written."""
    train(tiny(frames, tmp_path / 'run', steps=1))
    before = (tmp_path / 'run' / 'last.ckpt').read_bytes()

    def interrupted(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(frames, tmp_path / 'run', resume=True))
    assert (tmp_path / 'run' / 'last.ckpt').read_bytes() == before
    assert not list((tmp_path / 'run').glob('*.tmp'))
