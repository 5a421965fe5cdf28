# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What a demo came to: every image accounted for, how long it took, whether all is right."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffpixel_core.labels import LabelSpace
from diffpixel_core.metrics import ConfusionMatrix
from diffpixel_core.report import Check
from diffpixel_ros.client.run_record import Run, count_drops, latencies_ms
from diffpixel_ros.diagnostics import MESSAGE_CAUSES, PAIR_CAUSES

# Counted by the node, but no place where a message ends.
_NO_END = ('transport_lost', 'callback_error', 'bad_camera_info')

_Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One frame to look at: input, output and truth, all of one size."""

    stamp_ns: int
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    prediction: _Labels
    truth: _Labels | None
    confidence: _Labels | None


@dataclass
class Findings:
    """What the outputs turned out to be.

    Attributes:
        label_space: What the node says it predicts.
        score: All scored pixels; None without truth.
        scored: Number of frames in `score`.
        pictures: The frames asked for, oldest first.
        checks: One per property that every output must have.
    """

    label_space: LabelSpace
    score: ConfusionMatrix | None = None
    scored: int = 0
    pictures: list[Picture] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True)
class DemoResult:
    """What came out of a demo.

    Attributes:
        bag: The bag that was played.
        model: Path or name of the model.
        network: Name of the network in it.
        label_space: Labels it predicts.
        engine: Runtime the node used; `device` and `precision` likewise.
        rate: Speed of the replay; 1 = as recorded.
        seconds: How long the replay took.
        late_ms_p95: How late the player itself was, 95th percentile.
        frames_in: Colour images published.
        pairs: Pairs the node made of them.
        frames_out: Label images received.
        drops: Messages and pairs lost by cause; `unexplained` are those no counter knows of.
        latency_ms: `p50`, `p95`, `max`; None without outputs.
        miou: 0..1 over the classes true or predicted somewhere; None without truth.
        pixel_accuracy: 0..1; None without truth.
        per_class: Intersection over union by class name, None where there is nothing to score.
        scored_frames: Outputs that had a truth.
        checks: What was verified.
        files: Path of each file written.
    """

    bag: str
    model: str
    network: str
    label_space: str
    engine: str
    device: str
    precision: str
    rate: float
    seconds: float
    late_ms_p95: float
    frames_in: int
    pairs: int
    frames_out: int
    drops: dict[str, int]
    latency_ms: dict[str, float | None]
    miou: float | None
    pixel_accuracy: float | None
    per_class: dict[str, float | None]
    scored_frames: int
    checks: tuple[Check, ...]
    files: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain types."""
        return dataclasses.asdict(self) | {'passed': self.passed}


def judge(run: Run, findings: Findings, *, bag: Path, model: str | Path, rate: float,
          files: Mapping[str, str]) -> DemoResult:
    """Return the figures of a run."""
    drops = count_drops(run)
    late = list(latencies_ms(run).values())
    figures = findings.score.as_dict(findings.label_space.names) if findings.score else None
    return DemoResult(
        bag=str(bag), model=str(model), network=run.counters.get('network', ''),
        label_space=findings.label_space.name, engine=run.counters.get('backend', ''),
        device=run.counters.get('device', ''), precision=run.counters.get('precision', ''),
        rate=rate, seconds=(run.sent[-1].sent_ns - run.sent[0].sent_ns) / 1e9,
        late_ms_p95=float(np.percentile([message.late_ns for message in run.sent], 95)) / 1e6,
        frames_in=run.frames_in, pairs=run.count('pairs'), frames_out=len(run.outputs),
        drops=drops,
        latency_ms={'p50': float(np.percentile(late, 50)) if late else None,
                    'p95': float(np.percentile(late, 95)) if late else None,
                    'max': max(late) if late else None},
        miou=figures['miou'] if figures else None,
        pixel_accuracy=figures['pixel_accuracy'] if figures else None,
        per_class=figures['iou'] if figures else {}, scored_frames=findings.scored,
        checks=(*findings.checks, *account(run, drops)), files=dict(files))


def account(run: Run, drops: Mapping[str, int]) -> list[Check]:
    """Return whether all that went in is accounted for, and whether the node ended well."""
    pairs, out = run.count('pairs'), len(run.outputs)
    arrived = run.count('colour_in') + run.count('depth_in')
    waiting, alone = run.count('waiting'), run.count('alone')
    refused = sum(drops[cause] for cause in MESSAGE_CAUSES if cause not in _NO_END)
    parts = [f'{out} out', *(f'{drops[cause]} {cause.replace("_", " ")}' for cause in (
        *PAIR_CAUSES, 'unfinished', 'output_lost', 'unexplained') if drops[cause])]
    return [
        Check('every pair came out or is counted under a cause',
              drops['unexplained'] == 0 and drops['unfinished'] == 0,
              f'{pairs} pairs = {" + ".join(parts)}'),
        Check('every image the node received was paired or is counted under a cause',
              arrived == 2 * pairs + alone + refused + waiting,
              f'{arrived} images = 2 × {pairs} paired + {alone} alone + {refused} dropped + '
              f'{waiting} waiting'),
        Check('every output the node published was received',
              drops['output_lost'] == 0 and run.lost == 0,
              f'{run.count("frames_out")} published, {out} received'),
        Check('the node ended cleanly when asked to', run.exit_code == 0,
              f'exit code {run.exit_code}, {run.stop_s:.1f} s after SIGINT'),
    ]
