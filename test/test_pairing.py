# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The pairer finds the nearest partners, whatever order and rhythm the messages come in."""

import random
import time

import pytest

from diffpixel_core.pairing import Pairer, PairingError

MS = 1_000_000
PERIOD = 33 * MS

Event = tuple[str, int]


def play(pairer: Pairer[int, int], events: list[Event]) -> list[tuple[int, int]]:
    """Offer `('a' or 'b', stamp)` events, each item being its own stamp; return all pairs."""
    pairs = []
    for stream, stamp in events:
        pairs += (pairer.add_a if stream == 'a' else pairer.add_b)(stamp, stamp)
    return pairs


def by_arrival(a: list[int], b: list[int], delay: int = 0) -> list[Event]:
    """Merge two streams in the order of their stamps, stream b arriving `delay` later."""
    events = [(stamp, 'a', stamp) for stamp in a] + [(stamp + delay, 'b', stamp) for stamp in b]
    return [(stream, stamp) for _, stream, stamp in sorted(events)]


def nearest_pairs(a: list[int], b: list[int], slop: int) -> list[tuple[int, int]]:
    """Slow reference: of all possible pairs take the smallest gap that crosses none taken."""
    candidates = sorted((abs(x - y), min(x, y), x, y) for x in a for y in b if abs(x - y) <= slop)
    taken: list[tuple[int, int]] = []
    for _, _, x, y in candidates:
        if all((x - p) * (y - q) > 0 for p, q in taken):
            taken.append((x, y))
    return sorted(taken)


def assert_conserved(pairer: Pairer[int, int], offered_a: int, offered_b: int) -> None:
    """Check that every item is in exactly one place."""
    counts = pairer.counts
    for stream, offered in ((counts.a, offered_a), (counts.b, offered_b)):
        assert stream.offered == offered == (stream.paired + stream.dropped + stream.released
                                             + stream.waiting)
        assert stream.paired == counts.pairs


def lap(n_a: int, step_b: int, n_b: int, start: int = 100_000 * MS) -> list[Event]:
    """One lap of a bag: stream a at 30 Hz, every `step_b`-th time also stream b, 1 ms later."""
    a = [start + i * PERIOD for i in range(n_a)]
    return by_arrival(a, [stamp + MS for stamp in a[:n_b:step_b]])


# What message_filters.ApproximateTimeSynchronizer gets wrong.

def test_exact_partner_beats_an_earlier_near_one() -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS)
    pairs = play(pairer, [('b', 1022 * MS), ('a', 1033 * MS), ('b', 1033 * MS)])
    assert pairs == [(1033 * MS, 1033 * MS)]
    assert pairer.counts.b.unpaired == 1


def test_bag_in_a_loop_loses_nothing_at_30_and_15_hz() -> None:
    pairer: Pairer[int, int] = Pairer(10 * MS)
    assert [len(play(pairer, lap(300, 2, 300))) for _ in range(3)] == [150, 150, 150]
    assert pairer.counts.resets == 2
    assert_conserved(pairer, 900, 450)


def test_bag_in_a_loop_loses_nothing_if_depth_ends_early() -> None:
    pairer: Pairer[int, int] = Pairer(10 * MS)
    assert [len(play(pairer, lap(300, 1, 270))) for _ in range(3)] == [270, 270, 270]
    assert pairer.counts.a.overflow == 3 * 20
    assert_conserved(pairer, 900, 810)


def test_loop_shorter_than_the_jump_threshold_still_pairs() -> None:
    pairer: Pairer[int, int] = Pairer(10 * MS)
    assert [len(play(pairer, lap(9, 1, 9))) for _ in range(5)] == [9] * 5
    assert pairer.counts.resets == 0


def test_equal_stamps_pair_at_slop_zero() -> None:
    pairer: Pairer[int, int] = Pairer(0)
    assert play(pairer, [('a', 5), ('b', 5)]) == [(5, 5)]
    assert play(pairer, [('a', 7), ('b', 8)]) == []


