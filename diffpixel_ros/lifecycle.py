# Copyright 2026 The DiffPixel authors
# SPDX-License-Identifier: Apache-2.0
"""GuardedLifecycleNode: a lifecycle node that neither dies of a mistake nor keeps it to itself.

Bare rclpy (7.1) ends the process at a transition that is not possible now (rclpy#1209), swallows
what a transition callback raises (rclpy#1673), and lets what a subscription callback raises end
the spin.
"""

import functools
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from diffpixel_core.errors import DiffPixelError


class GuardedLifecycleNode(LifecycleNode):  # type: ignore[misc]  # rclpy is untyped
    """A lifecycle node whose transitions are plain methods that raise when they fail.

    Subclasses fill in `configure`, `activate`, `deactivate`, `cleanup` and `shutdown`.

    Attributes:
        state: `unconfigured`, `inactive`, `active` or `finalized`.
        problem: Why the last transition failed, in one line; empty when it succeeded.
    """

    def __init__(self, node_name: str, **options: Any) -> None:
        super().__init__(node_name, **options)
        self.state = 'unconfigured'
        self.problem = ''
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._change_state_if_possible

    def configure(self) -> None:
        """Acquire everything that needs no input."""

    def activate(self) -> None:
        """Start working."""

    def deactivate(self) -> None:
        """Stop working, keep what `configure` acquired."""

    def cleanup(self) -> None:
        """Release what `configure` acquired."""

    def shutdown(self) -> None:
        """Release everything, whatever the state."""

    def callback_failed(self, name: str, error: Exception) -> None:
        """Take note of an exception that a guarded callback raised."""

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback whose exceptions are logged and noted and end there."""
        @functools.wraps(callback)
        def safe(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                name = callback.__name__
                self.get_logger().error(f'{name} failed; going on\n{traceback.format_exc()}',
                                        throttle_duration_sec=5.0)
                self.callback_failed(name, error)
        return safe

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        return self._transition(self.configure, 'inactive')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        return self._transition(self.activate, 'active')

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        return self._transition(self.deactivate, 'inactive')

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._transition(self.cleanup, 'unconfigured')

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `shutdown`."""
        return self._transition(self.shutdown, 'finalized')

    def _transition(self, work: Callable[[], None], goal: str) -> TransitionCallbackReturn:
        name = work.__name__
        try:
            work()
        except Exception as error:
            # A user's mistake needs its one line; anything else is a bug and needs its traceback.
            details = '' if isinstance(error, DiffPixelError) else f'\n{traceback.format_exc()}'
            self.problem = f'{name} failed: {error}'
            self.get_logger().error(self.problem + details)
            return TransitionCallbackReturn.FAILURE
        self.problem = ''
        self.state = goal
        self.get_logger().info(f'{name} done, now {goal}')
        return TransitionCallbackReturn.SUCCESS

    def _change_state_if_possible(self, request: ChangeState.Request,
                                  response: ChangeState.Response) -> ChangeState.Response:
        try:
            return self._change_state(request, response)
        except Exception as error:  # RCLError where the state machine has no such transition
            wanted = request.transition.label or f'number {request.transition.id}'
            self.get_logger().warning(f'transition {wanted} is refused while {self.state}: {error}')
            response.success = False
            return response
