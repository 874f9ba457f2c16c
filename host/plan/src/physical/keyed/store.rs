//! The state of keys of one shard, as a stateful function reads and changes it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use tidemill_core::{
    Bucket, Change, KeyedState, PluginFailure, ShardId, ShardState, StateError, VariableShape,
    member_key, member_of,
};
use tidemill_frontend::spec::TimeMode;

use super::super::stateful::{OperatorState, StateCounts};
use super::codec::{INITIAL_TAKEN, Stored, of_row, parts, push_part};

/// Bytes that one read of a variable gives, at most: a function may ask for a key any number of times.
const READ_BYTES_MAX: usize = 256 << 20;
/// Timers that are asked for at once, at most.
const READ_TIMERS_MAX: usize = 16 << 20;
/// Bytes of a value, an item or an entry.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// What a batch does to the state of an operator. Shards work on it side by side.
pub(super) struct Shared {
    pub(super) kept: Arc<[Stored]>,
    /// Values, lists and maps.
    pub(super) state: OperatorState,
    /// When timers are due.
    pub(super) timers: OperatorState,
    /// When values with a time to live are forgotten, by their keys in `state`.
    pub(super) expiries: OperatorState,
    pub(super) mode: TimeMode,
    /// Batch time or watermark, in microseconds; `None` without a time mode.
    pub(super) clock: Option<i64>,
    pub(super) batch: u64,
    counts: Mutex<StateCounts>,
    /// What went wrong in the host while a plugin ran, in the engine's own terms.
    failed: Mutex<Option<DataFusionError>>,
}

/// Names of Spark's for what is done to timers.
pub(super) const TIMERS_SET: &str = "numRegisteredTimers";
pub(super) const TIMERS_DELETED: &str = "numDeletedTimers";
pub(super) const TIMERS_DUE: &str = "numExpiredTimers";

impl Shared {
    pub(super) fn new(
        kept: Arc<[Stored]>,
        [state, timers, expiries]: [OperatorState; 3],
        mode: TimeMode,
        clock: Option<i64>,
        batch: u64,
    ) -> Shared {
        let (counts, failed) = (Mutex::default(), Mutex::default());
        Shared { kept, state, timers, expiries, mode, clock, batch, counts, failed }
    }

    /// The error that a plugin's failure stands for, if it was the host's.
    pub(super) fn failure(&self) -> Option<DataFusionError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut StateCounts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn count_custom(&self, name: &str, more: usize) {
        self.count(|counts| {
            *counts.custom.entry(name.to_owned()).or_default() += more as u64;
        });
    }

    /// What a plugin is told of an error. One of the state itself, which is the engine's business, is kept.
    fn told(&self, error: DataFusionError) -> PluginFailure {
        let told = match &error {
            DataFusionError::Execution(reason) => reason.clone(),
            other => other.strip_backtrace(),
        };
        if let DataFusionError::External(_) = error {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        PluginFailure::Host(told)
    }

    /// Whether the initial state has been taken. It is, from here on.
    pub(super) fn take_initial(&self) -> Result<bool> {
        self.state.shard(ShardId(0), |state| {
            let is_taken = state.get(Bucket::FOREVER, INITIAL_TAKEN).is_some();
            if !is_taken {
                state.put(Bucket::FOREVER, INITIAL_TAKEN, &[])?;
            }
            Ok(is_taken)
        })
    }

    /// Forgets what is due in a shard. Gives how many entries these were.
    pub(super) fn forget(&self, shard: ShardId) -> Result<u64> {
        let Some(clock) = self.clock else { return Ok(0) };
        let mut due = Vec::new();
        self.expiries.shard(shard, |expiries| {
            expiries.evict(Bucket(clock), &mut |_, key, _| due.push(key.to_vec()))
        })?;
        self.state.shard(shard, |state| {
            due.iter().try_fold(0, |count, key| {
                Ok(count + u64::from(state.remove(Bucket::FOREVER, key)?))
            })
        })
    }
}

/// The keys of one call.
pub(super) struct ShardKeys {
    shared: Arc<Shared>,
    shard: ShardId,
    keys: Vec<Box<[u8]>>,
}

/// Parts of bytes that were collected, a row each.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    parts: Vec<Option<Range<usize>>>,
}

