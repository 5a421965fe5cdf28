# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""The doctor finds what is wrong with a data set, names the files, and claims nothing else."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffpixel_core.__main__ import main
from diffpixel_core.datasets import Description, FrameFiles, RawIds, describe
from diffpixel_core.datasets.frames import DataError
from diffpixel_core.doctor import Verdict, examine
from diffpixel_core.doctor.alignment import agreement, combined, depth_edges
from diffpixel_core.doctor.sheet import write_sheet
from diffpixel_core.labels import load_label_space

NYU40 = load_label_space('nyu40')
SIZE = (120, 160)
SAMPLES = os.environ.get('DIFFPIXEL_SAMPLES', '')

Frame = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def room(seed: int) -> Frame:
    """Return colour, metres and NYU40 labels of boxes before a wall on a floor."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    rows = np.linspace(0, 1, height)[:, None] * np.ones((1, width))
    depth = np.where(rows < 0.6, 4.0, 4.0 - 5 * (rows - 0.6)).astype(np.float32)
    labels = np.where(rows < 0.6, NYU40.index('wall'), NYU40.index('floor')).astype(np.uint8)
    labels[:8] = NYU40.index('ceiling')
    rgb = NYU40.colourise(labels)
    for _ in range(12):
        y, x = rng.integers(8, height - 40), rng.integers(0, width - 30)
        box = (slice(y, y + int(rng.integers(12, 40))), slice(x, x + int(rng.integers(12, 40))))
        depth[box] = rng.uniform(1, 3)
        labels[box] = rng.integers(2, 10)
        rgb[box] = rng.integers(0, 256, 3)
    noise = rng.integers(-4, 5, rgb.shape)
    depth *= 1 + rng.normal(0, 0.002, depth.shape).astype(np.float32)
    depth[30:34, 40:60] = 0
    return np.clip(rgb + noise, 0, 255).astype(np.uint8), depth, labels


def as_unit(depth_m: npt.NDArray[np.float32], unit: str) -> npt.NDArray[Any]:
    if unit == 'm':
        return depth_m
    steps = np.rint(depth_m * (5000 if unit == 'm5000' else 1000)).astype(np.uint16)
    return (steps << 3) | (steps >> 13) if unit == 'sun' else steps


def write(root: Path, name: str, frame: Frame, *, unit: str = 'mm', split: str = 'all',
          first: int = 0) -> FrameFiles:
    rgb, depth_m, labels = frame
    suffix = 'tiff' if unit == 'm' else 'png'
    files = FrameFiles(name, root / f'{split}-{name}-colour.png',
                       root / f'{split}-{name}-depth.{suffix}', root / f'{split}-{name}-label.png')
    assert files.label is not None
    root.mkdir(exist_ok=True)
    cv2.imwrite(str(files.colour), rgb[..., ::-1])
    cv2.imwrite(str(files.depth), as_unit(depth_m, unit))
    cv2.imwrite(str(files.label), np.where(labels == 255, 255, labels + first).astype(np.uint8))
    return files


def described(root: Path, files: list[FrameFiles], *, unit: str = 'mm',
              ids: RawIds | None = None) -> Description:
    return Description('mine', 'test', root, {'all': files}, unit, NYU40, ids or RawIds(40))


def rooms(root: Path, count: int = 4, *, said: str | None = None, unit: str = 'mm',
          ids: RawIds | None = None, first: int = 0,
          change: Callable[[Frame], Frame] = lambda frame: frame) -> Description:
    files = [write(root, f'{i:04d}', change(room(i)), unit=unit, first=first)
             for i in range(count)]
    return described(root, files, unit=said or unit, ids=ids)


def told(verdicts: tuple[Verdict, ...], *severities: str) -> str:
    return '\n'.join(f'{verdict.text} -> {verdict.remedy}' for verdict in verdicts
                     if verdict.severity in (severities or ('error', 'warning')))


@pytest.mark.parametrize('unit', ['mm', 'm', 'm5000', 'sun'])
def test_nothing_is_wrong_with_a_good_data_set(tmp_path: Path, unit: str) -> None:
    found = examine(rooms(tmp_path, 10, unit=unit))
    assert told(found.verdicts) == ''
    assert found.depth.metric


@pytest.mark.parametrize('unit', ['mm', 'm', 'm5000', 'sun'])
def test_figures_are_those_of_all_pixels(tmp_path: Path, unit: str) -> None:
    description = rooms(tmp_path, unit=unit)
    found = examine(description)
    depths = np.stack([room(i)[1] for i in range(4)])
    low, middle, high = np.percentile(depths[depths > 0], (1, 50, 99))
    assert found.depth.median_m == pytest.approx(middle, rel=2e-3)
    assert found.depth.p01_m == pytest.approx(low, rel=2e-3)
    assert found.depth.p99_m == pytest.approx(high, rel=2e-3)
    assert found.depth.hole_fraction == pytest.approx((depths == 0).mean())
    labels = np.stack([room(i)[2] for i in range(4)])
    for label, name in enumerate(NYU40.names):
        assert found.labels.histogram[name] == (labels == label).sum()
    assert found.labels.histogram['unlabelled'] == 0
    assert found.labels.out_of_range == {}


@pytest.mark.parametrize(('unit', 'said', 'text'), [
    ('m5000', 'mm', 'looks like m x 5000, not millimetres'),
    ('sun', 'mm', "looks like SUN RGB-D's rotated millimetres, not millimetres"),
    ('mm', 'sun', "looks like millimetres, not SUN RGB-D's"),
    ('m5000', 'sun', "looks like m x 5000, not SUN RGB-D's"),
    ('sun', 'm5000', "looks like SUN RGB-D's rotated millimetres, not m x 5000"),
    ('mm', 'm5000', 'looks like millimetres, not m x 5000'),
    ('mm', 'm', 'looks like millimetres, not metres'),
    ('m', 'mm', 'looks like metres, not millimetres'),
])
def test_wrong_unit_is_recognised(tmp_path: Path, unit: str, said: str, text: str) -> None:
    found = examine(rooms(tmp_path, unit=unit, said=said))
    assert text in told(found.verdicts)
    assert f'depth_unit: {unit}' in told(found.verdicts)


def test_units_that_are_not_read_are_recognised_too(tmp_path: Path) -> None:
    def centimetres(frame: Frame) -> Frame:
        return frame[0], frame[1] / 10, frame[2]

    assert 'looks like centimetres' not in told(examine(rooms(tmp_path)).verdicts)
    near = told(examine(rooms(tmp_path, change=centimetres)).verdicts)
    assert 'very near' in near
    assert '; as centimetres ' in near
    files = [write(tmp_path, f'f{i}', (room(i)[0], room(i)[1] * 1000, room(i)[2]), unit='m')
             for i in range(2)]
    assert 'looks like float millimetres' in told(
        examine(described(tmp_path, files, unit='m')).verdicts)


def test_pictures_of_depth_have_lost_their_scale(tmp_path: Path) -> None:
    description = rooms(tmp_path)
    for file in description.splits['all']:
        grey = cv2.normalize(room(int(file.name))[1], np.empty(0), 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(file.depth), grey.astype(np.uint8))
    found = examine(description)
    assert 'all 4 depth images hold uint8, a picture' in told(found.verdicts)
    assert found.depth.median_m is None
    relative = examine(replace(description, depth_unit='relative'))
    assert relative.as_json()['depth']['metric'] is False
    assert relative.depth.median_m is not None
    assert 'the scale is lost' in told(relative.verdicts, 'warning')


def test_bad_depth_images_are_named(tmp_path: Path) -> None:
    description = rooms(tmp_path, 8)
    _, *files = description.splits['all']
    good = as_unit(room(9)[1], 'mm')
    cut = np.minimum(good, 2500)
    bad = (np.zeros_like(good), np.full_like(good, 1500), cut, good * 10)
    for file, depth in zip(files[:4], bad, strict=True):
        cv2.imwrite(str(file.depth), depth)
    verdicts = {verdict.text: verdict.files for verdict in examine(description).verdicts
                if verdict.severity != 'note'}
    for text, file in (('next to no measured pixel', files[0]), ('one and the same', files[1]),
                       ('cut off at the largest value (mostly 2.5 m)', files[2]),
                       ('more than 4 times nearer or farther', files[3])):
        assert [named for told, named in verdicts.items() if text in told] == [(file.depth.name,)]


def test_ids_out_of_range_are_counted_by_file(tmp_path: Path) -> None:
    description = rooms(tmp_path)
    file = description.splits['all'][2]
    labels = room(2)[2]
    labels[50:52, :7] = 57
    cv2.imwrite(str(file.label), labels)
    found = examine(description)
    assert file.label is not None
    assert found.as_json()['labels']['out_of_range'] == {
        '57': {'pixels': 14, 'frames': 1, 'files': {file.label.name: 14}}}
    assert '57 (14 pixels in 1 file)' in told(found.verdicts, 'error')
    assert any(file.label.name in verdict.files for verdict in found.verdicts)


def with_void(frame: Frame) -> Frame:
    labels = frame[2].copy()
    labels[:, :25] = 255
    return frame[0], frame[1], labels


def as_zero(frame: Frame) -> Frame:
    labels = with_void(frame)[2].astype(int)
    return frame[0], frame[1], np.where(labels == 255, 0, labels + 1).astype(np.uint8)


def test_labels_shifted_by_one_are_found_either_way(tmp_path: Path) -> None:
    """Official NYUDv2 ids have void 0 and classes from 1, TokenFusion's 255 and classes from 0."""
    one_based, zero_based = RawIds(40, first=1, void=(0,)), RawIds(40)
    official = rooms(tmp_path / 'official', change=as_zero)
    assert 'shifted' not in told(examine(replace(official, raw_ids=one_based)).verdicts)
    assert 'label_offset: 1' in told(examine(replace(official, raw_ids=zero_based)).verdicts)
    fused = rooms(tmp_path / 'fused', change=with_void)
    assert 'shifted' not in told(examine(replace(fused, raw_ids=zero_based)).verdicts)
    assert 'label_offset: 0' in told(examine(replace(fused, raw_ids=one_based)).verdicts)


