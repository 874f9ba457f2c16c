//! The rate sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::json;
use tidemill_core::{ReadLimit, Source};

use super::{options, refusal};
use crate::contract::{Input, check_source};
use crate::{SourceConfig, plan_source};

fn config(format: &str, given: &[(&str, &str)]) -> SourceConfig {
    SourceConfig {
        name: "s".to_owned(),
        format: format.to_owned(),
        options: options(given),
        ..SourceConfig::default()
    }
}

/// Milliseconds and value of each row.
fn rows(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(1).as_primitive::<Int64Type>();
    times.values().iter().zip(values.values()).map(|(time, value)| (time / 1000, *value)).collect()
}

#[test]
fn rate_micro_batch_has_the_same_rows_for_every_batch_number() {
    let given = [
        ("rowsPerBatch", "3"),
        ("numPartitions", "2"),
        ("startTimestamp", "1000"),
        ("advanceMillisPerBatch", "50"),
    ];
    let open =
        || plan_source(config("rate-micro-batch", &given)).unwrap().open(Arc::new(|| 0)).unwrap();
    let ranges = check_source(&Input { open: &open, before_range: &|_| {} });
    // As Spark: partition after partition, each with every second value.
    assert_eq!(rows(&ranges[0]), [(1000, 0), (1000, 2), (1000, 1)]);
    assert_eq!(rows(&ranges[1]), [(1050, 3), (1050, 5), (1050, 4)]);
    let mut source = open();
    let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
    assert_eq!(range.start, json!({"offset": 0, "timestamp": 1000}));
    assert_eq!(range.end, json!({"offset": 3, "timestamp": 1050}));
    assert_eq!(
        source.description(),
        "RatePerMicroBatchStream[rowsPerBatch=3, numPartitions=2, startTimestamp=1000, advanceMsPerBatch=50]"
    );
    source.stop_at_present_end().unwrap();
    assert!(source.next_range(ReadLimit::Limited).unwrap().is_some());
    assert!(source.next_range(ReadLimit::Limited).unwrap().is_none());
}

#[test]
fn many_rows_come_in_batches_and_slices() {
    let given = [("rowsPerBatch", "20000"), ("numPartitions", "3")];
    let open =
        || plan_source(config("rate-micro-batch", &given)).unwrap().open(Arc::new(|| 0)).unwrap();
    let ranges = check_source(&Input { open: &open, before_range: &|_| {} });
    let mut values: Vec<i64> = rows(&ranges[0]).iter().map(|row| row.1).collect();
    values.sort_unstable();
    assert_eq!(values, (0..20_000).collect::<Vec<_>>());
}

#[test]
fn rate_spreads_its_rows_over_each_second_of_the_clock() {
    let now = Arc::new(AtomicI64::new(0));
    let open = || -> Box<dyn Source> {
        // The query begins at 5 s.
        now.store(5_000, Ordering::Relaxed);
        let clock = Arc::clone(&now);
        let planned = plan_source(config("rate", &[("rowsPerSecond", "2")])).unwrap();
        let mut source = planned.open(Arc::new(move || clock.load(Ordering::Relaxed))).unwrap();
        assert_eq!(source.next_range(ReadLimit::Limited).unwrap(), None);
        source
    };
    // A range after each second and a half.
    let tick = |number: usize| now.store(6_500 + 1_500 * number as i64, Ordering::Relaxed);
    let ranges = check_source(&Input { open: &open, before_range: &tick });
    assert_eq!(rows(&ranges[0]), [(5_000, 0), (5_500, 1)]);
    assert_eq!(rows(&ranges[1]), [(6_000, 2), (6_500, 3), (7_000, 4), (7_500, 5)]);
    assert_eq!(rows(&ranges[2]), [(8_000, 6), (8_500, 7)]);
}

#[test]
fn what_rate_cannot_do_is_refused() {
    assert_eq!(
        refusal(config("rate-micro-batch", &[])),
        "source \"s\" has no option rowsPerBatch; write options = { rowsPerBatch = 10 }"
    );
    assert_eq!(
        refusal(config("rate", &[("rowsPerSecnd", "1")])),
        "source \"s\" has the option \"rowsPerSecnd\", which the format does not know; did you mean \"rowsPerSecond\"?"
    );
    assert_eq!(
        refusal(config("rates", &[])),
        "source \"s\" has the format \"rates\", which does not exist; did you mean \"rate\"? supported are kafka, json, csv, parquet, text, rate, rate-micro-batch"
    );
    assert_eq!(
        refusal(config("socket", &[])),
        "source \"s\" has the format \"socket\", which is not supported yet; supported are kafka, json, csv, parquet, text, rate, rate-micro-batch"
    );
}
