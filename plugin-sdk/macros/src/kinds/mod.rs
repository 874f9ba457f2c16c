//! The attribute of each kind of function: what it takes, and what it puts beside the function.

pub(crate) mod aggregate;
pub(crate) mod handler;
pub(crate) mod scalar;
pub(crate) mod stateful;
pub(crate) mod transform;
