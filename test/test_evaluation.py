# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation: its figures, what it writes, several processes, and what it refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from diffpixel_core.__main__ import main
from diffpixel_core.config import ConfigError, DataConfig
from diffpixel_core.datasets import DataError
from diffpixel_core.evaluation import (
    PROTOCOLS,
    EvaluationError,
    FrameScore,
    Results,
    Scores,
    evaluate_model,
    held_out_data,
)
from diffpixel_core.evaluation.extremes import Extremes
from diffpixel_core.evaluation.fabric import evaluation_fabric
from diffpixel_core.evaluation.page import report_data
from diffpixel_core.evaluation.protocols import Seen
from diffpixel_core.evaluation.tables import print_results
from diffpixel_core.frame import Frame
from diffpixel_core.labels import LabelError, load_label_space, mapping
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.report import render_page
from diffpixel_core.segmenter import load_segmenter
from diffpixel_core.tiny_model import save_tiny_model
from diffpixel_core.transforms import Sample

ROOT = Path(__file__).parent.parent
SIZES = ((32, 48), (32, 48), (40, 52), (48, 48), (36, 60))


def write_frames(folder: Path, *, unit_factor: float = 1000, labels: bool = True) -> Path:
    """Write five frames: depth in steps of 1 / unit_factor metres."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(SIZES):
        small = rng.integers(0, 40, (4, 6), dtype=np.uint8)
        small[0, 0] = 255
        truth = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        depth = rng.uniform(1.5, 4, (height, width)) * unit_factor
        cv2.imwrite(str(folder / f'{i:03d}.color.png'),
                    rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / f'{i:03d}.depth.png'), depth.astype(np.uint16))
        if labels:
            cv2.imwrite(str(folder / f'{i:03d}.label.png'), truth)
    return folder


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp('data') / 'frames')


@pytest.fixture(scope='module')
def results(frames: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return evaluate_model(tiny_model, held_out_data(frames), protocol=('whole', 'slide'),
                          device='cpu', output=tmp_path_factory.getbasetemp() / 'written',
                          command='diffpixel evaluate x')


def read(folder: Path, i: int) -> tuple[Frame, np.ndarray]:
    rgb = cv2.imread(str(folder / f'{i:03d}.color.png'))[..., ::-1]
    depth = cv2.imread(str(folder / f'{i:03d}.depth.png'), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(folder / f'{i:03d}.label.png'), cv2.IMREAD_UNCHANGED)
    return Frame(np.ascontiguousarray(rgb), depth * np.float32(0.001)), truth


def figures(written: dict) -> dict:
    """Return what must not depend on the machine or the number of processes."""
    for row in written['protocols'].values():
        del row['seconds_per_frame']
    return {'data': written['data'], 'protocols': written['protocols']}


def test_figures_are_those_of_the_deployed_program(frames: Path, tiny_model: Path,
                                                   results: Results) -> None:
    segmenter = load_segmenter(tiny_model, 'torch', device='cpu')
    matrix = ConfusionMatrix(40)
    for i in range(len(SIZES)):
        frame, truth = read(frames, i)
        matrix.update(truth, segmenter(frame).labels)
    np.testing.assert_array_equal(results.matrix('whole').counts, matrix.counts)
    row = results.as_json()['protocols']['whole']
    assert row['streams']['ensemble']['miou'] == matrix.miou
    assert set(row['streams']) == {'ensemble', 'rgb', 'depth'}
    assert row['frames'] == 5


def test_results_say_how_they_were_made(results: Results) -> None:
    found = results.as_json()
    json.dumps(found, allow_nan=False)
    assert found['data'] == found['data'] | {
        'name': 'frames', 'layout': 'images', 'split': 'all', 'frames': 5, 'frames_in_split': 5,
        'depth_unit': 'mm', 'label_space': 'nyu40', 'sensor': 'as stored'}
    assert len(found['model']['weights_sha256']) == 64
    assert found['label_space']['classes'][0] == 'wall'
    assert found['device'] == 'cpu'
    assert (found['precision'], found['processes']) == ('fp32', 1)
    assert found['command'] == 'diffpixel evaluate x'
    assert {'python', 'torch'} <= found['versions'].keys()
    assert 'counts 0' in found['absent_rule']
    assert list(found['protocols']) == ['whole', 'slide']
    for name, row in found['protocols'].items():
        assert row['protocol'] == PROTOCOLS[name].description
        assert row['scales'] == [1.0]
        assert row['flip'] is False
        assert 2 < row['depth_median_m'] < 3.5


def test_what_is_written_agrees_with_itself(results: Results,
                                            tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / 'written'
    assert sorted(p.name for p in folder.iterdir()) == [
        'classes.csv', 'confusion.csv', 'frames.csv', 'report.html', 'results.json']
    assert json.loads((folder / 'results.json').read_text()) == results.as_json()
    rows = list(csv.DictReader((folder / 'classes.csv').open()))
    matrix = results.matrix('slide', 'depth')
    assert [row['class'] for row in rows] == list(results.label_space.names)
    for row, iou in zip(rows, matrix.iou, strict=True):
        assert (row['iou_slide_depth'] == '') == np.isnan(iou)
        assert row['iou_slide_depth'] == '' or float(row['iou_slide_depth']) == pytest.approx(
            iou, abs=1e-6)
    pixels = sum(int(row['pixels']) for row in csv.DictReader((folder / 'confusion.csv').open())
                 if (row['protocol'], row['stream']) == ('slide', 'depth'))
    assert pixels == matrix.pixels
    frames = list(csv.DictReader((folder / 'frames.csv').open()))
    assert [(row['protocol'], Path(row['frame']).name) for row in frames[:6]] == [
        *(('whole', f'{i:03d}.color.png') for i in range(5)), ('slide', '000.color.png')]


def test_page_shows_confusion_classes_and_frames(results: Results) -> None:
    page = render_page(report_data(results))
    for text in ('id="confusion"', 'id="classes"', 'worst 1 · ', 'best 1 · ', 'alt="truth"',
                 'By protocol and stream', 'Class by class and protocol', 'diffpixel evaluate x'):
        assert text in page, text
    assert 'Camera by camera' not in page


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(frames: Path, tiny_model: Path,
                                               tmp_path: Path) -> None:
    """Five frames on two processes: three and two, none twice, every figure the same."""
    words = ['evaluate', str(tiny_model), '--data', str(frames), '--protocol', 'whole',
             '--protocol', 'multiscale', '--device', 'cpu']
    assert main([*words, '--output', str(tmp_path / 'one')]) == 0
    subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
         '-m', 'diffpixel_core', *words, '--output', str(tmp_path / 'two')], cwd=ROOT, check=True,
        env=os.environ | {'OMP_NUM_THREADS': '1'}, timeout=300)
    one, two = (json.loads((tmp_path / name / 'results.json').read_text())
                for name in ('one', 'two'))
    assert (one['processes'], two['processes']) == (1, 2)
    assert figures(one) == figures(two)
    assert one['protocols']['whole']['frames'] == 5
    for name in ('classes.csv', 'confusion.csv', 'frames.csv'):
        assert (tmp_path / 'one' / name).read_text() == (tmp_path / 'two' / name).read_text()


def test_labels_are_translated_into_the_classes_of_the_model(frames: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / 'm')  # predicts nyu13
    results = evaluate_model(model, held_out_data(frames), device='cpu')
    segmenter = load_segmenter(model, 'torch', device='cpu')
    table = mapping(load_label_space('nyu40'), load_label_space('nyu13'))
    matrix = ConfusionMatrix(13)
    for i in range(len(SIZES)):
        frame, truth = read(frames, i)
        matrix.update(table[truth], segmenter(frame).labels)
    np.testing.assert_array_equal(results.matrix('whole').counts, matrix.counts)
    assert results.as_json()['label_space']['name'] == 'nyu13'


def test_one_frame_out_of_two_is_evenly_spread(frames: Path, tiny_model: Path) -> None:
    results = evaluate_model(tiny_model, held_out_data(frames), limit=3, device='cpu')
    names = [Path(row.name).name[:3] for row in results.scores['whole'].frames]
    assert names == ['000', '002', '004']
    assert results.data['frames'] == 3
    assert results.data['frames_in_split'] == 5


def test_model_and_data_without_a_common_class_are_refused(frames: Path, tmp_path: Path,
                                                           tiny_model: Path) -> None:
    own = tmp_path / 'own.yaml'
    own.write_text(yaml.safe_dump({
        'name': 'fruit', 'root': str(frames), 'splits': {'val': '*.color.png'},
        'colour': '{name}.color.png', 'depth': '{name}.depth.png', 'label': '{name}.label.png',
        'depth_unit': 'mm', 'classes': [f'fruit {i}' for i in range(40)], 'void': [255]}))
    with pytest.raises(LabelError, match=r"'fruit' exists in 'nyu40'"):
        evaluate_model(tiny_model, held_out_data(own), device='cpu')


def test_frames_without_labels_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    folder = write_frames(tmp_path / 'bare', labels=False)
    with pytest.raises(DataError, match=r"5 of 5 frames .* no label image.*'000'"):
        evaluate_model(tiny_model, held_out_data(folder), device='cpu')


def test_depth_in_another_unit_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    """Metres x 5000 read as millimetres lie beyond what a model sees."""
    folder = write_frames(tmp_path / 'far', unit_factor=5000)
    with pytest.raises(EvaluationError, match=r"median of 1\d\.\d m, read as 'mm'.*doctor"):
        evaluate_model(tiny_model, held_out_data(folder), device='cpu')


def test_truth_without_a_labelled_pixel_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    folder = write_frames(tmp_path / 'void')
    for path in folder.glob('*.label.png'):
        cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 255))
    with pytest.raises(EvaluationError, match='none of the 5 frames'):
        evaluate_model(tiny_model, held_out_data(folder), device='cpu')


def test_data_may_be_a_folder_a_recipe_or_a_description(frames: Path, tmp_path: Path) -> None:
    assert held_out_data(frames).path == str(frames)
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(yaml.safe_dump({'model': 'diffpixelformer_t', 'data': {
        'source': 'dataset', 'path': 'x', 'val_split': 'test'}}))
    data = held_out_data(recipe)
    assert (data.path, data.val_split, data.in_memory) == ('x', 'test', False)
    assert held_out_data(recipe, split='val').val_split == 'val'
    own = tmp_path / 'own.yaml'
    own.write_text('colour: "{name}.jpg"\n')
    assert held_out_data(own).path == str(own)
    (tmp_path / 'bad.yaml').write_text('a: [')
    with pytest.raises(ConfigError, match=r'bad\.yaml'):
        held_out_data(tmp_path / 'bad.yaml')
    with pytest.raises(ConfigError, match='nowhere'):
        held_out_data(tmp_path / 'nowhere')


def test_a_split_of_generated_rooms_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / 'rooms.yaml'
    recipe.write_text(yaml.safe_dump({'model': 'diffpixelformer_t', 'data': {'val_count': 4}}))
    assert held_out_data(recipe).source == 'generated'
    with pytest.raises(EvaluationError, match=r"split 'test': .*rooms\.yaml has generated rooms"):
        held_out_data(recipe, split='test')


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
        frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert main(['evaluate', 'no_such_model', '--data', str(frames), '--stress',
                 '--output', str(tmp_path / 'file' / 'out')]) == 2
    assert 'cannot make the folder' in capsys.readouterr().err


def test_no_protocol_is_cut_short_in_the_table(results: Results,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    (scores, _) = results.scores.values()
    print_results(Results(results.label_space, {'multiscale': scores}, results.model, results.data,
                          results.how), None)
    first, *_ = capsys.readouterr().out.partition('ensemble')
    assert 'multiscale' in first


def test_devices_and_precisions_that_do_not_go_are_named() -> None:
    for device, precision, words in (('tpu', 'fp32', "device 'tpu'"), ('cpu:1', 'fp32', 'cpu:1'),
                                     ('cuda:99', 'fp32', 'cuda:99'), ('cpu', 'int8', "'int8'")):
        with pytest.raises(EvaluationError, match=words):
            evaluation_fabric(device, precision)


def test_bfloat16_is_close_to_float32(frames: Path, tiny_model: Path, results: Results) -> None:
    half = evaluate_model(tiny_model, held_out_data(frames), device='cpu', precision='bf16')
    same = np.minimum(half.matrix('whole').counts, results.matrix('whole').counts).sum()
    assert 0.9 < same / results.matrix('whole').pixels < 1, 'another precision, nearly the same'
    assert half.as_json()['precision'] == 'bf16'


def test_command_prints_figures_and_writes_json(frames: Path, tiny_model: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    words = ['evaluate', str(tiny_model), '--data', str(frames), '--limit', '2', '--device', 'cpu']
    assert main([*words, '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['protocols']['whole']['frames'] == 2
    assert main([*words, '--json', str(tmp_path / 'x.json'), '--protocol', 'released']) == 0
    shown = capsys.readouterr().out
    assert 'LABELS RESIZED' in shown
    assert '--output DIR' in shown
    assert list(json.loads((tmp_path / 'x.json').read_text())['protocols']) == ['released']
    with pytest.raises(SystemExit):
        main([*words, '--protocol', 'half'])
    assert 'whole, slide' in capsys.readouterr().err.replace("'", '')


def test_command_offers_the_protocols_and_precisions_there_are() -> None:
    from diffpixel_core.commands import evaluate
    from diffpixel_core.evaluation.fabric import PRECISIONS
    assert tuple(PROTOCOLS) == evaluate._PROTOCOLS
    assert tuple(PRECISIONS) == evaluate._PRECISIONS


def a_sample(name: str, right: int) -> tuple[Sample, Seen, ConfusionMatrix]:
    """Return a frame of ten pixels of which so many are right."""
    truth = np.zeros((2, 5), np.uint8)
    labels = np.zeros((3, 2, 5), np.uint8)
    labels[:, np.arange(10).reshape(2, 5) >= right] = 1
    sample = Sample(name, np.zeros((2, 5, 3), np.uint8), np.ones((2, 5), np.float32), truth)
    matrix = ConfusionMatrix(3)
    matrix.update(truth, labels[0])
    return sample, Seen(labels, truth), matrix


def test_scores_of_cameras_add_up_to_those_of_all() -> None:
    scores = Scores(3)
    for i, camera in enumerate(('kv1', 'kv2', 'kv1', 'xtion')):
        sample, seen, matrix = a_sample(f'{i}', right=i + 3)
        row = scores.add(sample, seen, camera=camera)
        assert row == FrameScore(f'{i}', camera, matrix.miou, matrix.pixel_accuracy, 1.0)
    assert sorted(scores.by_camera) == ['kv1', 'kv2', 'xtion']
    for stream, total in scores.matrices.items():
        parts = sum(rows[stream].counts for rows in scores.by_camera.values())
        np.testing.assert_array_equal(parts, total.counts)
    assert scores.by_camera['kv1']['rgb'].pixel_accuracy == (3 + 5) / 20


def test_page_and_table_have_a_row_for_each_camera(
        results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    scores = Scores(40)
    for i, camera in enumerate(('kv1', 'kv2', 'kv1')):
        sample, seen, _ = a_sample(f'{i}', right=i + 3)
        scores.add(sample, seen, camera=camera)
    several = Results(results.label_space, {'whole': scores}, results.model, results.data,
                      results.how)
    assert set(several.as_json()['protocols']['whole']['cameras']) == {'kv1', 'kv2'}
    assert results.as_json()['protocols']['whole']['cameras'] == {}, 'one that has no name'
    page = render_page(report_data(several))
    part = page[page.index('Camera by camera'):]
    for text in ('<th>kv1</th><td data-head="frames">2</td>', '<th>all</th>'):
        assert text in part, text
    print_results(several, None)
    assert 'kv2' in capsys.readouterr().out


def test_worst_and_best_frames_are_kept_and_none_is_both() -> None:
    fabric = evaluation_fabric('cpu')
    order = [4, 9, 1, 7, 3, 8, 2, 6]
    extremes = Extremes(2)
    for right in order:
        sample, seen, matrix = a_sample(f'{right}', right)
        extremes.offer(sample, seen, FrameScore(f'{right}', '', matrix.miou, 0.0, 1.0))
    worst, best = extremes.reduce(fabric)
    assert [picture.row.name for picture in worst] == ['1', '2']
    assert [picture.row.name for picture in best] == ['9', '8']
    few = Extremes(2)
    for right in (5, 2, 7):
        sample, seen, matrix = a_sample(f'{right}', right)
        few.offer(sample, seen, FrameScore(f'{right}', '', matrix.miou, 0.0, 1.0))
    few.offer(sample, seen, FrameScore('no labels', '', None, None, 1.0))
    worst, best = few.reduce(fabric)
    assert [picture.row.name for picture in worst] == ['2', '5']
    assert [picture.row.name for picture in best] == ['7']



def test_generated_rooms_are_not_mistaken_for_a_data_set(results: Results) -> None:
    assert results.data['room_seed'] is None
    assert 'generated rooms' not in render_page(report_data(results))
    rooms = Results(results.label_space, results.scores, results.model,
                    {**results.data, 'room_seed': 7}, results.how)
    assert 'generated rooms' in render_page(report_data(rooms))
    assert DataConfig().source == 'generated'
