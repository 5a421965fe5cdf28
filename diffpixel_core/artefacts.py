# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Exported engines on disk: a graph for one runtime, the model's manifest, and what was made how.

An artefact is a directory. It is written whole or not at all, and what is read from it was checked
byte by byte: a damaged engine must never give labels.

    onnx       model.onnx
    openvino   model.xml, model.bin
    tensorrt   model.engine, and model.onnx to build it again from
    each       model.json, the model's manifest; engine.json, an `EngineRecord` with the hashes
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from diffpixel_core.errors import DiffPixelError
from diffpixel_core.whole_file import PART

if TYPE_CHECKING:
    from diffpixel_core.checkpoints import Manifest

ARTEFACT_VERSION = 1
RECORD_FILE = 'engine.json'
MANIFEST_FILE = 'model.json'  # that of `checkpoints`, which would import torch just to look
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    'onnx': ('model.onnx',),
    'openvino': ('model.xml', 'model.bin'),
    'tensorrt': ('model.engine', 'model.onnx'),
})
PRECISIONS = ('fp32', 'bf16', 'fp16', 'int8')
_OURS = {RECORD_FILE, MANIFEST_FILE, *(name for names in FORMATS.values() for name in names)}
_SIZES = ('frame_size', 'network_size')
_BLOCK = 1 << 20  # bytes hashed at a time


class ArtefactError(DiffPixelError):
    """An exported engine that is missing, damaged, of another version, or does not fit."""


@dataclass(frozen=True)
class EngineRecord:
    """What one needs to know to run an exported graph; `engine.json`.

    Attributes:
        format: Key of `FORMATS`.
        precision: One of `PRECISIONS`.
        frame_size: `(height, width)` of the camera images it takes, pixels.
        network_size: `(height, width)` the network inside works at, pixels.
        weights_sha256: Hash of the weights it was made of; the manifest beside it has the same.
        batch: Frames in one run; 0 = any number.
        settings: What the runtime is told when it compiles the graph, and, for TensorRT, what the
            engine was built for.
        made_with: Versions of the programs that made it, by name.
        agreement: What was measured against the trained network, with the frames it was measured
            on; empty = nothing.
        files: Bytes and SHA-256 of every file beside this one; filled in when written.
        version: Layout of this file.
    """

    format: str
    precision: str
    frame_size: tuple[int, int]
    network_size: tuple[int, int]
    weights_sha256: str
    batch: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = ARTEFACT_VERSION

    def __post_init__(self) -> None:
        """Refuse a record that this program cannot follow."""
        if self.version != ARTEFACT_VERSION:
            raise ArtefactError(f'engine version {self.version!r} is not the one this program '
                                f'reads ({ARTEFACT_VERSION}); export the model again')
        for name, value, known in (('format', self.format, tuple(FORMATS)),
                                   ('precision', self.precision, PRECISIONS)):
            if value not in known:
                raise ArtefactError(f'engine has {name} {value!r}, which this program does not '
                                    f'know ({", ".join(known)}); export the model again')
        for name, size in (('frame_size', self.frame_size), ('network_size', self.network_size)):
            if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
                raise ArtefactError(f'engine has {name} {size!r}; it should be height and width '
                                    'in pixels: export the model again')
        if type(self.batch) is not int or self.batch < 0:
            raise ArtefactError(f'engine has batch {self.batch!r}; it should be a number of '
                                'frames, or 0 for any: export the model again')


@dataclass(frozen=True)
class Artefact:
    """An exported engine that was read and found whole.

    Attributes:
        folder: Where its files are.
        record: How it was made and for what.
        manifest: Of the model it was made of.
    """

    folder: Path
    record: EngineRecord
    manifest: 'Manifest'

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        assert name in self.record.files, name
        return self.folder / name

    def content(self, name: str) -> bytes:
        """Return what is in one of its files, checked once more.

        Raises:
            ArtefactError: If it was changed since the artefact was read.
        """
        file = self.file(name)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ArtefactError(f'{file} cannot be read ({error.strerror}); copy the engine again '
                                'or export it again') from error
        _require_same(file, self.record.files[name], len(content),
                      hashlib.sha256(content).hexdigest())
        return content


