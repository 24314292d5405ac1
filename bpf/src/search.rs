//! A balanced search over the intervals of one 32-bit word: the filter's way to dispatch on a call's number, and to
//! compare an argument with several values at once.

use crate::assembler::{Assembler, Label};
use crate::program::{JEQ_K, JGE_K};
use alloc::vec::Vec;

/// From `start` up to the next interval's start (the last one: to the largest word), control goes to `label`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub start: u32,
    pub label: Label,
    /// The weights of all intervals up to and including this one.
    weight: u32,
}

/// Intervals that cover all words. Neighbours differ in their labels.
pub(crate) struct Intervals {
    intervals: Vec<Interval>,
}

impl Intervals {
    pub fn with_capacity(capacity: usize) -> Intervals {
        Intervals {
            intervals: Vec::with_capacity(capacity),
        }
    }

    /// From `start` on, words lead to the label. Starts ascend from zero; of two at the same start the second counts.
    /// The weight says how much it counts that these words are found with few comparisons.
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

/// Emits the search among some intervals; `before` is the weight of those in front.
fn search(assembler: &mut Assembler, intervals: &[Interval], before: u32) -> Label {
    match intervals {
        [only] => only.label,
        // Half of all searches come down to this: not worth looking for the middle.
        [below, above] => assembler.branch(JGE_K, above.start, above.label, below.label),
        // A single word inside an interval: one comparison instead of two.
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

/// Where to split: as near as possible to the middle by weight.
fn middle(intervals: &[Interval], before: u32) -> usize {
    let twice = before + intervals[intervals.len() - 1].weight;
    let at = intervals
        .partition_point(|interval| 2 * interval.weight < twice)
        .clamp(1, intervals.len() - 1);
    // The interval that the middle lies in goes to the side that it makes less heavy.
    let heavier = |at: usize| twice.abs_diff(2 * intervals[at - 1].weight);
    if at + 1 < intervals.len() && heavier(at + 1) < heavier(at) {
        at + 1
    } else {
        at
    }
}
