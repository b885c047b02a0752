"""Hostile files: valid ones, changed as by someone who knows their format.

A change is a function ``(content, draw)``, where ``draw`` is a `random.Random`. `changed` makes
several of them, so that a failing case is told by their names and a seed.
"""

import hashlib
import io
import json
import math
import random
import re
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

PETA = 1 << 50
# What a change may raise if an earlier one has left nothing that it can change.
_NOTHING_LEFT = LookupError, TypeError, ValueError, AttributeError, RecursionError
DTYPES = {"BOOL": "bool", "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64"}
DTYPES |= {f"{c}{b}": f"{k}int{b}" for c, k in (("I", ""), ("U", "u")) for b in (8, 16, 32, 64)}
WRONG_DTYPES = ["F33", "BF16", "O", "object", "", None, 7]
SHAPES = [[PETA], [-1], [2**31, 2**31], [0, PETA], [PETA, 0], [1] * 70, [1.0], ["2"], [True], {}]
NAMES = ["../../etc/passwd", "/dev/zero", "__class__", "__reduce__", "jaxad.persistence.write", ""]
HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 3, 1e308, 1e-320, 0.5, math.nan, math.inf, -math.inf, 2**31, 2**63,
    -(2**63), 10**30, PETA, "x" * 5_000, "\ud800", "\x00", [], {}, [[]], [None], [1, [2, [3]]],
    [PETA], [0] * 999, {"function": "os.system"}, {"function": "jaxad.persistence.write"},
    {"function": "jaxad.losses.sad.labelled_exponent"}, {"function": ""}, {"recipe": {}},
    {"recipe": {"epochs": PETA}}, {"": {"": {"": 0}}}, *NAMES,
]  # fmt: skip


def deep(levels: int = 3_000) -> Any:
    """Lists in lists."""
    found: Any = 0
    for _ in range(levels):
        found = [found]
    return found


def changed(content: Any, changes: Mapping[str, Callable], names: Sequence[str], seed: int) -> Any:
    """Make changes one after the other; one that finds nothing to change leaves all as it is."""
    draw = random.Random(seed)
    for name in names:
        given = changes[name](content, draw)
        content = content if given is None else given
    return content


# --- bytes --------------------------------------------------------------------------------------


