//! A plugin's scalar functions, callable in SQL by their names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Extension, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use tidemill_core::{FunctionKind, FunctionSignature, PluginModule, Shape};
use tidemill_frontend::CatalogFunction;

use super::{PluginKind, PluginUse, signature};
use crate::PlanError;
use crate::logical::{Call, Evaluate};

/// Scalars: called in SQL, a column for columns.
pub(super) struct Scalars;

impl PluginKind for Scalars {
    fn callable(
        &self,
        module: &Arc<dyn PluginModule>,
        function: &FunctionSignature,
        step: &str,
    ) -> Result<Option<CatalogFunction>, PlanError> {
        if function.kind != FunctionKind::Scalar {
            return Ok(None);
        }
        let varies = !function.deterministic;
        let function = Arc::new(scalar(module, function, step)?);
        Ok(Some(CatalogFunction::Scalar { function, varies }))
    }

    fn uses(&self, node: &LogicalPlan) -> Vec<PluginUse> {
        let LogicalPlan::Extension(Extension { node }) = node else { return Vec::new() };
        let calls = node.as_any().downcast_ref::<Evaluate>().map_or(&[][..], |node| &node.calls);
        let plugins = calls.iter().filter_map(|call| match call {
            Call::BatchTime(_) => None,
            Call::Plugin(call) => Some(PluginUse {
                plugin: call.module.name().to_owned(),
                function: call.function.clone(),
                kind: FunctionKind::Scalar,
                input: Arc::clone(&call.input),
                output: Arc::clone(&call.shape.output),
            }),
        });
        plugins.collect()
    }
}

/// Type-checks a call. The call itself is taken out of its expression (see `logical::Evaluate`).
pub(crate) struct PluginScalar {
    module: Arc<dyn PluginModule>,
    name: String,
    /// The step that calls it. It is no part of what the call is.
    step: String,
    input: SchemaRef,
    shape: Shape,
    is_deterministic: bool,
    signature: Signature,
}

impl PluginScalar {
    /// Whether equal arguments give equal results, as the plugin says.
    pub(crate) fn is_deterministic(&self) -> bool {
        self.is_deterministic
    }

    pub(crate) fn module(&self) -> &Arc<dyn PluginModule> {
        &self.module
    }

    /// The step that calls it.
    pub(crate) fn step(&self) -> &str {
        &self.step
    }

    /// Its arguments, as the plugin names them.
    pub(crate) fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// It reads all of them, and makes one column.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str) {
        (self.module.name(), self.module.digest(), &self.name)
    }
}

fn scalar(
    module: &Arc<dyn PluginModule>,
    function: &FunctionSignature,
    step: &str,
) -> Result<ScalarUDF, PlanError> {
    let (Some(input), Some(output)) = (&function.input, &function.output) else {
        return Err(PlanError::Invalid(format!(
            "plugin \"{}\": the scalar \"{}\" does not declare its arguments and result",
            module.name(),
            function.name
        )));
    };
    Ok(ScalarUDF::new_from_impl(PluginScalar {
        module: Arc::clone(module),
        name: function.name.clone(),
        step: step.to_owned(),
        input: Arc::clone(input),
        shape: Shape::of_all(input, Arc::clone(output)),
        is_deterministic: function.deterministic,
        // Volatile, whatever the function says: a constant call must not be folded by a planner that
        // cannot make it.
        signature: signature(input, Volatility::Volatile),
    }))
}

impl PartialEq for PluginScalar {
    fn eq(&self, other: &PluginScalar) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PluginScalar {}

impl Hash for PluginScalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for PluginScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module.name(), self.name)
    }
}

impl ScalarUDFImpl for PluginScalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.shape.output.field(0).data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.shape.output.field(0).data_type().clone(), true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.name)
    }
}
