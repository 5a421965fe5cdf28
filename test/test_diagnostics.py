# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What the node says about itself: every figure adds up, every verdict has its reason."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402

from diffpixel_ros import diagnostics  # noqa: E402
from diffpixel_ros.client.node_process import private_domain  # noqa: E402
from diffpixel_ros.diagnostics import (  # noqa: E402
    FAULTS,
    MESSAGE_CAUSES,
    PAIR_CAUSES,
    STAGES,
    ArrayPublisher,
    DiagnosticsPublisher,
    Report,
    Statistics,
    UpdaterPublisher,
    diagnostic_array,
    memory_facts,
    publisher_for,
)

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SHORT = 0.1  # s, a timeout that a test can wait for


def report(statistics: Statistics, **settings: Any) -> Report:
    """Ask for a report; a node that has been active for a minute, unless told otherwise."""
    return statistics.report(**{'problem': '', 'active_since_s': time.monotonic() - 60.0,
                                'stale_timeout_s': 2.0, 'facts': {}} | settings)


def frame(total: float = 10.0) -> dict[str, float]:
    return dict.fromkeys(STAGES, 1.0) | {'total': total}


def running(frames: int = 1, total: float = 10.0) -> Statistics:
    """Statistics of a node to which all goes well."""
    statistics = Statistics()
    for _ in range(frames):
        for name in ('colour_in', 'depth_in', 'pairs'):
            statistics.count(name)
        statistics.frame_out(frame(total))
    return statistics


def ended(values: dict[str, str]) -> int:
    return int(values['frames_out']) + sum(int(values[f'drops.{cause}']) for cause in PAIR_CAUSES)


# Figures.

def test_causes_are_told_apart_and_faults_are_among_them() -> None:
    assert len(set(MESSAGE_CAUSES + PAIR_CAUSES)) == len(MESSAGE_CAUSES) + len(PAIR_CAUSES)
    assert set(FAULTS) < set(MESSAGE_CAUSES + PAIR_CAUSES)


def test_every_count_and_cause_has_its_key_from_the_start() -> None:
    values = report(Statistics()).values
    for key in ('colour_in', 'depth_in', 'pairs', 'alone', 'frames_out', 'in_flight', 'resets',
                *(f'drops.{cause}' for cause in MESSAGE_CAUSES + PAIR_CAUSES)):
        assert values[key] == '0', key
    for key in (f'latency_ms.{stage}.p{percent}' for stage in STAGES for percent in (50, 95)):
        assert values[key] == ''
    assert values['last_error'] == ''
    assert {f'rate_hz.{name}' for name in ('colour', 'depth', 'out')} < values.keys()


def test_facts_are_shown_as_they_are() -> None:
    assert report(Statistics(), facts={'model': 'rooms_t'}).values['model'] == 'rooms_t'


def test_what_is_segmented_is_in_exactly_one_place_at_any_moment() -> None:
    statistics = Statistics()
    bad: list[dict[str, str]] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(2000):
            statistics.count(rng.choice(['pairs', 'alone']))
            if rng.random() < 0.7:
                statistics.frame_out(frame())
            else:
                statistics.drop(rng.choice(PAIR_CAUSES))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        values = report(statistics).values
        handed_over = int(values['pairs']) + int(values['alone'])
        if handed_over != ended(values) + int(values['in_flight']) \
                or not 0 <= int(values['in_flight']) <= len(threads):
            bad.append(values)
    assert not bad
    values = report(statistics).values
    assert values['in_flight'] == '0'
    assert int(values['pairs']) + int(values['alone']) == ended(values) == 8000
    assert int(values['pairs']) > 3000 < int(values['frames_out'])


def test_rates_are_those_since_the_report_before() -> None:
    statistics = Statistics()
    begun = time.monotonic()
    report(statistics)
    statistics.count('colour_in', 60)
    statistics.count('depth_in', 30)
    time.sleep(0.1)
    values = report(statistics).values
    seconds = time.monotonic() - begun
    assert 60 / seconds <= float(values['rate_hz.colour']) + 0.01
    assert float(values['rate_hz.colour']) <= 60 / 0.1
    assert float(values['rate_hz.depth']) == pytest.approx(
        float(values['rate_hz.colour']) / 2, abs=0.02)
    assert report(statistics).values['rate_hz.colour'] == '0.00'


