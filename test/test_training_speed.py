# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Training speed: a slow loader is found out, a fast one is cleared, mistakes are one line."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from diffpixel_core.config import DataConfig, LossConfig, OptimiserConfig, TrainConfig
from diffpixel_core.datasets import LabelledFrame
from diffpixel_core.geometry import NYU_CAMERA, Camera
from diffpixel_core.labels import load_label_space
from diffpixel_core.training_speed.__main__ import main
from diffpixel_core.training_speed.measure import (
    Speed,
    describe_speed,
    measure_speed,
    write_figures,
)
from diffpixel_core.whole_file import WriteError


class MadeFrames:
    """Frames of one colour that take their time."""

    def __init__(self, seconds: float) -> None:
        self.label_space = load_label_space('nyu13')
        self.names: Sequence[str] = [f'{i}.png' for i in range(4)]
        self.cameras: Sequence[str] = [''] * 4
        self._seconds = seconds

    def __len__(self) -> int:
        """Return the number of frames."""
        return 4

    def __getitem__(self, index: int) -> LabelledFrame:
        """Return a frame after a while."""
        time.sleep(self._seconds)
        return LabelledFrame(self.names[index], np.full((32, 48, 3), 99, np.uint8),
                             np.full((32, 48), 2, np.float32),
                             np.full((32, 48), index, np.uint8), None)

    def camera(self, frame: LabelledFrame) -> Camera:
        return NYU_CAMERA.resized(*frame.labels.shape[::-1])


def tiny(**changes: object) -> TrainConfig:
    config = TrainConfig(model='diffpixelformer_t/baseline', crop=(32, 48), batch=2, workers=0,
                         accelerator='cpu', threads=1, loss=LossConfig(stride=2),
                         optimiser=OptimiserConfig(ema=0.9),
                         data=DataConfig(source='dataset', path='made'))
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def some_speed(**changes: object) -> Speed:
    speed = Speed(device='cpu', threads=1, cpus=8, torch='2', model='m', precision='32-true',
                  batch=2, size=(32, 48), workers=1, steps=2, pipeline=9.8, plain=10.0, ratio=0.98,
                  ratios=(0.97, 0.98, 0.99), waiting=0.01, loader={0: 8.0, 1: 11.0, 2: 20.0})
    return dataclasses.replace(speed, **changes)  # type: ignore[arg-type]


def test_slow_loader_is_found_out() -> None:
    speed = measure_speed(tiny(), MadeFrames(0.1), steps=2, rounds=1, workers=(0,))
    assert speed.pipeline < 10  # a frame takes 0.1 s to load
    assert 4 < speed.loader[0] < 10
    assert speed.waiting > 0.3
    assert speed.ratio < 0.8
    assert 'is the bottleneck' in speed.verdict


def test_processes_of_the_loader_work_while_the_network_does() -> None:
    speed = measure_speed(tiny(accumulate=2, workers=1), MadeFrames(0.002), steps=2, rounds=1,
                          workers=(1,))
    assert speed.waiting < 0.5
    assert len(speed.ratios) == 1
    assert speed.plain > 0
    assert (speed.batch, speed.size, speed.workers, speed.threads) == (2, (32, 48), 1, 1)


def test_verdict_names_enough_processes() -> None:
    assert 'not the bottleneck' in some_speed().verdict
    assert '--workers 2 would do' in some_speed(waiting=0.3, ratio=0.7).verdict
    assert 'no number of workers' in some_speed(waiting=0.3, loader={0: 5.0}).verdict
    assert '20%' in some_speed(ratio=0.8).verdict


def test_figures_state_what_was_measured(tmp_path: Path) -> None:
    text = describe_speed(some_speed())
    for part in ('batch 2 of 32x48', '1 threads of 8 CPUs', 'ratio 0.980', '2: 20.0'):
        assert part in text
    write_figures(some_speed(), tmp_path / 'speed.json')
    rows = json.loads((tmp_path / 'speed.json').read_text())
    assert rows['ratio'] == 0.98
    assert rows['loader'] == {'0': 8.0, '1': 11.0, '2': 20.0}
    assert 'bottleneck' in rows['verdict']
    with pytest.raises(WriteError, match='cannot write'):
        write_figures(some_speed(), tmp_path / 'speed.json' / 'below')


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--config', str(tmp_path / 'none.yaml')]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'none.yaml' in error
