"""What a result depends on besides its settings: versions, machine and commit."""

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jaxad", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn", "torch")
# Instructions that matter for matrix products, of x86 and of Arm.
_FLAGS = re.compile(r"fma4?|f16c|avx.*|amx.*|fphp|asimd.*|sve.*|sme(?!p).*|bf16|i8mm")
_ARM_VENDORS = {"0x41": "Arm", "0x4e": "NVIDIA", "0x61": "Apple", "0xc0": "Ampere"}


def versions() -> dict[str, str]:
    """Versions of python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    if "jaxad" not in found:
        import jaxad

        found["jaxad"] = getattr(jaxad, "__version__", "unknown")
    return found


def processor(path: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """The first core's ``vendor``, ``family``, ``model``, ``name`` and ``flags``.

    Numbers are text as the system writes them, None where it does not. On Arm the family is the
    architecture and the model the part. ``flags`` are those for arithmetic on vectors and matrices.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    vendor = fields.get("vendor_id", fields.get("CPU implementer"))
    flags = fields.get("flags", fields.get("Features", ""))
    return {
        "vendor": _ARM_VENDORS.get(str(vendor), vendor),
        "family": fields.get("cpu family", fields.get("CPU architecture")),
        "model": fields.get("model", fields.get("CPU part")),
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "flags": sorted(filter(_FLAGS.fullmatch, flags.split())),
    }


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def usable_cores() -> list[int]:
    """The processor cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(cores: Collection[int]) -> bool:
    """Keep all threads of this process on some cores; False where the system cannot."""
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return False
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(thread, cores)
    return True


def machine() -> dict[str, Any]:
    """Processor, cores (of the machine and of this process), memory, platform, JAX's devices."""
    import jax

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(usable_cores()),
        "memory_bytes": _memory_bytes(),
        "platform": platform.platform(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
    }


def commit(folder: Path | None = None) -> dict[str, Any]:
    """``{"sha", "dirty"}`` of the checkout ``folder`` is in; ``"unknown"`` and None outside git."""
    folder = folder or Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"sha": "unknown", "dirty": None}


def drop_programs() -> None:
    """Let go of all compiled programs, between data sets whose shapes share none.

    A few hundred programs take all memory maps that Linux gives a process, and it ends.
    """
    import jax

    jax.clear_caches()