@pytest.mark.parametrize(('gap', 'count'), [(20 * MS, 1), (20 * MS + 1, 0)])
def test_slop_is_inclusive(gap: int, count: int) -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS)
    pairs = play(pairer, [('a', 0), ('b', gap)]) + pairer.flush()
    assert len(pairs) == count


# The nearest partner.

@pytest.mark.parametrize('seed', range(300))
def test_irregular_streams_equal_the_slow_reference(seed: int) -> None:
    rng = random.Random(seed)
    a, b = (sorted(rng.sample(range(100), rng.randint(0, 14))) for _ in range(2))
    slop = rng.randint(0, 60)
    pairer: Pairer[int, int] = Pairer(slop, queue=20)
    # Two items 1 ns apart say that these streams may be very fast: nothing is decided by period.
    play(pairer, [('a', -1001), ('a', -1000), ('b', -501), ('b', -500)])
    pairs = play(pairer, by_arrival(a, b, delay=rng.choice([-200, -30, 0, 30, 200])))
    assert pairs + pairer.flush() == nearest_pairs(a, b, slop)
    assert_conserved(pairer, len(a) + 2, len(b) + 2)


@pytest.mark.parametrize('seed', range(100))
def test_regular_streams_with_lost_frames_equal_the_slow_reference(seed: int) -> None:
    rng = random.Random(seed)

    def stream() -> list[int]:
        period, phase = rng.randint(20, 70), rng.randint(0, 70)
        stamps = [phase + period * i for i in range(60)]
        return stamps[:2] + [stamp for stamp in stamps[2:] if rng.random() < 0.8]

    a, b, slop = stream(), stream(), rng.randint(0, 40)
    pairer: Pairer[int, int] = Pairer(slop, queue=100)
    pairs = play(pairer, by_arrival(a, b, delay=rng.choice([0, 15, 90])))
    assert pairs + pairer.flush() == nearest_pairs(a, b, slop)


def test_chain_of_falling_gaps_pairs_both_ends() -> None:
    # Gaps 16, 15, 14: the last is the nearest, which leaves the first two items to each other.
    pairer: Pairer[int, int] = Pairer(20)
    assert play(pairer, [('a', 0), ('b', 16), ('a', 31)]) == []
    assert play(pairer, [('b', 45)]) == [(0, 16), (31, 45)]


# Latency.

@pytest.mark.parametrize('offset', [-16 * MS, -5 * MS, 0, 5 * MS, 16 * MS])
def test_no_frame_of_latency_up_to_half_a_period(offset: int) -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS)
    play(pairer, [('a', 0), ('b', offset), ('a', PERIOD), ('b', PERIOD + offset)])
    for i in range(2, 50):
        a, b = i * PERIOD, i * PERIOD + offset
        first, second = sorted([(a, 'a'), (b, 'b')])
        play(pairer, [(first[1], first[0])])
        assert play(pairer, [(second[1], second[0])]) == [(a, b)]


def test_late_stream_pairs_on_arrival() -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS)
    a = [i * PERIOD for i in range(30)]
    for stream, stamp in by_arrival(a, a, delay=100 * MS):
        assert play(pairer, [(stream, stamp)]) == ([(stamp, stamp)] if stream == 'b' else [])


# Trouble.

def test_stream_that_stops_and_resumes_pairs_again() -> None:
    pairer: Pairer[int, int] = Pairer(10 * MS, queue=5)
    a = [i * PERIOD for i in range(300)]
    pairs = play(pairer, by_arrival(a, a[:100] + a[200:]))
    assert pairs == [(stamp, stamp) for stamp in a[:100] + a[200:]]
    assert pairer.counts.a.overflow == 96
    assert pairer.counts.a.unpaired == 4
    assert pairer.counts.b.dropped == 0


def test_reordered_items_find_their_partners() -> None:
    pairer: Pairer[int, int] = Pairer(5)
    pairs = play(pairer, [('a', 0), ('a', 60), ('a', 30), ('b', 1), ('b', 31), ('b', 61)])
    assert pairs == [(0, 1), (30, 31), (60, 61)]
    assert pairer.counts.resets == 0


