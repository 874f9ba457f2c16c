//! Every function, operator, cast and aggregate with extreme arguments from columns: it may fail, and
//! must not panic, whatever rows come. And every function with long ones: what it makes of them is not
//! more than is reckoned.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;

use tidemill_frontend::{Catalog, CatalogFunction, parse_query, resolve};
use tidemill_functions::{Function, Shape, build, column_bytes, groups, reckoned};

use crate::setup;

/// Columns by their names, with what is extreme of each type.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let texts =
        ["", "a", "ä𝄞", "-9223372036854775808", "%2147483647d%s", "0001-01-01", "{\"a\":1}"];
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![]),
        Some(vec![Some(i64::MIN), None, Some(i64::MAX)]),
        Some(vec![Some(0)]),
        None,
        Some(vec![None]),
        Some(vec![Some(-1), Some(1)]),
        Some(vec![Some(7); 40]),
    ]);
    let times =
        vec![i64::MIN, -62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999, i64::MAX];
    let largest = 10_i128.pow(38) - 1;
    vec![
        ("l", Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, 1, 7, 2_147_483_648, i64::MAX]))),
        ("i", Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, 1, 2, 1_114_112, i32::MAX]))),
        ("s", Arc::new(StringArray::from(texts.to_vec()))),
        (
            "d",
            Arc::new(Float64Array::from(vec![
                f64::NEG_INFINITY,
                f64::MIN,
                -0.0,
                f64::MIN_POSITIVE,
                f64::MAX,
                f64::INFINITY,
                f64::NAN,
            ])),
        ),
        ("t", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
        ("a", Arc::new(lists)),
        (
            "day",
            Arc::new(Date32Array::from(vec![i32::MIN, -719_162, -1, 0, 1, 2_932_896, i32::MAX])),
        ),
        (
            "m",
            Arc::new(
                Decimal128Array::from(vec![-largest, -1, 0, 1, 10, largest / 2, largest])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "b",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
                Some(false),
                None,
                Some(true),
            ])),
        ),
        (
            "bin",
            Arc::new(BinaryArray::from(vec![
                b"".as_slice(),
                b"\xff",
                b"a",
                b"\0\0\0\0",
                b"\xf0\x9f",
                b"zz",
                b"0",
            ])),
        ),
    ]
}

/// Rows of one argument beside each value of the next.
struct Rows {
    table: Vec<RecordBatch>,
    schema: DFSchema,
    names: Vec<&'static str>,
}

/// Pairs of what is extreme.
fn rows() -> Rows {
    pairs(&columns())
}

