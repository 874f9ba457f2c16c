//! `explode` and its relatives: several rows for one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore,
};

/// The column of arrays that goes into the node, and is not one of its own.
pub const VALUES: &str = "\u{e000}values";
/// Columns of the node: what a value is, and its place.
const VALUE: &str = "\u{e000}value";
const POSITION: &str = "\u{e000}position";

/// A row for each value of an array, beside the columns of the row that it is of.
#[derive(PartialEq, Eq, Hash)]
pub struct Generate {
    /// The rows, with the arrays as a column.
    pub input: LogicalPlan,
    /// The arrays.
    pub values: Expr,
    /// Whether an array that is null or empty gives a row of nulls.
    pub is_outer: bool,
    /// Whether the place of the value comes before it, from 0.
    pub has_position: bool,
    schema: DFSchemaRef,
}

impl Generate {
    /// The values are a column of their own below, which ends here: so the one that they come from
    /// need not be repeated for each of them.
    ///
    /// # Errors
    /// The values are no arrays.
    pub fn over(
        input: LogicalPlan,
        values: Expr,
        is_outer: bool,
        has_position: bool,
    ) -> Result<LogicalPlan> {
        let mut columns: Vec<Expr> =
            input.schema().columns().into_iter().map(Expr::Column).collect();
        columns.push(values.alias(VALUES));
        let input = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?);
        let values = Expr::Column(Column::new_unqualified(VALUES));
        let node = Arc::new(Generate::try_new(input, values, is_outer, has_position)?);
        Ok(LogicalPlan::Extension(Extension { node }))
    }

    fn try_new(
        input: LogicalPlan,
        values: Expr,
        is_outer: bool,
        has_position: bool,
    ) -> Result<Generate> {
        let kind = match values.get_type(input.schema())? {
            DataType::List(item) => item.data_type().clone(),
            other => return plan_err!("a generator needs an array, found {other}"),
        };
        let own = input.schema().iter().filter(|(_, field)| field.name() != VALUES);
        let mut fields: Vec<(Option<TableReference>, FieldRef)> =
            own.map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        fields.extend(generated_fields(kind, has_position));
        let metadata: HashMap<String, String> = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Generate { input, values, is_outer, has_position, schema })
    }
}

/// The columns that the node adds.
pub(crate) fn generated_fields(
    kind: DataType,
    has_position: bool,
) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
    let position = has_position.then(|| Field::new(POSITION, DataType::Int32, true));
    let fields = position.into_iter().chain([Field::new(VALUE, kind, true)]);
    fields.map(|field| (None, Arc::new(field)))
}

/// Whether a column is one that the node adds.
pub(crate) fn is_generated(column: &Column) -> bool {
    column.relation.is_none() && [VALUE, POSITION].contains(&column.name.as_str())
}

/// The column of what a value is.
pub(crate) fn value_column() -> Expr {
    Expr::Column(Column::new_unqualified(VALUE))
}

/// The column of a value's place.
pub(crate) fn position_column() -> Expr {
    Expr::Column(Column::new_unqualified(POSITION))
}

impl fmt::Debug for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl PartialOrd for Generate {
    fn partial_cmp(&self, other: &Generate) -> Option<std::cmp::Ordering> {
        self.values.partial_cmp(&other.values)
    }
}

impl UserDefinedLogicalNodeCore for Generate {
    fn name(&self) -> &str {
        "Generate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.values.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generate: {}{}", self.values, if self.is_outer { ", outer" } else { "" })
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Generate> {
        let (values, input) = (exprs.swap_remove(0), inputs.swap_remove(0));
        Generate::try_new(input, values, self.is_outer, self.has_position)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let names = self.input.schema().fields().iter();
        let kept: Vec<usize> = names
            .enumerate()
            .filter(|(_, field)| field.name() != VALUES)
            .map(|(place, _)| place)
            .collect();
        let mut wanted: Vec<usize> =
            output_columns.iter().filter_map(|column| kept.get(*column).copied()).collect();
        for column in self.values.column_refs() {
            wanted.push(self.input.schema().maybe_index_of_column(column)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}
