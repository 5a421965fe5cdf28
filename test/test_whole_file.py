# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Files are whole or not there, and what was there before stays until then."""

import errno
import resource
import signal
from pathlib import Path

import pytest

from diffpixel_core.whole_file import WriteError, whole, write_whole


def test_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'file.txt'
    write_whole(path, 'one')
    with whole(path) as part:
        part.write_text('half')
        assert path.read_text() == 'one'
        part.write_text('two')
    assert path.read_text() == 'two'
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(WriteError, match=r'cannot write .*file.*results\.json'):
        write_whole(tmp_path / 'file' / 'results.json', '{}')
    write_whole(tmp_path / 'new' / 'results.json', '{}')


def test_interrupted_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / 'file.txt'
    write_whole(path, 'one')

    def interrupted() -> None:
        with whole(path) as part:
            part.write_text('half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == 'one'
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle."""
    path = tmp_path / 'file.bin'
    write_whole(path, b'one')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r'write .*file\.bin .*too large.*free') as caught:
            write_whole(path, bytes(100_000))
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b'one'
    assert list(tmp_path.iterdir()) == [path]
