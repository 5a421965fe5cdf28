# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix: the paper's example, unlabelled pixels, classes that never occur."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.metrics import ConfusionMatrix, MetricError

EXAMPLE = [[50, 2, 0, 0], [4, 30, 0, 1], [0, 0, 0, 0], [1, 1, 3, 0]]


def pixels(matrix: list[list[int]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return truth and prediction with these counts."""
    pairs = [(t, p) for t, row in enumerate(matrix) for p, n in enumerate(row) for _ in range(n)]
    truth, prediction = np.array(pairs, np.uint8).T
    return truth, prediction


def test_example_of_the_specification() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(*pixels(EXAMPLE))
    assert round(100 * matrix.pixel_accuracy, 4) == 86.9565
    assert round(100 * matrix.mean_accuracy, 4) == 60.6227
    assert round(100 * matrix.miou, 4) == 41.6667


def test_scores_equal_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (20, 30)).astype(np.uint8)
    prediction = rng.integers(0, 5, (20, 30)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255
    matrix = ConfusionMatrix(5)
    matrix.update(truth[:7], prediction[:7])
    matrix.update(truth[7:], prediction[7:])
    for k in range(5):
        both = either = 0
        for t, p in zip(truth.flat, prediction.flat, strict=True):
            both += t == k and p == k
            either += t != 255 and (t == k or p == k)
        assert matrix.iou[k] == both / either


def test_counts_equal_those_of_scikit_learn() -> None:
    reference = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(2)
    for classes in (2, 13, 40, 255):
        truth = rng.integers(0, classes + 1, (30, 40)).astype(np.uint8)
        truth[truth == classes] = 255
        prediction = rng.integers(0, classes, (30, 40)).astype(np.uint8)
        matrix = ConfusionMatrix(classes)
        matrix.update(truth, prediction)
        known = truth != 255
        expected = reference.confusion_matrix(truth[known], prediction[known],
                                              labels=range(classes))
        np.testing.assert_array_equal(matrix.counts[:, :-1], expected)
        assert (matrix.counts[:, -1] == 0).all()
        present = np.union1d(truth[known], prediction[known])
        assert matrix.miou == pytest.approx(reference.jaccard_score(
            truth[known], prediction[known], labels=present, average='macro'), abs=1e-12)


@pytest.mark.skipif('DIFFPIXEL_SAMPLES' not in os.environ,
                    reason='DIFFPIXEL_SAMPLES does not name a folder of real samples')
def test_counts_on_official_label_maps_equal_those_of_scikit_learn() -> None:
    """Each of the official maps against the next one, as if that were its prediction."""
    reference = pytest.importorskip('sklearn.metrics')
    folder = Path(os.environ['DIFFPIXEL_SAMPLES']) / 'nyu-meta' / 'labels40'
    raw = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in sorted(folder.glob('*.png'))]
    assert len(raw) >= 2
    maps = [np.where(image == 0, 255, image.astype(int) - 1).astype(np.uint8) for image in raw]
    matrix = ConfusionMatrix(40)
    expected = np.zeros((40, 41), np.int64)
    for truth, prediction in itertools.pairwise(maps):
        matrix.update(truth, prediction)
        known = truth != 255
        expected += reference.confusion_matrix(
            truth[known], np.minimum(prediction[known], 40), labels=range(41))[:40]
    np.testing.assert_array_equal(matrix.counts, expected)
    assert matrix.pixels > 1_000_000


def test_absent_classes_are_skipped_or_count_zero_and_both_are_said() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(*pixels([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    row = matrix.as_dict(['a', 'b', 'c', 'd'])
    assert row['miou'] == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert row['absent_zero']['miou'] == pytest.approx((3 / 4 + 4 / 5) / 4)
    assert row['mean_accuracy'] == pytest.approx((3 / 4 + 1) / 2)
    assert row['absent_zero']['mean_accuracy'] == pytest.approx((3 / 4 + 1) / 4)


def test_merged_matrices_are_the_matrix_of_all_frames() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 5, (2, 6, 7)).astype(np.uint8)
    whole, first, second = (ConfusionMatrix(5) for _ in range(3))
    whole.update(truth, prediction)
    first.update(truth[:2], prediction[:2])
    second.update(truth[2:], prediction[2:])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, whole.counts)
    assert second.pixels == 4 * 7, 'the one that is added stays as it is'
    with pytest.raises(MetricError, match='of 4 classes'):
        first.merge(ConfusionMatrix(4))


def test_unlabelled_truth_does_not_count() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 255, 3], np.uint8), np.array([0, 1, 1], np.uint8))
    assert matrix.pixels == 1
    assert matrix.pixel_accuracy == 1


def test_prediction_without_class_is_an_error_of_the_truth() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0, 1], np.uint8), np.array([0, 255, 1], np.uint8))
    assert matrix.pixel_accuracy == pytest.approx(2 / 3)
    assert matrix.iou.tolist() == [0.5, 1.0]


def test_class_that_never_occurs_has_no_score_and_does_not_pull_the_mean() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 1], np.uint8), np.array([0, 1], np.uint8))
    assert math.isnan(matrix.iou[2])
    assert matrix.miou == 1
    assert matrix.as_dict(['a', 'b', 'c'])['iou'] == {'a': 1.0, 'b': 1.0, 'c': None}


def test_nothing_scored_is_nan_not_a_crash() -> None:
    matrix = ConfusionMatrix(3)
    assert math.isnan(matrix.miou)
    assert math.isnan(matrix.pixel_accuracy)
    assert matrix.as_dict(['a', 'b', 'c'])['miou'] is None


def test_other_shape_or_type_is_refused() -> None:
    matrix = ConfusionMatrix(3)
    zeros = np.zeros((2, 3), np.uint8)
    with pytest.raises(MetricError, match=r'\(2, 3\).*\(3, 2\)'):
        matrix.update(zeros, zeros.T)
    with pytest.raises(MetricError, match='int64'):
        matrix.update(zeros, zeros.astype(np.int64))
    with pytest.raises(MetricError, match='2 names for 3 classes'):
        matrix.as_dict(['a', 'b'])


def test_scoring_needs_no_torch() -> None:
    code = 'import sys, diffpixel_core.metrics; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
