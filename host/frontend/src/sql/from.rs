//! FROM: tables, subqueries and joins.

use datafusion::sql::sqlparser::ast::{
    FunctionArg, Join as ParsedJoin, JoinConstraint, JoinOperator, ObjectName, TableAlias,
    TableFactor, TableWithJoins,
};

use super::Conversion;
use super::position::{joined, of_name, of_query, of_span, parts, plain};
use crate::Result;
use crate::error::refuse;
use crate::spec::{Call, Join, JoinKind, Position, Relation};

impl Conversion<'_> {
    /// What a SELECT reads: tables beside each other, of which each one's joins follow it.
    pub(super) fn from(&mut self, from: Vec<TableWithJoins>) -> Result<Relation> {
        let mut all: Option<Relation> = None;
        for TableWithJoins { relation, joins } in from {
            let (is_lateral, at) = (is_lateral(&relation), place(&relation));
            let table = self.table(relation)?;
            let left = match all.take() {
                None => table,
                Some(left) => Relation::Join(Box::new(Join {
                    left,
                    right: table,
                    kind: JoinKind::Inner,
                    condition: None,
                    using: Vec::new(),
                    is_natural: false,
                    is_lateral,
                    at,
                })),
            };
            all = Some(self.joins(left, joins)?);
        }
        Ok(all.unwrap_or(Relation::OneRow))
    }

    fn joins(&mut self, first: Relation, joins: Vec<ParsedJoin>) -> Result<Relation> {
        joins.into_iter().try_fold(first, |left, join| self.join(left, join))
    }

    /// What is there, and the table that joins it.
    pub(super) fn join(&mut self, left: Relation, join: ParsedJoin) -> Result<Relation> {
        let ParsedJoin { relation, global, join_operator } = join;
        if global {
            refuse!("GLOBAL JOIN is not supported; write JOIN");
        }
        let (kind, constraint) = kind_of(join_operator)?;
        let (is_lateral, at) = (is_lateral(&relation), place(&relation));
        let right = self.table(relation)?;
        let mut join = Join {
            left,
            right,
            kind,
            condition: None,
            using: Vec::new(),
            is_natural: false,
            is_lateral,
            at,
        };
        match constraint {
            JoinConstraint::On(condition) => join.condition = Some(self.expression(condition)?),
            JoinConstraint::Using(columns) => {
                for column in columns {
                    join.using.push(joined(column)?);
                }
            }
            JoinConstraint::Natural => join.is_natural = true,
            JoinConstraint::None => {}
        }
        Ok(Relation::Join(Box::new(join)))
    }

    fn table(&mut self, table: TableFactor) -> Result<Relation> {
        check(&table)?;
        match table {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                if args.settings.is_some() {
                    refuse!("SETTINGS of a function in FROM are not supported");
                }
                self.table_function(name, args.args, alias)
            }
            TableFactor::Function { name, args, with_ordinality: false, alias, .. } => {
                self.table_function(name, args, alias)
            }
            TableFactor::Table { name, alias, .. } => {
                let at = of_name(&name);
                named(Relation::Read { name: joined(name)?, at }, alias)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let query = self.query(*subquery)?;
                match alias {
                    Some(_) => named(query, alias),
                    // The names of tables within end here.
                    None => Ok(Relation::SubqueryAlias {
                        input: Box::new(query),
                        name: UNNAMED.to_owned(),
                        columns: Vec::new(),
                        at: None,
                    }),
                }
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let joins = self.from(vec![*table_with_joins])?;
                named(joins, alias)
            }
            TableFactor::Pivot {
                table,
                aggregate_functions,
                value_column,
                value_source,
                default_on_null: None,
                alias,
            } => {
                let input = self.table(*table)?;
                named(self.pivot(input, aggregate_functions, value_column, value_source)?, alias)
            }
            TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
                let input = self.table(*table)?;
                named(self.unpivot(input, (value, name), columns, null_inclusion)?, alias)
            }
            other => refuse!("{other} is not supported in FROM; read a table or a query"),
        }
    }
}

impl Conversion<'_> {
    fn table_function(
        &mut self,
        name: ObjectName,
        arguments: Vec<FunctionArg>,
        alias: Option<TableAlias>,
    ) -> Result<Relation> {
        let at = of_name(&name);
        let mut call = Call::new(joined(name)?, Vec::new(), at);
        for argument in arguments {
            let argument = self.argument(argument)?;
            call.arguments.push(argument);
        }
        named(Relation::TableFunction { call: Box::new(call), at }, alias)
    }
}

/// Spark's name of a query in FROM that has none.
const UNNAMED: &str = "__auto_generated_subquery_name";

