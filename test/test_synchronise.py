# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of colour images when depth is missing, and that nothing is lost on the way."""

import random
from typing import Any

import pytest

from diffpixel_core.pairing import PairingError
from diffpixel_core.synchronise import MISSING_DEPTH, Synchroniser

MS = 1_000_000
PERIOD = 33
SILENT_AFTER = 100  # ms

Out = list[tuple[int, int | None]]


def make(missing_depth: str, **settings: Any) -> Synchroniser[int, int]:
    return Synchroniser(10 * MS, missing_depth=missing_depth, missing_after_ns=SILENT_AFTER * MS,
                        **settings)


def colour(synchroniser: Synchroniser[int, int], now: int) -> Out:
    """Offer a colour image taken and arrived at `now` ms; the item is that time."""
    return synchroniser.add_colour(now * MS, now, now * MS)


def depth(synchroniser: Synchroniser[int, int], now: int) -> Out:
    return synchroniser.add_depth(now * MS, now, now * MS)


def both(synchroniser: Synchroniser[int, int], times: list[int]) -> Out:
    return [pair for now in times for pair in colour(synchroniser, now) + depth(synchroniser, now)]


def frames(number: int, start: int = 0) -> list[int]:
    return [start + PERIOD * i for i in range(number)]


# wait

def test_wait_never_lets_colour_out_alone_and_keeps_a_bounded_number() -> None:
    synchroniser = make('wait', queue=5)
    for now in frames(1000):
        assert colour(synchroniser, now) == []
        assert synchroniser.tick(now * MS) == []
        assert synchroniser.counts.a.waiting <= 5
    assert synchroniser.counts.a.overflow == 995
    assert (synchroniser.alone, synchroniser.no_depth) == (0, 0)
    assert synchroniser.flush() == []


def test_wait_says_all_the_same_that_depth_is_silent() -> None:
    synchroniser = make('wait')
    both(synchroniser, frames(3))
    assert not synchroniser.depth_is_silent
    colour(synchroniser, 1000)
    assert not synchroniser.depth_is_silent  # its depth may follow at once, however slow the camera
    colour(synchroniser, 1200)
    assert synchroniser.depth_is_silent
    depth(synchroniser, 1201)
    assert not synchroniser.depth_is_silent


# rgb_only

def test_rgb_only_waits_before_it_gives_up_then_serves_what_waited_in_order() -> None:
    synchroniser = make('rgb_only')
    assert both(synchroniser, [0]) == [(0, 0)]
    assert [colour(synchroniser, now) for now in (33, 66, 99, 133)] == [[], [], [], []]
    assert colour(synchroniser, 134) == [(now, None) for now in (33, 66, 99, 133, 134)]
    assert synchroniser.alone == 5


@pytest.mark.parametrize('policy', MISSING_DEPTH)
def test_slow_camera_whose_colour_comes_first_loses_nothing(policy: str) -> None:
    synchroniser = make(policy)
    for now in range(0, 20_000, 1000):
        assert colour(synchroniser, now) == []
        assert depth(synchroniser, now) == [(now, now)]
    assert (synchroniser.alone, synchroniser.no_depth) == (0, 0)


def test_rgb_only_serves_each_image_at_once_while_depth_stays_silent() -> None:
    synchroniser = make('rgb_only')
    both(synchroniser, [0])
    colour(synchroniser, 50)
    colour(synchroniser, 151)
    for now in frames(100, 183):
        assert colour(synchroniser, now) == [(now, None)]
        assert synchroniser.counts.a.waiting == 0


def test_rgb_only_without_any_depth_ever_counts_from_the_first_colour_image() -> None:
    synchroniser = make('rgb_only')
    assert synchroniser.tick(4000 * MS) == []
    assert [colour(synchroniser, now) for now in (5000, 5033, 5066, 5099)] == [[], [], [], []]
    assert colour(synchroniser, 5132) == [(now, None) for now in (5000, 5033, 5066, 5099, 5132)]


def test_a_tick_serves_the_last_image_though_none_follows() -> None:
    synchroniser = make('rgb_only')
    assert synchroniser.tick(10 ** 18) == []  # nothing has come yet
    colour(synchroniser, 0)
    assert synchroniser.tick(SILENT_AFTER * MS) == []
    assert synchroniser.tick(SILENT_AFTER * MS + 1) == [(0, None)]
    assert synchroniser.tick(10 ** 18) == []


def test_pairs_come_again_at_once_when_depth_is_back() -> None:
    synchroniser = make('rgb_only')
    both(synchroniser, frames(10))
    for now in frames(50, 1000):
        colour(synchroniser, now)
    assert depth(synchroniser, 5000) == []
    assert colour(synchroniser, 5000) == [(5000, 5000)]
    assert both(synchroniser, frames(10, 5033)) == [(now, now) for now in frames(10, 5033)]


def test_image_that_went_out_alone_does_not_come_again_with_late_depth() -> None:
    synchroniser = make('rgb_only')
    colour(synchroniser, 0)
    assert synchroniser.tick(200 * MS) == [(0, None)]
    assert synchroniser.add_depth(0, 0, 201 * MS) == []
    assert synchroniser.flush() == []
    assert synchroniser.counts.b.unpaired == 1


def test_depth_that_is_slow_but_steady_is_not_silent() -> None:
    # Stamps half a second old on arrival, as after a filter: late is not missing.
    synchroniser = make('rgb_only', queue=50)
    out: Out = []
    for now in frames(100):
        out += colour(synchroniser, now)
        out += synchroniser.add_depth((now - 15 * PERIOD) * MS, now - 15 * PERIOD, now * MS)
    assert out[5:]
    assert [pair for pair in out if pair[1] is None] == []


