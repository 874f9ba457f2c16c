//! How many rows a second one core decodes, beside arrow-json's reader. Run it in release:
//! `cargo run --release -p tidemill-codec --example decode_speed`.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use tidemill_codec::{JsonDecoder, JsonOptions};
use tidemill_types::parse_schema;

const ROWS: usize = 1_000_000;
const ROWS_PER_BATCH: usize = 8_192;

const THREE: &str = "amount DOUBLE, category STRING, order_time TIMESTAMP";
const FIVE: &str =
    "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP";

fn main() -> Result<(), Box<dyn Error>> {
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let block = rows.join("\n");
    println!("{ROWS} rows, {} bytes each", block.len() / ROWS);
    for (name, ddl) in [("3 columns", THREE), ("5 columns", FIVE)] {
        let schema = parse_schema(ddl)?;
        report(name, "values", || values(&rows, &schema))?;
        report(name, "lines", || lines(&block, &schema))?;
        report(name, "arrow-json", || arrow_json_reader(&block, &schema))?;
    }
    Ok(())
}

fn row(i: usize) -> String {
    const CATEGORIES: [&str; 5] = ["books", "toys", "garden", "electronics", "food"];
    format!(
        r#"{{"order_id":"o{:010}","user_id":"u{:06}","amount":{}.{:02},"category":"{}","order_time":"2025-06-15T{:02}:{:02}:{:02}.{:03}Z"}}"#,
        i,
        i * 7_919 % 100_000,
        i * 31 % 500,
        i * 17 % 100,
        CATEGORIES[i * 13 % 5],
        i / 3_600_000 % 24,
        i / 60_000 % 60,
        i / 1_000 % 60,
        i % 1_000
    )
}

/// The best of three runs.
fn report(
    name: &str,
    what: &str,
    run: impl Fn() -> Result<usize, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(run()?, ROWS);
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:10} {what:12} {:6.2} M rows/s", ROWS as f64 / best / 1e6);
    Ok(())
}

fn values(rows: &[String], schema: &SchemaRef) -> Result<usize, Box<dyn Error>> {
    let mut decoder = JsonDecoder::new(Arc::clone(schema), JsonOptions::default())?;
    let mut count = 0;
    for chunk in rows.chunks(ROWS_PER_BATCH) {
        for row in chunk {
            decoder.decode_value(Some(row.as_bytes()))?;
        }
        count += black_box(decoder.finish()).num_rows();
    }
    Ok(count)
}

fn lines(block: &str, schema: &SchemaRef) -> Result<usize, Box<dyn Error>> {
    const BLOCK_BYTES: usize = 1 << 20;
    let mut decoder = JsonDecoder::new(Arc::clone(schema), JsonOptions::default())?;
    let mut count = 0;
    let mut rest = block.as_bytes();
    while !rest.is_empty() {
        let wanted = rest.len().min(BLOCK_BYTES);
        let end = memchr::memchr(b'\n', &rest[wanted..]).map_or(rest.len(), |at| wanted + at + 1);
        decoder.decode_lines(&rest[..end])?;
        count += black_box(decoder.finish()).num_rows();
        rest = &rest[end..];
    }
    Ok(count)
}

fn arrow_json_reader(block: &str, schema: &SchemaRef) -> Result<usize, Box<dyn Error>> {
    // Without its table of time zones, arrow-json knows UTC by its offset only.
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(..) => field.as_ref().clone().with_data_type(utc.clone()),
        _ => field.as_ref().clone(),
    });
    let reader = arrow_json::ReaderBuilder::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
        .with_batch_size(ROWS_PER_BATCH)
        .build(block.as_bytes())?;
    let mut count = 0;
    for batch in reader {
        count += black_box(batch?).num_rows();
    }
    Ok(count)
}