def flip(data: bytes, draw: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(min(draw.choice([1, 1, 2, 16]), len(found))):
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def insert(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice([b"\0", b"\xff" * 9, draw.randbytes(40), data[:99]]) + data[at:]


def leave_out(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + data[at + draw.choice([1, 4, 8, 100]) :]


def move(data: bytes, draw: random.Random) -> bytes:
    at, to = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    size = draw.choice([4, 8, 64])
    return data[:at] + data[to : to + size] + data[at + size :]


def number(data: bytes, draw: random.Random) -> bytes:
    """Overwrite what may be a length or an offset."""
    kind = draw.choice(["<I", ">I", "<Q", ">Q", "<H"])
    size = struct.calcsize(kind)
    values = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, PETA, 2**63, 2**64 - 1, len(data)]
    value = draw.choice(values) % (1 << 8 * size)
    at = draw.randrange(max(len(data) - size, 0) + 1)
    return data[:at] + struct.pack(kind, value) + data[at + size :]


BYTES = {f.__name__: f for f in (flip, cut, insert, leave_out, move, number)}


# --- JSON ---------------------------------------------------------------------------------------


def place(tree: Any, draw: random.Random) -> tuple[Any, Any] | None:
    """A container somewhere in a tree, and one of its keys."""
    found = None
    while isinstance(tree, dict | list) and tree:
        key = draw.choice(list(tree)) if isinstance(tree, dict) else draw.randrange(len(tree))
        found, tree = (tree, key), tree[key]
        if draw.random() < 0.3:
            break
    return found


def _at_a_place(change: Callable) -> Callable:
    def made(tree: Any, draw: random.Random) -> None:
        if (found := place(tree, draw)) is not None:
            change(tree, *found, draw)

    made.__name__ = change.__name__
    return made


def copied(values: Sequence[Any], draw: random.Random) -> Any:
    """A copy of one of the values, which later changes may alter."""
    return json.loads(json.dumps(draw.choice(values)))


@_at_a_place
def replace(tree, node, key, draw):
    node[key] = copied(HOSTILE, draw)


@_at_a_place
def remove(tree, node, key, draw):
    del node[key]


@_at_a_place
def rename(tree, node, key, draw):
    value = node.pop(key)
    if isinstance(node, dict):
        node[draw.choice([*NAMES, f"{key}x", "x" * 5_000])] = value


@_at_a_place
def add(tree, node, key, draw):
    if isinstance(node, dict):
        node[draw.choice([*NAMES, "evil", "function", "recipe"])] = copied(HOSTILE, draw)
    else:
        node.insert(key, copied(HOSTILE, draw))


@_at_a_place
def copy(tree, node, key, draw):
    if (other := place(tree, draw)) is not None:
        node[key] = json.loads(json.dumps(other[0][other[1]]))


@_at_a_place
def nest(tree, node, key, draw):
    node[key] = draw.choice([[node[key]], {"a": node[key]}, deep(draw.choice([20, 900, 3_000]))])


@_at_a_place
def arithmetic(tree, node, key, draw):
    value = node[key]
    if isinstance(value, int | float):
        node[key] = draw.choice([value + 1, -value, value * 1e9, str(value), [value], bool(value)])
    elif isinstance(value, list):
        more = value * 500 if len(value) < 100 else value * 2
        node[key] = draw.choice([value * 2, value[::-1], value[1:], more])
    elif isinstance(value, str):
        more = value * 99 if len(value) < 1_000 else value * 2
        node[key] = draw.choice([value[:-1], more, value.upper(), [value], f"../{value}"])


JSON = {f.__name__: f for f in (replace, remove, rename, add, copy, nest, arithmetic)}


# --- files of jaxad -------------------------------------------------------------------------------


class Parts:
    """A file of jaxad's in its parts, which are put together again with fitting checksums."""

    def __init__(self, data: bytes):
        length = int.from_bytes(data[:8], "little")
        self.header = json.loads(data[8 : 8 + length])
        self.document = json.loads(self.header["__metadata__"]["jaxad"])
        self.body = bytearray(data[8 + length :])
        self.text: list[Callable[[str], str]] = []  # changes of the header's text
        self.signs = True

    @property
    def tensors(self) -> list[str]:
        return [name for name in self.header if name != "__metadata__"]

    def encoded(self) -> bytes:
        entries = self.header.get("__metadata__")
        if self.signs and isinstance(entries, dict):
            entries["jaxad"] = _dumps(self.document)
            entries["sha256"] = self._digest(entries["jaxad"])
            entries["header_sha256"] = "0" * 64
        text = _dumps(self.header)
        for change in self.text:
            text = change(text)
        if self.signs:
            signed = hashlib.sha256(text.encode()).hexdigest()
            text = text.replace(f'"header_sha256":"{"0" * 64}"', f'"header_sha256":"{signed}"')
        header = text.encode()
        return len(header).to_bytes(8, "little") + header + bytes(self.body)

    def _digest(self, document: str) -> str:
        found = hashlib.sha256(document.encode(errors="surrogatepass"))
        try:
            for name in sorted(self.tensors):
                entry = self.header[name]
                begin, end = entry["data_offsets"]
                values = np.frombuffer(self.body[begin:end], DTYPES[entry["dtype"]])
                shape = values.reshape(entry["shape"]).shape  # a length of -1 is inferred
                kind = [name, DTYPES[entry["dtype"]], shape]
                found.update(json.dumps(kind).encode() + self.body[begin:end])
        except (LookupError, TypeError, ValueError, RecursionError):
            pass  # no digest would fit
        return found.hexdigest()


def _dumps(tree: Any) -> str:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)  # for deep documents
    try:
        return json.dumps(tree, separators=(",", ":"))
    finally:
        sys.setrecursionlimit(limit)


def _in(part: str, change: Callable) -> Callable:
    return lambda parts, draw: change(getattr(parts, part), draw)


def _of_a_tensor(change: Callable) -> Callable:
    def made(parts: Parts, draw: random.Random) -> None:
        names = [n for n in parts.tensors if _is_whole(parts.header[n])]
        if names:
            change(parts, parts.header[draw.choice(names)], draw)

    return made


def _is_whole(entry: Any) -> bool:
    return isinstance(entry, dict) and {"dtype", "shape", "data_offsets"} <= entry.keys()


def _dtype(parts, entry, draw):
    entry["dtype"] = draw.choice([*DTYPES, *DTYPES, *WRONG_DTYPES])


def _shape(parts, entry, draw):
    shape = entry["shape"]
    known = isinstance(shape, list) and all(type(n) is int for n in shape)
    entry["shape"] = copied([*SHAPES, [math.prod(shape)], shape[::-1]] if known else SHAPES, draw)


def _offsets(parts, entry, draw):
    begin, end = draw.choice([[0, len(parts.body)], [0, 0], [0, PETA], [-8, -4], [8, 0]])
    entry["data_offsets"] = [begin, end]


def _swap(parts, entry, draw):
    """Give two tensors each other's place, type or shape."""
    other = parts.header[draw.choice(parts.tensors)]
    name = draw.choice(["dtype", "shape", "data_offsets"])
    if _is_whole(other):
        entry[name], other[name] = other[name], entry[name]


def _values(parts, entry, draw):
    """Numbers that no training gives, in place of a tensor's."""
    begin, end = entry["data_offsets"]
    kind = np.dtype(DTYPES[entry["dtype"]])
    values = [np.nan, np.inf, -np.inf, 1e38, -1, 0, 2**31 - 1, -(2**31)]
    with np.errstate(all="ignore"):
        value = np.array(draw.choice(values)).astype(kind).tobytes()
    size = (min(end, len(parts.body)) - begin) // len(value)
    if draw.random() < 0.5:
        parts.body[begin:end] = value * size
    else:
        at = begin + draw.randrange(size) * len(value)
        parts.body[at : at + len(value)] = value


def _claim(parts, entry, draw):
    """A tensor of a petabyte: in the header, and in the offsets of all that follow."""
    entry["shape"], entry["data_offsets"] = [PETA], [0, PETA * 4]


def _empty(parts, entry, draw):
    """A tensor without values, one of whose lengths is enormous; what it had is left out."""
    begin, end = entry["data_offsets"]
    entry["shape"] = draw.choice([[0, PETA], [PETA, 0], [2**40, 0], [0]])
    entry["data_offsets"] = [begin, begin]
    del parts.body[begin:end]
    for name in parts.tensors:
        places = parts.header[name]["data_offsets"]
        if parts.header[name] is not entry and places[0] >= end:
            parts.header[name]["data_offsets"] = [at - end + begin for at in places]


def _twice(parts, draw):
    """Many tensors with the same bytes."""
    for i in range(draw.choice([1, 50])):
        parts.header[f"/more{i}"] = dict(parts.header[draw.choice(parts.tensors)])
        parts.document["structure"][f"more{i}"] = None


def _duplicate(parts, draw):
    """A name that stands twice in one object of the header."""
    which = draw.choice(["dtype", "shape", "jaxad", "sha256", "data_offsets"])
    value = draw.choice(['"F32"', "[9]", "null", "[0,8]"])
    parts.text.append(lambda text: text.replace(f'"{which}":', f'"{which}":{value},"{which}":', 1))


def _nan(parts, draw):
    word = draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "\\ud800"])
    parts.text.append(lambda text: re.sub(r"\[\d+", lambda _: f"[{word}", text, count=1))


