# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ModelLoader: load a model in a thread of its own, while the node goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.segmenter import Segmenter, load_segmenter, locate_model
from diffpixel_ros.parameters import NodeParameters

SHIPPED_MODEL = 'rooms_t'


class ModelError(DiffPixelError):
    """A weights file that is not the one that was asked for."""


class StoppedError(DiffPixelError):
    """The process was asked to end while it was waiting for something."""


@dataclass(frozen=True)
class ModelRequest:
    """Which model is wanted, and how; equal requests need loading only once."""

    path: str
    sha256: str
    backend: str
    device: str
    precision: str
    warmup_iterations: int

    @classmethod
    def of(cls, parameters: NodeParameters) -> 'ModelRequest':
        """Return what the parameters ask for."""
        return cls(parameters.model_path or SHIPPED_MODEL, parameters.model_sha256.lower(),
                   parameters.backend, parameters.device, parameters.precision,
                   parameters.warmup_iterations)

    def load(self) -> Segmenter:
        """Return the model, warmed up.

        Raises:
            ModelError: If the weights have another hash.
            DiffPixelError: If the model cannot be loaded, or not so.
        """
        if self.sha256:
            file, _ = locate_model(self.path)
            found = sha256(file.read_bytes()).hexdigest()
            if found != self.sha256:
                raise ModelError(f'{file} has the SHA-256 {found}, but parameter model_sha256 is '
                                 f'{self.sha256}; this is not the model that was meant')
        segmenter = load_segmenter(self.path, self.backend, device=self.device,
                                   precision=self.precision)
        for _ in range(self.warmup_iterations):
            segmenter.warm_up(*segmenter.manifest.input_size)
        return segmenter


class ModelLoader:
    """Keeps at most one load going; used by the executor's thread only.

    Args:
        stop: Set by whoever wants the process to end, so that waiting ends too.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._begun: tuple[ModelRequest, Future[Segmenter]] | None = None

    @property
    def is_loading(self) -> bool:
        """Whether a load is going on."""
        return self._begun is not None and not self._begun[1].done()

    def begin(self, request: ModelRequest) -> None:
        """Begin to load a model, unless the same load is going on or has succeeded."""
        if self._begun is None or self._begun[0] != request or _failed(self._begun[1]):
            self._begun = (request, in_background(request.load, name='load_model'))

    def result(self, request: ModelRequest) -> Segmenter:
        """Return the model, loaded by now; one that failed to load is tried again.

        Raises:
            StoppedError: If the process is to end.
            DiffPixelError: If the model cannot be loaded.
        """
        self.begin(request)
        assert self._begun is not None
        future = self._begun[1]
        while not future.done():
            if self._stop.wait(0.02):
                raise StoppedError('asked to end while the model was loading')
        segmenter = future.result()
        self._begun = None  # or nobody could free the model
        return segmenter


def in_background(work: Callable[[], Segmenter], *, name: str) -> 'Future[Segmenter]':
    """Return the future result of `work`, which runs in a daemon thread."""
    future: Future[Segmenter] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whoever waits gets it, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _failed(future: 'Future[Segmenter]') -> bool:
    return future.done() and future.exception() is not None
