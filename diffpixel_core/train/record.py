# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves besides weights: its settings, the program and the machine it ran on."""

import dataclasses
import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from diffpixel_core.checkpoints import Manifest
from diffpixel_core.config import TrainConfig
from diffpixel_core.devices import device_name, precision_of
from diffpixel_core.labels import LabelSpace, own_classes
from diffpixel_core.version import __version__

_PACKAGES = ('torch', 'lightning-fabric', 'numpy', 'opencv-python-headless')


def plain(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as types that JSON and YAML share."""
    rows: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return rows


def environment(fabric: Fabric, config: TrainConfig, *, tf32: bool) -> dict[str, Any]:
    """Return what, besides settings and data, the figures of a run depend on.

    Args:
        fabric: Its processes.
        config: Its settings.
        tf32: Whether float32 products are rounded to TF32.
    """
    return {
        'diffpixel': __version__, 'commit': commit(), 'seed': config.seed,
        'python': platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        'cuda': torch.version.cuda, 'device': device_name(fabric),
        'processes': fabric.world_size, 'strategy': type(fabric.strategy).__name__,
        'precision': precision_of(fabric), 'tf32': tf32, 'threads': torch.get_num_threads(),
    }


def trained_manifest(config: TrainConfig, space: LabelSpace, *,
                     normalisation: dict[str, dict[str, Any]], metrics: dict[str, Any],
                     steps: int, minutes: float, record: dict[str, Any]) -> Manifest:
    """Return what is written beside trained weights.

    Args:
        config: Settings of the run.
        space: What the network predicts.
        normalisation: What it sees, by modality.
        metrics: Its scores and how they came about.
        steps: Steps taken.
        minutes: Time taken, earlier parts of the run included.
        record: The `environment`.
    """
    data = config.data
    return Manifest(
        model=config.model, label_space=space.name, label_classes=own_classes(space),
        input_size=config.crop, normalisation=normalisation, metrics=metrics,
        provenance={'data': 'generated rooms' if data.source == 'generated' else data.path,
                    'steps': steps, 'commit': record['commit'], 'minutes': round(minutes, 1),
                    'images': steps * config.batch, 'config': plain(config),
                    'environment': record})


def commit() -> str:
    """Return the commit of this source tree, with -dirty if it was changed since.

    'unknown' outside a git checkout or without git.
    """
    if shutil.which('git') is None:
        return 'unknown'
    answer = subprocess.run(['git', 'describe', '--always', '--dirty', '--exclude', '*'],
                            capture_output=True, text=True, check=False,
                            cwd=Path(__file__).parent)
    return answer.stdout.strip() or 'unknown'


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # OpenCV goes by several names
        return None
