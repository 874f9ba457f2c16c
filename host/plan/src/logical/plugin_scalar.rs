//! A plugin's scalar functions, callable in SQL by their names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use tidemill_core::{FunctionKind, FunctionSignature, PluginModule};

use crate::PlanError;

/// Type-checks a call. The call itself is taken out of its expression (see `logical::Evaluate`).
pub(crate) struct PluginScalar {
    module: Arc<dyn PluginModule>,
    name: String,
    input: SchemaRef,
    output: SchemaRef,
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

    /// Its arguments, as the plugin names them.
    pub(crate) fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// Its result: one column.
    pub(crate) fn output(&self) -> &SchemaRef {
        &self.output
    }

    fn identity(&self) -> (&str, tidemill_core::Digest, &str) {
        (self.module.name(), self.module.digest(), &self.name)
    }
}

pub(crate) fn plugin_functions(
    module: &Arc<dyn PluginModule>,
) -> Result<Vec<ScalarUDF>, PlanError> {
    module
        .functions()
        .iter()
        .filter(|function| function.kind == FunctionKind::Scalar)
        .map(|function| scalar(module, function))
        .collect()
}

fn scalar(
    module: &Arc<dyn PluginModule>,
    function: &FunctionSignature,
) -> Result<ScalarUDF, PlanError> {
    let (Some(input), Some(output)) = (&function.input, &function.output) else {
        return Err(PlanError::Invalid(format!(
            "plugin \"{}\": the scalar \"{}\" does not declare its arguments and result",
            module.name(),
            function.name
        )));
    };
    let arguments: Vec<DataType> =
        input.fields().iter().map(|field| field.data_type().clone()).collect();
    // Volatile, whatever the function says: a constant call must not be folded by a planner that
    // cannot make it.
    let signature = if arguments.is_empty() {
        Signature::nullary(Volatility::Volatile)
    } else {
        Signature::exact(arguments, Volatility::Volatile)
    };
    Ok(ScalarUDF::new_from_impl(PluginScalar {
        module: Arc::clone(module),
        name: function.name.clone(),
        input: Arc::clone(input),
        output: Arc::clone(output),
        is_deterministic: function.deterministic,
        signature,
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
        Ok(self.output.field(0).data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.output.field(0).data_type().clone(), true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.name)
    }
}