def test_percentiles_are_those_of_the_recent_frames() -> None:
    statistics = Statistics()
    times = np.random.default_rng(0).gamma(2.0, 20.0, 400)
    for milliseconds in times:
        statistics.frame_out(frame(float(milliseconds)))
    values = report(statistics).values
    for percent in (50, 95):
        expected = f'{np.percentile(times[-300:], percent):.2f}'
        assert values[f'latency_ms.total.p{percent}'] == expected
        assert values[f'latency_ms.own.p{percent}'] == '1.00'


def test_a_hiccup_is_forgotten_after_a_while_even_by_a_slow_model(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, '_WINDOW_S', SHORT)
    statistics = running(total=5000.0)
    assert report(statistics).values['latency_ms.total.p95'] == '5000.00'
    time.sleep(2 * SHORT)
    assert report(statistics).values['latency_ms.total.p95'] == '5000.00'  # still the last one
    statistics.frame_out(frame(10.0))
    assert report(statistics).values['latency_ms.total.p95'] == '10.00'


def test_reset_starts_anew_and_still_adds_up() -> None:
    statistics = running(3)
    statistics.count('pairs', 2)  # in flight
    statistics.drop('unpaired', 4)
    statistics.drop('bad_size', error='an image is torn')
    statistics.reset()
    values = report(statistics).values
    assert (values['pairs'], values['in_flight'], values['frames_out']) == ('2', '2', '0')
    assert (values['colour_in'], values['drops.unpaired'], values['last_error']) == ('0', '0', '')
    assert values['latency_ms.total.p50'] == ''
    statistics.frame_out(frame())
    statistics.drop('superseded')
    values = report(statistics).values
    assert (values['pairs'], values['in_flight']) == ('2', '0')


def test_rates_after_a_reset_are_those_since_the_reset() -> None:
    statistics = running(10)
    report(statistics)
    statistics.reset()
    statistics.count('colour_in', 5)
    statistics.drop('transport_lost', 5)
    result = report(statistics)
    assert float(result.values['rate_hz.colour']) > 0
    assert '5 messages (50 %) lost' in result.message


def test_reset_does_not_make_a_healthy_node_look_stale() -> None:
    statistics = running()
    statistics.reset()
    assert report(statistics).level == OK


# Verdicts.

def test_a_node_that_works_says_how_fast() -> None:
    result = report(running(5))
    assert result.level == OK
    assert result.message.endswith(' frames/s')


def test_not_active_and_disabled_are_no_faults() -> None:
    inactive = report(Statistics(), active_since_s=None)
    assert (inactive.level, inactive.message) == (OK, 'not active')
    for since in (None, 0.0):
        disabled = report(Statistics(), enabled=False, active_since_s=since)
        assert (disabled.level, disabled.message) == (OK, 'disabled')


def test_a_problem_is_the_whole_message() -> None:
    for enabled in (True, False):
        result = report(Statistics(), problem='configure failed: no model', enabled=enabled)
        assert (result.level, result.message) == (ERROR, 'configure failed: no model')


def test_just_activated_is_not_stale_though_the_last_frame_is_long_ago() -> None:
    assert report(Statistics(), active_since_s=time.monotonic()).level == OK
    statistics = running()
    time.sleep(2 * SHORT)
    assert report(statistics, stale_timeout_s=SHORT).level == ERROR
    assert report(statistics, stale_timeout_s=SHORT, active_since_s=time.monotonic()).level == OK


@pytest.mark.parametrize(('arrives', 'reason'), [
    ((), 'no colour and no depth images arrive'), (('depth_in',), ': no colour images arrive'),
    (('colour_in',), ': no depth images arrive'),
    (('colour_in', 'depth_in'), 'no two stamps lie within sync_slop'),
    (('colour_in', 'depth_in', 'pairs'), 'the model has not answered yet'),
    (('colour_in', 'alone'), 'the model has not answered yet')])
def test_stale_says_which_link_is_broken(arrives: tuple[str, ...], reason: str) -> None:
    statistics = Statistics()
    for name in arrives:
        statistics.count(name)
    result = report(statistics)
    assert result.level == ERROR
    assert result.message.startswith('no output for 60.')
    assert reason in result.message


def test_a_stream_that_stops_is_named_though_it_came_before() -> None:
    statistics = running()
    time.sleep(2 * SHORT)
    statistics.count('colour_in')
    statistics.drop('overflow')
    result = report(statistics, stale_timeout_s=SHORT)
    assert result.level == ERROR
    assert ': no depth images arrive' in result.message


