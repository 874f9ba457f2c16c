//! Reads ranges: records go from the client's memory straight into columns or to the decoder.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_core::{
    ConnectorError, PayloadDecoder, RangeReader, RowStream, Slice, SourceRange, beside,
};

use super::client::offsets_at;
use super::columns::{self, Columns};
use super::fetch::{Fetching, fetch_failed, is_out_of_range};
use super::link::{Connected, Link};
use super::native::{Event, Record};
use super::offsets::{EARLIEST, LATEST, Offsets, Span, TopicPartition, slice_of};
use crate::malformed::{MalformedRows, Place, Tally, failed_at};
use crate::rows::{BATCH_BYTES_MAX, BATCH_ROWS, record_batch};

/// Where decoded or plain rows are gathered.
trait Gather {
    /// Gives the bytes that it took, about.
    fn push(&mut self, place: &TopicPartition, record: Record<'_>)
    -> Result<usize, ConnectorError>;
    fn finish(&mut self, rows: usize) -> Result<RecordBatch, ConnectorError>;
}

impl Gather for Columns {
    #[inline]
    fn push(
        &mut self,
        place: &TopicPartition,
        record: Record<'_>,
    ) -> Result<usize, ConnectorError> {
        Ok(Columns::push(self, place, record))
    }

    fn finish(&mut self, rows: usize) -> Result<RecordBatch, ConnectorError> {
        let columns = Columns::finish(self);
        record_batch(self.schema(), columns, rows)
    }
}

/// Values taken apart, and columns of the record beside them.
struct Decoded {
    decoder: Box<dyn PayloadDecoder>,
    beside: Columns,
    tally: Arc<Tally>,
}

impl Gather for Decoded {
    #[inline]
    fn push(
        &mut self,
        place: &TopicPartition,
        record: Record<'_>,
    ) -> Result<usize, ConnectorError> {
<<<<<<< HEAD
        match self.decoder.decode(record.value()) {
            Ok(false) => {}
            Ok(true) => self.tally.add(1, || place_of(place, record)),
            Err(error) => return Err(failed_at(&place_of(place, record), &error)),
        }
=======
        self.decoder
            .decode(record.value())
            .map_err(|error| not_decoded(place, record.offset(), error))?;
>>>>>>> main
        Ok(self.beside.push(place, record))
    }

