# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Frame in, labels out, whatever the frame; and what cannot be had is refused."""


import numpy as np
import pytest
import torch

from diffpixel_core import Frame, FrameError, Segmenter, load_segmenter
from diffpixel_core.checkpoints import Manifest, save_model
from diffpixel_core.engines import EngineError
from diffpixel_core.models import build_model

NAME = 'diffpixelformer_t'


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model')
    save_model(path, build_model(NAME, classes=13), Manifest(NAME, 'nyu13', input_size=(64, 96)))
    return load_segmenter(path)


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


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match='CUDA devices, counted from cuda:0'):
        load_segmenter('anything', device=f'cuda:{torch.cuda.device_count()}')