def test_shift_is_suspected_from_the_ids_alone(tmp_path: Path) -> None:
    """Where classes have names of their own, only the range of the ids can tell."""
    def ids_to(last: int) -> Callable[[Frame], Frame]:
        def change(frame: Frame) -> Frame:
            labels = np.zeros_like(frame[2])
            labels[:40] = last
            labels[60:] = 255 if last < 20 else 1
            return frame[0], frame[1], labels
        return change

    space = load_label_space('numbered20')
    description = replace(rooms(tmp_path / 'a', change=ids_to(20)), label_space=space,
                          raw_ids=RawIds(20))
    assert 'one more than the classes' in told(examine(description).verdicts, 'error')
    description = replace(rooms(tmp_path / 'b', change=ids_to(19)), label_space=space,
                          raw_ids=RawIds(20, first=1, void=(0,)))
    assert 'the classes may begin at 0' in told(examine(description).verdicts, 'error')


def test_unlabelled_images_are_named(tmp_path: Path) -> None:
    description = rooms(tmp_path)
    file = description.splits['all'][1]
    cv2.imwrite(str(file.label), np.full(SIZE, 255, np.uint8))
    found = [verdict for verdict in examine(description).verdicts
             if 'no labelled pixel' in verdict.text]
    assert file.label is not None
    assert [verdict.files for verdict in found] == [(file.label.name,)]


