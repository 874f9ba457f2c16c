//! What a query does first: what its log says, compared with what its places hold.
//!
//! A commit reaches the place before the log. So a place may be one batch ahead of the log, and
//! never more; and it is never behind what the log says that it was given. Anything else means
//! that log and place are not of one piece (one of them was put back from a copy, or lost), and to
//! go on would lose rows in silence.

use std::path::Path;

use tidemill_checkpoint::{Recovered, Resume};
use tidemill_core::{Attempt, BatchId, BatchSpec, Delivered, EncodedSpec, Held, Mark};

/// Name of a query's sink among its places, and in the log. Targets have names of their own.
pub const SINK: &str = "sink";

/// Name of the place for dead letters among a query's places, and in the log. No target may have it.
pub const DEAD_LETTERS: &str = "dead_letters";

/// A place that the query writes to, as its start finds it.
#[derive(Clone, PartialEq, Debug)]
pub struct PlaceFound {
    /// The target's name; [`SINK`] for the query's sink, [`DEAD_LETTERS`] for the place of those.
    pub name: String,
    /// As [`tidemill_core::Sink::description`] gives it.
    pub description: String,
    /// What it holds of the query.
    pub held: Held,
}

impl PlaceFound {
    /// The query's sink.
    #[must_use]
    pub fn sink(description: String, held: Held) -> PlaceFound {
        PlaceFound { name: SINK.to_owned(), description, held }
    }
}

/// What is to become of a batch that an earlier run left unfinished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unfinished {
    /// It is run, as it was planned.
    #[default]
    Run,
    /// This batch is committed without its rows.
    Skip(BatchId),
    /// This batch reads what its sources have now.
    Replan(BatchId),
}

/// What a query does first.
#[derive(Clone, PartialEq, Debug)]
pub enum FirstStep {
    /// What the log says.
    Resume(Resume),
    /// Plans and runs a batch that a place holds and the log does not know: the log was put back
    /// from a copy that is one batch old.
    Adopt {
        /// What the place says of the batch.
        spec: BatchSpec,
        /// The place.
        place: String,
    },
    /// Commits a batch without its rows.
    Skip {
        /// The batch.
        left: LeftBatch,
        /// Places that hold rows of it all the same.
        holding: Vec<(String, Delivered)>,
    },
    /// Gives a batch another spec.
    Replan(LeftBatch),
}

/// A batch that an earlier run left unfinished.
#[derive(Clone, PartialEq, Debug)]
pub struct LeftBatch {
    /// What it was to read.
    pub spec: BatchSpec,
    /// How far it came.
    pub reached: Reached,
}

/// How far a batch came that was left unfinished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The log does not know it; a place has it.
    Unlogged,
    /// This attempt was running.
    Running(Attempt),
    /// This attempt failed.
    Failed(Attempt),
}

/// What a place is called without the folders that it shares with the checkpoint. `None`: they
/// share none.
pub(crate) fn as_seen_from(checkpoint: &Path, place: &str) -> Option<String> {
    let checkpoint = std::path::absolute(checkpoint).ok()?;
    let mut up = String::new();
    for folder in checkpoint.ancestors().skip(1) {
        up.push_str("../");
        let folder = format!("{}/", folder.display());
        if place.contains(&folder) {
            return Some(place.replace(&folder, &up));
        }
    }
    None
}

/// Compares the log with the places, and decides what comes first. `Err` says what does not fit,
/// and what to do.
pub fn first_step(
    checkpoint: &Path,
    recovered: &Recovered,
    places: &[PlaceFound],
    unfinished: Unfinished,
) -> Result<FirstStep, String> {
    let log = Log { checkpoint, recovered };
    let mut adopted: Option<(BatchSpec, &PlaceFound)> = None;
    for place in places {
        let Some(spec) = log.compare(place)? else { continue };
        match &adopted {
            Some((other, first)) if *other != spec => {
                return Err(format!(
                    "{} and {} hold batch {} of the query \"{}\" with different ranges or times: they do not belong together; put back the checkpoint {} that wrote both, or start with a new checkpoint and new places",
                    first.description,
                    place.description,
                    spec.batch,
                    recovered.query_id,
                    checkpoint.display()
                ));
            }
            Some(_) => {}
            None => adopted = Some((spec, place)),
        }
    }
    let (batch, wish) = match unfinished {
        Unfinished::Run => return Ok(log.go_on(adopted)),
        Unfinished::Skip(batch) => (batch, "skip"),
        Unfinished::Replan(batch) => (batch, "plan anew"),
    };
    let left = log.left(batch, adopted.map(|(spec, _)| spec), wish)?;
    let holding = holding(checkpoint, places, &left);
    match unfinished {
        Unfinished::Replan(_) => {
            log.may_be_replanned(&holding, places).map(|()| FirstStep::Replan(left))
        }
        _ => Ok(FirstStep::Skip { left, holding }),
    }
}

