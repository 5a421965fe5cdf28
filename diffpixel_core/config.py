# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of training and evaluation: dataclasses with defaults, overridden by YAML and flags."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from diffpixel_core.depth import READABLE_UNITS
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.labels import LABEL_SPACES, is_label_space
from diffpixel_core.recipes import RECIPES, merged

Sensor = Literal['perfect', 'kinect_v1', 'realsense']
FreshPart = Literal['classifier', 'decoder', 'fusions']  # 'decoder' has the classifier, too


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
    depth_unit: str | None = None       # of the depth images; None = what the layout says
    labels: str | None = None           # label space of the label images; None = likewise
    raw_depth: bool = False             # as measured, with holes, where there is in-painted, too
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
        if self.labels is not None:
            _require(is_label_space(self.labels), 'data.labels', self.labels, LABEL_SPACES)
        if self.depth_unit is not None:
            _require(self.depth_unit in READABLE_UNITS, 'data.depth_unit', self.depth_unit,
                     READABLE_UNITS)
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
    """How training frames are varied; probabilities are per sample.

    What the published recipe does is named: `scale_draw: uniform`, `jitter_kind: published`,
    `blur_kind: 3x3`.
    """

    flip: float = 0.5                               # mirrored left-right
    scale: tuple[float, float] = (0.75, 1.6)        # size range; 1 = shorter side as the crop's
    scale_draw: Literal['log_uniform', 'uniform'] = 'log_uniform'  # how it is drawn from the range
    jitter: float = 0.8                             # other light and other colours
    jitter_kind: Literal['camera', 'published'] = 'camera'  # gamma, white balance, hue too; or not
    grey: float = 0.05                              # colour image without colour
    blur: float = 0.2                               # out of focus
    blur_kind: Literal['lens', '3x3'] = 'lens'      # sigma 0.3 to 1.5 pixels; or 3x3, sigma 0.8
    noise: float = 0.3                              # pixel noise, up to 12 of 255
    jpeg: float = 0.2                               # compression artefacts, quality 25 to 90
    sensors: tuple[Sensor, ...] = ('perfect', 'kinect_v1', 'realsense')  # one is drawn; may repeat
    depth_noise: float = 0.0                        # axial noise, coarse steps: for measured depth
    holes: float = 0.3                              # rectangles or blobs without depth
    depth_scale: float = 0.03                       # +- relative error of all depth
    drop_depth: float = 0.1                         # no depth at all
    drop_colour: float = 0.05                       # black colour image

    def __post_init__(self) -> None:
        """Refuse probabilities outside 0..1 and scales that make no image."""
        for name in ('flip', 'jitter', 'grey', 'blur', 'noise', 'jpeg', 'depth_noise', 'holes',
                     'drop_depth', 'drop_colour'):
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

    lr: float = 1e-4                        # peak learning rate, for a step of `batch` frames
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01              # 0 for norms, biases, factors and noise tokens
    head_lr_factor: float = 10.0            # decoder's learning rate over the encoder's
    ensemble_lr_factor: float = 1.0         # the ensemble's two weights; 0 = they stay equal
    warmup: float = 0.05                    # fraction of the run, in 'released' of each stage
    schedule: Literal['poly', 'cosine', 'released'] = 'cosine'
    power: float = 0.9                      # exponent of 'poly' and 'released'
    final_lr_fraction: float = 0.0          # of the peak, at the end
    clip_norm: float = 1.0                  # gradient norm is clipped to it; 0 = not
    ema: float = 0.999                      # decay of the averaged weights per step; 0 = none

    def __post_init__(self) -> None:
        """Refuse values for which the optimiser would not descend."""
        for name in ('weight_decay', 'clip_norm', 'head_lr_factor', 'ensemble_lr_factor'):
            if getattr(self, name) < 0:
                raise ConfigError(f'optimiser.{name} is {getattr(self, name)}; it must be >= 0')
        if not self.lr > 0 or not self.power > 0:
            raise ConfigError(f'optimiser.lr is {self.lr} and power {self.power}; both must be > 0')
        if not 0 <= self.warmup < 1 or not 0 <= self.ema < 1:
            raise ConfigError(f'optimiser.warmup is {self.warmup} and ema {self.ema}; both are '
                              'fractions: 0 <= value < 1')
        if not 0 <= self.final_lr_fraction <= 1:
            raise ConfigError(f'optimiser.final_lr_fraction is {self.final_lr_fraction}; it is a '
                              'fraction of the peak: 0 <= value <= 1')


