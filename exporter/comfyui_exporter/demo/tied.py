"""Starts a program that ends when its parent does, even if that is killed: `tied.py PARENT SIGNAL PROGRAM ...`.

A program of its own, because what it asks of the system holds over `exec`, and is not safe between a fork and it.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
"""From sys/prctl.h: the system sends this signal to the process when its parent ends. Linux alone has it."""


def main(arguments: list[str]) -> None:
    """Become the program."""
    parent, number, *program = arguments
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != int(parent):
        sys.exit(1)  # it has ended already
    os.execvp(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
