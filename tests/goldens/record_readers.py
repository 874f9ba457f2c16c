#!/usr/bin/env python3
"""Asks PySpark what it reads of files, in the form of `readers.jsonl`.

    python3 record_readers.py < asked.jsonl >> readers.jsonl

A line that goes in is {"format": "json", "files": {"a.json": "…"}, "options": {…}}, with "schema" as
DDL where it is not inferred, and "path" where less than the directory is read. A file's content is a
text, or {"base64": "…"} where it is none. Rows are in order of their texts; cells are as `show()`
prints them.
"""

import base64
import json
import os
import re
import sys
import tempfile

from pyspark.sql import SparkSession


def write(directory, files):
    for at, (name, content) in enumerate(files.items()):
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, dict):
            content = base64.b64decode(content["base64"])
        else:
            content = content.encode()
        with open(path, "wb") as file:
            file.write(content)
        # Files are read in the order of their times.
        os.utime(path, (1_700_000_000 + at, 1_700_000_000 + at))


def answer(spark, asked):
    with tempfile.TemporaryDirectory() as directory:
        write(directory, asked["files"])
        try:
            reader = spark.read.format(asked["format"])
            options = {key: value.replace("{dir}", directory) for key, value in asked.get("options", {}).items()}
            reader = reader.options(**options)
            if "schema" in asked:
                reader = reader.schema(asked["schema"])
            frame = reader.load(os.path.join(directory, asked.get("path", "")))
            # Cached, so that all columns are read, also of malformed rows.
            frame = frame.cache()
            columns = [[field.name, field.dataType.simpleString()] for field in frame.schema.fields]
            shown = frame._jdf.getRows(10000, 0)
            rows = [shown.apply(row) for row in range(1, shown.size())]
            rows = sorted([row.apply(cell) for cell in range(row.size())] for row in rows)
        except Exception as error:  # noqa: BLE001
            found = re.findall(r"\[([A-Z][A-Z0-9_.]+)\]", str(error))
            # What is inside of a failed read of a file says more.
            inner = [name for name in found if not name.startswith("FAILED_READ_FILE")]
            return {**asked, "error": (inner or found or ["?"])[0], "says": str(error)[:300]}
    return {**asked, "columns": columns, "rows": rows}


def main():
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.log.level", "OFF")
        .getOrCreate()
    )
    for line in sys.stdin:
        if line.strip():
            found = answer(spark, json.loads(line))
            if "--says" not in sys.argv:
                found.pop("says", None)
            print(json.dumps(found, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
