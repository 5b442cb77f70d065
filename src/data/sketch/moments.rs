//! Mean and variance that stay exact for large means and for the largest and smallest numbers: two passes over a
//! batch, batches put together by the formula of Chan, Golub and LeVeque (1983).

/// Count, mean and sum of squared distances from the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moments {
    count: u64,
    mean: f64,
    /// What the mean lacks, since it is rounded: with a mean of 10^9 that is seen in the deviation.
    rest: f64,
    /// The squares are of distances divided by this: 1, or for distances whose squares are no doubles a power of
    /// two of their size.
    scale: f64,
    squares: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0,
            mean: 0.0,
            rest: 0.0,
            scale: 1.0,
            squares: 0.0,
        }
    }
}

/// The power of two that a number's size has, for numbers whose squares are no good doubles; else 1.
fn scale_of(size: f64) -> f64 {
    match size {
        0.0 => 1.0,
        size if (1e-100..1e100).contains(&size) => 1.0,
        // Its inverse is a double, too.
        size => 2.0_f64.powi((size.log2().floor() as i32).max(-1000)),
    }
}

impl Moments {
    /// Of finite numbers.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let n = numbers.len() as f64;
        if numbers.is_empty() {
            return Self::default();
        }
        let mut mean = numbers.iter().sum::<f64>() / n;
        if !mean.is_finite() {
            // The sum of the largest doubles is none.
            mean = numbers.iter().map(|x| x / n).sum();
        }
        let (mut rests, mut squares) = (0.0, 0.0);
        for x in numbers {
            let distance = x - mean;
            rests += distance;
            squares += distance * distance;
        }
        let mut moments = Self {
            count: numbers.len() as u64,
            mean,
            rest: rests / n,
            scale: 1.0,
            squares,
        };
        if !(1e-200..1e200).contains(&squares) {
            moments.measure_again(numbers);
        }
        // The squares were taken around the rounded mean.
        let rest = moments.rest / moments.scale;
        moments.squares = (moments.squares - n * rest * rest).max(0.0);
        moments
    }

    /// Takes the squares of distances that have none in doubles.
    fn measure_again(&mut self, numbers: &[f64]) {
        let half = |x: f64| (x / 2.0 - self.mean / 2.0).abs();
        let size = numbers.iter().map(|x| half(*x)).fold(0.0, f64::max);
        // Their distance from the mean may be no double either.
        self.scale = scale_of(size);
        let scaled = |x: &f64| x / self.scale - self.mean / self.scale;
        let n = numbers.len() as f64;
        self.rest = numbers.iter().map(|x| scaled(x) / n).sum::<f64>() * self.scale;
        self.squares = numbers.iter().map(|x| scaled(x) * scaled(x)).sum();
    }

    /// From the figures that a record keeps.
    pub(crate) fn from_figures(count: u64, mean: f64, standard_deviation: f64) -> Self {
        let scale = scale_of(standard_deviation);
        let deviation = standard_deviation / scale;
        Self {
            count,
            mean,
            rest: 0.0,
            scale,
            squares: deviation * deviation * count.saturating_sub(1) as f64,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let share = b / (a + b);
        let half = other.mean / 2.0 - self.mean / 2.0;
        let scale = match self.scale == 1.0 && other.scale == 1.0 {
            true => scale_of(half.abs()),
            false => self.scale.max(other.scale).max(scale_of(half.abs())),
        };
        let distance =
            (other.mean / scale - self.mean / scale) + (other.rest / scale - self.rest / scale);
        let squares = |of: &Self| of.squares * (of.scale / scale) * (of.scale / scale);
        self.squares = squares(self) + squares(other) + distance * distance * a * share;
        self.scale = scale;
        // The mean moves, and what is rounded off it goes to the rest.
        let rest = self.rest * (1.0 - share) + other.rest * share;
        let moved = 2.0 * half * share;
        let (moved, mean) = match moved.is_finite() {
            true => (moved, self.mean + moved),
            false => (0.0, self.mean * (1.0 - share) + other.mean * share),
        };
        let lost = match moved {
            0.0 => 0.0,
            moved => moved - (mean - self.mean),
        };
        self.mean = mean + (rest + lost);
        self.rest = (rest + lost) - (self.mean - mean);
        self.count += other.count;
    }

    /// Of the numbers that were counted; 0 where there are none.
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// Of the sample (divided by n − 1); 0 for one number.
    pub(crate) fn standard_deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let deviation = (self.squares / (self.count - 1) as f64).sqrt() * self.scale;
        deviation.min(f64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn large_means_lose_nothing() {
        // numpy 2: np.std([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], ddof=1) is sqrt(30)
        let numbers = [4.0, 7.0, 13.0, 16.0].map(|x| x + 1e9);
        let moments = Moments::of(&numbers);
        assert!((moments.standard_deviation() - 30.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(moments.mean(), 1e9 + 10.0);
        let huge = Moments::of(&[1.5e308, 1.5e308]);
        assert_eq!((huge.mean(), huge.standard_deviation()), (1.5e308, 0.0));
        assert_eq!(Moments::of(&[7.0]).standard_deviation(), 0.0);
    }

    #[test]
    fn distances_without_squares_have_a_deviation() {
        // Python 3.11: statistics.stdev of the numbers divided by a power of two
        let near = |x: f64, y: f64| (x / y - 1.0).abs() < 1e-12;
        let small = Moments::of(&[1e-200, 2e-200, 3e-200]);
        assert!(near(small.standard_deviation(), 1e-200), "{small:?}");
        let large = [1e300, -1e300, 1e308, -1e308];
        let expected = 8.164_965_809_277_26e307;
        let whole = Moments::of(&large).standard_deviation();
        assert!(near(whole, expected), "{whole}");
        let mut parts = Moments::of(&large[..3]);
        parts.merge(&Moments::of(&large[3..]));
        assert!(near(parts.standard_deviation(), expected), "{parts:?}");
        let mut widest = Moments::of(&[-1.7e308; 3]);
        widest.merge(&Moments::of(&[1.7e308; 3]));
        assert_eq!(widest.mean(), 0.0);
        // The root of 6/5 times 1.7e308 is beyond the largest double.
        assert_eq!(widest.standard_deviation(), f64::MAX);
    }

    #[test]
    fn many_small_parts_far_from_zero_lose_nothing() {
        // The same numbers without the 10^9 in front, which a double holds better.
        let noise: Vec<f64> = (0..9000)
            .map(|n| f64::from(n * 7919 % 9001) / 1024.0)
            .collect();
        let near = Moments::of(&noise).standard_deviation();
        let far: Vec<f64> = noise.iter().map(|x| x + 1e9).collect();
        let mut merged = Moments::default();
        for part in far.chunks(700) {
            merged.merge(&Moments::of(part));
        }
        let off = (merged.standard_deviation() / near - 1.0).abs();
        assert!(off < 1e-13, "{off}");
    }

    proptest! {
        #[test]
        fn parts_put_together_are_the_whole(
            numbers in prop::collection::vec(-1e6..1e6f64, 1..200),
            at in 0..200usize,
        ) {
            let whole = Moments::of(&numbers);
            let (a, b) = numbers.split_at(at.min(numbers.len()));
            let mut merged = Moments::of(a);
            merged.merge(&Moments::of(b));
            prop_assert_eq!(merged.count, whole.count);
            prop_assert!((merged.mean - whole.mean).abs() <= 1e-9 * (1.0 + whole.mean.abs()));
            prop_assert!((merged.squares - whole.squares).abs() <= 1e-9 * (1.0 + whole.squares));
        }
    }
}
