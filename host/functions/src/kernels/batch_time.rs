//! `current_timestamp()`: the batch's time, the same for every row and every replay.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidemill_types::UTC;

use crate::timestamp_type;

/// The function. DataFusion would fold its own into a literal when it plans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchTime {
    signature: Signature,
}

/// The time of the batch, a TIMESTAMP.
pub(crate) fn batch_time() -> Expr {
    // Volatile keeps the optimiser from folding the call before it is taken out.
    let signature = Signature::nullary(Volatility::Volatile);
    ScalarUDF::new_from_impl(BatchTime { signature }).call(vec![])
}

impl BatchTime {
    /// The value in a batch of this time.
    #[must_use]
    pub fn value(&self, batch_time_ms: i64) -> ScalarValue {
        let micros = batch_time_ms.saturating_mul(1_000);
        ScalarValue::TimestampMicrosecond(Some(micros), Some(UTC.into()))
    }
}

impl ScalarUDFImpl for BatchTime {
    fn name(&self) -> &str {
        "current_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.name())
    }
}