/// What the places hold of a batch, as the log would have noted it.
fn holding(checkpoint: &Path, places: &[PlaceFound], left: &LeftBatch) -> Vec<(String, Delivered)> {
    let held = places.iter().filter_map(|place| {
        let mark = place.held.mark().filter(|mark| mark.batch == left.spec.batch)?;
        let delivered = Delivered {
            place: place.description.clone(),
            beside: as_seen_from(checkpoint, &place.description),
            batch: mark.batch,
            calls: mark.calls,
            digest: mark.spec.digest(),
        };
        Some((place.name.clone(), delivered))
    });
    held.collect()
}

/// The log's side of the comparison.
struct Log<'a> {
    checkpoint: &'a Path,
    recovered: &'a Recovered,
}

impl Log<'_> {
    fn next(&self) -> BatchId {
        self.recovered.committed().map_or(BatchId::FIRST, BatchId::next)
    }

    fn planned(&self) -> Option<&BatchSpec> {
        match &self.recovered.next {
            Resume::Start(_) => None,
            Resume::Replay { spec, .. } | Resume::Retry { spec, .. } => Some(spec),
        }
    }

    fn go_on(&self, adopted: Option<(BatchSpec, &PlaceFound)>) -> FirstStep {
        match adopted {
            Some((spec, place)) => FirstStep::Adopt { spec, place: place.description.clone() },
            None => FirstStep::Resume(self.recovered.next.clone()),
        }
    }

    /// Gives the spec of a batch that the place holds and the log does not know.
    fn compare(&self, place: &PlaceFound) -> Result<Option<BatchSpec>, String> {
        let noted = self.recovered.delivered.get(&place.name);
        // The job may name another place than it did: what that one was given is not there.
        let beside = as_seen_from(self.checkpoint, &place.description);
        let is_it = |noted: &&Delivered| {
            noted.place == place.description || (beside.is_some() && noted.beside == beside)
        };
        let noted = noted.filter(is_it);
        let mark = match (&place.held, noted) {
            (Held::Unknown, _) | (Held::Nothing, None) => return Ok(None),
            (Held::Nothing, Some(noted)) => {
                let holds = "none of this query's batches".to_owned();
                return Err(self.behind(place, &holds, noted));
            }
            (Held::MarkAlone(mark), Some(noted)) => {
                let holds = format!("a mark of batch {}, and its table was removed", mark.batch);
                return Err(self.behind(place, &holds, noted));
            }
            (Held::UpTo(mark), _) | (Held::MarkAlone(mark), None) => mark,
        };
        if mark.batch > self.next() {
            return Err(self.ahead(place, mark));
        }
        if mark.batch == self.next() {
            return self.one_ahead(place, mark);
        }
        match noted {
            Some(noted) if (mark.batch, mark.calls) < (noted.batch, noted.calls) => {
                let (batch, calls) = (mark.batch, mark.calls);
                let holds = format!("this query's batches up to {batch} only (write {calls})");
                Err(self.behind(place, &holds, noted))
            }
            Some(noted) if mark.batch == noted.batch && !mark.is_noted_as(noted.digest) => {
                Err(self.another(place, mark))
            }
            _ => Ok(None),
        }
    }

    fn one_ahead(&self, place: &PlaceFound, mark: &Mark) -> Result<Option<BatchSpec>, String> {
        if let Some(planned) = self.planned() {
            let is_same = mark.is_of(&EncodedSpec::of(planned));
            return if is_same { Ok(None) } else { Err(self.another(place, mark)) };
        }
        let spec = mark.spec.decode().map_err(|reason| {
            format!(
                "{} has a mark of batch {} whose spec cannot be read ({reason}); the mark was changed. {}",
                place.description,
                mark.batch,
                self.ways_out()
            )
        })?;
        let recovered = self.recovered;
        let follows = spec.batch == mark.batch
            && spec.watermark == recovered.watermark
            && spec.late_watermark == recovered.late_watermark;
        if follows { Ok(Some(spec)) } else { Err(self.another(place, mark)) }
    }

    fn ahead(&self, place: &PlaceFound, mark: &Mark) -> String {
        format!(
            "{} holds this query's batches up to {}, and the checkpoint {} {}: it is older than what the place holds (an older copy, or a log that lost its end), and rows would be lost if the query went on. {}",
            place.description,
            mark.batch,
            self.checkpoint.display(),
            self.known(),
            self.ways_out()
        )
    }

    fn behind(&self, place: &PlaceFound, holds: &str, noted: &Delivered) -> String {
        format!(
            "{} holds {holds}, and by the checkpoint {} it was given all up to {} (write {}): the place, its table or its marks were removed, changed or put back from an older copy, and those rows are gone. Put the place back as it was, or start with a new checkpoint and a new place (all rows come again), or name another place in the job (only rows from here on come)",
            place.description,
            self.checkpoint.display(),
            noted.batch,
            noted.calls
        )
    }

    fn another(&self, place: &PlaceFound, mark: &Mark) -> String {
        format!(
            "{} holds another batch {} than the checkpoint {}: its ranges, watermark or time differ (digest {} in the place), so place and checkpoint are not of one piece. {}",
            place.description,
            mark.batch,
            self.checkpoint.display(),
            mark.spec.digest().short(),
            self.ways_out()
        )
    }

    fn known(&self) -> String {
        match self.recovered.committed() {
            Some(batch) => format!("knows of batches up to {batch} only"),
            None => "knows of none".to_owned(),
        }
    }

    fn ways_out(&self) -> String {
        "Put back the checkpoint that goes with the place (the newer one), or put back both from one copy, or start with a new checkpoint and a new place (all rows come again)".to_owned()
    }

    /// The batch that was left unfinished, if it has this number.
    fn left(
        &self,
        batch: BatchId,
        adopted: Option<BatchSpec>,
        wish: &str,
    ) -> Result<LeftBatch, String> {
        let left = match (&self.recovered.next, adopted) {
            (Resume::Replay { spec, attempt }, _) => {
                Some(LeftBatch { spec: spec.clone(), reached: Reached::Running(attempt.attempt) })
            }
            (Resume::Retry { spec, last_attempt }, _) => {
                Some(LeftBatch { spec: spec.clone(), reached: Reached::Failed(*last_attempt) })
            }
            (Resume::Start(_), adopted) => {
                adopted.map(|spec| LeftBatch { spec, reached: Reached::Unlogged })
            }
        };
        let found = match left {
            Some(left) if left.spec.batch == batch => return Ok(left),
            Some(left) => format!("the one that failed or is pending is batch {}", left.spec.batch),
            None => format!("no batch failed or is pending, the next one is {}", self.next()),
        };
        Err(format!(
            "batch {batch} is not there to {wish}: by the checkpoint {}, {found}",
            self.checkpoint.display()
        ))
    }

    /// Rows of the old plan must not be anywhere.
    fn may_be_replanned(
        &self,
        holding: &[(String, Delivered)],
        places: &[PlaceFound],
    ) -> Result<(), String> {
        let next = self.next();
        if let Some((name, _)) = holding.first() {
            let place = places.iter().find(|place| place.name == *name);
            let place = place.map_or(name.as_str(), |place| place.description.as_str());
            return Err(format!(
                "{place} holds rows of batch {next} already, so it cannot be planned anew: other rows under the same number would be dropped there, or rows would be there twice. Mend what makes it fail and run it as it is, or give up what is missing of it (`tidemill skip JOB --batch {next}`)"
            ));
        }
        if !self.recovered.marks.is_empty() {
            let marks: Vec<&str> = self.recovered.marks.iter().map(String::as_str).collect();
            return Err(format!(
                "the handler has marked batch {next} as processed (\"{}\"), so it cannot be planned anew: what it sent out would be sent again or be missing. Mend what makes it fail and run it as it is, or give up what is missing of it (`tidemill skip JOB --batch {next}`)",
                marks.join("\", \"")
            ));
        }
        Ok(())
    }
}
