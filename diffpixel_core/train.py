# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Training: one loop on Lightning Fabric, resumable (on a CPU to the bit), safe to interrupt.

A run's folder holds `config.yaml` (resolved), `metrics.csv`, TensorBoard events, `last.ckpt`
(everything needed to go on) and the models `best` and `final`.
"""

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor

from diffpixel_core.checkpoints import Manifest, load_model, require_same_tensors, save_model
from diffpixel_core.config import TrainConfig
from diffpixel_core.converters.backbone import load_backbone
from diffpixel_core.converters.hub import fetch_weights
from diffpixel_core.converters.tensors import Report
from diffpixel_core.datasets import (
    Batch,
    Frames,
    TrainBatches,
    held_out_samples,
    open_frames,
    train_loader,
)
from diffpixel_core.deploy import DeployGraph, NetworkInputs, cpu_tail, network_size
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import load_label_space, own_classes
from diffpixel_core.losses import Losses, log_class_weights, segmentation_loss
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import build_model
from diffpixel_core.optimise import AveragedModel, lr_factor, parameter_groups
from diffpixel_core.training_log import TrainingLog
from diffpixel_core.transforms import Sample

logger = logging.getLogger(__name__)

CHECKPOINT = 'last.ckpt'
BACKBONE_RECORD = 'backbone.json'  # what became of each tensor of --backbone-weights
_CHECKPOINT_VERSION = 1
# What a resumed run must have in common with the one that wrote the checkpoint.
_FIXED = ('model', 'label_space', 'crop', 'batch', 'seed')


class TrainError(DiffPixelError):
    """A run that cannot start, go on or be resumed."""


class TrainingInterruptedError(TrainError):
    """The run was asked to stop; its checkpoint is written."""


@dataclass
class Progress:
    """How far a run is; everything that a checkpoint holds besides tensors.

    Attributes:
        step: Steps done.
        elapsed_s: Seconds spent on them, earlier parts of the run included.
        best_miou: Highest mIoU on held-out frames so far, 0..1.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best_miou: float = 0.0


def train(config: TrainConfig) -> Path:
    """Train a network and return the directory of the final model.

    The final model is the averaged one of the last step; `best` is the one of the best score on
    held-out frames while training, which is therefore no longer held out.

    Raises:
        TrainingInterruptedError: On Ctrl-C or SIGTERM, after a checkpoint was written.
        DiffPixelError: If data, model or checkpoint do not fit; messages name the file.
    """
    output = Path(config.output)
    if not config.resume and (output / CHECKPOINT).exists():
        raise TrainError(f'{output} already holds a run; continue it with --resume true or choose '
                         'another --output')
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.backbone_weights is not None and not config.resume:
        fetch_weights(config.backbone_weights)  # or say why not, before rooms are rendered
    train_frames = open_frames(config.data, 'train')
    held_out = open_frames(config.data, 'val')
    with StopRequest() as stop:
        run = _Run(config, train_frames, held_out)
        # Now that the settings fit: a refused resume must not replace those of the run.
        output.mkdir(parents=True, exist_ok=True)
        (output / 'config.yaml').write_text(yaml.safe_dump(_plain(config), sort_keys=False))
        if run.start is not None:
            (output / BACKBONE_RECORD).write_text(json.dumps(run.start.as_dict(), indent=1) + '\n')
        return run.train(stop)


