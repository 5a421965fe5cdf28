# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""`diffpixel prepare sunrgbd` writes the labels, once, and says what is not there to do so."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip('h5py')
pytest.importorskip('scipy.io')

from test_sunrgbd import check, write_all

from diffpixel_core.__main__ import main
from diffpixel_core.datasets.sunrgbd_toolbox import LABELS
from diffpixel_core.prepare import PrepareError
from diffpixel_core.prepare.sunrgbd import prepare_sunrgbd


def test_labels_are_written_once_for_training_to_read(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_all(tmp_path)
    assert main(['prepare', 'sunrgbd', str(tmp_path)]) == 0
    assert 'labels of 5 scenes (2 train, 3 test), 37 classes' in capsys.readouterr().out
    shutil.rmtree(tmp_path / 'SUNRGBDtoolbox/Metadata')
    check(tmp_path)
    assert prepare_sunrgbd(tmp_path).labelled == 5
    assert prepare_sunrgbd(tmp_path).folder == tmp_path / LABELS


def test_missing_toolbox_and_other_data_sets_are_told(tmp_path: Path) -> None:
    write_all(tmp_path)
    shutil.rmtree(tmp_path / 'SUNRGBDtoolbox')
    with pytest.raises(PrepareError, match=r'has no labels: .*unpack SUNRGBDtoolbox\.zip'):
        prepare_sunrgbd(tmp_path)
    shutil.rmtree(tmp_path / 'SUNRGBD')
    for folder in ('rgb', 'depth', 'masks'):
        (tmp_path / folder).mkdir()
    with pytest.raises(PrepareError, match=r'in the layout tokenfusion, not SUN RGB-D'):
        prepare_sunrgbd(tmp_path)
