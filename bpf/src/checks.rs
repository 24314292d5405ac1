//! The argument checks of one call. Its conditional rules are tried in order, and the first match decides.
//! Consecutive rules on the same bits of one argument become one search over the values of that argument.

use crate::assembler::{Assembler, Label};
use crate::profile::{Condition, Operator};
use crate::program::{AND_K, JEQ_K, JSET_K, OFFSET_ARGS};
use crate::search::Intervals;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

/// The properties of an architecture that the checks depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// If false, only the low halves of the argument and the value are compared.
    pub is_64_bit: bool,
    pub is_little_endian: bool,
}

/// One rule: if all conditions hold, control goes to the label.
pub(crate) struct Check<'a> {
    pub conditions: &'a [Condition],
    pub then: Label,
}

/// A range of values for which the condition of a check holds.
struct Span {
    start: u64,
    /// Inclusive.
    end: u64,
    then: Label,
}

/// Values from `start` up to the start of the next range lead to `label`.
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    label: Label,
}

/// Emits the checks, last one first. If none matches, control goes to `otherwise`.
pub(crate) fn checks(
    assembler: &mut Assembler,
    layout: Layout,
    checks: &[Check],
    otherwise: Label,
) -> Label {
    let mut label = otherwise;
    for group in checks.chunk_by(|a, b| alike(a, b)).rev() {
        label = match group {
            [Check { conditions, then }] => {
                let mut next = *then;
                for condition in conditions.iter().rev() {
                    let one = Check {
                        conditions: core::slice::from_ref(condition),
                        then: next,
                    };
                    next = values(assembler, layout, &[one], label);
                }
                next
            }
            _ => values(assembler, layout, group, label),
        };
    }
    label
}

/// Whether each check has exactly one condition, and both conditions test the same bits of the same argument.
fn alike(a: &Check, b: &Check) -> bool {
    matches!((a.conditions, b.conditions), ([a], [b]) if bits(a) == bits(b))
}

/// The argument that a condition tests, and the bits of it.
fn bits(condition: &Condition) -> (u32, u64) {
    (
        condition.index,
        if condition.op == Operator::MaskedEqual {
            condition.value
        } else {
            u64::MAX
        },
    )
}