class _Run:
    """The state of one run and its loop."""

    def __init__(self, config: TrainConfig, train_frames: Frames, held_out: Frames) -> None:
        self.config = config
        self.output = Path(config.output)
        if config.accelerator == 'cuda' and not torch.cuda.is_available():
            raise TrainError(f'accelerator is cuda, but torch {torch.__version__} sees no CUDA '
                             'device; use --accelerator cpu, or install a CUDA build')
        self.fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        self.space = (train_frames.label_space if config.label_space == 'data'
                      else load_label_space(config.label_space))
        network = build_model(config.model, classes=len(self.space), drop_path=config.drop_path)
        self.normalisation = normalisation(('rgb', 'depth'))
        if config.init_from is not None:
            start, manifest = load_model(config.init_from)
            require_same_tensors(start.state_dict(), network.state_dict(), name=config.init_from)
            network.load_state_dict(start.state_dict())
            self.normalisation = manifest.normalisation  # what its weights were trained to see
        self.start: Report | None = None
        if config.backbone_weights is not None and not config.resume:
            self.start = load_backbone(network, config.backbone_weights)
            logger.info('%s: %s; every tensor by name in %s', config.backbone_weights,
                        self.start.summary(), self.output / BACKBONE_RECORD)
        network = self.fabric.to_device(network)
        self.network = network
        self.average = AveragedModel(network, config.optimiser.ema)
        optimiser = torch.optim.AdamW(
            parameter_groups(network, config.optimiser), betas=config.optimiser.betas,
            eps=config.optimiser.eps,
            # The fused step unscales float16 gradients itself, too late for clipping.
            fused=config.precision != '16-mixed')
        self.model, self.optimiser = self.fabric.setup(network, optimiser)
        self.progress = Progress()
        self.batches = TrainBatches(
            train_frames, label_space=self.space, augmentation=config.augment,
            crop=config.crop, batch=config.batch, seed=config.seed)
        self.held_out = held_out
        self.class_weights = self._class_weights(len(self.space))
        if config.resume:
            self._load()
        self.inputs = NetworkInputs(self.normalisation).to(self.fabric.device)

    def train(self, stop: 'StopRequest') -> Path:
        """Run to the end, or to a request to stop, and return the final model's directory."""
        config, progress = self.config, self.progress
        loader = train_loader(self.batches, range(progress.step, config.steps),
                              workers=config.workers)
        validation = list(held_out_samples(
            self.held_out, label_space=self.space, sensor=config.data.val_sensor,
            count=config.val_frames))
        earlier_s, started = progress.elapsed_s, time.monotonic()
        with TrainingLog(self.output, step=progress.step, total=config.steps,
                         every=config.log_every) as log:
            batches = iter(loader)
            while self._done < 1 and progress.step < config.steps:
                waiting = time.monotonic()
                batch = next(batches)
                waited_s = time.monotonic() - waiting
                row = self._step(batch)
                progress.step += 1
                progress.elapsed_s = earlier_s + time.monotonic() - started
                log.step(progress.step, row, images=config.batch, waited_s=waited_s,
                         minutes=progress.elapsed_s / 60, done=self._done)
                if stop.requested:
                    self._save()
                    raise TrainingInterruptedError(
                        f'stopped after step {progress.step}; continue with --resume true '
                        f'--output {self.output}')
                if progress.step % config.validate_every == 0:
                    scores = self._validate(validation)
                    log.scores(progress.step, scores, minutes=progress.elapsed_s / 60)
                    if scores['miou'] > progress.best_miou:
                        progress.best_miou = scores['miou']
                        self._save_model('best', {**scores, 'frames': len(validation)},
                                         protocol='; chosen by this score')
                    progress.elapsed_s = earlier_s + time.monotonic() - started
                if progress.step % config.save_every == 0:
                    self._save()
            self._save()
            scores = self._validate(held_out_samples(
                self.held_out, label_space=self.space, sensor=config.data.val_sensor))
            log.scores(progress.step, scores, minutes=progress.elapsed_s / 60)
        return self._save_model('final', {**scores, 'frames': len(self.held_out)})

    @property
    def _done(self) -> float:
        """Part of the run that is over, 0..1: by steps or by the clock, whichever is further."""
        by_steps = self.progress.step / self.config.steps
        if self.config.max_minutes is None:
            return by_steps
        return min(1.0, max(by_steps, self.progress.elapsed_s / 60 / self.config.max_minutes))

    def _step(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step and return what to log."""
        settings = self.config.optimiser
        # The middle of the step: neither the first nor the last one has rate 0.
        factor = lr_factor(min(1.0, self._done + 0.5 / self.config.steps), settings)
        for group in self.optimiser.param_groups:
            group['lr'] = group['peak_lr'] * factor
        self.model.train()
        rgb, x = self.inputs(self.fabric.to_device(batch.rgb), self.fabric.to_device(batch.depth_m))
        losses: Losses = segmentation_loss(
            self.model(rgb, x), self.fabric.to_device(batch.labels), stride=self.config.loss.stride,
            class_weights=self.class_weights, label_smoothing=self.config.loss.label_smoothing)
        values = [float(loss.detach()) for loss in losses]
        total = sum(values)
        if not abs(total) < float('inf'):
            raise TrainError(f'the loss is {total} at step {self.progress.step + 1} on '
                             f'{", ".join(batch.names)}; look at these files, or lower '
                             'optimiser.lr and resume')
        self.fabric.backward(losses.total)
        norm = self._clip()
        if not torch.isfinite(norm) and self.config.precision != '16-mixed':  # fp16 skips the step
            raise TrainError(f'the gradient is not finite at step {self.progress.step + 1} on '
                             f'{", ".join(batch.names)}; lower optimiser.lr and resume')
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.network, self.progress.step + 1)
        return {'loss': total, 'loss_rgb': values[0], 'loss_x': values[1],
                'loss_ensemble': values[2], 'gradient_norm': float(norm),
                'lr': settings.lr * factor}

    def _clip(self) -> Tensor:
        limit = self.config.optimiser.clip_norm or float('inf')
        norm = self.fabric.clip_gradients(self.model, self.optimiser, max_norm=limit,
                                          error_if_nonfinite=False)
        assert norm is not None
        return norm

    def _class_weights(self, classes: int) -> Tensor | None:
        if self.config.loss.class_weights == 'none':
            return None
        pixels = torch.zeros(256)
        for sample in held_out_samples(self.batches.frames, sensor='perfect', count=500,
                                       label_space=self.space):
            pixels += torch.bincount(torch.from_numpy(sample.labels).flatten(), minlength=256)
        return self.fabric.to_device(log_class_weights(pixels[:classes]))

    def _validate(self, samples: Iterable[Sample]) -> dict[str, float]:
        """Return the scores of the averaged network on held-out frames, whole and at their size."""
        matrix = ConfusionMatrix(len(self.space))
        with torch.inference_mode(), self.fabric.autocast():
            for sample in samples:
                size = network_size(sample.labels.shape, self.config.crop)
                graph = DeployGraph(self.average.module, self.normalisation, size)
                graph.to(self.fabric.device)
                rgb, x = torch.from_numpy(sample.rgb), torch.from_numpy(sample.depth_m)
                scores = graph(self.fabric.to_device(rgb[None]), self.fabric.to_device(x[None]))
                prediction, _ = cpu_tail(scores[0].cpu().numpy(), sample.labels.shape)
                matrix.update(sample.labels, prediction)
        return {'miou': matrix.miou, 'pixel_accuracy': matrix.pixel_accuracy,
                'mean_accuracy': matrix.mean_accuracy}

    def _save_model(self, name: str, metrics: dict[str, Any], *, protocol: str = '') -> Path:
        config = self.config
        data = ('generated rooms' if config.data.source == 'generated'
                else config.data.path)
        manifest = Manifest(
            model=config.model, label_space=self.space.name,
            label_classes=own_classes(self.space), input_size=config.crop,
            normalisation=self.normalisation,
            metrics={'held_out': metrics, 'protocol': 'whole frame, native label size, '
                                                      f'{config.precision}{protocol}'},
            provenance={'data': data, 'steps': self.progress.step, 'commit': _commit(),
                        'minutes': round(self.progress.elapsed_s / 60, 1),
                        'images': self.progress.step * config.batch,
                        'config': _plain(config)})
        return save_model(self.output / name, self.average.module, manifest, half=True)

    def _save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        content = {
            'version': _CHECKPOINT_VERSION,
            'progress': dataclasses.asdict(self.progress),
            'config': json.dumps(_plain(self.config)),
            'normalisation': json.dumps(self.normalisation),
            'model': self.network.state_dict(),
            'average': self.average.module.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'precision': self.fabric.strategy.precision.state_dict(),
            'rng': torch.get_rng_state(),
            'cuda_rng': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        target = self.output / CHECKPOINT
        temporary = target.with_suffix('.tmp')
        try:
            torch.save(content, temporary)
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            temporary.unlink(missing_ok=True)
            raise TrainError(f'cannot write {target} ({error}); free some space and resume: the '
                             'previous checkpoint is still there') from error

    def _load(self) -> None:
        path = self.output / CHECKPOINT
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
            earlier = json.loads(content['config'])
        except FileNotFoundError as error:
            raise TrainError(f'nothing to resume: {path} does not exist; leave --resume out to '
                             'start, or name the --output of the run') from error
        except Exception as error:  # torch.load raises a dozen kinds on a damaged file
            raise TrainError(f'{path} is no checkpoint of a training run '
                             f'({str(error).splitlines()[0]}); start again') from error
        if content['version'] != _CHECKPOINT_VERSION:
            raise TrainError(f'{path} has version {content["version"]}, this program writes '
                             f'{_CHECKPOINT_VERSION}; start again')
        now = _plain(self.config)
        for key in _FIXED:
            if earlier[key] != now[key]:
                raise TrainError(f'{path} was trained with {key} {earlier[key]!r}, not '
                                 f'{now[key]!r}; resume with the same or choose another --output')
        if 'normalisation' in content:  # runs of version 0.1 before it have the default
            self.normalisation = json.loads(content['normalisation'])
        self.network.load_state_dict(content['model'])
        self.average.module.load_state_dict(content['average'])
        # The checkpoint brings rates and decay of its own: those now asked for count.
        for saved, group in zip(content['optimiser']['param_groups'],
                                self.optimiser.param_groups, strict=True):
            saved |= {key: value for key, value in group.items() if key != 'params'}
        self.optimiser.load_state_dict(content['optimiser'])
        if content['precision']:  # empty unless float16 scaled its gradients
            self.fabric.strategy.precision.load_state_dict(content['precision'])
        self.progress = Progress(**content['progress'])
        torch.set_rng_state(content['rng'])
        if torch.cuda.is_available() and content['cuda_rng']:
            torch.cuda.set_rng_state_all(content['cuda_rng'])
        logger.info('resumed after step %d', self.progress.step)


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a flag while it is entered; a second Ctrl-C acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> 'StopRequest':
        """Take over both signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._earlier[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logger.warning('signal %d: stopping after this step', number)

    def __exit__(self, *error: object) -> None:
        """Give both signals back."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as types that JSON and YAML share."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _commit() -> str:
    """Return the commit of this source tree; 'unknown' outside a git checkout or without git."""
    if shutil.which('git') is None:
        return 'unknown'
    answer = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True,
                            text=True, check=False, cwd=Path(__file__).parent)
    return answer.stdout.strip() or 'unknown'
