//! What is known of each query right now.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Serialize, Serializer};
use tidemill_core::{Progress, Secrets, format_millis};
use tidemill_engine::{Clock, EngineError, Outcome, QueryEvent, SystemClock};

use super::metrics::{BatchResult, Metrics};

/// The queries of the process. Each has an [`Entry`]; anybody may look.
pub struct Board {
    clock: Arc<dyn Clock>,
    started_at: String,
    metrics: Metrics,
    queries: Mutex<Vec<QueryStatus>>,
}

/// The document at `/status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    version: &'static str,
    started_at: &'a str,
    queries: &'a [QueryStatus],
}

/// A clone costs a few texts, so that nobody waits for the one who looks.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueryStatus {
    name: String,
    job: String,
    state: State,
    /// The batch that runs, or is to be retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Sources whose place does not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<Unanswered>,
    #[serde(serialize_with = "by_reference")]
    last_progress: Option<Arc<Progress>>,
}

fn by_reference<S: Serializer>(
    progress: &Option<Arc<Progress>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    progress.as_deref().serialize(serializer)
}

/// A source whose place does not answer, and since when.
#[derive(Clone, Serialize)]
struct Unanswered {
    source: String,
    since: String,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It opens its checkpoint, and decides where to go on.
    Starting,
    /// A batch is computed or delivered.
    Running,
    /// For rows, or for the trigger.
    Waiting,
    /// A batch failed, and is tried again soon.
    Retrying,
    /// It is done, or was asked to stop.
    Ended,
    Failed,
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

impl Board {
    /// A board without queries.
    #[must_use]
    pub fn new() -> Board {
        let clock = Arc::new(SystemClock);
        let now = clock.now_ms();
        Board {
            clock,
            started_at: format_millis(now),
            metrics: Metrics::new(now),
            queries: Mutex::default(),
        }
    }

    /// Names of all metrics that there can be. One without a value yet is not served.
    #[must_use]
    pub fn metric_names(&self) -> &[String] {
        self.metrics.names()
    }

    pub(super) fn metrics(&self) -> String {
        let names: Vec<String> = self.queries().iter().map(|status| status.name.clone()).collect();
        self.metrics.text(&names, self.clock.now_ms())
    }

    pub(super) fn status(&self) -> serde_json::Result<String> {
        let queries = self.queries().clone();
        serde_json::to_string_pretty(&Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at: &self.started_at,
            queries: &queries,
        })
    }

    fn queries(&self) -> MutexGuard<'_, Vec<QueryStatus>> {
        self.queries.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A query on the board.
#[derive(Clone)]
pub struct Entry {
    board: Arc<Board>,
    number: usize,
    /// What its errors must not show.
    secrets: Arc<Secrets>,
}

impl Entry {
    /// Puts a query on the board; `job` is its file, and `secrets` what errors must not show.
    #[must_use]
    pub fn new(board: &Arc<Board>, name: &str, job: &Path, secrets: &Secrets) -> Entry {
        board.metrics.add_query(name);
        let mut queries = board.queries();
        queries.push(QueryStatus {
            name: name.to_owned(),
            job: job.display().to_string(),
            state: State::Starting,
            batch_id: None,
            error: None,
            unanswered: Vec::new(),
            last_progress: None,
        });
        let number = queries.len() - 1;
        Entry { board: Arc::clone(board), number, secrets: Arc::new(secrets.clone()) }
    }

    /// The same query, whose errors must not show these either.
    #[must_use]
    pub fn concealing(mut self, secrets: &Secrets) -> Entry {
        Arc::make_mut(&mut self.secrets).extend(secrets);
        self
    }

    /// Something happened in the query.
    pub fn tell(&self, event: &QueryEvent<'_>) {
        let metrics = &self.board.metrics;
        self.change(|status| match event {
            QueryEvent::Started { .. } => status.state = State::Waiting,
            QueryEvent::Running { batch } => {
                (status.state, status.batch_id) = (State::Running, Some(batch.0));
            }
            QueryEvent::Progress(progress) => {
                metrics.take(progress, self.board.clock.now_ms());
                (status.state, status.batch_id, status.error) = (State::Waiting, None, None);
                status.last_progress = Some(Arc::new((*progress).clone()));
            }
            QueryEvent::Idle
            | QueryEvent::Adopted { .. }
            | QueryEvent::Skipped { .. }
            | QueryEvent::Replanned { .. }
            | QueryEvent::Migrating { .. } => {}
            QueryEvent::Unanswered(sources) => {
                metrics.set_unanswered(&status.name, sources);
                let named = |(source, since): (&String, &i64)| Unanswered {
                    source: source.clone(),
                    since: format_millis(*since),
                };
                status.unanswered = sources.iter().map(named).collect();
            }
            QueryEvent::Reloaded { plugin, .. } => {
                metrics.count_reload(&status.name, plugin, true);
            }
            QueryEvent::ReloadRefused { plugin, .. } => {
                metrics.count_reload(&status.name, plugin, false);
            }
            QueryEvent::Retrying { batch, reason, .. } => {
                metrics.count_batch(&status.name, BatchResult::Retried);
                (status.state, status.batch_id) = (State::Retrying, Some(batch.0));
                status.error = Some(self.shown(reason));
            }
        });
    }