/// Emits checks of one condition each that all test the same bits.
fn values(assembler: &mut Assembler, layout: Layout, checks: &[Check], otherwise: Label) -> Label {
    let (index, mask) = bits(&checks[0].conditions[0]);
    let word = if layout.is_64_bit {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    let mask = mask & word;
    let mut spans = Vec::with_capacity(checks.len());
    for check in checks {
        let condition = &check.conditions[0];
        let then = check.then;
        let value = condition.value & word;
        let datum = condition.value_two & mask;
        let below = || value.checked_sub(1).map(|end| (0, end));
        let above = || value.checked_add(1).map(|start| (start, u64::MAX));
        let (one, other) = match condition.op {
            Operator::Equal => (Some((value, value)), None),
            Operator::MaskedEqual => (Some((datum, datum)), None),
            Operator::LessOrEqual => (Some((0, value)), None),
            Operator::GreaterOrEqual => (Some((value, u64::MAX)), None),
            Operator::Less => (below(), None),
            Operator::Greater => (above(), None),
            Operator::NotEqual => (below(), above()),
        };
        let both = [one, other].into_iter().flatten();
        spans.extend(both.map(|(start, end)| Span { start, end, then }));
    }
    let ranges = ranges(&spans, otherwise);
    argument(assembler, layout, index, mask, &ranges)
}

/// Divides all values into ranges at the ends of the spans. Where spans overlap, the first one decides.
/// Takes n log n steps. All sorts share one type, to keep the code small: 128 bits, a value and the index of a span.
fn ranges(spans: &[Span], otherwise: Label) -> Vec<Range> {
    let sorted =
        |numbers: &mut dyn Iterator<Item = u128>| BinaryHeap::from_iter(numbers).into_sorted_vec();
    let starts = spans.iter().map(|span| u128::from(span.start));
    let ends = spans.iter().map(|span| u128::from(span.end) + 1);
    // Every value at which the deciding span can change, and one past the last value.
    let places = sorted(&mut starts.clone().chain(ends).chain([0]));
    let by_start = sorted(&mut starts.zip(0..).map(|(start, n): (_, u128)| start << 64 | n));
    let mut by_start = by_start.into_iter().peekable();
    let mut ranges: Vec<Range> = Vec::with_capacity(places.len());
    // The spans that have begun. Indices are inverted, so that the first span is the largest.
    let mut begun: BinaryHeap<u128> = BinaryHeap::new();
    let place = |n: u128| (u128::MAX - n) as usize;
    for start in places {
        let Ok(value) = u64::try_from(start) else {
            break;
        };
        while let Some(span) = by_start.next_if(|span| span >> 64 <= start) {
            begun.push(u128::MAX - u128::from(span as u64));
        }
        while begun.peek().is_some_and(|n| spans[place(*n)].end < value) {
            begun.pop();
        }
        let label = begun.peek().map_or(otherwise, |n| spans[place(*n)].then);
        if ranges.last().is_none_or(|last| last.label != label) {
            ranges.push(Range {
                start: value,
                label,
            });
        }
    }
    ranges
}

/// Emits a search for the masked value of an argument: the high half first, then the low half if it matters.
fn argument(
    assembler: &mut Assembler,
    layout: Layout,
    index: u32,
    mask: u64,
    ranges: &[Range],
) -> Label {
    let high = OFFSET_ARGS + 8 * index + if layout.is_little_endian { 4 } else { 0 };
    let low = OFFSET_ARGS + 8 * index + if layout.is_little_endian { 0 } else { 4 };
    let mut highs = Intervals::with_capacity(ranges.len() + 1);
    let mut before = ranges[0].label;
    // Each high half in which a range begins, with all ranges that begin in it.
    for here in ranges.chunk_by(|a, b| a.start >> 32 == b.start >> 32) {
        let half = (here[0].start >> 32) as u32;
        let mut lows = Intervals::with_capacity(here.len() + 1);
        if here[0].start as u32 != 0 {
            lows.push(0, before, 1);
        }
        for range in here {
            lows.push(range.start as u32, range.label, 1);
        }
        let label = word(assembler, low, mask as u32, &lows);
        if !layout.is_64_bit {
            return label;
        }
        highs.push(half, label, 1);
        // The last range continues up to the next high half in which a range begins.
        before = here[here.len() - 1].label;
        if let Some(next) = half.checked_add(1) {
            highs.push(next, before, 1);
        }
    }
    word(assembler, high, (mask >> 32) as u32, &highs)
}

/// Emits the search on one half, with that half of the mask.
fn word(assembler: &mut Assembler, offset: u32, mask: u32, intervals: &Intervals) -> Label {
    let search = match intervals.as_slice() {
        [only] => return only.label,
        // With an empty mask the word is always zero.
        [zero, ..] if mask == 0 => return zero.label,
        // Only zero is distinguished from the rest.
        [zero, rest] if rest.start == 1 => match mask {
            u32::MAX => assembler.branch(JEQ_K, 0, zero.label, rest.label),
            _ => assembler.branch(JSET_K, mask, rest.label, zero.label),
        },
        // Only one bit of the word is tested.
        [no, yes, after]
            if yes.start == mask && mask.is_power_of_two() && no.label == after.label =>
        {
            assembler.branch(JSET_K, mask, yes.label, no.label)
        }
        _ => {
            let search = intervals.search(assembler);
            if mask == u32::MAX {
                search
            } else {
                assembler.then(AND_K, mask, search)
            }
        }
    };
    assembler.load(offset, search)
}
