//! Files of a source, read as a query reads them.

use std::fs;
use std::sync::Arc;

use tidemill_connectors::{SourceConfig, plan_source};
use tidemill_core::{ReadLimit, Slice};

use crate::text;

pub(crate) fn csv(bytes: &[u8]) {
    // The first byte chooses among options that change the parser's states.
    let (&choice, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let mut options = vec![("multiLine", flag(choice & 1)), ("header", flag(choice & 2))];
    if choice & 4 != 0 {
        options.push(("escape", "\""));
    }
    if choice & 8 != 0 {
        options.push(("sep", "||"));
    }
    read("csv", "a BIGINT, b STRING, c DOUBLE, d DATE, e TIMESTAMP, f BOOLEAN", &options, bytes);
}

pub(crate) fn json(bytes: &[u8]) {
    let (&choice, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let schema = tidemill_types::format_schema(&text::columns());
    read("json", &schema, &[("multiLine", flag(choice & 1))], bytes);
}

pub(crate) fn parquet(bytes: &[u8]) {
    read("parquet", "a BIGINT, b STRING, c STRUCT<x: INT>, d ARRAY<TIMESTAMP>", &[], bytes);
}

fn flag(bit: u8) -> &'static str {
    if bit == 0 { "false" } else { "true" }
}

/// Reads a folder with one file. An error is an answer.
fn read(format: &str, schema: &str, options: &[(&str, &str)], bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("file"), bytes).expect("a temporary file");
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).into());
    let config = SourceConfig {
        name: "files".to_owned(),
        format: format.to_owned(),
        path: Some(folder.path().to_owned()),
        schema: Some(tidemill_types::parse_schema(schema).expect("a schema")),
        options: options.iter().map(own).collect(),
        ..SourceConfig::default()
    };
    let Ok(planned) = plan_source(config) else {
        return;
    };
    let Ok(mut source) = planned.open(Arc::new(|| 0)) else {
        return;
    };
    let Ok(Some(range)) = source.next_range(ReadLimit::Unlimited) else {
        return;
    };
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let slice = Slice { index: 0, count: 1 };
    if let Ok(rows) = source.reader().read(&range, slice, &columns) {
        // The first error ends it.
        rows.take_while(Result::is_ok).for_each(drop);
    }
}
