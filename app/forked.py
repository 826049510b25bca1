"""What a forked process does first: it sees to it that it does not outlive the one that it was forked from."""

from __future__ import annotations

import ctypes
import signal
import sys

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG, as Linux numbers it."""


def die_with_parent() -> None:
    """Have the kernel end this process with its parent, if it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