def test_time_jump_empties_both_queues_and_is_counted() -> None:
    pairer: Pairer[int, int] = Pairer(5, jump_back_ns=100)
    play(pairer, [('b', 1000), ('a', 1020), ('a', 1060), ('a', 919)])
    counts = pairer.counts
    assert (counts.resets, counts.a.reset, counts.a.waiting, counts.b.waiting) == (1, 2, 1, 0)
    assert play(pairer, [('b', 920), ('a', 960)]) == [(919, 920)]


def test_jump_of_just_the_threshold_is_reordering() -> None:
    pairer: Pairer[int, int] = Pairer(5, jump_back_ns=100)
    play(pairer, [('a', 1000), ('a', 900)])
    assert pairer.counts.resets == 0


def test_stamp_seen_twice_is_counted_and_the_first_item_kept() -> None:
    pairer: Pairer[str, str] = Pairer(0)
    assert pairer.add_a(7, 'first') + pairer.add_a(7, 'second') == []
    assert pairer.add_b(7, 'depth') == [('first', 'depth')]
    assert pairer.counts.a.duplicate == 1


def test_broken_driver_with_one_stamp_for_all_still_pairs() -> None:
    pairer: Pairer[int, int] = Pairer(0)
    assert play(pairer, [('a', 0), ('b', 0)] * 5) == [(0, 0)] * 5


def test_silent_partner_keeps_only_the_newest_items() -> None:
    pairer: Pairer[int, int] = Pairer(0, queue=3)
    play(pairer, [('a', stamp) for stamp in range(10)])
    assert pairer.counts.a.overflow == 7
    assert play(pairer, [('b', stamp) for stamp in range(10)]) == [(7, 7), (8, 8), (9, 9)]


def test_newcomer_completes_a_pair_before_a_full_queue_drops_it() -> None:
    pairer: Pairer[int, int] = Pairer(20, queue=1)
    assert play(pairer, [('a', 0), ('b', 16), ('a', 33)]) == [(0, 16)]
    assert pairer.counts.a.overflow == 0


def test_flush_decides_what_waits_and_counts_the_rest() -> None:
    pairer: Pairer[int, int] = Pairer(20)
    assert play(pairer, [('a', 0), ('b', 10), ('b', 50)]) == []
    assert pairer.flush() == [(0, 10)]
    assert pairer.counts.b.unpaired == 1
    assert pairer.counts.b.waiting == 0
    assert pairer.flush() == []


def test_released_items_come_out_once_oldest_first_and_are_counted() -> None:
    pairer: Pairer[int, int] = Pairer(5)
    play(pairer, [('a', 0), ('a', 60), ('a', 30)])
    assert pairer.release_a() == [0, 30, 60]
    assert pairer.release_a() == []
    assert play(pairer, [('b', 30)]) + pairer.flush() == []
    assert (pairer.counts.a.released, pairer.counts.a.dropped, pairer.counts.a.waiting) == (3, 0, 0)
    assert_conserved(pairer, 3, 1)


def test_release_leaves_the_other_stream_and_the_stamps_as_they_are() -> None:
    pairer: Pairer[int, int] = Pairer(5, jump_back_ns=100)
    play(pairer, [('a', 1000), ('a', 1030)])
    pairer.release_a()
    assert play(pairer, [('b', 1060), ('a', 1060)]) == [(1060, 1060)]
    play(pairer, [('a', 900)])
    assert pairer.counts.resets == 1  # 160 ns back from 1060, seen across the release


def test_gap_statistics_are_those_of_the_pairs() -> None:
    pairer: Pairer[int, int] = Pairer(20)
    assert pairer.counts.gap_mean_ns == 0
    play(pairer, [('a', 0), ('b', 4), ('a', 100), ('b', 90), ('a', 200), ('b', 200)])
    pairer.flush()
    assert pairer.counts.pairs == 3
    assert (pairer.counts.gap_mean_ns, pairer.counts.gap_max_ns) == (14 / 3, 10)


