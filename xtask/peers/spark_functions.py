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


# What a column alone takes is known once the JVM has run for a while: it is measured among the others.
warm_up = [seconds("id") for _ in range(5)]
alone, taken = seconds("id"), {}
for place, case in enumerate(cases["cases"]):
    taken[case["name"]] = seconds(case["sql"])
    print(f"{case['name']}: {taken[case['name']]:.3f} s", file=sys.stderr, flush=True)
    if place % 10 == 9:
        alone = min(alone, seconds("id"))
print(json.dumps({name: max(time - alone, 0) / rows * 1e9 for name, time in taken.items()}))
