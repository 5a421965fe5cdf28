# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The report is one page that needs nothing but itself."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffpixel_core.labels import load_label_space
from diffpixel_core.report import (
    Card,
    Check,
    ClassScore,
    Confusion,
    Latency,
    Loss,
    ReportData,
    ReportError,
    ReportFrame,
    Table,
    render_page,
    write_report,
)
from diffpixel_core.report.pictures import colour_depth, depth_range, label_anchors, overlay

NYU40 = load_label_space('nyu40')
VOID = {'meta', 'img', 'link', 'br'}


def a_frame(*, truth: bool = True, size: tuple[int, int] = (24, 32), seed: int = 0) -> ReportFrame:
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2:] = NYU40.index('sofa')
    return ReportFrame(
        title=f'frame {seed}', rgb=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        depth_m=rng.uniform(0, 4, size).astype(np.float32), prediction=labels,
        truth=np.full(size, NYU40.index('bathtub'), np.uint8) if truth else None,
        confidence=rng.integers(0, 256, size, dtype=np.uint8))


def a_report(**changes: object) -> ReportData:
    data = ReportData(
        title='A <test> & more', summary='It ran.', label_space=NYU40, notice='Not a benchmark.',
        cards=[Card('frames in', '12'), Card('frames out', '9', 'some lost', 'warn')],
        frames=[a_frame(seed=i) for i in range(3)],
        class_scores=[ClassScore(NYU40.index('sofa'), 0.5, 0.25),
                      ClassScore(NYU40.index('night stand'), 0.75, 0.75)],
        latency=Latency([0.0, 0.1, 0.3], [20.0, 30.0, 90.0], [0.2]),
        flow={'out': 9, 'superseded': 3},
        losses=[Loss('superseded', 3, 'too slow', 'a faster engine'),
                Loss('unpaired', 0, 'no partner', 'more slop')],
        checks=[Check('stamps are equal', passed=True), Check('all came', passed=False)],
        environment={'machine': '2 cores'}, command='diffpixel demo --rate 1')
    return replace(data, **changes)


