# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate over a run: it leaves warm-up, spans the run and reaches its end."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from diffpixel_core.__main__ import main
from diffpixel_core.config import OptimiserConfig, TrainConfig, load_config
from diffpixel_core.recipes import RECIPES
from diffpixel_core.train import TrainError
from diffpixel_core.train.plan import plan_run, save_picture
from diffpixel_core.train.schedule import lr_factor, total_steps


def recipe(tmp_path: Path, name: str) -> TrainConfig:
    path = tmp_path / 'recipe.yaml'
    path.write_text('data:\n  train_count: 795\n')
    return load_config(path, ['--recipe', name])


@pytest.mark.parametrize('schedule', ['poly', 'cosine'])
def test_rate_rises_once_and_falls_to_the_end(schedule: Literal['poly', 'cosine']) -> None:
    settings = OptimiserConfig(warmup=0.1, schedule=schedule)
    trace = np.array([lr_factor(p, settings) for p in np.linspace(0, 1, 101)])
    assert trace[0] == 0
    assert trace.argmax() == 10
    assert trace[10] == pytest.approx(1)
    assert (np.diff(trace[10:]) < 0).all()
    assert trace[-1] == pytest.approx(0, abs=1e-9)


def test_released_rate_by_a_slow_loop() -> None:
    """Three stages of equal length at 1, 1/2, 1/4; in each a line up and a line down to 0."""
    settings = OptimiserConfig(warmup=0.25, schedule='released', power=1.0)
    steps = 12  # per stage: 3 of warm-up, 9 down
    expected = [peak * (i / 3 if i < 3 else 1 - (i - 3) / 9)
                for peak in (1, 0.5, 0.25) for i in range(steps)]
    found = [lr_factor(i / (3 * steps), settings) for i in range(3 * steps)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert lr_factor(1.0, settings) == 0


@pytest.mark.parametrize('schedule', ['poly', 'cosine', 'released'])
def test_a_floor_is_where_the_rate_ends(schedule: Literal['poly', 'cosine', 'released']) -> None:
    settings = OptimiserConfig(schedule=schedule, final_lr_fraction=0.1)
    end = 0.025 if schedule == 'released' else 0.1  # of the last stage's peak
    assert lr_factor(1.0, settings) == pytest.approx(end)
    assert lr_factor(7.0, settings) == lr_factor(1.0, settings)


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize(('frames', 'batch'), [(795, 16), (795, 80), (5285, 16), (40, 16)])
def test_every_recipe_leaves_warm_up_and_reaches_its_end(tmp_path: Path, name: str, frames: int,
                                                         batch: int) -> None:
    """Whatever the length; the published command for B1, 80 frames a step, never does."""
    config = recipe(tmp_path, name)
    config = dataclasses.replace(config, batch=batch, data=dataclasses.replace(
        config.data, train_count=frames))
    plan = plan_run(config)
    settings, trace = config.optimiser, np.array(plan.factors)
    assert len(trace) == plan.steps == -(-300 * frames // batch)
    stages = 3 if settings.schedule == 'released' else 1
    for stage, part in enumerate(np.array_split(trace, stages)):
        assert part.max() == pytest.approx(0.5 ** stage, rel=0.01)
        assert abs(part.argmax() / len(part) - settings.warmup) < 2 / len(part)
        assert part[-1] < 0.01 * 0.5 ** stage
    assert plan.warmups[0] == trace.argmax()
    assert len(plan.warmups) == stages
    assert [trace[step] for step in plan.warmups] == pytest.approx(
        [0.5 ** stage for stage in range(stages)], rel=0.01)


def test_length_is_steps_or_epochs() -> None:
    assert total_steps(TrainConfig(epochs=3.0, batch=4), 10) == 8  # 30 frames in 7.5 steps
    assert total_steps(TrainConfig(epochs=0.01, batch=4), 10) == 1
    assert total_steps(TrainConfig(steps=5), 10) == 5


def test_plan_is_printed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / 'recipe.yaml', tmp_path / 'lr.png'
    path.write_text('data:\n  train_count: 795\n')
    assert main(['train', '--recipe', 'released', '--config', str(path), '--epochs', '30',
                 '--plan', '--plan-picture', str(picture)]) == 0
    text = capsys.readouterr().out
    assert 'recipe released: diffpixelformer_t, 32-true' in text
    assert '1491 steps of 16 frames = 30.0 epochs of 795 frames' in text
    assert 'released in 3 stages, warm-up ends at step 19, 516, 1013 (1.3 % of the run)' in text
    assert '2 parameters of the ensemble, peak 0.0e+00, decay 0\n' in text
    assert picture.read_bytes().startswith(b'\x89PNG')
    drawing = plan_run(recipe(tmp_path, 'paper')).picture('svg')
    assert b'<svg' in drawing
    with pytest.raises(TrainError, match=r'name it \*\.png or \*\.svg'):
        save_picture(plan_run(recipe(tmp_path, 'paper')), tmp_path / 'lr.jpg')
