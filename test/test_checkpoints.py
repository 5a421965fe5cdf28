# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A model on disk comes back whole, or is refused by name."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from diffpixel_core.checkpoints import (
    CheckpointError,
    Manifest,
    check_model,
    find_model,
    load_model,
    read_manifest,
    save_model,
    shipped_models,
)
from diffpixel_core.models import build_model

NAME = 'diffpixelformer_t/baseline'
Load = Callable[[Path], object]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model(NAME, classes=13)


@pytest.fixture
def saved(model: nn.Module, tmp_path: Path) -> Path:
    return save_model(tmp_path / 'm', model, Manifest(NAME, 'nyu13', input_size=(64, 96)))


def edit(path: Path, **changes: object) -> None:
    rows = json.loads((path / 'model.json').read_text())
    rows |= changes
    (path / 'model.json').write_text(json.dumps(rows))


def rewrite(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(tensors, path / 'model.safetensors')
    edit(path, weights_sha256='')


def test_weights_and_manifest_come_back(model: nn.Module, saved: Path) -> None:
    loaded, manifest = load_model(saved)
    assert manifest.input_size == (64, 96)
    assert manifest.classes == 13
    assert manifest.normalisation['depth']['mean'] == [2.5]
    assert not loaded.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_half_precision_halves_the_file_and_loads_as_float32(model: nn.Module, saved: Path,
                                                             tmp_path: Path) -> None:
    half = save_model(tmp_path / 'half', model, read_manifest(saved), half=True)
    sizes = [(path / 'model.safetensors').stat().st_size for path in (half, saved)]
    assert sizes[0] < 0.6 * sizes[1]
    weights = load_model(half)[0].state_dict()
    assert weights['head.classify.weight'].dtype == torch.float32
    torch.testing.assert_close(weights['head.classify.weight'], model.head.classify.weight,
                               rtol=1e-3, atol=1e-4)


def test_weights_file_and_directory_name_the_same_model(saved: Path) -> None:
    assert find_model(saved / 'model.safetensors') == find_model(saved) == saved


@pytest.fixture(params=[load_model, check_model])
def load(request: pytest.FixtureRequest) -> Load:
    return request.param


def test_what_is_checked_is_what_is_loaded(saved: Path) -> None:
    edit(saved, weights_sha256='')
    assert check_model(saved) == (saved.resolve(), load_model(saved)[1])
    assert check_model(saved)[1].weights_sha256 == sha256(
        (saved / 'model.safetensors').read_bytes()).hexdigest()


def test_wrong_tensors_are_all_listed(model: nn.Module, saved: Path, load: Load) -> None:
    tensors = dict(model.state_dict())
    tensors['renamed'] = tensors.pop('head.fuse.weight')
    tensors['alpha'] = torch.ones(3)
    rewrite(saved, tensors)
    with pytest.raises(CheckpointError) as refusal:
        load(saved)
    for word in ('missing: head.fuse.weight', 'unexpected: renamed', 'alpha is (3,)'):
        assert word in str(refusal.value)


@pytest.mark.parametrize('keep', [0, 7, 5000, -1])
def test_damaged_weights_are_refused(saved: Path, keep: int, load: Load) -> None:
    file = saved / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match='copy the model again'):
        load(saved)
    edit(saved, weights_sha256='')
    with pytest.raises(CheckpointError, match='copy the model again'):
        load(saved)


def test_a_changed_byte_is_noticed(saved: Path, load: Load) -> None:
    file = saved / 'model.safetensors'
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='hash'):
        load(saved)


@pytest.mark.parametrize(('change', 'word'), [
    ({'model': 'resnet'}, 'resnet'), ({'label_space': 'ade20k'}, 'ade20k'),
    ({'version': 99}, 'version 99'), ({'modalities': ['rgb', 'sonar']}, 'sonar'),
    ({'learning_rate': 1}, 'learning_rate'), ({'label_space': 'nyu40'}, 'head.classify'),
    ({'input_size': 240}, 'input_size 240'), ({'input_size': [240]}, r'input_size \(240,\)'),
    ({'modalities': ['rgb', 'depth', 'depth']}, 'two modalities'),
    ({'normalisation': {'rgb': {}}}, 'manifest normalises'),
])
def test_manifests_that_do_not_fit_are_refused(saved: Path, change: dict[str, object],
                                               word: str, load: Load) -> None:
    edit(saved, **change)
    with pytest.raises(CheckpointError if word != 'ade20k' else Exception, match=word):
        load(saved)


def test_missing_parts_are_named(saved: Path, tmp_path: Path, load: Load) -> None:
    with pytest.raises(CheckpointError, match='no model at'):
        load(tmp_path / 'nowhere')
    (saved / 'model.json').unlink()
    with pytest.raises(CheckpointError, match=r'has no model\.json'):
        load(saved)


def test_an_exported_engine_is_no_model(saved: Path) -> None:
    (saved / 'model.safetensors').rename(saved / 'model.bin')
    (saved / 'engine.json').write_text('{}')
    with pytest.raises(CheckpointError, match='exported engine; give the model'):
        find_model(saved)


def test_manifest_that_is_no_json_is_refused(saved: Path, load: Load) -> None:
    (saved / 'model.json').write_bytes(b'\xff\xfe{')
    with pytest.raises(CheckpointError, match='JSON'):
        load(saved)


def test_weights_that_are_not_finite_are_not_saved(model: nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        model.head.classify.weight[0] = float('nan')
    with pytest.raises(CheckpointError, match=r'head\.classify\.weight'):
        save_model(tmp_path / 'm', model, Manifest(NAME, 'nyu13'))


def test_saving_draws_no_random_numbers(model: nn.Module, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    save_model(tmp_path / 'm', model, Manifest(NAME, 'nyu13'))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_model_are_not_saved(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='fusion'):
        save_model(tmp_path / 'm', model, Manifest('diffpixelformer_t', 'nyu13'))


@pytest.mark.parametrize('name', shipped_models())
def test_shipped_models_load_and_are_small(name: str) -> None:
    manifest = load_model(name)[1]
    assert (find_model(name) / 'model.safetensors').stat().st_size < 16e6
    assert manifest.provenance
