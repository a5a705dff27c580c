"""`cotasp sweep`."""

from __future__ import annotations


def add_arguments(sub): ...
def sweep(arguments): ...
