"""Scores a folder of photos with Spark: spark-submit score.py PHOTOS PROFILE OUT [MASTER]"""

import json
import os
import sys
from collections.abc import Iterator

import blemish
import pandas as pd
from pyspark.sql import SparkSession


def scored(batches: Iterator[pd.DataFrame], file: str) -> Iterator[pd.DataFrame]:
    """A partition. It opens the profile once."""
    profile = blemish.Profile(file)

    def row(path: str, content: bytes) -> str:
        try:
            fields = profile.score(bytes(content)).to_dict()
        except blemish.BlemishError as error:
            # A bad photo must not stop the others.
            fields = {"error": str(error)}
        return json.dumps({**fields, "path": path.removeprefix("file:")})

    for batch in batches:
        yield pd.DataFrame(
            {"row": [row(*photo) for photo in zip(batch.path, batch.content)]}
        )


def main() -> None:
    # Two cores of this machine. A task that dies is tried up to four times.
    # The workers of this machine run in the same environment.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    photos, profile, out, master = (*sys.argv[1:], "local[2,4]")[:4]
    spark = SparkSession.builder.master(master).appName("blemish").getOrCreate()
    # Decoded photos are large: few at a time.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "16")
    found = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .load(photos)
    )
    found = found.select("path", "content").repartition(8)
    rows = found.mapInPandas(lambda batches: scored(batches, profile), "row string")
    with open(out, "w") as file:
        file.writelines(row.row + "\n" for row in rows.toLocalIterator())
    spark.stop()


if __name__ == "__main__":
    main()
