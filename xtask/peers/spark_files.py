"""The reference job on Spark: sums per 5-minute window and category over JSON files.

Usage: python spark_files.py DATA CHECKPOINT FILES_PER_BATCH
Prints one JSON object as its last line. Times of the query are without the start of the JVM;
processor time and memory are the JVM's, as the kernel counts them.
"""

import time

BEGIN = time.time()

import json
import shutil
import sys

from pyspark.sql.functions import col, sum as sum_of, window

from jvm import SCHEMA, child, cpu_s, peak_mib, session

data, checkpoint, files_per_batch = sys.argv[1:4]
spark = session()
jvm = child()

orders = (
    spark.readStream.schema(SCHEMA)
    .option("maxFilesPerTrigger", files_per_batch)
    .json(data)
    .withWatermark("order_time", "5 minutes")
)
revenue = orders.groupBy(window(col("order_time"), "5 minutes"), col("category")).agg(
    sum_of("amount").alias("total_revenue")
)
shutil.rmtree(checkpoint, ignore_errors=True)

start_s, start_cpu_s = time.time() - BEGIN, cpu_s(jvm)
begin = time.time()
query = (
    revenue.writeStream.outputMode("update")
    .format("noop")
    .option("checkpointLocation", checkpoint)
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
wall_s = time.time() - begin

batches = [p for p in query.recentProgress if p["numInputRows"] > 0]
warm = batches[len(batches) // 2 :]
print(
    json.dumps(
        {
            "rows": sum(p["numInputRows"] for p in batches),
            "wall_s": wall_s,
            "cpu_s": cpu_s(jvm) - start_cpu_s,
            "peak_mib": peak_mib(jvm),
            "start_s": start_s,
            "start_cpu_s": start_cpu_s,
            "first_batch_s": start_s + batches[0]["batchDuration"] / 1000,
            "warm_rows_per_s": sum(p["numInputRows"] for p in warm)
            / (sum(p["batchDuration"] for p in warm) / 1000),
        }
    )
)
spark.stop()
