# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Weights by name come from the disk, the cache or a Hub, or a message says how to get them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from diffpixel_core.converters.hub import FetchError, fetch_weights

pytest.importorskip('huggingface_hub')

REVISION = '0123456789abcdef0123456789abcdef01234567'
CODE = """
import sys
from diffpixel_core.converters.hub import FetchError, fetch_weights
for name in sys.argv[1:]:
    try:
        print(fetch_weights(name))
    except FetchError as error:
        print('refused:', error)
"""


def answers(home: Path, *names: str, **environment: str) -> list[str]:
    """What `fetch_weights` says to each name, in a process with this cache."""
    outside = {key: value for key, value in os.environ.items()
               if not key.startswith(('HF_', 'HUGGING'))}
    done = subprocess.run([sys.executable, '-c', CODE, *names], capture_output=True, text=True,
                          env=outside | {'HF_HOME': str(home)} | environment, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stdout                 # a refusal is a single line
    return lines


def test_a_file_or_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r'has neither model\.safetensors nor pytorch_model\.bin'):
        fetch_weights(str(tmp_path))
    (tmp_path / 'pytorch_model.bin').touch()
    assert fetch_weights(str(tmp_path)) == tmp_path / 'pytorch_model.bin'
    (tmp_path / 'model.safetensors').touch()
    assert fetch_weights(str(tmp_path)) == tmp_path / 'model.safetensors'
    (tmp_path / 'mit.pth').touch()
    assert fetch_weights(str(tmp_path / 'mit.pth')) == tmp_path / 'mit.pth'


@pytest.mark.parametrize('name', ['weights/mit_b0.pth', '/no/such/place', 'mit_b0', 'a/b/c', './a'])
def test_what_is_neither_a_file_nor_a_repository_is_refused(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError, match=f'^weights file {name} does not exist; .* nvidia/mit-b0'):
        fetch_weights(name)


def cache(home: Path, repository: str, file: str) -> Path:
    """A repository as the Hub's client caches it."""
    folder = home / 'hub' / f'models--{repository.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / 'main').write_text(REVISION)
    path = folder / 'snapshots' / REVISION / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b'weights')
    return path


def test_without_a_network_there_is_the_cache(tmp_path: Path) -> None:
    new = cache(tmp_path, 'nvidia/mit-b1', 'model.safetensors')
    old = cache(tmp_path, 'nvidia/mit-b2', 'pytorch_model.bin')
    said = answers(tmp_path, 'nvidia/mit-b1', f'nvidia/mit-b1@{REVISION}', 'nvidia/mit-b2',
                   'nvidia/mit-b1@v9', 'nvidia/mit-b0', 'a--b/c', HF_HUB_OFFLINE='1')
    assert said[:3] == [str(new), str(new), str(old)]
    assert said[3].startswith('refused: nvidia/mit-b1@v9 is no file here, not in the cache')
    assert said[4] == (
        f'refused: nvidia/mit-b0 is no file here, not in the cache {tmp_path}/hub, and '
        'https://huggingface.co '
        'could not be reached (HF_HUB_OFFLINE is set); on a machine with a network download '
        'https://huggingface.co/nvidia/mit-b0/resolve/main/model.safetensors (pytorch_model.bin if '
        'there is none) and pass the file, or run `hf download nvidia/mit-b0` there and copy its '
        'cache here')
    assert said[5].startswith('refused: a--b/c could not be fetched: ')


class Hub(BaseHTTPRequestHandler):
    """As much of a Hub as a download needs: one repository with an old file, one gated."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        repository, _, file = self.path.lstrip('/').partition('/resolve/')
        match repository, file:
            case 'org/old', 'main/pytorch_model.bin':
                self.answer(200)
            case 'org/old' | 'org/none', name if name.startswith('main/'):
                self.answer(404, 'EntryNotFound')
            case 'org/old', _:
                self.answer(404, 'RevisionNotFound')
            case 'org/gated', _:
                self.answer(403, 'GatedRepo')
            case _:
                self.answer(401, 'RepoNotFound')

    def answer(self, status: int, error: str = '') -> None:
        body = b'' if error else b'weights'
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Repo-Commit', REVISION)
        self.send_header('ETag', '"1"')
        if error:
            self.send_header('X-Error-Code', error)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_repository_is_fetched_or_the_reason_said(tmp_path: Path, endpoint: str) -> None:
    said = answers(tmp_path, 'org/old', 'org/none', 'org/old@v9', 'org/gated', 'org/unknown',
                   HF_ENDPOINT=endpoint, NO_PROXY='127.0.0.1')
    assert said[0].endswith(f'snapshots/{REVISION}/pytorch_model.bin')
    assert Path(said[0]).read_bytes() == b'weights'
    assert said[1].startswith('refused: org/none has neither model.safetensors nor pytorch_model')
    assert said[2].startswith('refused: org/old has no revision v9; see ')
    assert said[3].startswith('refused: org/gated is gated: accept its terms at ')
    assert 'HF_TOKEN' in said[3]
    assert said[4].startswith('refused: org/unknown is neither a file here nor a repository at ')
