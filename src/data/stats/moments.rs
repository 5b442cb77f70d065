//! Mean and variance that stay exact for large means: two passes over a batch, batches put together by
//! the formula of Chan, Golub and LeVeque (1983).

/// Count, mean and sum of squared distances from the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub count: u64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    /// Of finite numbers.
    pub fn of(numbers: &[f64]) -> Self {
        let n = numbers.len() as f64;
        if numbers.is_empty() {
            return Self::default();
        }
        let mut mean = numbers.iter().sum::<f64>() / n;
        if !mean.is_finite() {
            // The sum of the largest doubles is none.
            mean = numbers.iter().map(|x| x / n).sum();
        }
        let squares = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self {
            count: numbers.len() as u64,
            mean,
            squares,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let share = b / (a + b);
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * share;
        self.squares += other.squares + distance * distance * a * share;
    }

    /// Of the sample (divided by n − 1); 0 for one number.
    pub fn standard_deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        (self.squares / (self.count - 1) as f64).sqrt()
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
        assert_eq!(moments.mean, 1e9 + 10.0);
        let huge = Moments::of(&[1.5e308, 1.5e308]);
        assert_eq!((huge.mean, huge.standard_deviation()), (1.5e308, 0.0));
        assert_eq!(Moments::of(&[7.0]).standard_deviation(), 0.0);
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
