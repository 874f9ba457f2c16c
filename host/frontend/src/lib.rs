//! What a query asks for, and what it means.
//!
//! ```text
//! SQL text ──sql──▶ spec (unresolved plan) ──resolver──▶ DataFusion's logical plan
//! ```

#![warn(missing_docs)]

mod catalog;
mod error;
mod generate;
mod qualifier;
mod resolver;
pub mod spec;
mod sql;
mod types;

pub use catalog::{Catalog, CatalogFunction};
pub use error::{Error, Result};
pub use generate::{Generate, VALUES};
pub use qualifier::without_qualifiers;
pub use resolver::{holds_query, query_of, resolve};
pub use sql::{Names, Parsed, QuerySize, parse_query};
