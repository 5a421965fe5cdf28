# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""From a model's path to an engine that holds it: the one asked for, or the best that works."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffpixel_core.artefacts import PRECISIONS, Artefact, is_artefact, read_artefact
from diffpixel_core.checkpoints import CheckpointError, check_model, shipped_models
from diffpixel_core.engines.choice import (
    Choice,
    Machine,
    choices,
    engine_choice,
    kind_of,
    this_machine,
)
from diffpixel_core.engines.engine import ENGINES, Engine, EngineError, first_line
from diffpixel_core.engines.onnxruntime_engine import OnnxruntimeEngine
from diffpixel_core.engines.openvino_engine import OpenvinoEngine
from diffpixel_core.engines.source import RUNTIMES, exported
from diffpixel_core.engines.torch_engine import TorchEngine, torch_device
from diffpixel_core.kernels import MEASURED

logger = logging.getLogger(__name__)

USUAL_FRAME = (480, 640)  # height, width of what most RGB-D cameras send


def load_engine(path: str | Path, engine: str = 'auto', *, device: str = 'auto',
                precision: str = 'auto', cache: str | Path | None = None,
                kernels: str = MEASURED) -> Engine:
    """Return an engine that holds a model.

    With `auto`, engines are tried best first, each with one frame, until one works; its
    `passed_over` and a warning say what the better ones failed with. An engine asked for by name
    works or fails.

    Args:
        path: A model directory, its weights file, the name of a shipped model, or what
            `diffpixel export` wrote, which runs on the engine it was exported for only.
        engine: `auto` or one of `ENGINES`.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` or one of `artefacts.PRECISIONS`.
        cache: Folder of converted graphs; None or empty = the user's,
            `$XDG_CACHE_HOME/diffpixel/engines`.
        kernels: As for `TorchEngine`, the only one that has a choice.

    Raises:
        EngineError: If the engine, device, precision or kernels are unknown or not to be had.
        CheckpointError: If the model cannot be loaded.
        ArtefactError: If an exported engine is damaged.
    """
    _require_known(engine, device, precision)
    if kernels != MEASURED and engine != 'torch':
        raise EngineError(f'kernels {kernels!r} are for the engine torch, not for {engine}; ask '
                          f'for torch, or leave kernels {MEASURED}')
    machine, kept = this_machine(), _folder(cache)
    artefact = exported(path, engine, precision)
    if artefact is not None:
        runtime, record = RUNTIMES[artefact.record.format], artefact.record
        choice = engine_choice(machine, runtime, device=device, precision=record.precision)
        found = open_engine(path, Choice(runtime, choice.device, record.precision,
                                         'the model was exported for it'), kept)
        found.frame_size = record.frame_size
        return found
    if precision == 'int8':
        raise EngineError(f'{path} is a model, and int8 needs an engine that was calibrated on '
                          'frames: export it with diffpixel export --precision int8, then load '
                          'what that wrote')
    if engine != 'auto':
        return open_engine(path, engine_choice(machine, engine, device=device,
                                               precision=precision), kept, kernels)
    ranked = choices(machine, device=device, precision=precision)
    if not ranked:
        raise EngineError(f'no engine computes in {precision} on device {device} here; use '
                          'precision auto')
    return _first_that_works(path, ranked, kept)


def load_next_best(path: str | Path, failed: Engine, *, precision: str = 'auto',
                   elsewhere: bool = False, cache: str | Path | None = None) -> Engine:
    """Return the best engine below one that failed while it ran, with the same weights.

    Args:
        path: What the failed engine was loaded from.
        failed: That engine, closed or not.
        precision: What was asked for; engines without it compute in fp32.
        elsewhere: Whether its device is of no use any more, such as for want of memory.
        cache: As for `load_engine`.

    Raises:
        EngineError: If there is no other.
        CheckpointError: If the model cannot be loaded any more.
    """
    found = [choice for choice in below(this_machine(), failed, precision)
             if not (elsewhere and choice.kind == kind_of(failed.device_name))]
    if not found:
        raise EngineError(f'no engine is left after {failed.name} in {failed.precision} on '
                          f'{failed.device_name}')
    if is_artefact(path):
        path = _model_of(read_artefact(path))
    return _first_that_works(path, found, _folder(cache))


