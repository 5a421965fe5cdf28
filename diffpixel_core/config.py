# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of training and evaluation: dataclasses with defaults, overridden by YAML and flags."""

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from diffpixel_core.depth import DEPTH_UNITS
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import LABEL_SPACES, is_label_space

Sensor = Literal['perfect', 'kinect_v1', 'realsense']


class ConfigError(DiffPixelError):
    """A setting that does not exist, has the wrong type, or contradicts another."""


@dataclass(frozen=True)
class DataConfig:
    """Where frames come from: rooms generated on first use, or folders of images."""

    source: Literal['generated', 'dataset'] = 'generated'
    path: str = ''                      # source 'dataset': its folder, or a YAML describing it
    val_path: str = ''                  # held-out frames elsewhere; '' = a split of `path`
    train_split: str = 'auto'           # split to train on; 'auto' = 'train'
    val_split: str = 'auto'             # split to score on; 'auto' = 'val', else 'test'
    depth_unit: str = 'mm'              # of the depth images, where the layout does not say
    labels: str = 'nyu40'               # of the label images, where the layout does not say
    cache: str = 'out/rooms'            # folder of generated rooms and decoded frames
    train_seed: int = 1000              # draws the training rooms
    train_count: int = 3000             # generated training frames
    val_seed: int = 900_000             # draws the held-out rooms
    val_count: int = 200                # generated held-out frames
    size: tuple[int, int] = (240, 320)  # height, width of generated frames, pixels
    val_sensor: Sensor = 'kinect_v1'    # noise on held-out frames that hold exact depth
    in_memory: bool = True              # decode once into mapped arrays
    render_workers: int = 2             # processes that render rooms

    def __post_init__(self) -> None:
        """Refuse splits that overlap and units that do not exist."""
        _require(is_label_space(self.labels), 'data.labels', self.labels, LABEL_SPACES)
        _require(self.depth_unit in DEPTH_UNITS, 'data.depth_unit', self.depth_unit, DEPTH_UNITS)
        if min(self.size) < 1 or self.train_count < 1 or self.val_count < 1:
            raise ConfigError(f'data.size {self.size}, train_count {self.train_count} and '
                              f'val_count {self.val_count} must be positive')
        if self.source == 'dataset' and not self.path:
            raise ConfigError("data.source 'dataset' needs data.path: a folder or a YAML")
        if self.source == 'generated' and self.train_seed == self.val_seed:
            raise ConfigError(f'data.train_seed and data.val_seed are both {self.val_seed}: the '
                              'held-out rooms would be training rooms; change one')


