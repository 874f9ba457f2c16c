//! DataFusion, set up for streams.

use std::sync::Arc;

use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_spark::SessionStateBuilderSpark;

use crate::sql;

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

/// A session for a handler's batch SQL.
pub(crate) fn batch() -> SessionContext {
    SessionContext::new_with_state(builder(config().with_target_partitions(1)).build())
}

fn builder(config: SessionConfig) -> SessionStateBuilder {
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_spark_features();
    // The first planner that takes an operator has it.
    builder.expr_planners().get_or_insert_default().insert(0, Arc::new(sql::Operators));
    builder
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .with_collect_statistics(false);
    let options = config.options_mut();
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // Moves field accesses below projections, where they may meet a column of the same name.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // Spark compares names without regard to case, and keeps how they are written.
    options.sql_parser.enable_ident_normalization = false;
    // `1.5` is a DECIMAL(2, 1).
    options.sql_parser.parse_float_as_decimal = true;
    // Rows cross to plugins and sinks as plain strings.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

/// The functions of ours that every session knows.
pub(crate) fn register_functions(context: &SessionContext) {
    for function in sql::functions() {
        context.register_udf(function);
    }
    for aggregate in sql::aggregates() {
        context.register_udaf(aggregate);
    }
}

/// A snapshot of the session's state, for planning.
pub(crate) fn state(context: &SessionContext) -> Arc<SessionState> {
    Arc::new(context.state())
}
