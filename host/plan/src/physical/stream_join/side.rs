//! One side of a join of streams: what its rows are kept under, and for how long.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::physical_plan::PhysicalExpr;
use tidemill_core::Bucket;

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
    keys: Vec<Arc<dyn PhysicalExpr>>,
    key_types: Vec<DataType>,
    /// Of each key. Spark drops null keys by a filter below the join, and what passes it is
    /// compared as bytes: so in a full outer join, which has no such filter, nulls are equal.
    nulls_are_equal: Vec<bool>,
    only: Option<Arc<dyn PhysicalExpr>>,
    /// By it its rows are late.
    time: Option<EventTimeColumn>,
    key_rows: RowConverter,
    rows: RowConverter,
}

/// What the join has to know of the rows of a block.
pub(super) struct Prepared {
    /// The keys as bytes.
    pub(super) keys: Rows,
    /// Whether a row can meet any: its key has no null that is unequal to all.
    pub(super) can_meet: Vec<bool>,
    /// When the watermark evicts each row.
    pub(super) buckets: Vec<Bucket>,
    /// The rows as they are kept.
    pub(super) kept: Rows,
}

impl Side {
    pub(super) fn try_new(
        tag: u8,
        schema: SchemaRef,
        expressions: SideExpressions,
        key_types: &[DataType],
        is_preserved: bool,
    ) -> Result<Side> {
        let fields =
            |types: &mut dyn Iterator<Item = DataType>| types.map(SortField::new).collect();
        let keys: Vec<SortField> = fields(&mut key_types.iter().cloned());
        let all: Vec<SortField> =
            fields(&mut schema.fields().iter().map(|field| field.data_type().clone()));
        Ok(Side {
            tag,
            retention: expressions.retention,
            is_preserved,
            keys: expressions.keys,
            key_types: key_types.to_vec(),
            nulls_are_equal: expressions.nulls_are_equal,
            only: expressions.only,
            time: EventTimeColumn::first(&schema),
            key_rows: RowConverter::new(keys)?,
            rows: RowConverter::new(all)?,
            schema,
        })
    }

    pub(super) fn key_schema(&self) -> SchemaRef {
        let field =
            |(i, kind): (usize, &DataType)| Field::new(format!("key{i}"), kind.clone(), true);
        Arc::new(Schema::new(self.key_types.iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    pub(super) fn describe_keys(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        format!("[{}]", keys.join(", "))
    }

    /// Which rows are not late, where any can be.
    pub(super) fn in_time(
        &self,
        rows: &RecordBatch,
        late: Option<i64>,
    ) -> Result<Option<BooleanArray>> {
        let Some((time, late)) = self.time.zip(late) else {
            return Ok(None);
        };
        let times = time.times(rows.columns())?;
        let in_time = times.iter().map(|time| Some(time.is_none_or(|time| time > late)));
        Ok(Some(in_time.collect()))
    }

    /// Which rows fulfil what concerns this side alone.
    pub(super) fn may_meet(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        self.only.as_ref().map(|only| fulfils(only, rows)).transpose()
    }

    pub(super) fn prepare(&self, rows: &RecordBatch) -> Result<Prepared> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (key, kind) in self.keys.iter().zip(&self.key_types) {
            let values = key.evaluate(rows)?.into_array(rows.num_rows())?;
            keys.push(if values.data_type() == kind { values } else { cast(&values, kind)? });
        }
        let mut can_meet = vec![true; rows.num_rows()];
        for (values, nulls_are_equal) in keys.iter().zip(&self.nulls_are_equal) {
            if !nulls_are_equal && values.null_count() > 0 {
                can_meet.iter_mut().enumerate().for_each(|(row, can)| *can &= values.is_valid(row));
            }
        }
        Ok(Prepared {
            buckets: self.buckets(rows, &keys)?,
            keys: self.key_rows.convert_columns(&keys)?,
            kept: self.rows.convert_columns(rows.columns())?,
            can_meet,
        })
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

/// Which rows fulfil a condition; null counts as no.
pub(in crate::physical) fn fulfils(
    condition: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<BooleanArray> {
    let values = condition.evaluate(rows)?.into_array(rows.num_rows())?;
    let values = values
        .as_boolean_opt()
        .ok_or_else(|| exec_datafusion_err!("a join's condition has to be a BOOLEAN"))?;
    Ok(match values.null_count() {
        0 => values.clone(),
        _ => values.iter().map(|value| Some(value == Some(true))).collect(),
    })
}
