//! `current_timestamp()` and its kin: the batch's time, the same for every row and every replay.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// One of the functions. DataFusion would fold its own into literals when it plans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchTime {
    kind: Kind,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Timestamp,
    LocalTimestamp,
    Date,
}

impl BatchTime {
    pub(crate) fn new(kind: Kind) -> BatchTime {
        // Volatile keeps the optimiser from folding the call before it is taken out.
        BatchTime { kind, signature: Signature::nullary(Volatility::Volatile) }
    }

    /// The value in a batch of this time.
    #[must_use]
    pub fn value(&self, batch_time_ms: i64) -> ScalarValue {
        let micros = batch_time_ms.saturating_mul(1_000);
        match self.kind {
            Kind::Timestamp => ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())),
            Kind::LocalTimestamp => ScalarValue::TimestampMicrosecond(Some(micros), None),
            Kind::Date => {
                let days = batch_time_ms.div_euclid(86_400_000);
                ScalarValue::Date32(i32::try_from(days).ok())
            }
        }
    }
}

impl ScalarUDFImpl for BatchTime {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Timestamp => "current_timestamp",
            Kind::LocalTimestamp => "localtimestamp",
            Kind::Date => "current_date",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::LocalTimestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Date => DataType::Date32,
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{}() was left in an expression", self.name())
    }
}
