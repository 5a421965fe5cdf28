# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""TorchEngine: the graph in PyTorch, on a CPU or a CUDA device; the reference of all engines."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, fold, fuse, fuse_fusions, network_size
from diffpixel_core.engines.cuda_graph import CapturedGraph
from diffpixel_core.engines.engine import (
    Engine,
    EngineError,
    closed_error,
    failures_named,
    give_back_memory,
    memory_named,
)
from diffpixel_core.engines.recent import Recent
from diffpixel_core.kernels import MEASURED, enlarge_argmax, is_available

TYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
KERNELS = (MEASURED, 'plain', 'triton', 'compiled')
Run = Callable[[Tensor, Tensor], Tensor]
"""`(B, H, W, 3)` uint8 and `(B, H, W)` float32 -> `(B, K, h, w)`, all on the device."""


class TorchEngine(Engine):
    """The graph in PyTorch.

    On CUDA each frame size has a CUDA graph of its own, captured when the first frame comes.

    Args:
        path: A model directory, its weights file or the name of a shipped model.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `bf16`, or, on CUDA, `fp16`; images are resized and normalised in fp32,
            and PyTorch sums layer norms and softmaxes in fp32 whatever the precision.
        reason: Why this engine was taken.
        kernels: By what the work between the products is done, one of `KERNELS`. `plain`:
            PyTorch's own kernels. `triton`: all of `diffpixel_core.kernels`, on CUDA. `measured`:
            those of them that were measured to be faster here, else PyTorch's. `compiled`: what
            `torch.compile` makes of the plain forms: a minute for each frame size, at most 8 of
            them, and a C++ compiler.

    Raises:
        EngineError: If there is no such device, or it cannot compute so.
        CheckpointError: If the model cannot be loaded.
    """

    name = 'torch'

    def __init__(self, path: str | Path, device: str = 'cpu', precision: str = 'fp32', *,
                 reason: str = 'asked for', kernels: str = MEASURED) -> None:
        self.device = torch_device(device)
        _require_kernels(kernels, self.device)
        if precision not in TYPES:
            raise EngineError(f'the torch engine cannot compute in {precision!r}; use '
                              f'{", ".join(TYPES)}')
        if precision == 'fp16' and self.device.type != 'cuda':
            raise EngineError(f'precision fp16 needs a CUDA device, this is {self.device}; use '
                              'bf16 or fp32')
        model, manifest = load_model(path)
        super().__init__(manifest, device_name=str(self.device), precision=precision, reason=reason)
        network = fold(model)
        if precision != 'fp32':
            network = _Reduced(network, TYPES[precision])
        graph = DeployGraph(network, manifest.normalisation, manifest.input_size).eval()
        self.kernels = kernels
        with memory_named(self.device_name):
            graph.to(self.device)
            if kernels == 'compiled':
                fuse_fusions(graph, 'plain')
            else:
                fuse(graph, kernels)
        self._graph: DeployGraph | None = graph
        # Static: a size compiled for itself is faster, and all a CUDA graph can hold.
        self._run: Run = (torch.compile(graph, fullgraph=True, dynamic=False)
                          if kernels == 'compiled' else graph)
        self._captured: Recent[tuple[int, ...], CapturedGraph] = Recent()

    @torch.inference_mode()
    def scores(self, rgb: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> Tensor:
        """Return `(K, h/4, w/4)` float32 class scores of one frame; see `Engine.scores`.

        Raises:
            EngineError: Also if activations overflowed fp16.
        """
        if self._graph is None:
            raise closed_error(self.name)
        with self._compilers_named(), memory_named(self.device_name):
            if self.device.type == 'cuda':
                scores = self._captured_for(x.shape)(rgb, x)
            else:
                self._graph.size = network_size(x.shape[-2:], self.manifest.input_size)
                images = [torch.from_numpy(np.require(image, requirements=('C', 'W')))
                          for image in (rgb, x)]
                scores = self._run(*(image[None] if x.ndim == 2 else image for image in images))
        if self.precision == 'fp16' and not bool(scores.isfinite().all()):
            raise EngineError('the network overflows fp16 on this frame; use precision bf16 or '
                              'fp32')
        return scores[0] if x.ndim == 2 else scores

    def resident(self, rgb: npt.NDArray[np.uint8],
                 x: npt.NDArray[np.float32]) -> Callable[[], Tensor]:
        """Bring images to the CUDA device; return what queues the work on the current stream."""
        assert self.device.type == 'cuda'
        return self._captured_for(x.shape).resident(rgb, x)

    def _captured_for(self, shape: tuple[int, ...]) -> CapturedGraph:
        """Return the CUDA graph for frames of a size: `(H, W)`, or `(B, H, W)` for several."""
        captured = self._captured.get(shape)
        if captured is None:
            assert self._graph is not None
            *batch, height, width = shape
            self._graph.size = network_size((height, width), self.manifest.input_size)
            with exact_products():  # the kernels of a captured graph stay what they are
                captured = CapturedGraph(self._run, (height, width), self.device, *batch)
            self._captured.put(shape, captured)
        return captured

    @torch.inference_mode()
    def tail(self, scores: Tensor,
             size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return `(H, W)` uint8 labels and `(H, W)` uint8 confidence of class scores."""
        if self.device.type == 'cpu':
            return super().tail(scores, size)
        with self._compilers_named(), memory_named(self.device_name):
            labels, confidence = enlarge_argmax(
                scores, size, use='plain' if self.kernels == 'compiled' else self.kernels)
            return labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Give back the memory of the network; the engine cannot be used any more."""
        self._graph = None
        self._run = nn.Identity()
        self._captured.clear()
        self.free_memory()
        give_back_memory()

    def free_memory(self) -> None:
        """Give back memory of the device that is only cached."""
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def _compilers_named(self) -> AbstractContextManager[None]:
        """Raise `EngineError` for what compilers raise, if they were asked for."""
        return failures_named(f'torch with {self.kernels} kernels') \
            if self.kernels in ('triton', 'compiled') else nullcontext()


def _require_kernels(kernels: str, device: torch.device) -> None:
    """Refuse kernels that are unknown, or that the device cannot run.

    Raises:
        EngineError: Saying what to do.
    """
    if kernels not in KERNELS:
        raise EngineError(f'kernels {kernels!r} are unknown; choose {", ".join(KERNELS)}')
    if kernels == 'triton' and not is_available(torch.empty(0, device=device)):
        raise EngineError(f'triton kernels need a CUDA device and the package triton, this is '
                          f'{device}; use kernels {MEASURED}, which takes what runs here')


class _Reduced(nn.Module):
    """A network with weights and activations in half the bits.

    Raises:
        EngineError: If a weight is too large for that.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype
        broken = [name for name, tensor in self.network.state_dict().items()
                  if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
        if broken:
            raise EngineError(f'these weights do not fit {dtype}: {", ".join(broken[:5])}; use '
                              'bf16 or fp32')

    def forward(self, rgb: Tensor, x: Tensor) -> Tensor:
        """Return `(B, K, H/4, W/4)` scores of two normalised `(B, 3, H, W)` float32 images."""
        scores: Tensor = self.network(rgb.to(self.dtype), x.to(self.dtype))
        return scores


def torch_device(name: str) -> torch.device:
    """Return a device that is there.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.

    Raises:
        EngineError: If the name is unknown or there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EngineError(f'device {name!r} is unknown; use auto, cpu, cuda or cuda:N') from error
    if device.type not in ('cpu', 'cuda') or (device.type == 'cpu' and device.index):
        raise EngineError(f'device {name!r} is not supported; use auto, cpu, cuda or cuda:N')
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise EngineError(f'device {name!r} was asked for, but torch {torch.__version__} sees no '
                          'CUDA device; use device cpu, or install a CUDA build')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f'device {name!r} was asked for, but there are '
                          f'{torch.cuda.device_count()} CUDA devices, counted from cuda:0')
    if device.type == 'cpu':
        return torch.device('cpu')
    return torch.device('cuda', torch.cuda.current_device() if device.index is None
                        else device.index)


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products of a GPU from being rounded to TF32 in the block.

    These settings belong to the whole process, so they are put back as they were.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        conv = cudnn.conv  # type: ignore[attr-defined]
        before = matmul.fp32_precision, conv.fp32_precision
    except AttributeError:  # PyTorch before 2.9; later ones mind if only these two are set
        old = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = old
        return
    matmul.fp32_precision = conv.fp32_precision = 'ieee'
    try:
        yield
    finally:
        matmul.fp32_precision, conv.fp32_precision = before
