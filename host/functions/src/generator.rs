//! Functions that give several rows for one.

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Expr;

/// What a generator comes to: a row for each value of an array.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The array.
    pub values: Expr,
    /// The type of its values.
    pub kind: DataType,
    /// What a value is called, where it is one column.
    pub name: &'static str,
    /// Whether an array that is null or empty gives a row of nulls.
    pub is_outer: bool,
    /// Whether the place of the value comes before it, from 0.
    pub has_position: bool,
    /// Whether the fields of the values, which are structs, are columns.
    pub is_expanded: bool,
}

impl Generated {
    /// The columns that come of it.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let mut fields = Vec::new();
        if self.has_position {
            fields.push(Field::new("pos", DataType::Int32, true));
        }
        match &self.kind {
            DataType::Struct(inner) if self.is_expanded => {
                fields.extend(inner.iter().map(|field| field.as_ref().clone().with_nullable(true)));
            }
            kind => fields.push(Field::new(self.name, kind.clone(), true)),
        }
        fields.into()
    }

    /// Whether it is more than one column.
    #[must_use]
    pub fn is_several(&self) -> bool {
        self.has_position || self.is_expanded
    }

    /// The type of the one column that it is in an expression: of its columns, a struct.
    #[must_use]
    pub fn expression_type(&self) -> DataType {
        match self.is_several() {
            true => DataType::Struct(self.fields()),
            false => self.kind.clone(),
        }
    }
}

/// The type of an array's values.
pub(crate) fn value_type(array: &DataType) -> Result<DataType> {
    match array {
        DataType::List(item) => Ok(item.data_type().clone()),
        other => plan_err!("{other} is no array"),
    }
}
