# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The model that is measured: a network of the registry with random weights, or one on disk."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from diffpixel_core.artefacts import Artefact, is_artefact, read_artefact
from diffpixel_core.bench.contenders import EAGER, PUBLISHED
from diffpixel_core.checkpoints import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    Manifest,
    check_model,
    read_manifest,
    save_model,
    shipped_models,
)
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models import MODELS, build_model, find_variant

LABEL_SPACE = 'nyu40'  # of a network without weights
LEAST_SIDE = 32
BASELINES = (PUBLISHED, EAGER)


class SubjectError(DiffPixelError):
    """A model that cannot be measured as asked."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, as files, for the time of a benchmark.

    Attributes:
        name: What the user called it.
        folder: A model directory that works at the size to be measured.
        cache: Folder of graphs converted from it.
        manifest: Its manifest.
        weights: `random`, or what the user called where they are from.
        artefact: The exported engine, if it is one; `folder` then has its network with random
            weights, for the baselines.
    """

    name: str
    folder: Path
    cache: Path
    manifest: Manifest
    weights: str
    artefact: Artefact | None = None

    def path(self, engine: str) -> Path:
        """Return what an engine or a baseline is to be made of."""
        if self.artefact is None or engine in BASELINES:
            return self.folder
        return self.artefact.folder


@contextmanager
def subject(model: str, size: tuple[int, int], frame: tuple[int, int]) -> Iterator[Subject]:
    """Yield what is to be measured; converted graphs and random weights go when the block ends.

    Args:
        model: Key of `MODELS`, a shipped name, a model directory or an exported engine.
        size: `(height, width)` the network works at, pixels.
        frame: `(height, width)` of the frames, pixels.

    Raises:
        SubjectError: If the size is too small, or not the one an engine was exported for.
        ModelError: If there is no such model.
        CheckpointError: If a model on disk is incomplete or damaged.
        ArtefactError: If an exported engine is.
    """
    if min(size) < LEAST_SIDE:
        raise SubjectError(f'--size {size[0]}x{size[1]} is too small for these networks; use '
                           f'{LEAST_SIDE}x{LEAST_SIDE} pixels or more')
    artefact = None
    with tempfile.TemporaryDirectory(prefix='diffpixel_bench_') as temporary:
        folder = Path(temporary) / 'model'
        if model not in MODELS and is_artefact(model):
            artefact = read_artefact(model)
            _require_sizes(artefact, size, frame)
            manifest = dataclasses.replace(artefact.manifest, weights_sha256='', input_size=size)
            _save_random(manifest, folder)
            weights = model
        elif _names_a_network(model):
            _save_random(Manifest(model, LABEL_SPACE, input_size=size), folder)
            weights = 'random'
        else:
            _resize(model, size, folder)
            weights = model
        yield Subject(model, folder, Path(temporary) / 'cache', read_manifest(folder), weights,
                      artefact)


def _require_sizes(artefact: Artefact, size: tuple[int, int], frame: tuple[int, int]) -> None:
    """Refuse sizes an engine was not exported for."""
    made = artefact.record.network_size, artefact.record.frame_size
    if made != (size, frame):
        network, image = ('{}x{}'.format(*side) for side in made)
        raise SubjectError(f'{artefact.folder} was exported for a network of {network} and frames '
                           f'of {image}; measure it with --size {network} --frame {image}')


def _names_a_network(model: str) -> bool:
    if model in MODELS:
        return True
    if model in shipped_models() or Path(model).expanduser().exists():
        return False
    find_variant(model)  # says what was probably meant
    raise AssertionError('not reached: the name is not in the registry')


def _save_random(manifest: Manifest, folder: Path) -> None:
    torch.manual_seed(0)
    save_model(folder, build_model(manifest.model, classes=manifest.classes), manifest)


def _resize(model: str, size: tuple[int, int], folder: Path) -> None:
    """Copy a model directory; its manifest says another size."""
    source, manifest = check_model(model)
    manifest = dataclasses.replace(manifest, input_size=size)
    folder.mkdir()
    shutil.copyfile(source / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    (folder / MANIFEST_FILE).write_text(json.dumps(dataclasses.asdict(manifest)) + '\n')