def test_stale_because_depth_is_not_aligned_says_so() -> None:
    statistics = Statistics()
    for name in ('colour_in', 'depth_in', 'pairs'):
        statistics.count(name)
    statistics.drop('unaligned', error='refused')
    result = report(statistics, unaligned='depth is 848x480 but colour is 640x480; align it')
    assert result.level == ERROR
    assert 'depth is 848x480 but colour is 640x480; align it' in result.message


def test_stale_names_the_last_error_but_no_older_one() -> None:
    statistics = Statistics()
    statistics.drop('bad_size', error='an old story')
    for name in ('colour_in', 'depth_in', 'pairs'):
        statistics.count(name)
    statistics.drop('inference_error', error='the GPU is gone')
    assert 'the GPU is gone' in report(statistics).message
    statistics.count('pairs')
    statistics.frame_out(frame())
    time.sleep(2 * SHORT)
    for name in ('colour_in', 'depth_in', 'pairs'):
        statistics.count(name)
    result = report(statistics, stale_timeout_s=SHORT)
    assert result.level == ERROR
    assert 'the model has not answered yet' in result.message


@pytest.mark.parametrize(('p95', 'warn', 'error', 'level', 'limit'), [
    (50, 0, 0, OK, ''), (50, 60, 70, OK, ''), (50, 40, 60, WARN, 'latency_warn_ms is 40 ms'),
    (50, 30, 40, ERROR, 'latency_error_ms is 40 ms'),
    (50, 0, 40, ERROR, 'latency_error_ms is 40 ms'), (50, 50, 50, OK, '')])
def test_latency_beyond_its_limits_is_told(p95: float, warn: float, error: float, level: bytes,
                                           limit: str) -> None:
    result = report(running(10, p95), latency_warn_ms=warn, latency_error_ms=error)
    assert result.level == level
    if limit:
        assert result.message == f'slow: p95 latency is 50 ms, {limit}'


def test_latency_is_judged_by_the_slowest_of_twenty() -> None:
    statistics = running(90, 10.0)
    for _ in range(10):
        statistics.frame_out(frame(500.0))
    assert report(statistics, latency_warn_ms=100.0).level == WARN


def test_transport_loss_names_its_share_and_the_profile() -> None:
    statistics = running(10)
    statistics.drop('transport_lost', 5)
    result = report(statistics)
    assert result.level == WARN
    assert '5 messages (20 %) lost in transport' in result.message
    assert 'config/fastdds.xml' in result.message
    assert report(statistics).level == OK  # nothing lost since


@pytest.mark.parametrize('cause', FAULTS)
def test_refused_messages_are_told_with_the_last_error(cause: str) -> None:
    statistics = running()
    statistics.drop(cause, 2, error='the first reason')
    statistics.drop(cause, error='step is 3')
    statistics.drop('stale', error='something else')
    result = report(statistics)
    assert (result.level, result.message) == (WARN, '3 refused: step is 3')
    assert result.values['last_error'] == 'something else'
    assert report(statistics).level == OK


@pytest.mark.parametrize('cause', sorted({*MESSAGE_CAUSES, *PAIR_CAUSES} - {
    *FAULTS, 'transport_lost'}))
def test_drops_of_normal_running_alarm_nobody(cause: str) -> None:
    statistics = running()
    statistics.drop(cause, 3)
    assert report(statistics).level == OK
    assert report(statistics).values[f'drops.{cause}'] == '3'


def test_running_without_depth_is_told_while_it_lasts() -> None:
    statistics = running()
    statistics.count('alone', 3)
    result = report(statistics)
    assert (result.level, result.message) == (
        WARN, 'running without depth: 3 colour images alone')
    assert report(statistics).level == OK


def test_several_problems_are_all_told_worst_first() -> None:
    statistics = running(10, 80.0)
    statistics.drop('transport_lost', 1)
    statistics.drop('bad_data', error='torn')
    statistics.count('alone')
    result = report(statistics, latency_error_ms=50.0, unaligned='K differs',
                    warnings=['running on the CPU'])
    assert result.level == ERROR
    parts = result.message.split('; ')
    assert parts[0].startswith('slow: p95 latency is 80 ms')
    for text in ('running on the CPU', 'K differs', '1 refused: torn', 'running without depth'):
        assert any(part.startswith(text) for part in parts[1:]), text


def test_a_warning_shows_before_the_node_is_active() -> None:
    result = report(Statistics(), active_since_s=None, warnings=['running on the CPU'])
    assert (result.level, result.message) == (WARN, 'running on the CPU')


# Memory.

