//! A balanced search over the intervals of one 32-bit word. The filter uses it to dispatch on the system call number,
//! and to compare an argument with several values at once.

use crate::assembler::{Assembler, Label};
use crate::program::{JEQ_K, JGE_K};
use alloc::vec::Vec;

/// Words from `start` up to the start of the next interval (or the largest word) lead to `label`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub start: u32,
    pub label: Label,
    /// The sum of the weights up to and including this interval.
    weight: u32,
}

/// Intervals that cover all words. Adjacent intervals have different labels.
pub(crate) struct Intervals {
    intervals: Vec<Interval>,
}

impl Intervals {
    pub fn with_capacity(capacity: usize) -> Intervals {
        Intervals {
            intervals: Vec::with_capacity(capacity),
        }
    }

    /// Adds an interval that begins at `start`. Starts must ascend from zero; a second interval at the same start
    /// replaces the first. The larger the weight, the fewer comparisons it takes to find the interval.
    pub fn push(&mut self, start: u32, label: Label, weight: u32) {
        self.intervals.pop_if(|last| last.start == start);
        let before = self.intervals.last().map_or(0, |last| last.weight);
        match self.intervals.last_mut() {
            Some(last) if last.label == label => last.weight += weight,
            _ => self.intervals.push(Interval {
                start,
                label,
                weight: before + weight,
            }),
        }
    }

    pub fn as_slice(&self) -> &[Interval] {
        &self.intervals
    }

    /// Emits the search.
    pub fn search(&self, assembler: &mut Assembler) -> Label {
        search(assembler, &self.intervals, 0)
    }
}

/// Emits the search in some of the intervals. `before` is the weight of those in front.
fn search(assembler: &mut Assembler, intervals: &[Interval], before: u32) -> Label {
    match intervals {
        [only] => only.label,
        // Half of all searches end here, where there is only one place to split.
        [below, above] => assembler.branch(JGE_K, above.start, above.label, below.label),
        // A single word inside an interval takes one comparison instead of two.
        [around, word, after] if around.label == after.label && after.start - word.start == 1 => {
            assembler.branch(JEQ_K, word.start, word.label, around.label)
        }
        _ => {
            let (below, above) = intervals.split_at(middle(intervals, before));
            let yes = search(assembler, above, below[below.len() - 1].weight);
            let no = search(assembler, below, before);
            assembler.branch(JGE_K, above[0].start, yes, no)
        }
    }
}

/// The index to split at: as near as possible to half of the weight.
fn middle(intervals: &[Interval], before: u32) -> usize {
    let twice = before + intervals[intervals.len() - 1].weight;
    let at = intervals
        .partition_point(|interval| 2 * interval.weight < twice)
        .clamp(1, intervals.len() - 1);
    // The interval that contains the middle goes to the lighter side.
    let heavier = |at: usize| twice.abs_diff(2 * intervals[at - 1].weight);
    if at + 1 < intervals.len() && heavier(at + 1) < heavier(at) {
        at + 1
    } else {
        at
    }
}
