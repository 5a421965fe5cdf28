# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frame in, labels out, whatever the frame; and what cannot be had is refused."""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpixel_core import Frame, FrameError, Segmenter, load_segmenter
from diffpixel_core.checkpoints import Manifest, save_model
from diffpixel_core.engines import EngineError
from diffpixel_core.models import build_model
from diffpixel_core.segmenter import load_next_best, weights_hash

NAME = 'diffpixelformer_t'


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model')
    return save_model(path, build_model(NAME, classes=13),
                      Manifest(NAME, 'nyu13', input_size=(64, 96)))


@pytest.fixture(scope='module')
def segmenter(model: Path) -> Segmenter:
    return load_segmenter(model, 'torch', precision='fp32')


@pytest.mark.parametrize('size', [(64, 96), (128, 192), (67, 45), (1, 1), (1, 300)])
def test_labels_have_the_frames_size(segmenter: Segmenter, size: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    frame = Frame(draw.integers(0, 256, (*size, 3), dtype=np.uint8),
                  draw.uniform(0, 5, size).astype(np.float32), stamp_ns=42)
    seen = segmenter(frame)
    assert seen.labels.shape == seen.confidence.shape == size
    assert seen.labels.dtype == seen.confidence.dtype == np.uint8
    assert seen.labels.max() < 13
    assert seen.stamp_ns == 42


def test_rubbish_depth_gives_the_labels_of_missing_depth(segmenter: Segmenter) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    missing = segmenter(Frame(rgb, np.zeros((64, 96), np.float32)))
    for value in (np.nan, np.inf, -np.inf, -3.0):
        seen = segmenter(Frame(rgb, np.full((64, 96), value, np.float32)))
        np.testing.assert_array_equal(seen.labels, missing.labels)
        np.testing.assert_array_equal(seen.confidence, missing.confidence)


def test_images_need_not_be_contiguous_or_writable(segmenter: Segmenter) -> None:
    draw = np.random.default_rng(2)
    rgb = draw.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    depth = draw.uniform(0, 5, (64, 96)).astype(np.float32)
    plain = segmenter(Frame(rgb, depth)).labels
    wide = np.zeros((64, 100, 3), np.uint8)
    wide[:, :96] = rgb
    view, frozen = wide[:, :96], depth.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(segmenter(Frame(view, frozen)).labels, plain)


def test_another_modality_is_refused(segmenter: Segmenter) -> None:
    frame = Frame(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32), modality='thermal')
    with pytest.raises(FrameError, match='thermal'):
        segmenter(frame)


def test_absent_engines_and_devices_are_refused() -> None:
    with pytest.raises(EngineError, match='tensorflow'):
        load_segmenter('anything', engine='tensorflow')
    with pytest.raises(EngineError, match='quantum'):
        load_segmenter('anything', device='quantum')
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match='no CUDA device'):
            load_segmenter('anything', device='cuda')


def test_hash_of_a_model_is_that_of_its_weights_file(model: Path) -> None:
    assert weights_hash(model) == sha256((model / 'model.safetensors').read_bytes()).hexdigest()


def test_segmenter_says_how_it_computes_and_why(segmenter: Segmenter) -> None:
    assert (segmenter.engine_name, segmenter.precision) == ('torch', 'fp32')
    assert segmenter.reason == 'asked for'
    assert segmenter.passed_over == ()


def test_next_best_segmenter_labels_as_the_one_before(
        model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    failed = load_segmenter(model, 'torch', device='cpu', precision='bf16')
    other = load_next_best(model, failed)
    assert (other.engine_name, other.precision) == ('torch', 'fp32')
    frame = Frame(np.full((64, 96, 3), 90, np.uint8), np.full((64, 96), 2, np.float32))
    assert (failed(frame).labels == other(frame).labels).mean() > 0.9
    with pytest.raises(EngineError, match='no engine is left after torch in fp32 on cpu'):
        load_next_best(model, other)
    with pytest.raises(EngineError, match='no engine is left'):
        load_next_best(model, failed, elsewhere=True)


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match='CUDA devices, counted from cuda:0'):
        load_segmenter('anything', device=f'cuda:{torch.cuda.device_count()}')
