"""Reads and runs exported programs whose bytes were changed and signed anew: ``FILE FIRST COUNT``.

A line ``NUMBER begun`` comes before each, and ``NUMBER OUTCOME`` after it, so that the process that
started this one sees where it was if it crashes, or is killed because one takes over a minute.
"""

import json
import random
import signal
import sys
from pathlib import Path

import hostile
import numpy as np

import jaxad

path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
valid = path.read_bytes()
for number in range(first, first + count):
    print(number, "begun", flush=True)
    signal.alarm(60)
    draw, parts = random.Random(number), hostile.Parts(valid)
    change = draw.choice([hostile.flip, hostile.flip, hostile.number, hostile.move, hostile.cut])
    parts.body = bytearray(change(bytes(parts.body), draw))
    (tensor,) = parts.tensors
    parts.header[tensor] |= {"shape": [len(parts.body)], "data_offsets": [0, len(parts.body)]}
    hostile_path = path.with_name("hostile")
    hostile_path.write_bytes(parts.encoded())
    try:
        exported = jaxad.load_exported(hostile_path)
    except ValueError:
        print(number, "refused", flush=True)
        continue
    print(number, "loaded", flush=True)
    try:
        exported.run(np.zeros((1, 5), np.float32))
        print(number, "run", flush=True)
    except Exception as error:
        print(number, json.dumps(type(error).__name__), flush=True)
