//! Distributions: counts of values by bucket.

use serde::Deserialize;

use crate::gcp::wire;

/// Counts by bucket. Bucket 0 is the underflow, the last one the overflow; a bucket holds its lower
/// bound and not its upper one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    #[serde(deserialize_with = "wire::int", default)]
    pub count: u64,
    #[serde(default)]
    pub mean: f64,
    #[serde(rename = "bucketOptions", default)]
    pub buckets: Buckets,
    /// Zeros at the end may be left out.
    #[serde(deserialize_with = "wire::ints", default)]
    pub bucket_counts: Vec<u64>,
}

/// Where the buckets' bounds are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub enum Buckets {
    /// `offset + width · i`.
    #[serde(rename = "linearBuckets", rename_all = "camelCase")]
    Linear {
        num_finite_buckets: u32,
        width: f64,
        #[serde(default)]
        offset: f64,
    },
    /// `scale · growth_factorⁱ`.
    #[serde(rename = "exponentialBuckets", rename_all = "camelCase")]
    Exponential {
        num_finite_buckets: u32,
        growth_factor: f64,
        scale: f64,
    },
    #[serde(rename = "explicitBuckets")]
    Explicit {
        #[serde(default)]
        bounds: Vec<f64>,
    },
}

/// No bounds: one bucket for everything.
impl Default for Buckets {
    fn default() -> Self {
        Self::Explicit { bounds: Vec::new() }
    }
}

impl Buckets {
    /// The bound between bucket `index` and the next one; `None` after the last bound.
    fn bound(&self, index: usize) -> Option<f64> {
        match self {
            Self::Linear {
                num_finite_buckets,
                width,
                offset,
            } => (index <= *num_finite_buckets as usize).then(|| offset + width * index as f64),
            Self::Exponential {
                num_finite_buckets,
                growth_factor,
                scale,
            } => (index <= *num_finite_buckets as usize)
                .then(|| scale * growth_factor.powf(index as f64)),
            Self::Explicit { bounds } => bounds.get(index).copied(),
        }
    }
}

/// Two distributions do not have the same buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("distributions of unlike buckets cannot be added up")]
pub struct UnlikeBuckets;