def is_artefact(path: str | Path) -> bool:
    """Tell whether a path means an exported engine: a folder with its files, or one of them.

    Whether the engine is whole is another question, see `read_artefact`.
    """
    given = Path(path).expanduser()
    if given.name == MANIFEST_FILE:
        return False  # also the manifest of a model
    if given.name in _OURS:
        return True
    return given.is_dir() and any((given / name).exists() for name in _OURS - {MANIFEST_FILE})


def read_artefact(path: str | Path) -> Artefact:
    """Return an exported engine whose every byte is the one that was written.

    Args:
        path: Its folder or one of its files.

    Raises:
        ArtefactError: If a file is missing, cut short, changed, of another version, or belongs to
            other weights.
    """
    given = Path(path).expanduser()
    folder = given.parent if given.name in _OURS else given
    if not folder.is_dir():
        raise ArtefactError(f'no engine at {given}; give a folder that `diffpixel export` wrote')
    record = _read_record(folder / RECORD_FILE)
    for name, wanted in record.files.items():
        file = folder / name
        try:
            size, digest = _size_and_hash(file)
        except OSError as error:
            raise ArtefactError(f'{folder} has no readable {name} ({error.strerror}); copy the '
                                'whole engine again or export it again') from error
        _require_same(file, wanted, size, digest)
    manifest = _read_manifest(folder / MANIFEST_FILE)
    if manifest.weights_sha256 != record.weights_sha256:
        raise ArtefactError(f'{folder / MANIFEST_FILE} is of weights '
                            f'{manifest.weights_sha256[:12]}..., but the engine was made of '
                            f'{record.weights_sha256[:12]}...; export the model again')
    return Artefact(folder, record, manifest)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to fill instead, beside `folder`; it takes its place when the block ends.

    If the block raises, what was at `folder` is still there, and the other folder is not.

    Raises:
        ArtefactError: If something other than an exported engine is at `folder`, or it cannot be
            written.
    """
    folder = folder.resolve()
    require_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}.', suffix=PART))
    except OSError as error:
        raise ArtefactError(f'cannot write {folder}: {error.strerror}; choose another place') \
            from error
    try:
        yield part
        part.chmod(0o755)
        require_replaceable(folder)
        _take_place(part, folder)
    except OSError as error:  # such as a full disk
        raise ArtefactError(f'cannot write {folder}: {error.strerror or error}; make room, or '
                            'choose another place') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything but an exported engine: it would be lost.

    Raises:
        ArtefactError: If it does, or is no folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtefactError(f'cannot write {folder}: it is a file; name a folder')
    found = sorted(path.name for path in folder.iterdir())
    others = [name for name in found if name not in _OURS]
    if others or (found and RECORD_FILE not in found):
        named = others or found
        raise ArtefactError(f'cannot write {folder}: it holds {", ".join(named[:3])}'
                            f'{", ..." if len(named) > 3 else ""}, not an exported engine alone; '
                            'choose another folder, or empty it')


def seal(folder: Path, record: EngineRecord, manifest: 'Manifest') -> EngineRecord:
    """Write the manifest and the record of an engine whose graph is in a folder.

    Returns:
        The record as written, with the files' sizes and hashes.
    """
    assert record.weights_sha256, 'an engine says what weights it was made of'
    assert manifest.weights_sha256 == record.weights_sha256
    (folder / MANIFEST_FILE).write_text(json.dumps(dataclasses.asdict(manifest), indent=2) + '\n')
    files = {}
    for name in (*FORMATS[record.format], MANIFEST_FILE):
        content = (folder / name).read_bytes()
        files[name] = {'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}
    record = dataclasses.replace(record, files=files)
    (folder / RECORD_FILE).write_text(_record_text(dataclasses.asdict(record)))
    for path in folder.iterdir():  # the disk has it before the folder gets its name
        with path.open('rb') as stream:
            os.fsync(stream.fileno())
    return record


def _take_place(part: Path, folder: Path) -> None:
    """Put a whole folder where another one may be."""
    if not folder.exists():
        part.rename(folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}.', suffix='.old'))
    folder.rename(old)  # onto an empty folder
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _record_text(rows: dict[str, Any]) -> str:
    """Return the one way to write a record: its content, and the hash of just that."""
    rows = {key: value for key, value in rows.items() if key != 'check'}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return json.dumps({**rows, 'check': digest}, indent=2) + '\n'


def _read_record(file: Path) -> EngineRecord:
    """Return a record whose text is exactly what its content makes.

    Raises:
        ArtefactError: If it is missing, no JSON, changed, of another version or has other keys.
    """
    again = 'copy the engine again or export it again'
    try:
        text = file.read_bytes().decode()
        rows = json.loads(text)
    except OSError as error:
        raise ArtefactError(f'{file.parent} has no readable {RECORD_FILE} ({error.strerror}); an '
                            'engine is the whole folder that `diffpixel export` wrote') from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f'{file} cannot be read as JSON ({error}); {again}') from error
    if not isinstance(rows, dict):
        raise ArtefactError(f'{file} holds a {type(rows).__name__}, not what is known of an '
                            f'engine; {again}')
    if rows.get('version') != ARTEFACT_VERSION:
        raise ArtefactError(f'{file} has version {rows.get("version")!r}, this program reads '
                            f'{ARTEFACT_VERSION}; export the model again')
    known = {row.name for row in dataclasses.fields(EngineRecord)} | {'check'}
    if set(rows) != known:
        raise ArtefactError(f'{file} has unknown keys {sorted(set(rows) - known)} and lacks '
                            f'{sorted(known - set(rows))}; export the model again')
    if text != _record_text(rows):
        raise ArtefactError(f'{file} was changed after it was written: its content does not match '
                            f'its own hash; {again}')
    del rows['check']
    for name in _SIZES:
        if not isinstance(rows[name], list):
            raise ArtefactError(f'{file} has {name} {rows[name]!r}; it should be a list')
        rows[name] = tuple(rows[name])
    try:
        record = EngineRecord(**rows)
    except ArtefactError as error:
        raise ArtefactError(f'{file}: {error}') from error
    wanted = {*FORMATS[record.format], MANIFEST_FILE}
    if set(record.files) != wanted:
        raise ArtefactError(f'{file} lists {sorted(record.files)}; a {record.format} engine has '
                            f'{sorted(wanted)}: export the model again')
    return record


def _read_manifest(file: Path) -> 'Manifest':
    """Return the manifest beside a graph; its bytes are known to be those written."""
    from diffpixel_core.checkpoints import Manifest

    rows = json.loads(file.read_text())
    for name in ('modalities', 'input_size', 'label_classes'):
        rows[name] = tuple(rows[name])
    try:
        return Manifest(**rows)
    except (TypeError, DiffPixelError) as error:
        raise ArtefactError(f'{file} is no manifest this program reads ({error}); export the model '
                            'again') from error


def _size_and_hash(file: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with file.open('rb') as stream:
        while block := stream.read(_BLOCK):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()


def _require_same(file: Path, wanted: Mapping[str, Any], size: int, digest: str) -> None:
    if size != wanted['bytes']:
        raise ArtefactError(f'{file} has {size} bytes, it was written with {wanted["bytes"]}; the '
                            'file was changed or cut short: copy the engine again or export it '
                            'again')
    if digest != wanted['sha256']:
        raise ArtefactError(f'{file} has hash {digest[:12]}..., it was written with '
                            f'{wanted["sha256"][:12]}...; the file was changed: copy the engine '
                            'again or export it again')