@pytest.mark.parametrize('seed', range(50))
def test_every_item_is_in_one_place_and_comes_out_once(seed: int) -> None:
    rng = random.Random(seed)
    pairer: Pairer[int, int] = Pairer(rng.randint(0, 40), queue=rng.randint(1, 6), jump_back_ns=200)
    now, offered, seen = 0, {'a': 0, 'b': 0}, {'a': set(), 'b': set()}  # type: ignore[var-annotated]
    for identity in range(2000):
        now += rng.choice([0, 5, 15, 30, 30, 30, -60, -1000 if rng.random() < 0.05 else 10])
        stream = rng.choice('ab' if rng.random() < 0.9 else 'a')
        stamp = now + rng.randint(-20, 20)
        offered[stream] += 1
        for a, b in (pairer.add_a if stream == 'a' else pairer.add_b)(stamp, identity):
            assert a not in seen['a']
            assert b not in seen['b']
            seen['a'].add(a)
            seen['b'].add(b)
        if rng.random() < 0.01:
            pairer.reset()
        if rng.random() < 0.01:
            released = pairer.release_a()
            assert seen['a'].isdisjoint(released)
            seen['a'].update(released)
        assert_conserved(pairer, offered['a'], offered['b'])
        assert pairer.counts.gap_max_ns <= pairer.slop_ns
    assert len(seen['a']) == pairer.counts.pairs + pairer.counts.a.released
    assert len(seen['b']) == pairer.counts.pairs > 0


@pytest.mark.parametrize('bad', [{'slop_ns': -1}, {'slop_ns': 0, 'queue': 0},
                                 {'slop_ns': 0, 'jump_back_ns': -1}])
def test_impossible_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(PairingError, match='queue must be at least 1'):
        Pairer(**bad)


def test_a_message_costs_microseconds() -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS, queue=100)
    events = lap(2000, 1, 2000)
    start = time.perf_counter()
    assert len(play(pairer, events)) == 2000
    # About 2 µs; the bound leaves room for a busy machine and is still below any image copy.
    assert (time.perf_counter() - start) / len(events) < 100e-6


@pytest.mark.parametrize('stream', ['a', 'b'])
@pytest.mark.parametrize('stray_ns', [10**12, 0])
def test_single_wrong_stamp_does_not_cost_the_pair_that_follows(stream: str, stray_ns: int) -> None:
    pairer: Pairer[str, str] = Pairer(20_000_000, jump_back_ns=100_000_000)
    for frame in range(5):
        stamp_ns = 10**9 + frame * 33_333_333
        assert [*pairer.add_a(stamp_ns, f'a{frame}'), *pairer.add_b(stamp_ns, f'b{frame}')] \
            == [(f'a{frame}', f'b{frame}')]
        add = pairer.add_a if stream == 'a' else pairer.add_b
        assert add(stray_ns, 'stray') == []
    counts = pairer.counts
    assert counts.pairs == 5
    for one in (counts.a, counts.b):
        assert one.offered == one.paired + one.dropped + one.waiting


def test_new_lap_is_whole_though_the_last_of_the_old_one_comes_late() -> None:
    pairer: Pairer[int, int] = Pairer(20 * MS, jump_back_ns=100 * MS)
    times = [1000 * MS + 33 * MS * frame for frame in range(30)]
    pairs: list[tuple[int, int]] = []
    for _ in range(3):  # colour runs two messages ahead of depth, across the laps
        for place, stamp_ns in enumerate(times):
            pairs += pairer.add_a(stamp_ns, stamp_ns)
            late = times[place - 2]
            if pairer.counts.a.offered > 2:
                pairs += pairer.add_b(late, late)
    for late in times[-2:]:
        pairs += pairer.add_b(late, late)
    assert all(a == b for a, b in pairs)
    # What the jump costs are the two colour images whose depth came after it.
    assert len(pairs) >= 3 * 30 - 2 * 2
    assert [a for a, _ in pairs].count(times[0]) == 3
