# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page out of a run: figures, pictures, plots, what was lost and why.

Nothing is fetched when the page is opened: pictures are base64, plots are inline SVG. Colours
follow the reader's light or dark theme. No torch and no ROS here.
"""

from diffpixel_core.report.data import (
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
)
from diffpixel_core.report.page import render_page, write_report

__all__ = [
    'Card', 'Check', 'ClassScore', 'Confusion', 'Latency', 'Loss', 'ReportData', 'ReportError',
    'ReportFrame', 'Table', 'render_page', 'write_report',
]
