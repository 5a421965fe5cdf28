# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The augmentation's contact sheet shows stored frames beside varied ones, in the right places."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from diffpixel_core.augment_sheet import draw_sheet, main
from diffpixel_core.config import load_config


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe without augmentation on two frames: one dark and near, one bright and far."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    for i, (level, depth_mm) in enumerate([(40, 1000), (200, 3000)]):
        labels = np.full((32, 48), i, np.uint8)
        labels[:, 24:] = 255
        depth = np.full((32, 48), depth_mm, np.uint16)
        depth[16:] = 0
        cv2.imwrite(str(folder / f'{i:06d}.color.png'), np.full((32, 48, 3), level, np.uint8))
        cv2.imwrite(str(folder / f'{i:06d}.depth.png'), depth)
        cv2.imwrite(str(folder / f'{i:06d}.label.png'), labels)
    config = tmp_path / 'recipe.yaml'
    config.write_text(yaml.safe_dump({
        'crop': [32, 48],
        'augment': {name: 0 for name in ('flip', 'jitter', 'grey', 'blur', 'noise', 'jpeg', 'holes',
                                         'depth_scale', 'drop_depth', 'drop_colour')}
        | {'scale': [1, 1], 'sensors': ['perfect']},
        'data': {'source': 'dataset', 'path': str(folder), 'train_split': 'all',
                 'in_memory': False}}))
    return config


def test_without_augmentation_every_column_is_the_stored_frame(recipe: Path) -> None:
    sheet = draw_sheet(load_config(recipe), frames=2, variants=3, width=48)
    assert sheet.shape == (2 * 3 * 32 + 6, 4 * 48, 3)
    columns = np.split(sheet, 4, axis=1)
    assert all((column == columns[0]).all() for column in columns[1:])
    for top, level in ((0, 40), (3 * 32 + 6, 200)):
        block = columns[0][top:top + 3 * 32]
        assert (block[:32] == level).all()
        assert block[32:48].any()  # measured
        assert not block[48:64].any()  # not measured: black
        assert (block[64:, 24:] == 255).all()  # unlabelled: white
        assert not (block[64:, 1:23] == 255).all()


def test_augmentation_is_seen(recipe: Path) -> None:
    config = load_config(recipe, ['--augment.jitter', '1', '--augment.drop_depth', '1'])
    sheet = draw_sheet(config, frames=1, variants=2, width=48)
    stored, one, two = np.split(sheet, 3, axis=1)
    assert (one[:32] != stored[:32]).any()
    assert (one[:32] != two[:32]).any()
    assert not one[32:64].any()


def test_picture_is_written_or_one_line_says_why_not(
        recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'sheet.png'
    assert main(['--config', str(recipe), '--output', str(file), '--frames', '9']) == 0
    assert cv2.imread(str(file)).shape[1] == 7 * 240
    assert capsys.readouterr().out == f'{file}\n'
    assert main(['--config', str(recipe), '--output', str(tmp_path / 'sheet.xyz')]) == 2
    assert '.xyz' in capsys.readouterr().err
    assert not (tmp_path / 'sheet.xyz').exists()