impl Collected {
    fn push(&mut self, part: Option<&[u8]>) -> Result<()> {
        let begin = self.bytes.len();
        let part = part.map(|part| {
            self.bytes.extend(part);
            begin..self.bytes.len()
        });
        self.parts.push(part);
        match self.bytes.len() <= READ_BYTES_MAX {
            true => Ok(()),
            false => exec_err!(
                "it reads more than {READ_BYTES_MAX} bytes of its state at once; keep less for a key, or \
                 look at single entries of a map. `set` and `clear` of a list read nothing"
            ),
        }
    }
}

/// An entry, and when it was to be forgotten before and is now.
type Moved = (Vec<u8>, Option<i64>, Option<i64>);

/// Bytes of a time before a value.
const TIME_BYTES: usize = size_of::<i64>();

/// The time before a value, and the value.
fn timed(value: &[u8]) -> Option<(i64, &[u8])> {
    let (time, value) = value.split_first_chunk::<TIME_BYTES>()?;
    Some((i64::from_be_bytes(*time), value))
}

/// What a change of one variable works with.
struct Writer<'a> {
    state: &'a mut dyn ShardState,
    /// When what is written now is forgotten.
    expires: Option<i64>,
    moved: Vec<Moved>,
    counts: StateCounts,
}

impl Writer<'_> {
    /// The entry, if it is not to be forgotten already.
    fn get(&self, key: &[u8], clock: Option<i64>) -> Option<&[u8]> {
        visible(self.state.get(Bucket::FOREVER, key)?, self.expires.and(clock))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.counts.updated += 1;
        let Some(expires) = self.expires else {
            return self.state.put(Bucket::FOREVER, key, value);
        };
        let before = self.state.get(Bucket::FOREVER, key).and_then(timed).map(|(time, _)| time);
        if before != Some(expires) {
            self.moved.push((key.to_vec(), before, Some(expires)));
        }
        self.state.put(Bucket::FOREVER, key, &[&expires.to_be_bytes(), value].concat())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StateError> {
        if self.expires.is_some() {
            let before = self.state.get(Bucket::FOREVER, key).and_then(timed).map(|(time, _)| time);
            if before.is_some() {
                self.moved.push((key.to_vec(), before, None));
            }
        }
        self.counts.removed += u64::from(self.state.remove(Bucket::FOREVER, key)?);
        Ok(())
    }

    /// Removes all members of a group.
    fn clear(&mut self, group: &[u8]) -> Result<(), StateError> {
        let mut members = Vec::new();
        self.state.members(group, &mut |_, member, _| members.push(member));
        let mut key = Vec::new();
        members.into_iter().try_for_each(|member| {
            member_key(group, member, &mut key);
            self.remove(&key)
        })
    }
}

/// A value without the time before it, where `clock` says that it has one; nothing once it has come.
fn visible(value: &[u8], clock: Option<i64>) -> Option<&[u8]> {
    match clock {
        None => Some(value),
        Some(clock) => timed(value).filter(|(time, _)| *time > clock).map(|(_, value)| value),
    }
}

impl ShardKeys {
    pub(super) fn new(shared: &Arc<Shared>, shard: ShardId, keys: Vec<Box<[u8]>>) -> ShardKeys {
        ShardKeys { shared: Arc::clone(shared), shard, keys }
    }

    fn key(&self, key: u32) -> Result<&[u8]> {
        match self.keys.get(key as usize) {
            Some(key) => Ok(key),
            None => exec_err!("a call has no key {key}"),
        }
    }

    /// The clock by which this variable is forgotten.
    fn clock(&self, kept: &Stored) -> Option<i64> {
        kept.variable.ttl.and(self.shared.clock)
    }

    pub(super) fn reading(&self, number: usize, keys: &[u32]) -> Result<ArrayRef> {
        let kept = &self.shared.kept[number];
        let clock = self.clock(kept);
        let (mut found, mut entries) = (Collected::default(), Collected::default());
        let mut ends = Vec::with_capacity(keys.len());
        let mut group = Vec::new();
        let groups = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>>>()?;
        let outcome: Result<()> = self.shared.state.shard(self.shard, |state| {
            Ok(groups.iter().try_for_each(|key| {
                kept.group(key, &mut group);
                match kept.variable.shape {
                    VariableShape::Value => {
                        let value = state.get(Bucket::FOREVER, &group);
                        found.push(value.and_then(|value| visible(value, clock)))?;
                    }
                    VariableShape::Items | VariableShape::Entries => {
                        let has_keys = kept.variable.shape == VariableShape::Entries;
                        let mut outcome = Ok(());
                        state.members(&group, &mut |_, _, value| {
                            if let (Some(value), Ok(())) = (visible(value, clock), &outcome) {
                                outcome = collect(value, has_keys, &mut entries, &mut found);
                            }
                        });
                        outcome?;
                    }
                }
                ends.push(found.parts.len());
                Ok(())
            }))
        })?;
        outcome?;
        let values = kept.value().column(&found.bytes, &found.parts)?;
        match kept.variable.shape {
            VariableShape::Value => Ok(values),
            VariableShape::Items => kept.list(values, &ends),
            VariableShape::Entries => {
                let keys = kept.entry()?.column(&entries.bytes, &entries.parts)?;
                kept.map(keys, values, &ends)
            }
        }
    }

