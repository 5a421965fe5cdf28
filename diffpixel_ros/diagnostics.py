# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node counts and times, and how that becomes a message on `/diagnostics`.

Keys: `colour_in depth_in pairs alone frames_out in_flight resets`, `drops.<cause>`,
`rate_hz.<colour|depth|out>`, `latency_ms.<stage>.<p50|p95>`, `last_error`, and the node's own facts
(model, engine, precision, device, memory, topics and QoS, pairing gap, alignment, label_info).

What is segmented is a pair or, where depth is missing, a colour image alone. At any moment

    pairs + alone = frames_out + in_flight + the drops that end either (`PAIR_CAUSES`).
"""

import importlib
import importlib.util
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

STATUS_NAME = 'segmentation'
# A message is lost before it has a partner, or what was to be segmented is lost after.
MESSAGE_CAUSES = ('bad_encoding', 'bad_size', 'bad_data', 'bad_camera_info', 'unpaired', 'overflow',
                  'reset', 'duplicate', 'no_depth', 'transport_lost', 'callback_error')
PAIR_CAUSES = ('rate_limited', 'unaligned', 'superseded', 'size_mismatch', 'stale',
               'decode_error', 'inference_error', 'publish_error', 'discarded')
# A person should look: all but the drops that belong to normal running.
FAULTS = ('bad_encoding', 'bad_size', 'bad_data', 'bad_camera_info', 'callback_error', 'unaligned',
          'size_mismatch', 'decode_error', 'inference_error', 'publish_error')
# age: capture to start of decoding; queue: waiting for the frame before to end; network and tail:
# inside the segmenter; total: arrival of the later message to publication; own: total without
# queue, network and tail.
STAGES = ('age', 'queue', 'decode', 'network', 'tail', 'publish', 'own', 'total')
_COUNTS = ('colour_in', 'depth_in', 'pairs', 'alone', 'frames_out', 'resets')
# The percentiles look back over so many frames, but not so far that a slow model's start, or a
# hiccup, would be held against it for minutes.
_WINDOW = 300
_WINDOW_S = 30.0
_MIB = 2 ** 20
_LONGEST = 500  # characters of an error that are shown: it may quote a hostile message
_LEVELS = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)


@dataclass(frozen=True)
class Report:
    """One state of health: OK, WARN or ERROR, one line for a person, and all figures."""

    level: bytes
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class _Snapshot:
    """The statistics at one moment; `new...` is what came since the report before."""

    now_s: float
    counts: Counter[str]
    drops: Counter[str]
    new: Counter[str]
    new_drops: Counter[str]
    seconds: float
    last_s: Mapping[str, float]
    errors: Mapping[str, tuple[float, str]]
    frames: Sequence[Mapping[str, float]]

    def error(self, causes: Collection[str], since_s: float = -np.inf) -> str:
        """The newest error under some causes; empty if none came since."""
        found = [self.errors[cause] for cause in causes if cause in self.errors]
        return max((item for item in found if item[0] >= since_s), default=(0.0, ''))[1]

    def percentile(self, stage: str, percent: int) -> float | None:
        """Milliseconds of a stage over the recent frames; None without any."""
        times = [frame[stage] for frame in self.frames if stage in frame]
        return float(np.percentile(times, percent)) if times else None

    def seconds_since(self, name: str, start_s: float) -> float:
        """How long nothing was counted under a name, looking back no further than `start_s`."""
        return self.now_s - max(start_s, self.last_s.get(name, start_s))


class Statistics:
    """Counters and latencies of one node, safe to feed from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._frames: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=_WINDOW)
        self._errors: dict[str, tuple[float, str]] = {}  # by cause: when, and what it said
        self._last_s: dict[str, float] = {}  # when each count last rose
        self._reported_s = time.monotonic()
        self._reported_counts: Counter[str] = Counter()
        self._reported_drops: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Add to `colour_in`, `depth_in`, `pairs`, `alone` or `resets`.

        What goes to the worker is counted as `pairs` or `alone` before it goes there.
        """
        assert name in _COUNTS, name
        with self._lock:
            self._counts[name] += number
            self._last_s[name] = time.monotonic()

    def drop(self, cause: str, number: int = 1, *, error: str = '') -> None:
        """Add to the drops of a cause; keep its message as the last error."""
        assert cause in MESSAGE_CAUSES or cause in PAIR_CAUSES, cause
        with self._lock:
            self._drops[cause] += number
            if error:
                self._errors[cause] = time.monotonic(), error

    def frame_out(self, milliseconds: Mapping[str, float]) -> None:
        """Count a published frame with its milliseconds by stage."""
        now_s = time.monotonic()
        with self._lock:
            self._counts['frames_out'] += 1
            self._last_s['frames_out'] = now_s
            self._frames.append((now_s, dict(milliseconds)))
            while self._frames[0][0] < now_s - _WINDOW_S:
                self._frames.popleft()

    def reset(self) -> None:
        """Start all counts and latencies anew; what is in flight counts as a pair to come out."""
        with self._lock:
            in_flight = _in_flight(self._counts, self._drops)
            self._counts, self._drops = Counter(pairs=in_flight), Counter()
            self._reported_counts, self._reported_drops = self._counts.copy(), Counter()
            self._frames.clear()
            self._errors.clear()

    def report(self, *, problem: str, active_since_s: float | None, stale_timeout_s: float,
               facts: Mapping[str, str], enabled: bool = True, latency_warn_ms: float = 0.0,
               latency_error_ms: float = 0.0, unaligned: str = '',
               warnings: Sequence[str] = ()) -> Report:
        """Return the state of health, with rates since the report before.

        Args:
            problem: Why the node cannot work at all; empty if it can.
            active_since_s: `time.monotonic()` since when frames are due, which is that of the
                activation or of a later `~/enable`; None while not active.
            stale_timeout_s: ERROR when active without output for longer.
            facts: Further keys and values, shown as they are.
            enabled: False after `~/enable` with false; then nothing is due.
            latency_warn_ms: WARN when the 95th percentile of `total` is above; 0: never.
            latency_error_ms: ERROR, likewise.
            unaligned: Why depth does not fit colour by their camera_infos; empty if it does.
            warnings: Whatever else a person should know, such as a fallback to the CPU.
        """
        state = self._snapshot()
        values = _values(state) | dict(facts)
        if problem:
            return Report(DiagnosticStatus.ERROR, problem, values)
        if not enabled:
            return Report(DiagnosticStatus.OK, 'disabled', values)
        findings = [(DiagnosticStatus.WARN, text) for text in warnings]
        well = 'not active'
        if active_since_s is not None:
            well = f'{state.new["frames_out"] / state.seconds:.1f} frames/s'
            stale = _stale(state, active_since_s, stale_timeout_s, unaligned)
            if stale:
                findings.insert(0, (DiagnosticStatus.ERROR, stale))
            else:
                findings += _slow(state, latency_warn_ms, latency_error_ms)
                findings += [(DiagnosticStatus.WARN, unaligned)] if unaligned else []
            findings += _losses(state)
        if not findings:
            return Report(DiagnosticStatus.OK, well, values)
        findings.sort(key=lambda finding: -_LEVELS.index(finding[0]))  # stable: worst first
        return Report(findings[0][0], '; '.join(text for _, text in findings), values)

    def _snapshot(self) -> _Snapshot:
        with self._lock:
            now_s = time.monotonic()
            state = _Snapshot(
                now_s=now_s, counts=self._counts.copy(), drops=self._drops.copy(),
                new=self._counts - self._reported_counts,
                new_drops=self._drops - self._reported_drops,
                seconds=max(now_s - self._reported_s, 1e-9), last_s=self._last_s.copy(),
                errors=self._errors.copy(),
                frames=[frame for _, frame in self._frames])
            self._reported_s = now_s
            self._reported_counts, self._reported_drops = state.counts.copy(), state.drops.copy()
        return state


def _in_flight(counts: Mapping[str, int], drops: Mapping[str, int]) -> int:
    return (counts['pairs'] + counts['alone'] - counts['frames_out']
            - sum(drops[cause] for cause in PAIR_CAUSES))


def _values(state: _Snapshot) -> dict[str, str]:
    values = {name: str(state.counts[name]) for name in _COUNTS}
    values['in_flight'] = str(_in_flight(state.counts, state.drops))
    values |= {f'drops.{cause}': str(state.drops[cause]) for cause in MESSAGE_CAUSES + PAIR_CAUSES}
    values |= {f'rate_hz.{name}': f'{state.new[count] / state.seconds:.2f}' for name, count in (
        ('colour', 'colour_in'), ('depth', 'depth_in'), ('out', 'frames_out'))}
    for stage in STAGES:
        for percent in (50, 95):
            figure = state.percentile(stage, percent)
            values[f'latency_ms.{stage}.p{percent}'] = '' if figure is None else f'{figure:.2f}'
    values['last_error'] = state.error(MESSAGE_CAUSES + PAIR_CAUSES)
    return values


def _stale(state: _Snapshot, active_since_s: float, stale_timeout_s: float, unaligned: str) -> str:
    """Return since when nothing came out and why; empty if something did in time."""
    silent_s = state.seconds_since('frames_out', active_since_s)
    if silent_s <= stale_timeout_s:
        return ''

    def none_came(name: str) -> bool:
        return state.seconds_since(name, active_since_s) > stale_timeout_s

    streams = [name for name in ('colour', 'depth') if none_came(f'{name}_in')
               # Where colour is segmented alone, missing depth is not what holds it up.
               and (name == 'colour' or none_came('alone'))]
    error = state.error(MESSAGE_CAUSES + PAIR_CAUSES, since_s=state.now_s - silent_s)
    if streams:
        why = (f'no {" and no ".join(streams)} images arrive; check the camera, the topic names '
               'and the QoS below')
    elif unaligned or error:
        why = unaligned or error
    elif none_came('pairs') and none_came('alone'):
        why = ('colour and depth arrive but no two stamps lie within sync_slop; synchronise the '
               'camera or raise sync_slop')
    else:
        why = 'pairs arrive, the model has not answered yet'
    return f'no output for {silent_s:.1f} s: {why}'


def _slow(state: _Snapshot, warn_ms: float, error_ms: float) -> list[tuple[bytes, str]]:
    late_ms = state.percentile('total', 95)
    for level, name, limit_ms in ((DiagnosticStatus.ERROR, 'latency_error_ms', error_ms),
                                  (DiagnosticStatus.WARN, 'latency_warn_ms', warn_ms)):
        if late_ms is not None and limit_ms and late_ms > limit_ms:
            return [(level, f'slow: p95 latency is {late_ms:.0f} ms, {name} is {limit_ms:g} ms')]
    return []


def _losses(state: _Snapshot) -> list[tuple[bytes, str]]:
    texts = []
    if lost := state.new_drops['transport_lost']:
        share = lost / (lost + state.new['colour_in'] + state.new['depth_in'])
        texts.append(f'{lost} messages ({100 * share:.0f} %) lost in transport; start camera and '
                     'node with the shared-memory profile config/fastdds.xml')
    if faults := sum(state.new_drops[cause] for cause in FAULTS):
        texts.append(f'{faults} refused: {state.error(FAULTS)}')
    if alone := state.new['alone']:
        texts.append(f'running without depth: {alone} colour images alone')
    return [(DiagnosticStatus.WARN, text) for text in texts]


def memory_facts(device: str) -> dict[str, str]:
    """Return the memory in use, for diagnostics.

    Args:
        device: Where the model runs: `cpu`, `cuda` or `cuda:N`.

    Returns:
        `memory_mib`, this process' resident memory, where Linux tells; on a GPU also
        `gpu_memory_mib`, what PyTorch has in use and in reserve, and what the whole GPU has.

    Source: /proc/self/statm, second field, in pages: proc_pid_statm(5).
    """
    facts = {}
    statm = Path('/proc/self/statm')
    if statm.exists():
        pages = int(statm.read_text().split()[1])
        facts['memory_mib'] = f'{pages * os.sysconf("SC_PAGE_SIZE") / _MIB:.1f}'
    if device.startswith('cuda'):
        import torch  # whoever has a model on a GPU has imported it already

        used, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        free, total = torch.cuda.mem_get_info(device)
        facts['gpu_memory_mib'] = (
            f'{used / _MIB:.1f} used, {reserved / _MIB:.1f} reserved by this process; '
            f'{(total - free) / _MIB:.0f} of {total / _MIB:.0f} on the GPU')
    return facts


def diagnostic_array(report: Report, *, name: str, hardware_id: str, stamp: Any) -> DiagnosticArray:
    """Return the message for a report."""
    status = DiagnosticStatus(level=report.level, name=name, message=report.message,
                              hardware_id=hardware_id, values=_key_values(report))
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


class DiagnosticsPublisher(Protocol):
    """Publishes reports on `/diagnostics`."""

    def publish(self, report: Report, *, hardware_id: str) -> None:
        """Publish a report at once; the caller's timer sets the pace."""


