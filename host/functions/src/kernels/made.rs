//! What expressions make of one block of rows, all of them together.
//!
//! Each function that makes a lot of a little has a bound of its own. Twenty of them in one SELECT,
//! or a thousand constants that are written out for each row, are within one record batch, which has
//! one, too. The operator that computes opens an account for the block; functions look into it for
//! what is left, and what stays is put down in it.
//!
//! An account is of a thread, as a block is computed on one, from its first column to its last.

use std::cell::RefCell;
use std::sync::Weak;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::ColumnarValue;

use crate::memory::column_bytes;

/// Bytes that all expressions of an operator make of a block: 5,000 columns of numbers have 320 MiB.
const BYTES_MAX: u64 = 512 << 20;

/// So many times that is what goes through while they are computed, of which little is there at a
/// time: `concat` holds its arguments and lets go of them.
const PASSING: u64 = 4;

thread_local! {
    static OPEN: RefCell<Option<Account>> = const { RefCell::new(None) };
}

struct Account {
    limit: u64,
    /// Of columns that are ready.
    kept: u64,
    /// Results of functions within the column that is computed, as long as they are there.
    held: Vec<(Weak<dyn Array>, u64)>,
    /// All that functions made within that column.
    passed: u64,
}

impl Account {
    fn left(&mut self) -> u64 {
        self.held.retain(|(array, _)| array.strong_count() > 0);
        let held: u64 = self.held.iter().map(|(_, bytes)| bytes).sum();
        let free = self.limit.saturating_sub(self.kept).saturating_sub(held);
        free.min(self.limit.saturating_mul(PASSING).saturating_sub(self.passed))
    }
}

/// What expressions may make of a block: a half of the memory that who computes may use, if that is
/// little.
#[must_use]
pub fn limit(context: &TaskContext) -> u64 {
    match context.memory_pool().memory_limit() {
        MemoryLimit::Finite(bytes) => (bytes as u64 / 2).min(BYTES_MAX),
        _ => BYTES_MAX,
    }
}

/// Begins a block.
pub fn open(limit: u64) {
    let account = Account { limit, kept: 0, held: Vec::new(), passed: 0 };
    OPEN.set(Some(account));
}

/// Ends it.
pub fn close() {
    OPEN.set(None);
}

/// Bytes that a function may make; no bound where nobody counts.
pub(super) fn left() -> u64 {
    OPEN.with_borrow_mut(|open| open.as_mut().map_or(u64::MAX, Account::left))
}

/// Puts down what a function made.
pub(super) fn note(values: &ArrayRef, bytes: u64) {
    OPEN.with_borrow_mut(|open| {
        if let Some(account) = open {
            account.held.push((std::sync::Arc::downgrade(values), bytes));
            account.passed = account.passed.saturating_add(bytes);
        }
    });
}

/// Puts down a column that is ready, before it is written out if it is the same for all rows.
pub fn keep(column: &ColumnarValue, rows: usize) -> Result<()> {
    OPEN.with_borrow_mut(|open| {
        let Some(account) = open else { return Ok(()) };
        account.kept = account.kept.saturating_add(match column {
            ColumnarValue::Array(values) => column_bytes(values),
            ColumnarValue::Scalar(value) => (rows as u64).saturating_mul(constant_bytes(value)),
        });
        (account.held, account.passed) = (Vec::new(), 0);
        if account.kept <= account.limit {
            return Ok(());
        }
        exec_err!(
            "the columns that a SELECT computes come to more than {} bytes for a block of {rows} rows; select fewer or shorter ones{}",
            account.limit,
            advice_at(account.limit)
        )
    })
}

/// What helps beside asking for less.
pub(super) fn advice() -> &'static str {
    let limit = OPEN.with_borrow(|open| open.as_ref().map(|account| account.limit));
    limit.map_or("", advice_at)
}

fn advice_at(limit: u64) -> &'static str {
    if limit < BYTES_MAX { ", or raise options.memory" } else { "" }
}

/// Bytes of a constant in each row.
fn constant_bytes(value: &ScalarValue) -> u64 {
    let width = value.data_type().primitive_width();
    width.unwrap_or_else(|| value.size().saturating_sub(size_of::<ScalarValue>()) + 4) as u64
}