    fn finding(&self, number: usize, keys: &[u32], entries: &ArrayRef) -> Result<ArrayRef> {
        let kept = &self.shared.kept[number];
        let clock = self.clock(kept);
        let wanted = kept.entry()?.rows(entries)?;
        let mut found = Collected::default();
        let (mut group, mut member) = (Vec::new(), Vec::new());
        let groups = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>>>()?;
        let outcome: Result<()> = self.shared.state.shard(self.shard, |state| {
            Ok(groups.iter().zip(&wanted).try_for_each(|(key, wanted)| {
                kept.group(key, &mut group);
                member_key(&group, member_of(wanted.as_ref()), &mut member);
                let held = state.get(Bucket::FOREVER, &member);
                let held = held.and_then(|held| visible(held, clock)).unwrap_or_default();
                let place = entry_in(held, wanted.as_ref())?;
                found.push(place.map(|(_, value)| &held[value]))
            }))
        })?;
        outcome?;
        kept.value().column(&found.bytes, &found.parts)
    }

    pub(super) fn changing(&self, number: usize, keys: &[u32], change: Change<'_>) -> Result<()> {
        let kept = &self.shared.kept[number];
        let rows = Rows::of(kept, change)?;
        let expires = kept
            .variable
            .ttl
            .zip(self.shared.clock)
            .map(|(ttl, clock)| clock.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)));
        let groups = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>>>()?;
        let clock = self.clock(kept);
        let (batch, mut group) = (self.shared.batch, Vec::new());
        let (outcome, moved, counts) = self.shared.state.shard(self.shard, |state| {
            let (moved, counts) = (Vec::new(), StateCounts::default());
            let mut writer = Writer { state, expires, moved, counts };
            let outcome = rows.runs(keys).try_for_each(|run| {
                kept.group(groups[run.start], &mut group);
                rows.write(run, &group, batch, clock, &mut writer)
            });
            Ok((outcome, writer.moved, writer.counts))
        })?;
        outcome?;
        self.shared.count(|all| all.add(counts));
        if moved.is_empty() {
            return Ok(());
        }
        self.shared.expiries.shard(self.shard, |expiries| {
            moved.iter().try_for_each(|(key, before, now)| {
                if let Some(before) = before {
                    expiries.remove(Bucket(*before), key)?;
                }
                now.map_or(Ok(()), |now| expiries.put(Bucket(now), key, &[]))
            })
        })
    }

    fn check_timers(&self) -> Result<(), PluginFailure> {
        match self.shared.mode {
            TimeMode::None => Err(PluginFailure::BadOutput(
                "a timer, and its step has no time for timers; give the step time_mode = \
                 \"event_time\" or \"processing_time\""
                    .to_owned(),
            )),
            TimeMode::EventTime | TimeMode::ProcessingTime => Ok(()),
        }
    }

    /// Works with the timers of these keys.
    fn each_timer(
        &self,
        keys: &[u32],
        times: &[i64],
        mut work: impl FnMut(&mut dyn ShardState, &[u8], i64) -> Result<bool, StateError>,
    ) -> Result<usize> {
        let groups = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>>>()?;
        self.shared.timers.shard(self.shard, |timers| {
            groups.iter().zip(times).try_fold(0, |count, (key, time)| {
                Ok(count + usize::from(work(timers, key, *time)?))
            })
        })
    }
}

