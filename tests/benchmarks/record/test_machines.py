"""Processors, and the rates at which their cores multiply."""

import platform
from importlib.util import find_spec

import pytest

from benchmarks.record import environment, machines, products
from benchmarks.speed.worker import Worker

INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 207
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse sse4_2 fma avx avx2 avx512f avx512_bf16 avx_vnni amx_tile amx_bf16 f16c rdtscp

processor\t: 1
vendor_id\t: Second
model name\t: second
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes crc32 asimdhp asimddp sve i8mm bf16 bti
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
"""


def test_the_processor_is_that_of_the_first_core(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(INTEL)
    assert environment.processor(file) == {
        "vendor": "GenuineIntel",
        "family": "6",
        "model": "207",
        "name": "Intel(R) Xeon(R) Processor",
        "flags": "amx_bf16 amx_tile avx avx2 avx512_bf16 avx512f avx_vnni f16c fma".split(),
    }


def test_an_arm_processor_has_its_architecture_and_part(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(ARM)
    found = environment.processor(file)
    assert [found[key] for key in ("vendor", "family", "model")] == ["Arm", "8", "0xd40"]
    assert found["flags"] == ["asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"]
    assert found["name"]
    name = machines.processor_name({"processor": found})
    assert name.endswith("(Arm, family 8, model 0xd40)")


def test_a_system_without_the_file_has_a_name(tmp_path):
    found = environment.processor(tmp_path / "nothing")
    assert found["name"] in (platform.processor(), platform.machine())
    assert (found["vendor"], found["family"], found["flags"]) == (None, None, [])
    assert machines.processor_name({"processor": found}) == found["name"]


def test_every_installed_library_has_a_rate():
    found = products.rates()
    assert list(found) == ["XLA", "numpy", *(["PyTorch"] if find_spec("torch") else [])]
    assert all(0.1 < rate < 1e5 for rate in found.values())
    assert products.rates() is found  # measured once


def test_a_process_stays_on_the_cores_it_is_given():
    usable = environment.usable_cores()
    for cores in (usable[-1:], usable, None):
        with Worker("benchmarks.record.environment", cores=cores) as worker:
            assert worker.call("usable_cores").result == (cores or usable)
    assert environment.usable_cores() == usable


def test_all_cores_multiply_at_once():
    cores = environment.usable_cores()
    with products.on_cores(cores, count=2) as (multiply, operations):
        multiply()
        multiply()
    assert operations == len(cores) * 2 * 2 * 1024**3


@pytest.mark.parametrize(
    ("machine", "shown"),
    [
        ({"processor": {"name": "AMD EPYC"}}, "AMD EPYC: not recorded."),
        (
            {
                "processor": {"name": "x", "vendor": "v", "family": "1", "model": None},
                "product_gflops": {"XLA": 235.4, "PyTorch": 110.0},
            },
            "x (v, family 1): XLA 235, PyTorch 110 GFLOP/s a core.",
        ),
    ],
)
def test_a_machine_in_words(machine, shown):
    text = machines.text([machine, machine])
    assert " ".join(text.split()).endswith(f"1024 x 1024 matrices: {shown}")
    assert machines.text([]) == ""


def test_rates_of_several_runs_are_their_medians():
    rates = [{"XLA": 100.0, "PyTorch": 50.0}, {"XLA": 120.0}, {"XLA": 104.0}, {}]
    shown = machines.product_rates(*({"product_gflops": one} for one in rates))
    assert shown == "XLA 104, PyTorch 50 GFLOP/s a core"
