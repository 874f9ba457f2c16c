//! Keeps damage of a file in it.
//!
//! The library that reads Parquet trusts a file in places: bytes that were flipped can make it
//! panic. Here a panic becomes an error that names the file, and nothing of it is printed.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use tidemill_core::ConnectorError;

use super::super::parts::FilePart;

type Cause = Box<dyn Error + Send + Sync>;

thread_local! {
    /// A panic of this thread is caught, and told as an error.
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `read` gives of a file, or an error that names the file where it fails or panics. What it
/// worked on must not be used after an error.
pub(super) fn contained<T>(
    part: &FilePart,
    read: impl FnOnce() -> Result<T, Cause>,
) -> Result<T, ConnectorError> {
    keep_contained_panics_quiet();
    let before = IS_CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(read));
    IS_CONTAINED.set(before);
    let cause = match done {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(cause)) => cause,
        Err(panic) => format!("its bytes contradict one another: {}", said(&*panic)).into(),
    };
    Err(ConnectorError::fatal(format!(
        "the file {} is damaged, or is no Parquet file that can be read; write it again, or take it out of the folder",
        part.path
    ))
    .caused_by(cause))
}

/// The hook that prints panics passes over those that are caught here. Others go on to the hook
/// that was there.
fn keep_contained_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CONTAINED.get() {
                print(panic);
            }
        }));
    });
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}
