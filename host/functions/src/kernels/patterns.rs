//! Patterns of dates and times in columns of texts.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use tidemill_time::{Pattern, TimeError, Use};

thread_local! {
    static LAST: RefCell<Option<(String, Use, Arc<Pattern>)>> = const { RefCell::new(None) };
}

/// The pattern of a text, which is mostly that of the row before.
///
/// # Errors
/// It is none.
pub(crate) fn pattern(text: &str, purpose: Use) -> Result<Arc<Pattern>> {
    LAST.with_borrow_mut(|last| match last {
        Some((known, of, pattern)) if known == text && *of == purpose => Ok(Arc::clone(pattern)),
        _ => {
            let pattern = Arc::new(Pattern::new(text, purpose).map_err(failed)?);
            *last = Some((text.to_owned(), purpose, Arc::clone(&pattern)));
            Ok(pattern)
        }
    })
}

/// An error of a pattern as one of a kernel.
pub(crate) fn failed(error: TimeError) -> DataFusionError {
    exec_datafusion_err!("{error}")
}
