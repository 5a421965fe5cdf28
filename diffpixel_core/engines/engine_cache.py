# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Built TensorRT engines kept for the next start, each under what it was built from and for.

An engine runs on the GPU, TensorRT, CUDA and system it was built on and nowhere else; building one
takes minutes. So it is looked up by all of these, checked byte by byte as every artefact, and
built again when anything differs.
"""

import dataclasses
import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffpixel_core.artefacts import (
    Artefact,
    ArtefactError,
    EngineRecord,
    read_artefact,
    seal,
    whole_folder,
)
from diffpixel_core.checkpoints import Manifest
from diffpixel_core.whole_file import write_whole

logger = logging.getLogger(__name__)

PLAN_FILE, GRAPH_FILE = 'model.engine', 'model.onnx'
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class GpuMachine:
    """What a built engine is bound to.

    Attributes:
        gpu: Name of the GPU.
        capability: Its compute capability, as in `8.7`.
        multiprocessors: How many it has: one name is sold with several.
        tensorrt: Full version of TensorRT.
        cuda: Major version of CUDA.
        system: Operating system and processor, as in `Linux-aarch64`.
    """

    gpu: str
    capability: str
    multiprocessors: int
    tensorrt: str
    cuda: str
    system: str

    @property
    def digest(self) -> str:
        """The name under which timings of kernels are kept, whatever the graph."""
        return _digest(dataclasses.asdict(self))


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What a TensorRT engine was built from and for; two of the same key may be exchanged.

    Attributes:
        graph_sha256: Hash of the ONNX file, weights and all.
        precision: `fp32`, `fp16` or `int8`; the graph carries it, this names it.
        shapes: Frames in a run, height and width of a frame, as in `1x480x640`; 0 = any number.
        level: TensorRT's optimisation level.
        machine: Where it was built.
    """

    graph_sha256: str
    precision: str
    shapes: str
    level: int
    machine: GpuMachine

    @property
    def settings(self) -> dict[str, Any]:
        """The key as the record of an engine holds it."""
        rows = dataclasses.asdict(self)
        machine = rows.pop('machine')
        return {**rows, **machine}

    @property
    def digest(self) -> str:
        """The name under which the engine is kept."""
        return _digest(self.settings)

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """Return a clause for everything in which an engine's record differs from this key."""
        return [f'{name} is {settings.get(name)!r}, here it is {wanted!r}'
                for name, wanted in self.settings.items() if settings.get(name) != wanted]


def gpu_machine(device: torch.device, tensorrt: str) -> GpuMachine:
    """Return what engines of this machine are bound to.

    Args:
        device: A CUDA device.
        tensorrt: Full version of TensorRT.
    """
    gpu = torch.cuda.get_device_properties(device)
    return GpuMachine(gpu.name, f'{gpu.major}.{gpu.minor}', gpu.multi_processor_count, tensorrt,
                      str(torch.version.cuda).partition('.')[0],
                      f'{platform.system()}-{platform.machine()}')


def engine_key(graph: bytes, machine: GpuMachine, *, precision: str, frame: tuple[int, int],
               batch: int, level: int) -> EngineKey:
    """Return the key of an engine.

    Args:
        graph: The ONNX file.
        machine: Where the engine is to run.
        precision: Which the graph's tensors carry.
        frame: `(H, W)` of the camera images.
        batch: Frames in a run; 0 = any number.
        level: TensorRT's optimisation level.
    """
    return EngineKey(hashlib.sha256(graph).hexdigest(), precision,
                     f'{batch}x{frame[0]}x{frame[1]}', level, machine)


def cache_folder() -> Path:
    """Return the folder of kept engines, which only its owner may write.

    Raises:
        ArtefactError: If it belongs to somebody else, or others may write into it: an engine is
            executed.
    """
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = root / 'diffpixel' / 'engines'
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise ArtefactError(f'cannot make {folder} for built engines: {error.strerror}; set '
                            'XDG_CACHE_HOME to a folder of yours') from error
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ArtefactError(f'{folder} can be written by others, and engines are executed; make it '
                            'yours (chown, chmod 700), or set XDG_CACHE_HOME to a folder that is')
    return folder


def find_engine(key: EngineKey) -> Artefact | None:
    """Return the kept engine of a key, every byte checked, or None: it has to be built.

    Raises:
        ArtefactError: If the folder of kept engines cannot be trusted.
    """
    folder = cache_folder() / key.digest
    if not folder.exists():
        return None
    try:
        artefact = read_artefact(folder)
    except ArtefactError as error:
        logger.warning('the kept engine is built again: %s', error)
        return None
    differences = key.differences(artefact.record.settings)
    if differences:
        logger.warning('the kept engine %s is built again: %s', folder, '; '.join(differences))
        return None
    return artefact


def keep_engine(key: EngineKey, plan: bytes, graph: bytes, record: EngineRecord,
                manifest: Manifest) -> Artefact:
    """Keep a built engine, whole or not at all, and return it as read back.

    Raises:
        ArtefactError: If it cannot be written.
    """
    folder = cache_folder() / key.digest
    with whole_folder(folder) as part:
        (part / PLAN_FILE).write_bytes(plan)
        (part / GRAPH_FILE).write_bytes(graph)
        seal(part, dataclasses.replace(record, settings=key.settings), manifest)
    return read_artefact(folder)


def load_timings(key: EngineKey) -> bytes:
    """Return TensorRT's timings of kernels on this machine; nothing if there are none, or damaged.

    Raises:
        ArtefactError: If the folder of kept engines cannot be trusted.
    """
    try:
        content = _timings(key).read_bytes()
    except OSError:
        return b''
    timings = content[_DIGEST:]
    return timings if hashlib.sha256(timings).digest() == content[:_DIGEST] else b''


def keep_timings(key: EngineKey, timings: bytes) -> None:
    """Keep TensorRT's timings for the next build on this machine.

    Raises:
        ArtefactError: If the folder of kept engines cannot be written.
    """
    file = _timings(key)
    try:
        write_whole(file, hashlib.sha256(timings).digest() + timings)
    except OSError as error:
        raise ArtefactError(f'cannot write {file}: {error.strerror}; make room') from error


def _timings(key: EngineKey) -> Path:
    return cache_folder() / f'{key.machine.digest}.timings'


def _digest(rows: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:32]
