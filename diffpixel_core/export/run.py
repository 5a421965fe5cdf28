# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The export of one model: converted, run in its runtime, compared, and only then written."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from diffpixel_core.artefacts import EngineRecord, require_replaceable, seal, whole_folder
from diffpixel_core.checkpoints import load_model
from diffpixel_core.deploy import DeployGraph, Ensemble, fold, network_size
from diffpixel_core.engines import load_engine
from diffpixel_core.engines.source import RUNTIMES
from diffpixel_core.export.agreement import Agreement, floor_of, measure
from diffpixel_core.export.frames import export_frames
from diffpixel_core.export.graphs import ExportError, made_with, require_possible, write_graph
from diffpixel_core.frame import Frame


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported, and how.

    Attributes:
        model: A model directory, its weights file or the name of a shipped model.
        kind: Key of `artefacts.FORMATS`.
        precision: One of `artefacts.PRECISIONS`.
        output: Folder for the engine; an older one in it is replaced.
        size: `(height, width)` of the camera's frames, pixels; None = the model's training size.
        batch: Frames in one run; 0 = any number.
        frames: Folder of real frames; None = generated ones.
        depth_unit: Of their depth images.
        allowed: Share of pixels whose label may differ; None = as the precision has it.
    """

    model: str | Path
    kind: str
    precision: str
    output: Path
    size: tuple[int, int] | None = None
    batch: int = 1
    frames: Path | None = None
    depth_unit: str = 'mm'
    allowed: float | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """An engine that was written.

    Attributes:
        folder: Where it is.
        record: What its `engine.json` says.
        measured: How it agrees with the model, by the frames it was checked on.
        seconds: How long everything took.
    """

    folder: Path
    record: EngineRecord
    measured: dict[str, Agreement]
    seconds: float

    @property
    def mib(self) -> float:
        """Size of all its files, MiB."""
        return float(sum(row['bytes'] for row in self.record.files.values())) / 2 ** 20


def export_model(settings: ExportSettings) -> Exported:
    """Write a model as an engine, if it agrees with the model; progress goes to standard error.

    Raises:
        ExportError: If the format has no such precision, or the engine disagrees.
        ConversionError: If a package is missing, or the conversion fails.
        ArtefactError: If the folder holds something else, or cannot be written.
        CheckpointError: If the model cannot be loaded.
        EngineError: If the engine cannot run here.
    """
    started = time.perf_counter()
    require_possible(settings.kind, settings.precision)
    require_replaceable(settings.output)
    model, manifest = load_model(settings.model)
    frame = settings.size or manifest.input_size
    frames = export_frames(settings.frames, settings.depth_unit, size=frame,
                           modality=manifest.modalities[1],
                           calibrate=settings.precision == 'int8')
    folded = DeployGraph(fold(model), manifest.normalisation,
                         network_size(frame, manifest.input_size)).eval()
    trained = DeployGraph(Ensemble(model), manifest.normalisation, folded.size).eval()
    columns = (SpinnerColumn(), TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, \
            whole_folder(settings.output) as part:
        task = progress.add_task('starting', total=None)

        def step(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        record = EngineRecord(
            format=settings.kind, precision=settings.precision, frame_size=frame,
            network_size=folded.size, weights_sha256=manifest.weights_sha256,
            batch=settings.batch,
            settings=write_graph(
                part, folded, kind=settings.kind, precision=settings.precision, frame=frame,
                batch=settings.batch, step=step,
                calibration=[(one.rgb, one.x) for one in frames.calibration]),
            made_with=made_with(settings.kind, settings.precision))
        seal(part, record, manifest)  # whole, so that it is checked as it will be loaded
        step('checking it against the model', 0, len(frames.checked) + len(frames.noise))
        measured = _measured(part, RUNTIMES[settings.kind], trained, settings.batch,
                             {frames.source: frames.checked, 'random pixels': frames.noise},
                             progress, task)
        _require_agreement(settings, measured)
        record = seal(part, dataclasses.replace(record, agreement={
            name: dataclasses.asdict(row) for name, row in measured.items()}), manifest)
        progress.update(task, description='done', completed=1, total=1)
    return Exported(settings.output, record, measured, time.perf_counter() - started)


def _measured(folder: Path, runtime: str, trained: DeployGraph, batch: int,
              groups: dict[str, list[Frame]], progress: Progress, task: object
              ) -> dict[str, Agreement]:
    """Return how the engine in a folder agrees with the trained network on groups of frames."""
    engine = load_engine(folder, runtime)
    try:
        return {name: measure(trained, engine, frames, batch=batch,
                              done=lambda: progress.advance(task))  # type: ignore[arg-type]
                for name, frames in groups.items()}
    finally:
        engine.close()


def _require_agreement(settings: ExportSettings, measured: dict[str, Agreement]) -> None:
    """Refuse an engine whose labels are not the model's.

    Raises:
        ExportError: If it gives other labels to more pixels than allowed, or no finite scores.
    """
    floor = floor_of(settings.precision) if settings.allowed is None else 1 - settings.allowed
    for name, row in measured.items():
        if row.agreement >= floor and row.score_difference < float('inf'):
            continue
        raise ExportError(
            f'not written: on {name} the {settings.precision} engine gives '
            f'{row.agreement:.3%} of the pixels the label of the model, at least {floor:.1%} are '
            f'wanted (largest difference of a score {row.score_difference:.3g}, scores up to '
            f'{row.score_range:.3g}); {_remedy(settings)}, or allow it with '
            f'--allow-disagreement {_percent(1 - row.agreement):g}')


def _remedy(settings: ExportSettings) -> str:
    if settings.precision == 'fp32':
        return 'this is a fault of diffpixel or of the runtime: report it'
    if settings.precision == 'int8' and settings.frames is None:
        return 'calibrate it on frames of your camera (--frames DIR), use a higher precision'
    return 'use a higher precision'


def _percent(share: float) -> float:
    """Return a share as percent, rounded up so that it is enough."""
    return float(-(-share * 1000 // 1)) / 10