@dataclass(frozen=True)
class LossConfig:
    """Cross-entropy of the colour, depth and ensemble scores."""

    stride: Literal[1, 2, 4] = 1                    # every n-th label pixel, both directions
    phase: Literal['random', 'fixed'] = 'random'    # which of them: drawn every step, or the middle
    label_smoothing: float = 0.0                    # 0..1
    class_weights: Literal['none', 'log'] = 'none'  # 'log': 1 / ln(1.1 + share of the class)

    def __post_init__(self) -> None:
        """Refuse smoothing that leaves nothing of the label."""
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f'loss.label_smoothing is {self.label_smoothing}; 0 <= value < 1')


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    A step sees `batch` frames, however many devices share them and in however many parts each
    takes its share: the same recipe is the same training on one GPU and on eight.
    """

    model: str = 'diffpixelformer_t'        # key of models.MODELS
    recipe: str = 'fixed'                   # named defaults below YAML and flags: recipes.RECIPES
    label_space: str = 'data'               # the head predicts it; 'data' = that of the data set
    output: str = 'out/train'               # folder of checkpoints, logs and models
    crop: tuple[int, int] = (240, 320)      # height, width the network sees, pixels
    batch: int = 16                         # frames per step, over all devices
    accumulate: int = 1                     # parts in which a device takes its share of a step
    epochs: float = 300.0                   # length of the run: passes over the training frames
    steps: int | None = None                # length in steps instead
    max_minutes: float | None = None        # shorter of the two: the schedule follows the clock
    seed: int = 0
    drop_path: float = 0.4                  # stochastic depth of the last block, 0 <= it < 1
    head_dropout: float = 0.1               # of the decoder's channels, 0 <= it < 1
    batch_norm: Literal['train', 'frozen', 'sync'] = 'sync'  # statistics of a device, none, of all
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    tf32: bool = True                       # float32 products of a GPU keep 10 bits of mantissa
    accelerator: Literal['auto', 'cpu', 'cuda'] = 'auto'
    devices: int | Literal['auto'] = 'auto'  # per machine; 'auto' = as many as were started, or 1
    num_nodes: int = 1                      # machines
    strategy: Literal['auto', 'ddp', 'fsdp'] = 'auto'  # 'fsdp' = the network is sharded, too
    threads: int | None = None              # CPU threads of torch; none = all
    workers: int = 1                        # processes per device that load and augment; 0 = none
    log_every: int = 20                     # steps
    validate_every: int = 250               # steps
    val_frames: int = 100                   # held-out frames scored while training
    save_every: int = 250                   # steps between resumable checkpoints
    resume: bool = False                    # continue from <output>/last.ckpt, not from init_from
    init_from: str | None = None            # model directory whose weights to start from
    init_fresh: tuple[FreshPart, ...] = ()  # parts of the network that do not: for other classes
    backbone_weights: str | None = None     # ImageNet weights: a file or a Hub repository
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Refuse runs of no length and sizes no network takes."""
        _require(self.label_space == 'data' or is_label_space(self.label_space), 'label_space',
                 self.label_space, ('data', *LABEL_SPACES))
        _require(self.recipe in RECIPES, 'recipe', self.recipe, tuple(RECIPES))
        for name in ('batch', 'accumulate', 'steps', 'num_nodes', 'devices', 'log_every',
                     'validate_every', 'val_frames', 'save_every', 'threads'):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f'{name} is {value}; it must be at least 1')
        for name in ('drop_path', 'head_dropout'):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}; 0 <= value < 1')
        if not self.epochs > 0:
            raise ConfigError(f'epochs is {self.epochs}; a run has a length > 0')
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigError(f'max_minutes is {self.max_minutes}; give minutes > 0 or leave it '
                              'out')
        if any(side < 32 or side % self.loss.stride for side in self.crop):
            raise ConfigError(f'crop is {self.crop}; each side must be at least 32 and a multiple '
                              f'of loss.stride ({self.loss.stride})')
        if self.workers < 0:
            raise ConfigError(f'workers is {self.workers}; it must be at least 0')
        if self.batch % self.accumulate:
            raise ConfigError(f'batch is {self.batch} and accumulate {self.accumulate}; the frames '
                              'of a step must divide evenly into its parts')
        if self.precision == '16-mixed' and self.strategy == 'fsdp':
            raise ConfigError("precision '16-mixed' cannot be sharded: its scaling of gradients "
                              "does not know shards; use 'bf16-mixed' with strategy 'fsdp'")
        if self.init_fresh and self.init_from is None:
            raise ConfigError(f'init_fresh {list(self.init_fresh)} says what not to take from '
                              'init_from, which is not given')
        if self.init_from is not None and self.backbone_weights is not None:
            raise ConfigError('init_from and backbone_weights contradict: each says which weights '
                              'to start from; leave one of them out')


