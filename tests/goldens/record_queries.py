#!/usr/bin/env python3
"""Asks PySpark for the answers to queries, in the form of `queries.jsonl`.

    python3 record_queries.py < asked.jsonl >> queries.jsonl

A line that goes in is {"sql": "…"}, with "ordered": true where the order of the rows is part of the
answer, and "time_zone" where the session is not in UTC. The tables are those of
`tests/all/queries.rs`.
"""

import json
import re
import sys

from pyspark.sql import SparkSession

TABLES = """
CREATE TEMP VIEW t AS SELECT * FROM VALUES
  ('a', 1, 10L, 1.5D, TIMESTAMP'2026-01-01 00:00:00', named_struct('a', 1, 'B', 'x'), array(1, 2, 3), map('p', 1, 'q', 2)),
  ('a', 2, 20L, -0.5D, TIMESTAMP'2026-01-01 01:00:00', named_struct('a', 2, 'B', NULL), array(4, NULL), map('p', NULL)),
  ('b', 3, 30L, NULL, TIMESTAMP'2026-01-02 01:00:00', named_struct('a', NULL, 'B', 'y'), array(), map()),
  ('b', NULL, 40L, 2.25D, NULL, NULL, NULL, NULL),
  ('c', 3, NULL, 1.5D, TIMESTAMP'2026-01-01 02:00:00', named_struct('a', 5, 'B', 'z'), array(5), map('r', 3)),
  (NULL, 6, 60L, 0.0D, TIMESTAMP'2026-01-01 03:00:00', named_struct('a', 1, 'B', 'x'), array(6, 6), map('p', 6))
  AS t(k, v, w, d, ts, s, l, m);
CREATE TEMP VIEW u AS SELECT * FROM VALUES
  ('a', 100, 1), ('b', 200, 3), ('b', 201, NULL), ('z', NULL, 9), (NULL, 400, 6) AS u(K, x, v);
CREATE TEMP VIEW e AS SELECT v FROM t WHERE false;
CREATE TEMP VIEW z AS SELECT * FROM VALUES
  (1, TIMESTAMP'2019-03-10 09:59:59.5', TIMESTAMP_NTZ'2019-03-10 02:30:00', DATE'2019-03-10'),
  (2, TIMESTAMP'2019-03-10 10:00:00', TIMESTAMP_NTZ'2019-11-03 01:30:00', DATE'2019-11-03'),
  (3, TIMESTAMP'2019-11-03 08:30:00', TIMESTAMP_NTZ'2019-03-31 02:30:00', DATE'2019-03-31'),
  (4, TIMESTAMP'2019-11-03 09:30:00', TIMESTAMP_NTZ'2019-10-27 02:30:00', DATE'2019-10-27'),
  (5, TIMESTAMP'2019-03-31 01:00:00', TIMESTAMP_NTZ'1880-01-01 00:00:00', DATE'1880-01-01'),
  (6, TIMESTAMP'2019-10-27 00:30:00', TIMESTAMP_NTZ'1969-12-31 23:59:59.999999', DATE'1969-12-31'),
  (7, TIMESTAMP'1880-01-01 00:00:00', TIMESTAMP_NTZ'9999-12-31 23:00:00', DATE'9999-12-31'),
  (8, TIMESTAMP'1969-12-31 23:59:59.999999', TIMESTAMP_NTZ'2024-02-29 12:00:00', DATE'2024-02-29'),
  (9, TIMESTAMP'9998-07-01 12:00:00', NULL, NULL),
  (10, NULL, TIMESTAMP_NTZ'2024-01-31 00:00:00', DATE'2024-01-31')
  AS z(i, ts, n, dt)
"""


def answer(spark, asked):
    zone = asked.get("time_zone", "UTC")
    record = {"sql": asked["sql"], **({"time_zone": zone} if zone != "UTC" else {})}
    try:
        spark.conf.set("spark.sql.session.timeZone", zone)
        frame = spark.sql(asked["sql"])
        columns = [[field.name, field.dataType.simpleString()] for field in frame.schema.fields]
        # The cells as show() prints them; the first row is the header.
        shown = frame._jdf.getRows(1000, 0)
        rows = [shown.apply(row) for row in range(1, shown.size())]
        rows = [[row.apply(cell) for cell in range(row.size())] for row in rows]
    except Exception as error:  # noqa: BLE001
        found = re.search(r"\[([A-Z][A-Z0-9_.]+)\]", str(error))
        return {**record, "error": found.group(1) if found else "?"}
    ordered = asked.get("ordered", False)
    rows = rows if ordered else sorted(rows)
    return {**record, "columns": columns, "rows": rows, "ordered": ordered}


def main():
    options = {
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.log.level": "OFF",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    for statement in TABLES.split(";"):
        spark.sql(statement)
    for line in sys.stdin:
        record = answer(spark, json.loads(line))
        print(json.dumps(record, ensure_ascii=False, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
