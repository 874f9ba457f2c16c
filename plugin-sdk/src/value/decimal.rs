//! DECIMAL.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Decimal128Builder};
use arrow::datatypes::DataType;

use crate::value::plain::{column_type, into_column_type};
use crate::value::{FromColumn, IntoColumn, ScalarResult};
use crate::{Error, Result};

/// DECIMAL(P, S): a number of P digits, S of them behind the point.
///
/// ```
/// use tidemill_plugin::prelude::*;
///
/// let price = Decimal::<10, 2>::new(1999)?;
/// assert_eq!(price.to_string(), "19.99");
/// assert_eq!(price.unscaled(), 1999);
/// assert!(Decimal::<3, 2>::new(1000).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Decimal<const P: u8, const S: u8>(i128);

impl<const P: u8, const S: u8> Decimal<P, S> {
    /// The number whose digits, without the point, are these.
    ///
    /// # Errors
    /// [`Error::bad_row`]: they are more than P.
    pub fn new(unscaled: i128) -> Result<Decimal<P, S>> {
        const { assert!(P >= 1 && P <= 38 && S <= P, "a DECIMAL has 1 to 38 digits") };
        if unscaled.unsigned_abs() >= 10_u128.pow(P.into()) {
            return Err(Error::bad_row(format!(
                "{} has more than the {P} digits of DECIMAL({P},{S})",
                Decimal::<P, S>(unscaled)
            )));
        }
        Ok(Decimal(unscaled))
    }

    /// The digits without the point.
    #[must_use]
    pub fn unscaled(self) -> i128 {
        self.0
    }

    fn data_type() -> DataType {
        DataType::Decimal128(P, S as i8)
    }
}

impl<const P: u8, const S: u8> fmt::Display for Decimal<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = 10_u128.pow(S.into());
        let (whole, part) = (self.0.unsigned_abs() / power, self.0.unsigned_abs() % power);
        let text = match S {
            0 => whole.to_string(),
            _ => format!("{whole}.{part:0width$}", width = usize::from(S)),
        };
        f.pad_integral(self.0 >= 0, "", &text)
    }
}

column_type! {
    {const P: u8, const S: u8} Decimal<P, S>, Decimal128Array, Decimal128Builder,
        Decimal::<P, S>::data_type(),
        |rows| Decimal128Builder::with_capacity(rows).with_data_type(Decimal::<P, S>::data_type()),
        |array, row| Decimal(array.value(row)), |value| value.0, in_place;
}
