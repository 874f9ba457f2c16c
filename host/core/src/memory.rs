//! The memory that grows with data, counted against one budget.
//!
//! ```text
//! process                 options.memory, or a share of what the machine allows
//! ├── state, aggregations, joins, tables that streams are joined with, rows read ahead
//! └── one handler's call  half of it: the tables that it holds, its SQL
//! ```
//!
//! Whoever is about to hold rows reserves their bytes first, a block at a time, and gives them back
//! by dropping the [`Reservation`]. Nothing is allocated here: a budget is a count. What does not
//! grow with data (the program, plugins' instances, clients' queues of a fixed size) has limits of
//! its own and is not counted.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Holders that an error names; the others are summed.
const NAMED_HOLDERS: usize = 6;

/// So many bytes, shared by whoever reserves of them. A clone is the same budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    scope: MemoryScope,
    limit: u64,
    used: AtomicU64,
    /// Of which this one is a share.
    whole: Option<MemoryBudget>,
    holders: Mutex<BTreeMap<u64, Weak<Holder>>>,
}

/// Whose memory a budget is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryScope {
    /// All queries of the process.
    Process,
    /// One call of a foreach_batch handler.
    Call,
}

/// One name, and what all reservations under it hold.
#[derive(Debug)]
struct Holder {
    who: String,
    bytes: AtomicU64,
    budget: MemoryBudget,
    key: u64,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.budget.holders().remove(&self.key);
    }
}

/// Bytes of a budget, for as long as the value lives.
#[derive(Debug)]
pub struct Reservation {
    holder: Arc<Holder>,
    bytes: u64,
}

/// A reservation would go beyond the budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfMemory {
    /// Who asked.
    pub who: String,
    /// Bytes that were asked for.
    pub wanted: u64,
    /// Bytes that were taken.
    pub used: u64,
    /// The budget.
    pub limit: u64,
    /// Whose budget it is.
    pub scope: MemoryScope,
    /// Who holds how many bytes of it, the largest first.
    pub holders: Vec<(String, u64)>,
}

impl MemoryBudget {
    /// The budget of a process.
    #[must_use]
    pub fn new(limit: u64) -> MemoryBudget {
        MemoryBudget::with(MemoryScope::Process, limit, None)
    }

    /// A budget that is never used up.
    #[must_use]
    pub fn unlimited() -> MemoryBudget {
        MemoryBudget::new(u64::MAX)
    }

    /// A budget of `limit` bytes that is part of this one: what is taken of it is taken of both.
    #[must_use]
    pub fn share(&self, scope: MemoryScope, limit: u64) -> MemoryBudget {
        MemoryBudget::with(scope, limit.min(self.0.limit), Some(self.clone()))
    }

    fn with(scope: MemoryScope, limit: u64, whole: Option<MemoryBudget>) -> MemoryBudget {
        let (used, holders) = (AtomicU64::new(0), Mutex::default());
        MemoryBudget(Arc::new(Budget { scope, limit, used, whole, holders }))
    }

    /// Bytes that may be taken in all.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// An empty reservation. `who` is how errors name it.
    #[must_use]
    pub fn reserve(&self, who: impl Into<String>) -> Reservation {
        let mut holders = self.holders();
        let key = holders.last_key_value().map_or(0, |(last, _)| last + 1);
        let (who, bytes) = (who.into(), AtomicU64::new(0));
        let holder = Arc::new(Holder { who, bytes, budget: self.clone(), key });
        holders.insert(key, Arc::downgrade(&holder));
        Reservation { holder, bytes: 0 }
    }

