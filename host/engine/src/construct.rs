//! Fixes what a batch will read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill_core::{AskAgain, BatchId, BatchSpec, ReadLimit, SourceRange, Wake, Watermark};

use crate::trace::section;
use crate::{EngineError, NamedSource};

/// A source that says when its next rows come goes by the machine's clock, which may be set
/// meanwhile: it is asked again after a second at the latest.
const CLOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is known of the next batch before its sources are asked.
pub(crate) struct NextBatch {
    pub(crate) batch: BatchId,
    pub(crate) batch_time_ms: i64,
    pub(crate) watermark: Watermark,
    pub(crate) late_watermark: Watermark,
    pub(crate) is_unlimited: bool,
    /// Whether the batch is worth running without rows: the watermark moved, and some operator
    /// would emit or evict by it (Spark's constructNextBatch).
    pub(crate) may_have_no_data: bool,
}

fn is_unanswered(named: &NamedSource) -> bool {
    matches!(named.source.ask_again(), AskAgain::Unanswered(_))
}

/// The query's sources, and where they stand.
pub(crate) struct Reading {
    sources: Vec<NamedSource>,
    /// Where the last range of each source ended, for progress records.
    ends: BTreeMap<String, Value>,
    /// Ranges that are fixed and that no batch has yet. Their sources stand behind them.
    fixed: BTreeMap<String, SourceRange>,
    /// Sources whose place does not answer, and since when: milliseconds since 1970-01-01 UTC.
    unanswered: BTreeMap<String, i64>,
}

impl Reading {
    /// `wake` is what the sources call when they may have rows.
    pub(crate) fn new(mut sources: Vec<NamedSource>, wake: &Wake) -> Reading {
        for named in &mut sources {
            named.source.notify(Arc::clone(wake));
        }
        let (ends, fixed) = (BTreeMap::new(), BTreeMap::new());
        Reading { sources, ends, fixed, unanswered: BTreeMap::new() }
    }

    /// How long to wait before the sources, which had nothing, are asked again, unless one calls.
    /// `now_and_then` is the wait for those that cannot tell.
    pub(crate) fn ask_again(&self, now_and_then: Duration) -> Duration {
        let wait = |named: &NamedSource| match named.source.ask_again() {
            AskAgain::WhenWoken => None,
            AskAgain::NowAndThen => Some(now_and_then),
            AskAgain::After(wait) => Some(wait.min(CLOCK_WAIT_MAX)),
            AskAgain::Unanswered(wait) => Some(wait),
        };
        self.sources.iter().filter_map(wait).min().unwrap_or(Duration::MAX)
    }

    /// Whether all sources know that they gave what they have.
    pub(crate) fn is_exhausted(&self) -> bool {
        !self.sources.iter().any(is_unanswered)
    }

    /// Looks which sources' places do not answer now. Gives all of them, and since when, if they
    /// are not those of the last look.
    pub(crate) fn newly_unanswered(&mut self, now_ms: i64) -> Option<&BTreeMap<String, i64>> {
        let unanswered = self.sources.iter().filter(|named| is_unanswered(named));
        let since = |named: &NamedSource| {
            let before = self.unanswered.get(&named.name).copied();
            (named.name.clone(), before.unwrap_or(now_ms))
        };
        let unanswered: BTreeMap<String, i64> = unanswered.map(since).collect();
        if unanswered == self.unanswered {
            return None;
        }
        self.unanswered = unanswered;
        Some(&self.unanswered)
    }

    pub(crate) fn restore(
        &mut self,
        positions: &BTreeMap<String, Value>,
        ranges: &[BTreeMap<String, SourceRange>],
    ) -> Result<(), EngineError> {
        for NamedSource { name, source } in &mut self.sources {
            if let Some(position) = positions.get(name) {
                source.restore(position)?;
            }
            for range in ranges.iter().filter_map(|ranges| ranges.get(name)) {
                source.advance(range)?;
                self.ends.insert(name.clone(), range.end.clone());
            }
        }
        Ok(())
    }

    pub(crate) fn connect(&mut self) -> Result<(), EngineError> {
        Ok(self.sources.iter_mut().try_for_each(|named| named.source.connect())?)
    }

    pub(crate) fn stop_at_present_end(&mut self) -> Result<(), EngineError> {
        Ok(self.sources.iter_mut().try_for_each(|named| named.source.stop_at_present_end())?)
    }

    /// Where the sources stand; `None` while a range is fixed that no batch has yet.
    pub(crate) fn positions(&self) -> Option<BTreeMap<String, Value>> {
        let position = |named: &NamedSource| (named.name.clone(), named.source.position());
        self.fixed.is_empty().then(|| self.sources.iter().map(position).collect())
    }

    pub(crate) fn sources(&self) -> &[NamedSource] {
        &self.sources
    }

    /// Where a source stood after its last range.
    pub(crate) fn end(&self, name: &str) -> Value {
        self.ends.get(name).cloned().unwrap_or(Value::Null)
    }

    /// Fixes the ranges of the next batch that waiting would not change, and gives them.
    pub(crate) fn fix_settled(&mut self) -> BTreeMap<String, SourceRange> {
        for NamedSource { name, source } in &mut self.sources {
            if self.fixed.contains_key(name) || !source.is_next_settled() {
                continue;
            }
            let asked = section!("latest_offset", source = name.as_str());
            match asked.in_scope(|| source.next_range(ReadLimit::Limited)) {
                Ok(Some(range)) => drop(self.fixed.insert(name.clone(), range)),
                Ok(None) => {}
                // It comes again when the batch asks, and then it counts.
                Err(error) => tracing::debug!(source = name.as_str(), %error, "not read ahead"),
            }
        }
        self.fixed.clone()
    }

    /// The next batch, or `None` when there is nothing to do.
    pub(crate) fn construct(&mut self, next: &NextBatch) -> Result<Option<BatchSpec>, EngineError> {
        let bound = if next.is_unlimited { ReadLimit::Unlimited } else { ReadLimit::Limited };
        for NamedSource { name, source } in &mut self.sources {
            if self.fixed.contains_key(name) {
                continue;
            }
            let asked = section!("latest_offset", source = name.as_str());
            if let Some(range) = asked.in_scope(|| source.next_range(bound))? {
                self.fixed.insert(name.clone(), range);
            }
        }
        let ranges = std::mem::take(&mut self.fixed);
        for (name, range) in &ranges {
            self.ends.insert(name.clone(), range.end.clone());
        }
        if ranges.is_empty() && !next.may_have_no_data {
            return Ok(None);
        }
        Ok(Some(BatchSpec {
            batch: next.batch,
            batch_time_ms: next.batch_time_ms,
            watermark: next.watermark,
            late_watermark: next.late_watermark,
            ranges,
        }))
    }
}
