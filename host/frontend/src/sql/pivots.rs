//! PIVOT and UNPIVOT.

use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, Ident, NullInclusion, PivotValueSource,
};

use super::Conversion;
use super::position::{of_expression, plain};
use crate::Result;
use crate::error::refuse;
use crate::spec::{Expression, Pivot, PivotValue, Relation, Unpivot, UnpivotRow};

impl Conversion<'_> {
    pub(super) fn pivot(
        &mut self,
        input: Relation,
        aggregates: Vec<ExprWithAlias>,
        columns: Vec<Expr>,
        values: PivotValueSource,
    ) -> Result<Relation> {
        let PivotValueSource::List(values) = values else {
            refuse!("PIVOT takes values that are written out, and no ANY and no query");
        };
        let aggregates = aggregates.into_iter().map(|aggregate| self.pivoted(aggregate));
        let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
        let columns = self.expressions(columns)?;
        let mut known = Vec::with_capacity(values.len());
        for ExprWithAlias { expr, alias } in values {
            let values = self.expressions(parts(expr))?;
            if values.len() != columns.len() {
                refuse!(
                    "[PIVOT_VALUE_DATA_TYPE_MISMATCH] PIVOT has {} columns, and a value of {}",
                    columns.len(),
                    values.len()
                );
            }
            known.push(PivotValue { values, name: alias.map(plain) });
        }
        Ok(Relation::Pivot(Box::new(Pivot { input, aggregates, columns, values: known })))
    }

    fn pivoted(&mut self, aggregate: ExprWithAlias) -> Result<Expression> {
        let ExprWithAlias { expr, alias } = aggregate;
        let value = self.expression(expr)?;
        Ok(match alias {
            Some(alias) => Expression::Alias { value: Box::new(value), names: vec![plain(alias)] },
            None => value,
        })
    }

    pub(super) fn unpivot(
        &mut self,
        input: Relation,
        (value, name): (Expr, Ident),
        columns: Vec<ExprWithAlias>,
        nulls: Option<NullInclusion>,
    ) -> Result<Relation> {
        let mut values = Vec::new();
        for value in parts(value) {
            match value {
                Expr::Identifier(ident) => values.push(plain(ident)),
                other => {
                    let at = of_expression(&other);
                    return Err(crate::Error::new(format!("UNPIVOT: {other} is no name"), at));
                }
            }
        }
        let mut rows = Vec::with_capacity(columns.len());
        for ExprWithAlias { expr, alias } in columns {
            let columns = self.expressions(parts(expr))?;
            if columns.len() != values.len() {
                refuse!(
                    "[UNPIVOT_VALUE_SIZE_MISMATCH] All unpivot value columns must have the same size as there are value column names ({})",
                    values.len()
                );
            }
            rows.push(UnpivotRow { columns, name: alias.map(plain) });
        }
        let keeps_nulls = matches!(nulls, Some(NullInclusion::IncludeNulls));
        let name = plain(name);
        Ok(Relation::Unpivot(Box::new(Unpivot { input, values, name, rows, keeps_nulls })))
    }
}

/// What is in parentheses, or stands alone.
fn parts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::Tuple(parts) => parts,
        Expr::Nested(inner) => parts(*inner),
        one => vec![one],
    }
}
