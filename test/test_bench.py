# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: what it times, how it compares, and what it says when it cannot."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffpixel_core.artefacts import is_artefact
from diffpixel_core.bench import run as bench_run
from diffpixel_core.bench import timing
from diffpixel_core.bench.contenders import (
    EAGER,
    NAMES,
    PUBLISHED,
    BenchError,
    open_contender,
    stacked,
)
from diffpixel_core.bench.frames import drawn_frames
from diffpixel_core.bench.memory import MemoryMeasureError, measure_memory
from diffpixel_core.bench.results import Bench, Row, markdown, timed_row
from diffpixel_core.bench.roofline import Peaks, Work, count_work, measure_peaks
from diffpixel_core.bench.run import Settings, run_bench
from diffpixel_core.bench.subject import SubjectError, subject
from diffpixel_core.bench.timing import Call, Timings
from diffpixel_core.commands import bench
from diffpixel_core.deploy import Ensemble, fold
from diffpixel_core.engines import TorchEngine
from diffpixel_core.errors import DiffPixelError
from diffpixel_core.models import MODELS, ModelError, build_model
from diffpixel_core.models.cost import network_cost
from diffpixel_core.tiny_model import TINY_SIZE, save_tiny_model

KEYS = {'engine': str, 'ms_median': float, 'ms_p95': float, 'ratio_to_published': float,
        'ratio_to_eager': float, 'agreement': float, 'device': str, 'precision': str, 'gmac': float,
        'calls': int, 'end_to_end_ms_median': float, 'floor_compute_ms': float,
        'floor_memory_ms': float}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter turns and smaller matrices: what is tested is not the machine."""
    monkeypatch.setattr(timing, 'BLOCK_S', 0.0)
    monkeypatch.setattr(timing, '_WARM_S', 0.0)
    monkeypatch.setattr('diffpixel_core.bench.roofline.SIDE', 64)
    monkeypatch.setattr('diffpixel_core.bench.roofline.COPIED', 2 ** 20)


def command(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    bench.run(parser.parse_args([*arguments]))


def tiny(**changes: object) -> Settings:
    settings = {'model': 'diffpixelformer_t_released', 'engines': ('eager',), 'size': TINY_SIZE,
                'rounds': 2, 'threads': 1, 'device': 'cpu', 'memory': False, **changes}
    return Settings(**settings)  # type: ignore[arg-type]


def timings(*rounds: Sequence[float]) -> Timings:
    return Timings(tuple(tuple(Call(ms, ms + 1) for ms in turn) for turn in rounds))


@pytest.mark.slow
def test_command_measures_baselines_and_engines(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    command('--model', 'diffpixelformer_t_released', '--size', '32x48', '--engines',
            'published,eager,torch', '--rounds', '2', '--threads', '1', '--device', 'cpu',
            '--frame', '64x96', '--no-memory', '--json', str(tmp_path / 'a.json'), '--output',
            str(tmp_path / 'o'))
    found = json.loads((tmp_path / 'a.json').read_text())
    assert [row['engine'] for row in found['rows']] == ['published', 'eager', 'torch']
    for row in found['rows']:
        assert {key: type(row[key]) for key in KEYS} == KEYS
        assert row['ms_median'] <= row['ms_p95']
        assert row['ms_median'] < row['end_to_end_ms_median']
        assert row['agreement'] > 99.9  # one network, computed in three ways
        assert row['peak_mib'] is row['released_mib'] is None
        assert row['unavailable'] == ''
    first, second, third = found['rows']
    assert first['ratio_to_published'] == second['ratio_to_eager'] == 1
    assert first['gmac'] > second['gmac'] > third['gmac'] > 0
    assert (found['size'], found['frame'], found['batch']) == ([32, 48], [64, 96], 1)
    assert found['weights'] == 'random'
    assert found['machine']['versions']['torch'] == torch.__version__
    assert found['peaks']['cpu']['gemm_gflops']['fp32'] > 0
    assert 'published' in capsys.readouterr().out
    page = (tmp_path / 'o' / 'bench.md').read_text()
    assert page.count('\n| ') == 4
    assert found['machine']['cpu'] in page
    picture = cv2.imread(str(tmp_path / 'o' / 'bench.png'))
    assert picture is not None
    assert (picture < 200).any()
    assert json.loads((tmp_path / 'o' / 'bench.json').read_text()) == found


def test_ratios_are_medians_of_each_rounds_own_ratio() -> None:
    """The machine slows down threefold in round 2, and a neighbour disturbs one call of round 3."""
    baseline = timings((100, 102, 98), (300, 306, 294), (100, 900, 100))
    other = timings((50, 50, 51), (100, 100, 100), (25, 25, 25))
    assert timing.speedups(baseline, other) == [2.0, 3.0, 4.0]
    assert timing.speedup(baseline, other) == 3.0
    row = timed_row('x', other, published=baseline, eager=None, batch=1)
    assert (row.ratio_to_published, row.ratios_to_published) == (3.0, (2.0, 4.0))
    assert (row.ratio_to_eager, row.ratios_to_eager) == (None, None)
    assert row.ms_median == 50
    assert row.ms_p95 == 100
    assert row.calls == 9
    assert row.end_to_end_ms_median == 51
    assert row.frames_per_s == 20
    assert row.end_to_end_ratio_to_published == pytest.approx(301 / 101)
    many = timed_row('x', other, published=baseline, eager=None, batch=4)
    assert many.frames_per_s == 80
    assert many.end_to_end_ms_median is None


def test_everyone_has_one_turn_a_round_in_another_order() -> None:
    order: list[str] = []

    def runner(name: str) -> timing.Runner:
        def run() -> Call:
            order.append(name)
            return Call(len(order), len(order))
        return run
    names = ('a', 'b', 'c')
    found = timing.take_turns({name: runner(name) for name in names},
                              {'a': 1, 'b': 2, 'c': 3}, rounds=6, seed=3)
    turns = ''.join(name for i, name in enumerate(order) if i == 0 or order[i - 1] != name)
    assert sorted(order) == sorted('a' * 12 + 'b' * 18 + 'c' * 24)  # one call more is not timed
    assert [len(turn) for turn in found['b'].rounds] == [2] * 6
    assert found['b'].rounds[0][0].network == order.index('b') + 2
    assert len(turns) >= 13  # a round that begins as the one before ended shows as one turn less
    assert turns != 'abc' * 6


@pytest.mark.parametrize(('ms', 'calls'), [(1.0, 50), (50.0, 10), (400.0, 2), (4000.0, 2)])
def test_a_turn_lasts_half_a_second_or_two_calls(ms: float, calls: int,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, 'BLOCK_S', 0.5)
    assert timing.calls_a_turn(ms) == calls


def test_an_engine_that_is_not_there_is_a_row_with_the_reason() -> None:
    found = run_bench(tiny(engines=('eager', 'tensorrt-fp16')))
    here, missing = found.rows
    assert here.ms_median is not None
    assert missing.ms_median is None
    assert missing.ratio_to_eager is None
    assert missing.unavailable
    assert f'tensorrt-fp16: {missing.unavailable}' in markdown(found)


@pytest.mark.parametrize(('name', 'on_cuda', 'kernels'), [
    ('torch', 'cuda-fp16', 'measured'), ('torch-compiled', 'cuda-fp16-compiled', 'compiled')])
def test_a_name_says_by_which_kernels(name: str, on_cuda: str, kernels: str,
                                      tmp_path: Path) -> None:
    engine = open_contender(name, save_tiny_model(tmp_path / 'model'), device='cpu',
                            cache=tmp_path)
    assert isinstance(engine, TorchEngine)
    assert engine.kernels == kernels
    assert NAMES[on_cuda].kernels == kernels


def test_no_engine_at_all_is_an_error() -> None:
    with pytest.raises(BenchError, match='none of these engines is to be had here: tensorrt-fp16:'):
        run_bench(tiny(engines=('tensorrt-fp16',)))


@pytest.mark.slow
def test_random_dead_weights_are_not_compared() -> None:
    found = run_bench(tiny(model='diffpixelformer_t', engines=('published', 'torch')))
    published, folded = found.rows
    assert published.agreement is None
    assert published.ms_median is not None
    assert folded.agreement is not None
    assert folded.agreement > 99.9
    assert folded.ratio_to_eager is None  # eager gave labels, it was not timed


def test_a_model_on_disk_keeps_its_weights(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, network='diffpixelformer_t/baseline')
    found = run_bench(tiny(model=str(tmp_path), size=(64, 32)))
    assert (found.weights, found.network) == (str(tmp_path), 'diffpixelformer_t/baseline')
    with subject(str(tmp_path), (64, 32), (64, 32)) as model:
        assert model.manifest.input_size == (64, 32)
        assert model.manifest.label_space == 'nyu13'


@pytest.mark.slow
def test_an_exported_engine_is_measured_against_baselines_of_its_network(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    save_tiny_model(tmp_path / 'model', network='diffpixelformer_t/baseline')
    engine = open_contender('openvino-fp32', tmp_path / 'model', device='cpu',
                            cache=tmp_path / 'cache')
    frame, = drawn_frames(1, TINY_SIZE, modality='depth', seed=1)
    engine.scores(frame.rgb, frame.x)
    engine.close()
    folder = next(path for path in (tmp_path / 'cache').iterdir() if is_artefact(path))
    found = run_bench(tiny(model=str(folder), engines=('published', 'openvino-fp32', 'torch')))
    published, exported, missing = found.rows
    assert published.ms_median is not None
    assert exported.ratio_to_published is not None
    assert exported.agreement is published.agreement is None  # the weights to compare are not here
    assert 'was exported for the engine openvino' in missing.unavailable
    assert found.weights == str(folder)
    with pytest.raises(SubjectError, match='measure it with --size 32x48 --frame 32x48'):
        run_bench(tiny(model=str(folder), size=(64, 96)))


@pytest.mark.slow
def test_a_batch_counts_as_many_frames() -> None:
    found = run_bench(tiny(engines=('eager', 'torch', 'torch-bf16'), batch=3))
    for row in found.rows:
        assert row.ms_median is not None
        assert row.frames_per_s == pytest.approx(3e3 / row.ms_median)
        assert row.end_to_end_ms_median is None


def test_a_batch_gives_the_scores_of_its_frames(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, network='diffpixelformer_t_released')
    frames = drawn_frames(2, TINY_SIZE, modality='depth', seed=1)
    for name in (PUBLISHED, EAGER, 'torch'):
        engine = open_contender(name, tmp_path, device='cpu', cache=tmp_path / 'cache')
        both = engine.scores(*stacked(frames))
        for frame, scores in zip(frames, both, strict=True):
            torch.testing.assert_close(engine.scores(frame.rgb, frame.x), scores, rtol=1e-4,
                                       atol=1e-5)
        engine.close()
        with pytest.raises(DiffPixelError, match='closed'):
            engine.scores(frames[0].rgb, frames[0].x)


@pytest.mark.slow
def test_memory_is_that_of_the_engine_alone() -> None:
    ballast = np.ones(2 ** 26)  # 512 MiB, in this process only
    row = run_bench(tiny(memory=True)).rows[0]
    assert row.peak_mib is not None
    assert row.released_mib is not None
    assert 10 < row.peak_mib < 300
    assert row.released_mib < row.peak_mib
    assert row.device_mib == 0
    assert ballast.any()


def test_a_process_that_fails_is_heard(tmp_path: Path) -> None:
    with pytest.raises(MemoryMeasureError, match=r'eager: .*no model at'):
        measure_memory(tmp_path / 'none', EAGER, cache=tmp_path, frame=TINY_SIZE, batch=1,
                       device='cpu', threads=1)


@pytest.mark.parametrize('name', ['diffpixelformer_t', 'diffpixelformer_t_released'])
def test_work_counts_the_products_of_the_cost_formulas(name: str) -> None:
    """`Dsim` differs by little: its attention over three keys is summed, no matrix product.

    Its noise is, and the formulas leave that out: two rows for either modality.
    """
    model = build_model(name, 40).eval()
    work = count_work(Ensemble(model), (64, 96))
    row = MODELS[name]
    wanted = network_cost(row.backbone, row.fusion, 40, (64, 96)).executed.products
    for dim, depth, side in zip(row.backbone.dims, row.backbone.depths, (4, 8, 16, 32),
                                strict=True):
        if not name.endswith('_released'):
            wanted += depth * (4 * dim ** 2 - 12 * dim * (64 // side) * (96 // side))
    assert round(work.gmac * 1e9) == wanted
    folded = count_work(fold(model), (64, 96))
    assert folded.gmac < work.gmac
    assert count_work(Ensemble(model), (64, 96), 2).gmac == pytest.approx(2 * work.gmac, rel=0.01)


def test_floors_are_work_over_peaks() -> None:
    floors = Work(gmac=10, elements=10 ** 8).floors_ms('bf16', Peaks({'bf16': 400.0}, 20.0))
    assert floors == (50.0, 10.0)
    assert Work(1, 1).floors_ms('int8', Peaks({'bf16': 400.0}, 20.0)) is None
    peaks = measure_peaks(torch.device('cpu'), ('fp32',))
    assert peaks.gemm_gflops['fp32'] > 0
    assert peaks.copy_gb_s > 0


def test_drawn_frames_have_structure() -> None:
    first, second = drawn_frames(2, (48, 64), modality='depth', seed=0)
    assert first.rgb.shape == (48, 64, 3)
    assert not np.array_equal(first.rgb, second.rgb)
    assert np.array_equal(first.x, drawn_frames(1, (48, 64), modality='depth', seed=0)[0].x)
    assert 0.3 < float(np.median(first.x)) < 7
    steps = np.abs(np.diff(first.x, axis=1))
    assert np.median(steps) < 0.05 < steps.max()  # smooth, with edges


def test_real_frames_are_taken_from_a_folder(tmp_path: Path) -> None:
    for i, frame in enumerate(drawn_frames(3, (50, 70), modality='depth', seed=0)):
        cv2.imwrite(str(tmp_path / f'{i}.color.png'), frame.rgb[..., ::-1])
        cv2.imwrite(str(tmp_path / f'{i}.depth.png'), (frame.x * 1000).astype(np.uint16))
    found = run_bench(tiny(frames=tmp_path))
    assert found.frames == f'3 frames, {tmp_path}'
    assert found.frame == TINY_SIZE


@pytest.mark.parametrize(('changes', 'error', 'words'), [
    ({'engines': ('openvino',)}, BenchError, "engine 'openvino' is unknown; did you mean openvino"),
    ({'engines': ()}, BenchError, 'no engine is named; choose from published'),
    ({'engines': ('eager', 'eager')}, BenchError, 'named 2 times'),
    ({'model': 'diffpixelformer_q'}, ModelError, 'did you mean diffpixelformer_'),
    ({'size': (16, 48)}, SubjectError, 'too small.*use 32x32 pixels or more'),
    ({'frame': (64, 64)}, BenchError, r'would be seen at 32x\d+|would be seen at'),
    ({'device': 'tpu'}, BenchError, "none of these engines is to be had here: eager: device 'tpu'"),
    ({'frames': Path('/nowhere')}, DiffPixelError, 'nowhere'),
    ({'model': 'diffpixelformer_swin_t/baseline', 'engines': ('published',)}, BenchError,
     'MiT backbones only; compare a Swin with `eager`'),
])
def test_mistakes_say_what_to_do(changes: dict[str, object], error: type[DiffPixelError],
                                 words: str) -> None:
    with pytest.raises(error, match=words):
        run_bench(tiny(**changes))


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--batch', '0'), 'not a positive whole number'),
    (('--size', 'big'), 'is no size; write HEIGHTxWIDTH'),
    (('--rounds', '-1'), 'not a positive whole number'),
])
def test_impossible_options_are_refused(arguments: tuple[str, ...], words: str,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command('--model', 'diffpixelformer_t', '--size', '32x48', *arguments)
    assert words in capsys.readouterr().err


def test_help_names_every_engine() -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    shown = ' '.join(parser.format_help().split())
    assert all(name in shown for name in NAMES)


def test_markdown_leaves_out_what_was_not_measured() -> None:
    row = Row('torch', device='cpu', precision='fp32', ms_median=12.345, ms_p95=20.0)
    page = markdown(Bench(
        model='m', network='m', weights='random', size=(480, 640), frame=(480, 640), batch=1,
        rounds=1, threads=2, frames='8 frames, drawn', machine={
            'cpu': 'c', 'cores': 2, 'features': [], 'gpu': None, 'load': 0.0, 'system': 's',
            'python': '3', 'versions': {}}, peaks={}, date='d', command='c', rows=(row,)))
    line = next(line for line in page.splitlines() if line.startswith('| torch'))
    assert line == '| torch | 12.3 | 20.0 | – | – | – | – | – | – | – | – | – |'
    assert not math.isnan(row.ms_median or 0)
    assert bench_run.COMPARED > 1
