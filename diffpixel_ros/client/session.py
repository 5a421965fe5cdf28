# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""What every program around a running node needs: a ROS node that spins, and the node's health."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

logger = logging.getLogger(__name__)

START_S = 120.0  # the node may take this long to load its model
_PERIOD_S = 0.02


class Health:
    """What the node last said on `/diagnostics`.

    Args:
        node: The node that listens; another thread spins it.

    Attributes:
        values: Value by key.
        received_s: `time.monotonic()` when they came; 0 before the first.
    """

    def __init__(self, node: Node) -> None:
        self.values: dict[str, str] = {}
        self.received_s = 0.0
        node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)

    def count(self, name: str) -> int:
        """Return one of the node's counters; 0 if it has none of that name."""
        return int(self.values.get(name, 0))

    def drops(self) -> dict[str, int]:
        """Return how many messages and pairs the node has lost, by cause."""
        prefix = 'drops.'
        return {key.removeprefix(prefix): int(value) for key, value in self.values.items()
                if key.startswith(prefix)}

    def _take(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith('/segment'):
                self.values = {pair.key: pair.value for pair in status.values}
                self.received_s = time.monotonic()


@contextmanager
def spinning(domain: int, name: str) -> Iterator[Node]:
    """Yield a ROS node that a thread of its own spins.

    Args:
        domain: Its ROS domain.
        name: Its name.
    """
    context = Context()
    context.init(args=[], domain_id=domain)
    node = Node(name, context=context, use_global_arguments=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            logger.debug('the ROS context was shut down')

    thread = threading.Thread(target=spin, name=f'{name}_spin', daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(2.0)
        node.destroy_node()
        context.try_shutdown()


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until a condition holds; return False if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PERIOD_S)
    return True
