//! Quantiles of a stream in little memory: Spark's QuantileSummaries, which follow Greenwald and
//! Khanna, "Space-efficient Online Computation of Quantile Summaries" (2001).
//!
//! Few values are kept as they are, so that their quantiles are exact.

/// A value with the share of ranks that it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    /// Distance of its least rank from that of the sample before.
    pub(super) g: i64,
    /// Distance of its largest rank from its least.
    pub(super) delta: i64,
}

/// Values that wait to be sorted in.
const HEAD_MAX: usize = 50_000;
/// Samples from which on they are merged without being asked.
const SAMPLES_MAX: usize = 10_000;

/// What is known of the values so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    samples: Vec<Sample>,
    count: i64,
    head: Vec<f64>,
}

impl Summary {
    /// A summary as [`Summary::samples`] gave it.
    pub(super) fn of(samples: Vec<Sample>, count: i64) -> Summary {
        Summary { samples, count, head: Vec::new() }
    }

    /// The number of values.
    pub(super) fn count(&self) -> i64 {
        self.count + self.head.len() as i64
    }

    pub(super) fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>() + self.head.capacity() * size_of::<f64>()
    }

    pub(super) fn insert(&mut self, value: f64, error: f64) {
        self.head.push(value);
        if self.head.len() >= HEAD_MAX {
            self.sort_in(error);
            if self.samples.len() >= SAMPLES_MAX {
                self.samples = merged(&self.samples, 2.0 * error * self.count as f64);
            }
        }
    }

    /// The samples, as few as the error allows.
    pub(super) fn samples(&mut self, error: f64) -> &[Sample] {
        if !self.head.is_empty() {
            self.sort_in(error);
            self.samples = merged(&self.samples, 2.0 * error * self.count as f64);
        }
        &self.samples
    }

    fn sort_in(&mut self, error: f64) {
        let mut sorted = std::mem::take(&mut self.head);
        sorted.sort_unstable_by(f64::total_cmp);
        let mut samples = Vec::with_capacity(self.samples.len() + sorted.len());
        let mut old = self.samples.iter().copied().peekable();
        for (number, value) in sorted.iter().enumerate() {
            while let Some(sample) = old.next_if(|old| old.value.total_cmp(value).is_le()) {
                samples.push(sample);
            }
            self.count += 1;
            let is_last = old.peek().is_none() && number + 1 == sorted.len();
            let delta = if samples.is_empty() || is_last {
                0
            } else {
                (2.0 * error * self.count as f64).floor() as i64
            };
            samples.push(Sample { value: *value, g: 1, delta });
        }
        samples.extend(old);
        self.samples = samples;
    }

    /// Adds the values of another summary of the same error.
    ///
    /// Spark widens all samples by what the other summary may be off, so that with every merge fewer
    /// of them can be left out. A sample is off by no more than the distance of its neighbours in
    /// the other summary, though; and that is what is added here.
    pub(super) fn merge(&mut self, mut other: Summary, error: f64) {
        self.samples(error);
        other.samples(error);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (mine, theirs) = (&self.samples, &other.samples);
        let mut all = Vec::with_capacity(mine.len() + theirs.len());
        let (mut i, mut j) = (0, 0);
        while i < mine.len() || j < theirs.len() {
            let is_mine = match (mine.get(i), theirs.get(j)) {
                (Some(mine), Some(theirs)) => mine.value.total_cmp(&theirs.value).is_lt(),
                (mine, _) => mine.is_some(),
            };
            let (sample, next) = if is_mine {
                i += 1;
                (mine[i - 1], theirs.get(j))
            } else {
                j += 1;
                (theirs[j - 1], mine.get(i))
            };
            let add = next.map_or(0, |next| next.g + next.delta - 1);
            all.push(Sample { delta: sample.delta + add, ..sample });
        }
        self.count += other.count;
        self.samples = merged(&all, 2.0 * error * self.count as f64);
    }

    /// The value at this share of the ranks; none without values.
    pub(super) fn quantile(&mut self, share: f64, error: f64) -> Option<f64> {
        self.samples(error);
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        if share <= error || self.samples.len() == 1 {
            return Some(first.value);
        }
        if share >= 1.0 - error {
            return Some(last.value);
        }
        let widest = self.samples.iter().map(|s| s.delta + s.g).max().unwrap_or(0);
        let target = widest as f64 / 2.0;
        let rank = (share * self.count as f64).ceil();
        let mut least = 0;
        for sample in &self.samples[..self.samples.len() - 1] {
            least += sample.g;
            let most = (least + sample.delta) as f64;
            if most - target <= rank && rank <= least as f64 + target {
                return Some(sample.value);
            }
        }
        Some(last.value)
    }
}

/// Merges neighbours that together stand for fewer ranks than the threshold. The first and the last
/// value stay.
fn merged(samples: &[Sample], threshold: f64) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    let mut head = *last;
    for sample in samples.iter().skip(1).rev().skip(1) {
        if ((sample.g + head.g + head.delta) as f64) < threshold {
            head.g += sample.g;
        } else {
            kept.push(std::mem::replace(&mut head, *sample));
        }
    }
    kept.push(head);
    if samples.len() > 1 && first.value.total_cmp(&head.value).is_le() {
        kept.push(*first);
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_values_are_values() {
        let mut summary = Summary::default();
        (1..=4).for_each(|value| summary.insert(f64::from(value), 1e-4));
        let quantiles = [0.1, 0.5, 0.99].map(|share| summary.quantile(share, 1e-4));
        assert_eq!(quantiles, [Some(1.0), Some(2.0), Some(4.0)]);
    }

    #[test]
    fn many_values_are_kept_in_few_samples_within_the_error() {
        let error = 0.01;
        let mut all = Summary::default();
        for part in 0..500_i64 {
            let mut summary = Summary::default();
            (0..200).for_each(|i| summary.insert((i * 500 + part) as f64, error));
            all.merge(summary, error);
        }
        assert_eq!(all.count(), 100_000);
        assert!(all.samples(error).len() < 500);
        let median = all.quantile(0.5, error).unwrap_or_default();
        assert!((median - 50_000.0).abs() < 2_500.0, "{median}");
    }
}
