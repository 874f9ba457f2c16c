//! Offsets of partitions, in Spark's notation, and the rules by which a range is cut.

use std::collections::BTreeMap;
use std::collections::btree_map::Iter;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// A partition of a topic. Ordered by topic, then by number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// In place of an offset: the first record that there is.
pub(super) const EARLIEST: i64 = -2;
/// In place of an offset: after the last record.
pub(super) const LATEST: i64 = -1;

/// An offset for each of some partitions: that of the record to come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Offsets(BTreeMap<TopicPartition, i64>);

impl Offsets {
    /// From Spark's form, `{"orders":{"0":5,"1":-2}}`.
    pub(super) fn from_json(json: &Value) -> Result<Offsets, String> {
        let shape = "offsets are written {\"topic\":{\"0\":5,\"1\":7}}";
        let topics = json.as_object().ok_or(shape)?;
        let mut offsets = Offsets::default();
        for (topic, partitions) in topics {
            let topic: Arc<str> = topic.as_str().into();
            for (partition, offset) in partitions.as_object().ok_or(shape)? {
                let number = partition.parse().ok().filter(|number| *number >= 0);
                let partition = number.ok_or_else(|| {
                    format!(
                        "\"{partition}\" of topic \"{topic}\" is no partition's number; {shape}"
                    )
                })?;
                let whole = offset.as_i64().filter(|offset| *offset >= EARLIEST);
                let offset = whole.ok_or_else(|| {
                    format!("{topic}-{partition} has {offset}; an offset is a whole number of at least 0, -1 for the latest or -2 for the earliest")
                })?;
                offsets.0.insert(TopicPartition { topic: Arc::clone(&topic), partition }, offset);
            }
        }
        Ok(offsets)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut topics = Map::new();
        for (place, offset) in &self.0 {
            let partitions =
                topics.entry(place.topic.as_ref()).or_insert_with(|| Map::new().into());
            if let Value::Object(partitions) = partitions {
                partitions.insert(place.partition.to_string(), (*offset).into());
            }
        }
        Value::Object(topics)
    }

    pub(super) fn get(&self, place: &TopicPartition) -> Option<i64> {
        self.0.get(place).copied()
    }

    pub(super) fn insert(&mut self, place: TopicPartition, offset: i64) {
        self.0.insert(place, offset);
    }

    pub(super) fn remove(&mut self, place: &TopicPartition) {
        self.0.remove(place);
    }

    pub(super) fn extend(&mut self, other: &Offsets) {
        self.0.extend(other.0.iter().map(|(place, offset)| (place.clone(), *offset)));
    }

    pub(super) fn iter(&self) -> Iter<'_, TopicPartition, i64> {
        self.0.iter()
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TopicPartition, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, i64)>>(pairs: I) -> Offsets {
        Offsets(pairs.into_iter().collect())
    }
}

/// Where a new query begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StartingOffsets {
    Earliest,
    Latest,
    /// For every partition that there is; [`EARLIEST`] and [`LATEST`] may stand for an offset.
    At(Offsets),
}

impl StartingOffsets {
    pub(super) fn parse(text: &str) -> Result<StartingOffsets, String> {
        match text.trim().to_lowercase().as_str() {
            "earliest" => Ok(StartingOffsets::Earliest),
            "latest" => Ok(StartingOffsets::Latest),
            _ => {
                let words =
                    "it has to be \"earliest\", \"latest\" or JSON like {\"topic\":{\"0\":5}}";
                let json =
                    serde_json::from_str(text).map_err(|error| format!("{words} ({error})"))?;
                Ok(StartingOffsets::At(Offsets::from_json(&json)?))
            }
        }
    }
}

/// Cuts what lies between `begin` and `latest` to about `limit` records: each partition gets its
/// share by size.
///
/// Spark's `KafkaMicroBatchStream.rateLimit`: a share below one is rounded up and every other
/// down, so the result may be a little more or less than the limit.
pub(super) fn limited(begin: &Offsets, latest: &Offsets, limit: u64) -> Offsets {
    let size = |place: &TopicPartition, end: i64| {
        begin.get(place).map_or(0, |begin| end.saturating_sub(begin).max(0))
    };
    let total: f64 = latest.iter().map(|(place, end)| as_f64(size(place, *end))).sum();
    if total < 1.0 {
        return latest.clone();
    }
    let cut = |(place, end): (&TopicPartition, &i64)| {
        let size = size(place, *end);
        let share = as_f64(i64::try_from(limit).unwrap_or(i64::MAX)) * (as_f64(size) / total);
        let share = if share < 1.0 { share.ceil() } else { share.floor() };
        let from = begin.get(place).unwrap_or(*end);
        (place.clone(), from.saturating_add(as_i64(share)).min(*end))
    };
    latest.iter().map(cut).collect()
}

