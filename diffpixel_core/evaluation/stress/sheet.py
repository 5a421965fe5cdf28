# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The stress sheet on disk: page, picture and figures, each whole or not at all."""

import json
from pathlib import Path
from typing import Any

from diffpixel_core.evaluation.stress.curves import Score, StressResults
from diffpixel_core.evaluation.stress.page import render_stress
from diffpixel_core.evaluation.stress.poster import render_poster
from diffpixel_core.evaluation.stress.summary import relative, summary
from diffpixel_core.whole_file import write_whole

FILES = ('stress.json', 'stress.png', 'stress.html')


def write_stress(results: StressResults, folder: Path, *, command: str = '') -> list[Path]:
    """Write `stress.json`, `stress.png` and `stress.html`, and return where they lie.

    Args:
        results: What was measured.
        folder: Where to; made if need be. Those of an earlier test are replaced.
        command: How the user called it.

    Raises:
        WriteError: If they cannot be written.
    """
    contents = (
        (json.dumps(as_json(results, command=command), indent=2, allow_nan=False) + '\n').encode(),
        render_poster(results),
        render_stress(results, command=command).encode())
    files = [folder / name for name in FILES]
    for file, content in zip(files, contents, strict=True):
        write_whole(file, content)
    return files


def as_json(results: StressResults, *, command: str = '') -> dict[str, Any]:
    """Return everything that was measured as plain types.

    `miou` and `pixel_accuracy` are 0..1, drops points of mIoU (0..100), `drop_percent` a part of
    the healthy mIoU.
    """
    measured = results.measured
    return {
        'model': results.model,
        'command': command,
        'protocol': results.protocol,
        'summary': summary(results),
        'healthy': {'miou': measured.clean.miou,
                    'miou_as_evaluate': measured.clean_miou_evaluated,
                    'pixel_accuracy': measured.clean.pixel_accuracy},
        'example': measured.example.sample.name,
        'curves': {
            curve.corruption.name: {
                'title': curve.corruption.title, 'modality': curve.corruption.modality,
                'unit': curve.corruption.unit, 'clean': curve.corruption.clean,
                'points': [{'severity': score.severity,
                            'meaning': curve.corruption.meaning(score.severity, results.camera),
                            **_figures(score, results)} for score in curve.scores],
            } for curve in measured.curves},
    }


def _figures(score: Score, results: StressResults) -> dict[str, float | None]:
    return {'miou': score.miou, 'pixel_accuracy': score.pixel_accuracy,
            'drop_points': score.drop,
            'drop_percent': relative(score.drop, results.measured)
            if results.measured.clean.miou else None,
            'standard_error_points': score.error}