@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc of Linux')
def test_memory_is_what_this_process_has() -> None:
    before = float(memory_facts('cpu')['memory_mib'])
    ballast = np.ones((64, 2 ** 20), np.uint8)
    grown = float(memory_facts('cpu')['memory_mib']) - before
    assert 60 < grown < 80
    assert ballast.sum() == ballast.size
    status = Path('/proc/self/status').read_text()
    resident_kib = int(status.split('VmRSS:')[1].split()[0])
    assert float(memory_facts('cpu')['memory_mib']) == pytest.approx(resident_kib / 1024, rel=0.1)


def test_only_a_gpu_has_gpu_memory() -> None:
    assert 'gpu_memory_mib' not in memory_facts('cpu')


@pytest.mark.gpu
def test_gpu_memory_counts_what_was_taken() -> None:
    import torch

    def used() -> float:
        return float(memory_facts('cuda')['gpu_memory_mib'].split()[0])

    before = used()
    ballast = torch.ones(64 * 2 ** 20, dtype=torch.uint8, device='cuda')
    assert used() - before == pytest.approx(64, abs=1)
    assert len(ballast)


# Publishing.

class Listener:
    """A node with a publisher of diagnostics, and what arrives on /diagnostics."""

    def __init__(self, domain: int, *arguments: str) -> None:
        self._context = Context()
        self._context.init(args=[], domain_id=domain)
        self.node = LifecycleNode('under_test', namespace='robot', context=self._context,
                                  cli_args=['--ros-args', *arguments], use_global_arguments=False,
                                  automatically_declare_parameters_from_overrides=True)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.received: list[DiagnosticArray] = []
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self.received.append, 10)

    def status(self, publisher: DiagnosticsPublisher, result: Report) -> DiagnosticStatus:
        """Publish a report and return the status that arrives."""
        deadline = time.monotonic() + 20.0
        while self.node.count_subscribers('/diagnostics') == 0 and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
        while time.monotonic() < deadline:
            publisher.publish(result, hardware_id='rooms_t')
            self._executor.spin_once(timeout_sec=0.1)
            for message in self.received:
                # The updater also says that it starts; that carries no values.
                if len(message.status[0].values):
                    assert len(message.status) == 1
                    assert message.header.stamp.sec > 0
                    return message.status[0]
        raise AssertionError('nothing came on /diagnostics')

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=0.0)
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    with private_domain() as number:
        yield number


def as_tuple(status: DiagnosticStatus) -> tuple[Any, ...]:
    return (status.level, status.name, status.message, status.hardware_id,
            [(pair.key, pair.value) for pair in status.values])


RESULT = Report(WARN, '5 refused: torn', {'pairs': '3', 'last_error': 'torn', 'model': 'rooms_t'})
EXPECTED = (WARN, '/robot/under_test: segmentation', '5 refused: torn', 'rooms_t',
            [('pairs', '3'), ('last_error', 'torn'), ('model', 'rooms_t')])


def test_array_has_the_report_and_the_stamp() -> None:
    stamp = rclpy.time.Time(seconds=7).to_msg()
    message = diagnostic_array(RESULT, name='a: b', hardware_id='rooms_t', stamp=stamp)
    assert message.header.stamp.sec == 7
    assert as_tuple(message.status[0]) == (EXPECTED[0], 'a: b', *EXPECTED[2:])


def test_a_report_arrives_on_diagnostics(domain: int) -> None:
    listener = Listener(domain)
    assert as_tuple(listener.status(ArrayPublisher(listener.node), RESULT)) == EXPECTED
    listener.close()


@pytest.mark.parametrize('arguments', [(), ('-p', 'diagnostic_updater.period:=5.0')])
def test_updater_publishes_the_same_status(domain: int, arguments: tuple[str, ...]) -> None:
    pytest.importorskip('diagnostic_updater')
    listener = Listener(domain, *arguments)
    publisher = publisher_for(listener.node, period_s=0.5)
    assert isinstance(publisher, UpdaterPublisher)
    assert as_tuple(listener.status(publisher, RESULT)) == EXPECTED
    period = listener.node.get_parameter('diagnostic_updater.period').value
    assert period == (5.0 if arguments else 0.5)
    # The node's own timer sets the pace, on a clock that a paused bag does not stop.
    assert list(listener.node.timers) == []
    listener.close()


def test_without_diagnostic_updater_there_is_a_plain_array(domain: int) -> None:
    try:
        import diagnostic_updater  # noqa: F401
    except ModuleNotFoundError:
        listener = Listener(domain)
        assert isinstance(publisher_for(listener.node, period_s=1.0), ArrayPublisher)
        listener.close()
    else:
        pytest.skip('diagnostic_updater is installed')
