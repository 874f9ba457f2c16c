//! For unit tests of a plugin's functions, which run on the author's machine without a host.
//!
//! A scalar and an aggregate are called as they are. [`transform`] gives what a transform makes of rows,
//! [`Keys`] calls a stateful function and keeps what it keeps, and [`Job`] calls a handler and keeps what it
//! did:
//!
//! ```
//! use tidemill_plugin::prelude::*;
//! use tidemill_plugin::testing::Job;
//!
//! #[derive(Row, Clone, PartialEq, Debug)]
//! struct Sale {
//!     item: String,
//! }
//!
//! #[foreach_batch]
//! fn deliver(batch: DataFrame, ctx: &BatchContext) -> Result<()> {
//!     batch.write("warehouse")?;
//!     ctx.mark_processed("delivered")
//! }
//!
//! let sales = [Sale { item: "book".to_owned() }];
//! let mut job = Job::of(&sales)?;
//! job.run::<deliver>()?;
//! assert_eq!(job.written::<Sale>("warehouse")?, sales);
//! assert!(job.is_marked("delivered"));
//! # Ok::<(), Error>(())
//! ```

pub(crate) mod host;
mod job;
mod keys;
pub(crate) mod state;
mod transform;

pub use job::Job;
pub use keys::Keys;
pub use transform::transform;
