# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What each network is and costs, and the paper's tables beside the same numbers counted again.

Parameters are counted on networks built on the meta device: shapes only, no memory.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import diffpixel_core.paper as paper
from diffpixel_core.checkpoints import find_model, read_manifest, shipped_models
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models import MODELS, build_model, find_variant
from diffpixel_core.models.cost import RULE, Cost, Size, network_cost
from diffpixel_core.models.diffpixelformer import NoFusion
from diffpixel_core.models.layers import Fusion
from diffpixel_core.models.mit import MITS, Mit
from diffpixel_core.models.swin import SWINS, Swin

CLASSES, SIZE = 40, (480, 640)  # NYUDv2's
LEAST_SIDE = 32                 # pixels; below, a stage has no tokens


class InfoError(DiffPixelError):
    """A question about a network that does not exist or cannot be as asked."""


FIELDS: Mapping[str, str] = {
    'parameters': 'of our network',
    'parameters_dead': 'that the published code has besides: no influence, no gradient',
    'parameters_published': 'both together, as the paper counts',
    'gmac': 'of our network with the decoder as drawn; batch norm in eval mode, as in all but one',
    'gmac_dead': 'that the published code computes besides, without influence',
    'gmac_published': 'of the published code for the same network',
    'gmac_training': 'the same, batch norm in training mode, as the paper prints',
    'gmac_executed': 'of our network as it runs: each level of the decoder fused, then enlarged',
    'published': 'per cent, as printed; measured_with: the network they are probably of',
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One network of the registry in numbers.

    Attributes:
        name: Key of `MODELS`.
        backbone: Key of `MITS` or `SWINS`.
        fusion: Name of the class of its inter-modal modules.
        classes: Number of classes.
        size: `(height, width)` of the images its cost is for, pixels.
        parameters: Numbers in its weights that training changes.
        cost: Multiply-accumulates.
    """

    name: str
    backbone: str
    fusion: str
    classes: int
    size: Size
    parameters: int
    cost: Cost

    @property
    def parameters_dead(self) -> int:
        """Parameters the published code has besides, which never reach its output."""
        return self.cost.parameters_dead

    @property
    def parameters_published(self) -> int:
        """Parameters of the published code for the same network."""
        return self.parameters + self.parameters_dead

    def as_dict(self) -> dict[str, Any]:
        """Return plain types, GMAC to four decimals."""
        return {
            'name': self.name, 'backbone': self.backbone, 'fusion': self.fusion,
            'classes': self.classes, 'size': list(self.size),
            'parameters': self.parameters, 'parameters_dead': self.parameters_dead,
            'parameters_published': self.parameters_published,
            **{name: round(getattr(self.cost, name), 4) for name in
               ('gmac', 'gmac_dead', 'gmac_published', 'gmac_training', 'gmac_executed')},
            'published': published_accuracies(self.name),
        }


@dataclass(frozen=True, slots=True)
class Info:
    """The answer to `diffpixel info`.

    Attributes:
        rows: The networks asked for.
        trained: Of a model on disk: its directory and the content of its manifest.
    """

    rows: list[ModelRow]
    trained: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recount:
    """One line of the paper's tables with its costs counted again.

    Attributes:
        row: As printed.
        parameters: Millions, of the network the line was counted with.
        parameters_ours: Millions, of our network for the line.
        gflops: By data set, counted as the printed ones: training mode, so many pairs.
        gmac_ours: By data set, of our network: eval mode, one pair.
    """

    row: paper.Row
    parameters: float
    parameters_ours: float
    gflops: Mapping[str, float]
    gmac_ours: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            'label': self.row.label, 'backbone': self.row.backbone,
            'model': self.row.model, 'counted_as': self.row.counted,
            'printed': {'parameters_m': self.row.parameters,
                        'gflops': dict(self.row.gflops) or None, 'pairs': self.row.pairs,
                        'accuracy': {name: dataclasses.asdict(figures)
                                     for name, figures in self.row.accuracy.items()}},
            'recounted': {'parameters_m': round(self.parameters, 6),
                          'gflops': {name: round(value, 4)
                                     for name, value in self.gflops.items()}},
            'ours': {'parameters_m': round(self.parameters_ours, 6),
                     'gmac': {name: round(value, 4) for name, value in self.gmac_ours.items()}},
            'remarks': dict(self.row.remarks),
        }


def find_info(model: str | None = None, *, classes: int | None = None,
              size: Size | None = None) -> Info:
    """Return what there is to say about one model, or about all of the registry.

    Args:
        model: Name in the registry, shipped name or model directory; None for all of the registry.
        classes: Number of classes; by default 40, or a trained model's own.
        size: `(height, width)` in pixels; by default 480x640, or the size a model was trained at.

    Raises:
        InfoError: If there is no such model, or a trained one has another number of classes.
        CheckpointError: If a model on disk is incomplete or damaged.
    """
    if model is None or model in MODELS:
        names = list(MODELS) if model is None else [model]
        return Info(model_rows(names, classes=classes or CLASSES, size=size or SIZE))
    if model not in shipped_models() and not Path(model).expanduser().exists():
        known = [*MODELS, *shipped_models()]
        near = difflib.get_close_matches(model, known, 3, 0.6)
        raise InfoError(f'{model!r} is no model directory and no known name; '
                        + (f'did you mean {" or ".join(near)}? ' if near else '')
                        + '`diffpixel info` without a name lists all networks; shipped with '
                          f'weights: {", ".join(shipped_models()) or "none"}')
    manifest = read_manifest(model)
    if classes not in (None, manifest.classes):
        raise InfoError(f'{model} predicts {manifest.classes} classes ({manifest.label_space}), '
                        f'not {classes}; leave --classes out')
    rows = model_rows([manifest.model], classes=manifest.classes,
                      size=size or manifest.input_size)
    return Info(rows, {'directory': str(find_model(model)), **dataclasses.asdict(manifest)})


def is_known(name: str) -> bool:
    """Return whether a word is the name of a network or of a shipped model."""
    return name in MODELS or name in shipped_models()


def model_rows(names: Sequence[str], *, classes: int, size: Size) -> list[ModelRow]:
    """Return the numbers of networks of the registry.

    Args:
        names: Keys of `MODELS`.
        classes: Number of classes, 1 to 255.
        size: `(height, width)` of the images, pixels, at least 32 each.

    Raises:
        ModelError: If a name is unknown or the number of classes impossible.
        InfoError: If the images are too small.
    """
    if min(size) < LEAST_SIDE:
        raise InfoError(f'images of {size[0]}x{size[1]} are too small for these networks; use '
                        f'{LEAST_SIDE}x{LEAST_SIDE} pixels or more')
    return [_model_row(name, classes, size) for name in names]


def published_accuracies(name: str) -> dict[str, Any] | None:
    """Return what the paper prints for a network, in per cent by data set; None where nothing.

    `measured_with` names the network the figures were probably measured with.
    """
    accuracies = paper.published_accuracy(name)
    if not accuracies:
        return None
    return {**{data: dataclasses.asdict(figures) for data, figures in accuracies.items()},
            'measured_with': paper.measured_with(name)}


def recount_tables() -> dict[str, list[Recount]]:
    """Return every line of Tables I to V counted again, by the table's number."""
    lines = [row for table in paper.TABLES.values() for row in table.rows]
    names = list(dict.fromkeys(name for row in lines for name in (row.counted, row.model)))
    built = {row.name: row for row in
             model_rows(names, classes=paper.CLASSES, size=paper.SIZES[paper.NYUDV2])}

    def count(name: str, size: Size, pairs: int = 1) -> Cost:
        variant = MODELS[name]
        return network_cost(variant.backbone, variant.fusion, paper.CLASSES, size, pairs=pairs)

    return {number: [Recount(
        row=row,
        parameters=built[row.counted].parameters_published / 1e6,
        parameters_ours=built[row.model].parameters / 1e6,
        gflops={data: count(row.counted, size, row.pairs).gmac_training
                for data, size in paper.SIZES.items()},
        gmac_ours={data: count(row.model, size).gmac for data, size in paper.SIZES.items()},
    ) for row in table.rows] for number, table in paper.TABLES.items()}


def is_met(printed: float, counted: float) -> bool:
    """Return whether a number printed with two decimals is this one, rounded or cut off."""
    hundredths = round(printed * 100)
    return hundredths in (math.floor(counted * 100), round(counted * 100))


def info_json(info: Info, *, tables: bool = False) -> dict[str, Any]:
    """Return everything as plain types.

    Args:
        info: From `find_info`.
        tables: Whether to add the paper's tables.
    """
    found: dict[str, Any] = {'rule': RULE, 'fields': dict(FIELDS),
                             'models': [row.as_dict() for row in info.rows]}
    if info.trained is not None:
        found['trained'] = info.trained
    if tables:
        found['paper'] = {
            'classes': paper.CLASSES,
            'sizes': {data: list(size) for data, size in paper.SIZES.items()},
            'tables': [{'number': number, 'title': paper.TABLES[number].title,
                        'rows': [line.as_dict() for line in lines]}
                       for number, lines in recount_tables().items()],
            'misprints': [dataclasses.asdict(misprint) for misprint in paper.MISPRINTS],
            'notes': list(paper.NOTES),
        }
    return found


def _model_row(name: str, classes: int, size: Size) -> ModelRow:
    variant = find_variant(name)
    fusion_class = variant.fusion
    assert isinstance(fusion_class, type)
    backbone = next(key for key, row in (*MITS.items(), *SWINS.items())
                    if row == variant.backbone)
    # Every block has one fusion of its own and is otherwise that of the baseline.
    fusions = sum(depth * _fusion_parameters(variant.fusion, dim) for dim, depth
                  in zip(variant.backbone.dims, variant.backbone.depths, strict=True))
    return ModelRow(
        name=name, backbone=backbone, fusion=fusion_class.__name__, classes=classes,
        size=size, parameters=_baseline_parameters(variant.backbone, classes) + fusions,
        cost=network_cost(variant.backbone, variant.fusion, classes, size),
    )


@cache
def _baseline_parameters(backbone: Mit | Swin, classes: int) -> int:
    name = next(name for name, variant in MODELS.items()
                if variant.backbone == backbone and variant.fusion is NoFusion)
    with torch.device('meta'):
        return sum(p.numel() for p in build_model(name, classes).parameters())


def _fusion_parameters(fusion: Fusion, dim: int) -> int:
    with torch.device('meta'):
        return sum(p.numel() for p in fusion(dim).parameters())
