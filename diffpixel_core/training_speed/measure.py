# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Images per second of the pipeline, of a plain loop and of the loader alone."""

import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import track

from diffpixel_core.config import TrainConfig
from diffpixel_core.datasets import Frames, TrainBatches, train_loader
from diffpixel_core.deploy import NetworkInputs
from diffpixel_core.devices import open_fabric, use_tf32
from diffpixel_core.labels import load_label_space
from diffpixel_core.losses import segmentation_loss
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import build_model
from diffpixel_core.train.optimise import AveragedModel, parameter_groups
from diffpixel_core.train.step import Stepper
from diffpixel_core.whole_file import write_whole

_AHEAD = 4  # batches that each process of the loader prepares ahead
_WAITING = 0.05  # share of the time from which on waiting for the loader is worth mending


@dataclass(frozen=True)
class Speed:
    """What was measured; all rates in images per second.

    Attributes:
        device: 'cpu' or the name of the GPU.
        threads: CPU threads of torch.
        cpus: CPUs this process may use.
        torch: Version.
        model: Name of the network.
        precision: As in the recipe.
        batch: Images per step.
        size: `(height, width)` the network sees, pixels.
        workers: Processes of the loader in the pipeline; 0 = none.
        steps: Steps per block.
        pipeline: Median over the blocks.
        plain: Median over the blocks.
        ratio: Median of pipeline over plain, neighbouring blocks.
        ratios: Of every pair of blocks.
        waiting: Share of the pipeline's time spent waiting for the loader.
        loader: The loader alone by number of its processes.
    """

    device: str
    threads: int
    cpus: int
    torch: str
    model: str
    precision: str
    batch: int
    size: tuple[int, int]
    workers: int
    steps: int
    pipeline: float
    plain: float
    ratio: float
    ratios: tuple[float, ...]
    waiting: float
    loader: dict[int, float]

    @property
    def verdict(self) -> str:
        """What a user should make of it, in a sentence or two."""
        if self.waiting > _WAITING:
            enough = [workers for workers, rate in self.loader.items() if rate > 1.2 * self.plain]
            advice = (f'--workers {min(enough)} would do' if enough else
                      'no number of workers tried keeps up; use data.in_memory, or augment less')
            return (f'The loader is the bottleneck: {self.waiting:.0%} of the time is spent '
                    f'waiting for it; {advice}.')
        if self.ratio < 1 - _WAITING:
            return (f'The loader is not waited for ({self.waiting:.1%} of the time), but it, '
                    'clipping and averaged weights cost the step '
                    f'{1 - self.ratio:.0%} of its speed.')
        return f'The loader is not the bottleneck: {self.waiting:.1%} of the time is waiting.'


