# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""A model is exported as an engine that agrees with it, or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_deploy_formats import FRAME, QUICK, graph, images, wanted
from torch import Tensor

from diffpixel_core.__main__ import main
from diffpixel_core.artefacts import read_artefact
from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, cpu_tail, fold
from diffpixel_core.engines import Engine, EngineError, load_engine
from diffpixel_core.export.agreement import measure
from diffpixel_core.export.frames import FramesError, export_frames, noise_frames
from diffpixel_core.export.graphs import ExportError
from diffpixel_core.export.run import ExportSettings, export_model
from diffpixel_core.frame import Frame
from diffpixel_core.tiny_model import save_tiny_model


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp('models') / 'tiny')


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images, as of a camera; nothing is rendered for these tests."""
    import cv2

    from diffpixel_core.bench.frames import drawn_frames
    folder = tmp_path_factory.mktemp('photos')
    for i, frame in enumerate(drawn_frames(20, (48, 72), modality='depth', seed=3)):
        cv2.imwrite(str(folder / f'{i}.color.png'), frame.rgb[..., ::-1])
        cv2.imwrite(str(folder / f'{i}.depth.png'), (frame.x * 1000).astype(np.uint16))
    return folder


def test_an_exported_engine_gives_the_labels_of_its_model(model: Path, photos: Path,
                                                          tmp_path: Path) -> None:
    exported = export_model(ExportSettings(model, 'openvino', 'fp32', tmp_path / 'engine',
                                           size=(48, 72), frames=photos))
    assert exported.folder == tmp_path / 'engine'
    found = read_artefact(exported.folder)
    assert found.record == exported.record
    assert found.record.network_size == (32, 48)
    assert set(found.record.agreement) == {photos.name, 'random pixels'}
    for row in exported.measured.values():
        assert row.agreement >= 0.999
        assert row.score_difference < 1e-3
    assert exported.mib > 1
    frame = noise_frames(1, (48, 72), 'depth')[0]
    one, other = load_engine(exported.folder), load_engine(model, 'torch', precision='fp32')
    torch.testing.assert_close(one.scores(frame.rgb, frame.x), other.scores(frame.rgb, frame.x),
                               rtol=1e-4, atol=1e-4)
    with pytest.raises(EngineError, match='72x48 pixels'):
        one.scores(frame.rgb[:32], frame.x[:32])
    # What disagrees is not written, and what was there stays.
    with pytest.raises(ExportError, match=r'not written: on .* at least 100'):
        export_model(ExportSettings(model, 'openvino', 'fp32', tmp_path / 'engine',
                                    size=(48, 72), frames=photos, allowed=-0.001))
    assert read_artefact(tmp_path / 'engine').record == exported.record
    assert [path.name for path in tmp_path.iterdir()] == ['engine']


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'precision', 'batch'), [
    ('onnx', 'fp32', 1), ('onnx', 'fp32', 0), ('onnx', 'fp16', 1), ('onnx', 'int8', 1),
    ('openvino', 'bf16', 2), ('openvino', 'fp32', 0), ('openvino', 'int8', 1),
])
def test_every_format_is_written_and_loaded(kind: str, precision: str, batch: int, model: Path,
                                            photos: Path, tmp_path: Path) -> None:
    exported = export_model(ExportSettings(model, kind, precision, tmp_path / 'engine',
                                           batch=batch, frames=photos, allowed=0.2))
    assert exported.record.batch == batch
    engine = load_engine(tmp_path / 'engine')
    assert engine.precision == precision
    if (kind, precision) == ('openvino', 'bf16'):  # as float16, not as float32
        numbers = sum(tensor.numel() for tensor in fold(load_model(model)[0]).state_dict().values())
        assert (tmp_path / 'engine' / 'model.bin').stat().st_size < 3 * numbers
    rgb = np.zeros((max(batch, 2), 32, 48, 3), np.uint8)
    x = np.ones((max(batch, 2), 32, 48), np.float32)
    if batch == 1:
        assert engine.scores(rgb[0], x[0]).shape == (13, 8, 12)
    else:
        assert engine.scores(rgb, x).shape == (2, 13, 8, 12)


class Swapped(Engine):
    """An engine that mistakes two classes for each other."""

    name = 'swapped'

    def __init__(self, trained: DeployGraph) -> None:
        self.trained = trained

    def scores(self, rgb: np.ndarray, x: np.ndarray) -> Tensor:
        batch = rgb.ndim == 4
        rgb, x = (rgb, x) if batch else (rgb[None], x[None])
        with torch.no_grad():
            found = self.trained(torch.from_numpy(rgb), torch.from_numpy(x))[:, [1, 0, 2, 3, 4]]
        return found if batch else found[0]

    def close(self) -> None:
        pass


def test_the_measured_agreement_is_that_of_the_labels() -> None:
    trained = graph(QUICK[0], folded=False)
    frames = [Frame(rgb.numpy()[0], x.numpy()[0]) for rgb, x in (images(1, 1), images(1, 2))]
    counted = []
    row = measure(trained, Swapped(trained), frames, batch=0, done=lambda: counted.append(1))
    shares, gaps = [], []
    for frame in frames:
        right = wanted(QUICK[0], torch.from_numpy(frame.rgb)[None],
                       torch.from_numpy(frame.x)[None])[0]
        shares.append((cpu_tail(right, FRAME)[0] > 1).mean())
        gaps.append(np.abs(right[0] - right[1]).max())
    assert len(counted) == row.frames == 2
    assert row.agreement == pytest.approx(np.mean(shares), abs=1e-6)
    assert row.worst == pytest.approx(min(shares), abs=1e-6)
    assert row.score_difference == pytest.approx(max(gaps), rel=1e-5)
    assert 0 < row.agreement < 1


def test_calibration_and_check_share_no_frame(photos: Path) -> None:
    found = export_frames(photos, 'mm', size=(48, 72), modality='depth', calibrate=True)
    assert len(found.checked) >= 4
    assert len(found.checked) + len(found.calibration) == 20
    for one in found.checked:
        assert not any(np.array_equal(one.rgb, other.rgb) for other in found.calibration)
    assert not export_frames(photos, 'mm', size=(48, 72), modality='depth',
                             calibrate=False).calibration
    for file in sorted(photos.glob('*'))[12:]:
        file.rename(file.with_name(f'.{file.name}'))
    with pytest.raises(FramesError, match='has 6 frames'):
        export_frames(photos, 'mm', size=(48, 72), modality='depth', calibrate=True)
    for file in photos.glob('.*'):
        file.rename(file.with_name(file.name[1:]))


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--format', 'onnx', '--precision', 'bf16'), 'opset 22'),
    (('--format', 'tensorrt', '--precision', 'bf16'), 'opset 22'),
    (('--format', 'openvino', '--precision', 'fp16'), 'use bf16'),
    (('--frames', 'nowhere'), 'nowhere'),
])
def test_what_cannot_be_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str,
                                                    model: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'engine'
    assert main(['export', str(model), '--output', str(output), *arguments]) == 2
    text = capsys.readouterr()
    assert text.out == ''
    assert said in text.err.splitlines()[-1]
    assert not output.exists()


@pytest.mark.parametrize('arguments', [
    ('--format', 'coreml'), ('--precision', 'fp8'), ('--size', '480'), ('--batch', 'all'),
    ('--batch', '0'), ('--allow-disagreement', '101'), ('--allow-disagreement', '-1'),
])
def test_an_impossible_option_is_refused_at_once(arguments: tuple[str, ...],
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(['export', 'rooms_t', *arguments])
    assert left.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_model_is_never_replaced_by_its_engine(model: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.read_bytes() for path in model.iterdir())
    assert main(['export', str(model), '--output', str(model)]) == 2
    assert 'choose another folder' in capsys.readouterr().err
    assert sorted(path.read_bytes() for path in model.iterdir()) == before


def test_an_engine_is_no_model_to_export(tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'engine.json').write_text('{}')
    assert main(['export', str(tmp_path)]) == 2
    assert 'give the model it was made of' in capsys.readouterr().err
