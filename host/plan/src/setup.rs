//! DataFusion, set up for streams.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::logical::OuterJoins;
use crate::physical::Extensions;

/// Rows in a record batch, about.
const BATCH_ROWS: usize = 8_192;

/// A session that plans streaming queries.
///
/// No physical optimiser runs: it would put in repartitionings, which do not keep order, and
/// filters that change while the plan runs, which a kept plan must not have.
pub(crate) fn streaming(scan_partitions: usize, time_zone: &str) -> SessionContext {
    let state = builder(config(time_zone).with_target_partitions(scan_partitions))
        .with_physical_optimizer_rules(vec![])
        .build();
    SessionContext::new_with_state(state)
}

/// A session for batch SQL: a handler's, and what gives a static table.
pub(crate) fn batch_sql(time_zone: &str) -> SessionContext {
    let state =
        builder(config(time_zone).with_target_partitions(1)).with_query_planner(Arc::new(Planner));
    SessionContext::new_with_state(state.build())
}

/// Plans our nodes, too.
#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
        planner.create_physical_plan(plan, session).await
    }
}

fn builder(config: SessionConfig) -> SessionStateBuilder {
    let bounded = |rule: Arc<dyn OptimizerRule + Send + Sync>| match OuterJoins::replaces(&rule) {
        true => Arc::new(OuterJoins(rule)),
        false => rule,
    };
    let rules = Optimizer::new().rules.into_iter().map(bounded).collect();
    SessionStateBuilder::new().with_config(config).with_optimizer_rules(rules)
}

fn config(time_zone: &str) -> SessionConfig {
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
    options.execution.time_zone = Some(time_zone.to_owned());
    config
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
    use tidemill_frontend::{parse_query, resolve};
    use tidemill_types::UTC;

    use crate::frames::FrameCatalog;

    const ROWS: &str = "FROM (VALUES (1, 'a'), (2, 'b'), (NULL, NULL), (4, 'b')) AS t(v, s)";

    /// What batch SQL gives, a row a line.
    fn answer(select: &str) -> Vec<String> {
        let parsed = parse_query(&format!("SELECT {select} {ROWS}"), &()).unwrap();
        let plan = resolve(&parsed.relation, &FrameCatalog(&[])).unwrap();
        let rows = futures::executor::block_on(async {
            let frame = batch_sql(UTC).execute_logical_plan(plan).await.unwrap();
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
