# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A foreign file becomes a model directory: weights, manifest, and a record of the change."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from torch import Tensor, nn

from diffpixel_core.checkpoints import MANIFEST_FILE, WEIGHTS_FILE, Manifest, save_model
from diffpixel_core.converters.files import read_file
from diffpixel_core.converters.hub import fetch_weights
from diffpixel_core.converters.published import published_weights
from diffpixel_core.converters.segformer import segformer_weights
from diffpixel_core.converters.swin import swin_weights
from diffpixel_core.converters.tensors import ConvertError, Report
from diffpixel_core.labels import space_of_size
from diffpixel_core.modalities import normalisation
from diffpixel_core.models import MODELS, build_model
from diffpixel_core.models.mit import Mit
from diffpixel_core.models.released import OneKey

logger = logging.getLogger(__name__)

RECORD_FILE = 'conversion.json'
SEED = 0  # of what the file has no weights for

Converter = Callable[..., tuple[dict[str, Tensor], Report]]
CONVERTERS: Mapping[str, Converter] = {
    'diffpixelformer': published_weights, 'geminifusion': published_weights,
    'segformer': segformer_weights, 'swin': swin_weights,
}
_BUFFERS = ('.running_mean', '.running_var', '.attn_mask')
_WHOLE = ('diffpixelformer', 'geminifusion')

# The published training sees depth images of 8 bits divided by 255, with neither mean nor standard
# deviation; how many metres a step was is not published.
_PUBLISHED_DEPTH = {'maximum': 10.0, 'mean': [0.0], 'std': [10.0]}
_ONE_KEY_NOTE = ('the published training ran with one key, which is the variant _released; as '
                 'another one these weights are a start for training, not a trained network')
_DEPTH_NOTE = ('trained on 8-bit depth images / 255 of unpublished scale; this manifest takes '
               '10 m for 255')


@dataclass(frozen=True, slots=True)
class Conversion:
    """A foreign file that became a model directory.

    Attributes:
        directory: The model.
        network: The same, in eval mode.
        report: What became of every tensor.
        parameters_file: Parameters in the file, dead ones included.
        notes: What one should know before using it.
    """

    directory: Path
    network: nn.Module
    report: Report
    parameters_file: int
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def convert_file(source: str, kind: str, *, model: str, classes: int,
                 output: str | Path) -> Conversion:
    """Write a foreign file's weights as a model directory.

    The directory also gets `conversion.json`: what became of every tensor.

    Args:
        source: A file, or for 'segformer' and 'swin' the name of a repository of the Hugging Face
            Hub.
        kind: Key of `CONVERTERS`: what the file is.
        model: Key of `models.MODELS`: what it becomes. A published file fits the variant that
            computes what it was trained for (`_released`, or the row of its table); it also fits
            the paper's fusion, where it is a start for training, not a trained model.
        classes: Number of classes of the head; 40, 37 and 13 take the label spaces of NYUDv2 and
            SUN RGB-D, other numbers a numbered one.
        output: The directory.

    Raises:
        ConvertError: If the file is damaged, of another kind, or does not fit to the last tensor.
        ModelError: If there is no such model.
    """
    with torch.device('meta'):
        build_model(model, classes=classes)  # refuses a wrong name before anything is read
    file = fetch_weights(source) if kind not in _WHOLE else Path(source).expanduser()
    _require_folder(Path(output), file)
    found, others = read_file(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_model(model, classes=classes)
    tensors, report = CONVERTERS[kind](found, network, name=str(source))
    network.load_state_dict(tensors)
    provenance: dict[str, Any] = {
        'converted_from': kind, 'file': file.name, 'sha256': _hash(file),
        'dropped': _counts(report, 'dropped'), 'fresh': _counts(report, 'fresh'),
    }
    rows = normalisation(('rgb', 'depth'))
    notes = []
    if kind in _WHOLE:
        rows['depth'] |= _PUBLISHED_DEPTH
        notes.append(_DEPTH_NOTE)
    variant = MODELS[model]
    if isinstance(variant.backbone, Mit) and variant.fusion is not OneKey \
            and any('.diff_0_to_1.' in key for key in found):
        notes.append(_ONE_KEY_NOTE)
    if any(fate.tensor.startswith('head.') for fate in report.fresh):
        notes.append('head and fusion are untrained: a start for training, no network to run')
    notes += sorted({'bias tables ' + fate.note.partition(', ')[2] for fate in report.mapped
                     if ', interpolated' in fate.note})
    notes += [f'the file also holds {entry}, which is left out' for entry in others
              if 'ema' in entry.lower()]
    provenance['notes'] = notes
    parameters = sum(tensor.numel() for key, tensor in found.items()
                     if tensor.is_floating_point() and not key.endswith(_BUFFERS))
    del found, tensors  # gigabytes with the largest backbones, and writing takes as much again
    manifest = Manifest(model, space_of_size(classes), normalisation=rows, provenance=provenance)
    logger.info('writing %s', output)
    record = {'source': str(source), 'kind': kind, 'model': model, 'other_entries': list(others),
              **report.as_dict()}
    try:
        directory = save_model(output, network, manifest)
        (directory / RECORD_FILE).write_text(json.dumps(record, indent=1) + '\n')
    except OSError as error:
        raise ConvertError(f'cannot write {output}: {error.strerror}; choose another --output') \
            from error
    return Conversion(directory, network.eval(), report, parameters, tuple(notes))


def _require_folder(output: Path, source: Path) -> None:
    """Refuse a place where a model cannot be written, or where it would replace the source."""
    if source.is_file() and output.is_dir() and source.resolve().parent == output.resolve():
        raise ConvertError(f'{output} holds the file to be converted; choose another --output')
    if (output / WEIGHTS_FILE).exists():
        if not (output / MANIFEST_FILE).exists():
            raise ConvertError(f'{output} already holds a {WEIGHTS_FILE} that is not ours; choose '
                               'another --output')
        logger.warning('the model in %s will be replaced', output)
    above = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = 'read-only' if above.is_dir() else 'a file'
        raise ConvertError(f'cannot write {output}: {above} is {what}; choose another --output')


def conversion_text(conversion: Conversion) -> Group:
    """Return for people: what was mapped, dropped and newly initialised, and why."""
    report = conversion.report
    table = Table(box=SIMPLE, pad_edge=False, show_edge=False)
    for name in ('', 'tensors', 'numbers'):
        table.add_column(name, justify='left' if not name else 'right')
    table.add_column('why', overflow='fold')
    mapped = sum(fate.parameters for fate in report.mapped)
    table.add_row('mapped', f'{len(report.mapped):,}', f'{mapped:,}', '')
    for word, kind in (('dropped', 'dropped'), ('newly initialised', 'fresh')):
        for why, tensors, parameters in report.groups(kind):
            table.add_row(word, f'{tensors:,}', f'{parameters:,}', why)
    return Group(
        table, f'\nParameters: {conversion.parameters_file:,} in the file, '
               f'{conversion.parameters:,} in {conversion.directory}',
        *(f'Note: {note}' for note in conversion.notes),
        f'Every tensor by name: {conversion.directory / RECORD_FILE}')


def _counts(report: Report, kind: str) -> dict[str, dict[str, int]]:
    return {why: {'tensors': tensors, 'parameters': parameters}
            for why, tensors, parameters in report.groups(kind)}


def _hash(file: Path) -> str:
    digest = sha256()
    with file.open('rb') as content:
        while block := content.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
