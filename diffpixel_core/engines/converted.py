# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A model's graph in another runtime's format, converted once for each frame size and then kept.

Conversion happens in a process of its own, `python -m diffpixel_core.engines.converting`: tracing
`diffpixelformer_t` left 140 to 230 MiB behind in PyTorch for every frame size, whatever was freed
afterwards. What it writes is an artefact like an exported one, checked byte by byte when read.
"""

import dataclasses
import fcntl
import functools
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffpixel_core.artefacts import FORMATS, Artefact, ArtefactError, read_artefact
from diffpixel_core.checkpoints import Manifest
from diffpixel_core.engines.engine import EngineError
from diffpixel_core.engines.engine_cache import cache_folder

logger = logging.getLogger(__name__)

REFUSED, UNWRITABLE = 2, 3  # exit codes of the process that converts
_PACKAGES = {'onnx': ('torch', 'onnx', 'onnxscript'), 'openvino': ('torch', 'openvino')}


@dataclasses.dataclass(frozen=True, slots=True)
class Conversion:
    """What is converted, and to what.

    Attributes:
        model: The model's directory.
        manifest: Of the model, with the hash of its weights.
        format: `onnx` or `openvino`.
        frame: `(H, W)` of the camera images.
        batch: Frames in one run.
        half: Whether the network (`onnx`) or what is stored of it (`openvino`) is in float16.
    """

    model: Path
    manifest: Manifest
    format: str
    frame: tuple[int, int]
    batch: int = 1
    half: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Everything the result depends on, as JSON holds it."""
        manifest = dataclasses.asdict(self.manifest)
        rows = {name: manifest[name] for name in ('model', 'weights_sha256', 'input_size',
                                                  'normalisation')}
        rows |= {'format': self.format, 'frame': self.frame, 'batch': self.batch,
                 'half': self.half, 'code': _code_digest(),
                 'packages': {name: _version(name) for name in _PACKAGES[self.format]}}
        settings: dict[str, Any] = json.loads(json.dumps(rows))
        return settings

    @property
    def name(self) -> str:
        """The name under which it is kept."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def converted(conversion: Conversion, cache: Path | None = None) -> dict[str, bytes]:
    """Return the files of a graph that was kept from an earlier start, or is converted now.

    Args:
        conversion: What is wanted.
        cache: Folder of kept graphs; None = the user's, see `engine_cache.cache_folder`. One
            that cannot be used costs a conversion at every start, and a warning.

    Raises:
        EngineError: If the conversion fails.
    """
    try:
        folder = (cache or cache_folder()) / conversion.name
        with _one_at_a_time(folder):
            artefact = _kept(folder, conversion)
            if artefact is None:
                _convert_elsewhere(conversion, folder)
                artefact = read_artefact(folder)
        return _files(artefact)
    except (ArtefactError, OSError) as error:
        logger.warning('the converted graph cannot be kept, so every start converts it again: %s',
                       error)
    with tempfile.TemporaryDirectory(prefix='diffpixel_engine_') as temporary:
        folder = Path(temporary) / conversion.name
        _convert_elsewhere(conversion, folder)
        return _files(read_artefact(folder))


def _files(artefact: Artefact) -> dict[str, bytes]:
    return {name: artefact.content(name) for name in FORMATS[artefact.record.format]}


def _kept(folder: Path, conversion: Conversion) -> Artefact | None:
    """Return the graph in a folder, every byte checked, or None: it has to be converted."""
    if not folder.exists():
        return None
    try:
        artefact = read_artefact(folder)
    except ArtefactError as error:
        logger.warning('the kept graph is converted again: %s', error)
        return None
    if artefact.record.settings != conversion.settings:
        logger.warning('the kept graph %s is converted again: it was made of something else',
                       folder)
        return None
    return artefact


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from converting the same graph during the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f'{folder.name}.lock').open('w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # until it is closed
        yield


def _convert_elsewhere(conversion: Conversion, folder: Path) -> None:
    """Convert a graph in a process of its own.

    Raises:
        EngineError: If that fails.
        ArtefactError: If the folder cannot be written.
    """
    height, width = conversion.frame
    logger.info('converting %s to %s for frames of %dx%d pixels; this takes seconds, once',
                conversion.manifest.model, conversion.format, width, height)
    task = json.dumps({'model': str(conversion.model), 'folder': str(folder),
                       'settings': conversion.settings})
    path = os.pathsep.join(filter(None, (str(_package().parent), os.environ.get('PYTHONPATH'))))
    child = subprocess.run([sys.executable, '-m', 'diffpixel_core.engines.converting', task],
                           env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True,
                           check=False)
    if not child.returncode:
        return
    said = (child.stderr.strip().splitlines() or ['it said nothing'])[-1]
    if child.returncode == UNWRITABLE:
        raise ArtefactError(said)
    if child.returncode == REFUSED:
        raise EngineError(said)
    raise EngineError(f'the graph cannot be converted to {conversion.format}: the process that '
                      f'converts it ended with {child.returncode}: {said}')


@functools.cache
def _code_digest() -> str:
    """Return a hash of everything of ours that makes a graph: an update may mend it."""
    digest = hashlib.sha256()
    for file in sorted(path for part in ('models', 'deploy', 'kernels')
                       for path in (_package() / part).glob('*.py')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _package() -> Path:
    return Path(str(resources.files('diffpixel_core')))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'missing'
