//! What a reader says of rows that are not what their columns ask for.

/// Rows of some bytes that are malformed, or in which bytes were replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Malformed {
    /// How many.
    pub rows: u64,
    /// Where the first of them begins, in bytes from the front. `None` where there is none.
    pub first: Option<usize>,
}

impl Malformed {
    /// One more row, which begins at this byte.
    pub(crate) fn note(&mut self, at: usize) {
        self.rows += 1;
        self.first.get_or_insert(at);
    }
}

/// An error at one row of some bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct RowError<E> {
    /// Where the row begins, in bytes from the front.
    pub at: usize,
    /// What is wrong with it.
    pub error: E,
}