def _require(condition: bool, key: str, value: str, choices: Sequence[str]) -> None:
    if not condition:
        raise ConfigError(f'{key} is {value!r}; choose one of {", ".join(choices)}')


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the settings of a training run: defaults, then its recipe's, then YAML, then flags.

    A length given as epochs replaces one given as steps before, and the other way about.

    Args:
        path: YAML file with any of the keys of `TrainConfig`.
        overrides: Flags as on the command line: `--optimiser.lr 1e-3` or `--batch=4`.

    Raises:
        ConfigError: On an unreadable file, an unknown key (the nearest one is named), a value of
            the wrong type or settings that contradict each other.
    """
    rows = _read_yaml(Path(path))
    known = _keys(TrainConfig)
    for key in _flatten(rows):
        _require_known(key, known, str(path))
    flags = _flags(overrides, known)
    recipe = next((flag.partition('=')[2] for flag in reversed(flags)
                   if flag.startswith('--recipe=')), rows.get('recipe', 'fixed'))
    _require(isinstance(recipe, str) and recipe in RECIPES, 'recipe', str(recipe), tuple(RECIPES))
    if _length(flags) == {'epochs'}:
        flags.append('--steps=null')
    config: TrainConfig = _load(TrainConfig, merged(RECIPES[recipe], rows), str(path), flags)
    return config


def _length(flags: Sequence[str]) -> set[str]:
    return {'epochs', 'steps'} & {flag.partition('=')[0][2:] for flag in flags}


def load_data_config(path: str | Path, overrides: Sequence[str] = ()) -> DataConfig:
    """Return where frames come from, out of a YAML with the keys of `DataConfig`.

    A training recipe serves too: then its `data` section counts.

    Raises:
        ConfigError: As `load_config`.
    """
    rows = _read_yaml(Path(path))
    if isinstance(rows.get('data'), dict):
        rows = rows['data']
    known = _keys(DataConfig)
    for key in _flatten(rows):
        _require_known(key, known, str(path))
    config: DataConfig = _load(DataConfig, rows, str(path), _flags(overrides, known))
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


def _flags(words: Sequence[str], known: Mapping[str, bool]) -> list[str]:
    """Return the settings of a command line, each as `--key=value`."""
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith('--'):
            raise ConfigError(f'{word!r} is no setting; write --key value')
        key, equals, value = word[2:].partition('=')
        key = key.replace('-', '_')
        _require_known(key, known, 'the command line')
        if not equals:
            try:
                value = next(rest)
            except StopIteration:
                raise ConfigError(f'--{key} needs a value') from None
        flags.append(f'--{key}={value}')
    return flags


def _load(kind: type[Any], rows: dict[str, Any], name: str, flags: Sequence[str]) -> Any:
    import jsonargparse  # half a tenth of a second, needed by no other user of this module

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_args(list(flags), namespace=parser.parse_object(rows))
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


def _require_known(key: str, known: Mapping[str, bool], name: str) -> None:
    if key in known:
        return
    last = key.rsplit('.', 1)[-1]
    by_last = {row.rsplit('.', 1)[-1]: row for row in known}
    nearest = (difflib.get_close_matches(key, known, 1, 0.6)
               or [by_last[row] for row in difflib.get_close_matches(last, by_last, 1, 0.5)])
    hint = f'; did you mean {nearest[0]!r}?' if nearest else f'; known: {", ".join(known)}'
    raise ConfigError(f'{name} sets {key!r}, which is no setting{hint}')