    fn finish(&mut self, rows: usize) -> Result<RecordBatch, ConnectorError> {
        beside(&self.decoder.finish(), &Gather::finish(&mut self.beside, rows)?)
    }
}

<<<<<<< HEAD
fn place_of(place: &TopicPartition, record: Record<'_>) -> Place {
    let TopicPartition { topic, partition } = place;
    let offset = record.offset();
    Place::Record(format!("offset {offset} of partition {partition} of the topic {topic}"))
=======
/// The reason alone does not say which of millions of records it is.
fn not_decoded(place: &TopicPartition, offset: i64, error: ConnectorError) -> ConnectorError {
    let what = format!("the value of {place} at offset {offset} cannot be taken apart");
    let named = if error.is_retryable() {
        ConnectorError::retryable(what)
    } else {
        ConnectorError::fatal(what)
    };
    named.caused_by(error)
>>>>>>> main
}

/// What a block has so far.
#[derive(Default)]
struct Taken {
    rows: usize,
    bytes: usize,
}

impl Taken {
    #[inline]
    fn add(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES_MAX
    }
}

/// The rows of one slice, block by block.
///
/// The spans take turns, a block each: while one is read, the client fetches the others. Which
/// block is whose follows from the range and the records alone.
struct Blocks<G> {
    connected: Arc<Connected>,
    /// What is still to be read, the next one first.
    spans: VecDeque<Span>,
    gather: G,
    patience: Duration,
    fails_on_data_loss: bool,
}

impl<G: Gather> Blocks<G> {
    /// The next full block, or what is left.
    fn block(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let mut taken = Taken::default();
        while !taken.is_full() {
            let Some(mut span) = self.spans.pop_front() else {
                break;
            };
            let fetching = self.connected.fetches.get(&span.place)?;
            self.take(&mut span, &mut fetching.lock(), &mut taken)?;
            if span.from < span.to {
                self.spans.push_back(span);
            }
        }
        if taken.rows == 0 { Ok(None) } else { self.gather.finish(taken.rows).map(Some) }
    }

    /// Takes records of a span until the block is full or the span ends, and moves its start to
    /// where it goes on.
    fn take(
        &mut self,
        span: &mut Span,
        fetching: &mut Fetching,
        taken: &mut Taken,
    ) -> Result<(), ConnectorError> {
        fetching.go_to(&span.place, span.from)?;
        // Where it stands is known again at the end.
        fetching.next = None;
        while !taken.is_full() && span.from < span.to {
            if fetching.end.is_some_and(|end| end >= span.to) {
                span.from = span.to;
                break;
            }
            if !fetching.queue.fill(self.patience) {
                self.nothing_came(span, fetching.end)?;
                span.from = span.to;
                break;
            }
            match fetching.queue.peek() {
                Some(Event::Record(record)) if record.offset() >= span.to => {
                    // It stays for the next range. Between the two may be offsets without records.
                    span.from = span.to;
                    break;
                }
                Some(Event::Record(record)) => {
                    taken.add(self.gather.push(&span.place, record)?);
                    span.from = record.offset() + 1;
                }
                Some(Event::End(offset)) => fetching.end = Some(offset),
                Some(Event::Error(code, reason)) => {
                    fetching.queue.pop();
                    if !is_out_of_range(code) {
                        return Err(fetch_failed(&span.place, Some(span.from), code, &reason));
                    }
                    self.skip_lost(span)?;
                    fetching.go_to(&span.place, span.from)?;
                    fetching.next = None;
                    continue;
                }
                None => {}
            }
            fetching.queue.pop();
        }
        fetching.next = Some(span.from);
        Ok(())
    }

    /// The broker does not have the span's start: goes on where the partition begins now, if the
    /// job may lose what was before.
    fn skip_lost(&self, span: &mut Span) -> Result<(), ConnectorError> {
        let (first, last) = self.extent(span)?;
        if (first..=last).contains(&span.from) {
            return Err(ConnectorError::retryable(format!(
                "{} cannot be read at offset {}, which it has",
                span.place, span.from
            )));
        }
        self.lose_rest(span, first, last)?;
        span.from = if span.from < first { first.min(span.to) } else { span.to };
        Ok(())
    }

    /// Nothing came of a span in time. If that is because the partition ends before it, and the
    /// job may lose what was there, the rest of the span is without records.
    fn nothing_came(&self, span: &Span, end: Option<i64>) -> Result<(), ConnectorError> {
        if end.is_some_and(|end| end < span.to) {
            let (first, last) = self.extent(span)?;
            if last < span.to {
                return self.lose_rest(span, first, last);
            }
        }
        let heard = self.connected.fetches.complaint().map(|reason| format!(" ({reason})"));
        Err(ConnectorError::retryable(format!(
            "nothing came of {} from offset {} on within {} s, and the range ends at {}{}; is the broker up? (kafkaConsumer.pollTimeoutMs)",
            span.place,
            span.from,
            self.patience.as_secs(),
            span.to,
            heard.unwrap_or_default()
        )))
    }

    /// The first offset of a span's partition, and its end.
    fn extent(&self, span: &Span) -> Result<(i64, i64), ConnectorError> {
        let ask = |which, otherwise| {
            let place = std::iter::once(&span.place);
            let offsets = offsets_at(&self.connected.client, place, which, self.patience)?;
            Ok::<i64, ConnectorError>(offsets.get(&span.place).unwrap_or(otherwise))
        };
        Ok((ask(EARLIEST, span.to)?, ask(LATEST, span.to)?))
    }

    fn lose_rest(&self, span: &Span, first: i64, last: i64) -> Result<(), ConnectorError> {
        let what = format!(
            "{} no longer has all records from offset {} to {}, which this batch reads: it begins at {first} and ends at {last}",
            span.place, span.from, span.to
        );
        lose(self.fails_on_data_loss, &what)
    }
}

impl<G: Gather> Iterator for Blocks<G> {
    type Item = Result<RecordBatch, ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.block();
        if block.is_err() {
            self.spans.clear();
        }
        block.transpose()
    }
}

/// Reads the ranges of one source.
pub(super) struct KafkaReader {
    pub(super) link: Arc<Link>,
    pub(super) has_headers: bool,
    /// How long a record of a range may take to come.
    pub(super) patience: Duration,
    pub(super) fails_on_data_loss: bool,
    pub(super) malformed: Arc<MalformedRows>,
}

impl KafkaReader {
    fn blocks<G: Gather>(
        &self,
        range: &SourceRange,
        slice: Slice,
        gather: G,
    ) -> Result<Blocks<G>, ConnectorError> {
        let spans = slice_of(spans(range)?, slice.index, slice.count);
        let connected = self.link.connected()?;
        Ok(Blocks {
            connected,
            spans: spans.into_iter().filter(|span| span.from < span.to).collect(),
            gather,
            patience: self.patience,
            fails_on_data_loss: self.fails_on_data_loss,
        })
    }

