# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A training run: it learns, resumes to the bit, survives Ctrl-C and leaves a usable model."""

import csv
import dataclasses
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from diffpixel_core.checkpoints import CheckpointError, Manifest, load_model, save_model
from diffpixel_core.config import (
    AugmentConfig,
    ConfigError,
    DataConfig,
    FreshPart,
    LossConfig,
    OptimiserConfig,
    TrainConfig,
    load_config,
)
from diffpixel_core.datasets import Batch, TrainBatches
from diffpixel_core.devices import DeviceError
from diffpixel_core.labels import load_label_space
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import build_model
from diffpixel_core.train import TrainError, TrainingInterruptedError, train
from diffpixel_core.train.guard import StopRequest
from diffpixel_core.train.optimise import AveragedModel, parameter_groups
from diffpixel_core.train.start import start_from

NETWORK = 'diffpixelformer_t/baseline'  # half the work of one with fusion


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four frames: a bright, near half and a dark, far half."""
    folder = tmp_path_factory.mktemp('frames')
    rng = np.random.default_rng(0)
    for i in range(4):
        edge = int(rng.integers(16, 32))
        labels = np.zeros((32, 48), np.uint8)
        labels[:, edge:] = 4
        rgb = np.where(labels[..., None] == 0, 200, 60) + rng.integers(-20, 20, (32, 48, 3))
        cv2.imwrite(str(folder / f'{i:06d}.color.png'), rgb.astype(np.uint8))
        cv2.imwrite(str(folder / f'{i:06d}.depth.png'),
                    np.where(labels == 0, 1500, 3000).astype(np.uint16))
        cv2.imwrite(str(folder / f'{i:06d}.label.png'), labels)
    return folder


def tiny(frames: Path, output: Path, **changes: object) -> TrainConfig:
    data = DataConfig(source='dataset', path=str(frames), train_split='all', val_split='all',
                      cache=str(output.parent / 'cache'))
    config = TrainConfig(model=NETWORK, output=str(output), crop=(32, 48), batch=2, steps=4,
                         workers=0, data=data, accelerator='cpu', val_frames=2, validate_every=4,
                         save_every=100, log_every=1, loss=LossConfig(stride=2), threads=1)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def losses(output: Path) -> dict[int, str]:
    with (output / 'metrics.csv').open(newline='') as file:
        return {int(row['step']): row['loss'] for row in csv.DictReader(file) if row['loss']}


class Trip:
    """Send ourselves SIGINT while the batch of one step is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        original = TrainBatches.__getitem__

        def interrupted(batches: TrainBatches, at: int) -> Batch:
            if at == step:
                os.kill(os.getpid(), signal.SIGINT)
            return original(batches, at)

        monkeypatch.setattr(TrainBatches, '__getitem__', interrupted)


def rows(output: Path) -> list[dict[str, str]]:
    """Return the rows of the log without what depends on the clock."""
    with (output / 'metrics.csv').open(newline='') as file:
        return [{key: value for key, value in row.items()
                 if key not in ('minutes', 'images_per_s', 'loader_share')}
                for row in csv.DictReader(file)]


