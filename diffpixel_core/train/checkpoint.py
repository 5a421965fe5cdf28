# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A run on disk: everything it needs to go on exactly as if nothing had happened."""

import dataclasses
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffpixel_core.checkpoints import require_same_tensors
from diffpixel_core.config import TrainConfig
from diffpixel_core.train.guard import TrainError
from diffpixel_core.train.optimise import AveragedModel
from diffpixel_core.train.ranks import gathered, only_first
from diffpixel_core.train.record import plain
from diffpixel_core.train.sharding import (
    load_whole,
    spread_optimiser_state,
    whole_optimiser_state,
    whole_state,
)
from diffpixel_core.whole_file import whole

logger = logging.getLogger(__name__)

CHECKPOINT = 'last.ckpt'
_VERSION = 2
# What a resumed run must have in common with the one that wrote the checkpoint.
_FIXED = ('model', 'label_space', 'crop', 'batch', 'accumulate', 'seed')


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Steps done; it is the sampler's position, too.
        elapsed_s: Seconds spent on them, earlier parts of the run included.
        best_miou: Highest mIoU on held-out frames so far, 0..1.
        scored: Step of the last scoring on held-out frames.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best_miou: float = 0.0
    scored: int = 0


@dataclass
class State:
    """What moves in a run.

    Attributes:
        fabric: Its processes.
        network: The network, sharded or not, without Fabric's wrapper.
        optimiser: Torch's optimiser.
        average: The averaged network.
        frames: Number of training frames.
        normalisation: What the network sees, as in a manifest.
        progress: How far it is.
    """

    fabric: Fabric
    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: AveragedModel
    frames: int
    normalisation: dict[str, dict[str, Any]]
    progress: Progress = dataclasses.field(default_factory=Progress)

    def save(self, path: Path, config: TrainConfig) -> None:
        """Write the checkpoint, whole or not at all; every process calls this.

        Raises:
            TrainError: If it cannot be written; the one before it is still there.
        """
        content = {
            'version': _VERSION,
            'world': self.fabric.world_size,
            'frames': self.frames,
            'progress': dataclasses.asdict(self.progress),
            'config': json.dumps(plain(config)),
            'normalisation': json.dumps(self.normalisation),
            'model': whole_state(self.network.state_dict()),
            'average': self.average.state_dict(),
            'optimiser': whole_optimiser_state(self.optimiser.state_dict()),
            'precision': self.fabric.strategy.precision.state_dict(),
            'random': gathered(self.fabric, _random_state(self.fabric)),
        }
        only_first(self.fabric, lambda: _write(path, content))

    def load(self, path: Path, config: TrainConfig) -> None:
        """Go on where a checkpoint stopped; every process calls this.

        Rates and weight decay are those now asked for.

        Raises:
            TrainError: If it is missing, damaged, or of another run.
            CheckpointError: If it is of another network, as that of other classes is.
        """
        content = _read(path)
        _require_same_run(path, content, config, self)
        require_same_tensors(content['model'], self.network.state_dict(), name=str(path),
                             remedy='Resume with the label space or data set description it was '
                                    'trained with')
        self.normalisation = json.loads(content['normalisation'])
        load_whole(self.network, content['model'])
        self.average.load_state_dict(content['average'])
        groups = self.optimiser.param_groups
        for saved, group in zip(content['optimiser']['param_groups'], groups, strict=True):
            saved |= {key: value for key, value in group.items() if key != 'params'}
        self.optimiser.load_state_dict(spread_optimiser_state(
            content['optimiser'], [tensor for group in groups for tensor in group['params']]))
        if content['precision']:  # empty unless float16 scaled its gradients
            self.fabric.strategy.precision.load_state_dict(content['precision'])
        self.progress = Progress(**content['progress'])
        own = content['random'][self.fabric.global_rank]
        torch.set_rng_state(own['cpu'])
        if 'cuda' in own and self.fabric.device.type == 'cuda':
            torch.cuda.set_rng_state(own['cuda'], self.fabric.device)
        logger.info('resumed after step %d', self.progress.step)


def _random_state(fabric: Fabric) -> dict[str, Tensor]:
    """Return this process's generators: of dropped paths and channels; data needs none."""
    state = {'cpu': torch.get_rng_state()}
    if fabric.device.type == 'cuda':
        state['cuda'] = torch.cuda.get_rng_state(fabric.device)
    return state


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        with whole(path) as part, part.open('wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name without content
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TrainError(f'cannot write {path} ({str(error).splitlines()[0]}); free some space') \
            from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
        version = content['version']
    except FileNotFoundError as error:
        raise TrainError(f'nothing to resume: {path} does not exist; leave --resume out to start, '
                         'or name the --output of the run') from error
    except Exception as error:  # torch.load raises a dozen kinds on a damaged file
        raise TrainError(f'{path} is no checkpoint of a training run '
                         f'({(str(error).splitlines() or [""])[0]}); start again') from error
    if version != _VERSION:
        raise TrainError(f'{path} has version {version}, this program writes {_VERSION}; finish '
                         'the run with the program that began it, or start again')
    return content


def _require_same_run(path: Path, content: dict[str, Any], config: TrainConfig,
                      state: State) -> None:
    earlier, now = json.loads(content['config']), plain(config)
    for key in _FIXED:
        if earlier[key] != now[key]:
            raise TrainError(f'{path} was trained with {key} {earlier[key]!r}, not {now[key]!r}; '
                             'resume with the same or choose another --output')
    if content['world'] != state.fabric.world_size:
        raise TrainError(f'{path} was trained by {content["world"]} processes, this run has '
                         f'{state.fabric.world_size}; resume with as many, or begin a new run '
                         'from its model with --init_from')
    if content['frames'] != state.frames:
        raise TrainError(f'{path} was trained on {content["frames"]} frames, now there are '
                         f'{state.frames}; resume with the same data or choose another --output')