/// The rows of a change, encoded.
enum Rows<'a> {
    Value(&'a ArrayRef, arrow::row::Rows),
    Items(&'a ArrayRef, arrow::row::Rows),
    Entries(&'a ArrayRef, arrow::row::Rows, arrow::row::Rows),
    Append(arrow::row::Rows),
    Put(arrow::row::Rows, arrow::row::Rows),
    Remove(arrow::row::Rows),
}

impl<'a> Rows<'a> {
    fn of(kept: &Stored, change: Change<'a>) -> Result<Rows<'a>> {
        Ok(match (change, kept.variable.shape) {
            (Change::Write(values), VariableShape::Value) => {
                Rows::Value(values, kept.value().rows(values)?)
            }
            (Change::Write(lists), VariableShape::Items) => {
                Rows::Items(lists, kept.value().rows(lists.as_list::<i32>().values())?)
            }
            (Change::Write(maps), VariableShape::Entries) => {
                let (keys, values) = (maps.as_map().keys(), maps.as_map().values());
                Rows::Entries(maps, kept.entry()?.rows(keys)?, kept.value().rows(values)?)
            }
            (Change::Append(items), _) => Rows::Append(kept.value().rows(items)?),
            (Change::Put(keys, values), _) => {
                Rows::Put(kept.entry()?.rows(keys)?, kept.value().rows(values)?)
            }
            (Change::Remove(keys), _) => Rows::Remove(kept.entry()?.rows(keys)?),
        })
    }

    /// The rows that are written at a time: all items that one key gets in a row, as they are put to the
    /// same place, and else each by itself.
    fn runs<'k>(&self, keys: &'k [u32]) -> impl Iterator<Item = Range<usize>> + use<'k> {
        let appends = matches!(self, Rows::Append(_));
        let mut begin = 0;
        keys.chunk_by(move |a, b| appends && a == b).map(move |run| {
            let run = begin..begin + run.len();
            begin = run.end;
            run
        })
    }

    /// Writes a run of rows for the key that a group is of.
    fn write(
        &self,
        run: Range<usize>,
        group: &[u8],
        batch: u64,
        clock: Option<i64>,
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let mut member = Vec::new();
        let row = run.start;
        match self {
            Rows::Value(values, _) if values.is_null(row) => {
                writer.remove(group).map_err(state_error)
            }
            Rows::Value(_, rows) => {
                let value = rows.row(row);
                check_size(value.as_ref())?;
                writer.put(group, value.as_ref()).map_err(state_error)
            }
            Rows::Items(lists, items) => {
                writer.clear(group).map_err(state_error)?;
                if lists.is_null(row) {
                    return Ok(());
                }
                let mut chunk = Vec::new();
                for item in of_row(lists.as_list::<i32>().value_offsets(), row) {
                    push_part(items.row(item).as_ref(), &mut chunk)?;
                }
                if chunk.is_empty() {
                    return Ok(());
                }
                check_size(&chunk)?;
                member_key(group, batch, &mut member);
                writer.put(&member, &chunk).map_err(state_error)
            }
            Rows::Entries(maps, keys, values) => {
                writer.clear(group).map_err(state_error)?;
                if maps.is_null(row) {
                    return Ok(());
                }
                of_row(maps.as_map().value_offsets(), row).try_for_each(|entry| {
                    let (key, value) = (keys.row(entry), values.row(entry));
                    put_entry(group, key.as_ref(), Some(value.as_ref()), clock, writer)
                })
            }
            Rows::Append(items) => {
                member_key(group, batch, &mut member);
                let mut chunk = writer.get(&member, clock).unwrap_or_default().to_vec();
                for row in run {
                    push_part(items.row(row).as_ref(), &mut chunk)?;
                }
                check_size(&chunk)?;
                writer.put(&member, &chunk).map_err(state_error)
            }
            Rows::Put(keys, values) => {
                let (key, value) = (keys.row(row), values.row(row));
                put_entry(group, key.as_ref(), Some(value.as_ref()), clock, writer)
            }
            Rows::Remove(keys) => put_entry(group, keys.row(row).as_ref(), None, clock, writer),
        }
    }
}

/// Sets an entry of a map, or removes it where it has no value.
fn put_entry(
    group: &[u8],
    key: &[u8],
    value: Option<&[u8]>,
    clock: Option<i64>,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let mut member = Vec::new();
    member_key(group, member_of(key), &mut member);
    // What other entries the member has stays.
    let held = writer.get(&member, clock).unwrap_or_default();
    let mut all = Vec::with_capacity(held.len().max(key.len() + 16));
    if let Some((key, value)) = entry_in(held, key)? {
        // With the lengths before them.
        all.extend(&held[..key.start - 4]);
        all.extend(&held[value.end..]);
    } else {
        all.extend(held);
        if value.is_none() && all.is_empty() {
            return Ok(());
        }
    }
    if let Some(value) = value {
        push_part(key, &mut all)?;
        push_part(value, &mut all)?;
    }
    check_size(&all)?;
    let written = match all.is_empty() {
        true => writer.remove(&member),
        false => writer.put(&member, &all),
    };
    written.map_err(state_error)
}

/// Where the entry with this key is among those of a member: its key, and its value.
fn entry_in(held: &[u8], key: &[u8]) -> Result<Option<(Range<usize>, Range<usize>)>> {
    let mut places = parts(held);
    while let (Some(place), Some(value)) = (places.next(), places.next()) {
        let (place, value) = (place?, value?);
        if held[place.clone()] == *key {
            return Ok(Some((place, value)));
        }
    }
    Ok(None)
}

/// Takes the items of a chunk, or the entries of a member, apart.
fn collect(
    value: &[u8],
    has_keys: bool,
    entries: &mut Collected,
    values: &mut Collected,
) -> Result<()> {
    let mut is_key = has_keys;
    for part in parts(value) {
        let part = Some(&value[part?]);
        match is_key {
            true => entries.push(part)?,
            false => values.push(part)?,
        }
        is_key = has_keys && !is_key;
    }
    Ok(())
}

fn check_size(value: &[u8]) -> Result<()> {
    match value.len() <= VALUE_BYTES_MAX {
        true => Ok(()),
        false => exec_err!(
            "it keeps {} bytes in one value, or adds so many to the list of a key in one batch; the limit \
             is {VALUE_BYTES_MAX}",
            value.len()
        ),
    }
}

fn state_error(error: StateError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl KeyedState for ShardKeys {
    fn read(&mut self, variable: usize, keys: &[u32]) -> Result<ArrayRef, PluginFailure> {
        self.reading(variable, keys).map_err(|error| self.shared.told(error))
    }

    fn find(
        &mut self,
        variable: usize,
        keys: &[u32],
        entries: &ArrayRef,
    ) -> Result<ArrayRef, PluginFailure> {
        self.finding(variable, keys, entries).map_err(|error| self.shared.told(error))
    }

    fn change(
        &mut self,
        variable: usize,
        keys: &[u32],
        change: Change<'_>,
    ) -> Result<(), PluginFailure> {
        self.changing(variable, keys, change).map_err(|error| self.shared.told(error))
    }

    fn timers(&mut self, keys: &[u32]) -> Result<Vec<Vec<i64>>, PluginFailure> {
        let listed = || {
            let groups = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>>>()?;
            let (mut listed, mut count) = (Vec::with_capacity(groups.len()), 0);
            self.shared.timers.shard(self.shard, |timers| {
                for key in groups {
                    let mut times = Vec::new();
                    timers.members(key, &mut |time, _, _| times.push(time.0));
                    times.sort_unstable();
                    count += times.len();
                    listed.push(times);
                    if count > READ_TIMERS_MAX {
                        break;
                    }
                }
                Ok(())
            })?;
            match count <= READ_TIMERS_MAX {
                true => Ok(listed),
                false => exec_err!("it asks for more than {READ_TIMERS_MAX} timers at once"),
            }
        };
        listed().map_err(|error| self.shared.told(error))
    }

    fn set_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.check_timers()?;
        let mut member = Vec::new();
        let set = self.each_timer(keys, times, |timers, key, time| {
            timer_key(key, time, &mut member);
            let is_new = timers.get(Bucket(time), &member).is_none();
            if is_new {
                timers.put(Bucket(time), &member, &[])?;
            }
            Ok(is_new)
        });
        let set = set.map_err(|error| self.shared.told(error))?;
        self.shared.count_custom(TIMERS_SET, set);
        Ok(())
    }

    fn delete_timers(&mut self, keys: &[u32], times: &[i64]) -> Result<(), PluginFailure> {
        self.check_timers()?;
        let mut member = Vec::new();
        let deleted = self.each_timer(keys, times, |timers, key, time| {
            timer_key(key, time, &mut member);
            timers.remove(Bucket(time), &member)
        });
        let deleted = deleted.map_err(|error| self.shared.told(error))?;
        self.shared.count_custom(TIMERS_DELETED, deleted);
        Ok(())
    }
}

/// The key of a timer: a member of the function's key, so that the timers of a key are found.
fn timer_key(key: &[u8], time: i64, member: &mut Vec<u8>) {
    member_key(key, time.cast_unsigned(), member);
}