def _nested(parts, draw):
    text = draw.choice(['{"a":', "[", '{"jaxad":']) * draw.choice([500, 100_000])
    parts.text.append(lambda _: text)


def _unsigned(parts, draw):
    parts.signs = False


def _huge(parts, draw):
    parts.document["metadata"] = {"detector": "x" * 200_000}


def _other_file(parts, draw):
    """The kind of another file of jaxad's."""
    metadata = parts.document["metadata"]
    metadata["kind"] = draw.choice(["Fleet", "exported", None, "detector", 3])
    metadata["detector"] = draw.choice(["DAGMM", "GOAD", "ObjectiveDetector", "Detector", [3]])


def _body(parts, draw):
    parts.body = bytearray(draw.choice([flip, cut, insert, number])(bytes(parts.body), draw))


OURS: dict[str, Callable] = {f"header {n}": _in("header", f) for n, f in JSON.items()}
OURS |= {f"document {n}": _in("document", f) for n, f in JSON.items()}
OURS |= {
    f"metadata {n}": lambda parts, draw, f=f: f(parts.document.get("metadata"), draw)
    for n, f in JSON.items()
}
OURS |= {
    f"tensor {f.__name__[1:]}": _of_a_tensor(f)
    for f in (_dtype, _shape, _offsets, _swap, _values, _claim, _empty)
}
OURS |= {
    f.__name__[1:]: f
    for f in (_twice, _duplicate, _nan, _nested, _unsigned, _huge, _other_file, _body)
}


