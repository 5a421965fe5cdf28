# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a run would do, before it does it: its length and its learning rate over the steps."""

import dataclasses
import io
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from diffpixel_core.config import TrainConfig
from diffpixel_core.datasets import open_frames
from diffpixel_core.models import build_model
from diffpixel_core.train.guard import TrainError
from diffpixel_core.train.optimise import parameter_groups
from diffpixel_core.train.schedule import STAGES, lr_factor, total_steps
from diffpixel_core.whole_file import write_whole

_ROWS = 12  # of the trace as text


@dataclass(frozen=True)
class Plan:
    """The schedule of a run.

    Attributes:
        config: Its settings.
        frames: Training frames.
        steps: Its length.
        factors: Learning rate over its peak at each step, at most 0..1.
        warmups: Step with the highest rate of each stage, the end of its warm-up; from 0.
    """

    config: TrainConfig
    frames: int
    steps: int
    factors: tuple[float, ...]
    warmups: tuple[int, ...]

    @property
    def epochs(self) -> float:
        """Passes over the training frames."""
        return self.steps * self.config.batch / self.frames

    def text(self) -> str:
        """Return the plan as lines for a terminal."""
        config, settings = self.config, self.config.optimiser
        shape = settings.schedule + (f' in {STAGES} stages' if settings.schedule == 'released'
                                     else '')
        lines = [
            f'recipe {config.recipe}: {config.model}, {config.precision}',
            f'{self.steps} steps of {config.batch} frames = {self.epochs:.1f} epochs of '
            f'{self.frames} frames = {self.steps * config.batch} images',
            f'{shape}, {self._warmed_up}'
            + (f', or sooner: at most {config.max_minutes} minutes' if config.max_minutes else ''),
            *_groups(config),
            f'{"step":>9} {"lr":>9}',
        ]
        for row in range(_ROWS + 1):
            step = min(self.steps - 1, round(row / _ROWS * (self.steps - 1)))
            lines.append(f'{step:>9} {settings.lr * self.factors[step]:>9.2e} '
                         + '#' * round(50 * self.factors[step]))
        return '\n'.join(lines)

    @property
    def _warmed_up(self) -> str:
        steps = ', '.join(str(step) for step in self.warmups)
        return (f'warm-up ends at step {steps} ({100 * self.warmups[0] / self.steps:.1f} % of the '
                'run)')

    def picture(self, kind: str) -> bytes:
        """Return the learning rate over the run, drawn: the content of a file.

        Args:
            kind: 'png' or 'svg'.
        """
        import matplotlib  # a second, needed by nothing else here

        matplotlib.use('Agg')
        from matplotlib.figure import Figure

        lr = self.config.optimiser.lr
        figure = Figure(figsize=(6.4, 2.4), layout='constrained')
        axes = figure.subplots()
        axes.plot(range(self.steps), [lr * factor for factor in self.factors], color='#1f5fa8')
        for step in self.warmups:
            axes.axvline(step, color='#888888', linewidth=0.8, linestyle='--')
            axes.annotate(f'warm-up ends\nstep {step}, {lr * self.factors[step]:.1e}',
                          (step, lr * self.factors[step]), xytext=(4, 3),
                          textcoords='offset points', fontsize=8, color='#555555')
        axes.set(xlabel=f'optimiser step ({self.config.batch} frames each)',
                 ylabel='learning rate\nof the encoder', xlim=(0, self.steps),
                 ylim=(0, 1.3 * lr))
        axes.set_title(f'{self.config.recipe}: {self.steps} steps = {self.epochs:.0f} epochs of '
                       f'{self.frames} frames', fontsize=9)
        axes.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
        drawing = io.BytesIO()
        with matplotlib.rc_context({'svg.hashsalt': 'diffpixel'}):  # the same plan, the same file
            figure.savefig(drawing, format=kind, dpi=100,
                           metadata={'Date': None} if kind == 'svg' else None)
        return drawing.getvalue()


def plan_run(config: TrainConfig) -> Plan:
    """Return what a run with these settings would do; nothing is rendered or decoded.

    Raises:
        DiffPixelError: If its data are missing.
    """
    if config.data.source == 'generated':
        frames = config.data.train_count
    else:
        frames = len(open_frames(dataclasses.replace(config.data, in_memory=False), 'train'))
    steps = total_steps(config, frames)
    factors = tuple(lr_factor((step + 0.5) / steps, config.optimiser) for step in range(steps))
    stages = STAGES if config.optimiser.schedule == 'released' else 1
    starts = [math.ceil(stage * steps / stages) for stage in range(stages + 1)]
    peaks = tuple(max(range(first, end), key=factors.__getitem__)
                  for first, end in itertools.pairwise(starts) if first < end)
    return Plan(config, frames, steps, factors, peaks)


def save_picture(plan: Plan, path: Path) -> None:
    """Write the learning rate over the run as a picture.

    Raises:
        TrainError: If the name ends neither in .png nor in .svg, or the file cannot be written.
    """
    if path.suffix not in ('.png', '.svg'):
        raise TrainError(f'{path}: pictures are PNG or SVG files; name it *.png or *.svg')
    write_whole(path, plan.picture(path.suffix[1:]))


def _groups(config: TrainConfig) -> list[str]:
    with torch.device('meta'):  # shapes only
        network = build_model(config.model, classes=40)
    return [f'{sum(math.prod(tensor.shape) for tensor in group["params"]):>13,} parameters of the '
            f'{group["part"]}, peak {group["peak_lr"]:.1e}, decay {group["weight_decay"]:g}'
            for group in parameter_groups(network, config.optimiser)]