@dataclass(frozen=True)
class AugmentConfig:
    """How training frames are varied; probabilities are per sample."""

    flip: float = 0.5                               # mirrored left-right
    scale: tuple[float, float] = (0.75, 1.6)        # smallest, largest enlargement before the crop
    jitter: float = 0.8                             # brightness, contrast, saturation, hue, gamma
    grey: float = 0.05                              # colour image without colour
    blur: float = 0.2                               # out of focus, 0.3 to 1.5 pixels
    noise: float = 0.3                              # pixel noise, up to 12 of 255
    jpeg: float = 0.2                               # compression artefacts, quality 25 to 90
    sensors: tuple[Sensor, ...] = ('perfect', 'kinect_v1', 'realsense')  # one is drawn; may repeat
    holes: float = 0.3                              # rectangles or blobs without depth
    depth_scale: float = 0.03                       # +- relative error of all depth
    drop_depth: float = 0.1                         # no depth at all
    drop_colour: float = 0.05                       # black colour image

    def __post_init__(self) -> None:
        """Refuse probabilities outside 0..1 and scales that make no image."""
        for name in ('flip', 'jitter', 'grey', 'blur', 'noise', 'jpeg', 'holes', 'drop_depth',
                     'drop_colour'):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f'augment.{name} is {getattr(self, name)}; a probability lies '
                                  'between 0 and 1')
        if self.drop_depth + self.drop_colour > 1:
            raise ConfigError(f'augment.drop_depth {self.drop_depth} + drop_colour '
                              f'{self.drop_colour} exceed 1; both are never dropped together')
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f'augment.scale is {self.scale}; give (smallest, largest), both > 0')
        if not 0 <= self.depth_scale < 1 or not self.sensors:
            raise ConfigError(f'augment.depth_scale is {self.depth_scale} (0 <= it < 1) and '
                              f'augment.sensors is {self.sensors} (at least one)')


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW, its schedule and the averaged weights."""

    lr: float = 6e-4                        # peak learning rate
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01              # 0 for norms, biases, factors and noise tokens
    head_lr_factor: float = 1.0             # decoder's learning rate over the encoder's
    warmup: float = 0.05                    # fraction of the run
    schedule: Literal['poly', 'cosine'] = 'cosine'
    power: float = 0.9                      # exponent of 'poly'
    final_lr_fraction: float = 0.0          # of the peak, at the end
    clip_norm: float = 1.0                  # gradient norm is clipped to it; 0 = not
    ema: float = 0.999                      # decay of the averaged weights per step; 0 = none

    def __post_init__(self) -> None:
        """Refuse values for which the optimiser would not descend."""
        if not self.lr > 0 or self.weight_decay < 0 or self.clip_norm < 0:
            raise ConfigError(f'optimiser.lr {self.lr} must be > 0, weight_decay '
                              f'{self.weight_decay} and clip_norm {self.clip_norm} >= 0')
        if not 0 <= self.warmup < 1 or not 0 <= self.ema < 1:
            raise ConfigError(f'optimiser.warmup is {self.warmup} and ema {self.ema}; both are '
                              'fractions: 0 <= value < 1')


@dataclass(frozen=True)
class LossConfig:
    """Cross-entropy of the colour, depth and ensemble scores."""

    stride: Literal[1, 2, 4] = 1                    # every n-th label pixel, both directions
    label_smoothing: float = 0.0                    # 0..1
    class_weights: Literal['none', 'log'] = 'none'  # 'log': 1 / ln(1.1 + share of the class)

    def __post_init__(self) -> None:
        """Refuse smoothing that leaves nothing of the label."""
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f'loss.label_smoothing is {self.label_smoothing}; 0 <= value < 1')


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    model: str = 'diffpixelformer_t'        # key of models.MODELS
    label_space: str = 'data'               # the head predicts it; 'data' = that of the data set
    output: str = 'out/train'               # folder of checkpoints, logs and models
    crop: tuple[int, int] = (240, 320)      # height, width the network sees, pixels
    batch: int = 8                          # frames per step
    steps: int = 4000                       # length of the run
    max_minutes: float | None = None        # shorter of the two: the schedule follows the clock
    seed: int = 0
    drop_path: float = 0.0                  # stochastic depth of the last block, 0 <= it < 1
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    accelerator: Literal['auto', 'cpu', 'cuda'] = 'auto'
    threads: int | None = None              # CPU threads of torch; none = all
    workers: int = 1                        # processes that load and augment; 0 = none
    log_every: int = 20                     # steps
    validate_every: int = 250               # steps
    val_frames: int = 100                   # held-out frames scored while training
    save_every: int = 250                   # steps between resumable checkpoints
    resume: bool = False                    # continue from <output>/last.ckpt
    init_from: str | None = None            # model directory whose weights to start from
    backbone_weights: str | None = None     # ImageNet weights: a file or a Hub repository
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Refuse runs of no length and sizes no network takes."""
        _require(self.label_space == 'data' or is_label_space(self.label_space), 'label_space',
                 self.label_space, ('data', *LABEL_SPACES))
        for name in ('batch', 'steps', 'log_every', 'validate_every', 'val_frames', 'save_every'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be at least 1')
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f'drop_path is {self.drop_path}; 0 <= value < 1')
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigError(f'max_minutes is {self.max_minutes}; give minutes > 0 or leave it '
                              'out')
        if any(side < 32 or side % self.loss.stride for side in self.crop):
            raise ConfigError(f'crop is {self.crop}; each side must be at least 32 and a multiple '
                              f'of loss.stride ({self.loss.stride})')
        if (self.threads is not None and self.threads < 1) or self.workers < 0:
            raise ConfigError(f'threads is {self.threads} (at least 1) and workers {self.workers} '
                              '(at least 0)')
        if self.resume and self.init_from is not None:
            raise ConfigError('resume and init_from contradict: a resumed run has its weights; '
                              'leave one of them out')
        if self.init_from is not None and self.backbone_weights is not None:
            raise ConfigError('init_from and backbone_weights contradict: each says which weights '
                              'to start from; leave one of them out')


