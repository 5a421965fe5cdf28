# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: YAML and flags override defaults; what is unknown or contradictory is refused."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from diffpixel_core.config import (
    AugmentConfig,
    ConfigError,
    DataConfig,
    Sensor,
    TrainConfig,
    load_config,
    load_data_config,
)
from diffpixel_core.synthetic.noise import SENSORS

RECIPES = sorted((Path(__file__).parents[1] / 'training').glob('*.yaml'))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / 'recipe.yaml'
    path.write_text('batch: 4\ncrop: [64, 96]\noptimiser:\n  lr: 1.0e-3\n')
    return path


def test_flags_override_yaml_and_yaml_overrides_defaults(recipe: Path) -> None:
    config = load_config(recipe, ['--batch', '2', '--data.val_sensor=realsense',
                                  '--max_minutes', '1.5'])
    assert config.batch == 2
    assert config.optimiser.lr == 1e-3
    assert config.crop == (64, 96)
    assert config.data.val_sensor == 'realsense'
    assert config.max_minutes == 1.5
    assert config.optimiser.betas == TrainConfig().optimiser.betas


@pytest.mark.parametrize(('flags', 'message'), [
    (['--optimiser.learning', '1'], "'optimiser.learning', which is no setting"),
    (['--optimizer.lr', '1'], "did you mean 'optimiser.lr'"),
    (['--batchs', '4'], "did you mean 'batch'"),
    (['--batch', 'many'], 'batch.*many'),
    (['--batch'], 'needs a value'),
    (['batch'], 'write --key value'),
    (['--precision', 'fp64'], 'precision'),
    (['--init_fresh', '[classifier]'], 'init_from, which is not given'),
    (['--init_from', 'x', '--init_fresh', '[neck]'], 'init_fresh.*classifier'),
    (['--data.val_seed', '1000'], 'training rooms'),
    (['--augment.flip', '1.5'], 'between 0 and 1'),
    (['--augment.drop_depth', '0.6', '--augment.drop_colour', '0.6'], 'exceed 1'),
    (['--label_space', 'nyu41'], 'nyu40'),
    (['--loss.stride', '2', '--crop', '[33, 64]'], 'multiple of loss.stride'),
    (['--data.source', 'dataset'], 'needs data.path'),
    (['--max_minutes', '0'], 'max_minutes'),
    (['--drop_path', '1'], 'drop_path'),
])
def test_wrong_flag_is_refused_in_one_line(recipe: Path, flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(recipe, flags)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(('text', 'message'), [
    ('optimiser:\n  weight_decai: 1\n', "did you mean 'optimiser.weight_decay'"),
    ('batch: [1', 'no YAML'),
    ('- batch\n', 'holds a list'),
    ('crop: 240\n', 'crop'),
])
def test_wrong_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(path)
    assert str(path) in str(raised.value)
    assert '\n' not in str(raised.value)


def test_missing_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'absent\.yaml cannot be read'):
        load_config(tmp_path / 'absent.yaml')


def test_empty_yaml_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / 'empty.yaml'
    path.write_text('')
    assert load_config(path) == TrainConfig()


def test_data_settings_come_alone_or_out_of_a_recipe(tmp_path: Path) -> None:
    alone, recipe = tmp_path / 'data.yaml', tmp_path / 'recipe.yaml'
    alone.write_text('val_count: 7\n')
    recipe.write_text('batch: 2\ndata:\n  val_count: 7\n')
    assert load_data_config(alone) == load_data_config(recipe) == DataConfig(val_count=7)
    with pytest.raises(ConfigError, match='val_count'):
        load_data_config(alone, ['--val_coun', '3'])


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_short_and_says_how_to_run_it(path: Path) -> None:
    load_config(path)
    lines = path.read_text().splitlines()
    assert len(lines) <= 30
    assert any(f'diffpixel train --config training/{path.name}' in line for line in lines[:5])


def test_there_is_a_recipe() -> None:
    assert RECIPES


def test_sensors_are_those_of_the_noise_models() -> None:
    assert get_args(Sensor) == SENSORS
    assert AugmentConfig().sensors == SENSORS


def test_settings_load_without_torch() -> None:
    code = ('import sys; from diffpixel_core.config import load_config; '
            f'load_config({str(RECIPES[0])!r}); sys.exit("torch" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