/// A relation under its other name, if it has one.
fn named(relation: Relation, alias: Option<TableAlias>) -> Result<Relation> {
    let Some(TableAlias { name, columns, at: place, .. }) = alias else { return Ok(relation) };
    if place.is_some() {
        refuse!("AT after a table's name is not supported");
    }
    let at = of_span(name.span);
    Ok(Relation::SubqueryAlias {
        input: Box::new(relation),
        name: plain(name),
        columns: column_names(columns)?,
        at,
    })
}

/// Names of columns that a table's alias gives.
pub(super) fn column_names(
    columns: Vec<datafusion::sql::sqlparser::ast::TableAliasColumnDef>,
) -> Result<Vec<String>> {
    if let Some(typed) = columns.iter().find(|column| column.data_type.is_some()) {
        refuse!(
            "a type in the names of columns ({typed}) is not supported; write CAST in the query"
        );
    }
    Ok(columns.into_iter().map(|column| plain(column.name)).collect())
}

fn kind_of(operator: JoinOperator) -> Result<(JoinKind, JoinConstraint)> {
    Ok(match operator {
        JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
            (JoinKind::Inner, on)
        }
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::LeftOuter, on),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinKind::RightOuter, on),
        JoinOperator::FullOuter(on) => (JoinKind::FullOuter, on),
        JoinOperator::Semi(on) | JoinOperator::LeftSemi(on) => (JoinKind::LeftSemi, on),
        JoinOperator::Anti(on) | JoinOperator::LeftAnti(on) => (JoinKind::LeftAnti, on),
        other => {
            let (name, instead) = match other {
                JoinOperator::RightSemi(_) => ("RIGHT SEMI JOIN", "write LEFT SEMI JOIN"),
                JoinOperator::RightAnti(_) => ("RIGHT ANTI JOIN", "write LEFT ANTI JOIN"),
                JoinOperator::CrossApply => ("CROSS APPLY", "write JOIN LATERAL"),
                JoinOperator::OuterApply => ("OUTER APPLY", "write LEFT JOIN LATERAL"),
                JoinOperator::AsOf { .. } => ("ASOF JOIN", "write a join with a range of times"),
                JoinOperator::StraightJoin(_) => ("STRAIGHT_JOIN", "write JOIN"),
                _ => ("ARRAY JOIN", "write LATERAL VIEW explode(…)"),
            };
            refuse!("{name} is not supported; {instead}")
        }
    })
}

fn is_lateral(table: &TableFactor) -> bool {
    matches!(
        table,
        TableFactor::Derived { lateral: true, .. } | TableFactor::Function { lateral: true, .. }
    )
}

/// Where a table begins.
fn place(table: &TableFactor) -> Option<Position> {
    match table {
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => of_name(name),
        TableFactor::Derived { subquery, .. } => of_query(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => place(&table_with_joins.relation),
        _ => None,
    }
}

/// Why TABLESAMPLE is refused.
pub(super) const SAMPLING: &str = "Sampling is not supported on streaming DataFrames/Datasets: TABLESAMPLE gives other rows each time, and a batch has to give the same when it is run again";

/// Refuses what there is no plan for.
fn check(table: &TableFactor) -> Result<()> {
    let function = |name: String| -> Result<()> {
        refuse!(
            "the table function {name}() is not supported; explode() and other generators work in SELECT or LATERAL VIEW"
        )
    };
    match table {
        TableFactor::Table { sample: Some(_), .. }
        | TableFactor::Derived { sample: Some(_), .. } => {
            refuse!("{SAMPLING}")
        }
        TableFactor::Function { with_ordinality: true, .. } => {
            refuse!("WITH ORDINALITY is not supported; write posexplode(…)")
        }
        TableFactor::TableFunction { expr, .. } => match expr {
            datafusion::sql::sqlparser::ast::Expr::Function(call) => {
                function(parts(call.name.clone())?.join("."))
            }
            other => refuse!("TABLE({other}) is not supported; write the table's name"),
        },
        TableFactor::UNNEST { .. } => function("unnest".to_owned()),
        TableFactor::JsonTable { .. } => function("json_table".to_owned()),
        TableFactor::OpenJsonTable { .. } => function("openjson".to_owned()),
        TableFactor::XmlTable { .. } => function("xmltable".to_owned()),
        TableFactor::MatchRecognize { .. } => refuse!("MATCH_RECOGNIZE is not supported"),
        TableFactor::Table { with_hints, version, partitions, json_path, index_hints, .. }
            if !with_hints.is_empty()
                || version.is_some()
                || !partitions.is_empty()
                || json_path.is_some()
                || !index_hints.is_empty() =>
        {
            refuse!("{table}: hints, versions and partitions of a table are not supported")
        }
        TableFactor::Table { with_ordinality: true, .. } => {
            refuse!("WITH ORDINALITY is not supported; write LATERAL VIEW posexplode(…)")
        }
        _ => Ok(()),
    }
}