def test_data_sets_without_labels_work(tmp_path: Path) -> None:
    files = [replace(file, label=None) for file in rooms(tmp_path).splits['all']]
    found = examine(described(tmp_path, files))
    assert found.as_json()['labels'] == {'histogram': {}, 'out_of_range': {}}
    assert told(found.verdicts) == ''
    write_sheet(found, tmp_path / 'sheet.png')
    assert cv2.imread(str(tmp_path / 'sheet.png')) is not None


def test_damaged_missing_and_ill_sized_files_are_named(tmp_path: Path) -> None:
    description = rooms(tmp_path, 6)
    files = description.splits['all']
    files[0].colour.write_bytes(files[0].colour.read_bytes()[:-40])
    files[1].depth.unlink()
    cv2.imwrite(str(files[2].label), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(files[3].colour), np.full((*SIZE, 3), 90, np.uint8))
    found = examine(description)
    assert found.depth.median_m is not None
    named = {verdict.text: verdict.files for verdict in found.verdicts
             if verdict.severity == 'error'}
    for text, path in (('cannot be read', files[0].colour), ('1 file missing', files[1].depth),
                       ('is not of the size of its colour image', files[2].label),
                       ('one grey all over', files[3].colour)):
        assert path is not None
        assert [names for told, names in named.items() if text in told] == [(path.name,)]
    write_sheet(found, tmp_path / 'sheet.png')