/// Every column three times, for three arguments; a row for each pair of values, and the third goes
/// along with some value.
fn pairs(columns: &[(&'static str, ArrayRef)]) -> Rows {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut fields = Vec::new();
    for place in 0..3 {
        for (name, values) in columns {
            let name = format!("{name}{place}");
            fields.push(arrow::datatypes::Field::new(name, values.data_type().clone(), true));
        }
    }
    let arrow_schema = Arc::new(Schema::new(fields));
    let count = columns[0].1.len();
    let mut table = Vec::new();
    for row in 0..count * count {
        let picks = [row / count, row % count, (row * 3 + row / count) % count];
        let values = picks.iter().flat_map(|pick| columns.iter().map(|(_, c)| c.slice(*pick, 1)));
        table.push(RecordBatch::try_new(Arc::clone(&arrow_schema), values.collect()).unwrap());
    }
    let schema = DFSchema::try_from(arrow_schema.as_ref().clone()).unwrap();
    Rows { table, schema, names }
}

/// The panics of an expression, over all rows.
fn panics(context: &SessionContext, expr: &Expr, rows: &Rows, found: &mut BTreeSet<String>) {
    let told = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    };
    let planned =
        catch_unwind(AssertUnwindSafe(|| context.create_physical_expr(expr.clone(), &rows.schema)));
    let planned = match planned {
        Ok(Ok(planned)) => planned,
        Ok(Err(_)) => return,
        Err(panic) => {
            found.insert(format!("{expr}, planned: {}", told(panic)));
            return;
        }
    };
    for row in &rows.table {
        let result = catch_unwind(AssertUnwindSafe(|| {
            planned.evaluate(row).and_then(|value| value.into_array(1))
        }));
        match result {
            Ok(Ok(values))
                if values.data_type() != &planned.data_type(row.schema_ref()).unwrap() =>
            {
                found.insert(format!("{expr}: gave {}", values.data_type()));
                return;
            }
            Ok(_) => {}
            Err(panic) => {
                found.insert(format!("{expr}: {}", told(panic)));
                return;
            }
        }
    }
}

/// All lists of arguments that are tried: of three, not all types with all.
fn argument_lists(names: &[&'static str]) -> Vec<Vec<Expr>> {
    let column = |name: &str, place: usize| col(format!("{name}{place}"));
    let mut lists = vec![Vec::new()];
    for first in names {
        lists.push(vec![column(first, 0)]);
        for second in names {
            lists.push(vec![column(first, 0), column(second, 1)]);
            for third in ["l", "s", "i"] {
                lists.push(vec![column(first, 0), column(second, 1), column(third, 2)]);
            }
        }
    }
    lists
}

/// All functions of rows.
fn scalars() -> Vec<&'static Function> {
    let all = groups().iter().flat_map(|group| group.functions);
    all.filter(|function| matches!(function.shape, Shape::Scalar(_))).collect()
}

/// A call of a function, if it takes these arguments.
fn call(function: &'static Function, arguments: &[Expr], rows: &Rows) -> Option<Expr> {
    let kind = |argument: &Expr| argument.get_type(&rows.schema).unwrap();
    let typed = arguments.iter().map(|argument| (argument.clone(), kind(argument)));
    let built = build(function, typed.collect()).ok()?;
    built.get_type(&rows.schema).is_ok().then_some(built)
}

#[test]
fn no_function_panics_on_extreme_values() {
    let context = setup::streaming(1, "UTC");
    let functions = scalars();
    assert!(functions.len() > 150, "{}", functions.len());
    let rows = rows();
    let lists = argument_lists(&rows.names);
    let found = thread::scope(|scope| {
        let parts: Vec<_> = functions
            .chunks(functions.len().div_ceil(2))
            .map(|part| {
                let (context, rows, lists) = (&context, &rows, &lists);
                scope.spawn(move || {
                    let mut found = BTreeSet::new();
                    for function in part {
                        let before = found.len();
                        for list in lists {
                            if found.len() >= before + 3 {
                                break;
                            }
                            match catch_unwind(AssertUnwindSafe(|| call(function, list, rows))) {
                                Ok(Some(expr)) => panics(context, &expr, rows, &mut found),
                                Ok(None) => {}
                                Err(_) => {
                                    found.insert(format!("{} of {list:?}, built", function.name));
                                }
                            }
                        }
                    }
                    found
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(found.is_empty(), "{} panic:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_operator_and_no_cast_panics_on_extreme_values() {
    let context = setup::streaming(1, "UTC");
    let rows = rows();
    let mut texts = Vec::new();
    for first in &rows.names {
        for second in &rows.names {
            for operator in ["+", "-", "*", "/", "%", "DIV", "&", "|", "^", "=", "<", "||", "<=>"] {
                texts.push(format!("{first}0 {operator} {second}1"));
            }
            for name in
                ["date_add", "date_sub", "add_months", "pmod", "mod", "try_divide", "nullif"]
            {
                texts.push(format!("{name}({first}0, {second}1)"));
            }
            texts.push(format!("a0[{second}1]"));
        }
        for kind in [
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "FLOAT",
            "DOUBLE",
            "DECIMAL(38, 0)",
            "DECIMAL(38, 38)",
            "DECIMAL(1, 0)",
            "STRING",
            "BINARY",
            "BOOLEAN",
            "DATE",
            "TIMESTAMP",
            "TIMESTAMP_NTZ",
            "ARRAY<INT>",
            "ARRAY<STRING>",
        ] {
            texts.push(format!("CAST({first}0 AS {kind})"));
            texts.push(format!("try_cast({first}0 AS {kind})"));
        }
        for name in ["to_timestamp", "to_date"] {
            for pattern in ["yyyy-MM-dd", "yyyy", "HH:mm", "DDD", "SSSSSS", "a", ""] {
                texts.push(format!("{name}({first}0, '{pattern}')"));
            }
        }
        for name in ["year", "month", "dayofweek", "date_format", "to_char"] {
            texts.push(format!("{name}({first}0)"));
            texts.push(format!("{name}({first}0, 'yyyy-MM-dd HH:mm:ss.SSS')"));
        }
        for interval in
            ["1 YEAR", "2147483647 MONTHS", "9223372036854775807 MICROSECONDS", "-1 DAY"]
        {
            texts.push(format!("{first}0 + INTERVAL '{interval}'"));
            texts.push(format!("{first}0 - INTERVAL '{interval}'"));
        }
        texts.push(format!("-{first}0"));
        texts.push(format!("~{first}0"));
        texts.push(format!("{first}0 LIKE s1"));
        texts.push(format!("{first}0 RLIKE s1"));
        texts.push(format!("{first}0 IN (l1, i1)"));
        texts.push(format!("{first}0 BETWEEN l1 AND i2"));
    }
    let mut found = BTreeSet::new();
    let schema = Arc::clone(rows.table[0].schema_ref());
    let table = One(Arc::new(MemTable::try_new(schema, vec![rows.table.clone()]).unwrap()));
    for text in &texts {
        if let Err(panic) =
            catch_unwind(AssertUnwindSafe(|| one((&context, &table), text, &rows, &mut found)))
        {
            let told = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            found.insert(format!("{text}, planned: {told}"));
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{} panic:\n{}", found.len(), found.join("\n"));
}

/// The table `r`, for texts.
struct One(Arc<MemTable>);

impl Catalog for One {
    fn table(&self, name: &str) -> Option<(String, LogicalPlan)> {
        let source = provider_as_source(Arc::clone(&self.0) as _);
        let scan = LogicalPlanBuilder::scan(name, source, None).unwrap();
        Some((name.to_owned(), scan.build().unwrap()))
    }

    fn tables(&self) -> Vec<String> {
        vec!["r".to_owned()]
    }

    fn function(&self, _: &str) -> Option<CatalogFunction> {
        None
    }
}

/// A text as a handler's is planned; nothing, if it is wrong.
fn planned(table: &One, text: &str) -> Option<LogicalPlan> {
    let parsed = parse_query(text, &()).ok()?;
    resolve(&parsed.relation, table).ok()
}

/// Plans a text, and looks at the expression that it became.
fn one(
    (context, table): (&SessionContext, &One),
    text: &str,
    rows: &Rows,
    found: &mut BTreeSet<String>,
) {
    let Some(plan) = planned(table, &format!("SELECT {text} AS x FROM r")) else { return };
    if let Some(expr) = plan.expressions().into_iter().next() {
        // As the column of the table.
        let expr = datafusion::common::tree_node::TreeNode::transform(expr, |e| match e {
            Expr::Column(column) => Ok(datafusion::common::tree_node::Transformed::yes(
                Expr::Column(datafusion::common::Column::new_unqualified(column.name)),
            )),
            other => Ok(datafusion::common::tree_node::Transformed::no(other)),
        });
        let before = found.len();
        panics(context, &expr.unwrap().data.unalias(), rows, found);
        if found.len() > before {
            found.insert(format!("  that is {text}"));
        }
    }
}

#[test]
fn a_constant_is_not_larger_than_a_row_may_be() {
    let values = ScalarValue::new_list_nullable(
        &vec![ScalarValue::Int64(Some(1)); 20_000],
        &DataType::Int64,
    );
    let plan = datafusion::logical_expr::LogicalPlanBuilder::empty(true)
        .project(vec![Expr::Literal(ScalarValue::List(values), None).alias("x")])
        .unwrap()
        .build()
        .unwrap();
    let error = tidemill_functions::check_constants(&plan).unwrap_err().to_string();
    assert!(error.contains("put it into a table"), "{error}");
}

/// Texts and lists of which functions could make more than they are, with numbers that say how much,
/// by their types.
fn long_columns() -> Vec<(&'static str, ArrayRef)> {
    const LENGTH: usize = 600;
    let texts = ["x", "%c", "\"", "\\", "\u{1}", "9", "a,", "\u{149}", "MMMM ", "<&>", "%-1d"];
    let texts: Vec<String> = texts.iter().map(|text| text.repeat(LENGTH / text.len())).collect();
    let count = texts.len();
    let numbers = |value: i64| vec![Some(value); LENGTH];
    let lists = (0..count).map(|row| Some(numbers(row as i64)));
    let mut words = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for text in &texts {
        text.chars().take(LENGTH / 4).for_each(|c| words.values().append_value(c.to_string()));
        words.append(true);
    }
    vec![
        ("s", Arc::new(StringArray::from(texts.clone()))),
        ("l", Arc::new(Int64Array::from(vec![1_000; count]))),
        ("i", Arc::new(Int32Array::from(vec![1_000; count]))),
        ("d", Arc::new(Float64Array::from(vec![1e300; count]))),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![1_722_470_400_123_456; count]))),
        ("day", Arc::new(Date32Array::from(vec![20_000; count]))),
        ("a", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ("w", Arc::new(words.finish())),
        ("bin", Arc::new(BinaryArray::from_iter_values(texts.iter().map(String::as_bytes)))),
    ]
}

/// What a call made of a row, where that is more than it may be.
fn excess(planned: &Arc<dyn PhysicalExpr>, row: &RecordBatch) -> Option<String> {
    let call = planned.downcast_ref::<ScalarFunctionExpr>()?;
    let made = catch_unwind(AssertUnwindSafe(|| planned.evaluate(row))).ok()?;
    let made = column_bytes(&made.ok()?.into_array(1).ok()?);
    let arguments = call.args().iter().map(|argument| argument.evaluate(row).ok());
    let arguments = arguments.collect::<Option<Vec<_>>>()?;
    let given = arguments.iter().map(|argument| column_bytes(&argument.to_array(1).unwrap()));
    let given: u64 = given.sum();
    let reckoned = reckoned(call.fun(), &arguments).unwrap_or(0);
    // What is short anyway needs no bound.
    let may_be = reckoned.max(given * 2) + 2_048;
    (made > may_be).then(|| format!("{made} bytes of {given}, reckoned {reckoned}"))
}

#[test]
fn no_function_makes_more_than_is_reckoned() {
    let context = setup::streaming(1, "UTC");
    let rows = pairs(&long_columns());
    // All texts, with some of them.
    let count = rows.table.len().isqrt();
    let few = rows.table.iter().enumerate().filter(|(n, _)| [0, 1, 6].contains(&(n % count)));
    let few = few.map(|(_, row)| row);
    let mut lists = argument_lists(&rows.names);
    lists.retain(|list| !list.is_empty());
    let mut found = BTreeSet::new();
    for function in scalars() {
        for list in &lists {
            let built = catch_unwind(AssertUnwindSafe(|| call(function, list, &rows)));
            let Some(call) = built.ok().flatten() else { continue };
            let Ok(planned) = context.create_physical_expr(call.clone(), &rows.schema) else {
                continue;
            };
            let excess = few.clone().find_map(|row| excess(&planned, row));
            found.extend(excess.map(|excess| format!("{call}: {excess}")));
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{} make more:\n{}", found.len(), found.join("\n"));
}

/// Every aggregate over all rows, in groups, and over a frame of rows that moves.
#[test]
fn no_aggregate_panics_on_extreme_values() {
    let context = setup::batch_sql("UTC");
    let rows = rows();
    let schema = Arc::clone(rows.table[0].schema_ref());
    let whole = arrow::compute::concat_batches(&schema, &rows.table).unwrap();
    let table = One(Arc::new(MemTable::try_new(schema, vec![vec![whole]]).unwrap()));
    let mut lists: Vec<String> = rows.names.iter().map(|name| format!("{name}0")).collect();
    for first in &rows.names {
        lists.extend(rows.names.iter().map(|second| format!("{first}0, {second}1")));
        lists.extend(["0.5", "1", "3"].map(|constant| format!("{first}0, {constant}")));
    }
    let functions = groups().iter().flat_map(|group| group.functions);
    let names: Vec<&str> =
        functions.filter(|function| function.is_aggregate()).map(|f| f.name).collect();
    assert!(names.len() > 40, "{names:?}");
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        for list in &lists {
            if found.len() >= before + 3 {
                break;
            }
            for text in [
                format!("SELECT {name}({list}) AS x FROM r"),
                format!("SELECT i1, {name}({list}) AS x FROM r GROUP BY i1"),
                format!(
                    "SELECT {name}({list}) OVER (ORDER BY l1 ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS x FROM r"
                ),
            ] {
                let ran = catch_unwind(AssertUnwindSafe(|| run(&context, &table, &text)));
                if let Err(panic) = ran {
                    let told = panic.downcast_ref::<String>().cloned();
                    found.push(format!("{text}: {}", told.unwrap_or_default()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} panic:\n{}", found.len(), found.join("\n"));
}

/// Runs a query as a handler's is run. It may fail.
fn run(context: &SessionContext, table: &One, text: &str) {
    let Some(plan) = planned(table, text) else { return };
    let _failed = futures::executor::block_on(async {
        context.execute_logical_plan(plan).await?.collect().await
    });
}
