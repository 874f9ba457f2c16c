//! Visits of a site: what users did there, put together of their clicks. Functions that keep something for
//! each user.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::prelude::*;

/// A click of a user.
#[derive(Row, Clone)]
struct Click {
    page: String,
    at: Timestamp,
}

/// What a user did until a pause.
#[derive(Row, PartialEq, Debug)]
struct Visit {
    user: String,
    began: Timestamp,
    ended: Timestamp,
    /// The pages in the order in which they were visited.
    path: Vec<String>,
    /// How often each was.
    pages: BTreeMap<String, i64>,
    /// Of which number the visit is.
    number: i64,
}

/// What is known of a user beforehand.
#[derive(Row)]
struct Known {
    visits: i64,
}

/// The plugin's table of the job.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    /// Minutes without a click after which a visit has ended.
    pause_minutes: i64,
}

impl Default for Config {
    fn default() -> Config {
        Config { pause_minutes: 30 }
    }
}

const MINUTE: i64 = 60_000_000;

/// What is kept for a user.
#[derive(State)]
struct Visits {
    /// When the visit began, and when its last click was.
    times: ValueState<Vec<Timestamp>>,
    path: ListState<String>,
    pages: MapState<String, i64>,
    /// Visits that have ended.
    visits: ValueState<i64>,
}

/// Gives each visit once it has ended: when the watermark has passed its last click by `pause_minutes` of the
/// plugin's config. A step with `key = ["user"]` and `time_mode = "event_time"`.
#[stateful]
impl Visits {
    fn rows(&mut self, _user: &str, clicks: Vec<Click>, timers: &mut Timers) -> Result<Vec<Visit>> {
        let mut times = self.times.get().cloned().unwrap_or_default();
        for Click { page, at } in clicks {
            if at.0 < 0 {
                return Err(Error::bad_row("a click before 1970"));
            }
            times = vec![
                times.first().map_or(at, |began| at.min(*began)),
                times.last().map_or(at, |ended| at.max(*ended)),
            ];
            let count = self.pages.get(&page).unwrap_or(0);
            self.pages.insert(page.clone(), count + 1);
            self.path.append(page);
        }
        timers.list().into_iter().for_each(|timer| timers.delete(timer));
        if let Some(ended) = times.last() {
            timers.set(Timestamp(ended.0 + config::<Config>()?.pause_minutes * MINUTE));
        }
        self.times.set(times);
        Ok(Vec::new())
    }

    fn timer(&mut self, user: &str, _due: Timestamp) -> Option<Visit> {
        let [began, ended] = self.times.get()?.as_slice().try_into().ok()?;
        let number = self.visits.get().unwrap_or(&0) + 1;
        let (path, pages) = (self.path.get(), self.pages.entries());
        self.visits.set(number);
        self.times.clear();
        self.path.clear();
        self.pages.clear();
        Some(Visit { user: user.to_owned(), began, ended, path, pages, number })
    }

    fn initial(&mut self, _user: &str, known: Known) {
        self.visits.set(known.visits);
    }
}

/// How often a user was seen lately.
#[derive(Row, PartialEq, Debug)]
struct Seen {
    user: String,
    page: String,
    clicks: i64,
    /// Pages of the last hour, in their order.
    lately: Vec<String>,
    /// Clicks on this page, with no more than an hour between two of them.
    on_page: i64,
}

/// What is kept for a user and forgotten after an hour.
#[derive(State)]
struct Lately {
    #[state(ttl = "1 hour")]
    clicks: ValueState<i64>,
    #[state(ttl = "1 hour")]
    pages: ListState<String>,
    #[state(ttl = "1 hour")]
    by_page: MapState<String, i64>,
}

/// Counts what a user did within an hour. A step with `key = ["user", "page"]` or `["user"]` would keep
/// something else for each; this one is by user. `time_mode = "processing_time"`.
#[stateful]
impl Lately {
    fn rows(&mut self, user: String, clicks: Vec<Click>) -> Vec<Seen> {
        let seen = |Click { page, .. }| {
            let clicks = self.clicks.get().unwrap_or(&0) + 1;
            self.clicks.set(clicks);
            self.pages.append(page.clone());
            let on_page = self.by_page.get(&page).unwrap_or(0) + 1;
            self.by_page.insert(page.clone(), on_page);
            Seen { user: user.clone(), page, clicks, lately: self.pages.get(), on_page }
        };
        clicks.into_iter().map(seen).collect()
    }
}

plugin! { Visits, Lately }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tidemill_plugin::testing::Keys;

    use super::*;

    #[derive(Row)]
    struct Input {
        user: String,
        page: String,
        at: Timestamp,
    }

    fn click(user: &str, page: &str, minute: i64) -> Input {
        Input { user: user.into(), page: page.into(), at: Timestamp(minute * MINUTE) }
    }

    #[test]
    fn a_visit_ends_with_a_pause() {
        #[derive(Row)]
        struct Before {
            user: String,
            visits: i64,
        }
        let mut users = Keys::<Visits>::by(&["user"]).unwrap();
        users.start(&[Before { user: "ann".into(), visits: 4 }]).unwrap();
        users.rows(&[click("ann", "home", 1), click("bob", "home", 2)]).unwrap();
        users.rows(&[click("ann", "cart", 20), click("ann", "home", 9)]).unwrap();
        assert_eq!(users.timers(), [Timestamp(32 * MINUTE), Timestamp(50 * MINUTE)]);
        let ended = users.due(Timestamp(40 * MINUTE)).unwrap();
        assert_eq!(ended.iter().map(|visit| visit.user.as_str()).collect::<Vec<_>>(), ["bob"]);
        let ended = users.due(Timestamp(51 * MINUTE)).unwrap();
        let pages = BTreeMap::from([("cart".to_owned(), 1), ("home".to_owned(), 2)]);
        let expected = Visit {
            user: "ann".into(),
            began: Timestamp(MINUTE),
            ended: Timestamp(20 * MINUTE),
            path: ["home", "cart", "home"].map(str::to_owned).to_vec(),
            pages,
            number: 5,
        };
        assert_eq!(ended, [expected]);
        assert_eq!(users.timers(), []);
        users.rows(&[click("ann", "home", 99)]).unwrap();
        let again = users.due(Timestamp(200 * MINUTE)).unwrap();
        assert_eq!((again[0].number, again[0].path.len()), (6, 1));
    }

    #[test]
    fn a_refused_key_is_left_as_it_was() {
        let mut users = Keys::<Visits>::by(&["user"]).unwrap();
        let refused = users.rows(&[click("ann", "home", 1), click("ann", "cart", -1)]);
        assert_eq!(refused.unwrap_err(), Error::bad_row("a click before 1970"));
        assert_eq!(users.timers(), []);
        users.rows(&[click("ann", "home", 1)]).unwrap();
        assert_eq!(users.due(Timestamp(99 * MINUTE)).unwrap()[0].path, ["home"]);
    }

    #[test]
    fn what_happened_lately_is_counted() {
        let mut users = Keys::<Lately>::by(&["user"]).unwrap();
        let given = users.rows(&[click("ann", "home", 1), click("ann", "cart", 2)]).unwrap();
        assert_eq!((given[1].clicks, given[1].on_page), (2, 1));
        let given = users.rows(&[click("ann", "home", 3)]).unwrap();
        assert_eq!((given[0].clicks, given[0].on_page), (3, 2));
        assert_eq!(given[0].lately, ["home", "cart", "home"]);
    }
}
