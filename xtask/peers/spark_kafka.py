"""The reference job on Spark over Kafka: sums per 5-minute window and category.

Usage: python spark_kafka.py BOOTSTRAP TOPIC ROWS_PER_BATCH CHECKPOINT JARS
Runs the query twice in one process: cold, and warm. Prints one JSON object as its last line.
Times of the queries are without the start of the JVM; processor time and memory are the JVM's, as
the kernel counts them.
"""

import glob
import json
import shutil
import sys
import time

from pyspark.sql.functions import col, from_json, sum as sum_of, window

from jvm import CORES, SCHEMA, child, cpu_s, peak_mib, session

bootstrap, topic, rows_per_batch, checkpoint, jars = sys.argv[1:6]
spark = session(**{"spark.jars": ",".join(glob.glob(f"{jars}/*.jar"))})
jvm = child()


def run():
    orders = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", rows_per_batch)
        # A topic of one partition is read on all cores, too.
        .option("minPartitions", CORES)
        .load()
        .select(from_json(col("value").cast("string"), SCHEMA).alias("data"))
        .select("data.*")
        .withWatermark("order_time", "5 minutes")
    )
    revenue = orders.groupBy(window(col("order_time"), "5 minutes"), col("category")).agg(
        sum_of("amount").alias("total_revenue")
    )
    shutil.rmtree(checkpoint, ignore_errors=True)
    begin, begin_cpu_s = time.time(), cpu_s(jvm)
    query = (
        revenue.writeStream.outputMode("update")
        .format("noop")
        .option("checkpointLocation", checkpoint)
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return {
        "rows": sum(p["numInputRows"] for p in query.recentProgress),
        "wall_s": time.time() - begin,
        "cpu_s": cpu_s(jvm) - begin_cpu_s,
    }


print(json.dumps({"cold": run(), "warm": run(), "peak_mib": peak_mib(jvm)}))
spark.stop()
