# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The sheet a robot builder reads before trusting a model: what each fault of an image costs.

As the command calls it, with `data` of `evaluation.held_out_data`:

>>> results = run_stress('rooms_t', data, limit=60, device='auto', precision='fp32')
>>> write_stress(results, Path('out/stress'), command='diffpixel evaluate ...')
>>> summary(results)  # sentences for standard output
"""

from diffpixel_core.evaluation.stress.corruptions import CORRUPTIONS, Corruption
from diffpixel_core.evaluation.stress.curves import (
    Curve,
    Example,
    Measured,
    Score,
    Spoiled,
    StressError,
    StressResults,
    measure,
    run_stress,
)
from diffpixel_core.evaluation.stress.sheet import as_json, write_stress
from diffpixel_core.evaluation.stress.summary import LOSS, summary

__all__ = [
    'CORRUPTIONS', 'LOSS', 'Corruption', 'Curve', 'Example', 'Measured', 'Score', 'Spoiled',
    'StressError', 'StressResults', 'as_json', 'measure', 'run_stress', 'summary', 'write_stress',
]