def _require(condition: bool, key: str, value: str, choices: Sequence[str]) -> None:
    if not condition:
        raise ConfigError(f'{key} is {value!r}; choose one of {", ".join(choices)}')


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the settings of a training run: defaults, then YAML, then flags.

    Args:
        path: YAML file with any of the keys of `TrainConfig`.
        overrides: Flags as on the command line: `--optimiser.lr 1e-3` or `--batch=4`.

    Raises:
        ConfigError: On an unreadable file, an unknown key (the nearest one is named), a value of
            the wrong type or settings that contradict each other.
    """
    config: TrainConfig = _load(TrainConfig, _read_yaml(Path(path)), str(path), overrides)
    return config


def load_data_config(path: str | Path, overrides: Sequence[str] = ()) -> DataConfig:
    """Return where frames come from, out of a YAML with the keys of `DataConfig`.

    A training recipe serves too: then its `data` section counts.

    Raises:
        ConfigError: As `load_config`.
    """
    rows = _read_yaml(Path(path))
    if isinstance(rows.get('data'), dict):
        rows = rows['data']
    config: DataConfig = _load(DataConfig, rows, str(path), overrides)
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        rows = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'settings {path} cannot be read ({error}); give a YAML file') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'{path} is no YAML: {" ".join(str(error).split())}') from error
    if rows is None:
        return {}
    if not isinstance(rows, dict):
        raise ConfigError(f'{path} holds a {type(rows).__name__}, it should hold `key: value` '
                          'lines')
    return rows


def _load(kind: type[Any], rows: dict[str, Any], name: str, overrides: Sequence[str]) -> Any:
    known = _keys(kind)
    for key in _flatten(rows):
        _require_known(key, known, name)
    flags: list[str] = []
    words = iter(overrides)
    for word in words:
        if not word.startswith('--'):
            raise ConfigError(f'{word!r} is no setting; write --key value')
        key, equals, value = word[2:].partition('=')
        key = key.replace('-', '_')
        _require_known(key, known, 'the command line')
        if not equals:
            try:
                value = next(words)
            except StopIteration:
                raise ConfigError(f'--{key} needs a value') from None
        flags.append(f'--{key}={value}')

    import jsonargparse  # half a tenth of a second, needed by no other user of this module

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_args(flags, namespace=parser.parse_object(rows))
        return kind(**vars(parser.instantiate(parsed)))
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f'{name}: {" ".join(str(error).split())}') from error


def _keys(kind: type[Any], prefix: str = '') -> dict[str, bool]:
    """Return every dotted key of a settings class; True for those that hold further keys."""
    hints = typing.get_type_hints(kind)
    keys: dict[str, bool] = {}
    for row in dataclasses.fields(kind):
        nested = dataclasses.is_dataclass(hints[row.name])
        keys[prefix + row.name] = nested
        if nested:
            keys |= _keys(hints[row.name], f'{prefix}{row.name}.')
    return keys


def _flatten(rows: dict[str, Any], prefix: str = '') -> list[str]:
    keys: list[str] = []
    for key, value in rows.items():
        keys += (_flatten(value, f'{prefix}{key}.') if isinstance(value, dict) and value
                 else [f'{prefix}{key}'])
    return keys


def _require_known(key: str, known: dict[str, bool], name: str) -> None:
    if key in known:
        return
    last = key.rsplit('.', 1)[-1]
    by_last = {row.rsplit('.', 1)[-1]: row for row in known}
    nearest = (difflib.get_close_matches(key, known, 1, 0.6)
               or [by_last[row] for row in difflib.get_close_matches(last, by_last, 1, 0.5)])
    hint = f'; did you mean {nearest[0]!r}?' if nearest else f'; known: {", ".join(known)}'
    raise ConfigError(f'{name} sets {key!r}, which is no setting{hint}')
