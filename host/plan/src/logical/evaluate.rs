//! Calls that an expression cannot make itself: a plugin's scalars, and the batch's time.
//!
//! Both need to know for which batch and partition they run, and a plugin wants one call for many
//! rows. So after optimisation each call is taken out of its expression into an [`Evaluate`] node
//! below, which adds a column with the result (as Spark does with Python functions,
//! ExtractPythonUDFs).

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, Result, not_impl_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, Filter, LogicalPlan, Projection, Sort,
    UserDefinedLogicalNodeCore, col,
};
use tidemill_core::{PluginModule, Shape};

use crate::plugins::PluginScalar;
use tidemill_functions::BatchTime;

/// How the columns begin that hold the results of calls.
pub(crate) const CALL_COLUMN: &str = "__call_";

/// One call, the same for all rows of the input.
#[derive(Clone)]
pub(crate) enum Call {
    /// A plugin's scalar function over these columns.
    Plugin(PluginCall),
    /// `current_timestamp()` and its kin.
    BatchTime(BatchTime),
}

/// A call of a plugin's scalar.
#[derive(Clone)]
pub(crate) struct PluginCall {
    pub(crate) module: Arc<dyn PluginModule>,
    pub(crate) function: String,
    /// The step that calls it.
    pub(crate) step: String,
    /// The arguments' columns, as the plugin names them.
    pub(crate) input: SchemaRef,
    pub(crate) shape: Shape,
    pub(crate) arguments: Vec<Expr>,
    /// Whether equal arguments give equal results.
    pub(crate) is_deterministic: bool,
}

impl Call {
    fn of(expression: &Expr) -> Option<Call> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = expression else {
            return None;
        };
        let inner: &dyn std::any::Any = func.inner().as_ref();
        if let Some(scalar) = inner.downcast_ref::<PluginScalar>() {
            return Some(Call::Plugin(PluginCall {
                module: Arc::clone(scalar.module()),
                function: func.name().to_owned(),
                step: scalar.step().to_owned(),
                input: Arc::clone(scalar.input()),
                shape: scalar.shape().clone(),
                arguments: args.clone(),
                is_deterministic: scalar.is_deterministic(),
            }));
        }
        inner.downcast_ref::<BatchTime>().map(|time| Call::BatchTime(time.clone()))
    }

    fn arguments(&self) -> &[Expr] {
        match self {
            Call::Plugin(call) => &call.arguments,
            Call::BatchTime(_) => &[],
        }
    }

    fn with_arguments(&self, new: Vec<Expr>) -> Call {
        match self {
            Call::Plugin(call) => Call::Plugin(PluginCall { arguments: new, ..call.clone() }),
            Call::BatchTime(time) => Call::BatchTime(time.clone()),
        }
    }

    /// Whether two calls with the same arguments are one.
    fn is_repeatable(&self) -> bool {
        match self {
            Call::Plugin(call) => call.is_deterministic,
            Call::BatchTime(_) => true,
        }
    }

    fn identity(&self) -> String {
        match self {
            Call::Plugin(PluginCall { module, function, .. }) => {
                format!("{} {} {function}", module.name(), module.digest())
            }
            Call::BatchTime(time) => format!("{time:?}"),
        }
    }
}

/// Adds a column for each call.
pub(crate) struct Evaluate {
    pub(crate) input: LogicalPlan,
    pub(crate) calls: Vec<Call>,
    outputs: Vec<FieldRef>,
    schema: DFSchemaRef,
}

impl Evaluate {
    fn try_new(input: LogicalPlan, calls: Vec<Call>, outputs: Vec<FieldRef>) -> Result<Evaluate> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.extend(outputs.iter().map(|field| (None, Arc::clone(field))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Evaluate { input, calls, outputs, schema })
    }
}

/// Takes the calls out of all expressions of an optimised plan.
pub(crate) fn extract_calls(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut counter = 0;
    plan.transform_up(|node| {
        let mut node = node;
        let mut changed = false;
        // Inner calls first: `f(g(x))` needs g's column before f can be called.
        while let Some(next) = extract_innermost(&node, &mut counter)? {
            node = next;
            changed = true;
        }
        Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
    })
    .map(|transformed| transformed.data)
}