@pytest.mark.parametrize('step', [0, 3, int(np.random.default_rng(2026).integers(6))])
def test_interrupted_run_continues_to_the_bit(frames: Path, tmp_path: Path, step: int,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, scores and weights; also when stopped where held-out frames are scored (3)."""
    changes = {'steps': 6, 'validate_every': 4, 'optimiser': OptimiserConfig(lr=1e-3)}
    straight = train(tiny(frames, tmp_path / 'straight', **changes))
    with monkeypatch.context() as patch:
        Trip(patch, step=step)
        with pytest.raises(TrainingInterruptedError, match=rf'after step {step + 1}.*--resume'):
            train(tiny(frames, tmp_path / 'broken', **changes))
    assert not (tmp_path / 'broken' / 'final').exists()
    resumed = train(tiny(frames, tmp_path / 'broken', resume=True, **changes))
    assert rows(tmp_path / 'broken') == rows(tmp_path / 'straight')
    assert len(rows(tmp_path / 'straight')) == 6 + 2  # scores on the way and at the end
    one, _ = load_model(straight)
    two, _ = load_model(resumed)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name


def test_resumed_run_takes_the_rate_now_asked_for(frames: Path, tmp_path: Path) -> None:
    first, second = OptimiserConfig(lr=1e-3), OptimiserConfig(lr=1e-5, weight_decay=0.5)
    train(tiny(frames, tmp_path, steps=2, optimiser=first))
    train(tiny(frames, tmp_path, steps=4, optimiser=second, resume=True))
    with (tmp_path / 'metrics.csv').open(newline='') as file:
        rates = {int(row['step']): float(row['lr']) for row in csv.DictReader(file) if row['lr']}
    assert rates[2] > 1e-4
    assert 0 < rates[3] <= 1e-5
    groups = torch.load(tmp_path / 'last.ckpt', weights_only=True)['optimiser']['param_groups']
    assert {group['weight_decay'] for group in groups} == {0.0, 0.5}


def test_refused_resume_leaves_the_settings_of_the_run(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path, steps=1))
    before = (tmp_path / 'config.yaml').read_bytes()
    with pytest.raises(TrainError, match='seed'):
        train(tiny(frames, tmp_path, resume=True, seed=7))
    assert (tmp_path / 'config.yaml').read_bytes() == before


def test_models_are_saved_without_git(frames: Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path / 'nothing'))
    _, manifest = load_model(train(tiny(frames, tmp_path / 'run', steps=1)))
    assert manifest.provenance['commit'] == 'unknown'


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['32-true', 'bf16-mixed', '16-mixed'])
def test_every_precision_trains_and_resumes_on_a_gpu(frames: Path, tmp_path: Path,
                                                     precision: str) -> None:
    settings = {'accelerator': 'cuda', 'precision': precision, 'workers': 1}
    train(tiny(frames, tmp_path, steps=2, **settings))
    assert load_model(train(tiny(frames, tmp_path, resume=True, **settings)))


def test_loader_process_gives_the_same_run(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path / 'here', steps=2))
    train(tiny(frames, tmp_path / 'there', steps=2, workers=1))
    assert losses(tmp_path / 'here') == losses(tmp_path / 'there')


def test_signal_handlers_are_given_back(frames: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tiny(frames, tmp_path, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_learns_and_its_model_scores(frames: Path, tmp_path: Path) -> None:
    plain = AugmentConfig(jitter=0, blur=0, noise=0, jpeg=0, grey=0, holes=0, scale=(1, 1),
                          drop_depth=0.2, drop_colour=0.2)
    config = tiny(frames, tmp_path, steps=80, batch=4, augment=plain, validate_every=80,
                  drop_path=0.0,
                  optimiser=OptimiserConfig(lr=1e-3, head_lr_factor=1.0, ema=0.8))
    model = train(config)
    _, manifest = load_model(model)
    scores = manifest.metrics['held_out']
    assert scores['pixel_accuracy'] > 0.9
    assert scores['miou_rgb'] > 0.5
    assert scores['miou_depth'] > 0.5
    assert scores['frames'] == 4
    assert manifest.input_size == (32, 48)
    assert manifest.provenance['steps'] == 80


def test_clock_ends_the_run_and_its_schedule(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path, steps=100_000, max_minutes=0.05, validate_every=100_000))
    with (tmp_path / 'metrics.csv').open(newline='') as file:
        rates = [float(row['lr']) for row in csv.DictReader(file) if row['lr']]
    assert 1 < len(rates) < 3000
    assert rates[-1] < 0.3 * max(rates)


def test_run_in_the_way_is_not_overwritten(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path, steps=1))
    with pytest.raises(TrainError, match='already holds a run'):
        train(tiny(frames, tmp_path, steps=1))


def test_resume_refuses_another_run(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match='nothing to resume'):
        train(tiny(frames, tmp_path, resume=True))
    train(tiny(frames, tmp_path, steps=1))
    with pytest.raises(TrainError, match='batch 2, not 4'):
        train(tiny(frames, tmp_path, resume=True, batch=4))
    (tmp_path / 'last.ckpt').write_bytes(b'cut short')
    with pytest.raises(TrainError, match=r'last\.ckpt is no checkpoint'):
        train(tiny(frames, tmp_path, resume=True))


def test_resolved_settings_can_be_run_again(frames: Path, tmp_path: Path) -> None:
    config = tiny(frames, tmp_path, steps=1)
    train(config)
    assert load_config(tmp_path / 'config.yaml') == config


def test_weights_of_another_run_are_the_start(frames: Path, tmp_path: Path) -> None:
    frozen = OptimiserConfig(lr=1e-12, ema=0.0)
    first = train(tiny(frames, tmp_path / 'a', steps=1, optimiser=frozen))
    second = train(tiny(frames, tmp_path / 'b', steps=1, optimiser=frozen, seed=5,
                        init_from=str(first)))
    one, two = (load_model(path)[0].state_dict() for path in (first, second))
    name = 'encoder.stages.0.embed.conv.weight'
    assert torch.allclose(one[name], two[name], atol=1e-6)


@pytest.mark.parametrize('network', ['diffpixelformer_t', 'diffpixelformer_swin_t'])
@pytest.mark.parametrize(('fresh', 'other'), [
    (('classifier',), ''), (('decoder',), ''), (('fusions', 'decoder'), '/baseline')])
def test_parts_of_a_start_can_be_left_out(tmp_path: Path, network: str, other: str,
                                          fresh: tuple[FreshPart, ...]) -> None:
    """A model of 40 classes starts one of 13; one without fusions starts one with them."""
    model = build_model(network + other, classes=40)
    start = save_model(tmp_path / 'start', model, Manifest(network + other, 'nyu40'))
    begun = build_model(network, classes=13)
    before = {name: tensor.clone() for name, tensor in begun.state_dict().items()}
    start_from(begun, str(start), load_label_space('nyu13'), fresh)
    kept = {name for name, tensor in begun.state_dict().items()
            if not torch.equal(tensor, before[name])}
    left = set(before) - kept
    source = model.state_dict()
    assert all(torch.allclose(begun.state_dict()[name], source[name], atol=1e-3) for name in kept)
    assert 'encoder.stages.0.blocks.0.fusion.qkv.weight' in (left if other else kept)
    assert 'head.classify.weight' in left
    assert ('head.linears.0.weight' in left) == ('decoder' in fresh)


def test_a_start_that_does_not_fit_is_refused(frames: Path, tmp_path: Path) -> None:
    start = save_model(tmp_path / 'start', build_model(NETWORK, classes=13),
                       Manifest(NETWORK, 'nyu13'))
    config = tiny(frames, tmp_path / 'run', init_from=str(start))
    with pytest.raises(TrainError, match=r'nyu13 \(13 classes.*nyu40.*--init_fresh \[classifier\]'):
        train(config)
    with pytest.raises(CheckpointError, match=r'head\.linears.*name the parts.*init_fresh'):
        start_from(build_model('diffpixelformer_b1/baseline', classes=40), str(start),
                   load_label_space('nyu40'), ('classifier',))
    with pytest.raises(ConfigError, match='init_from, which is not given'):
        tiny(frames, tmp_path, init_fresh=('classifier',))
    assert train(dataclasses.replace(config, init_fresh=('classifier',), steps=1))


def test_a_start_brings_the_inputs_it_was_trained_to_see(frames: Path, tmp_path: Path) -> None:
    """A converted published model sees depth otherwise; so does the run, also when resumed."""
    rows = normalisation(('rgb', 'depth'))
    rows['depth'] |= {'maximum': 10.0, 'mean': [0.0], 'std': [10.0]}
    start = save_model(tmp_path / 'start', build_model(NETWORK, classes=40),
                       Manifest(NETWORK, 'nyu40', normalisation=rows))
    config = tiny(frames, tmp_path / 'run', steps=1, init_from=str(start))
    assert load_model(train(config))[1].normalisation['depth']['std'] == [10.0]
    again = dataclasses.replace(config, steps=2, init_from=None, resume=True)
    assert load_model(train(again))[1].normalisation['depth']['std'] == [10.0]


def test_loss_that_is_not_finite_names_the_files(frames: Path, tmp_path: Path) -> None:
    wild = OptimiserConfig(lr=1e30, warmup=0.0, clip_norm=0.0)
    with pytest.raises(TrainError, match=r'not finite|loss is.*00000\d\.color\.png'):
        train(tiny(frames, tmp_path, steps=50, optimiser=wild))


@pytest.mark.parametrize('name', ['diffpixelformer_t', 'diffpixelformer_swin_t',
                                  'diffpixelformer_t/judge_gmlp', 'diffpixelformer_t/judge_eca'])
def test_only_matrices_and_kernels_decay(name: str) -> None:
    with torch.device('meta'):
        model = build_model(name, classes=3)
    groups = parameter_groups(model, OptimiserConfig(
        lr=1e-4, weight_decay=0.1, head_lr_factor=10, ensemble_lr_factor=2))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sum(len(group['params']) for group in groups) == len(names)
    for group in groups:
        for key in (names[id(parameter)] for parameter in group['params']):
            free = any(word in key for word in ('norm', 'bias', 'noise', 'alpha', 'beta'))
            assert group['weight_decay'] == (0 if free else 0.1), key
            rate = {'head': 1e-3, 'alpha': 2e-4}.get(key.partition('.')[0], 1e-4)
            assert group['lr'] == pytest.approx(rate), key


def test_average_follows_fast_first_then_slowly() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = AveragedModel(model, 0.99)
    torch.nn.init.ones_(model.weight)
    average.update(model, 1)
    assert average.state_dict()['weight'].item() == pytest.approx(10 / 11)
    torch.nn.init.zeros_(model.weight)
    average.update(model, 100_000)
    assert average.network().state_dict()['weight'].item() == pytest.approx(10 / 11 * 0.99)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_a_gpu_that_is_not_there_is_refused_before_training(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match='--accelerator cpu'):
        train(tiny(frames, tmp_path, accelerator='cuda'))


def test_float16_is_refused_on_a_cpu(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match='bf16-mixed'):
        train(tiny(frames, tmp_path, precision='16-mixed'))


def test_parts_of_a_step_give_the_losses_of_the_whole(frames: Path, tmp_path: Path) -> None:
    """Without chance and batch statistics; parts with unequal numbers of labelled pixels."""
    exact = {'batch': 4, 'batch_norm': 'frozen', 'head_dropout': 0.0, 'drop_path': 0.0,
             'loss': LossConfig(stride=2, class_weights='log')}
    train(tiny(frames, tmp_path / 'whole', **exact))
    train(tiny(frames, tmp_path / 'parts', accumulate=2, **exact))
    one, two = losses(tmp_path / 'whole'), losses(tmp_path / 'parts')
    assert [float(value) for value in one.values()] == pytest.approx(
        [float(value) for value in two.values()], rel=1e-5)


def test_batch_without_a_labelled_pixel_is_no_disaster(frames: Path, tmp_path: Path,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    folder = shutil.copytree(frames, tmp_path / 'void')
    for label in folder.glob('*.label.png'):
        cv2.imwrite(str(label), np.full((32, 48), 255, np.uint8))
    model = train(tiny(folder, tmp_path / 'run', steps=2))
    assert set(losses(tmp_path / 'run').values()) == {'0.0'}
    assert load_model(model)
    assert 'no labelled pixel' in caplog.text


def test_full_disk_is_said_and_the_checkpoint_before_it_stays(frames: Path,
                                                              tmp_path: Path) -> None:
    train(tiny(frames, tmp_path, steps=1))
    before = (tmp_path / 'last.ckpt').read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        with pytest.raises(TrainError, match=r'cannot write .*last\.ckpt.*free some space'):
            train(tiny(frames, tmp_path, steps=2, resume=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / 'last.ckpt').read_bytes() == before
    assert not list(tmp_path.glob('*.tmp'))
    train(tiny(frames, tmp_path, steps=2, resume=True))
    assert len(losses(tmp_path)) == 2


def test_resume_refuses_another_number_of_processes(frames: Path, tmp_path: Path) -> None:
    train(tiny(frames, tmp_path, steps=1))
    content = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    torch.save(content | {'world': 4}, tmp_path / 'last.ckpt')
    with pytest.raises(TrainError, match='by 4 processes, this run has 1'):
        train(tiny(frames, tmp_path, resume=True))
    torch.save(content | {'frames': 5}, tmp_path / 'last.ckpt')
    with pytest.raises(TrainError, match='on 5 frames, now there are 4'):
        train(tiny(frames, tmp_path, resume=True))


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale(frames: Path,
                                                                     tmp_path: Path) -> None:
    states = {}
    for kind in ('frozen', 'train'):
        config = tiny(frames, tmp_path / kind, batch_norm=kind,
                      optimiser=OptimiserConfig(lr=1e-2, ema=0.0))
        states[kind] = load_model(train(config))[0].state_dict()
    assert (states['frozen']['head.norm.running_mean'] == 0).all()
    assert (states['train']['head.norm.running_mean'] != 0).any()
    assert (states['frozen']['head.norm.weight'] != 1).any()


def test_a_run_says_what_it_ran_on(frames: Path, tmp_path: Path) -> None:
    _, manifest = load_model(train(tiny(frames, tmp_path, steps=1, seed=3)))
    record = json.loads((tmp_path / 'environment.json').read_text())
    assert record == manifest.provenance['environment']
    assert record['seed'] == 3
    assert record['torch'] == torch.__version__.split('+')[0] or record['torch'] == \
        torch.__version__
    assert record['tf32'] is False  # there is none on a CPU


def test_second_signal_soon_after_the_first_changes_nothing() -> None:
    """Launchers repeat the terminal's Ctrl-C; only one much later means at once."""
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


@pytest.mark.parametrize('name', ['diffpixelformer_t', 'diffpixelformer_t_released',
                                  'diffpixelformer_t/pixel_cross_attention',
                                  'diffpixelformer_swin_t'])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """Several devices wait for the gradient of each; none may be missing."""
    model = build_model(name, classes=3)
    x = torch.zeros(1, 3, 32, 32)
    output = model(x, x)
    sum(scores.sum() for scores in (output.ensemble, *output.aux)).backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]