def ours(data: bytes, names: Sequence[str], seed: int) -> bytes:
    """A file of jaxad's, changed in its parts or, for names of `BYTES`, as a whole."""
    parts = Parts(data)
    draw = random.Random(seed)
    for name in names:
        if name in OURS:
            with suppress(*_NOTHING_LEFT):
                OURS[name](parts, draw)
    return changed(parts.encoded(), BYTES, [name for name in names if name in BYTES], seed)


# --- other formats ------------------------------------------------------------------------------


# A pickle that calls `print` when it is read.
PICKLED = b"\x80\x02cbuiltins\nprint\nX\x04\x00\x00\x00code\x85R."
_DESCRIPTIONS = ["'|O'", "'<f4'", "'|V9'", "'<U99'", "'<M8[ns]'", "[('a','<f8')]", "'>f8'", "3"]
_LENGTHS = [f"({PETA},)", "(-1,)", "(0, 4)", "(3, 2)", "()", "None", "(True,)", f"(0, {PETA})"]


def npy_header(data: bytes, draw: random.Random) -> bytes:
    """Another type, shape or order in the header of an npy file."""
    if not data.startswith(b"\x93NUMPY\x01") or len(data) < 12:
        return data
    (length,) = struct.unpack("<H", data[8:10])
    header = data[10 : 10 + length].decode("latin1")
    field, values = draw.choice(
        [("descr", _DESCRIPTIONS), ("shape", _LENGTHS), ("fortran_order", ["True", "3"])]
    )
    value = draw.choice([*values, "(" * 3_000, "__import__('os').getpid()", "1e999", "'x'*9**9"])
    header = re.sub(rf"'{field}': (\([^)]*\)|[^,]*),", lambda _: f"'{field}': {value},", header)
    version = draw.choice([1, 1, 1, 1, 2, 3, 9])
    text = header.encode("latin1")
    return (
        data[:6] + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data[10 + length :]
    )


def pickled(data: bytes, draw: random.Random) -> bytes:
    """A pickle, by itself or as the values of an npy file of objects."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + PICKLED
    return draw.choice([PICKLED, npy])


NPY = BYTES | {f.__name__: f for f in (npy_header, pickled)}


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def npz(data: bytes, names: Sequence[str], seed: int) -> bytes:
    """An npz file, changed in its members or, for names of `BYTES`, as a whole."""
    draw, members = random.Random(seed), _members(data)
    for name in names:
        at = draw.randrange(len(members))
        key, content = members[at]
        if name in ("npy_header", "pickled"):
            members[at] = key, NPY[name](content, draw)
        elif name == "renamed":
            members[at] = draw.choice(["../X.npy", "/tmp/X.npy", "X", "y.npy", "\x00.npy"]), content
        elif name == "again":
            members.append((key, draw.choice([content, b"", content[:50]])))
        elif name == "within":
            members[at] = key, data
        elif name == "bomb":
            header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({150_001},), }}\n"
            text = header.encode()
            npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
            members[at] = key, npy + bytes(8 * 150_001)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in members:
            with warnings.catch_warnings(action="ignore"):  # a name that stands twice
                archive.writestr(zipfile.ZipInfo(key), content, zipfile.ZIP_DEFLATED)
    return changed(written.getvalue(), BYTES, [name for name in names if name in BYTES], seed)


NPZ = ("npy_header", "pickled", "renamed", "again", "within", "bomb", *BYTES)


def cell(data: bytes, draw: random.Random) -> bytes:
    """Another text in one place of a table."""
    values = [b"", b"nan", b"inf", b"1e999", b"9" * 400, b'"', b'"a\n', b"\xff\xfe", b"0x10", b"\r"]
    values += [b"=1+1", b"a,b", b"\x00", b"x" * 9_000, b"True", b"1_0", b"-0", b"\xef\xbb\xbf"]
    parts = re.split(rb"([,\n])", data)
    parts[draw.randrange(0, len(parts), 2)] = draw.choice(values)
    return b"".join(parts)


def header_again(data: bytes, draw: random.Random) -> bytes:
    """Columns of one name, of none, or very many."""
    head, _, rest = data.partition(b"\n")
    names = head.split(b",")
    return draw.choice(
        [
            b",".join([names[0]] * len(names)) + b"\n" + rest,
            b",".join(names * 60 if len(names) < 60 else names) + b"\n" + rest,
            b"\n" + rest,
            head + b"\n",
            head + b"\n" + head,
        ]
    )


CSV = BYTES | {f.__name__: f for f in (cell, header_again)}


def parquet(data: bytes, names: Sequence[str], seed: int) -> bytes:
    """A Parquet file with another schema or other notes of pandas, or changed as bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(seed)
    if {"notes", "schema"} & set(names):
        table = pq.read_table(io.BytesIO(data))
        if "notes" in names:
            notes = json.loads(table.schema.metadata[b"pandas"])
            for _ in range(draw.choice([1, 2, 3])):
                with suppress(*_NOTHING_LEFT):
                    draw.choice(list(JSON.values()))(notes, draw)
            text = _dumps(notes).encode()
            table = table.replace_schema_metadata({b"pandas": draw.choice([text, text, b"{", b""])})
        if "schema" in names:
            at = draw.randrange(table.num_columns)
            rows = table.num_rows
            columns = [
                pa.array(["x"] * rows), pa.array([[1]] * rows), pa.nulls(rows),
                pa.array([{"a": 1}] * rows), pa.array([b"x"] * rows), pa.array([10**17] * rows),
                pa.array([0.5] * rows, pa.float16()), pa.array(["a"] * rows).dictionary_encode(),
                pa.array([1] * rows, pa.decimal128(9)), pa.array([1] * rows, pa.timestamp("ns")),
                pa.array([True] * rows), pa.array([2**63] * rows, pa.uint64()),
            ]  # fmt: skip
            name = draw.choice([table.column_names[at], table.column_names[0], "", "x" * 999])
            table = table.set_column(at, name, draw.choice(columns))
        written = io.BytesIO()
        pq.write_table(table, written)
        data = written.getvalue()
    return changed(data, BYTES | {"footer": footer}, [n for n in names if n in PARQUET[2:]], seed)