fn extract_innermost(node: &LogicalPlan, counter: &mut usize) -> Result<Option<LogicalPlan>> {
    // In the order in which `replace` comes to them.
    let mut found: Vec<Expr> = Vec::new();
    node.apply_expressions(|expression| {
        expression.apply(|e| {
            if let Some(call) = Call::of(e)
                && !call.arguments().iter().any(contains_call)
                && !(call.is_repeatable() && found.contains(e))
            {
                found.push(e.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if found.is_empty() {
        return Ok(None);
    }
    let input = match node {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::Aggregate(Aggregate { input, .. })
        | LogicalPlan::Sort(Sort { input, .. }) => input.as_ref().clone(),
        other => return not_impl_err!("{} in {}", found[0], other.display()),
    };
    let mut outputs = Vec::new();
    for expression in &found {
        let (_, field) = expression.to_field(input.schema())?;
        outputs.push(Arc::new(field.as_ref().clone().with_name(format!("{CALL_COLUMN}{counter}"))));
        *counter += 1;
    }
    let calls = found.iter().filter_map(Call::of).collect();
    let evaluate = Evaluate::try_new(input, calls, outputs.clone())?;
    let input = LogicalPlan::Extension(Extension { node: Arc::new(evaluate) });
    replace(node, &found, &outputs, input).map(Some)
}

fn contains_call(expression: &Expr) -> bool {
    expression.exists(|e| Ok(Call::of(e).is_some())).unwrap_or(false)
}

/// The node over its new input, with each call replaced by its column: one that stands there twice is
/// two, unless both give the same. Columns and their names stay as they were.
fn replace(
    node: &LogicalPlan,
    calls: &[Expr],
    outputs: &[FieldRef],
    input: LogicalPlan,
) -> Result<LogicalPlan> {
    let names = NamePreserver::new(node);
    let columns = node.schema().columns();
    let is_once: Vec<bool> =
        calls.iter().map(|call| Call::of(call).is_some_and(|c| !c.is_repeatable())).collect();
    let mut is_taken = vec![false; calls.len()];
    let mut expressions = Vec::new();
    for expression in node.expressions() {
        let name = names.save(&expression);
        let rewritten = expression.transform_down(|e| {
            let is_left = |i: &usize| calls[*i] == e && !(is_once[*i] && is_taken[*i]);
            Ok(match (0..calls.len()).find(is_left) {
                Some(i) => {
                    is_taken[i] = true;
                    Transformed::yes(col(outputs[i].name()))
                }
                None => Transformed::no(e),
            })
        })?;
        expressions.push(name.restore(rewritten.data));
    }
    let keeps_input_columns = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Sort(_));
    let replaced = node.with_new_exprs(expressions, vec![input])?;
    if !keeps_input_columns {
        return Ok(replaced);
    }
    let kept = columns.into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(kept, Arc::new(replaced))?))
}

impl PartialEq for Evaluate {
    fn eq(&self, other: &Evaluate) -> bool {
        self.schema == other.schema && self.input == other.input
    }
}

impl Eq for Evaluate {}

impl Hash for Evaluate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.calls.iter().for_each(|call| call.identity().hash(state));
        self.input.hash(state);
    }
}

impl PartialOrd for Evaluate {
    fn partial_cmp(&self, other: &Evaluate) -> Option<std::cmp::Ordering> {
        self.calls.len().partial_cmp(&other.calls.len())
    }
}

impl fmt::Debug for Evaluate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}

impl UserDefinedLogicalNodeCore for Evaluate {
    fn name(&self) -> &str {
        "Evaluate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.calls.iter().flat_map(|call| call.arguments().to_vec()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<String> = self.calls.iter().map(Call::identity).collect();
        write!(f, "Evaluate: {}", calls.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Evaluate> {
        let mut exprs = exprs.into_iter();
        let calls = self
            .calls
            .iter()
            .map(|call| {
                let arguments = exprs.by_ref().take(call.arguments().len()).collect();
                call.with_arguments(arguments)
            })
            .collect();
        Evaluate::try_new(inputs.swap_remove(0), calls, self.outputs.clone())
    }
}