    fn holders(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<Holder>>> {
        self.0.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes if no more than `most` of this budget, and of each that it is part of, are taken
    /// then. The budget that refused, if one did.
    fn take(&self, bytes: u64, most: fn(&Budget) -> u64) -> Result<(), MemoryBudget> {
        let limit = most(&self.0);
        let fits = |used: u64| used.checked_add(bytes).filter(|total| *total <= limit);
        if self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(self.clone());
        }
        let of_whole = self.0.whole.as_ref().map_or(Ok(()), |whole| whole.take(bytes, most));
        of_whole.inspect_err(|_| self.count_down(bytes))
    }

    fn count_down(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back, here and to what it is part of.
    fn give(&self, bytes: u64) {
        self.count_down(bytes);
        self.0.whole.iter().for_each(|whole| whole.give(bytes));
    }

    /// Why `who` was not given `wanted` bytes.
    fn refusal(&self, who: &str, wanted: u64) -> OutOfMemory {
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        // The last of a holder's values takes it out of the list: not while that is locked.
        let alive: Vec<Arc<Holder>> = self.holders().values().filter_map(Weak::upgrade).collect();
        for holder in &alive {
            *by_name.entry(holder.who.clone()).or_default() += holder.bytes.load(Ordering::Relaxed);
        }
        let mut holders: Vec<(String, u64)> =
            by_name.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        holders.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        OutOfMemory {
            who: who.to_owned(),
            wanted,
            used: self.used(),
            limit: self.0.limit,
            scope: self.0.scope,
            holders,
        }
    }
}

impl Budget {
    /// Up to which it may be taken by what can wait. A handler's tables read as well from disk, and
    /// its sorts and joins do not.
    fn ahead(&self) -> u64 {
        match self.scope {
            MemoryScope::Process => self.limit - self.limit / 4,
            MemoryScope::Call => self.limit / 4,
        }
    }
}

impl Reservation {
    /// Reserves more.
    ///
    /// # Errors
    /// The budget has not so much left. Nothing was reserved then.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        match self.holder.budget.take(bytes, |budget| budget.limit) {
            Ok(()) => {
                self.note(bytes);
                Ok(())
            }
            Err(refused) => Err(refused.refusal(&self.holder.who, bytes)),
        }
    }

    /// Reserves more for what could as well be done later, or kept on disk: it leaves a quarter of
    /// the process's budget, and three quarters of a call's, to those that cannot wait. Whether it
    /// was reserved.
    pub fn try_grow_ahead(&mut self, bytes: u64) -> bool {
        let is_reserved = self.holder.budget.take(bytes, Budget::ahead).is_ok();
        if is_reserved {
            self.note(bytes);
        }
        is_reserved
    }

    /// Counts what is held already, whatever the budget says.
    pub fn grow(&mut self, bytes: u64) {
        let mut budget = Some(&self.holder.budget);
        while let Some(counted) = budget {
            counted.0.used.fetch_add(bytes, Ordering::Relaxed);
            budget = counted.0.whole.as_ref();
        }
        self.note(bytes);
    }