    /// The query is over.
    pub fn end(&self, outcome: &Result<Outcome, EngineError>) {
        let metrics = &self.board.metrics;
        self.change(|status| {
            metrics.set_up(&status.name, false);
            (status.state, status.batch_id) = (State::Ended, None);
            status.unanswered.clear();
            if let Err(error) = outcome {
                status.state = State::Failed;
                status.error = Some(self.shown(error));
                if let EngineError::Batch { batch, .. } = error {
                    metrics.count_batch(&status.name, BatchResult::Failed);
                    status.batch_id = Some(batch.0);
                }
            }
        });
    }

    fn shown(&self, error: &EngineError) -> String {
        self.secrets.conceal(&error.to_string()).into_owned()
    }

    fn change(&self, change: impl FnOnce(&mut QueryStatus)) {
        if let Some(status) = self.board.queries().get_mut(self.number) {
            change(status);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use serde_json::Value;
    use tidemill_core::BatchId;

    use super::*;

    fn first(board: &Board) -> Value {
        let status: Value = serde_json::from_str(&board.status().unwrap()).unwrap();
        status["queries"][0].clone()
    }

    #[test]
    fn a_query_that_failed_shows_its_batch_and_reason_until_the_process_ends() {
        let board = Arc::new(Board::new());
        let entry = Entry::new(&board, "q", Path::new("q.toml"), &Secrets::default());
        assert_eq!(first(&board)["state"], "starting");
        entry.tell(&QueryEvent::Started { next: BatchId(7), is_replay: true });
        entry.tell(&QueryEvent::Running { batch: BatchId(7) });
        let running = first(&board);
        assert_eq!((&running["state"], &running["batchId"]), (&"running".into(), &7.into()));
        let reason = Box::new(EngineError::Execution("no room".to_owned()));
        entry.end(&Err(EngineError::Batch { batch: BatchId(7), reason }));
        let failed = first(&board);
        assert_eq!((&failed["state"], &failed["batchId"]), (&"failed".into(), &7.into()));
        assert!(failed["error"].as_str().unwrap().contains("no room"));
        let metrics = board.metrics();
        assert!(metrics.contains("tidemill_query_up{query=\"q\"} 0\n"));
        assert!(metrics.contains("tidemill_batches_total{query=\"q\",result=\"failed\"} 1\n"));
    }

    #[test]
    fn an_error_is_shown_without_secrets() {
        let board = Arc::new(Board::new());
        let mut secrets = Secrets::default();
        secrets.add("hunter2", Some("${PASSWORD}"));
        let entry = Entry::new(&board, "q", Path::new("q.toml"), &secrets);
        let reason = EngineError::Execution("u:hunter2 may not write".to_owned());
        let wait = std::time::Duration::from_secs(1);
        entry.tell(&QueryEvent::Retrying { batch: BatchId(0), reason: &reason, wait });
        assert_eq!(first(&board)["error"], "u:${PASSWORD} may not write");
        entry.end(&Err(reason));
        assert_eq!(first(&board)["error"], "u:${PASSWORD} may not write");
    }

    #[test]
    fn a_source_that_does_not_answer_is_shown_since_when_until_it_does() {
        let board = Arc::new(Board::new());
        let entry = Entry::new(&board, "q", Path::new("q.toml"), &Secrets::default());
        let series = "tidemill_source_unanswered_seconds{query=\"q\",source=\"orders\"} ";
        let shown = || {
            let text = board.metrics();
            let value = text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok());
            value.map(|seconds: f64| seconds > 1e6)
        };
        assert_eq!((first(&board).get("unanswered"), shown()), (None, None));
        entry.tell(&QueryEvent::Unanswered(&[("orders".to_owned(), 1_500)].into()));
        let expected = serde_json::json!([
            { "source": "orders", "since": "1970-01-01T00:00:01.500Z" }
        ]);
        assert_eq!((first(&board)["unanswered"].clone(), shown()), (expected, Some(true)));
        entry.tell(&QueryEvent::Unanswered(&[].into()));
        assert_eq!((first(&board).get("unanswered"), shown()), (None, Some(false)));
    }

    #[test]
    fn a_query_that_was_stopped_has_ended_and_not_failed() {
        let board = Arc::new(Board::new());
        let entry = Entry::new(&board, "q", Path::new("q.toml"), &Secrets::default());
        entry.end(&Ok(Outcome::Stopped));
        assert_eq!(first(&board)["state"], "ended");
        assert!(
            board.metrics().contains("tidemill_batches_total{query=\"q\",result=\"failed\"} 0\n")
        );
    }
}
