//! The place of a job for dead letters.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_codec::{EncodeOptions, JsonEncoder, WrittenTimes};
use tidemill_connectors::{PlannedSink, SinkConfig, SinkContext, plan_sink};
use tidemill_core::{Begin, ConnectorError, Delivery, Held, Sink};
use tidemill_engine::{DEAD_LETTERS, DeadLetters, PlaceFound};
use tidemill_plan::{LetterRules, letter_schema};
use tidemill_time::Zone;

use super::error::PrepareError;
use super::pinned_places::path;
use crate::job::{JobDeadLetters, JobTarget};

const KAFKA: &str = "kafka";
const SQLITE: &str = "sqlite";
/// Formats whose place sink and letters may share.
const SHARED: [&str; 3] = ["console", "memory", "noop"];

/// `[dead_letters]`, checked. Nothing is created yet.
#[derive(Clone)]
pub(super) struct LetterPlace {
    sink: Arc<PlannedSink>,
    rules: LetterRules,
    max_share: Option<f64>,
    /// A letter is one text, in a place that takes messages. Its times are of this zone.
    as_value: Option<Zone>,
}

impl LetterPlace {
    /// `sink` is the job's, if it is a place.
    pub(super) fn plan(
        config: SinkConfig,
        letters: &JobDeadLetters,
        sink: Option<(&JobTarget, &PlannedSink)>,
    ) -> Result<LetterPlace, PrepareError> {
        let as_value = config.format.eq_ignore_ascii_case(KAFKA).then_some(config.time_zone);
        let schema = as_value.map_or_else(letter_schema, |_| value_schema());
        let place = LetterPlace {
            sink: Arc::new(plan_sink(SinkConfig { schema: Some(schema), ..config })?),
            rules: letters.rules(),
            max_share: letters.max_share,
            as_value,
        };
        if let Some((target, planned)) = sink {
            place.is_apart_from(&letters.place, target, planned)?;
        }
        Ok(place)
    }

    /// Refuses the place of the sink: rows and letters would be taken for one another, or wait for one
    /// another.
    fn is_apart_from(
        &self,
        place: &JobTarget,
        target: &JobTarget,
        sink: &PlannedSink,
    ) -> Result<(), PrepareError> {
        let both_are = |format: &str| {
            [place, target].iter().all(|place| place.format.eq_ignore_ascii_case(format))
        };
        if both_are(SQLITE) && path(place) == path(target) {
            return Err(PrepareError::Invalid(
                "[dead_letters] names the database of the sink, which is locked while rows of a batch go into it; name another database".to_owned(),
            ));
        }
        let is_one = self.sink.description() == sink.description();
        if is_one && !SHARED.iter().any(|format| both_are(format)) {
            return Err(PrepareError::Invalid(format!(
                "[dead_letters] and the sink are one place, {}; give one of them another",
                sink.description()
            )));
        }
        Ok(())
    }

    /// Whether it could be written, without creating anything.
    pub(super) fn check(&self) -> Result<(), ConnectorError> {
        self.sink.check()
    }

    /// What it holds of the query.
    pub(super) fn found(&self, context: &SinkContext) -> Result<PlaceFound, ConnectorError> {
        let held: Held = self.sink.held(context)?;
        let (name, description) = (DEAD_LETTERS.to_owned(), self.sink.description());
        Ok(PlaceFound { name, description, held })
    }

    pub(super) fn open(&self, context: &SinkContext) -> Result<DeadLetters, ConnectorError> {
        let sink = self.sink.open(context)?;
        let sink = match self.as_value {
            None => sink,
            Some(zone) => Box::new(Values { sink, zone }) as Box<dyn Sink>,
        };
        Ok(DeadLetters { sink, rules: self.rules, max_share: self.max_share })
    }
}

/// The columns of messages.
fn value_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, false)]))
}

/// Hands each row on as a message that is a JSON object.
struct Values {
    sink: Box<dyn Sink>,
    zone: Zone,
}

impl Values {
    fn messages(&self, rows: &RecordBatch) -> Result<RecordBatch, String> {
        let times = WrittenTimes::in_zone(self.zone);
        let options = EncodeOptions { times, ..EncodeOptions::default() };
        let encoder = JsonEncoder::new(&rows.schema(), options).map_err(|e| e.to_string())?;
        let written = encoder.rows(rows).map_err(|error| error.to_string())?;
        let texts = (0..rows.num_rows()).map(|row| {
            let mut text = Vec::new();
            written.write(row, &mut text);
            String::from_utf8(text).map_err(|error| error.to_string())
        });
        let texts = StringArray::from(texts.collect::<Result<Vec<String>, String>>()?);
        RecordBatch::try_new(value_schema(), vec![Arc::new(texts)]).map_err(|e| e.to_string())
    }
}

impl Sink for Values {
    fn description(&self) -> String {
        self.sink.description()
    }

    fn held(&mut self) -> Result<Held, ConnectorError> {
        self.sink.held()
    }

    fn begin(&mut self, delivery: Delivery) -> Result<Begin, ConnectorError> {
        self.sink.begin(delivery)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        let messages = self.messages(rows).map_err(|error| {
            ConnectorError::fatal(format!("dead letters could not be written as JSON: {error}"))
        })?;
        self.sink.write(&messages)
    }

    fn prepare(&mut self) -> Result<(), ConnectorError> {
        self.sink.prepare()
    }

    fn commit(&mut self) -> Result<(), ConnectorError> {
        self.sink.commit()
    }

    fn abort(&mut self) -> Result<(), ConnectorError> {
        self.sink.abort()
    }
}
