# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""TensorrtEngine: the graph in TensorRT 10.3 to 11 on a CUDA device.

Thin, because the authors had no machine with TensorRT: what it calls was taken from the
documentation of both generations, and it was never executed by them.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffpixel_core.artefacts import Artefact, EngineRecord
from diffpixel_core.checkpoints import Manifest, load_model
from diffpixel_core.deploy import network_size
from diffpixel_core.deploy.packages import ConversionError
from diffpixel_core.deploy.to_onnx import ANY_BATCH, INPUTS, OUTPUT
from diffpixel_core.deploy.to_tensorrt import (
    LEVEL,
    Report,
    build_plan,
    import_tensorrt,
    make_log,
    require_types,
)
from diffpixel_core.engines.cuda_graph import CapturedGraph
from diffpixel_core.engines.engine import (
    Engine,
    EngineError,
    closed_error,
    failures_named,
    memory_named,
)
from diffpixel_core.engines.engine_cache import (
    GRAPH_FILE,
    PLAN_FILE,
    EngineKey,
    GpuMachine,
    engine_key,
    find_engine,
    gpu_machine,
    keep_engine,
    keep_timings,
    load_timings,
)
from diffpixel_core.engines.recent import Recent
from diffpixel_core.engines.source import ModelSource, exported
from diffpixel_core.engines.torch_engine import torch_device
from diffpixel_core.engines.verifying import require_same_scores
from diffpixel_core.kernels import enlarge_argmax

logger = logging.getLogger(__name__)

# Precisions of a model (an exported engine may be int8, too), and the largest error of all scores
# together, as a share of them, that is rounding.
_TOLERANCES = {'fp32': 1e-3, 'fp16': 2e-2}


