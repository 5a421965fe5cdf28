# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""ModelLoader: load a model in a thread of its own, while the node goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.segmenter import (
    Segmenter,
    load_next_best,
    load_segmenter,
    locate_model,
    weights_hash,
)
from diffpixel_ros.parameters import NodeParameters

SHIPPED_MODEL = 'rooms_t'
# Parameters that say which model is wanted; see `ModelRequest.of`.
MODEL_PARAMETERS = ('model_path', 'model_sha256', 'backend', 'device', 'precision',
                    'engine_cache_dir', 'warmup_iterations')
# Height, width of what most RGB-D cameras send. An engine prepares each frame size once, which
# takes it seconds; a camera of another size pays with its first frame.
_USUAL_FRAME = (480, 640)


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
    engine_cache_dir: str
    warmup_iterations: int

    @classmethod
    def of(cls, parameters: NodeParameters) -> 'ModelRequest':
        """Return what the parameters ask for."""
        return cls(parameters.model_path or SHIPPED_MODEL, parameters.model_sha256.lower(),
                   parameters.backend, parameters.device, parameters.precision,
                   parameters.engine_cache_dir, parameters.warmup_iterations)

    def load(self) -> Segmenter:
        """Return the model, warmed up.

        Raises:
            ModelError: If the weights have another hash.
            DiffPixelError: If the model cannot be loaded, or not so.
        """
        if self.sha256:
            found = weights_hash(self.path)
            if found != self.sha256:
                raise ModelError(f'{locate_model(self.path)[0]} has the SHA-256 {found}, but '
                                 f'parameter model_sha256 is {self.sha256}; this is not the model '
                                 'that was meant')
        return self._warmed(load_segmenter(
            self.path, self.backend, device=self.device, precision=self.precision,
            cache=self.engine_cache_dir))

    def load_next_best(self, failed: Segmenter, *, elsewhere: bool) -> Segmenter:
        """Return the model on the next best engine, warmed up.

        Args:
            failed: The model on the engine that failed.
            elsewhere: Whether its device has no memory left.

        Raises:
            DiffPixelError: If no engine is left, or the model cannot be loaded any more.
        """
        return self._warmed(load_next_best(self.path, failed, precision=self.precision,
                                           elsewhere=elsewhere, cache=self.engine_cache_dir))

    def _warmed(self, segmenter: Segmenter) -> Segmenter:
        for _ in range(self.warmup_iterations):
            segmenter.warm_up(*(segmenter.frame_size or _USUAL_FRAME))
        return segmenter


class ModelLoader:
    """Loads models in threads of its own, one at a time; told what to do by the executor's thread.

    Args:
        stop: Set by whoever wants the process to end, so that waiting ends too.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._turn = threading.Lock()
        self._going: list[Future[Segmenter]] = []
        self._begun: tuple[ModelRequest, Future[Segmenter]] | None = None

    @property
    def is_loading(self) -> bool:
        """Whether any load is going on or waits for its turn."""
        return bool(self._going)

    def begin(self, request: ModelRequest) -> None:
        """Begin to load the model for the next configure, unless that is going on or done."""
        if self._begun is not None:
            if self._begun[0] == request and not _failed(self._begun[1]):
                return
            self._begun[1].cancel()  # if its turn has not come yet
        self._begun = (request, self.load(request.load))

    def load(self, work: Callable[[], Segmenter]) -> 'Future[Segmenter]':
        """Return the future result of `work`, which runs in a daemon thread when its turn comes."""
        future: Future[Segmenter] = Future()

        def run() -> None:
            with self._turn:
                if not future.set_running_or_notify_cancel():
                    return
                try:
                    future.set_result(work())
                except BaseException as error:  # whoever waits gets it, whatever it is
                    future.set_exception(error)

        self._going.append(future)
        future.add_done_callback(self._going.remove)  # or the model could not be freed
        threading.Thread(target=run, name='load_model', daemon=True).start()
        return future

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


def _failed(future: 'Future[Segmenter]') -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
