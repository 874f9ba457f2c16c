"""Spark between two topics until it is killed: rows as they are, or sums as they change.

Usage: python spark_kafka_live.py pass|updates BOOTSTRAP INPUT OUTPUT CHECKPOINT JARS
The default trigger: a batch as soon as the last one ended.
"""

import glob
import shutil
import sys

from pyspark.sql.functions import col, from_json, max as max_of, struct, sum as sum_of, to_json, window

from jvm import SCHEMA, session

job, bootstrap, source, sink, checkpoint, jars = sys.argv[1:7]
shutil.rmtree(checkpoint, ignore_errors=True)
settings = {"spark.jars": ",".join(glob.glob(f"{jars}/*.jar"))}
# It is killed, and would leave its files where nobody looks.
spark = session(**settings, **{"spark.local.dir": f"{checkpoint}-local"})
records = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", bootstrap)
    .option("subscribe", source)
    .option("startingOffsets", "earliest")
    .load()
)
if job == "pass":
    mode = "append"
    rows = records.selectExpr("CAST(key AS STRING) AS key", "CAST(value AS STRING) AS value")
else:
    mode = "update"
    orders = (
        records.select(from_json(col("value").cast("string"), f"sent DOUBLE, {SCHEMA}").alias("data"))
        .select("data.*")
        .withWatermark("order_time", "5 minutes")
    )
    revenue = orders.groupBy(window(col("order_time"), "5 minutes"), col("category")).agg(
        sum_of("amount").alias("total_revenue"), max_of("sent").alias("sent")
    )
    rows = revenue.select(col("category").alias("key"), to_json(struct("*")).alias("value"))
(
    rows.writeStream.outputMode(mode)
    .format("kafka")
    .option("kafka.bootstrap.servers", bootstrap)
    .option("topic", sink)
    .option("checkpointLocation", checkpoint)
    .start()
    .awaitTermination()
)