impl Distribution {
    /// Adds the values of another distribution of the same buckets. An empty one has any buckets.
    ///
    /// # Errors
    /// When the buckets are not the same; this one is then as it was.
    pub fn merge(&mut self, other: &Self) -> Result<(), UnlikeBuckets> {
        if other.count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            self.clone_from(other);
            return Ok(());
        }
        if self.buckets != other.buckets {
            return Err(UnlikeBuckets);
        }
        let total = self.count.saturating_add(other.count);
        self.mean += (other.mean - self.mean) * (other.count as f64 / total as f64);
        self.count = total;
        if self.bucket_counts.len() < other.bucket_counts.len() {
            self.bucket_counts.resize(other.bucket_counts.len(), 0);
        }
        for (mine, theirs) in self.bucket_counts.iter_mut().zip(&other.bucket_counts) {
            *mine = mine.saturating_add(*theirs);
        }
        Ok(())
    }

    /// The value below which a share `q` (0 to 1) of the values lies; `None` without values.
    ///
    /// Known only to its bucket, within which the values are taken to be spread evenly. The underflow
    /// is taken to begin at 0, or at its upper bound where that is below 0; of the overflow nothing is
    /// known but its lower bound, which is then the answer, and too low.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: f64 = self.bucket_counts.iter().map(|n| *n as f64).sum();
        if total <= 0.0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total;
        let mut below = 0.0;
        let mut value = None;
        for (index, count) in self.bucket_counts.iter().enumerate() {
            let count = *count as f64;
            if count == 0.0 {
                continue;
            }
            let lower = match index.checked_sub(1) {
                Some(before) => self.lower_bound(before),
                None => self.buckets.bound(0).map_or(0.0, |upper| upper.min(0.0)),
            };
            let upper = self.buckets.bound(index).unwrap_or(lower);
            let share = ((rank - below) / count).clamp(0.0, 1.0);
            value = Some(lower + (upper - lower) * share);
            below += count;
            if below >= rank {
                break;
            }
        }
        value
    }

    /// All bounds between buckets, rising; none where they are more than a distribution of latencies can have.
    pub fn bounds(&self) -> Vec<f64> {
        const MOST: usize = 10_000;
        let bounds: Vec<f64> = (0..=MOST).map_while(|i| self.buckets.bound(i)).collect();
        if bounds.len() > MOST {
            return Vec::new();
        }
        bounds
    }

    /// The bound at `index`, or the last one where there are fewer: what lies beyond the overflow
    /// bucket lies in it.
    fn lower_bound(&self, index: usize) -> f64 {
        let last = match &self.buckets {
            Buckets::Linear {
                num_finite_buckets, ..
            }
            | Buckets::Exponential {
                num_finite_buckets, ..
            } => *num_finite_buckets as usize,
            Buckets::Explicit { bounds } => bounds.len().saturating_sub(1),
        };
        self.buckets.bound(index.min(last)).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Distribution {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn all_three_forms_of_buckets_are_read() {
        let explicit = read(
            r#"{"count":"10","mean":15,"sumOfSquaredDeviation":1,"bucketOptions":{"explicitBuckets":{"bounds":[0,10,20]}},"bucketCounts":["0","4","6"]}"#,
        );
        assert_eq!(explicit.quantile(0.2), Some(5.0));
        assert_eq!(explicit.quantile(0.4), Some(10.0));
        assert_eq!(explicit.quantile(0.7), Some(15.0));
        assert_eq!(explicit.quantile(1.0), Some(20.0));
        let linear = read(
            r#"{"count":"4","bucketOptions":{"linearBuckets":{"numFiniteBuckets":2,"width":10,"offset":5}},"bucketCounts":["0","0","4"]}"#,
        );
        assert_eq!(linear.quantile(0.5), Some(20.0));
        let exponential = read(
            r#"{"count":"4","bucketOptions":{"exponentialBuckets":{"numFiniteBuckets":3,"growthFactor":2,"scale":1}},"bucketCounts":["2","0","2"]}"#,
        );
        assert_eq!(exponential.quantile(0.25), Some(0.5));
        assert_eq!(exponential.quantile(0.75), Some(3.0));
    }

    #[test]
    fn the_overflow_is_only_known_to_begin() {
        let text = r#"{"count":"3","bucketOptions":{"explicitBuckets":{"bounds":[1,2]}},"bucketCounts":["0","0","3","9"]}"#;
        assert_eq!(read(text).quantile(0.99), Some(2.0));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(read("{}").quantile(0.5), None);
        assert_eq!(
            read(r#"{"count":"0","bucketCounts":["0"]}"#).quantile(0.5),
            None
        );
    }

    #[test]
    fn unlike_buckets_are_refused() {
        let with = |bound: f64| Distribution {
            count: 1,
            mean: 0.0,
            buckets: Buckets::Explicit {
                bounds: vec![bound],
            },
            bucket_counts: vec![1],
        };
        let mut one = with(1.0);
        assert_eq!(one.merge(&with(2.0)), Err(UnlikeBuckets));
        assert_eq!(one, with(1.0));
        assert_eq!(one.merge(&Distribution::default()), Ok(()));
        let mut empty = Distribution::default();
        empty.merge(&one).unwrap();
        assert_eq!(empty, one);
    }

    fn of(values: &[f64]) -> Distribution {
        let bounds: Vec<f64> = (0..20).map(|i| f64::from(i) * 50.0).collect();
        let mut bucket_counts = vec![0; bounds.len() + 1];
        for value in values {
            bucket_counts[bounds.partition_point(|bound| bound <= value)] += 1;
        }
        Distribution {
            count: values.len() as u64,
            mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
            buckets: Buckets::Explicit { bounds },
            bucket_counts,
        }
    }

    proptest! {
        #[test]
        fn merged_parts_are_the_whole(values in proptest::collection::vec(0f64..1000.0, 0..60), cut in 0usize..60) {
            let cut = cut.min(values.len());
            let mut merged = of(&values[..cut]);
            merged.merge(&of(&values[cut..])).unwrap();
            let whole = of(&values);
            prop_assert_eq!(merged.count, whole.count);
            prop_assert_eq!(merged.quantile(0.95), whole.quantile(0.95));
            prop_assert!((merged.mean - whole.mean).abs() < 1e-9);
        }

        #[test]
        fn a_quantile_is_within_a_bucket_of_the_true_one(values in proptest::collection::vec(0f64..949.0, 1..80), q in 0.01f64..=1.0) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
            let truth = sorted[rank - 1];
            let estimate = of(&values).quantile(q).unwrap();
            prop_assert!((estimate - truth).abs() <= 50.0, "{} {}", estimate, truth);
        }

        #[test]
        fn quantiles_rise(values in proptest::collection::vec(0f64..2000.0, 1..40), a in 0f64..=1.0, b in 0f64..=1.0) {
            let distribution = of(&values);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(distribution.quantile(low) <= distribution.quantile(high));
        }

        #[test]
        fn no_counts_make_it_panic(counts in proptest::collection::vec(any::<u64>(), 0..9), n in any::<u32>(), width in any::<f64>(), q in any::<f64>()) {
            for buckets in [
                Buckets::Linear { num_finite_buckets: n, width, offset: width },
                Buckets::Exponential { num_finite_buckets: n, growth_factor: width, scale: width },
                Buckets::Explicit { bounds: vec![width] },
            ] {
                let mut one = Distribution { count: 1, mean: width, buckets, bucket_counts: counts.clone() };
                let other = one.clone();
                // NaN bounds are unlike themselves.
                let _ = one.merge(&other);
                one.quantile(q);
            }
        }
    }
}
