//! A value as it is, of which the plan knows the fields of its intervals.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_types::IntervalFields;

/// How the names of these functions begin.
pub(crate) const SAYS: &str = "interval_as ";

/// `interval_as DAY TO HOUR(value)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Saying {
    pub(crate) fields: IntervalFields,
    /// Tells it from one of other fields.
    name: String,
    signature: Signature,
}

impl Saying {
    pub(crate) fn new(fields: IntervalFields) -> Saying {
        let signature = Signature::any(1, Volatility::Immutable);
        Saying { fields, name: format!("{SAYS}{fields}"), signature }
    }
}

impl ScalarUDFImpl for Saying {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("what says fields has those of its argument's column")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let of = &arguments.arg_fields[0];
        let plain = Field::new(self.name(), of.data_type().clone(), of.is_nullable());
        Ok(Arc::new(self.fields.said_by(plain)))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.pop() {
            Some(value) => Ok(value),
            None => exec_err!("{} needs a value", self.name),
        }
    }
}
