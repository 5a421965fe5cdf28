# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Weights files by name: from the disk, or from the Hugging Face Hub and its cache."""

import logging
import re
from contextlib import suppress
from pathlib import Path

from diffpixel_core.converters.tensors import ConvertError

logger = logging.getLogger(__name__)

DEFAULTS = {
    'mit_b0': 'nvidia/mit-b0',
    'mit_b1': 'nvidia/mit-b1',
    'mit_b2': 'nvidia/mit-b2',
    'mit_b3': 'nvidia/mit-b3',
    'mit_b4': 'nvidia/mit-b4',
    'mit_b5': 'nvidia/mit-b5',
    'swin_t': 'microsoft/swin-tiny-patch4-window7-224',
    'swin_s': 'microsoft/swin-small-patch4-window7-224',
    'swin_l_w7': 'microsoft/swin-large-patch4-window7-224-in22k',
    'swin_l': 'microsoft/swin-large-patch4-window12-384-in22k',
}
"""A repository with ImageNet weights for each backbone; only ever suggested, never chosen."""

FILES = ('model.safetensors', 'pytorch_model.bin')  # in the order they are looked for
_SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt', '.ckpt')
_REPOSITORY = re.compile(r'(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w.][\w./-]*))?')


class FetchError(ConvertError):
    """Weights that are neither on the disk nor to be had from the Hub."""


def fetch_weights(name_or_path: str) -> Path:
    """Return the path of a weights file, downloaded if need be.

    Args:
        name_or_path: A file; a directory with `model.safetensors` or `pytorch_model.bin`; or a
            repository of the Hugging Face Hub such as `nvidia/mit-b0`, with `@revision` if not
            its main one. What is on the disk or in the cache goes first.

    Raises:
        FetchError: If the file does not exist, or the Hub does not have it or cannot be reached.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for file in FILES:
            if (path / file).is_file():
                return path / file
        raise FetchError(f'directory {path} has neither {" nor ".join(FILES)}; pass the weights '
                         'file itself')
    repository = _REPOSITORY.fullmatch(name_or_path)
    if repository is None or name_or_path.endswith(_SUFFIXES):
        raise FetchError(f'weights file {name_or_path} does not exist; pass an existing file, or a '
                         f'repository of the Hugging Face Hub such as {DEFAULTS["mit_b0"]}')
    return _from_hub(repository['name'], repository['revision'])


def _from_hub(repository: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache
    except ImportError as error:
        raise FetchError(f'{repository} is no file, and fetching it from the Hugging Face Hub '
                         "needs huggingface_hub: pip install 'diffpixel_ros[train]', or download "
                         'the weights yourself and pass the file') from error
    from huggingface_hub.utils import logging as hub_logging
    page = f'{constants.ENDPOINT}/{repository}'
    name = repository if revision is None else f'{repository}@{revision}'
    try:
        for file in FILES:
            cached = try_to_load_from_cache(repository, file, revision=revision)
            if isinstance(cached, str):
                return Path(cached)
        logger.info('%s is no file here; fetching it from %s', name, constants.ENDPOINT)
        hub_logging.set_verbosity(logging.ERROR)  # else every retry is two lines
        for file in FILES:
            with suppress(errors.RemoteEntryNotFoundError):
                return Path(hf_hub_download(repository, file, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        offline = ' (HF_HUB_OFFLINE is set)' if constants.HF_HUB_OFFLINE else ''
        raise FetchError(
            f'{name} is no file here, not in the cache {constants.HF_HUB_CACHE}, and '
            f'{constants.ENDPOINT} could not be reached{offline}; on a machine with a network '
            'download '
            f'{page}/resolve/{revision or "main"}/{FILES[0]} ({FILES[1]} if there is none) and '
            f'pass the file, or run `hf download {repository}` there and copy its cache here'
        ) from error
    except errors.GatedRepoError as error:
        raise FetchError(f'{repository} is gated: accept its terms at {page}, then run '
                         '`hf auth login` or set HF_TOKEN to your token') from error
    except errors.RepositoryNotFoundError as error:
        raise FetchError(f'{repository} is neither a file here nor a repository at '
                         f'{constants.ENDPOINT}; check the name, or, if it is private, run '
                         '`hf auth login`') from error
    except errors.RevisionNotFoundError as error:
        raise FetchError(f'{repository} has no revision {revision}; see {page}/commits/main '
                         'for those it has') from error
    except Exception as error:  # of its HTTP library, of the disk, of a name it does not allow
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FetchError(f'{name} could not be fetched: {reason[0]}; try again, or download its '
                         f'weights file from {page} and pass it') from error
    raise FetchError(f'{name} has neither {" nor ".join(FILES)}; see {page}/tree/main, download '
                     'the weights file and pass it')
