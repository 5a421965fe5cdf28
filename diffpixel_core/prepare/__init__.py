# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Public data sets as they are downloaded become folders that `datasets.describe` reads."""

from diffpixel_core.prepare.nyudv2 import Prepared, prepare_nyudv2
from diffpixel_core.prepare.writing import PrepareError

__all__ = ['PrepareError', 'Prepared', 'prepare_nyudv2']
