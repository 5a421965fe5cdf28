# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What every synchroniser is to do, ours and message_filters; where the latter fails, and why."""

import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from diffpixel_core.synchronise import Synchroniser

MS = 1_000_000
PERIOD = 33
START = 100_000  # ms; not 0, for rclpy knows no time before it

# (what, stamp in ms), in the order of arrival; a colour or depth item is its own stamp.
Event = tuple[str, int]
Pairs = list[tuple[int, int]]


def streams(colour: list[int], depth: list[int], *, late: int = 0) -> list[Event]:
    """Merge two streams in the order of their stamps, depth arriving `late` ms later."""
    arrivals = ([(stamp, 'colour', stamp) for stamp in colour]
                + [(stamp + late, 'depth', stamp) for stamp in depth])
    return [(what, stamp) for _, what, stamp in sorted(arrivals)]


def ticks(number: int, *, step: int = 1, start: int = START) -> list[int]:
    """Stamps at 30 Hz, or every `step`-th of them."""
    return [start + PERIOD * i for i in range(0, number, step)]


def jittered(stamps: list[int], most: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [stamp + rng.randint(-most, most) for stamp in stamps]


def without(stamps: list[int], share: float, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [stamp for stamp in stamps if rng.random() >= share]


def common(colour: list[int], depth: list[int]) -> Pairs:
    return [(stamp, stamp) for stamp in colour if stamp in set(depth)]


@dataclass(frozen=True)
class Case:
    """Events and the pairs they make; `fault` says why message_filters does not."""

    name: str
    events: list[Event]
    pairs: Pairs
    slop: int = 10
    queue: int = 10
    fault: str = ''


_LOST = without(ticks(200), 0.2, 1), without(ticks(200), 0.2, 2)
_JITTER = jittered(ticks(100), 4, 3), jittered(ticks(100), 4, 4)
_LATER = [stamp + 7 for stamp in ticks(100)]
_STOPPED = ticks(100) + ticks(100, start=START + 200 * PERIOD)
_HALF = streams(ticks(300), ticks(300, step=2))
_ENDS = streams(ticks(300), ticks(270))
_FAR = 4_000_000_000_000  # in the year 2096
_GREEDY = 'takes the first partner within the slop, not the nearest'
_STRICT = 'compares the gap with the slop by <, so that a gap of just the slop is too large'
_JUMP = ('drops the item with the smallest stamp when the queue is full, which after a jump back '
         'is the newcomer')
_CASES = [
    Case('equal stamps', streams(ticks(100), ticks(100)), common(ticks(100), ticks(100))),
    Case('constant offset', streams(ticks(100), _LATER),
         list(zip(ticks(100), _LATER, strict=True))),
    Case('jitter', streams(*_JITTER), list(zip(*_JITTER, strict=True))),
    Case('depth at half rate', _HALF, common(ticks(300), ticks(300, step=2))),
    Case('depth arrives 100 ms late', streams(ticks(100), ticks(100), late=100),
         common(ticks(100), ticks(100))),
    Case('lost frames', streams(*_LOST), common(*_LOST)),
    Case('depth stops and comes back', streams(ticks(300), _STOPPED),
         common(ticks(300), _STOPPED)),
    Case('reordered', [('colour', START), ('colour', START + 60), ('colour', START + 30),
                       ('depth', START + 1), ('depth', START + 31), ('depth', START + 61)],
         [(START, START + 1), (START + 30, START + 31), (START + 60, START + 61)]),
    Case('one stamp for all', [('colour', START), ('depth', START)] * 5, [(START, START)] * 5),
    Case('far apart', streams(ticks(20), ticks(20, start=START + 16)), []),
    Case('full queue', [('colour', stamp) for stamp in ticks(10)]
         + [('depth', stamp) for stamp in ticks(10)], common(ticks(10)[7:], ticks(10)), queue=3),
    Case('one stamp before time began', [('colour', -5000), *streams(ticks(9), ticks(9))],
         common(ticks(9), ticks(9))),
    Case('one stamp from the future', [('colour', _FAR), *streams(ticks(30), ticks(30))],
         common(ticks(30), ticks(30))),
    Case('ten stamps from the future', [*(('colour', _FAR + i) for i in range(10)),
                                        *streams(ticks(30), ticks(30))],
         common(ticks(30), ticks(30)), fault=_JUMP),
    Case('looped bag, every item paired', streams(ticks(300), ticks(300)) * 3,
         common(ticks(300), ticks(300)) * 3),
    Case('looped bag, depth at half rate', _HALF * 3, common(ticks(300), ticks(300, step=2)) * 3,
         fault=f'{_JUMP}; ros_comm#1308'),
    Case('looped bag, depth ends early', _ENDS * 3, common(ticks(300), ticks(270)) * 3,
         fault=f'{_JUMP}; ros_comm#1308'),
    Case('looped bag, the clock jumps too', [*_ENDS, ('reset', 0), *_ENDS],
         common(ticks(300), ticks(270)) * 2),
    Case('equal stamps at slop 0', streams(ticks(20), ticks(20)), common(ticks(20), ticks(20)),
         slop=0, fault=_STRICT),
    Case('gap of just the slop', streams(ticks(20), [stamp + 10 for stamp in ticks(20)]),
         [(stamp, stamp + 10) for stamp in ticks(20)], fault=_STRICT),
    Case('exact partner after a near one',
         [('depth', 1022), ('colour', 1033), ('depth', 1033)], [(1033, 1033)], slop=20,
         fault=_GREEDY),
    Case('nearer partner still to come', streams(ticks(20), [stamp + 20 for stamp in ticks(20)]),
         [(stamp + PERIOD, stamp + 20) for stamp in ticks(19)], slop=25, fault=_GREEDY),
]

Make = Callable[..., Any]


def _ours(slop_ns: int, **settings: Any) -> Synchroniser[int, int]:
    return Synchroniser(slop_ns, **settings)


def _theirs(slop_ns: int, **settings: Any) -> Any:
    pytest.importorskip('message_filters')
    from diffpixel_ros.filters import FilterSynchroniser

    return FilterSynchroniser(slop_ns, **settings)


_MAKERS = {'ours': _ours, 'message_filters': _theirs}


@pytest.fixture(params=_MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return _MAKERS[request.param]


def play(synchroniser: Any, events: list[Event]) -> list[tuple[Any, Any]]:
    """Offer events one a millisecond; return all that comes out, the flush included."""
    out = []
    for now, (what, stamp) in enumerate(events):
        if what == 'reset':
            synchroniser.reset()
            continue
        add = synchroniser.add_colour if what == 'colour' else synchroniser.add_depth
        out += add(stamp * MS, stamp, now * MS)
    return out + synchroniser.flush()


def assert_conserved(counts: Any) -> None:
    """Check that every item is in exactly one place."""
    for stream in (counts.a, counts.b):
        assert stream.offered == (stream.paired + stream.dropped + stream.released
                                  + stream.waiting)
        assert stream.paired == counts.pairs
        assert min(stream.paired, stream.dropped, stream.released, stream.waiting) >= 0


def _with_faults() -> list[Any]:
    rows = []
    for name, maker in _MAKERS.items():
        for case in _CASES:
            marks = [pytest.mark.xfail(reason=case.fault, strict=True)] \
                if case.fault and name == 'message_filters' else []
            rows.append(pytest.param(maker, case, marks=marks, id=f'{name}, {case.name}'))
    return rows


@pytest.mark.parametrize(('maker', 'case'), _with_faults())
def test_pairs_are_the_expected_ones(maker: Make, case: Case) -> None:
    synchroniser = maker(case.slop * MS, queue=case.queue)
    assert play(synchroniser, case.events) == case.pairs
    assert synchroniser.counts.pairs == len(case.pairs)


@pytest.mark.parametrize('seed', range(20))
def test_every_item_is_in_one_place_whatever_comes(make: Make, seed: int) -> None:
    rng = random.Random(seed)
    queue = rng.randint(1, 6)
    synchroniser = make(rng.randint(1, 40) * MS, queue=queue,
                        missing_depth=rng.choice(['wait', 'rgb_only', 'drop']),
                        missing_after_ns=100 * MS)
    stamp, offered, seen = START, {'colour': 0, 'depth': 0}, []
    for now in range(0, 10_000, 10):
        stamp += rng.choice([0, 5, 15, 30, 30, -60, -2000 if rng.random() < 0.1 else 10])
        what = rng.choice(['colour', 'depth']) if now % 3000 < 2000 else 'colour'
        offered[what] += 1
        add = synchroniser.add_colour if what == 'colour' else synchroniser.add_depth
        seen += add(max(0, stamp) * MS, (what, now), now * MS)
        if rng.random() < 0.01:
            synchroniser.reset()
        counts = synchroniser.counts
        assert_conserved(counts)
        assert counts.a.released == synchroniser.alone + synchroniser.no_depth
        assert (counts.a.offered, counts.b.offered) == (offered['colour'], offered['depth'])
        assert max(counts.a.waiting, counts.b.waiting) <= queue
    colour, depth = [c for c, _ in seen], [d for _, d in seen if d is not None]
    assert len(set(colour)) == len(colour) == counts.pairs + synchroniser.alone
    assert len(set(depth)) == len(depth) == counts.pairs > 0
    assert {what for what, _ in colour} == {'colour'}
    assert {what for what, _ in depth} == {'depth'}
    synchroniser.flush()
    assert synchroniser.counts.a.waiting == synchroniser.counts.b.waiting == 0
    assert_conserved(synchroniser.counts)


@pytest.mark.parametrize('policy', ['wait', 'rgb_only', 'drop'])
def test_depth_that_stops_is_handled_by_policy(make: Make, policy: str) -> None:
    synchroniser = make(10 * MS, missing_depth=policy, missing_after_ns=200 * MS)
    times = [PERIOD * i for i in range(120)]
    out = []
    for now in times:
        out += synchroniser.add_colour((START + now) * MS, now, now * MS)
        if not times[30] <= now < times[90]:
            out += synchroniser.add_depth((START + now) * MS, now, now * MS)
    # The first depth image back is too late for its colour image, unless that waited.
    silent = [] if policy == 'wait' else times[30:91]
    assert [pair for pair in out if pair[1] is not None] == [
        (now, now) for now in times[:30] + times[90:] if now not in silent]
    assert [pair[0] for pair in out if pair[1] is None] == (
        silent if policy == 'rgb_only' else [])
    assert synchroniser.alone == (61 if policy == 'rgb_only' else 0)
    assert synchroniser.no_depth == (61 if policy == 'drop' else 0)
    assert not synchroniser.depth_is_silent
    assert_conserved(synchroniser.counts)


def test_lap_without_depth_does_not_wait_for_the_time_of_the_lap_before(make: Make) -> None:
    synchroniser = make(10 * MS, missing_depth='rgb_only', missing_after_ns=200 * MS)
    times = [PERIOD * i for i in range(60)]
    for now in times:
        synchroniser.add_colour((START + now) * MS, now, now * MS)
        synchroniser.add_depth((START + now) * MS, now, now * MS)
    synchroniser.reset()
    out = []
    for now in times[:10]:
        out += synchroniser.add_colour((START + now) * MS, now, now * MS)
    assert out == [(now, None) for now in times[:10]]


def test_gaps_are_those_of_the_pairs(make: Make) -> None:
    synchroniser = make(20 * MS)
    play(synchroniser, [('colour', 1000), ('depth', 1010), ('colour', 1100), ('depth', 1096)])
    assert synchroniser.counts.gap_mean_ns == 7 * MS
    assert synchroniser.counts.gap_max_ns == 10 * MS


def test_reset_empties_both_queues_and_is_counted(make: Make) -> None:
    synchroniser = make(10 * MS)
    synchroniser.add_colour(1000 * MS, 'old', 0)
    synchroniser.reset()
    assert synchroniser.add_depth(1000 * MS, 'old', 0) == []
    synchroniser.reset()
    counts = synchroniser.counts
    assert (counts.resets, counts.a.reset, counts.b.reset) == (2, 1, 1)
    assert (counts.a.waiting, counts.b.waiting) == (0, 0)
    assert synchroniser.add_colour(1000 * MS, 'new', 0) == []
    assert synchroniser.add_depth(1000 * MS, 'new', 0) == [('new', 'new')]


class Image:
    """Something whose end can be seen."""


def test_nothing_is_kept_alive_that_came_out_or_was_dropped(make: Make) -> None:
    synchroniser = make(10 * MS, queue=3)
    alive: weakref.WeakSet[Image] = weakref.WeakSet()
    for i in range(50):
        for add in (synchroniser.add_colour, synchroniser.add_depth):
            image = Image()
            alive.add(image)
            # Depth is 16 ms off after a while: nothing pairs any more.
            off = 16 if i > 25 and add == synchroniser.add_depth else 0
            add((START + PERIOD * i + off) * MS, image, i * MS)
            del image
    assert len(alive) <= 2 * 3
    synchroniser.flush()
    assert len(alive) == 0


def test_missing_message_filters_is_one_line_that_says_what_to_install() -> None:
    pytest.importorskip('rclpy')
    from diffpixel_ros.filters import FilterError, FilterSynchroniser

    try:
        import message_filters  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(FilterError, match=r'sudo apt install ros-.*-message-filters') as error:
            FilterSynchroniser(0)
        assert '\n' not in str(error.value)
    else:
        pytest.skip('message_filters is installed')
