# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The stress test measures what it says, and its sheet says what was measured."""

import html
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.config import DataConfig
from diffpixel_core.evaluation.stress import (
    CORRUPTIONS,
    Corruption,
    Curve,
    Example,
    Measured,
    Score,
    Spoiled,
    StressError,
    StressResults,
    measure,
    run_stress,
    summary,
    write_stress,
)
from diffpixel_core.evaluation.stress.page import render_stress
from diffpixel_core.evaluation.stress.summary import caution, setting
from diffpixel_core.frame import Frame
from diffpixel_core.geometry import NYU_CAMERA
from diffpixel_core.labels import load_label_space
from diffpixel_core.segmenter import load_segmenter
from diffpixel_core.transforms import Sample
from diffpixel_core.whole_file import WriteError

NYU13 = load_label_space('nyu13')
SIZE = (32, 48)
WALL, FLOOR = 3, 7  # any two classes
VOID = {'meta', 'img', 'link', 'br', 'path', 'circle', 'polyline', 'polygon'}


def rows(*names: str) -> tuple[Corruption, ...]:
    return tuple(row for row in CORRUPTIONS if row.name in names)


def samples(count: int) -> list[Sample]:
    """Return frames with a bright, near part and a dark, far one, some of it unlabelled."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        edge = int(rng.integers(16, 32))
        labels = np.full(SIZE, WALL, np.uint8)
        labels[:, edge:] = FLOOR
        rgb = np.where(labels[..., None] == WALL, 200, 60) + rng.integers(-9, 9, (*SIZE, 3))
        depth_m = np.where(labels == WALL, 1.5, 3.0).astype(np.float32)
        labels[0] = 255
        frames.append(Sample(f'{number}.png', rgb.astype(np.uint8), depth_m, labels))
    return frames


def by_colour(frame: Frame) -> npt.NDArray[np.uint8]:
    return np.where(frame.rgb.mean(2) > 128, WALL, FLOOR).astype(np.uint8)


def by_depth(frame: Frame) -> npt.NDArray[np.uint8]:
    return np.where((frame.x > 0) & (frame.x < 2.2), WALL, FLOOR).astype(np.uint8)


def tried(segment: object, *names: str, count: int = 4, seed: int = 0) -> Measured:
    assert callable(segment)
    return measure(segment, samples(count), classes=len(NYU13), count=count, seed=seed,
                   corruptions=rows(*names) if names else CORRUPTIONS)


def results(measured: Measured) -> StressResults:
    return StressResults('a_model', NYU13, NYU_CAMERA, measured, {
        'data': 'generated rooms', 'network': 'diffpixelformer_t', 'frames': measured.frames,
        'frames_in_split': 2 * measured.frames, 'frame_widths': list(measured.widths),
        'seed': 0, 'room_seed': 900, 'sensor': 'kinect_v1'})


def told(drops: Mapping[str, Mapping[float, float]], *, miou: float = 0.5,
         frames: int = 3) -> list[str]:
    """Return the summary of what `losing` returns."""
    return summary(losing(drops, miou=miou, frames=frames))


def losing(drops: Mapping[str, Mapping[float, float]], *, miou: float = 0.5,
           frames: int = 3) -> StressResults:
    """Return results in which these severities lose these points, others none."""
    frame = samples(1)[0]
    labels = by_colour(Frame(frame.rgb, frame.depth_m))
    curves = []
    for row in rows(*drops):
        lost = drops[row.name]
        assert set(lost) <= set(row.severities)
        curves.append(Curve(row, tuple(
            Score(severity, miou - lost.get(severity, 0) / 100, 0.8, lost.get(severity, 0), 0.4)
            for severity in row.severities)))
    spoiled = {row.name: Spoiled(row.severities[-1], frame.rgb, frame.depth_m, labels)
               for row in rows(*drops)}
    return results(Measured(
        frames, (640, 640), Score(0, miou, 0.8, 0, 0), miou, tuple(curves),
        Example(frame, labels, spoiled)))


def test_a_model_that_ignores_depth_has_flat_depth_curves() -> None:
    measured = tried(by_colour)
    for curve in measured.curves:
        if curve.corruption.modality == 'depth':
            assert {(score.miou, score.drop) for score in curve.scores} == {(1.0, 0.0)}
    missing = measured.curve('colour_missing')
    assert missing is not None
    assert missing.worst.drop > 50
    assert any('hardly uses depth' in sentence for sentence in summary(results(measured)))


def test_a_model_that_ignores_colour_has_flat_colour_curves_and_suffers_from_shifts() -> None:
    measured = tried(by_depth)
    for curve in measured.curves:
        if curve.corruption.modality == 'colour':
            assert {score.drop for score in curve.scores} == {0.0}
    shift = measured.curve('depth_shift_x')
    assert shift is not None
    right = [score.drop for score in shift.scores if score.severity >= 0]
    assert right == sorted(right)
    assert right[0] == 0 < right[1]
    assert any('hardly uses colour' in sentence for sentence in summary(results(measured)))


def test_scores_are_those_of_a_slow_loop() -> None:
    measured = tried(by_depth, 'depth_shift_x', count=3)
    right = {WALL: 0, FLOOR: 0}
    union = {WALL: 0, FLOOR: 0}
    pixels = 0
    for sample in samples(3):
        for row in range(1, SIZE[0]):  # row 0 is unlabelled
            for column in range(SIZE[1]):
                came_from = column - 3  # depth moved 3 px to the right
                depth = sample.depth_m[row, came_from] if came_from >= 0 else 0
                prediction = WALL if 0 < depth < 2.2 else FLOOR
                truth = int(sample.labels[row, column])
                pixels += 1
                right[truth] += truth == prediction
                for label in {truth, prediction}:
                    union[label] += 1
    (curve,) = measured.curves
    (score,) = (score for score in curve.scores if score.severity == 3)
    assert score.miou == pytest.approx((right[WALL] / union[WALL] + right[FLOOR] / union[FLOOR])
                                       / 2)
    assert score.pixel_accuracy == pytest.approx(sum(right.values()) / pixels)
    assert score.drop == pytest.approx(100 * (1 - score.miou))


def test_every_severity_is_scored_over_the_classes_of_the_truth() -> None:
    def a_pixel_of_another_class(frame: Frame) -> npt.NDArray[np.uint8]:
        labels = by_colour(frame)
        labels[5, 5] = 1
        return labels

    measured = tried(a_pixel_of_another_class, 'depth_missing')
    assert measured.clean.miou > 0.99
    assert measured.clean_miou_evaluated == pytest.approx(measured.clean.miou * 2 / 3)


def test_the_same_seed_gives_the_same_figures() -> None:
    once, again, other = (tried(by_depth, 'depth_holes', seed=seed) for seed in (1, 1, 2))
    assert once.curves == again.curves
    assert once.curves != other.curves


def test_the_standard_error_is_that_of_leaving_frames_out() -> None:
    measured = tried(by_depth, 'depth_shift_x', count=5)
    (curve,) = measured.curves
    drops = []
    for out in range(5):  # fewer frames than groups: each is a group
        rest = [sample for number, sample in enumerate(samples(5)) if number != out]
        part = measure(by_depth, rest, classes=len(NYU13), count=4,
                       corruptions=rows('depth_shift_x'))
        drops.append(part.curves[0].scores[-1].drop)
    mean = sum(drops) / 5
    expected = (4 / 5 * sum((drop - mean) ** 2 for drop in drops)) ** 0.5
    assert expected > 0
    assert curve.scores[-1].error == pytest.approx(expected)


def test_one_frame_has_no_standard_error() -> None:
    measured = tried(by_depth, 'depth_shift_x', count=1)
    assert {score.error for score in measured.curves[0].scores} == {None}
    assert 'One frame says nothing about chance' in summary(results(measured))[-1]


def test_frames_without_labels_are_refused() -> None:
    blank = [Sample('x.png', sample.rgb, sample.depth_m, np.full(SIZE, 255, np.uint8))
             for sample in samples(2)]
    with pytest.raises(StressError, match='no pixel'):
        measure(by_depth, blank, classes=3, count=2, corruptions=rows('depth_missing'))


def test_the_example_is_the_frame_with_most_to_see() -> None:
    plain, split = samples(2)
    plain = Sample('plain', plain.rgb, plain.depth_m, np.full(SIZE, WALL, np.uint8))
    split = Sample('split', split.rgb, split.depth_m, split.labels)
    for order in ([plain, split], [split, plain]):
        measured = measure(by_depth, order, classes=len(NYU13), count=2,
                           corruptions=rows('depth_missing'))
        assert measured.example.sample.name == 'split'
        assert not measured.example.spoiled['depth_missing'].depth_m.any()


@pytest.mark.parametrize(('drops', 'words'), [
    ({}, 'need not lie exactly'),
    ({6: 4.9, -6: 2}, 'need not lie exactly on its colour: 6 px'),
    ({-3: 5.1, 6: 9}, 'up to 2 px beside its colour, which costs nothing; 3 px'),
    ({3: 7, 2: 1.3}, 'up to 2 px beside its colour, which costs 1.3 points; 3 px'),
    ({1: 6}, 'must lie exactly on its colour: 1 px'),
])
def test_the_sentence_about_shifts_follows_the_figures(drops: dict[float, float],
                                                       words: str) -> None:
    both: dict[str, Mapping[float, float]] = {'depth_shift_x': {}, 'depth_shift_y': drops}
    (sentence,) = (s for s in told(both) if 'on its colour' in s or 'beside its colour' in s)
    assert words in sentence


def test_the_costlier_direction_is_named() -> None:
    sentences = told({'depth_shift_x': {-3: 6.0, 3: 5.5}, 'depth_shift_y': {3: 5.2}})
    # 3 px of a focal length of 518.86: 0.33 degrees.
    assert any('3 px (0.33°, 12 mm at 2 m) left costs 6.0 points' in s for s in sentences)
    assert any('frames are 640 px wide' in s for s in sentences)


@pytest.mark.parametrize(('depth', 'colour', 'words'), [
    (20, 4, 'leans on depth'), (4, 20, 'leans on colour'), (10, 9, 'both about equally'),
    (0.4, 20, 'hardly uses depth'), (20, -1, 'hardly uses colour'), (0, 0, 'misses neither'),
])
def test_the_sentence_about_missing_sensors_follows_the_figures(depth: float, colour: float,
                                                                words: str) -> None:
    (sentence,) = (s for s in told({'depth_missing': {1: depth}, 'colour_missing': {1: colour}})
                   if 'ithout any depth' in s)
    assert words in sentence
    if depth:
        # Of a healthy mIoU of 50 %, n points are 2 n percent.
        assert f'without any depth it loses {depth:.1f} points ({2 * depth:.0f} %)' in (
            sentence[0].lower() + sentence[1:])


def test_what_breaks_and_what_holds_is_told_apart() -> None:
    sentences = told({'depth_holes': {50: 3, 75: 6, 90: 12}, 'colour_jpeg': {5: 4.2},
                      'colour_dark': {1 / 16: 5.5, 1 / 64: 30}})
    (breaks,) = (s for s in sentences if s.startswith('More than 5 points'))
    assert 'colour dark from 1/16 of the light on (−5.5)' in breaks
    assert 'depth with holes from 75 % of the measured pixels on (−6.0)' in breaks
    assert breaks.index('dark') < breaks.index('holes')  # the costliest first
    assert 'JPEG' not in breaks
    (holds,) = (s for s in sentences if s.startswith('Never more than 5 points'))
    assert holds.endswith('colour compressed (quality 5).')
    assert 'holes' not in holds
    assert 'dark' not in holds


def test_the_worst_case_is_named_first() -> None:
    sentences = told({'depth_holes': {90: 12}, 'colour_missing': {1: 20}, 'depth_unit': {5: 9}})
    assert sentences[1] == ('Worst of all: colour missing, which costs 20.0 points (40 % of the '
                            'healthy mIoU).')
    assert not any('Worst of all' in s for s in told({'depth_holes': {}}))


def test_a_fault_that_costs_at_every_severity_has_no_mild_end() -> None:
    always = {0.001: 6.0, 0.1: 7, 0.2: 8, 5: 9, 10: 10, 1000: 11}
    (breaks,) = (s for s in told({'depth_unit': always}) if s.startswith('More than 5 points'))
    assert 'depth in a wrong unit at every severity tried (−6.0 to −11.0)' in breaks
    assert 'any tried (−6.0 to −11.0)' in render_stress(losing({'depth_unit': always}))
    (breaks,) = (s for s in told({'depth_unit': {**always, 0.2: 1}})
                 if s.startswith('More than 5 points'))
    assert 'depth in a wrong unit from ×5 on (−9.0)' in breaks


def test_the_sheet_says_what_was_measured_on_what() -> None:
    found = results(tried(by_depth, 'depth_missing'))
    assert setting(found) == ('diffpixelformer_t on 4 of 8 frames of generated rooms, 48 px wide, '
                              'depth as from a kinect_v1; 13 classes of nyu13')
    assert 'generated rooms' in caution(found)
    page = render_stress(found)
    assert html.escape(setting(found)) in page
    assert caution(found) in page
    found.protocol.update(room_seed=None, sensor='as stored', frames_in_split=4, data='/a/folder')
    assert setting(found) == ('diffpixelformer_t on 4 frames of /a/folder, 48 px wide; '
                              '13 classes of nyu13')
    assert not caution(found)


def test_what_is_worse_than_no_image_is_named() -> None:
    sentences = told({'depth_missing': {1: 8}, 'depth_noise': {4: 7, 8: 12, 16: 20},
                      'depth_holes': {90: 7.5}})
    (worse,) = (s for s in sentences if s.startswith('Worse than no depth'))
    assert '−8.0' in worse
    assert 'depth noisy from 8× a Kinect’s noise on' in worse
    assert 'holes' not in worse


def test_one_frame_is_too_little_to_advise_on() -> None:
    drops = {'depth_missing': {1: 8}, 'depth_noise': {16: 20}}
    assert any('should blank' in sentence for sentence in told(drops))
    assert not any('should blank' in sentence for sentence in told(drops, frames=1))


def test_the_files_are_whole_and_say_how_it_was_measured(tmp_path: Path) -> None:
    measured = tried(by_depth, 'depth_missing', 'depth_shift_x', 'colour_missing')
    files = write_stress(results(measured), tmp_path / 'new', command='diffpixel evaluate <x>')
    assert sorted(file.name for file in (tmp_path / 'new').iterdir()) == [
        'stress.html', 'stress.json', 'stress.png'] == sorted(file.name for file in files)
    figures = json.loads((tmp_path / 'new' / 'stress.json').read_text())
    assert figures['protocol']['frames'] == 4
    assert figures['protocol']['seed'] == 0
    shift = figures['curves']['depth_shift_x']['points']
    assert [point['severity'] for point in shift] == [-6, -3, -2, -1, 0, 1, 2, 3, 6]
    assert shift[4]['drop_points'] == 0
    assert shift[0]['drop_percent'] == pytest.approx(shift[0]['drop_points'])  # healthy: 100 %
    picture = cv2.imread(str(tmp_path / 'new' / 'stress.png'))
    assert picture is not None
    assert picture.shape[1] == 1600


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    found = results(tried(by_depth, count=2))
    write_stress(found, tmp_path, command='diffpixel evaluate <x> & y')
    page = (tmp_path / 'stress.html').read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert '<link' not in page
    assert 'diffpixel evaluate &lt;x&gt; &amp; y' in page
    opened: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in VOID:
                assert opened.pop() == tag

    Balance().feed(page)
    assert not opened
    for row in CORRUPTIONS:
        assert page.count(f'<h3>{row.title} <small') == 1
    for sentence in summary(found):
        assert html.escape(sentence) in page


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match='file'):
        write_stress(results(tried(by_depth, 'depth_missing')), tmp_path / 'file')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Return a folder of five frames with labels of NYUDv2."""
    folder = tmp_path_factory.mktemp('frames')
    for number, sample in enumerate(samples(5)):
        name = f'{folder}/{number:06d}'
        cv2.imwrite(f'{name}.color.png', sample.rgb[..., ::-1])
        cv2.imwrite(f'{name}.depth.png', np.rint(1000 * sample.depth_m).astype(np.uint16))
        cv2.imwrite(f'{name}.label.png', np.minimum(sample.labels, 39))
    return DataConfig(source='dataset', path=str(folder), val_split='all',
                      cache=str(tmp_path_factory.mktemp('cache')))


@pytest.mark.slow
def test_a_network_is_tried_end_to_end(data: DataConfig, tiny_model: Path) -> None:
    found = run_stress(tiny_model, data, limit=2, corruptions=rows(
        'depth_missing', 'depth_shift_y', 'colour_missing'))
    assert found.protocol['frames'] == found.measured.frames == 2
    assert found.protocol['frames_in_split'] == 5
    assert found.protocol['network'] == 'diffpixelformer_t'
    assert found.label_space.name == 'nyu40'
    assert found.model == tiny_model.name
    assert found.protocol['model'] == str(tiny_model)
    # The example is one of the frames, segmented as the segmenter does it.
    segmenter = load_segmenter(tiny_model, 'torch')
    example = found.measured.example
    spoiled = example.spoiled['depth_missing']
    np.testing.assert_array_equal(
        spoiled.prediction, segmenter(Frame(spoiled.rgb, spoiled.depth_m)).labels)
    assert len(summary(found)) >= 4


def test_a_limit_of_no_frames_is_refused(data: DataConfig, tiny_model: Path) -> None:
    with pytest.raises(StressError, match='limit is 0'):
        run_stress(tiny_model, data, limit=0)
