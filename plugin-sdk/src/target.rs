//! Direct use of the places that a job grants to the plugin.

use crate::{Result, Row, host};

/// The target that the job names `name`, for what [`DataFrame::write`](crate::DataFrame::write)
/// has no words for.
///
/// These calls have no guarantee beyond what the target gives: a batch that runs again makes them
/// again. Guard them with [`BatchContext::is_processed`](crate::BatchContext::is_processed) where
/// that matters.
#[must_use]
pub fn target(name: &str) -> Target {
    Target { name: name.to_owned() }
}

/// A place by the job's name for it. Addresses and secrets stay in the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    name: String,
}

/// Answer to [`Target::request`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers, in the order that they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Target {
    /// Runs a statement on a SQL target, and gives the number of rows that it changed.
    pub fn execute(&self, statement: &str) -> Result<u64> {
        host::execute(&self.name, statement, None)
    }

    /// Runs a statement once for each of `rows`, whose fields are the statement's parameters in
    /// their order.
    pub fn execute_with<T: Row>(&self, statement: &str, rows: &[T]) -> Result<u64> {
        host::execute(&self.name, statement, Some(&T::to_batch(rows)?))
    }

    /// Runs one command on a Redis target, and gives its reply as JSON.
    pub fn command<A: AsRef<[u8]>>(&self, arguments: &[A]) -> Result<String> {
        let arguments: Vec<&[u8]> = arguments.iter().map(AsRef::as_ref).collect();
        host::command(&self.name, &arguments)
    }

    /// Makes a request to an HTTP target. `path` is below the target's address.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        host::request(&self.name, method, path, headers, body)
    }
}
