# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine is made of; for int8 that is an export, calibrated on frames for the benchmark."""

from pathlib import Path

from diffpixel_core.bench.contenders import NAMES
from diffpixel_core.bench.subject import Subject


def engine_path(model: Subject, name: str, *, frame: tuple[int, int], batch: int,
                frames: Path | None, depth_unit: str) -> Path:
    """Return what to open for an engine or a baseline.

    Args:
        model: What is measured.
        name: Key of `contenders.NAMES`.
        frame: `(height, width)` of the frames, pixels.
        batch: Frames a call.
        frames: Folder of real frames to calibrate on; None = generated ones.
        depth_unit: Of that folder's depth images.

    Raises:
        ExportError: If there is no such int8 engine.
        ConversionError: If a package for it is missing.
    """
    choice = NAMES[name]
    if choice.precision != 'int8' or model.artefact is not None:
        return model.path(name)
    from diffpixel_core.export.run import ExportSettings, export_model

    output = model.cache / name
    if not output.exists():
        export_model(ExportSettings(
            model.folder, choice.engine, 'int8', output, size=frame, batch=0 if batch > 1 else 1,
            frames=frames, depth_unit=depth_unit,
            allowed=1.0))  # it is measured whatever its labels are: they stand beside its speed
    return output
