//! Planning, for who has nothing else to do meanwhile.

use super::error::PrepareError;

/// Plans, and waits for it. Planning is brief and asks no one else, so a runtime of its own will do.
///
/// # Errors
/// The system has no room for one.
pub fn plan_now<T>(planning: impl Future<Output = T>) -> Result<T, PrepareError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| PrepareError::Exhausted(format!("no runtime to plan on: {error}")))?;
    Ok(runtime.block_on(planning))
}
