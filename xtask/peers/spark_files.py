"""The reference job on Spark: sums per 5-minute window and category over JSON files.

Usage: python spark_files.py DATA CHECKPOINT FILES_PER_BATCH
Prints one JSON object as its last line. Times of the query are without the start of the JVM;
processor time and memory are the JVM's, as the kernel counts them.
"""

import time

BEGIN = time.time()

import json
import os
import shutil
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, sum as sum_of, window

TICKS = os.sysconf("SC_CLK_TCK")
SCHEMA = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP"


def child():
    """The process id of the JVM, our only child."""
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        return int(children.read().split()[0])


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


data, checkpoint, files_per_batch = sys.argv[1:4]
cores = os.cpu_count()
spark = (
    SparkSession.builder.master(f"local[{cores}]")
    .config("spark.sql.shuffle.partitions", cores)
    .config("spark.driver.memory", "4g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
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
