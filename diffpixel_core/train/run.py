# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A run from its settings to its final model: what it consists of, and the loop."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffpixel_core.checkpoints import save_model
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
from diffpixel_core.deploy import NetworkInputs
from diffpixel_core.devices import open_fabric, precision_of, use_tf32
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import load_label_space
from diffpixel_core.losses import log_class_weights
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import build_model
from diffpixel_core.train.checkpoint import CHECKPOINT, State
from diffpixel_core.train.guard import StopRequest, TrainError, TrainingInterruptedError
from diffpixel_core.train.loading import take_parts
from diffpixel_core.train.log import TrainingLog
from diffpixel_core.train.norms import prepare_norms
from diffpixel_core.train.optimise import AveragedModel, parameter_groups
from diffpixel_core.train.ranks import added, first_alone, gathered, only_first, summed, together
from diffpixel_core.train.record import environment, plain, trained_manifest
from diffpixel_core.train.schedule import lr_factor, total_steps
from diffpixel_core.train.start import start_from
from diffpixel_core.train.step import Stepper
from diffpixel_core.train.validation import PROTOCOL, validate
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

BACKBONE_RECORD = 'backbone.json'  # what became of each tensor of --backbone-weights
_COUNTED_FRAMES = 500  # whose labels are counted for class weights


def train(config: TrainConfig) -> Path:
    """Train a network and return the directory of the final model.

    The final model is the averaged one of the last step; `best` is the one of the best score on
    held-out frames while training, which is therefore no longer held out. In a run of several
    processes each calls this and gets the same directory, which they all must see.

    Raises:
        TrainingInterruptedError: On Ctrl-C or SIGTERM, after a checkpoint was written.
        DiffPixelError: If data, model, devices or checkpoint do not fit; messages name the file.
    """
    output = Path(config.output)
    if not config.resume and (output / CHECKPOINT).exists():
        raise TrainError(f'{output} already holds a run; continue it with --resume true or choose '
                         'another --output')
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    fabric = open_fabric(accelerator=config.accelerator, devices=config.devices,
                         num_nodes=config.num_nodes, strategy=config.strategy,
                         precision=config.precision)
    if not fabric.is_global_zero:
        logging.getLogger('diffpixel_core').setLevel(logging.ERROR)  # the first one tells
    if config.backbone_weights is not None and not config.resume:
        weights = config.backbone_weights
        first_alone(fabric, lambda: fetch_weights(weights))  # or say why not, before rooms
    train_frames = first_alone(fabric, lambda: open_frames(config.data, 'train'))
    held_out = first_alone(fabric, lambda: open_frames(config.data, 'val'))
    with StopRequest() as stop:
        run = _Run(config, fabric, train_frames, held_out)
        # Now that the settings fit: a refused resume must not replace those of the run.
        only_first(fabric, run.write_records)
        return run.train(stop)