class _Tags(HTMLParser):
    """Collects start tags with their attributes and refuses tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    return tags


def test_page_asks_nobody_for_anything() -> None:
    page = render_page(a_report())
    for tag, attributes in parsed(page).found:
        for name in ('src', 'href', 'srcset', 'data', 'action'):
            value = attributes.get(name)
            assert value is None or value.startswith(('data:image/', '#')), (tag, value)
    assert not re.search(r'https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(', page)


def test_every_picture_can_be_decoded_and_labels_stay_exact() -> None:
    page = render_page(a_report(frames=[a_frame()]))
    pictures = re.findall(r'<img alt="([^"]*)" src="data:image/\w+;base64,([^"]+)"', page)
    assert [re.sub(' ·.*', '', name) for name, _ in pictures] == [
        'colour', 'depth', 'prediction', 'truth', 'confidence', 'prediction over colour']
    decoded = {name: cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8),
                                  cv2.IMREAD_COLOR_RGB) for name, data in pictures}
    assert {image.shape for image in decoded.values()} == {(24, 32, 3)}
    np.testing.assert_array_equal(decoded['prediction'], NYU40.colourise(a_frame().prediction))


def test_page_names_classes_causes_and_checks() -> None:
    page = render_page(a_report())
    body = page[:page.index('<script>')]  # the script knows every class
    for text in ('sofa', 'night stand', 'bathtub', 'a faster engine', 'stamps are equal',
                 '1 of 2 checks failed', 'Not a benchmark.', 'diffpixel demo --rate 1', '2 cores'):
        assert text in body, text
    assert 'toilet' not in body
    assert body.index('night stand</span><span class="track"') < \
        body.index('sofa</span><span class="track"'), 'best class first'


def test_user_text_is_escaped() -> None:
    page = render_page(a_report(command='x < y && "z" <script>alert(1)</script>'))
    assert '<test>' not in page
    assert '<script>alert' not in page
    parsed(page)


def test_without_truth_there_is_no_truth_tile_and_no_class_section() -> None:
    page = render_page(a_report(frames=[a_frame(truth=False)], class_scores=()))
    assert 'alt="prediction"' in page
    assert 'alt="truth"' not in page
    assert 'id="classes"' not in page


def test_a_run_without_any_output_still_has_a_page() -> None:
    page = render_page(a_report(frames=(), class_scores=(), latency=Latency([], []),
                                flow={'out': 0, 'never in a pair': 4}))
    parsed(page)
    assert 'id="pictures"' not in page
    assert 'id="latency"' not in page
    assert 'never in a pair 4' in page


def test_eight_vga_frames_stay_below_four_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 40, (8, 30, 40), dtype=np.uint8)
    frames = []
    for i in range(8):
        labels = cv2.resize(coarse[i], (640, 480), interpolation=cv2.INTER_NEAREST)
        rgb = cv2.resize(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), (640, 480))
        depth = rng.uniform(0.5, 4, (480, 640)).astype(np.float32)
        frames.append(ReportFrame(f'{i}', rgb, depth, labels, labels, labels))
    path = write_report(tmp_path / 'deep' / 'report.html', a_report(frames=frames))
    assert path.stat().st_size < 4_000_000
    assert [p.name for p in path.parent.iterdir()] == ['report.html'], 'no scratch file is left'


def test_pictures_of_different_sizes_are_refused() -> None:
    frame = replace(a_frame(), confidence=np.zeros((5, 5), np.uint8))
    with pytest.raises(ReportError, match=r'confidence is \(5, 5\)'):
        render_page(a_report(frames=[frame]))


def test_depth_is_black_where_it_was_not_measured_and_nowhere_else() -> None:
    depth = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32)
    picture = colour_depth(depth, 1.0, 3.0)
    assert (picture.sum(2) == 0).tolist() == [[True, False, False, False]]
    near, far = picture[0, 1].astype(int), picture[0, 3].astype(int)
    assert near[0] > near[2], 'near is warm'
    assert far[2] > far[0], 'far is cold'


def test_depth_range_ignores_holes_and_survives_nothing_else() -> None:
    holes = np.zeros((40, 40), np.float32)
    assert depth_range([holes]) == (0.0, 1.0)
    half = holes.copy()
    half[:20] = np.linspace(1.0, 3.0, 800, dtype=np.float32).reshape(20, 40)
    near, far = depth_range([half, holes])
    assert 1.0 <= near < 1.1
    assert 2.9 < far <= 3.0


def test_anchor_lies_inside_its_class_and_small_classes_have_none() -> None:
    labels = np.full((40, 60), 255, np.uint8)
    labels[5:30, 4:30] = 7
    labels[0:2, 58:60] = 3
    (label, x, y), = label_anchors(labels)
    assert label == 7
    assert labels[int(y * 40), int(x * 60)] == 7


def test_overlay_marks_borders_white() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 5
    picture = overlay(np.zeros((4, 6, 3), np.uint8), labels, NYU40)
    assert (picture[:, 3] == 255).all()
    assert not (picture[:, [0, 1, 2, 4, 5]] == 255).all(-1).any()


def test_tables_show_every_cell_and_an_empty_one_is_left_out() -> None:
    table = Table('By <bag>', ('bag', 'frames', 'mIoU'),
                  [('a & b', '12', ''), ('all', '30', '5 %')], 'What it means.', total=True)
    page = render_page(a_report(tables=[table, Table('Nothing', ('x', 'y'), [])]))
    parsed(page)
    for text in ('By &lt;bag&gt;', '<th>a &amp; b</th>', '>12</td>', '>30</td>', '>5 %</td>',
                 'What it means.'):
        assert text in page, text
    assert page.count('<tr class="total">') == 1
    assert page.index('<th>all</th>') > page.index('<tr class="total">')
    assert 'Nothing' not in page
    assert 'class="figures"' not in render_page(a_report())


def test_frames_stay_in_order_where_that_is_asked_for() -> None:
    plain = replace(a_frame(seed=1), title='plain', truth=None,
                    prediction=np.zeros((24, 32), np.uint8))
    busy = replace(a_frame(seed=2), title='busy', truth=None)
    page = render_page(a_report(frames=[plain, busy]))
    assert page.index('busy') < page.index('plain'), 'the frame with the most to see goes first'
    page = render_page(a_report(frames=[plain, busy], frames_in_order=True,
                                frames_title='The worst frames'))
    assert page.index('<h2>The worst frames</h2>') < page.index('plain') < page.index('busy')


def test_the_latency_says_what_it_is() -> None:
    assert 'both over DDS' in render_page(a_report())
    page = render_page(a_report(latency=Latency([0.0], [5.0], meaning='Of every frame.')))
    assert 'Of every frame.' in page
    assert 'both over DDS' not in page


def test_confusion_is_in_parts_of_the_truth_and_names_both_classes() -> None:
    counts = np.zeros((40, 41), np.int64)
    sofa, chair, bed = (NYU40.index(name) for name in ('sofa', 'chair', 'bed'))
    counts[sofa, sofa], counts[sofa, chair], counts[sofa, 40] = 60, 39, 1
    counts[bed, bed] = 300
    page = render_page(a_report(confusion=Confusion(counts, 'By <hand>.')))
    parsed(page)
    part = page[page.index('id="confusion"'):page.index('id="latency"')]
    for text in ('sofa found as sofa: 60 %', 'sofa taken for chair: 39 %', '>60<', '>39<',
                 'sofa taken for no class: 1 %', 'bed found as bed: 100 %', '>75 %<', '>25 %<',
                 'By &lt;hand&gt;.'):
        assert text in part, text
    assert '>1<' not in part, 'small parts have a colour but no figure'
    assert 'chair found' not in part, 'a class without truth has no row'
    assert 'bathtub' not in part, 'a class that does not occur is left out'
    assert 'id="confusion"' not in render_page(a_report())
