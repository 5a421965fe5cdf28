# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes are one run: the same batches, losses and scores as one process finds.

Everything runs on CPUs with gloo. What a GPU adds (NCCL, float16's scaler) is marked `gpu` in
`test_train.py`.
"""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from diffpixel_core.checkpoints import load_model
from diffpixel_core.config import AugmentConfig, DataConfig, OptimiserConfig, TrainConfig
from diffpixel_core.datasets import TrainBatches, open_frames
from diffpixel_core.devices import open_fabric
from diffpixel_core.labels import load_label_space
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import build_model
from diffpixel_core.train.record import plain
from diffpixel_core.train.validation import validate

ROOT = Path(__file__).parent.parent
NETWORK = 'diffpixelformer_t/baseline'
FRAMES = 5  # not a multiple of the number of processes


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of frames, of which a different part is labelled in each."""
    folder = tmp_path_factory.mktemp('frames')
    rng = np.random.default_rng(0)
    for i in range(FRAMES):
        labels = rng.integers(0, 3, (32, 48)).astype(np.uint8)
        labels[:6 * i] = 255
        cv2.imwrite(str(folder / f'{i:06d}.color.png'),
                    rng.integers(0, 256, (32, 48, 3)).astype(np.uint8))
        cv2.imwrite(str(folder / f'{i:06d}.depth.png'),
                    rng.integers(500, 4000, (32, 48)).astype(np.uint16))
        cv2.imwrite(str(folder / f'{i:06d}.label.png'), labels)
    return folder


def settings(frames: Path, output: Path, **changes: object) -> TrainConfig:
    """Return a run without chance inside the network, whose masks depend on the process."""
    data = DataConfig(source='dataset', path=str(frames), train_split='all', val_split='all',
                      in_memory=False)
    config = TrainConfig(
        model=NETWORK, output=str(output), crop=(32, 48), batch=4, steps=3, workers=0, data=data,
        accelerator='cpu', val_frames=FRAMES, validate_every=2, log_every=1, threads=1,
        drop_path=0.0, head_dropout=0.0,
        # A large eps: else AdamW makes full steps of gradients that are rounding errors.
        optimiser=OptimiserConfig(lr=0.02, eps=0.1, head_lr_factor=1.0, warmup=0.0))
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def recipe(config: TrainConfig, file: Path) -> list[str]:
    """Write a run's settings and return the end of its command."""
    file.write_text(yaml.safe_dump(plain(config)))
    return ['train', '--config', str(file)]


def environment() -> dict[str, str]:
    return os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']


def run(command: list[str], *, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True,
                          timeout=300, check=False)
    assert (done.returncode == 0) == (code == 0), done.stderr[-3000:]
    return done


def rows(output: Path, key: str) -> list[float]:
    with (output / 'metrics.csv').open(newline='') as file:
        return [float(row[key]) for row in csv.DictReader(file) if row[key]]


@pytest.fixture(scope='module')
def alone(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the run that one process makes of the settings."""
    output = tmp_path_factory.mktemp('alone') / 'run'
    run([sys.executable, '-m', 'diffpixel_core',
         *recipe(settings(frames, output), output.with_suffix('.yaml'))])
    return output


def same_run(one: Path, two: Path) -> None:
    """Compare two runs.

    The first step starts from equal weights and differs by rounding only, as batches of another
    size take another way through a product: it is what finds a part that counts wrongly. Training
    then carries rounding on: up to 2e-6 of the gradient's norm was seen over 60 steps.
    """
    keys = ('loss', 'loss_rgb', 'loss_x', 'loss_ensemble', 'gradient_norm', 'lr')
    table = {key: (rows(one, key), rows(two, key)) for key in keys}
    for found, expected in table.values():
        assert found[0] == pytest.approx(expected[0], rel=1e-5), table
        assert found[1:] == pytest.approx(expected[1:], rel=5e-3), table
    first, second = (load_model(path / 'final')[0].state_dict() for path in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-2, atol=2e-3)


def test_two_processes_train_as_one_does(frames: Path, alone: Path, tmp_path: Path) -> None:
    """The same command under torchrun: losses, gradients, weights; batch norm over both."""
    output = tmp_path / 'run'
    done = run([*TORCHRUN, '-m', 'diffpixel_core',
                *recipe(settings(frames, output), tmp_path / 'r.yaml')])
    assert done.stdout.split()[-1:] == [str(output / 'final')]
    assert json.loads((output / 'environment.json').read_text())['processes'] == 2
    same_run(alone, output)


def test_devices_see_together_what_one_would(frames: Path) -> None:
    data = settings(frames, Path()).data
    nyu40 = load_label_space('nyu40')

    def names(step: int, parts: int, world: int) -> list[tuple[str, float]]:
        found = []
        for part in range(parts):
            for rank in range(world):
                batch = TrainBatches(
                    open_frames(data, 'train'), label_space=nyu40, augmentation=AugmentConfig(),
                    crop=(32, 48), batch=8, seed=7, parts=parts, rank=rank,
                    world=world)[step * parts + part]
                found += [(name, float(depth.sum()))
                          for name, depth in zip(batch.names, batch.depth_m, strict=True)]
        return found

    for step in (0, 3):
        assert names(step, 1, 1) == names(step, 2, 2) == names(step, 1, 4) == names(step, 8, 1)


WORKER = '''
import json, sys
import torch
from torch import nn
sys.path.insert(0, {tests!r})
import test_distributed as t
from diffpixel_core.train.norms import SyncBatchNorm, share_statistics
from diffpixel_core.train.ranks import added, first_alone, only_first, summed
from diffpixel_core.train.guard import TrainError

torch.set_num_threads(1)
fabric = t.open_fabric(accelerator='cpu')
rank = fabric.global_rank
found = dict(world=fabric.world_size, scores=t.scores_of_untrained(fabric, {frames!r}))
norm = SyncBatchNorm(3)
x = t.maps()[rank * 2:rank * 2 + (2 if rank == 0 else 1)].requires_grad_()
(norm(x) * t.weights()[rank * 2:rank * 2 + len(x)]).sum().backward()
found['norm'] = [norm.running_mean.tolist(), norm.running_var.tolist(),
                 added(fabric, norm.weight.grad).tolist(), x.grad[0].flatten().tolist()]
own = torch.nn.BatchNorm2d(2)
own.running_mean.fill_(rank)
share_statistics(own, 'train', fabric.world_size)
found['shared'] = own.running_mean.tolist()
def fail():
    raise TrainError('the disk is full')
try:
    only_first(fabric, fail)
except TrainError as error:
    found['error'] = str(error)
found['turns'] = first_alone(fabric, lambda: rank)
found['sum'] = summed(fabric, [1.5, float(rank)])
if rank:
    print(json.dumps(found), flush=True)
'''


def maps() -> torch.Tensor:
    return torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def weights() -> torch.Tensor:
    return torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(1))


def scores_of_untrained(fabric: object, frames: str) -> dict[str, float]:
    config = settings(Path(frames), Path())
    torch.manual_seed(0)
    network = build_model(NETWORK, classes=40).eval()
    return validate(network, open_frames(config.data, 'val'), fabric=fabric,  # type: ignore[arg-type]
                    config=config, space=load_label_space('nyu40'),
                    normalisation=normalisation(('rgb', 'depth')))


def test_two_processes_score_and_act_as_one(frames: Path, tmp_path: Path) -> None:
    """Scores of frames that do not divide evenly are equal to the last bit."""
    script = tmp_path / 'worker.py'
    script.write_text(WORKER.format(tests=str(Path(__file__).parent), frames=str(frames)))
    done = run([*TORCHRUN, str(script)])
    found = json.loads(done.stdout.splitlines()[-1])
    assert found['world'] == 2
    assert found['scores'] == scores_of_untrained(open_fabric(accelerator='cpu'), str(frames))
    assert found['error'] == 'the disk is full'  # of the other process
    assert found['turns'] == 1
    assert found['shared'] == [0.0, 0.0]  # the first process's, as told by the second
    assert found['sum'] == [3.0, 1.0]
    norm, x = nn.BatchNorm2d(3), maps().requires_grad_()
    (norm(x) * weights()).sum().backward()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.weight.grad is not None
    assert x.grad is not None
    expected = [norm.running_mean, norm.running_var, norm.weight.grad, x.grad[2].flatten()]
    for one, two in zip(expected, found['norm'], strict=True):
        torch.testing.assert_close(one.detach(), torch.tensor(two), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_fabric_run_with_parts_is_the_same_run(frames: Path, alone: Path, tmp_path: Path) -> None:
    """Two processes take their share in two parts, batch norm frozen in both runs."""
    command = Path(sys.executable).with_name('fabric')
    script = tmp_path / 'diffpixel'
    script.write_text('import sys\nfrom diffpixel_core.__main__ import main\nsys.exit(main())\n')
    frozen = {'batch_norm': 'frozen'}
    run([sys.executable, '-m', 'diffpixel_core',
         *recipe(settings(frames, tmp_path / 'one', **frozen), tmp_path / 'one.yaml')])
    run([str(command), 'run', '--accelerator', 'cpu', '--devices', '2', '--strategy', 'ddp',
         str(script), *recipe(settings(frames, tmp_path / 'two', accumulate=2, **frozen),
                              tmp_path / 'two.yaml')])
    same_run(tmp_path / 'one', tmp_path / 'two')


@pytest.mark.slow
def test_processes_started_by_ourselves_are_the_same_run(frames: Path, alone: Path,
                                                         tmp_path: Path) -> None:
    run([sys.executable, '-m', 'diffpixel_core',
         *recipe(settings(frames, tmp_path / 'run'), tmp_path / 'r.yaml'), '--devices', '2'])
    same_run(alone, tmp_path / 'run')


@pytest.mark.slow
def test_sharded_run_is_the_same_and_resumes_to_the_bit(frames: Path, alone: Path,
                                                        tmp_path: Path) -> None:
    """Strategy 'fsdp' on CPUs: torch's fully_shard, over gloo, two processes."""
    changes = {'strategy': 'fsdp'}
    run([*TORCHRUN, '-m', 'diffpixel_core',
         *recipe(settings(frames, tmp_path / 'run', **changes), tmp_path / 'r.yaml')])
    assert (json.loads((tmp_path / 'run' / 'environment.json').read_text())['strategy']
            == 'ModelParallelStrategy')
    same_run(alone, tmp_path / 'run')
    # A checkpoint after the second of three steps, and from there again.
    half = recipe(settings(frames, tmp_path / 'half', save_every=2, **changes), tmp_path / 'h.yaml')
    run([*TORCHRUN, '-m', 'diffpixel_core', *half])
    content = torch.load(tmp_path / 'half' / 'last.ckpt', weights_only=True)
    assert content['progress']['step'] == 3
    assert len(content['random']) == 2
    assert content['model']['head.classify.weight'].shape == (40, 256, 1, 1)  # whole


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['ddp', 'fsdp'])
def test_interrupted_run_of_two_continues_to_the_bit(frames: Path, tmp_path: Path,
                                                     strategy: str) -> None:
    """Ctrl-C reaches the launcher; all processes stop after the same step, and go on."""
    config = settings(frames, tmp_path / 'broken', steps=40, strategy=strategy, drop_path=0.2,
                      validate_every=1000)
    command = [*TORCHRUN, '-m', 'diffpixel_core', *recipe(config, tmp_path / 'b.yaml')]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
                               text=True)
    log = tmp_path / 'broken' / 'metrics.csv'
    until = time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().splitlines()) > 3):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert 'continue with --resume true' in said
    step = torch.load(tmp_path / 'broken' / 'last.ckpt', weights_only=True)['progress']['step']
    assert 0 < step < 40
    refused = subprocess.run([sys.executable, '-m', 'diffpixel_core', *command[-3:], '--resume',
                              'true', '--strategy', 'auto'], cwd=ROOT, env=environment(),
                             capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert 'by 2 processes, this run has 1' in refused.stderr
    run([*command, '--resume', 'true'])
    straight = dataclasses.replace(config, output=str(tmp_path / 'straight'))
    run([*TORCHRUN, '-m', 'diffpixel_core', *recipe(straight, tmp_path / 's.yaml')])
    assert rows(tmp_path / 'broken', 'loss') == rows(tmp_path / 'straight', 'loss')
    assert len(rows(tmp_path / 'broken', 'loss')) == 40


@pytest.mark.slow
def test_frames_that_do_not_divide_over_processes_are_refused(frames: Path,
                                                              tmp_path: Path) -> None:
    done = run([*TORCHRUN, '-m', 'diffpixel_core',
                *recipe(settings(frames, tmp_path / 'run', batch=3), tmp_path / 'r.yaml')], code=2)
    assert done.stderr.count('batch is 3: the frames of a step do not divide evenly over 2') == 1


@pytest.mark.slow
def test_damaged_file_of_another_process_is_named_once(frames: Path, tmp_path: Path) -> None:
    """The first process tells, all end, and the run can go on when the file is mended."""
    folder = shutil.copytree(frames, tmp_path / 'frames')
    config = settings(folder, tmp_path / 'run')
    share = TrainBatches(
        open_frames(config.data, 'train'), label_space=load_label_space('nyu40'),
        augmentation=config.augment, crop=config.crop, batch=config.batch, seed=config.seed,
        rank=1, world=2)
    file = folder / share[0].names[0].replace('color', 'label')
    good = file.read_bytes()
    file.write_bytes(good[:20])
    command = [*TORCHRUN, '-m', 'diffpixel_core', *recipe(config, tmp_path / 'r.yaml')]
    done = run(command, code=2)
    assert done.stderr.count(f'diffpixel train: image {file} is damaged') == 1
    file.write_bytes(good)
    held_out = shutil.copytree(folder, tmp_path / 'held_out')
    scored = held_out / '000001.label.png'  # the second of them is the second process's
    scored.write_bytes(good[:20])
    done = run([*command, '--resume', 'true', '--data.val_path', str(held_out)], code=2)
    assert done.stderr.count(f'diffpixel train: image {scored} is damaged') == 1
    run([*command, '--resume', 'true'])
    assert len(rows(tmp_path / 'run', 'loss')) == config.steps
