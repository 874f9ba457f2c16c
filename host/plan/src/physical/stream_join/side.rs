//! One side of a join of streams: what its rows are kept under, and for how long.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_arrays};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows};
use datafusion::error::Result;
use datafusion::physical_plan::PhysicalExpr;
use tidemill_core::Bucket;

use super::super::encoding::encoding;
use super::super::join_keys::{JoinKeys, KeyRows, fulfils};
use super::super::stateful::Lateness;
use super::SideExpressions;
use crate::logical::{EventTimeColumn, Retention};

/// First byte of what is kept of a row: whether it has met one of the other side.
pub(super) const ALONE: u8 = 0;
pub(super) const MATCHED: u8 = 1;

/// A side. Its rows are in the state under (side, key), each with a number.
pub(super) struct Side {
    /// First byte of its rows' groups.
    pub(super) tag: u8,
    pub(super) schema: SchemaRef,
    pub(super) retention: Retention,
    /// Whether its rows leave beside nulls when they met nothing.
    pub(super) is_preserved: bool,
    keys: JoinKeys,
    only: Option<Arc<dyn PhysicalExpr>>,
    /// By it its rows are late.
    time: Option<EventTimeColumn>,
    rows: RowConverter,
}

/// What the join has to know of the rows of a block.
pub(super) struct Prepared {
    pub(super) keys: KeyRows,
    /// When the watermark evicts each row.
    pub(super) buckets: Vec<Bucket>,
}

impl Side {
    pub(super) fn try_new(
        tag: u8,
        schema: SchemaRef,
        expressions: SideExpressions,
        key_types: &[DataType],
        is_preserved: bool,
    ) -> Result<Side> {
        Ok(Side {
            tag,
            retention: expressions.retention,
            is_preserved,
            keys: JoinKeys::try_new(expressions.keys, key_types, expressions.nulls_are_equal)?,
            only: expressions.only,
            time: EventTimeColumn::first(&schema),
            rows: encoding(schema.fields().iter().map(|field| field.data_type()))?,
            schema,
        })
    }

    pub(super) fn key_schema(&self) -> SchemaRef {
        let field =
            |(i, kind): (usize, &DataType)| Field::new(format!("key{i}"), kind.clone(), true);
        Arc::new(Schema::new(self.keys.types().iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    pub(super) fn describe_keys(&self) -> String {
        let keys: Vec<String> = self.keys.expressions().iter().map(ToString::to_string).collect();
        format!("[{}]", keys.join(", "))
    }

    /// Which rows are not late, where any can be.
    pub(super) fn in_time(
        &self,
        rows: &RecordBatch,
        lateness: Lateness,
    ) -> Result<Option<BooleanArray>> {
        let Some(time) = self.time else {
            return Ok(None);
        };
        let times = time.times(rows.columns())?;
        let in_time = times.iter().map(|time| Some(!time.is_some_and(|t| lateness.is_late(t))));
        Ok(Some(in_time.collect()))
    }

    /// Which rows fulfil what concerns this side alone.
    pub(super) fn may_meet(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        self.only.as_ref().map(|only| fulfils(only, rows)).transpose()
    }

    pub(super) fn prepare(&self, rows: &RecordBatch) -> Result<Prepared> {
        let keys = self.keys.of(rows)?;
        Ok(Prepared { buckets: self.buckets(rows, &keys.columns)?, keys })
    }

    /// Some rows as they are kept.
    pub(super) fn encoded(&self, rows: &RecordBatch, some: &[usize]) -> Result<Rows> {
        let places = UInt32Array::from_iter_values(some.iter().map(|row| *row as u32));
        Ok(self.rows.convert_columns(&take_arrays(rows.columns(), &places, None)?)?)
    }

    fn buckets(&self, rows: &RecordBatch, keys: &[ArrayRef]) -> Result<Vec<Bucket>> {
        let (times, add) = match (self.retention, self.time) {
            (Retention::Key(key), _) => (EventTimeColumn { column: key, add: 0 }.times(keys)?, 0),
            (Retention::Value(add), Some(time)) => (time.times(rows.columns())?, add),
            _ => return Ok(vec![Bucket::FOREVER; rows.num_rows()]),
        };
        let bucket = |time: i64| Bucket(time.saturating_add(add));
        Ok(times.into_iter().map(|time| time.map_or(Bucket::FOREVER, bucket)).collect())
    }

    /// The columns of kept rows.
    pub(super) fn columns<'a>(
        &self,
        kept: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.rows.parser();
        let columns = self.rows.convert_rows(kept.map(|row| parser.parse(row)))?;
        // Dictionaries and the like come back as plain values.
        let fields = self.schema.fields().iter();
        columns
            .into_iter()
            .zip(fields)
            .map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column),
                false => Ok(cast(&column, field.data_type())?),
            })
            .collect()
    }
}
