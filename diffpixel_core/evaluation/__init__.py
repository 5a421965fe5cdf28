# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: how well a model does on labelled frames, by a protocol that is written down."""

from diffpixel_core.evaluation.opening import held_out_data
from diffpixel_core.evaluation.protocols import PROTOCOLS, STREAMS, Protocol, find_protocol
from diffpixel_core.evaluation.results import EvaluationError, Results
from diffpixel_core.evaluation.run import evaluate_model
from diffpixel_core.evaluation.scoring import FrameScore, Predictor, Scores, score_samples

__all__ = ['PROTOCOLS', 'STREAMS', 'EvaluationError', 'FrameScore', 'Predictor', 'Protocol',
           'Results', 'Scores', 'evaluate_model', 'find_protocol', 'held_out_data',
           'score_samples']