def measure_speed(config: TrainConfig, frames: Frames, *, steps: int = 10, rounds: int = 3,
                  workers: Sequence[int] | None = None) -> Speed:
    """Return how fast a recipe trains, and how fast its network would without a loader.

    Args:
        config: The recipe; the network starts at random.
        frames: Its training frames.
        steps: Steps per block.
        rounds: Blocks of each kind; which comes first alternates.
        workers: Numbers of loader processes to try alone; none = 0, 1, 2, 4 ... up to the CPUs.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    fabric = open_fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
    use_tf32(fabric, config.tf32)
    space = (frames.label_space if config.label_space == 'data'
             else load_label_space(config.label_space))
    batches = TrainBatches(frames, label_space=space, augmentation=config.augment,
                           crop=config.crop, batch=config.batch, seed=config.seed,
                           parts=config.accumulate)
    cpus = len(os.sched_getaffinity(0))
    tried = ([w for w in (0, 1, 2, 4, 8, 16, 32) if w <= cpus] if workers is None else workers)
    alone = {w: _loader_rate(batches, config, w, steps)
             for w in track(tried, 'loader alone', console=Console(stderr=True))}
    ours = _Pipeline(config, fabric, batches, classes=len(space))
    blocks: dict[Callable[[int], float], list[float]] = {ours.run: [], ours.run_plain: []}
    for i in track(range(rounds), 'pipeline and plain loop', console=Console(stderr=True)):
        order = list(blocks) if i % 2 else list(reversed(blocks))
        for block in order:
            blocks[block].append(steps * config.batch / block(steps))
    pipeline, plain = blocks.values()
    ratios = tuple(a / b for a, b in zip(pipeline, plain, strict=True))
    device = (torch.cuda.get_device_name() if fabric.device.type == 'cuda' else
              f'cpu {platform.machine()}')
    return Speed(device=device, threads=torch.get_num_threads(), cpus=cpus,
                 torch=str(torch.__version__), model=config.model, precision=config.precision,
                 batch=config.batch, size=config.crop, workers=config.workers, steps=steps,
                 pipeline=statistics.median(pipeline), plain=statistics.median(plain),
                 ratio=statistics.median(ratios), ratios=ratios, waiting=ours.waiting,
                 loader=alone)


def _loader_rate(batches: TrainBatches, config: TrainConfig, workers: int, steps: int) -> float:
    """Return images per second of the loader when nobody else needs the CPU."""
    first = max(1, workers)  # one batch from each process: all have started
    count = first + max(steps, 2 * workers) * config.accumulate
    loaded = iter(train_loader(batches, range(count), workers=workers))
    for _ in range(first):
        next(loaded)
    started, images = time.perf_counter(), 0
    for batch in loaded:
        images += len(batch.names)
    return images / (time.perf_counter() - started)


class _Pipeline:
    """The network of a recipe, trained with the loader, and a copy of it without."""

    def __init__(self, config: TrainConfig, fabric: Fabric, batches: TrainBatches, *,
                 classes: int) -> None:
        self._config, self._fabric, self._batches = config, fabric, batches
        torch.manual_seed(config.seed)
        self._network = fabric.to_device(
            build_model(config.model, classes=classes, drop_path=config.drop_path))
        self._plain = copy.deepcopy(self._network).train()
        self._plain_optimiser = torch.optim.AdamW(self._plain.parameters(), lr=1e-6, fused=True)
        self._average = AveragedModel(self._network, config.optimiser.ema)
        model = fabric.setup_module(self._network)
        optimiser = torch.optim.AdamW(parameter_groups(self._network, config.optimiser),
                                      fused=config.precision != '16-mixed')
        # Weights of classes cost the same whatever they are.
        self._class_weights = (None if config.loss.class_weights == 'none' else
                               torch.ones(classes, device=fabric.device))
        inputs = NetworkInputs(normalisation(('rgb', 'depth'))).to(fabric.device)
        self._stepper = Stepper(fabric, model, fabric.setup_optimizers(optimiser), inputs, config,
                                self._class_weights)
        batch = fabric.to_device(batches[0])
        self._images = inputs(batch.rgb, batch.depth_m)
        self._labels = batch.labels
        self._step = 0
        self._waited_s = self._ran_s = 0.0

    @property
    def waiting(self) -> float:
        """Share of the time of all blocks with the loader that was spent waiting for it."""
        return self._waited_s / self._ran_s

    def run(self, steps: int) -> float:
        """Return the seconds that steps with the loader take once it is running.

        It is started anew, so that none of its processes works while the plain loop is timed. What
        it prepares ahead is used up before the clock starts, and it has as much still to prepare
        when the clock stops: else it would rest, and leave the CPUs alone, in the last steps.
        """
        config, parts = self._config, self._config.accumulate
        ahead = _AHEAD * config.workers // parts + 1
        numbers = range(self._step * parts, (self._step + ahead + steps + ahead) * parts)
        loaded = iter(train_loader(self._batches, numbers, workers=config.workers,
                                   pinned=self._fabric.device.type == 'cuda'))
        started = waited_s = 0.0
        for i in range(ahead + steps):
            if i == ahead:
                started, waited_s = self._now(), 0.0
            before = time.perf_counter()
            own = [next(loaded) for _ in range(parts)]
            waited_s += time.perf_counter() - before
            weights = [self._stepper.weight(part, self._step) for part in own]
            self._stepper.take(own, self._step, weights=weights, total_weight=sum(weights),
                               lr_factor=1e-3)
            self._step += 1
            self._average.update(self._network, self._step)
        seconds = self._now() - started
        self._waited_s += waited_s
        self._ran_s += seconds
        return seconds

    def run_plain(self, steps: int) -> float:
        """Return the seconds that steps of the plain loop take."""
        started = 0.0
        for i in range(1 + steps):
            if i == 1:
                started = self._now()
            for _ in range(self._config.accumulate):
                with self._fabric.autocast():
                    output = self._plain(*self._images)
                loss = segmentation_loss(
                    output, self._labels, stride=self._config.loss.stride,
                    class_weights=self._class_weights,
                    label_smoothing=self._config.loss.label_smoothing).total
                loss.backward()
            self._plain_optimiser.step()
            self._plain_optimiser.zero_grad(set_to_none=True)
        return self._now() - started

    def _now(self) -> float:
        if self._fabric.device.type == 'cuda':
            torch.cuda.synchronize(self._fabric.device)
        return time.perf_counter()


def describe_speed(speed: Speed) -> str:
    """Return the figures as lines to read."""
    low, high = min(speed.ratios), max(speed.ratios)
    loader = ', '.join(f'{workers}: {rate:.1f}' for workers, rate in speed.loader.items())
    return '\n'.join([
        f'{speed.model}, batch {speed.batch} of {speed.size[0]}x{speed.size[1]}, '
        f'{speed.precision}; {speed.device}, {speed.threads} threads of {speed.cpus} CPUs, '
        f'torch {speed.torch}',
        f'pipeline ({speed.workers} loader processes)  {speed.pipeline:8.2f} images/s',
        f'plain loop, one fixed batch      {speed.plain:8.2f} images/s',
        f'ratio {speed.ratio:.3f} ({low:.3f} to {high:.3f} over {len(speed.ratios)} rounds of '
        f'{speed.steps} steps)',
        f'loader alone, images/s by processes: {loader}',
        speed.verdict])


def write_figures(speed: Speed, file: Path) -> None:
    """Write all figures and the verdict as JSON, whole or not at all.

    Raises:
        TrainError: If the file cannot be written.
    """
    write_whole(file, json.dumps({**asdict(speed), 'verdict': speed.verdict}, indent=1) + '\n')