#[allow(clippy::cast_precision_loss, reason = "shares are approximate, as Spark's are")]
fn as_f64(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation, reason = "saturates, which the caller cuts at the end")]
fn as_i64(number: f64) -> i64 {
    number as i64
}

/// A part of a partition: offsets `from..to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) place: TopicPartition,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Span {
    fn size(&self) -> i128 {
        i128::from(self.to) - i128::from(self.from)
    }
}

/// The spans of slice `index` of `count`. A partition belongs to one slice whole, because its
/// records can be fetched in order only; slices are runs of partitions of about the same size.
pub(super) fn slice_of(spans: Vec<Span>, index: usize, count: usize) -> Vec<Span> {
    let total: i128 = spans.iter().map(Span::size).sum();
    let mut before = 0;
    spans
        .into_iter()
        .filter(|span| {
            let middle = 2 * before + span.size();
            before += span.size();
            middle * count as i128 / (2 * total).max(1) == index as i128
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn offsets(json: Value) -> Offsets {
        Offsets::from_json(&json).unwrap()
    }

    #[test]
    fn offsets_have_sparks_form() {
        let json = json!({ "orders": { "0": 5, "10": -2, "2": 7 }, "payments": { "0": -1 } });
        assert_eq!(offsets(json.clone()).to_json(), json);
        for bad in
            [json!([]), json!({ "t": 5 }), json!({ "t": { "x": 1 } }), json!({ "t": { "0": -3 } })]
        {
            assert!(Offsets::from_json(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn starting_offsets_are_words_or_json() {
        assert_eq!(StartingOffsets::parse("Earliest"), Ok(StartingOffsets::Earliest));
        assert_eq!(StartingOffsets::parse("latest"), Ok(StartingOffsets::Latest));
        let at = StartingOffsets::parse("{\"t\":{\"0\":-2}}").unwrap();
        assert_eq!(at, StartingOffsets::At(offsets(json!({ "t": { "0": EARLIEST } }))));
        assert!(StartingOffsets::parse("erliest").is_err());
    }

    #[test]
    fn a_limit_is_shared_by_size_and_rounded_as_in_spark() {
        let begin = offsets(json!({ "t": { "0": 0, "1": 100, "2": 0 } }));
        let latest = offsets(json!({ "t": { "0": 100, "1": 150, "2": 1 } }));
        // 20 × 100/151 = 13.2, 20 × 50/151 = 6.6, 20 × 1/151 = 0.13.
        let expected = offsets(json!({ "t": { "0": 13, "1": 106, "2": 1 } }));
        assert_eq!(limited(&begin, &latest, 20), expected);
    }

    #[test]
    fn a_limit_never_goes_beyond_the_latest() {
        let begin = offsets(json!({ "t": { "0": 0, "1": 5 } }));
        let latest = offsets(json!({ "t": { "0": 3, "1": 5 } }));
        assert_eq!(limited(&begin, &latest, u64::MAX), latest);
        assert_eq!(limited(&latest, &latest, 10), latest);
    }

    #[test]
    fn slices_are_runs_of_about_the_same_size() {
        let span = |partition, size: i64| Span {
            place: TopicPartition { topic: "t".into(), partition },
            from: 10,
            to: 10 + size,
        };
        let spans = vec![span(0, 100), span(1, 100), span(2, 100), span(3, 100), span(4, 0)];
        let sizes = |count| -> Vec<usize> {
            (0..count).map(|index| slice_of(spans.clone(), index, count).len()).collect()
        };
        assert_eq!(sizes(2)[0], 2);
        assert_eq!(sizes(4)[..3], [1, 1, 1]);
        for count in 1..9 {
            let dealt: Vec<Span> =
                (0..count).flat_map(|index| slice_of(spans.clone(), index, count)).collect();
            let full: Vec<Span> = spans.iter().filter(|span| span.size() > 0).cloned().collect();
            let dealt: Vec<Span> = dealt.into_iter().filter(|span| span.size() > 0).collect();
            assert_eq!(dealt, full, "{count} slices have everything, in order");
        }
    }
}