@pytest.mark.parametrize('policy', MISSING_DEPTH)
def test_colour_without_partner_while_depth_arrives_is_unpaired_under_every_policy(
        policy: str) -> None:
    synchroniser = make(policy)
    out: Out = []
    for i, now in enumerate(frames(100)):
        out += colour(synchroniser, now)
        if i % 2 == 0:
            out += depth(synchroniser, now)
    assert out == [(now, now) for now in frames(100)[::2]]
    assert synchroniser.flush() == []
    assert synchroniser.counts.a.unpaired == 50
    assert (synchroniser.alone, synchroniser.no_depth) == (0, 0)


# drop

def test_drop_lets_go_of_colour_under_its_own_cause() -> None:
    synchroniser = make('drop')
    both(synchroniser, [0])
    for now in frames(50, 33):
        assert colour(synchroniser, now) == []
    assert synchroniser.no_depth == 50
    assert synchroniser.counts.a.released == 50
    assert synchroniser.counts.a.waiting == synchroniser.counts.a.dropped == 0
    assert synchroniser.alone == 0
    depth(synchroniser, 5000)
    assert colour(synchroniser, 5000) == [(5000, 5000)]


# Time that starts anew.

@pytest.mark.parametrize('policy', MISSING_DEPTH)
def test_looped_bag_in_its_own_time_is_not_taken_for_silence(policy: str) -> None:
    synchroniser = make(policy)
    lap = frames(60)
    assert [both(synchroniser, lap) for _ in range(3)] == [[(now, now) for now in lap]] * 3
    assert (synchroniser.alone, synchroniser.no_depth) == (0, 0)
    assert synchroniser.counts.resets == 2


def test_silence_in_one_lap_is_found_again_in_the_next() -> None:
    synchroniser = make('rgb_only')
    for _ in range(3):
        out = both(synchroniser, frames(10))
        for now in frames(10, 10 * PERIOD):
            out += colour(synchroniser, now)
        assert out == [(now, now) for now in frames(10)] + [
            (now, None) for now in frames(10, 10 * PERIOD)]


def test_lap_without_depth_does_not_wait_for_the_time_of_the_lap_before() -> None:
    synchroniser = make('rgb_only')
    both(synchroniser, frames(100))
    out = [pair for now in frames(10) for pair in colour(synchroniser, now)]
    assert out == [(now, None) for now in frames(10)]


@pytest.mark.parametrize('policy', MISSING_DEPTH)
def test_reset_forgets_what_waits_and_pairing_goes_on(policy: str) -> None:
    synchroniser = make(policy)
    colour(synchroniser, 50)
    synchroniser.reset()
    assert synchroniser.counts.a.reset == 1
    assert depth(synchroniser, 50) == []
    synchroniser.reset()
    assert synchroniser.counts.resets == 2
    assert both(synchroniser, [60, 93]) == [(60, 60), (93, 93)]


# Everything at once.

@pytest.mark.parametrize('policy', MISSING_DEPTH)
@pytest.mark.parametrize('seed', range(20))
def test_every_item_is_in_exactly_one_place(policy: str, seed: int) -> None:
    rng = random.Random(seed)
    queue = rng.randint(1, 8)
    synchroniser = make(policy, queue=queue, jump_back_ns=200 * MS)
    stamp = now = 0
    offered = {'colour': 0, 'depth': 0}
    served: Out = []
    for identity in range(1500):
        now += rng.choice([1, 5, 10, 20, 300 if rng.random() < 0.05 else 10])
        stamp += rng.choice([0, 5, 15, 30, -50, -1000 if rng.random() < 0.05 else 10])
        act = rng.choices(['colour', 'depth', 'tick', 'reset'],
                          [10, 0 if identity % 500 > 350 else 9, 2, 0.1])[0]
        if act == 'reset':
            synchroniser.reset()
        elif act == 'tick':
            served += synchroniser.tick(now * MS)
        else:
            offered[act] += 1
            add = synchroniser.add_colour if act == 'colour' else synchroniser.add_depth
            served += add((stamp + rng.randint(-8, 8)) * MS, identity, now * MS)
        counts = synchroniser.counts
        pairs = [pair for pair in served if pair[1] is not None]
        assert counts.a.offered == offered['colour'] == (
            counts.a.paired + synchroniser.alone + synchroniser.no_depth + counts.a.dropped
            + counts.a.waiting)
        assert counts.b.offered == offered['depth'] == (
            counts.b.paired + counts.b.dropped + counts.b.waiting)
        assert counts.a.released == synchroniser.alone + synchroniser.no_depth
        assert len(pairs) == counts.pairs == counts.a.paired == counts.b.paired
        assert len(served) - len(pairs) == synchroniser.alone
        assert max(counts.a.waiting, counts.b.waiting) <= queue
    images = [image for image, _ in served]
    assert len(set(images)) == len(images)
    assert counts.pairs > 20
    assert (synchroniser.alone > 50) == (policy == 'rgb_only')
    assert (synchroniser.no_depth > 50) == (policy == 'drop')


@pytest.mark.parametrize('bad', [{'missing_depth': 'guess'}, {'missing_after_ns': -1},
                                 {'slop_ns': -1}, {'queue': 0}])
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(PairingError, match='cannot'):
        Synchroniser(**{'slop_ns': 0} | bad)
