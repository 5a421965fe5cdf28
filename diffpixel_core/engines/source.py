# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Where an engine that runs another format takes its graph from: a model, or an exported engine."""

from abc import ABC, abstractmethod
from pathlib import Path

from diffpixel_core.artefacts import FORMATS, Artefact, is_artefact, read_artefact
from diffpixel_core.checkpoints import Manifest, check_model
from diffpixel_core.engines.converted import Conversion, converted
from diffpixel_core.engines.engine import EngineError

RUNTIMES = {'onnx': 'onnxruntime', 'openvino': 'openvino', 'tensorrt': 'tensorrt'}


class Source(ABC):
    """Gives the files of a graph for frames of a size.

    Attributes:
        manifest: Of the model.
    """

    manifest: Manifest

    @abstractmethod
    def files(self, shape: tuple[int, ...], *, half: bool = False) -> dict[str, bytes]:
        """Return the files of the graph by name, every byte checked.

        Args:
            shape: `(H, W)` of a frame, or `(B, H, W)` of several.
            half: Whether it is to compute in 16 bits; see `Conversion.half`.

        Raises:
            EngineError: If there is no graph for such frames.
        """


class ModelSource(Source):
    """A model, whose graph is converted for each frame size.

    Args:
        path: A model directory, its weights file or the name of a shipped model.
        kind: `onnx` or `openvino`.
        cache: Folder of converted graphs; None = the user's.

    Attributes:
        folder: The model's directory.
    """

    def __init__(self, path: str | Path, kind: str, cache: Path | None) -> None:
        self.folder, self.manifest = check_model(path)
        self._kind, self._cache = kind, cache

    def files(self, shape: tuple[int, ...], *, half: bool = False) -> dict[str, bytes]:
        """Return the files of the graph; see `Source.files`."""
        *batch, height, width = shape
        return converted(Conversion(self.folder, self.manifest, self._kind, (height, width),
                                    batch=batch[0] if batch else 1, half=half), self._cache)


class ArtefactSource(Source):
    """An exported engine, which takes frames of one size.

    Args:
        artefact: The exported engine.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.manifest, self.record = artefact.manifest, artefact.record
        self._artefact = artefact

    def files(self, shape: tuple[int, ...], *, half: bool = False) -> dict[str, bytes]:
        """Return the files of the graph; see `Source.files`."""
        *batch, height, width = shape
        wanted_height, wanted_width = self.record.frame_size
        if (height, width) != (wanted_height, wanted_width):
            raise EngineError(f'{self._artefact.folder} was exported for frames of '
                              f'{wanted_width}x{wanted_height} pixels, this one has '
                              f'{width}x{height}; export the model again with --size '
                              f'{height}x{width}, or load the model itself')
        frames = batch[0] if batch else 1
        if self.record.batch not in (0, frames):
            raise EngineError(f'{self._artefact.folder} was exported for {self.record.batch} '
                              f'frames at a time, these are {frames}; export the model again')
        return {name: self._artefact.content(name) for name in FORMATS[self.record.format]}


def exported(path: str | Path, engine: str, precision: str) -> Artefact | None:
    """Return the exported engine at a path, or None: there is a model, or nothing.

    Args:
        path: What a user named.
        engine: `auto`, or the engine that is to run it.
        precision: `auto`, or that in which it is to compute.

    Raises:
        ArtefactError: If the exported engine is damaged.
        EngineError: If it was made for another engine or precision.
    """
    if not is_artefact(path):
        return None
    artefact = read_artefact(path)
    record = artefact.record
    runtime = RUNTIMES[record.format]
    if engine not in ('auto', runtime):
        raise EngineError(f'{artefact.folder} was exported for the engine {runtime}, not for '
                          f'{engine}; ask for {runtime} or auto, or load the model itself')
    if precision not in ('auto', record.precision):
        raise EngineError(f'{artefact.folder} was exported in {record.precision}, not in '
                          f'{precision}; export the model again with --precision {precision}')
    return artefact


def open_source(path: str | Path, engine: str, precision: str, cache: Path | None) -> Source:
    """Return where an engine takes its graph from.

    Args:
        path: A model, or an exported engine.
        engine: `onnxruntime` or `openvino`.
        precision: In which it is to compute.
        cache: Folder of converted graphs; None = the user's.

    Raises:
        CheckpointError: If there is no such model, or it is damaged.
        ArtefactError: If the exported engine is damaged.
        EngineError: If it was made for another engine or precision, or there is none in int8.
    """
    artefact = exported(path, engine, precision)
    if artefact is not None:
        return ArtefactSource(artefact)
    kind = next(name for name, runtime in RUNTIMES.items() if runtime == engine)
    if precision == 'int8':
        raise EngineError(f'{path} is a model, and int8 needs an engine that was calibrated on '
                          f'frames: diffpixel export {path} --format {kind} --precision int8, '
                          'then load what it wrote')
    return ModelSource(path, kind, cache)
