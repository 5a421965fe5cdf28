# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node counts and times, and how that becomes a message on `/diagnostics`.

Keys: `colour_in depth_in pairs frames_out in_flight resets`, `drops.<cause>`,
`rate_hz.<colour|depth|out>`, `latency_ms.<stage>.<p50|p95>`, `last_error`, and the node's own facts
(model, engine, topics, QoS). At any moment

    pairs = frames_out + in_flight + the drops that end a pair (`PAIR_CAUSES`).
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

# A message is lost before it has a partner, or the pair is lost after.
MESSAGE_CAUSES = ('bad_encoding', 'bad_size', 'bad_data', 'unpaired', 'overflow', 'reset',
                  'duplicate', 'transport_lost', 'callback_error')
PAIR_CAUSES = ('superseded', 'size_mismatch', 'stale', 'decode_error', 'inference_error',
               'publish_error', 'discarded')
# A person should look: all but the drops that belong to normal running.
FAULTS = ('bad_encoding', 'bad_size', 'bad_data', 'callback_error', 'size_mismatch',
          'decode_error', 'inference_error', 'publish_error')
# age: capture to start of decoding; total: arrival of the later message to publication.
STAGES = ('age', 'decode', 'infer', 'publish', 'total')
_WINDOW = 300  # frames the percentiles look back over


@dataclass(frozen=True)
class Report:
    """One state of health: OK, WARN or ERROR, one line for a person, and all figures."""

    level: bytes
    message: str
    values: dict[str, str]


class Statistics:
    """Counters and latencies of one node, safe to feed from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._stages: dict[str, deque[float]] = {name: deque(maxlen=_WINDOW) for name in STAGES}
        self._last_error = ''
        self._last_output_s = -np.inf
        self._reported_s = time.monotonic()
        self._reported_counts: Counter[str] = Counter()
        self._reported_drops: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Add to `colour_in`, `depth_in`, `pairs`, or `resets`."""
        with self._lock:
            self._counts[name] += number

    def drop(self, cause: str, number: int = 1, *, error: str = '') -> None:
        """Add to the drops of a cause; keep its message as the last error."""
        assert cause in MESSAGE_CAUSES or cause in PAIR_CAUSES, cause
        with self._lock:
            self._drops[cause] += number
            self._last_error = error or self._last_error

    def frame_out(self, milliseconds: Mapping[str, float]) -> None:
        """Count a published frame with its milliseconds by stage."""
        with self._lock:
            self._counts['frames_out'] += 1
            self._last_output_s = time.monotonic()
            for stage, duration in milliseconds.items():
                self._stages[stage].append(duration)

    def report(self, *, problem: str, active_since_s: float | None, stale_timeout_s: float,
               facts: Mapping[str, str]) -> Report:
        """Return the state of health, with rates since the report before.

        Args:
            problem: Why the node cannot work at all; empty if it can.
            active_since_s: `time.monotonic()` of the activation; None while not active.
            stale_timeout_s: ERROR when active without output for longer.
            facts: Further keys and values, shown as they are.
        """
        with self._lock:
            now = time.monotonic()
            elapsed = max(now - self._reported_s, 1e-9)
            new = self._counts - self._reported_counts
            new_drops = self._drops - self._reported_drops
            self._reported_s = now
            self._reported_counts, self._reported_drops = self._counts.copy(), self._drops.copy()
            counts, drops, last_error = self._counts.copy(), self._drops.copy(), self._last_error
            latencies = {name: list(window) for name, window in self._stages.items()}
            last_output_s = self._last_output_s
        ended = counts['frames_out'] + sum(drops[cause] for cause in PAIR_CAUSES)
        rates = {'colour': new['colour_in'] / elapsed, 'depth': new['depth_in'] / elapsed,
                 'out': new['frames_out'] / elapsed}
        values = {name: str(counts[name])
                  for name in ('colour_in', 'depth_in', 'pairs', 'frames_out', 'resets')}
        values['in_flight'] = str(counts['pairs'] - ended)
        values |= {f'drops.{cause}': str(drops[cause]) for cause in MESSAGE_CAUSES + PAIR_CAUSES}
        values |= {f'rate_hz.{name}': f'{rate:.2f}' for name, rate in rates.items()}
        for stage, window in latencies.items():
            for percent in (50, 95):
                figure = f'{np.percentile(window, percent):.2f}' if window else ''
                values[f'latency_ms.{stage}.p{percent}'] = figure
        values['last_error'] = last_error
        values |= facts
        if problem:
            return Report(DiagnosticStatus.ERROR, problem, values)
        if active_since_s is None:
            return Report(DiagnosticStatus.OK, 'not active', values)
        silent_s = now - max(active_since_s, last_output_s)
        if silent_s > stale_timeout_s:
            text = f'no output for {silent_s:.1f} s: {_why_silent(new, last_error)}'
            return Report(DiagnosticStatus.ERROR, text, values)
        if new_drops['transport_lost']:
            text = (f'{new_drops["transport_lost"]} messages lost in transport; start camera and '
                    'node with the shared-memory profile config/fastdds.xml')
            return Report(DiagnosticStatus.WARN, text, values)
        if faults := sum(new_drops[cause] for cause in FAULTS):
            return Report(DiagnosticStatus.WARN, f'{faults} refused: {last_error}', values)
        return Report(DiagnosticStatus.OK, f'{rates["out"]:.1f} frames/s', values)


def _why_silent(new: Mapping[str, int], last_error: str) -> str:
    silent = [name for name in ('colour', 'depth') if not new.get(f'{name}_in')]
    if silent:
        return (f'no {" and no ".join(silent)} images arrive; check the camera, the topic names '
                'and the QoS below')
    if not new.get('pairs'):
        return last_error or ('colour and depth arrive but no two stamps lie within sync_slop; '
                              'synchronise the camera or raise sync_slop')
    return last_error or 'pairs arrive, the model has not answered yet'


def diagnostic_array(report: Report, *, name: str, hardware_id: str, stamp: Any) -> DiagnosticArray:
    """Return the message for a report."""
    status = DiagnosticStatus(level=report.level, name=name, message=report.message,
                              hardware_id=hardware_id)
    status.values = [KeyValue(key=key, value=value) for key, value in report.values.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
