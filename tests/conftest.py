"""Settings of the whole suite."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in suites that begin with nohup
settings.register_profile("shared", deadline=None)  # a busy machine is no failure
settings.load_profile("shared")
MEMORY, ROOM = Path("/dev/shm"), 8e9  # bytes; the suite leaves less than 3e9 where tests fail
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK)
    and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    and shutil.disk_usage(MEMORY).free > ROOM
    and os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > ROOM
):  # runs wait for the disk at every checkpoint, which is a third of their time here
    # what has been compiled stays where the next suite finds it
    cache = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache of embeddings."""
    monkeypatch.setenv("COTASP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, for tests that look at pages."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no Chromium here: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def pytest_collection_modifyitems(items):
    """Fast tests first; where files are dealt to workers, those of which some are slow, so that
    none of these is left for the end, when the other worker has nothing to do.
    """

    def is_slow(item):
        return item.get_closest_marker("slow") is not None

    if "PYTEST_XDIST_WORKER" not in os.environ:
        items.sort(key=is_slow)
        return
    long = {item.path for item in items if is_slow(item)}
    place = {path: i for i, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (item.path not in long, place[item.path], is_slow(item)))
