//! Shared by the benches: the program to time, medians, and ratios that are robust against noise.
//! A sample that a round could not take is `None`, so two series stay aligned by round.

use std::path::{Path, PathBuf};

/// The samples of one command, one per round, in nanoseconds.
pub type Series = Vec<Option<u64>>;

/// `$RUNTIME`, or the output of `cargo build --release`: in this bench's target directory if it has its own, otherwise
/// in the workspace's.
pub fn default_runtime() -> PathBuf {
    if let Some(path) = std::env::var_os("RUNTIME") {
        return path.into();
    }
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = room
        .parent()
        .unwrap_or(room)
        .join("target/x86_64-unknown-linux-gnu/release/runtime");
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("runtime")));
    match beside {
        Some(path) if path.is_file() && !workspace.is_file() => path,
        _ => workspace,
    }
}

/// The median of `values`. For an even number it is the mean of the two values in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

/// The median of the samples, in nanoseconds.
pub fn typical(series: &[Option<u64>]) -> Option<f64> {
    median(
        series
            .iter()
            .flatten()
            .map(|&sample| sample as f64)
            .collect(),
    )
}

/// The ratio of two series, by three estimates. The result can be trusted if they agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the ratios of each round. Slow drift cancels out.
    pub rounds: f64,
    /// The ratio of the two medians.
    pub medians: f64,
    /// The ratio of the two fastest samples, which are the ones least disturbed.
    pub minima: f64,
}

impl Ratio {
    /// The ratio of `above` to `below`, or `None` if they share no round.
    pub fn of(above: &[Option<u64>], below: &[Option<u64>]) -> Option<Self> {
        let both = || above.iter().zip(below).filter_map(|(&a, &b)| a.zip(b));
        let fastest = |series: &[Option<u64>]| series.iter().flatten().min().copied();
        Some(Self {
            rounds: median(both().map(|(a, b)| a as f64 / b as f64).collect())?,
            medians: typical(above)? / typical(below)?,
            minima: fastest(above)? as f64 / fastest(below)? as f64,
        })
    }
}

/// A new order for every round, so that no command always follows the same slow neighbour.
pub struct Shuffle(u64);

impl Shuffle {
    /// Equal seeds give equal orders.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The Fisher–Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_pairs_only_rounds_that_both_took() {
        let above = [Some(20), None, Some(60), Some(40)];
        let below = [Some(10), Some(1), Some(10), None];
        let ratio = Ratio::of(&above, &below).unwrap();
        assert_eq!(
            ratio,
            Ratio {
                rounds: 4.0,
                medians: 4.0,
                minima: 20.0
            }
        );
        assert_eq!(Ratio::of(&[None, Some(1)], &[Some(1), None]), None);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..9).collect();
        Shuffle::new(7).shuffle(&mut items);
        items.sort();
        assert_eq!(items, (0..9).collect::<Vec<_>>());
    }
}
