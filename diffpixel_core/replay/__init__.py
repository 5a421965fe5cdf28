# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""Replay of recordings through the network, with scores, statistics, predictions and a report.

`run.run_replay` does it all; `offline.replay_bag` does one bag; `spread` says who does which bag;
everything known of a bag is its `tally.Tally`, which `scoring.Scorer` fills.
"""
