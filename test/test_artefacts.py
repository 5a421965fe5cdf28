# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Exported engines are read whole or refused, and written whole or not at all."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from damaged_files import PLACES, damage
from diffpixel_core import artefacts, checkpoints
from diffpixel_core.artefacts import (
    FORMATS,
    RECORD_FILE,
    Artefact,
    ArtefactError,
    EngineRecord,
    is_artefact,
    read_artefact,
    seal,
    whole_folder,
)
from diffpixel_core.checkpoints import MANIFEST_FILE, WEIGHTS_FILE, Manifest

MANIFEST = Manifest('diffpixelformer_t', 'nyu13', input_size=(32, 48), weights_sha256='ab' * 32)
# As JSON holds it: lists for tuples.
MANIFEST = dataclasses.replace(
    MANIFEST, normalisation=json.loads(json.dumps(MANIFEST.normalisation)))


def record(kind: str = 'openvino', **changes: object) -> EngineRecord:
    rows = EngineRecord(format=kind, precision='fp32', frame_size=(96, 128), network_size=(32, 48),
                        weights_sha256=MANIFEST.weights_sha256,
                        settings={'INFERENCE_PRECISION_HINT': 'f32'},
                        agreement={'drawn frames': {'frames': 8, 'agreement': 0.9999}})
    return dataclasses.replace(rows, **changes)


