//! The functions of the plugin "former" a generation later: their state has another form, and they take over
//! what is there. For tests of migrations.

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
    /// As it was.
    stays: ValueState<i64>,
    /// New.
    name: ValueState<String>,
    /// The number of letters where the texts were.
    texts: ListState<i64>,
    /// In place of `cents`, `by_text` and `brief`.
    euros: ValueState<f64>,
}

/// What of an account was kept before, and is no longer.
#[derive(Row)]
struct Before {
    cents: Option<i64>,
    texts: Option<Vec<String>>,
    by_text: Option<BTreeMap<String, i64>>,
    brief: Option<String>,
}

/// Adds the rows of a key to what it keeps.
#[stateful]
impl Account {
    fn rows(&mut self, k: String, entries: Vec<Entry>, timers: &mut Timers) -> Result<Vec<Told>> {
        for Entry { text, n } in entries {
            self.stays.set(self.stays.get().unwrap_or(&0) + 1);
            self.texts.append(i64::try_from(text.len())?);
            self.euros.set(self.euros.get().unwrap_or(&0.0) + n as f64 / 100.0);
        }
        let (texts, timers) = (self.texts.get(), timers.list().len());
        let (stays, name, euros) = (self.stays.get(), self.name.get(), self.euros.get());
        let shown = format!("{stays:?} {name:?} {texts:?} {euros:?} {timers} timers");
        Ok(vec![Told { k, shown }])
    }

    fn timer(&mut self, _k: String, _due: Timestamp) -> Vec<Told> {
        vec![]
    }

    #[migration]
    fn take_cents(&mut self, k: String, before: Before) -> Result<()> {
        let by_text = before.by_text.unwrap_or_default();
        if by_text.contains_key("poison") {
            return Err(Error::fatal("poison cannot be taken over"));
        }
        let known: Vec<&str> = by_text.keys().map(String::as_str).collect();
        let brief = before.brief.unwrap_or_default();
        self.name.set(format!("{k} of {} now {brief}", known.join("+")));
        let lengths = before.texts.unwrap_or_default().into_iter();
        self.texts.set(lengths.map(|text| text.len() as i64).collect());
        self.euros.set(before.cents.unwrap_or_default() as f64 / 100.0);
        Ok(())
    }
}

/// The state of `spread`.
#[derive(Row, Default)]
struct Spread {
    range: Option<Range>,
    rows: i64,
}

/// From the least to the most.
#[derive(Row, Clone, PartialEq, Debug)]
struct Range {
    least: i64,
    most: i64,
}

/// What `spread` kept before.
#[derive(Row)]
struct SpreadBefore {
    least: Option<i64>,
    most: Option<i64>,
}

/// The difference between the least and the most, and a thousand for each row since there are any counted.
#[aggregate]
impl Spread {
    fn update(&mut self, n: i64) {
        self.rows += 1;
        self.add(&Range { least: n, most: n });
    }

    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        other.range.iter().for_each(|range| self.add(range));
    }

    fn finish(&self) -> Option<i64> {
        let range = self.range.as_ref()?;
        Some(range.most - range.least + 1_000 * self.rows)
    }

    #[migration]
    fn from_bounds(before: SpreadBefore) -> Spread {
        let range = before.least.zip(before.most);
        Spread { range: range.map(|(least, most)| Range { least, most }), rows: 0 }
    }
}

impl Spread {
    fn add(&mut self, other: &Range) {
        self.range = Some(match &self.range {
            None => other.clone(),
            Some(range) => {
                Range { least: range.least.min(other.least), most: range.most.max(other.most) }
            }
        });
    }
}

plugin! { Account, Spread }

#[cfg(test)]
mod tests {
    use tidemill_plugin::testing::Keys;

    use super::*;

    #[derive(Row)]
    struct Kept {
        k: String,
        cents: Option<i64>,
        texts: Option<Vec<String>>,
        by_text: Option<BTreeMap<String, i64>>,
        brief: Option<String>,
    }

    #[derive(Row)]
    struct Keyed {
        k: String,
        text: String,
        n: i64,
    }

    #[test]
    fn what_was_kept_before_is_taken_over() -> Result<()> {
        let mut accounts = Keys::<Account>::by(&["k"])?;
        accounts.migrate(&[Kept {
            k: "ann".into(),
            cents: Some(250),
            texts: Some(vec!["one".into(), "three".into()]),
            by_text: None,
            brief: None,
        }])?;
        let told = accounts.rows(&[Keyed { k: "ann".into(), text: "two".into(), n: 50 }])?;
        let shown = "Some(1) Some(\"ann of  now \") [3, 5, 3] Some(3.0) 0 timers";
        assert_eq!(told, [Told { k: "ann".into(), shown: shown.into() }]);
        Ok(())
    }

    #[test]
    fn a_state_of_before_is_one_of_now() {
        let spread = Spread::from_bounds(SpreadBefore { least: Some(3), most: Some(10) });
        assert_eq!(spread.finish(), Some(7));
    }
}