    /// Gives some of it back; never more than there is.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.holder.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.holder.budget.give(bytes);
    }

    /// Reserves more, or gives some back, so that it is `bytes` in all.
    ///
    /// # Errors
    /// The budget has not so much left; the reservation is as it was.
    pub fn try_resize(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.try_grow(more),
            None => {
                self.shrink(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Bytes that are reserved.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An empty reservation under the same name, for a part that lives by itself.
    #[must_use]
    pub fn part(&self) -> Reservation {
        Reservation { holder: Arc::clone(&self.holder), bytes: 0 }
    }

    /// The error of a holder that was refused `wanted` bytes elsewhere; 0 where it is not known.
    #[must_use]
    pub fn refusal(&self, wanted: u64) -> OutOfMemory {
        self.holder.budget.refusal(&self.holder.who, wanted)
    }

    fn note(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.holder.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Error for OutOfMemory {}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, limit) = (bytes_text(self.used), bytes_text(self.limit));
        let wanted =
            if self.wanted == 0 { "more".to_owned() } else { bytes_text(self.wanted) + " more" };
        write!(f, "out of memory: {} needs {wanted}, and ", self.who)?;
        match self.scope {
            MemoryScope::Process => write!(f, "{used} of options.memory = {limit} are taken")?,
            MemoryScope::Call => write!(
                f,
                "{used} of the {limit} are taken that one call of a handler may use, a half of options.memory"
            )?,
        }
        let (named, others) = self.holders.split_at(self.holders.len().min(NAMED_HOLDERS));
        for (i, (who, bytes)) in named.iter().enumerate() {
            let before = if i == 0 { " (" } else { ", " };
            write!(f, "{before}{who}: {}", bytes_text(*bytes))?;
        }
        if !others.is_empty() {
            let rest = others.iter().map(|(_, bytes)| bytes).sum();
            write!(f, ", others: {}", bytes_text(rest))?;
        }
        if !named.is_empty() {
            f.write_str(")")?;
        }
        f.write_str(match self.scope {
            MemoryScope::Process => {
                ". Raise options.memory; a lower read limit of the source (maxFilesPerTrigger, maxOffsetsPerTrigger, maxBytesPerTrigger) makes later batches smaller"
            }
            MemoryScope::Call => {
                ". Raise options.memory, or join and keep fewer rows in the handler"
            }
        })
    }
}

/// A number of bytes for people: `64 MiB`, `1.5 GiB`.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_reserved_comes_back_when_it_is_dropped() {
        let budget = MemoryBudget::new(10 * MIB);
        let mut rows = budget.reserve("rows");
        rows.try_grow(6 * MIB).unwrap();
        let mut part = rows.part();
        part.try_grow(3 * MIB).unwrap();
        assert_eq!(budget.used(), 9 * MIB);
        drop(rows);
        assert_eq!(budget.used(), 3 * MIB);
        part.shrink(100 * MIB);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_refusal_says_who_wanted_what_and_who_holds_it() {
        let budget = MemoryBudget::new(64 * MIB);
        let (mut state, mut rows) = (budget.reserve("the state"), budget.reserve("an aggregation"));
        state.grow(60 * MIB);
        let refused = rows.try_grow(5 * MIB).unwrap_err().to_string();
        assert_eq!(
            refused,
            "out of memory: an aggregation needs 5 MiB more, and 60 MiB of options.memory = 64 MiB are taken (the state: 60 MiB). Raise options.memory; a lower read limit of the source (maxFilesPerTrigger, maxOffsetsPerTrigger, maxBytesPerTrigger) makes later batches smaller"
        );
        assert_eq!(budget.used(), 60 * MIB, "nothing was taken");
    }

    #[test]
    fn a_share_takes_of_the_whole_and_each_may_refuse() {
        let whole = MemoryBudget::new(10 * MIB);
        let share = whole.share(MemoryScope::Call, 4 * MIB);
        let (mut call, mut other) = (share.reserve("SQL"), whole.reserve("the state"));
        call.try_grow(3 * MIB).unwrap();
        assert_eq!((whole.used(), share.used()), (3 * MIB, 3 * MIB));
        assert_eq!(call.try_grow(2 * MIB).unwrap_err().scope, MemoryScope::Call);
        other.try_grow(7 * MIB).unwrap();
        let refused = call.try_grow(1).unwrap_err();
        assert_eq!(refused.scope, MemoryScope::Process);
        assert_eq!((whole.used(), share.used()), (10 * MIB, 3 * MIB), "nothing was taken");
    }

    #[test]
    fn work_that_can_wait_leaves_a_quarter() {
        let budget = MemoryBudget::new(8 * MIB);
        let (mut ahead, mut now) = (budget.reserve("rows read ahead"), budget.reserve("a join"));
        assert!(ahead.try_grow_ahead(6 * MIB));
        assert!(!ahead.try_grow_ahead(1));
        now.try_grow(2 * MIB).unwrap();
    }

    #[test]
    fn bytes_are_written_with_a_unit() {
        let texts =
            [0, 1023, 1024, 1536, 64 * MIB, 1023 * MIB, 1024 * MIB, u64::MAX].map(bytes_text);
        let expected =
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "64 MiB", "1023 MiB", "1 GiB", "16777216 TiB"];
        assert_eq!(texts, expected);
    }
}