def test_swapped_folders_are_told_and_nothing_that_follows_from_it(tmp_path: Path) -> None:
    files = rooms(tmp_path).splits['all']
    swapped = [replace(file, depth=file.label, label=file.depth) for file in files if file.label]
    found = examine(described(tmp_path, swapped))
    assert told(found.verdicts).count('->') == 1
    assert 'depth and label images look swapped' in told(found.verdicts, 'error')
    swapped = [replace(file, depth=file.colour, colour=file.depth) for file in files]
    assert 'colour and depth images look swapped' in told(
        examine(described(tmp_path, swapped)).verdicts, 'error')
    coloured = [replace(file, depth=file.colour) for file in files]
    text = told(examine(described(tmp_path, coloured)).verdicts, 'error')
    assert '4 files are coloured pictures, no depth' in text
    assert 'swapped' not in text


def test_frames_in_two_splits_and_empty_splits_are_told(tmp_path: Path) -> None:
    train = [write(tmp_path, f'{i}', room(i), split='train') for i in range(4)]
    test = [write(tmp_path, f'x{i}', room(i), split='test') for i in (3, 5, 6)]
    description = replace(described(tmp_path, []), splits={'train': train, 'test': test, 'val': []})
    found = examine(description)
    assert "split 'val' is empty" in told(found.verdicts, 'error')
    shared = [verdict for verdict in found.verdicts if 'is in' in verdict.text]
    assert [verdict.files for verdict in shared] == [(test[0].colour.name,)]
    assert "1 frame of split 'test' is in 'train' too" in shared[0].text
    with pytest.raises(DataError, match='no split'):
        examine(description, split='all')


def slow_agreement(strength: npt.NDArray[np.float32], edges: npt.NDArray[np.bool_], down: int,
                   right: int) -> float:
    height, width = edges.shape
    values = [strength[y + down, x + right] for y in range(24, height - 24)
              for x in range(24, width - 24) if edges[y, x]]
    return float(np.mean(values))


def test_agreement_is_the_mean_strength_along_moved_edges() -> None:
    rgb, depth_m, _ = room(3)
    edges = depth_edges(depth_m)
    found = agreement(rgb, edges)
    assert found is not None
    from diffpixel_core.doctor.alignment import _colour_edges
    strength = _colour_edges(rgb)
    strength = (strength - strength.mean()) / strength.std()
    for down, right in ((0, 0), (5, -7), (-24, 24)):
        assert found.scores[24 + down, 24 + right] == pytest.approx(
            slow_agreement(strength, edges, down, right), abs=1e-4)


@pytest.mark.parametrize('moved', [(0, 0), (0, 2), (0, 6), (-5, 3), (9, -8)])
def test_shifted_depth_is_measured_and_small_shifts_are_not_claimed(moved: tuple[int, int]) -> None:
    found = []
    for i in range(6):
        rgb, depth_m, _ = room(i)
        one = agreement(rgb, depth_edges(np.roll(depth_m, moved, (0, 1))))
        assert one is not None
        found.append(one)
    together = combined(found)
    assert together is not None
    assert together.clear == (max(map(abs, moved)) >= 3)
    if together.clear:
        assert abs(together.down + moved[0]) <= 1
        assert abs(together.right + moved[1]) <= 1


def test_shifted_depth_becomes_a_verdict(tmp_path: Path) -> None:
    def moved(frame: Frame) -> Frame:
        return frame[0], np.roll(frame[1], 7, 1), frame[2]

    text = told(examine(rooms(tmp_path, 6, change=moved)).verdicts, 'error')
    assert 'depth and colour do not lie on each other: moved' in text
    assert '7 px to the left' in text
    assert 'labels and colour' not in text
    told_apart = examine(rooms(tmp_path, 6, change=moved)).as_json()['alignment']
    assert (told_apart['depth']['right'], told_apart['labels']['right']) == (-7, 0)


def test_alignment_is_not_judged_in_a_wrong_unit(tmp_path: Path) -> None:
    found = examine(rooms(tmp_path, 10, said='sun'))
    assert 'looks like millimetres' in told(found.verdicts, 'error')
    assert 'registered' not in told(found.verdicts)


