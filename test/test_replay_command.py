# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel replay`: many bags, one report; whoever replays them, whatever goes wrong."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_replay import (
    CAMERA,
    ROOT,
    assert_equal_images,
    images,
    moved,
    rewritten,
    samples,
)

from diffpixel_core.__main__ import main
from diffpixel_core.bags import BagError, BagReader
from diffpixel_core.replay.run import run_replay
from diffpixel_core.replay.settings import ReplayError, ReplaySettings
from diffpixel_core.replay.spread import BagRun, Job, Report, run_here, run_in_processes, run_on_ray
from diffpixel_core.rgbd_bags import write_rgbd_bag
from diffpixel_core.rgbd_topics import TRUTH_TOPIC
from diffpixel_core.tiny_model import save_tiny_model


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bags') / 'walk.mcap'
    write_rgbd_bag(path, samples(), CAMERA)
    return path


# Many bags.

def using(model: Path) -> list[str]:
    """Return the options for a model that needs no conversion."""
    return ['--model', str(model), '--engine', 'torch']


def silent(index: int, done: int, total: int) -> None:
    """Report no progress."""


def jobs_for(bags: Sequence[Path], model: Path, folder: Path) -> list[Job]:
    folder.mkdir()
    settings = ReplaySettings(str(model), 'torch', device='cpu')
    return [Job(i, bag, settings, folder / f'{i}.mcap') for i, bag in enumerate(bags)]


def test_processes_give_what_one_does_and_survive_a_worker_that_dies(
        bag: Path, model: Path, tmp_path: Path) -> None:
    shutil.copy(bag, tmp_path / 'second.mcap')
    long = tmp_path / 'long.mcap'  # not done before it can be killed
    write_rgbd_bag(long, samples(200), CAMERA)
    bags = [long, tmp_path / 'gone.mcap', tmp_path / 'second.mcap', bag]
    killed: list[int] = []

    def kill_first(index: int, done: int, total: int) -> None:
        if index == 0 and not killed:
            victim = next(child for child in multiprocessing.active_children()
                          if child.name == 'diffpixel_replay-0')
            assert victim.pid is not None
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)
            time.sleep(0.2)

    here = {run.index: run for run in run_here(jobs_for(bags, model, tmp_path / 'a'), silent)}
    there = {run.index: run for run in run_in_processes(
        jobs_for(bags, model, tmp_path / 'b'), kill_first, workers=2)}
    assert sorted(here) == sorted(there) == [0, 1, 2, 3]
    assert killed
    assert f'{long}: the process that replayed it was ended by signal 9 (SIGKILL)' \
        in there[0].failure
    assert 'gone.mcap' in there[1].failure
    assert here[1].failure == there[1].failure
    for index in (2, 3):
        assert there[index].failure == ''
        assert_equal_images(images(tmp_path / 'b' / f'{index}.mcap'),
                            images(tmp_path / 'a' / f'{index}.mcap'))
    assert not multiprocessing.active_children()


def test_ray_spreads_bags_and_brings_everything_back(bag: Path, model: Path,
                                                     tmp_path: Path) -> None:
    pytest.importorskip('ray')
    bags = [bag, tmp_path / 'gone.mcap', bag]
    runs = {run.index: run for run in run_on_ray(jobs_for(bags, model, tmp_path / 'a'), silent,
                                                 address='local')}
    here = {run.index: run for run in run_here(jobs_for(bags, model, tmp_path / 'b'), silent)}
    assert sorted(runs) == [0, 1, 2]
    assert 'gone.mcap' in runs[1].failure
    for index in (0, 2):
        found, wanted = runs[index].tally, here[index].tally
        assert found is not None
        assert wanted is not None
        np.testing.assert_array_equal(found.confusion, wanted.confusion)
        assert_equal_images(images(tmp_path / 'a' / f'{index}.mcap'),
                            images(tmp_path / 'b' / f'{index}.mcap'))


