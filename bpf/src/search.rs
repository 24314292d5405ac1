//! A balanced search over the intervals of one 32-bit word: the filter's way to dispatch on a call's number, and to
//! compare an argument with several values at once.

use crate::assembler::{Assembler, Label};
use crate::program::{JEQ_K, JGE_K};

/// From `start` up to the next interval's start (the last one: to the largest word), control goes to `label`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub start: u32,
    pub label: Label,
    /// How much it counts that this interval is found with few comparisons.
    pub weight: u32,
}

/// Emits the search. The intervals ascend, neighbours differ in their labels, and the first starts at zero.
pub(crate) fn search(assembler: &mut Assembler, intervals: &[Interval]) -> Label {
    match intervals {
        [only] => only.label,
        // A single word inside an interval: one comparison instead of two.
        [before, word, after] if before.label == after.label && after.start - word.start == 1 => {
            assembler.branch(JEQ_K, word.start, word.label, before.label)
        }
        _ => {
            let (below, above) = intervals.split_at(middle(intervals));
            let yes = search(assembler, above);
            let no = search(assembler, below);
            assembler.branch(JGE_K, above[0].start, yes, no)
        }
    }
}

/// Where to split: as near as possible to the middle by weight.
fn middle(intervals: &[Interval]) -> usize {
    let total: u32 = intervals.iter().map(|interval| interval.weight).sum();
    let mut below = intervals[0].weight;
    let mut best = (u32::MAX, 1);
    for (at, interval) in intervals.iter().enumerate().skip(1) {
        let distance = total.abs_diff(2 * below);
        if distance < best.0 {
            best = (distance, at);
        }
        below += interval.weight;
    }
    best.1
}