class TensorrtEngine(Engine):
    """The graph in TensorRT; single frames run as a CUDA graph.

    Args:
        path: What `diffpixel export --format tensorrt` wrote; or a model, for which an engine is
            built when the first frame of a size comes (minutes), and kept for the next start.
        device: `cuda` or `cuda:N`.
        precision: `fp16` or `fp32`; of an exported engine that with which it was exported.
        reason: Why this engine was taken.
        cache: Folder of converted graphs; None = the user's. Built engines are kept in the user's.

    Raises:
        EngineError: If TensorRT or the device is not to be had here, or cannot compute so.
        ArtefactError: If the exported engine is damaged.
        CheckpointError: If the model cannot be loaded.
    """

    name = 'tensorrt'

    def __init__(self, path: str | Path, device: str = 'cuda', precision: str = 'fp16', *,
                 reason: str = 'asked for', cache: Path | None = None) -> None:
        try:
            self._trt = import_tensorrt()
        except ConversionError as error:
            raise EngineError(str(error)) from error
        self.device = torch_device(device)
        if self.device.type != 'cuda':
            raise EngineError(f'TensorRT needs a CUDA device, this is {self.device}; use the '
                              'engine openvino or torch')
        self._artefact = exported(path, self.name, precision)
        if self._artefact is not None:
            manifest = self._artefact.manifest
        else:
            if precision not in _TOLERANCES:
                raise EngineError(f'TensorRT cannot be given a model in {precision!r}; use '
                                  f'{" or ".join(_TOLERANCES)}, or for int8 an exported engine')
            self._source = ModelSource(path, 'onnx', cache)
            manifest = self._source.manifest
        super().__init__(manifest, device_name=str(self.device), precision=precision, reason=reason)
        self._runners: Recent[tuple[int, ...], PlanRunner] = Recent()
        self._captured: Recent[tuple[int, int], CapturedGraph] = Recent()
        self._closed = False
        if self._artefact is not None:  # refused, or built, now and not when the first frame comes
            record = self._artefact.record
            self._runner((record.batch or 1, *record.frame_size))

    @torch.inference_mode()
    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame; see `Engine.scores`.

        Raises:
            EngineError: Also if an exported engine was made for frames of another size, or
                activations overflowed fp16.
        """
        if self._closed:
            raise closed_error(self.name)
        one = x.ndim == 2
        with failures_named(self.name), memory_named(self.device_name), \
                torch.cuda.device(self.device):
            runner = self._runner((1, *x.shape) if one else x.shape)
            if one:
                scores = self._graph_of(runner, x.shape)(rgb, x)[0]
            else:
                images = [torch.from_numpy(np.require(image, requirements=('C', 'W')))
                          for image in (rgb, x)]
                scores = runner(images[0].to(self.device), images[1].to(self.device))
                torch.cuda.synchronize(self.device)
        if not bool(scores.isfinite().all()):
            raise EngineError(f'the network overflows {self.precision} on this frame; use '
                              'precision fp32')
        return scores

    @torch.inference_mode()
    def tail(self, scores: Tensor,
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return `(H, W)` uint8 labels and `(H, W)` uint8 confidence of class scores."""
        with memory_named(self.device_name):
            labels, confidence = enlarge_argmax(scores, size)
            return labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._closed = True
        self._captured.clear()
        self._runners.clear()
        self.free_memory()

    def free_memory(self) -> None:
        """Give back memory of the device that is only cached."""
        torch.cuda.empty_cache()

    def resident(self, rgb: npt.NDArray[np.uint8],
                 x: npt.NDArray[np.float32]) -> Callable[[], Tensor]:
        """Bring one frame to the device; return what queues the work on the current stream."""
        with torch.cuda.device(self.device):
            frame = x.shape[0], x.shape[1]
            return self._graph_of(self._runner((1, *frame)), frame).resident(rgb, x)

    def _graph_of(self, runner: 'PlanRunner', frame: tuple[int, int]) -> CapturedGraph:
        """Return the CUDA graph for single frames of a size."""
        captured = self._captured.get(frame)
        if captured is None:
            captured = CapturedGraph(runner, frame, self.device)
            self._captured.put(frame, captured)
        return captured

    def _runner(self, shape: tuple[int, ...]) -> 'PlanRunner':
        """Return the engine for frames `(B, H, W)`; it is looked up or built."""
        runner = self._runners.get(shape)
        if runner is None:
            try:
                with torch.cuda.device(self.device):
                    runner = PlanRunner(self._trt, self._plan(*shape))
            except ConversionError as error:
                raise EngineError(str(error)) from error
            self._runners.put(shape, runner)
        return runner

    def _plan(self, batch: int, height: int, width: int) -> bytes:
        """Return a serialised engine that was built on this very machine."""
        frame = height, width
        machine = gpu_machine(self.device, self._trt.__version__)
        if self._artefact is not None:
            record = self._artefact.record
            if frame != record.frame_size or record.batch not in (ANY_BATCH, batch):
                raise EngineError(
                    f'{self._artefact.folder} was exported for {record.batch or "any number of"} '
                    f'frames of {record.frame_size[1]}x{record.frame_size[0]} pixels, this is '
                    f'{batch} of {width}x{height}; export the model again with --size '
                    f'{height}x{width} --batch {batch}')
            return plan_of(self._artefact, machine)
        graph = self._source.files((batch, *frame), half=self.precision == 'fp16')[GRAPH_FILE]
        key = engine_key(graph, machine, precision=self.precision, frame=frame, batch=batch,
                         level=LEVEL)
        record = EngineRecord(
            format='tensorrt', precision=self.precision, frame_size=frame,
            network_size=network_size(frame, self.manifest.input_size), batch=batch,
            weights_sha256=self.manifest.weights_sha256,
            made_with={'tensorrt': machine.tensorrt, 'torch': str(torch.__version__)})
        return kept_or_built(key, graph, record, self.manifest,
                             accept=partial(self._require_same, (batch, *frame)))

    def _require_same(self, shape: tuple[int, ...], plan: bytes) -> None:
        """Refuse an engine, just built, that does not compute what the network was trained to.

        Raises:
            EngineError: If so.
        """
        runner = PlanRunner(self._trt, plan)
        model, manifest = load_model(self._source.folder)
        require_same_scores(
            lambda rgb, x: runner(torch.from_numpy(rgb).to(self.device),
                                  torch.from_numpy(x).to(self.device)),
            model, manifest, shape, name=self.name, tolerance=_TOLERANCES[self.precision])