def publisher_for(node: Node, *, period_s: float) -> DiagnosticsPublisher:
    """Return a publisher of diagnostics: diagnostic_updater's where that is installed.

    Both publish the same status under the same name, `/namespace/node: segmentation`.

    Args:
        node: The node the reports are about.
        period_s: Seconds between two reports, which diagnostic_updater shows as a parameter.
    """
    if importlib.util.find_spec('diagnostic_updater') is None:
        return ArrayPublisher(node)
    return UpdaterPublisher(node, period_s=period_s)


class ArrayPublisher:
    """Publishes reports without diagnostic_updater.

    Args:
        node: The node the reports are about.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)

    def publish(self, report: Report, *, hardware_id: str) -> None:
        """Publish a report at once."""
        self._publisher.publish(diagnostic_array(
            report, name=f'{self._node.get_fully_qualified_name()}: {STATUS_NAME}',
            hardware_id=hardware_id, stamp=self._node.get_clock().now().to_msg()))


class UpdaterPublisher:
    """Publishes reports through `diagnostic_updater.Updater`.

    The updater's own timer is taken off it: it follows the ROS clock, which a paused bag stops,
    and changing its period adds a second timer beside the first.

    Args:
        node: The node the reports are about; it must allow parameters `diagnostic_updater.*`.
        period_s: Seconds between two reports.

    Source: diagnostic_updater/_diagnostic_updater.py, ros/diagnostics@431926f6.
    """

    def __init__(self, node: Node, *, period_s: float) -> None:
        period = 'diagnostic_updater.period'
        if node.has_parameter(period):
            # Declared from the command line; the updater insists on declaring it, and takes the
            # value from there again.
            node.undeclare_parameter(period)
        self._updater = importlib.import_module('diagnostic_updater').Updater(node, period_s)
        node.destroy_timer(self._updater.timer)
        self._updater.node_name = node.get_fully_qualified_name()
        self._report = Report(DiagnosticStatus.OK, 'starting', {})
        self._updater.add(STATUS_NAME, self._fill)

    def publish(self, report: Report, *, hardware_id: str) -> None:
        """Publish a report at once."""
        self._report = report
        self._updater.setHardwareID(hardware_id)
        self._updater.force_update()

    def _fill(self, status: DiagnosticStatus) -> DiagnosticStatus:
        status.level, status.message = self._report.level, self._report.message
        status.values = _key_values(self._report)
        return status


def _key_values(report: Report) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in report.values.items()]
