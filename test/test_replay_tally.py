# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Bags merged are as one bag; of all frames the worst are kept, and no more."""

import json
import pickle

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from test_replay_truth import image

from diffpixel_core.label_map import identity, load_label_map
from diffpixel_core.labels import load_label_space
from diffpixel_core.replay.pictures import WorstFrames, report_frame
from diffpixel_core.replay.scoring import Outcome, Scorer
from diffpixel_core.replay.tally import FrameRow, Picture, Tally, merged
from diffpixel_core.replay.truth import TopicTruth

NYU13, NYU40 = load_label_space('nyu13'), load_label_space('nyu40')
MS = 1_000_000
SIZE = (6, 8)


def outcome(place: int, labels: npt.NDArray[np.uint8], *, confidence: int = 200) -> Outcome:
    return Outcome(stamp_ns=(place + 1) * 33 * MS, frame_id='camera', place=place,
                   rgb=np.full((*SIZE, 3), place, np.uint8), depth_m=np.ones(SIZE, np.float32),
                   labels=labels, confidence=np.full(SIZE, confidence, np.uint8),
                   ms={'network': 4.0 + place, 'total': 5.0 + place})


def scored(bag: str, frames: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]], *,
           place: int = 0) -> Tally:
    """Return the tally of (truth in nyu40, prediction in nyu40) frames."""
    tally = Tally(bag, NYU40, frames_in=len(frames), depth_in=len(frames), pairs=len(frames),
                  bag_s=len(frames) * 0.033, gap_mean_ms=float(len(frames)), gap_max_ms=9.0)
    truth = TopicTruth('/t', len(frames), 10 * MS)
    scorer = Scorer(tally, truth=truth, truth_space='nyu40', model_space=NYU40,
                    label_map=identity(NYU40))
    for number, (true, seen) in enumerate(frames, place):
        given = outcome(number, seen)
        scorer.add(given, given.stamp_ns)
        truth.add(image(true, 'mono8', stamp_ns=given.stamp_ns))  # comes after its frame
        scorer.tick(given.stamp_ns)
    scorer.finish()
    return tally


def some_frames(seed: int, count: int) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 5, SIZE, dtype=np.uint8), rng.integers(0, 5, SIZE, dtype=np.uint8))
            for _ in range(count)]


def test_bags_merged_score_as_one_bag_with_all_frames() -> None:
    first, second = some_frames(0, 3), some_frames(1, 5)
    both = merged([scored('a', first), scored('b', second, place=3)])
    whole = scored('whole', first + second)
    assert whole.scored == both.scored == 8
    np.testing.assert_array_equal(both.confusion, whole.confusion)
    assert both.score is not None
    assert whole.score is not None
    assert both.score.miou == whole.score.miou
    assert both.latency_figures() == whole.latency_figures()
    assert (both.frames_in, both.pairs, both.frames_out, both.truth_in) == (8, 8, 8, 8)
    assert both.gap_mean_ms == pytest.approx((3 * 3 + 5 * 5) / 8)
    assert both.unexplained == 0


def test_a_perfect_prediction_scores_full_marks_and_a_wrong_one_none() -> None:
    true = np.full(SIZE, 3, np.uint8)
    true[0, 0] = 255
    perfect, wrong = scored('p', [(true, true)]), scored('w', [(true, np.full(SIZE, 4, np.uint8))])
    assert perfect.score is not None
    assert wrong.score is not None
    assert perfect.score.pixel_accuracy == perfect.score.miou == 1.0
    assert perfect.score.pixels == SIZE[0] * SIZE[1] - 1
    assert wrong.score.pixel_accuracy == wrong.score.miou == 0.0
    assert perfect.frames[0].pixel_accuracy == 1.0


def test_truth_is_brought_into_the_space_that_comes_out() -> None:
    """From nyu40 by the network's nyu13 to the groups of a class map."""
    groups = load_label_map('groups', NYU13)
    tally = Tally('bag', groups.space)
    truth = TopicTruth('/t', 1, 0)
    scorer = Scorer(tally, truth=truth, truth_space='nyu40', model_space=NYU13, label_map=groups)
    true = np.full(SIZE, NYU40.index('night stand'), np.uint8)
    seen = groups.apply(np.full(SIZE, NYU13.index('furniture'), np.uint8))
    truth.add(image(true, 'mono8', stamp_ns=33 * MS))
    scorer.add(outcome(0, seen), 33 * MS)
    scorer.finish()
    assert tally.score is not None
    assert tally.score.pixel_accuracy == 1.0


def test_truth_whose_stamps_never_fit_is_said_plainly() -> None:
    tally = Tally('bag', NYU40)
    truth = TopicTruth('/labels', 1, 10 * MS)
    scorer = Scorer(tally, truth=truth, truth_space='nyu40', model_space=NYU40,
                    label_map=identity(NYU40))
    truth.add(image(np.zeros(SIZE, np.uint8), 'mono8', stamp_ns=5000 * MS))
    scorer.add(outcome(0, np.zeros(SIZE, np.uint8)), 0)
    scorer.finish()
    assert tally.score is None
    assert tally.truth_in == 1
    assert 'none of the 1 label images of /labels has the stamp' in tally.notes[0]


@pytest.mark.parametrize(('message', 'words'), [
    (image(np.zeros((3, 3), np.uint8), 'mono8', stamp_ns=33 * MS), 'sizes must be equal'),
    (image(np.zeros(SIZE, np.float32), '32FC1', stamp_ns=33 * MS), 'labels are integers')])
