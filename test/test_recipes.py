# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Named recipes: what they set, what overrides them, and the files in `training/`."""

from pathlib import Path

import pytest

from diffpixel_core.config import ConfigError, TrainConfig, load_config
from diffpixel_core.models import MODELS
from diffpixel_core.recipes import RECIPES, merged

TRAINING = Path(__file__).parents[1] / 'training'
BENCHMARKS = sorted([*TRAINING.glob('nyudv2_*.yaml'), *TRAINING.glob('sunrgbd_*.yaml')])


def empty(tmp_path: Path, text: str = '') -> Path:
    path = tmp_path / 'recipe.yaml'
    path.write_text(text)
    return path


def test_fixed_is_what_the_settings_default_to(tmp_path: Path) -> None:
    assert load_config(empty(tmp_path)) == TrainConfig()
    assert TrainConfig().recipe == 'fixed'


def test_published_recipes_say_what_was_published(tmp_path: Path) -> None:
    """Section IV-B of the paper; main.py of the published code."""
    paper = load_config(empty(tmp_path), ['--recipe', 'paper'])
    released = load_config(empty(tmp_path), ['--recipe', 'released'])
    assert (paper.optimiser.lr, paper.drop_path) == (2e-4, 0.4)
    assert (released.optimiser.lr, released.optimiser.schedule) == (6e-5, 'released')
    assert released.optimiser.ensemble_lr_factor == 0
    for config in (paper, released):
        assert config.optimiser.betas == (0.9, 0.999)
        assert config.optimiser.weight_decay == 0.01
        assert config.optimiser.head_lr_factor == 10
        assert config.optimiser.warmup == pytest.approx(0.0375)
        assert config.optimiser.power == 1
        assert (config.optimiser.ema, config.optimiser.clip_norm) == (0, 0)
        assert (config.epochs, config.batch, config.batch_norm) == (300, 16, 'frozen')
        assert (config.augment.scale, config.augment.flip) == ((0.5, 2.0), 0.5)
        assert (config.augment.jitter, config.augment.blur) == (0.2, 0.2)
        assert (config.augment.drop_depth, config.augment.holes, config.augment.jpeg) == (0, 0, 0)


def test_yaml_and_flags_override_a_recipe(tmp_path: Path) -> None:
    text = 'recipe: released\noptimiser:\n  lr: 1.0e-3\nepochs: 7\n'
    config = load_config(empty(tmp_path, text), ['--drop_path', '0.1'])
    assert (config.optimiser.lr, config.drop_path, config.epochs) == (1e-3, 0.1, 7)
    assert config.optimiser.schedule == 'released'
    assert load_config(empty(tmp_path, text), ['--recipe', 'paper']).optimiser.schedule == 'poly'


def test_length_on_the_command_line_replaces_the_other_kind(tmp_path: Path) -> None:
    path = empty(tmp_path, 'steps: 50\n')
    assert load_config(path).steps == 50
    assert load_config(path, ['--epochs', '2']).steps is None
    assert load_config(path, ['--epochs', '2', '--steps', '9']).steps == 9


def test_unknown_recipe_is_refused(tmp_path: Path) -> None:
    for text, flags in (('recipe: best\n', []), ('recipe: [1]\n', []), ('', ['--recipe', 'best'])):
        with pytest.raises(ConfigError, match='choose one of fixed, paper, released'):
            load_config(empty(tmp_path, text), flags)


def test_merging_keeps_what_is_left_open_and_changes_neither() -> None:
    below, above = {'a': 1, 'n': {'x': 1, 'y': 2}}, {'n': {'y': 3}, 'b': 4}
    assert merged(below, above) == {'a': 1, 'n': {'x': 1, 'y': 3}, 'b': 4}
    assert below == {'a': 1, 'n': {'x': 1, 'y': 2}}


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)
def test_benchmark_file_takes_every_recipe(path: Path, recipe: str) -> None:
    """It names data, model and machine only, so that a recipe on the command line is followed."""
    config = load_config(path, ['--recipe', recipe])
    plain = load_config(path)
    assert config.model in MODELS
    assert config.data == plain.data
    own = merged({'optimiser': {}}, RECIPES[recipe])
    assert config.batch == own.get('batch', TrainConfig().batch)
    assert config.optimiser.lr == own['optimiser'].get('lr', TrainConfig().optimiser.lr)
    assert config.crop == ((480, 640) if 'nyudv2' in path.stem else (480, 480))


def test_every_benchmark_has_three_sizes_with_figure_and_cost() -> None:
    for data in ('nyudv2', 'sunrgbd'):
        for size in 'sml':
            text = (TRAINING / f'{data}_{size}.yaml').read_text()
            assert f'model: diffpixelformer_{size}\n' in text
            assert 'Expected: the paper prints' in text
            assert 'Cost, computed:' in text