def write(folder: Path, kind: str = 'openvino', seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    with whole_folder(folder) as part:
        for name in FORMATS[kind]:
            (part / name).write_bytes(draw.bytes(3000))
        seal(part, record(kind), MANIFEST)
    return folder


@pytest.mark.parametrize('kind', FORMATS)
def test_what_was_written_comes_back(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine', kind)
    found = read_artefact(folder)
    assert isinstance(found, Artefact)
    assert found.manifest == MANIFEST
    assert dataclasses.replace(found.record, files={}) == record(kind)
    assert set(found.record.files) == {*FORMATS[kind], MANIFEST_FILE}
    for name in FORMATS[kind]:
        assert found.content(name) == (folder / name).read_bytes()
        assert read_artefact(folder / name).record == found.record
    assert read_artefact(folder / RECORD_FILE).record == found.record
    assert (folder.stat().st_mode & 0o777) == 0o755


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize('place', PLACES)
def test_an_engine_damaged_anywhere_is_refused(kind: str, place: int, tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine', kind)
    file = damage(folder, place)
    with pytest.raises(ArtefactError, match=f'{file.name}.*again'):
        read_artefact(folder)


def test_no_byte_of_the_record_can_be_changed(tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine')
    whole = (folder / RECORD_FILE).read_bytes()
    for at, byte in enumerate(whole):
        for other in {byte ^ 1, 0x20, 0x0A} - {byte}:  # another digit, other white space
            (folder / RECORD_FILE).write_bytes(whole[:at] + bytes((other,)) + whole[at + 1:])
            with pytest.raises(ArtefactError):
                read_artefact(folder)
    (folder / RECORD_FILE).write_bytes(whole + b'\n')
    with pytest.raises(ArtefactError, match='changed after it was written'):
        read_artefact(folder)
    (folder / RECORD_FILE).write_bytes(whole)
    read_artefact(folder)


@pytest.mark.parametrize('name', ['model.xml', 'model.bin', MANIFEST_FILE, RECORD_FILE])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine')
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f'no readable {name}'):
        read_artefact(folder)


def test_what_changes_after_reading_is_noticed_when_it_is_loaded(tmp_path: Path) -> None:
    found = read_artefact(write(tmp_path / 'engine'))
    content = found.file('model.bin').read_bytes()
    found.file('model.bin').write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    with pytest.raises(ArtefactError, match=r'model\.bin has hash'):
        found.content('model.bin')
    found.file('model.bin').unlink()
    with pytest.raises(ArtefactError, match='cannot be read'):
        found.content('model.bin')


def test_other_versions_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine')
    file = folder / RECORD_FILE
    rows = json.loads(file.read_text())
    for changed, said in (({**rows, 'version': 2}, 'version 2'), ({**rows, 'extra': 1}, 'extra'),
                          ([1], 'list'), ('x', 'str')):
        file.write_text(json.dumps(changed, indent=2) + '\n')
        with pytest.raises(ArtefactError, match=said):
            read_artefact(folder)
    file.write_text('[' * 100_000)
    with pytest.raises(ArtefactError, match='cannot be read as JSON'):
        read_artefact(folder)


@pytest.mark.parametrize(('changes', 'said'), [
    ({'format': 'coreml'}, 'format'), ({'precision': 'fp8'}, 'precision'),
    ({'frame_size': (480,)}, 'frame_size'), ({'network_size': (0, 640)}, 'network_size'),
    ({'batch': -1}, 'batch'), ({'batch': True}, 'batch'), ({'version': 3}, 'version'),
])
def test_an_impossible_record_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ArtefactError, match=said):
        record(**changes)


def test_a_manifest_of_other_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'engine'
    write(folder)
    other = dataclasses.replace(MANIFEST, weights_sha256='cd' * 32)
    text = json.dumps(dataclasses.asdict(other), indent=2) + '\n'
    (folder / MANIFEST_FILE).write_text(text)
    with pytest.raises(ArtefactError, match=MANIFEST_FILE):
        read_artefact(folder)  # not the bytes that were written
    # The record made to fit that manifest, as somebody would who mixes two folders by hand.
    rows = json.loads((folder / RECORD_FILE).read_text())
    del rows['check']
    rows['files'][MANIFEST_FILE] = {'bytes': len(text),
                                    'sha256': hashlib.sha256(text.encode()).hexdigest()}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    (folder / RECORD_FILE).write_text(json.dumps({**rows, 'check': digest}, indent=2) + '\n')
    with pytest.raises(ArtefactError, match=r'of weights cdcdcdcdcdcd.*made of abab'):
        read_artefact(folder)


def test_an_engine_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    folder = write(tmp_path / 'engine')
    before = read_artefact(folder)

    def interrupted() -> None:
        with whole_folder(folder) as part:
            (part / 'model.xml').write_bytes(b'half')
            raise RuntimeError('interrupted')

    with pytest.raises(RuntimeError, match='interrupted'):
        interrupted()
    assert read_artefact(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ['engine']
    write(folder, 'onnx', seed=1)
    assert read_artefact(folder).record.format == 'onnx'
    assert not (folder / 'model.bin').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['engine']


def test_nothing_but_an_engine_is_replaced(tmp_path: Path) -> None:
    model = tmp_path / 'model'
    model.mkdir()
    for name in (WEIGHTS_FILE, MANIFEST_FILE):
        (model / name).write_text('precious')
    notes = write(tmp_path / 'engine')
    (notes / 'notes.txt').write_text('precious')
    (tmp_path / 'file').write_text('precious')
    manifest = tmp_path / 'manifest'
    manifest.mkdir()
    (manifest / MANIFEST_FILE).write_text('precious')
    for folder in (model, notes, tmp_path / 'file', manifest):
        with pytest.raises(ArtefactError, match=f'cannot write .*{folder.name}'), \
                whole_folder(folder):
            pytest.fail('not reached')
    assert (model / WEIGHTS_FILE).read_text() == 'precious'
    (tmp_path / 'empty').mkdir()
    write(tmp_path / 'empty')


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(ArtefactError, match=r'cannot write .*deep'), \
            whole_folder(tmp_path / 'file' / 'deep'):
        pytest.fail('not reached')


def test_models_and_engines_are_told_apart(tmp_path: Path) -> None:
    engine = write(tmp_path / 'engine')
    model = tmp_path / 'model'
    model.mkdir()
    for name in (WEIGHTS_FILE, MANIFEST_FILE):
        (model / name).write_text('')
    assert is_artefact(engine)
    assert is_artefact(engine / 'model.xml')
    assert not is_artefact(model)
    assert not is_artefact(model / WEIGHTS_FILE)
    assert not is_artefact(model / MANIFEST_FILE)
    assert not is_artefact('rooms_t')
    assert not is_artefact(tmp_path / 'nowhere')
    (engine / RECORD_FILE).unlink()
    assert is_artefact(engine)  # meant as one, and refused by name
    with pytest.raises(ArtefactError, match=r'no readable engine\.json'):
        read_artefact(engine)
    with pytest.raises(ArtefactError, match='no engine at'):
        read_artefact(tmp_path / 'nowhere')


def test_looking_whether_something_is_an_engine_imports_no_torch() -> None:
    code = ('import sys; from diffpixel_core.artefacts import is_artefact; '
            "is_artefact('.'); print('torch' in sys.modules)")
    out = subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parent.parent,
                         capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'
    assert artefacts.MANIFEST_FILE == checkpoints.MANIFEST_FILE