    fn columns(&self, projection: &[usize]) -> Result<Columns, ConnectorError> {
        let schema = columns::schema(self.has_headers).project(projection).map_err(|error| {
            ConnectorError::fatal("a column is asked for that there is not").caused_by(error)
        })?;
        Ok(Columns::new(Arc::new(schema)))
    }
}

impl RangeReader for KafkaReader {
    fn read(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
    ) -> Result<RowStream, ConnectorError> {
        Ok(Box::new(self.blocks(range, slice, self.columns(projection)?)?))
    }

    fn read_decoded(
        &self,
        range: &SourceRange,
        slice: Slice,
        projection: &[usize],
        payload: usize,
        decoder: Box<dyn PayloadDecoder>,
    ) -> Result<RowStream, ConnectorError> {
        let columns = columns::schema(self.has_headers);
        if columns.field(payload).name() != columns::VALUE {
            return Err(ConnectorError::fatal("only the value of a record is decoded"));
        }
        let tally = self.malformed.begin(range, slice, projection);
        let gather = Decoded { decoder, beside: self.columns(projection)?, tally };
        Ok(Box::new(self.blocks(range, slice, gather)?))
    }
}

/// What a range reads, sorted.
fn spans(range: &SourceRange) -> Result<Vec<Span>, ConnectorError> {
    let unreadable = |reason: String| {
        ConnectorError::fatal(format!("the range of a Kafka source cannot be read: {reason}"))
    };
    let parse = |json: &serde_json::Value| match json {
        serde_json::Value::Null => Ok(Offsets::default()),
        json => Offsets::from_json(json).map_err(unreadable),
    };
    let mut starts = parse(&range.start)?;
    starts.extend(&parse(&range.parts)?);
    let ends = parse(&range.end)?;
    let span = |(place, to): (&TopicPartition, &i64)| {
        let from = starts.get(place).ok_or_else(|| unreadable(format!("{place} has no start")))?;
        Ok(Span { place: place.clone(), from, to: *to })
    };
    ends.iter().map(span).collect()
}

/// Data was lost: an error, or a warning where the job says so.
pub(super) fn lose(fails: bool, what: &str) -> Result<(), ConnectorError> {
    if fails {
        return Err(ConnectorError::fatal(format!(
            "{what}. Set failOnDataLoss = false to go on with what is there"
        )));
    }
    tracing::warn!("{what}; going on with what is there");
    Ok(())
}
