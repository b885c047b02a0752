"""Compiled programs kept in a folder, from which later processes load them.

JAX asks a cache for every program that it compiles. `Kept` has the methods of that interface, and
answers for the programs of jaxad only. JAX's own cache is one for the whole process; a killed
process or a full disk leaves broken files in it, and it grows without end unless a further package
is installed.
"""

import contextlib
import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

MAX_BYTES = 2**30

_config: Any = jax.config  # its attributes are unknown to type checkers

_MARK = "jaxad_"  # in the names of the programs that are kept, and of no other library's
_SUFFIX = ".program"
_DIGEST = hashlib.sha256().digest_size

_settled = False  # whether this process has its folder, or does without


def compilation_cache(folder: str | os.PathLike[str] | None, *, max_bytes: int = MAX_BYTES) -> None:
    """Keep compiled programs in a folder, from which later processes load them.

    A first fit then takes a fraction of a second. Without this call the folder is the one that the
    environment variable ``JAXAD_CACHE`` names, or else ``jaxad/programs`` in the user's folder for
    caches (``XDG_CACHE_HOME`` or ``~/.cache`` on Linux); ``JAXAD_CACHE=off`` keeps nothing.

    Only programs of jaxad are kept, each for one version of jax and jaxlib and one kind of device
    or processor. They are executed, so nobody else may be able to write to the folder. If JAX's own
    cache is configured (``JAX_COMPILATION_CACHE_DIR``), it serves jaxad as well, and this one is
    not used.

    Args:
      folder: made for its owner alone if missing; None keeps nothing.
      max_bytes: programs that were not used for longest are deleted beyond this size.

    Raises:
      ValueError: the folder cannot be made or written to, belongs to someone else, or others can
        write to it.

    Example:
      >>> import tempfile
      >>> from jaxad import training
      >>> with tempfile.TemporaryDirectory() as folder:  # yours would stay
      ...     training.compilation_cache(folder)
      ...     training.compilation_cache(None)
    """
    try:
        _use(None if folder is None else Kept(Path(folder), max_bytes))
    except OSError as error:
        raise ValueError(f"folder={str(folder)!r}: {error}") from error


def keep(name: str) -> str:
    """The name that a program needs to be kept; the first call settles the folder."""
    given = os.environ.get("JAXAD_CACHE") or None
    wanted = not _settled and given not in ("off", "0")
    if wanted and _config.jax_enable_compilation_cache and not _configured_in_jax():
        try:
            _use(Kept(_users_folder() if given is None else Path(given)))
        except (OSError, RuntimeError, ImportError) as error:  # RuntimeError: there is no home
            _use(None)
            _warn(error)
    return _MARK + name


class Kept:
    """A cache of programs in a folder, with the interface that JAX expects.

    Files are written beside their place and then moved there, and begin with a digest, so a broken
    one is never used. Processes may share the folder.

    Args:
      folder: made for its owner alone if missing.
      max_bytes: programs that were not used for longest are deleted beyond this size.

    Raises:
      OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES):
        self._path = _own_folder(folder)  # JAX reads this name
        self._max_bytes = max_bytes
        self._stopped = False

    def get(self, key: str) -> bytes | None:
        """The program kept under ``key``, or None."""
        if _configured_in_jax():  # since this cache came into use
            _use(None)
        elif _MARK in key:
            path = self._file(key)
            with contextlib.suppress(OSError):
                entry = path.read_bytes()
                program = entry[_DIGEST:]
                if hashlib.sha256(program).digest() == entry[:_DIGEST]:
                    os.utime(path)  # the time of last use
                    return program
        return None

    def put(self, key: str, program: bytes) -> None:
        """Keep a program; after a first failure, such as a full disk, only a warning."""
        if _MARK not in key or self._stopped:
            return
        part = None
        try:
            with tempfile.NamedTemporaryFile(dir=self._path, suffix=_SUFFIX, delete=False) as file:
                part = file.name
                file.write(hashlib.sha256(program).digest() + program)
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it
                os.replace(part, self._file(key))
            self._prune()
        except OSError as error:
            self._stopped = True
            if part is not None:
                with contextlib.suppress(OSError):
                    os.unlink(part)
            _warn(error)

    def _file(self, key: str) -> Path:
        return self._path / (key + _SUFFIX)

    def _prune(self) -> None:
        """Delete the programs that were not used for longest, if all are too large."""
        found = []
        for path in self._path.glob("*" + _SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # other processes prune, too
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        excess = sum(size for _, size, _ in found) - self._max_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _use(cache: Kept | None) -> None:
    """Make JAX use a cache instead of the one it has."""
    global _settled
    _settled = True
    jax_cache.reset_cache()
    if cache is not None:
        from jax._src import compilation_cache as internals  # JAX has no public way to set a cache

        internals._cache = cache  # pyright: ignore[reportAttributeAccessIssue]
        # Small programs are kept, too: together they are most of a fit's compilation.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _configured_in_jax() -> bool:
    return _config.jax_compilation_cache_dir is not None


def _users_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("jaxad", appauthor=False) / "programs"


def _own_folder(folder: Path) -> Path:
    """Make a folder for its owner alone; raise an OSError unless only the user can write to it."""
    folder = folder.expanduser().resolve()
    for part in (*reversed(folder.parents), folder):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} is no folder that can be written to")
    if os.name == "posix":
        facts = folder.stat()
        if facts.st_uid != os.getuid():
            raise OSError(f"{folder} belongs to someone else, who could change the programs in it")
        for above in folder.parents:
            mode = above.stat().st_mode
            if mode & 0o002 and not mode & 0o1000:
                raise OSError(f"others can replace folders in {above}, and so this one")
        if facts.st_mode & 0o022:
            raise OSError(f"others can write to {folder}: chmod 700 makes it yours alone")
    return folder


def _warn(error: Exception) -> None:
    warnings.warn(
        f"compiled programs are not kept for later processes: {error}. The environment variable "
        "JAXAD_CACHE can name another folder, or be off",
        RuntimeWarning,
        stacklevel=3,
    )
