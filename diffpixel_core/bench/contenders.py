# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Who is measured: the two baselines and every engine, by name."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from diffpixel_core.artefacts import is_artefact
from diffpixel_core.bench.filling import fill_from_released, has_published_weights
from diffpixel_core.bench.plain_engine import PlainEngine
from diffpixel_core.bench.published import published_network
from diffpixel_core.checkpoints import load_model, read_manifest
from diffpixel_core.deploy import Ensemble
from diffpixel_core.engines import Engine, load_engine
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.frame import Frame
from diffpixel_core.kernels import MEASURED
from diffpixel_core.models.diffpixelformer import DiffPixelFormer


class BenchError(DiffPixelError):
    """A benchmark that cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine as `load_engine` knows it.

    Attributes:
        engine: Its name there; empty for a baseline.
        precision: Of its products.
        device: `cpu` or `cuda` where it runs on no other; empty = wherever one asks.
        kernels: As for `load_engine`.
    """

    engine: str
    precision: str = 'fp32'
    device: str = ''
    kernels: str = MEASURED


PUBLISHED, EAGER = 'published', 'eager'
NAMES: Mapping[str, Choice] = MappingProxyType({
    PUBLISHED: Choice(''),
    EAGER: Choice(''),
    'torch': Choice('torch'),
    'torch-bf16': Choice('torch', 'bf16'),
    'torch-compiled': Choice('torch', kernels='compiled'),
    'openvino-fp32': Choice('openvino', 'fp32', 'cpu'),
    'openvino-bf16': Choice('openvino', 'bf16', 'cpu'),
    'openvino-int8': Choice('openvino', 'int8', 'cpu'),
    'onnxruntime': Choice('onnxruntime'),
    'cuda-fp32': Choice('torch', 'fp32', 'cuda'),
    'cuda-bf16': Choice('torch', 'bf16', 'cuda'),
    'cuda-fp16': Choice('torch', 'fp16', 'cuda'),
    'cuda-fp16-plain': Choice('torch', 'fp16', 'cuda', 'plain'),
    'cuda-fp16-triton': Choice('torch', 'fp16', 'cuda', 'triton'),
    'cuda-fp16-compiled': Choice('torch', 'fp16', 'cuda', 'compiled'),
    'tensorrt-fp32': Choice('tensorrt', 'fp32', 'cuda'),
    'tensorrt-fp16': Choice('tensorrt', 'fp16', 'cuda'),
    'tensorrt-int8': Choice('tensorrt', 'int8', 'cuda'),
})


def require_known(engines: Sequence[str]) -> None:
    """Refuse names that are none of `NAMES`, names given twice, and none at all.

    Raises:
        BenchError: Naming what is known.
    """
    if not engines:
        raise BenchError(f'no engine is named; choose from {", ".join(NAMES)}')
    for name in engines:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 2, 0.6)
            raise BenchError(f'engine {name!r} is unknown; '
                             + (f'did you mean {" or ".join(near)}? ' if near else '')
                             + f'There are {", ".join(NAMES)}')
        if engines.count(name) > 1:
            raise BenchError(f'engine {name} is named {engines.count(name)} times; once will do')


def open_contender(name: str, path: Path, *, device: str, cache: Path,
                   filled: bool = True) -> Engine:
    """Return an engine or a baseline that holds a model.

    Args:
        name: Key of `NAMES`.
        path: Model directory; for an engine also an exported one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for whatever runs on more than one.
        cache: Folder of converted graphs.
        filled: Whether `published` gets the weights of a model that has them for it.

    Raises:
        EngineError: If the engine, its precision or the device is not to be had here.
        BaselineError: If the model has no published form.
    """
    choice = NAMES[name]
    if choice.engine:
        own = choice.engine == 'onnxruntime' and is_artefact(path)  # its name has no precision
        return load_engine(path, choice.engine, device=choice.device or device,
                           precision='auto' if own else choice.precision, cache=cache,
                           kernels=choice.kernels)
    if name == EAGER:
        model, manifest = load_model(path)
        return PlainEngine(Ensemble(model), manifest, device)
    manifest = read_manifest(path)
    baseline = published_network(manifest.model, manifest.classes)
    if filled and has_published_weights(manifest):
        model, _ = load_model(path)
        assert isinstance(model, DiffPixelFormer)
        fill_from_released(baseline, model)
    return PlainEngine(Ensemble(baseline), manifest, device)


def stacked(frames: Sequence[Frame]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return the images of several frames as one `(B, H, W, 3)` and one `(B, H, W)` array."""
    return np.stack([frame.rgb for frame in frames]), np.stack([frame.x for frame in frames])