def test_a_run_starts_from_imagenet_weights_and_resumes_without_them(frames: Path,
                                                                     tmp_path: Path) -> None:
    """The command line's flag, a file of Hugging Face, and a rate that changes nothing."""
    transformers = pytest.importorskip('transformers')
    source = transformers.SegformerModel(transformers.SegformerConfig())
    source.save_pretrained(tmp_path / 'mit_b0')
    recipe = tmp_path / 'recipe.yaml'
    config = tiny(frames, tmp_path / 'run', backbone_weights=str(tmp_path / 'mit_b0'),
                  optimiser=OptimiserConfig(lr=1e-12, ema=0.0))
    recipe.write_text(yaml.safe_dump(dataclasses.asdict(config) | {'backbone_weights': None}))
    flags = ['--backbone-weights', str(tmp_path / 'mit_b0'), '--steps', '2']
    network, manifest = load_model(train(load_config(recipe, flags)))
    expected = source.state_dict()['stages.2.blocks.1.mlp.fc1.weight']
    found = network.encoder.stages[2].blocks[1].feed_forward.fc1.weight
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert manifest.provenance['config']['backbone_weights'] == str(tmp_path / 'mit_b0')
    assert json.loads((tmp_path / 'run' / 'backbone.json').read_text())['mapped']
    shutil.rmtree(tmp_path / 'mit_b0')
    train(load_config(recipe, [*flags[:-1], '4', '--resume', 'true']))


def test_two_sources_of_weights_contradict(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='init_from and backbone_weights'):
        tiny(frames, tmp_path, init_from='a', backbone_weights='b')
