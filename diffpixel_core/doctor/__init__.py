# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set before anyone trains on it: units, ids, files, alignment."""

from diffpixel_core.doctor.examination import DEFAULT_LIMIT, Examination, examine
from diffpixel_core.doctor.verdict import Verdict

__all__ = ['DEFAULT_LIMIT', 'Examination', 'Verdict', 'examine']