def test_without_ray_the_command_says_what_to_install(bag: Path, model: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert main(['replay', str(bag), *using(model), '--ray', 'auto',
                 '--output', str(tmp_path / 'out')]) == 2
    assert "pip install 'diffpixel_ros[ray]'" in capsys.readouterr().err


# The command.

def test_the_command_writes_report_figures_and_predictions(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(bag, tmp_path / 'walk.mcap')
    out = tmp_path / 'out'
    (out / 'predictions').mkdir(parents=True)
    (out / 'predictions' / 'walk.mcap').write_text('of an earlier replay')
    assert main(['replay', str(bag), str(tmp_path / 'walk.mcap'), *using(model),
                 '--output', str(out), '--json']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((out / 'metrics.json').read_text())
    assert (figures['frames_in'], figures['pairs'], figures['frames_out']) == (8, 8, 8)
    assert [row['frames_out'] for row in figures['bags']] == [4, 4]
    assert figures['passed']
    assert figures['miou'] == figures['bags'][0]['miou'] is not None
    assert figures['latency_ms'].keys() == {'read', 'decode', 'network', 'tail', 'total'}
    assert sorted(path.name for path in out.rglob('*') if path.is_file()) == [
        'frames.csv', 'metrics.json', 'report.html', 'walk-2.mcap', 'walk.mcap']
    assert_equal_images(images(out / 'predictions' / 'walk.mcap'),
                        images(out / 'predictions' / 'walk-2.mcap'))
    with (out / 'frames.csv').open() as file:
        assert len(list(csv.DictReader(file))) == 8
    page = (out / 'report.html').read_text()
    for words in ('Replay of 2 bags', 'Bag by bag', 'Latency by stage', 'Pairing', 'Flicker',
                  'The worst frames of each bag', 'Class by class', 'all 2 checks passed'):
        assert words in page, words


def test_one_bag_that_fails_is_named_and_the_others_are_kept(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture) -> None:
    damaged = tmp_path / 'damaged.mcap'
    damaged.write_bytes(bag.read_bytes()[:5000])
    out = tmp_path / 'out'
    assert main(['replay', str(damaged), str(bag), *using(model),
                 '--output', str(out)]) == 2
    shown = capsys.readouterr()
    last = shown.err.strip().splitlines()[-1]
    assert last.startswith('diffpixel replay: 1 of 2 bags could not be replayed')
    assert last.count('damaged') == 1
    assert sum('damaged.mcap' in record.message for record in caplog.records) == 1, 'told once'
    assert 'walk ' in shown.out
    assert [path.name for path in (out / 'predictions').iterdir()] == ['walk.mcap']
    assert 'damaged: failed' in (out / 'report.html').read_text()
    figures = json.loads((out / 'metrics.json').read_text())
    assert figures['frames_out'] == 4
    assert figures['failed'][0]['bag'] == str(damaged)


def test_truth_that_was_asked_for_but_never_fits_is_an_error(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = rewritten(bag, tmp_path / 'late.mcap', lambda topic, message: moved(message, 10**9 * 60)
                     if topic == TRUTH_TOPIC else message)
    command = ['replay', str(late), *using(model), '--output', str(tmp_path / 'out')]
    assert main([*command, '--truth', TRUTH_TOPIC]) == 2
    assert 'none of the 4 label images of /ground_truth/semantic' in capsys.readouterr().err
    assert (tmp_path / 'out' / 'report.html').exists()
    assert main(command) == 0, 'a bag that merely has such a topic is no mistake of the user'
    assert '1 of 2 checks failed' in (tmp_path / 'out' / 'report.html').read_text()


@pytest.mark.parametrize('options', [
    ['--rate', '2'], ['--loop', '2'], ['--live', '--stride', '2'], ['--live', '--workers', '2'],
    ['--ray', 'auto', '--workers', '2'], ['--sync-slop', '-1'], ['--truth-space', 'nyu41'],
    ['--model', 'nowhere'], ['--truth', 'nowhere'], ['--rgb-topic', '/a']])
def test_mistakes_are_one_line_and_leave_no_report(
        bag: Path, model: Path, tmp_path: Path, options: list[str],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['replay', str(bag), *using(model), '--output', str(tmp_path / 'out'),
                 *options]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith('diffpixel replay: ')
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


@pytest.mark.parametrize('workers', [1, 2])
def test_ctrl_c_ends_cleanly_and_leaves_nothing_half_written(model: Path, tmp_path: Path,
                                                             workers: int) -> None:
    write_rgbd_bag(tmp_path / 'long.mcap', samples(3000), CAMERA)
    bags = [tmp_path / 'long.mcap', tmp_path / 'longer.mcap'][:workers]
    for bag in bags[1:]:
        shutil.copy(bags[0], bag)
    out = tmp_path / 'out'
    process = subprocess.Popen(
        [sys.executable, '-c', 'import sys; from diffpixel_core.__main__ import main; '
         'code = main(); assert "rclpy" not in sys.modules; sys.exit(code)',
         'replay', *map(str, bags), '--workers', str(workers),
         *using(model), '--output', str(out)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell that runs the tests in the background may ignore it for all of them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    deadline = time.monotonic() + 60
    while len(list(out.glob('.replay*/.long*'))) < workers and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == 'diffpixel replay: interrupted'
    assert [path for path in out.rglob('*') if path != out / 'predictions'] == []


def test_bags_that_ended_before_an_interruption_keep_their_results(
        bag: Path, model: Path, tmp_path: Path) -> None:
    def runner(jobs: Sequence[Job], report: Report) -> Iterator[BagRun]:
        yield from run_here(jobs[:1], report)
        raise KeyboardInterrupt

    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        run_replay([bag, tmp_path / 'b.mcap', tmp_path / 'c.mcap'],
                   ReplaySettings(str(model), 'torch', device='cpu'), out, runner, how='offline')
    figures = json.loads((out / 'metrics.json').read_text())
    assert figures['problem'] == 'interrupted after 1 of 3 bags'
    assert figures['frames_out'] == 4
    assert 'interrupted after 1 of 3 bags' in (out / 'report.html').read_text()
    assert sorted(path.name for path in out.rglob('*') if path.is_file()) == [
        'frames.csv', 'metrics.json', 'report.html', 'walk.mcap']


def test_a_replay_that_fails_leaves_no_results_of_an_earlier_one(
        model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture) -> None:
    for name in ('report.html', 'metrics.json', 'frames.csv', 'mine.txt'):
        (tmp_path / name).write_text('of an earlier replay')
    assert main(['replay', str(tmp_path / 'gone.mcap'), *using(model),
                 '--output', str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['mine.txt']
    assert 'gone.mcap' in capsys.readouterr().err
    assert not caplog.records, 'told once'


def test_a_tilde_is_the_home_folder(bag: Path, model: Path, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    shutil.copytree(model, tmp_path / 'model', dirs_exist_ok=True)
    shutil.copy(bag, tmp_path / 'walk.mcap')
    (tmp_path / 'truth').mkdir()
    for place in range(4):
        cv2.imwrite(str(tmp_path / 'truth' / f'{place}.png'), np.full((48, 64), 3, np.uint8))
    assert main(['replay', '~/walk.mcap', '--engine', 'torch', '--model', '~/model',
                 '--truth', '~/truth', '--json', '~/figures.json', '--output', '~/out']) == 0
    assert json.loads((tmp_path / 'figures.json').read_text())['scored_frames'] == 4
    assert (tmp_path / 'out' / 'report.html').exists()


def test_a_bag_given_twice_and_figures_that_cannot_be_written_are_refused_first(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'link.mcap').symlink_to(bag)
    out = [*using(model), '--output', str(tmp_path / 'out')]
    assert main(['replay', str(bag), str(tmp_path / 'link.mcap'), *out]) == 2
    assert 'link.mcap is given twice' in capsys.readouterr().err
    for file, why in ((tmp_path / 'nowhere' / 'f.json', 'there is no folder'),
                      (tmp_path, 'it is a folder')):
        assert main(['replay', str(bag), *out, '--json', str(file)]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert main(['replay', str(bag), *out, '--json', str(tmp_path / 'out' / 'f.json')]) == 0


def test_labels_beyond_their_space_and_losses_are_explained(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'truth').mkdir()
    truth = np.full((48, 64), 2, np.uint8)
    truth[:12] = 13  # a quarter; nyu13 has 0 to 12
    for place in range(4):
        cv2.imwrite(str(tmp_path / 'truth' / f'{place}.png'), truth)
    assert main(['replay', str(bag), *using(model), '--truth', str(tmp_path / 'truth'),
                 '--truth-space', 'nyu13', '--stride', '2', '--output',
                 str(tmp_path / 'out')]) in (0, 2)
    shown = capsys.readouterr()
    figures = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert any('labels above 12 in nyu13 count as unlabelled: 25.0 %' in note
               for note in figures['notes']), figures['notes']
    assert '2 skipped: Left out because of --stride.' in shown.out
    assert figures['rate_hz'] == pytest.approx(30.0, rel=1e-3)


def test_half_an_mcap_with_metadata_names_the_way_round(bag: Path, model: Path,
                                                        tmp_path: Path) -> None:
    write_rgbd_bag(tmp_path / 'walk', samples(), CAMERA)
    file = next((tmp_path / 'walk').glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(BagError, match=f'give {file} itself or remove metadata.yaml'), \
            BagReader(tmp_path / 'walk'):
        pass


def test_colour_alone_is_told_that_depth_is_needed(
        bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colour = rewritten(bag, tmp_path / 'c.mcap',
                       lambda topic, message: None if 'depth' in topic else message)
    assert main(['replay', str(colour), '--missing-depth', 'rgb_only', *using(model),
                 '--output', str(tmp_path / 'out')]) == 2
    assert 'a depth topic is needed even with --missing-depth rgb_only' in capsys.readouterr().err


def test_what_a_runner_fails_with_is_what_the_user_reads(bag: Path, model: Path,
                                                         tmp_path: Path) -> None:
    def runner(jobs: Sequence[Job], report: object) -> Iterator[BagRun]:
        yield BagRun(1, None, 'second is broken')
        yield BagRun(0, None, 'first is broken')

    with pytest.raises(ReplayError, match='none of 2 bags could be replayed'):
        run_replay([bag, tmp_path / 'other.mcap'], ReplaySettings(str(model)), tmp_path / 'out',
                   runner, how='offline')
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]