class _Run:
    """What a run consists of, and its loop."""

    def __init__(self, config: TrainConfig, fabric: Fabric, train_frames: Frames,
                 held_out: Frames) -> None:
        self.config, self.fabric, self.held_out = config, fabric, held_out
        self.output = Path(config.output)
        if config.batch % (config.accumulate * fabric.world_size):
            raise TrainError(f'batch is {config.batch}: the frames of a step do not divide evenly '
                             f'over {fabric.world_size} processes and accumulate '
                             f'{config.accumulate}; change one of them')
        self.tf32 = use_tf32(fabric, config.tf32)
        torch.manual_seed(config.seed)  # the same network everywhere
        self.space = (train_frames.label_space if config.label_space == 'data'
                      else load_label_space(config.label_space))
        network, seen, self.start = self._network()
        network = fabric.to_device(network)
        prepare_norms(network, config.batch_norm, fabric.world_size)
        average = AveragedModel(network, config.optimiser.ema)
        model = fabric.setup_module(network)
        average.spread_as(network)
        optimiser = torch.optim.AdamW(
            parameter_groups(network, config.optimiser), betas=config.optimiser.betas,
            eps=config.optimiser.eps,
            # The fused step unscales float16 gradients itself, too late for clipping.
            fused=precision_of(fabric) != '16-mixed')
        self.state = State(fabric, network, optimiser, average, len(train_frames), seen)
        torch.manual_seed(config.seed + fabric.global_rank)  # each drops other paths
        if config.resume:
            self.state.load(self.output / CHECKPOINT, config)
        self.saved = self.state.progress.step if config.resume else None
        self.batches = TrainBatches(
            train_frames, label_space=self.space, augmentation=config.augment, crop=config.crop,
            batch=config.batch, seed=config.seed, parts=config.accumulate,
            rank=fabric.global_rank, world=fabric.world_size)
        self.total = total_steps(config, len(train_frames))
        inputs = NetworkInputs(self.state.normalisation).to(fabric.device)
        self.stepper = Stepper(fabric, model, fabric.setup_optimizers(optimiser), inputs, config,
                               self._class_weights(len(self.space)))

    def _network(self) -> tuple[nn.Module, dict[str, dict[str, Any]], Report | None]:
        """Return the network at its start, what it sees, and what became of backbone weights."""
        config = self.config
        network = build_model(config.model, classes=len(self.space), drop_path=config.drop_path)
        for module in network.modules():
            if isinstance(module, nn.Dropout2d):
                module.p = config.head_dropout
        seen, report = normalisation(('rgb', 'depth')), None
        if config.init_from is not None and not config.resume:
            seen = start_from(network, config.init_from, self.space, config.init_fresh)
        if config.backbone_weights is not None and not config.resume:
            report = load_backbone(network, config.backbone_weights)
            logger.info('%s: %s; every tensor by name in %s', config.backbone_weights,
                        report.summary(), self.output / BACKBONE_RECORD)
        return network, seen, report

    def _class_weights(self, classes: int) -> Tensor | None:
        if self.config.loss.class_weights == 'none':
            return None
        samples = held_out_samples(
            self.batches.frames, sensor='perfect', count=_COUNTED_FRAMES, label_space=self.space,
            rank=self.fabric.global_rank, world=self.fabric.world_size)
        pixels = together(self.fabric, lambda: sum(
            (torch.bincount(torch.from_numpy(sample.labels).flatten(), minlength=256)
             for sample in samples), start=torch.zeros(256, dtype=torch.int64)))
        counts = added(self.fabric, pixels)[:classes]
        return log_class_weights(counts).to(self.fabric.device)

    def write_records(self) -> None:
        """Write what the run is, before it begins."""
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainError(f'cannot make the folder {self.output} ({error.strerror}); choose '
                             'another --output') from error
        write_whole(self.output / 'config.yaml',
                    yaml.safe_dump(plain(self.config), sort_keys=False))
        write_whole(self.output / 'environment.json', json.dumps(
            environment(self.fabric, self.config, tf32=self.tf32), indent=1) + '\n')
        if self.start is not None:
            write_whole(self.output / BACKBONE_RECORD,
                        json.dumps(self.start.as_dict(), indent=1) + '\n')

    def train(self, stop: StopRequest) -> Path:
        """Run to the end, or to a request to stop, and return the final model's directory."""
        try:
            return self._to_the_end(stop)
        except TrainingInterruptedError:
            raise
        except torch.OutOfMemoryError as error:
            raise TrainError(
                f'the GPU has not enough memory for {self.config.batch} frames in '
                f'{self.config.accumulate} parts over {self.fabric.world_size} devices; raise '
                f'accumulate, or lower crop; {self._left_behind}') from error
        except DiffPixelError as error:
            raise TrainError(f'{error}; {self._left_behind}') from error

    def _to_the_end(self, stop: StopRequest) -> Path:
        config, progress, parts = self.config, self.state.progress, self.config.accumulate
        if self.fabric.is_global_zero:
            logger.info('%d steps of %d frames, %.1f epochs of %d, on %d x %s', self.total,
                        config.batch, self.total * config.batch / self.state.frames,
                        self.state.frames, self.fabric.world_size, self.fabric.device.type)
        loader = train_loader(
            self.batches, range(progress.step * parts, self.total * parts),
            workers=config.workers, pinned=self.fabric.device.type == 'cuda')
        log = TrainingLog(self.output, step=progress.step, total=self.total,
                          every=config.log_every,
                          epoch_steps=self.state.frames / config.batch)
        clock = _Clock(progress.elapsed_s)
        with log if self.fabric.is_global_zero else contextlib.nullcontext():
            batches = iter(loader)
            while True:
                if self._due(config.validate_every) and progress.scored < progress.step:
                    self._score_on_the_way(log)
                if self._due(config.save_every):
                    self._save()
                if self._done >= 1:
                    break
                stopping = self._one_step(batches, log, stop, clock)
                if stopping:
                    self._save()
                    raise TrainingInterruptedError(
                        f'stopped after step {progress.step}; continue with --resume true '
                        f'--output {self.output}')
            self._save()
            scores = self._scores(None)
            self._tell(lambda: log.scores(progress.step, scores, minutes=progress.elapsed_s / 60))
        self._save_model('final', {**scores, 'frames': len(self.held_out)})
        return self.output / 'final'

    @property
    def _done(self) -> float:
        """Part of the run that is over, 0..1: by steps or by the clock, whichever is further."""
        by_steps = self.state.progress.step / self.total
        if self.config.max_minutes is None:
            return by_steps
        by_clock = self.state.progress.elapsed_s / 60 / self.config.max_minutes
        return min(1.0, max(by_steps, by_clock))

    def _due(self, every: int) -> bool:
        step = self.state.progress.step
        return step > 0 and step % every == 0

    def _one_step(self, batches: Iterator[Batch], log: TrainingLog, stop: StopRequest,
                  clock: '_Clock') -> bool:
        """Take a step; return whether all processes shall stop after it."""
        progress, config = self.state.progress, self.config
        own, fault, waited_s = take_parts(batches, config.accumulate)
        weights = [self.stepper.weight(part, progress.step) for part in own]
        first = float(self.fabric.is_global_zero)  # its clock counts: all need the same rate
        total_weight, asked, elapsed_s, faults = summed(
            self.fabric, [sum(weights), float(stop.requested), first * clock.elapsed_s,
                          float(bool(fault))])
        if faults:
            self._save()  # the steps before are sound
            told = dict.fromkeys(filter(None, gathered(self.fabric, fault)))
            raise TrainError('; '.join(told))
        progress.elapsed_s = elapsed_s
        # The middle of the step: neither the first nor the last one has rate 0.
        factor = lr_factor(self._done + 0.5 / self.total, config.optimiser)
        row = self.stepper.take(own, progress.step, weights=weights, total_weight=total_weight,
                                lr_factor=factor)
        progress.step += 1
        self.state.average.update(self.state.network, progress.step)
        if self.fabric.world_size == 1:
            progress.elapsed_s = clock.elapsed_s

        def tell() -> None:
            log.step(progress.step, row, images=config.batch, waited_s=waited_s,
                     minutes=progress.elapsed_s / 60, done=self._done)

        if progress.step % config.log_every == 0:
            self._tell(tell)
        elif self.fabric.is_global_zero:
            tell()
        return asked > 0

    @property
    def _left_behind(self) -> str:
        """From where a run that failed can go on."""
        if self.saved is None:
            return 'no checkpoint was written yet: start again'
        return (f'--resume true --output {self.output} goes on from the last checkpoint, after '
                f'step {self.saved}')

    def _score_on_the_way(self, log: TrainingLog) -> None:
        progress = self.state.progress
        count = min(self.config.val_frames, len(self.held_out))
        scores = self._scores(count)
        self._tell(lambda: log.scores(progress.step, scores, minutes=progress.elapsed_s / 60))
        if scores['miou'] > progress.best_miou:
            progress.best_miou = scores['miou']
            self._save_model('best', {**scores, 'frames': count},
                             remark='; chosen by this score')
        progress.scored = progress.step

    def _scores(self, count: int | None) -> dict[str, float]:
        return validate(self.state.average.network(), self.held_out, fabric=self.fabric,
                        config=self.config, space=self.space,
                        normalisation=self.state.normalisation, count=count)

    def _save(self) -> None:
        if self.saved != self.state.progress.step:
            self.state.save(self.output / CHECKPOINT, self.config)
            self.saved = self.state.progress.step

    def _save_model(self, name: str, metrics: dict[str, Any], *, remark: str = '') -> None:
        numbers = precision_of(self.fabric) + (', TF32' if self.tf32 else '')
        manifest = trained_manifest(
            self.config, self.space, normalisation=self.state.normalisation,
            metrics={'held_out': metrics,
                     'protocol': f'{PROTOCOL}: whole frame, native label size, {numbers}{remark}'},
            steps=self.state.progress.step, minutes=self.state.progress.elapsed_s / 60,
            record=environment(self.fabric, self.config, tf32=self.tf32))
        network = self.state.average.network()

        def save() -> None:
            try:
                save_model(self.output / name, network, manifest, half=True)
            except OSError as error:
                raise TrainError(f'cannot write {self.output / name} ({error.strerror}); free some '
                                 'space') from error

        only_first(self.fabric, save)

    def _tell(self, tell: Callable[[], None]) -> None:
        only_first(self.fabric, tell)


class _Clock:
    """Seconds of training, earlier parts of the run included.

    Args:
        earlier_s: Of those parts.
    """

    def __init__(self, earlier_s: float) -> None:
        self._earlier_s, self._started = earlier_s, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return self._earlier_s + time.monotonic() - self._started
