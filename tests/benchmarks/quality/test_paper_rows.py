"""Reading a table of the folder ``configs``: what is shared by its rows, and wrong entries."""

import pytest

from benchmarks.quality import paper_rows
from benchmarks.quality.paper_rows import Published
from benchmarks.settings import OptionError

TABLE = """
title = "A table"
command = "python -m benchmarks.run papers"
detector = "DAGMM"
protocol = "dagmm"
metric = "f1"
seeds = 3
[arguments]
epochs = 20
[published]
certainty = "confirmed"
[[row]]
name = "one"
dataset = "thyroid"
split = { anomaly_ratio = 0.1 }
published = { mean = 50.0, source = "table 2" }
"""


def read(folder, text):
    (folder / "made.toml").write_text(text)
    return paper_rows.read("made", folder)


def test_what_stands_at_the_top_holds_for_every_row(tmp_path):
    more = '[[row]]\nname = "two"\ndataset = "cardio"\narguments = { batch_size = 7 }\n'
    more += "split = { anomaly_ratio = 0.2 }\nseeds = 5"
    one, two = read(tmp_path, TABLE + more).rows
    assert one.published == Published(50.0, "confirmed", "table 2")
    assert (one.seeds, two.seeds) == (3, 5)
    assert two.arguments == {"epochs": 20, "batch_size": 7}
    assert two.published is None


@pytest.mark.parametrize(
    ("old", "new", "wrong", "valid"),
    [
        ("seeds = 3", "sedes = 3", "'sedes'", "seeds"),
        ('name = "one"', 'name = "one"\neffect = 3', "'effect'", "effort"),
        ("epochs = 20", "epoch = 20", "argument of made.toml, row 'one' 'epoch'", "epochs"),
        ("anomaly_ratio = 0.1", "ratio = 0.1", "split option", "anomaly_ratio"),
        ('"thyroid"', '"thyriod"', "'thyriod'", "thyroid"),
        ('"thyroid"', "18", "unknown dataset of made.toml, row 'one' 18", "thyroid"),
        ('"DAGMM"', '"DAGM"', "'DAGM'", "GOAD"),
        ('"dagmm"', '"zong"', "'zong'", "deep_sad_images"),
        ("mean = 50.0", "value = 50.0", "'value'", "mean"),
        ('"confirmed"', '"sure"', "'sure'", "from memory"),
        ("mean = 50.0", 'std_over = "pairs", mean = 50.0', "'pairs'", "classes"),
        ("mean = 50.0, ", "", "mean is missing", "published of made.toml"),
        ('command = "python', 'commands = "python', "'commands'", "command"),
        ("seeds = 3", "seeds = 0", "seeds=0", "at least 1"),
        ("seeds = 3", "seeds = ", "is not TOML", "made.toml"),
        ('detector = "DAGMM"', 'preset = "kdd"\ndetector = "GOAD"', "no preset", "GOAD"),
    ],
)
def test_a_wrong_entry_is_an_error_that_names_it_and_the_valid_ones(
    tmp_path, old, new, wrong, valid
):
    assert old in TABLE
    with pytest.raises(OptionError) as error:
        read(tmp_path, TABLE.replace(old, new))
    assert wrong in str(error.value)
    assert valid in str(error.value)