def below(machine: Machine, failed: Engine, precision: str = 'auto') -> list[Choice]:
    """Return the engines after one, best first: on its own CUDA device, then on the CPU.

    Args:
        machine: What there is.
        failed: The engine.
        precision: What was asked for; engines without it compute in fp32.
    """
    own = kind_of(failed.device_name)
    wanted = ('auto',) if precision == 'auto' else dict.fromkeys((precision, 'fp32'))
    ranked = [choice for device in dict.fromkeys((failed.device_name, 'cpu')) for row in wanted
              for choice in choices(machine, device=device, precision=row)]
    tried = (failed.name, own, failed.precision)
    triples = [(choice.engine, choice.kind, choice.precision) for choice in ranked]
    # One that `auto` would not have taken has all of them below it.
    first = triples.index(tried) + 1 if tried in triples else 0
    return ranked[first:]


def open_engine(path: str | Path, choice: Choice, cache: Path | None,
                kernels: str = MEASURED) -> Engine:
    """Return the engine of a choice; `kernels` as for `TorchEngine`."""
    device, precision, reason = choice.device, choice.precision, choice.reason
    if choice.engine == 'torch':
        return TorchEngine(path, device, precision, reason=reason, kernels=kernels)
    if choice.engine == 'openvino':
        return OpenvinoEngine(path, device, precision, reason=reason, cache=cache)
    if choice.engine == 'onnxruntime':
        return OnnxruntimeEngine(path, device, precision, reason=reason, cache=cache)
    from diffpixel_core.engines.tensorrt_engine import TensorrtEngine

    return TensorrtEngine(path, device, precision, reason=reason, cache=cache)


def _first_that_works(path: str | Path, found: Sequence[Choice], cache: Path | None) -> Engine:
    """Return the first engine that can be made and takes a frame; warn of those that do not.

    Raises:
        EngineError: If none does.
        CheckpointError: If the model cannot be loaded, whatever the engine.
    """
    failures: list[str] = []
    for choice in found:
        name = f'{choice.engine} in {choice.precision} on {choice.device}'
        try:
            engine = open_engine(path, choice, cache)
            try:
                _try_out(engine)
            except BaseException:
                engine.close()
                raise
        except CheckpointError:
            raise
        except Exception as error:  # a broken runtime may raise anything
            failures.append(f'{name}: {first_line(error)}')
            logger.warning('%s cannot be used, going on with the next best engine: %s', name,
                           first_line(error))
            continue
        engine.passed_over = tuple(failures)
        logger.info('%s runs on %s: %s', engine.manifest.model, name, engine.reason)
        return engine
    raise EngineError('no engine works here: ' + '; '.join(failures))


def _try_out(engine: Engine) -> None:
    """Run one frame, unless the engine is the reference on the CPU, of which all others are copies.

    Raises:
        EngineError: If its scores are not finite.
    """
    if engine.name == 'torch' and engine.device_name == 'cpu':
        return
    height, width = USUAL_FRAME
    scores = engine.scores(np.zeros((height, width, 3), np.uint8),
                           np.zeros((height, width), np.float32))
    if not bool(scores.isfinite().all()):
        raise EngineError('its scores of an empty frame are not finite')


def _model_of(artefact: Artefact) -> Path:
    """Return a model with the weights an exported engine was made of: shipped, or the folder's own.

    Raises:
        EngineError: If there is none.
    """
    wanted = artefact.record.weights_sha256
    for folder in (artefact.folder.parent, *shipped_models().values()):
        try:
            model, manifest = check_model(folder)
        except CheckpointError:
            continue
        if manifest.weights_sha256 == wanted:
            return model
    raise EngineError(f'{artefact.folder} runs on one engine only, and the model it was made of is '
                      'not at hand; load the model itself')


def _folder(cache: str | Path | None) -> Path | None:
    return Path(cache).expanduser() if cache else None


def _require_known(engine: str, device: str, precision: str) -> None:
    """Refuse names that do not exist, and devices that are not there.

    Raises:
        EngineError: Naming what is known.
    """
    if engine not in ('auto', *ENGINES):
        raise EngineError(f'engine {engine!r} is unknown; choose auto or {", ".join(ENGINES)}')
    if precision not in ('auto', *PRECISIONS):
        raise EngineError(f'precision {precision!r} is unknown; choose auto or '
                          f'{", ".join(PRECISIONS)}')
    if device != 'auto' and engine != 'onnxruntime':  # which has its own way to CUDA
        torch_device(device)