def test_truth_that_cannot_be_used_is_counted_and_named(message: object, words: str) -> None:
    tally = Tally('bag', NYU40)
    truth = TopicTruth('/labels', 1, 10 * MS)
    scorer = Scorer(tally, truth=truth, truth_space='nyu40', model_space=NYU40,
                    label_map=identity(NYU40))
    truth.add(message)
    scorer.add(outcome(0, np.zeros(SIZE, np.uint8)), 0)
    scorer.finish()
    assert tally.scored == 0
    assert tally.frames_out == 1
    assert '1 truth images were not scored' in tally.notes[0]
    assert words in tally.notes[0]


def test_truth_without_a_common_class_is_an_error_in_the_notes() -> None:
    tally = Tally('bag', load_label_space('numbered7'))
    Scorer(tally, truth=TopicTruth('/t', 1, 0), truth_space='nyu40',
           model_space=tally.label_space, label_map=identity(tally.label_space))
    assert 'nothing is scored: no class of label space' in tally.notes[0]


def test_frames_wait_for_late_truth_no_longer_than_a_second() -> None:
    tally = Tally('bag', NYU40)
    truth = TopicTruth('/t', 9, 0)
    scorer = Scorer(tally, truth=truth, truth_space='nyu40', model_space=NYU40,
                    label_map=identity(NYU40))
    for place in range(100):
        given = outcome(place, np.zeros(SIZE, np.uint8))
        scorer.add(given, given.stamp_ns)
        assert len(scorer._waiting) <= 32
    scorer.finish()
    assert tally.frames_out == 100


def test_a_tally_survives_the_way_between_processes_and_becomes_json() -> None:
    tally = scored('a', some_frames(2, 2))
    again = pickle.loads(pickle.dumps(tally))
    text = json.dumps(again.as_json(), allow_nan=False)
    assert json.loads(text)['miou'] == tally.as_json()['miou']
    assert json.loads(text)['latency_ms']['total'] == {
        'p50': 5.5, 'p95': pytest.approx(5.95), 'p99': pytest.approx(5.99), 'max': 6.0}


# The worst frames.

def offer(kept: WorstFrames, stamp_ms: int, accuracy: float | None, *, flicker: float | None = None,
          confidence: float = 0.5) -> None:
    row = FrameRow(stamp_ms * MS, 1.0, confidence, accuracy, accuracy, flicker)
    kept.offer(row, place=stamp_ms, rgb=np.zeros((*SIZE, 3), np.uint8),
               depth_m=np.ones(SIZE, np.float32), labels=np.zeros(SIZE, np.uint8),
               confidence=np.zeros(SIZE, np.uint8), truth=None)


def test_the_worst_are_kept_and_no_two_of_one_moment() -> None:
    rng = np.random.default_rng(0)
    kept = WorstFrames('bag', 4, 1000.0)
    scores = {2000 * i: float(value) for i, value in enumerate(rng.permutation(50) / 50)}
    for stamp_ms, value in scores.items():
        offer(kept, stamp_ms, value + 0.1)  # of each moment three frames, the worst in the middle
        offer(kept, stamp_ms + 300, value)
        offer(kept, stamp_ms + 600, value + 0.05)
    worst = sorted(scores, key=scores.__getitem__)[:4]
    assert [picture.place for picture in kept.worst()] == [stamp + 300 for stamp in worst]


def test_truth_judges_before_flicker_and_flicker_before_confidence() -> None:
    kept = WorstFrames('bag', 3, 1000.0)
    offer(kept, 0, None, confidence=0.0)
    offer(kept, 5000, None, flicker=0.9, confidence=0.9)
    offer(kept, 10_000, 0.99)
    offer(kept, 15_000, 0.98)
    assert [(picture.reason, picture.place) for picture in kept.worst()] == [
        ('truth', 15_000), ('truth', 10_000), ('flicker', 5000)]


def test_a_picture_shows_what_the_frame_was() -> None:
    rng = np.random.default_rng(1)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), (0, 0), 3)
    depth_m = (rng.integers(0, 5000, SIZE) / 1000).astype(np.float32)
    labels, truth, confidence = (rng.integers(0, 40, SIZE, dtype=np.uint8) for _ in range(3))
    kept = WorstFrames('bag', 1, 1.0)
    kept.offer(FrameRow(0, 1.0, 0.5), place=0, rgb=smooth, depth_m=depth_m, labels=labels,
               confidence=confidence, truth=truth)
    picture, = kept.worst()
    shown = report_frame(picture, 'title')
    np.testing.assert_array_equal(shown.prediction, labels)
    np.testing.assert_array_equal(shown.truth, truth)
    np.testing.assert_array_equal(shown.confidence, confidence)
    np.testing.assert_allclose(shown.depth_m, depth_m, atol=1e-6)
    assert np.abs(shown.rgb.astype(int) - smooth).max() < 16  # JPEG


def test_no_bag_hides_another_in_the_merged_pictures() -> None:
    def with_pictures(bag: str, count: int) -> Tally:
        tally = Tally(bag, NYU40)
        tally.pictures = [Picture(bag, place, FrameRow(place, 1.0, 0.5), 1.0, 'truth', b'', b'',
                                  b'', b'') for place in range(count)]
        return tally

    chosen = merged([with_pictures('a', 9), with_pictures('b', 1), with_pictures('c', 2)],
                    pictures=5).pictures
    assert [(picture.bag, picture.place) for picture in chosen] == [
        ('a', 0), ('b', 0), ('c', 0), ('a', 1), ('c', 1)]
