"""Stateful operators on Spark over JSON files.

Usage: python spark_state.py CASE DATA CHECKPOINT
CASE is one of join, dedup, sessions, keys. Prints one JSON object as its last line. Times of the
query are without the start of the JVM; processor time and memory are the JVM's, as the kernel
counts them. The rows for the sink are counted by an observation, which is part of the query.
"""

import json
import os
import shutil
import sys
import time

from pyspark.sql.functions import col, count, lit, session_window, sum as sum_of, window

from jvm import child, cpu_s, peak_mib, session

case, data, checkpoint = sys.argv[1:4]
spark = session()
jvm = child()


def events(name, schema):
    return (
        spark.readStream.schema(schema)
        .option("maxFilesPerTrigger", 1)
        .json(os.path.join(data, name))
    )


def side(name, p):
    rows = events(name, f"{p}id STRING, k STRING, {p}v BIGINT, {p}t TIMESTAMP")
    rows = rows.withWatermark(f"{p}t", "30 seconds")
    return rows.select(window(col(f"{p}t"), "1 minute").alias("w"), f"{p}id", "k", f"{p}v")


mode = "append"
if case == "join":
    out = side("left", "l").join(side("right", "r"), ["w", "k"]).select("w", "lid", "rid", "k")
elif case == "dedup":
    rows = events("events", "id STRING, k STRING, v BIGINT, ts TIMESTAMP")
    out = rows.dropDuplicates(["id"])
elif case == "sessions":
    rows = events("events", "id STRING, k STRING, v BIGINT, ts TIMESTAMP")
    rows = rows.withWatermark("ts", "20 seconds")
    out = rows.groupBy(session_window(col("ts"), "30 seconds"), col("k")).agg(
        count(lit(1)).alias("n"), sum_of("v").alias("total")
    )
else:
    mode = "update"
    out = events("events", "k STRING").groupBy("k").agg(count(lit(1)).alias("n"))

shutil.rmtree(checkpoint, ignore_errors=True)
start_cpu_s = cpu_s(jvm)
begin = time.time()
query = (
    out.observe("out", count(lit(1)).alias("rows"))
    .writeStream.outputMode(mode)
    .format("noop")
    .option("checkpointLocation", checkpoint)
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
wall_s = time.time() - begin

progress = query.recentProgress
batches = [p for p in progress if p["numInputRows"] > 0]
warm = batches[len(batches) // 2 :]
state_rows, state_bytes = max(
    tuple(
        sum(operator[name] for operator in p["stateOperators"])
        for name in ("numRowsTotal", "memoryUsedBytes")
    )
    for p in progress
)
print(
    json.dumps(
        {
            "rows": sum(p["numInputRows"] for p in batches),
            "rows_out": sum(
                p["observedMetrics"]["out"]["rows"] for p in progress if p["observedMetrics"]
            ),
            "wall_s": wall_s,
            "cpu_s": cpu_s(jvm) - start_cpu_s,
            "peak_mib": peak_mib(jvm),
            "warm_rows_per_s": sum(p["numInputRows"] for p in warm)
            / (sum(p["batchDuration"] for p in warm) / 1000),
            "batches_ms": [p["batchDuration"] for p in batches],
            "state_rows": state_rows,
            "state_bytes": state_bytes,
        }
    )
)
spark.stop()
