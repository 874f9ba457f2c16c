//! Functions whose state has another form in the plugin "later", which is a later generation of this one: for
//! tests of migrations.

use std::collections::BTreeMap;

use tidemill_plugin::prelude::*;

/// A row of an account.
#[derive(Row, Clone)]
struct Entry {
    text: String,
    n: i64,
}

/// What an account holds after the rows of a batch.
#[derive(Row, PartialEq, Debug)]
struct Told {
    k: String,
    shown: String,
}

/// What is kept for an account.
#[derive(State)]
struct Account {
    stays: ValueState<i64>,
    cents: ValueState<i64>,
    texts: ListState<String>,
    by_text: MapState<String, i64>,
    #[state(ttl = "1 hour")]
    brief: ValueState<String>,
}

/// Adds the rows of a key to all that it keeps.
#[stateful]
impl Account {
    fn rows(&mut self, k: String, entries: Vec<Entry>, timers: &mut Timers) -> Vec<Told> {
        for Entry { text, n } in entries {
            self.stays.set(self.stays.get().unwrap_or(&0) + 1);
            if text == "none" {
                continue;
            }
            self.cents.set(self.cents.get().unwrap_or(&0) + n);
            self.texts.append(text.clone());
            self.by_text.insert(text.clone(), n);
            self.brief.set(text);
            // Far ahead, so that a later generation finds it.
            timers.set(Timestamp(i64::MAX / 2));
        }
        let texts: Vec<String> = self.texts.get();
        let by_text: BTreeMap<String, i64> = self.by_text.entries();
        let (stays, cents, brief) = (self.stays.get(), self.cents.get(), self.brief.get());
        vec![Told { k, shown: format!("{stays:?} {cents:?} {texts:?} {by_text:?} {brief:?}") }]
    }

    fn timer(&mut self, _k: String, _due: Timestamp) -> Vec<Told> {
        vec![]
    }
}

/// The state of `spread`.
#[derive(Row, Default)]
struct Spread {
    least: Option<i64>,
    most: Option<i64>,
}

/// The difference between the least and the most.
#[aggregate]
impl Spread {
    fn update(&mut self, n: i64) {
        self.least = Some(self.least.map_or(n, |least| least.min(n)));
        self.most = Some(self.most.map_or(n, |most| most.max(n)));
    }

    fn merge(&mut self, other: Self) {
        other.least.into_iter().chain(other.most).for_each(|n| self.update(n));
    }

    fn finish(&self) -> Option<i64> {
        Some(self.most? - self.least?)
    }
}

plugin! { Account, Spread }
