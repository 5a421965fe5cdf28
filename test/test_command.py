# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one clear line for a mistake, and files that come back."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffpixel_core.__main__ import main
from diffpixel_core.bags import BagReader
from diffpixel_core.checkpoints import Manifest, save_model
from diffpixel_core.commands.outcome import write_text
from diffpixel_core.models import build_model
from diffpixel_core.rgbd_bags import COLOUR_TOPIC, DEPTH_TOPIC

ROOT = Path(__file__).parent.parent


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames as a camera tool writes them."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(3):
        colour = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        depth = draw.integers(500, 4000, (24, 32)).astype(np.uint16)
        cv2.imwrite(str(folder / f'{i:06d}.color.png'), colour)
        cv2.imwrite(str(folder / f'{i:06d}.depth.png'), depth)
    return folder


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail for a user's mistake; return what it said, one line."""
    try:
        code = main(arguments)
    except SystemExit as stop:  # argparse ends the process itself
        code = stop.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(('arguments', 'words'), [
    ((), 'COMMAND'),
    (('dance',), 'dance'),
    (('demo', '--rate', '0'), 'positive'),
    (('demo', '--rate', 'nan'), 'positive'),
    (('demo', '--frames', 'x'), '--depth-unit'),
    (('demo', '--depth-unit', 'mm'), '--frames'),
    (('demo', '--frames', 'x', '--bag', 'y'), 'not allowed'),
    (('demo', '--frames', 'x', '--depth-unit', 'cm'), 'm5000'),
    (('demo', '--bag', 'nowhere.mcap', '--model', 'nowhere'), 'no model'),
    (('demo', '--volume', '11'), '--volume'),
    (('predict', 'nowhere', 'a.png'), 'depth'),
    (('bag', '--frames', 'nowhere', '--depth-unit', 'mm', '--output', 'b'), 'nowhere'),
    (('synth', 'frames', '--count', '0', '--output', 'x'), 'positive'),
    (('synth', 'frames', '--size', '480', '--output', 'x'), 'HEIGHTxWIDTH'),
    (('train', '--config', 'nowhere.yaml'), 'nowhere.yaml'),
    (('predict', 'nowhere', 'a.png', 'b.png'), 'a.png'),
    (('evaluate', 'nowhere', '--data', 'nowhere.yaml'), 'nowhere.yaml'),
])
def test_a_mistake_is_one_line_that_names_it(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch,
                                             arguments: tuple[str, ...], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in mistake(capsys, *arguments)


def test_an_output_that_is_a_file_is_named(frames: Path, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    name = 'diffpixelformer_t/baseline'
    model = save_model(tmp_path / 'm', build_model(name, classes=40),
                       Manifest(name, 'nyu40', input_size=(32, 48)))
    (tmp_path / 'o').write_text('mine')
    said = mistake(capsys, 'demo', '--frames', str(frames), '--depth-unit', 'mm', '--model',
                   str(model), '--output', str(tmp_path / 'o'))
    assert str(tmp_path / 'o') in said
    assert (tmp_path / 'o').read_text() == 'mine'


def test_an_unknown_setting_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROOT / 'training/rooms_t.yaml')
    said = mistake(capsys, 'train', '--config', recipe, '--optimiser.learning_rate', '1')
    assert 'optimiser.learning_rate' in said


def test_a_bag_of_a_folder_holds_its_images(frames: Path, tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    for storage in ('mcap', 'sqlite3'):
        bag = tmp_path / storage
        assert main(['bag', '--frames', str(frames), '--depth-unit', 'mm', '--fps', '10',
                     '--storage', storage, '--output', str(bag)]) == 0
        assert '3 frames at 10 Hz' in capsys.readouterr().out
        with BagReader(bag) as reader:
            for topic, suffix in ((COLOUR_TOPIC, 'color'), (DEPTH_TOPIC, 'depth')):
                for i, message in enumerate(reader.messages([topic])):
                    stored = cv2.imread(str(frames / f'{i:06d}.{suffix}.png'), -1)
                    stored = stored[..., ::-1] if stored.ndim == 3 else stored
                    assert bytes(reader.decode(message).data) == stored.tobytes()


def test_an_existing_bag_is_not_overwritten(frames: Path, capsys: pytest.CaptureFixture[str],
                                            tmp_path: Path) -> None:
    arguments = ('bag', '--frames', str(frames), '--depth-unit', 'mm',
                 '--output', str(tmp_path / 'b'))
    assert main(arguments) == 0
    capsys.readouterr()
    assert 'exists' in mistake(capsys, *arguments)


def test_damaged_and_mismatched_images_are_named(frames: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ('bag', '--frames', str(frames), '--depth-unit', 'mm',
                 '--output', str(tmp_path / 'b'))
    damaged = frames / '000001.color.png'
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert '000001.color.png' in mistake(capsys, *arguments)
    cv2.imwrite(str(damaged), np.zeros((12, 16, 3), np.uint8))
    assert '000001' in mistake(capsys, *arguments)
    damaged.unlink()
    assert '000001' in mistake(capsys, *arguments)
    assert not (tmp_path / 'b').exists()


def test_predict_writes_labels_of_the_images_size(frames: Path, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    name = 'diffpixelformer_t/baseline'
    model = save_model(tmp_path / 'm', build_model(name, classes=40),
                       Manifest(name, 'nyu40', input_size=(32, 48)))
    assert main(['predict', str(model), str(frames / '000000.color.png'),
                 str(frames / '000000.depth.png'), '--engine', 'torch',
                 '--output', str(tmp_path / 'p')]) == 0
    files = capsys.readouterr().out.split()
    assert [Path(file).name.split('.')[-2] for file in files] == ['labels', 'confidence', 'colour',
                                                                  'overlay']
    labels = cv2.imread(files[0], -1)
    assert labels.shape == (24, 32)
    assert labels.max() < 40


def test_synth_writes_a_folder_that_bag_reads(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('embreex')
    out = tmp_path / 'walk'
    assert main(['synth', 'walk', '--count', '2', '--size', '48x64', '--workers', '1',
                 '--output', str(out)]) == 0
    assert main(['bag', '--frames', str(out), '--depth-unit', 'mm',
                 '--output', str(tmp_path / 'b')]) == 0
    assert json.loads((out / 'synth.json').read_text())['sensor'] == 'kinect_v1'
    with BagReader(tmp_path / 'b') as reader:
        assert reader.topics['/ground_truth/semantic'].count == 2


def test_both_names_of_the_command_are_one(tmp_path: Path) -> None:
    out = subprocess.run([sys.executable, '-m', 'diffpixel_core', '--help'], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout
    assert out.startswith('usage: diffpixel ')
    for command in ('demo', 'synth', 'bag', 'train', 'evaluate', 'predict'):
        assert f'\n    {command} ' in out


def test_info_goes_to_the_screen_to_json_and_to_a_file(tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', 'rooms_t']) == 0
    assert '6,637,738' in capsys.readouterr().out
    assert main(['info', 'diffpixelformer_t', '--classes', '20', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row['parameters'] for row in found['models']] == [6_632_598]
    assert main(['info', 'diffpixelformer_t', '--size', '530x730', '--json',
                 str(tmp_path / 'x.json')]) == 0
    assert json.loads((tmp_path / 'x.json').read_text())['models'][0]['size'] == [530, 730]
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(('arguments', 'words'), [
    (('info', 'diffpixelformer_x'), 'did you mean'),
    (('info', 'rooms_t', '--classes', '13'), 'leave --classes out'),
    (('info', '--size', '8x8'), '32x32'),
    (('convert', 'nowhere.pth', '--from', 'diffpixelformer', '--model', 'diffpixelformer_t',
      '--classes', '40', '--output', 'x'), 'no file at'),
    (('convert', 'nowhere.pth', '--from', 'keras', '--model', 'diffpixelformer_t', '--classes',
      '40', '--output', 'x'), 'segformer'),
])
def test_mistakes_about_networks_are_named(arguments: tuple[str, ...], words: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    assert words in mistake(capsys, *arguments)


def test_figures_go_into_a_pipe_and_through_a_link(tmp_path: Path) -> None:
    """Neither of them may be replaced by a file."""
    pipe, link, file = tmp_path / 'pipe', tmp_path / 'link', tmp_path / 'file'
    os.mkfifo(pipe)
    link.symlink_to(file)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        write_text(pipe, 'figures')
        assert read.result(timeout=10) == 'figures'
    write_text(link, 'figures')
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert file.read_text() == 'figures'
