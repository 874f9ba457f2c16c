//! DataFusion, set up for streams.

use std::sync::Arc;

use crate::logical::OuterJoins;
use crate::sql;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::functions::core::planner::CoreFunctionPlanner;
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_nested::planner::FieldAccessPlanner;
use datafusion::functions_window::planner::WindowFunctionPlanner;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::prelude::{SessionConfig, SessionContext};

/// Rows in a record batch, about.
const BATCH_ROWS: usize = 8_192;

/// A session that plans streaming queries.
///
/// No physical optimiser runs: it would put in repartitionings, which do not keep order, and
/// filters that change while the plan runs, which a kept plan must not have.
pub(crate) fn streaming(scan_partitions: usize) -> SessionContext {
    let state = builder(config().with_target_partitions(scan_partitions))
        .with_physical_optimizer_rules(vec![])
        .build();
    SessionContext::new_with_state(state)
}

/// A session for batch SQL: a handler's, and what gives a static table.
pub(crate) fn batch_sql() -> SessionContext {
    SessionContext::new_with_state(builder(config().with_target_partitions(1)).build())
}

fn builder(config: SessionConfig) -> SessionStateBuilder {
    let bounded = |rule: Arc<dyn OptimizerRule + Send + Sync>| match OuterJoins::replaces(&rule) {
        true => Arc::new(OuterJoins(rule)),
        false => rule,
    };
    let rules = Optimizer::new().rules.into_iter().map(bounded).collect();
    // The first planner that takes an operator has it.
    let planners: Vec<Arc<dyn ExprPlanner>> = vec![
        Arc::new(sql::Operators),
        Arc::new(FieldAccessPlanner),
        Arc::new(CoreFunctionPlanner::default()),
        Arc::new(AggregateFunctionPlanner),
        Arc::new(WindowFunctionPlanner),
    ];
    SessionStateBuilder::new()
        .with_config(config)
        .with_optimizer_rules(rules)
        .with_expr_planners(planners)
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .with_collect_statistics(false);
    let options = config.options_mut();
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // As a plan of its own it would be run with each batch. As a join it finds its table.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    // Moves field accesses below projections, where they may meet a column of the same name.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // Spark compares names without regard to case, and keeps how they are written.
    options.sql_parser.enable_ident_normalization = false;
    // A number with a point is a DECIMAL.
    options.sql_parser.parse_float_as_decimal = true;
    // Spark's: first where the order ascends, last where it descends.
    "nulls_min".clone_into(&mut options.sql_parser.default_null_ordering);
    // Rows cross to plugins and sinks as plain strings.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

/// Spark's functions, and no others.
pub(crate) fn register_functions(context: &SessionContext) {
    for function in sql::scalars() {
        context.register_udf(function);
    }
    for aggregate in tidemill_functions::aggregates() {
        context.register_udaf(aggregate.as_ref().clone());
    }
    for function in tidemill_functions::higher_order() {
        context.register_higher_order_function(function);
    }
    for window in tidemill_functions::windows() {
        context.register_udwf(window.as_ref().clone());
    }
}

/// A snapshot of the session's state, for planning.
pub(crate) fn state(context: &SessionContext) -> Arc<SessionState> {
    Arc::new(context.state())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::logical::as_spark;

    const ROWS: &str = "FROM (VALUES (1, 'a'), (2, 'b'), (NULL, NULL), (4, 'b')) AS t(v, s)";

    /// What batch SQL gives, a row a line.
    fn answer(select: &str) -> Vec<String> {
        let context = batch_sql();
        register_functions(&context);
        let text = format!("SELECT {select} {ROWS}");
        let statement = sql::parse_query(&text, &sql::Names::default(), &sql::Refusals::default())
            .unwrap()
            .statement;
        let rows = futures::executor::block_on(async {
            let plan = context.state().statement_to_plan(statement).await.unwrap();
            let frame = context.execute_logical_plan(as_spark(plan).unwrap()).await.unwrap();
            frame.collect().await.unwrap()
        });
        let table = pretty_format_batches(&rows).unwrap().to_string();
        let is_row = |line: &&str| line.starts_with('|');
        let cells = |line: &str| {
            line.split_whitespace().filter(|c| *c != "|").collect::<Vec<_>>().join(" ")
        };
        table.lines().filter(is_row).skip(1).map(cells).collect()
    }

    #[test]
    fn aggregates_work_in_batch_sql_and_over_windows_of_rows() {
        assert_eq!(
            answer("sum(v), avg(v), max_by(s, v), listagg(s, '-')"),
            ["7 2.3333333333333335 b a-b-b"]
        );
        let running = answer("sum(v) OVER (ORDER BY v) AS x");
        assert_eq!(running, ["", "1", "3", "7"]);
        let falling = answer("sum(v) OVER (ORDER BY v DESC) AS x");
        assert_eq!(falling, ["4", "6", "7", "7"]);
        let sliding = answer(
            "sum(v) OVER (ORDER BY v NULLS LAST ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS x",
        );
        assert_eq!(sliding, ["1", "3", "6", "4"]);
        let lists = answer("collect_list(s) OVER (ORDER BY v NULLS LAST) AS x");
        assert_eq!(lists, ["[a]", "[a, b]", "[a, b, b]", "[a, b, b]"]);
    }

    #[test]
    fn a_literal_with_a_point_has_the_digits_that_it_has() {
        for (literal, kind) in
            [("1.5", "decimal(2,1)"), ("0.25", "decimal(2,2)"), ("-12.75", "decimal(4,2)")]
        {
            let found = answer(&format!("max(typeof({literal})) AS k, max({literal}) AS v"));
            assert_eq!(found, [format!("{kind} {literal}")]);
        }
        // A number that nobody wrote out stays what it is.
        assert_eq!(answer("max(typeof(pi() * 2)) AS k"), ["double"]);
    }

    #[test]
    fn operators_bind_as_in_spark() {
        let one = |select: &str| answer(&format!("max({select}) AS x")).concat();
        assert_eq!(one("7 DIV 2 + 1"), "4");
        assert_eq!(one("20 - 7 DIV 2 - 1"), "16");
        assert_eq!(one("10 / 4 * 2 - 1"), "4.0");
        assert_eq!(one("1.5 + 1"), "2.5");
        assert_eq!(one("'5' + 1"), "6");
    }
}