def plan_of(artefact: Artefact, machine: GpuMachine) -> bytes:
    """Return the engine of an artefact, or one built from the graph beside it for this machine.

    Raises:
        ArtefactError: If a file was changed since it was read.
        ConversionError: If TensorRT cannot build the engine.
    """
    record, graph = artefact.record, artefact.content(GRAPH_FILE)
    key = engine_key(graph, machine, precision=record.precision, frame=record.frame_size,
                     batch=record.batch, level=record.settings.get('level', LEVEL))
    differences = key.differences(record.settings)
    if not differences:
        return artefact.content(PLAN_FILE)
    logger.warning('%s was built elsewhere (%s); building it again for this machine',
                   artefact.folder, '; '.join(differences))
    return kept_or_built(key, graph, record, artefact.manifest)


def kept_or_built(key: EngineKey, graph: bytes, record: EngineRecord, manifest: Manifest, *,
                  report: Report | None = None,
                  accept: Callable[[bytes], None] | None = None) -> bytes:
    """Return the serialised engine of a key: kept from an earlier start, or built and kept.

    Args:
        key: What it is kept under.
        graph: The ONNX file it is built of.
        record: To be kept with it.
        manifest: Likewise.
        report: Told how far the build is.
        accept: Called with one that was just built; what it raises keeps the engine from being
            used or kept.

    Raises:
        ArtefactError: If the folder of kept engines cannot be trusted or written.
        ConversionError: If TensorRT cannot build the engine.
    """
    kept = find_engine(key)
    if kept is not None:
        return kept.content(PLAN_FILE)
    logger.info('building a TensorRT engine for %s frames on %s; this takes minutes, once',
                key.shapes, key.machine.gpu)
    plan, timings = build_plan(graph, frame=record.frame_size, batch=record.batch,
                               half=record.precision == 'fp16', timings=load_timings(key),
                               level=key.level, report=report)
    keep_timings(key, timings)
    if accept is not None:
        accept(plan)
    return keep_engine(key, plan, graph, record, manifest).content(PLAN_FILE)


class PlanRunner:
    """A deserialised engine, called with tensors of its device, on the current stream.

    Args:
        trt: The module `tensorrt`.
        plan: A serialised engine that was built on this machine.

    Raises:
        ConversionError: If TensorRT does not take it, or its tensors have other types.
    """

    def __init__(self, trt: Any, plan: bytes) -> None:
        log = make_log(trt)
        self._runtime = trt.Runtime(log)  # must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ConversionError(f'TensorRT {trt.__version__} does not take its own engine: '
                                  f'{log.last_error}; export the model again')
        require_types(trt, self._engine)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise MemoryError(f'no execution context: {log.last_error}')
        self._log = log

    def __call__(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, h, w)` float32 scores; the work is on the current stream, not done."""
        for name, image in zip(INPUTS, (rgb, x), strict=True):
            if not self._context.set_input_shape(name, tuple(image.shape)):
                raise EngineError(f'this engine takes no {name} of shape {tuple(image.shape)}; '
                                  'export the model again for it')
        scores = torch.empty(tuple(self._context.get_tensor_shape(OUTPUT)), device=rgb.device)
        for name, tensor in zip((*INPUTS, OUTPUT), (rgb, x, scores), strict=True):
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream(rgb.device).cuda_stream
        if not self._context.execute_async_v3(stream):
            raise RuntimeError(f'TensorRT could not run: {self._log.last_error}')
        return scores

