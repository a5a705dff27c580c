"""What every benchmark's figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchrl", "tensordict", "metaworld", "mujoco", "numpy", "scipy")


def machine(*packages: str) -> dict[str, str]:
    """Date, processor and versions, of the usual packages and of those named; also prints them."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.split(":")[1].strip() for line in file if line.startswith("model name"))
            model = next(names, model)
    facts = {
        "date": date.today().isoformat(),
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }
    for package in (*PACKAGES, *packages):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    print("  ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    return facts


def commit() -> str:
    """The checkout's commit, with `+` if files differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        return (git("rev-parse", "--short", "HEAD") or "unknown") + "+" * bool(git("status", "-s"))
    except OSError:  # no git here
        return "unknown"
