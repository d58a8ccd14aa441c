"""The only exception a user meets."""

from __future__ import annotations


class LeakhuntError(Exception):
    """Something leakhunt could not do, in the user's words, with the next step.

    Attributes:
        message: what failed and where, one sentence without a Python class name.
        hint: what to do next, or an empty string.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
