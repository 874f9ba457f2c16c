"""Spark's functions on one core, over columns that are cached in memory.

Usage: python spark_functions.py CASES ROWS
Prints one JSON object as its last line: nanoseconds a row of each case, the best of three runs, less
those of a column alone.
"""

import json
import sys
import time

from pyspark.sql import SparkSession

cases, rows = json.load(open(sys.argv[1])), int(sys.argv[2])
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.driver.memory", "4g")
    .config("spark.log.level", "OFF")
    .getOrCreate()
)
columns = ["id"] + [f"{sql} AS {name}" for name, sql in cases["columns"]]
table = spark.range(0, rows, 1, 1).selectExpr(*columns).cache()
table.count()


def seconds(sql):
    frame = table.selectExpr(f"{sql} AS c")
    times = []
    # The first runs are compiled, by Spark and by the JVM.
    for _ in range(5):
        begin = time.perf_counter()
        frame.write.format("noop").mode("overwrite").save()
        times.append(time.perf_counter() - begin)
    return min(times[2:])


alone = seconds("id")
found = {}
for case in cases["cases"]:
    found[case["name"]] = max(seconds(case["sql"]) - alone, 0) / rows * 1e9
    print(f"{case['name']}: {found[case['name']]:.1f}", file=sys.stderr, flush=True)
print(json.dumps(found))
