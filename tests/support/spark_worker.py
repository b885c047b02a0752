"""A fleet on a local Spark with two workers, for `test_partitions`."""

import os
import sys

from partitioned import FEATURES, fleet_of, same_fleets, table_of
from pyspark.sql import SparkSession

from jaxad.fleet import fit_partition, survey_partition


def main():
    # The workers of Spark import what this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "3")
        .getOrCreate()
    )
    table = table_of().rename_axis("row").reset_index()
    fleet = fleet_of(columns=FEATURES)
    # Whole groups in each partition, their rows in the order of the table.
    rows = spark.createDataFrame(table).repartition("machine").sortWithinPartitions("row")

    def surveys(frames):
        yield survey_partition(frames, fleet)

    begun = fleet.begin(rows.mapInPandas(surveys, "groups long, survey binary").toPandas())

    def models(frames):
        yield fit_partition(frames, begun)

    fleet.merge(rows.mapInPandas(models, "groups long, model binary").toPandas())
    whole = fleet_of(columns=FEATURES).fit(table)
    same_fleets(fleet, whole, table)

    def scored(frames):
        for frame in frames:
            yield fleet.score(frame).assign(
                row=frame["row"], source=lambda f: f["source"].astype(str)
            )

    schema = (
        "machine string, score double, p_value double, is_anomaly boolean, source string, row int"
    )
    found = rows.mapInPandas(scored, schema).toPandas().sort_values("row")
    for name, values in whole.score(table).items():
        assert (found[name].to_numpy() == values.to_numpy()).all(), name
    spark.stop()


if __name__ == "__main__":
    main()
    print("equal")