def footer(data: bytes, draw: random.Random) -> bytes:
    """Changes within the metadata at the end of a Parquet file."""
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    if start < 4:
        return data
    changed_footer = draw.choice([flip, number, move])(data[start:-8], draw)
    return data[:start] + changed_footer + data[-8:]


PARQUET = ("notes", "schema", "footer", *BYTES)


def word(data: bytes, draw: random.Random) -> bytes:
    """Another token in a TOML file."""
    values = [b"[" * 400, b"[" * 50_000, b"{a=" * 300, b"nan", b"-inf", b"9" * 5_000, b'"\\uD800"']
    values += [b"true", b"[[row]]\n", b'"x"', b"''", b"1979-05-27", b"a.b.c = 1\n", b"\xff", b"#"]
    values += [b"[]", b"{}", b'"../../x"', b"1e999", b"0x7fffffffffffffffff", b"seeds = 1\n", b"=="]
    parts = re.split(rb"(\s+)", data)
    parts[draw.randrange(len(parts))] = draw.choice(values)
    return b"".join(parts)


TOML = BYTES | {"word": word, "word again": word}


# --- what reading must not do ---------------------------------------------------------------------


class Forbidden(BaseException):
    """Reading a file did what no reading may do. No code that reads catches it."""


_FORBIDDEN = {
    *("exec", "pickle.find_class", "marshal.loads", "subprocess.Popen", "os.system", "os.exec"),
    *("os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir", "os.chmod"),
    *("os.symlink", "os.link", "os.truncate", "shutil.rmtree", "shutil.move", "socket.connect"),
    *("ctypes.dlopen", "import"),
}
_WATCHES: list[bool] = []  # while it holds something, reading is watched


def _watch(event: str, arguments: tuple) -> None:
    if not _WATCHES:
        return
    if event == "open":
        _, mode, flags = arguments
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & 3
        if writes:
            raise Forbidden(f"open{arguments}")
    elif event in _FORBIDDEN and not (event == "import" and arguments[0] in sys.modules):
        raise Forbidden(f"{event}{arguments}")


@contextmanager
def only_reading():
    """Raise `Forbidden` where code runs, a module is imported, or a file is written or removed."""
    if not hasattr(only_reading, "hooked"):
        sys.addaudithook(_watch)  # for the rest of the process; no hook can be taken away
        only_reading.hooked = True
    _WATCHES.append(True)
    try:
        yield
    finally:
        _WATCHES.pop()
