"""Records what Spark answers to job.toml, batch by batch, in expected.json.

    python3 -m venv /tmp/spark && /tmp/spark/bin/pip install pyspark==4.3.0
    /tmp/spark/bin/python examples/flights/record.py

Needs Python 3.11 and a JDK 17. Schema, watermark and SQL are the job's own; the plugin's function
is a Python UDF here. Each row is written as `tidemill run` prints it with
`--set sink.options.format=json`; the rows of a batch are sorted.
"""

import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path

from pyspark.sql import SparkSession

HERE = Path(__file__).parent


def delay_class(minutes):
    if minutes is None:
        return "cancelled"
    if minutes < 0:
        return "early"
    if minutes < 15:
        return "on time"
    return "late" if minutes < 60 else "very late"


def in_order(source, directory):
    """Copies the files so that the order of their times is that of their names."""
    for number, file in enumerate(sorted(source.glob("*.json"))):
        copy = directory / file.name
        shutil.copy(file, copy)
        os.utime(copy, (1_700_000_000 + number,) * 2)


def printed(value):
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="milliseconds") + "Z"
    return value


job = tomllib.loads((HERE / "job.toml").read_text())
[(table, source)] = job["source"].items()
[step] = job["step"]
os.environ["TZ"] = "UTC"  # of the timestamps that Python is handed

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "4")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
spark.udf.register("delay_class", delay_class, "string")

recorded = []


def record(batch, batch_id):
    rows = [{name: printed(value) for name, value in row.asDict().items()} for row in batch.collect()]
    rows.sort(key=json.dumps)
    recorded.extend({"batch_id": batch_id, "row": row} for row in rows)


with tempfile.TemporaryDirectory() as work:
    data = Path(work) / "input"
    data.mkdir()
    in_order(HERE / source["path"], data)
    watermark = source["watermark"]
    stream = spark.readStream.format(source["format"]).schema(source["schema"]).options(**source["options"])
    stream = stream.load(str(data)).withWatermark(watermark["column"], watermark["delay"])
    stream.createOrReplaceTempView(table)
    query = spark.sql(step["sql"]).writeStream.outputMode(job["output_mode"]).foreachBatch(record)
    query = query.option("checkpointLocation", f"{work}/checkpoint").trigger(availableNow=True).start()
    query.awaitTermination()

lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in recorded)
(HERE / "expected.json").write_text(f"[\n{lines}\n]\n")
spark.stop()
