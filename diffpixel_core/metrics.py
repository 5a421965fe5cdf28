# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a segmentation: one confusion matrix over all pixels, no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.errors import DiffPixelError


class MetricError(DiffPixelError):
    """Label images that cannot be scored."""


class ConfusionMatrix:
    """Count how often each true class was predicted as each class.

    Pixels whose truth is no class (255 = unlabelled) do not count; a prediction that is no class
    is an error of the true class.

    Args:
        classes: Number of classes K, at most 255.

    Attributes:
        counts: `(K, K + 1)` int64; row = truth, column = prediction; the last column counts
            predictions that are no class.

    Source: DiffPixelFormer, eq. (9)-(11).
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: npt.NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)

    def update(self, truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> None:
        """Add the pixels of one or more label images.

        Args:
            truth: uint8 labels of any shape; values >= K are left out.
            prediction: uint8 labels of the same shape.

        Raises:
            MetricError: If shape or dtype differ.
        """
        if truth.shape != prediction.shape:
            raise MetricError(f'truth is {truth.shape} but the prediction {prediction.shape}; '
                              'score at the size of the truth')
        if truth.dtype != np.uint8 or prediction.dtype != np.uint8:
            raise MetricError(f'labels must be uint8, these are {truth.dtype} and '
                              f'{prediction.dtype}')
        labelled = truth < self.classes
        rows = truth[labelled].astype(np.int64)
        columns = np.minimum(prediction[labelled], self.classes)
        pairs = rows * (self.classes + 1) + columns
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: 'ConfusionMatrix') -> None:
        """Add the counts of another matrix, of other frames in the same classes.

        Raises:
            MetricError: If it has another number of classes.
        """
        if other.classes != self.classes:
            raise MetricError(f'a matrix of {other.classes} classes cannot be added to one of '
                              f'{self.classes}; score both in one label space')
        self.counts += other.counts

    @property
    def pixels(self) -> int:
        """Number of pixels counted."""
        return int(self.counts.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are right, 0..1; NaN before the first pixel."""
        # Eq. 9
        return float(self._right.sum() / self.pixels) if self.pixels else float('nan')

    @property
    def mean_accuracy(self) -> float:
        """Mean over the classes in the truth of their share found, 0..1; NaN if there are none."""
        # Eq. 10
        return _nan_mean(_ratio(self._right, self.counts.sum(1)))

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """`(K,)` intersection over union, 0..1; NaN for a class neither true nor predicted."""
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - self._right
        return _ratio(self._right, union)

    @property
    def miou(self) -> float:
        """Mean intersection over union, 0..1, over the classes true or predicted somewhere."""
        # Eq. 11
        return _nan_mean(self.iou)

    @property
    def miou_absent_zero(self) -> float:
        """Mean intersection over union, 0..1, over all K classes; one that is absent counts 0.

        Source: the rule of CMNeXt and DFormer; `miou` is eq. (11) and leaves absent classes out.
        """
        return _zero_mean(self.iou) if self.pixels else float('nan')

    @property
    def mean_accuracy_absent_zero(self) -> float:
        """Mean accuracy, 0..1, over all K classes; one that is not in the truth counts 0."""
        accuracies = _ratio(self._right, self.counts.sum(1))
        return _zero_mean(accuracies) if self.pixels else float('nan')

    @property
    def _right(self) -> npt.NDArray[np.int64]:
        return np.diagonal(self.counts[:, :-1])

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores as plain types for JSON; None where there is nothing to score.

        `miou` and `mean_accuracy` skip classes that do not occur (eq. 10 and 11); under
        `absent_zero` stand the means in which such a class counts 0.

        Args:
            names: One name per class.
        """
        if len(names) != self.classes:
            raise MetricError(f'{len(names)} names for {self.classes} classes; pass the names of '
                              'the label space that was scored')
        return {
            'miou': _plain(self.miou),
            'pixel_accuracy': _plain(self.pixel_accuracy),
            'mean_accuracy': _plain(self.mean_accuracy),
            'absent_zero': {'miou': _plain(self.miou_absent_zero),
                            'mean_accuracy': _plain(self.mean_accuracy_absent_zero)},
            'pixels': self.pixels,
            'iou': {name: _plain(value) for name, value in zip(names, self.iou, strict=True)},
        }


def _ratio(numerator: npt.NDArray[np.int64],
           denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _nan_mean(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float('nan')


def _zero_mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.nan_to_num(values, nan=0.0).mean())


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