def test_frames_are_spread_evenly_over_the_limit(tmp_path: Path) -> None:
    description = rooms(tmp_path, 9)
    found = examine(description, limit=3)
    assert [frame.file.name for frame in found.frames] == ['0000', '0004', '0008']
    assert found.as_json()['data']['frames_read'] == 3


def test_sheet_shows_the_classes_in_their_colours(tmp_path: Path) -> None:
    found = examine(rooms(tmp_path))
    write_sheet(found, tmp_path / 'sheet.png')
    picture = cv2.imread(str(tmp_path / 'sheet.png'))[..., ::-1]
    assert picture.shape[1] == 1600
    for name in ('wall', 'floor'):
        colour = NYU40.colours[NYU40.index(name)]
        assert (picture == colour).all(axis=2).mean() > 0.01
    assert not list(tmp_path.glob('tmp*'))


def plain_folder(root: Path, *, unit: str = 'mm') -> Path:
    for kind in ('rgb', 'depth', 'label'):
        (root / kind).mkdir(parents=True)
    for i in range(4):
        rgb, depth_m, labels = room(i)
        cv2.imwrite(str(root / f'rgb/{i}.png'), rgb[..., ::-1])
        cv2.imwrite(str(root / f'depth/{i}.png'), as_unit(depth_m, unit))
        cv2.imwrite(str(root / f'label/{i}.png'), labels)
    return root


def test_command_writes_json_and_sheet_and_ends_well_on_bad_data(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_folder(tmp_path / 'mine', unit='m5000')
    assert main(['doctor', str(folder), '--json', '--sheet', str(tmp_path / 'a.png')]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures['depth'].keys() == {'median_m', 'p01_m', 'p99_m', 'hole_fraction', 'unit',
                                       'metric'}
    assert figures['labels'].keys() == {'histogram', 'out_of_range'}
    assert figures['depth']['unit'] == 'mm'
    assert figures['depth']['metric'] is True
    assert 'm x 5000, not millimetres' in figures['verdicts'][0]['text']
    assert figures['verdicts'][0]['severity'] == 'error'
    assert (tmp_path / 'a.png').stat().st_size > 10_000
    assert main(['doctor', str(folder), '--depth-unit', 'm5000', '--json',
                 str(tmp_path / 'a.json')]) == 0
    printed = capsys.readouterr().out
    assert 'wall' in printed
    assert 'nothing looks wrong' in printed  # though there is a note
    assert 'alignment (about 1 or more where registered): depth ' in printed
    assert json.loads((tmp_path / 'a.json').read_text())['depth']['unit'] == 'm5000'


def test_command_refuses_what_is_no_data_set_in_one_line(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_folder(tmp_path / 'mine')
    for arguments in (['doctor', str(tmp_path / 'nothing')], ['doctor'],
                      ['doctor', str(folder), '--split', 'val'],
                      ['doctor', str(folder), '--sheet', str(tmp_path / 'no/sheet.png')],
                      ['doctor', str(folder), '--sheet', str(tmp_path / 'sheet.jpg')],
                      ['doctor', str(folder), '--sheet', '/dev/fd/none.png']):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(not SAMPLES, reason='DIFFPIXEL_SAMPLES names no folder of real samples')
def test_real_samples_are_judged_rightly() -> None:
    root = Path(SAMPLES)
    for layout in ('esanet', 'nicr', 'tokenfusion', 'gupta_crop'):
        found = examine(describe(root / 'nyu-layouts' / layout))
        assert told(found.verdicts) == '', layout
        assert 2.9 < (found.depth.median_m or 0) < 3.7
    found = examine(describe(root / 'nyu-layouts/dformer'))
    assert not found.depth.metric
    found = examine(describe(root / 'sun-scenes'))
    assert told(found.verdicts) == ''
    assert 2.0 < (found.depth.median_m or 0) < 2.2
    assert told(examine(describe(root / 'sequences/realsense-tabletop')).verdicts) == ''
    for unregistered in ('kinect-7scenes', 'xtion-3dmatch'):
        found = examine(describe(root / 'sequences' / unregistered))
        assert 'not registered' in told(found.verdicts, 'warning')
    found = examine(describe(root / 'nyu-layouts/tokenfusion', depth_unit='mm'))
    assert 'looks like m x 5000, not millimetres' in told(found.verdicts, 'error')
