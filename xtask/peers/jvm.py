"""What the scripts beside this one share: the schema, Spark's session, and what its JVM used."""

import os

from pyspark.sql import SparkSession

TICKS = os.sysconf("SC_CLK_TCK")
SCHEMA = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP"
CORES = len(os.sched_getaffinity(0))


def session(**settings):
    builder = (
        SparkSession.builder.master(f"local[{CORES}]")
        .config("spark.sql.shuffle.partitions", CORES)
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
    )
    spark = builder.config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


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
