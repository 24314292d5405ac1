//! Finds duplicates in lists of the config without comparing all pairs of entries.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;

/// Whether each entry is the first one with its name. Takes n log n steps.
pub fn first_of_each<'a>(names: impl Iterator<Item = &'a str>) -> Vec<bool> {
    // A heap, because each standard sort adds 5 KB of code.
    let sorted = BinaryHeap::from_iter(names.zip(0usize..)).into_sorted_vec();
    let mut first = vec![true; sorted.len()];
    for pair in sorted.windows(2) {
        if pair[0].0 == pair[1].0 {
            first[pair[1].1] = false;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::first_of_each;

    #[test]
    fn the_first_entry_of_each_name_is_marked() {
        let names = ["b", "a", "b", "", "a", "b", "c"];
        assert_eq!(
            first_of_each(names.into_iter()),
            [true, true, false, true, false, false, true]
        );
        assert_eq!(first_of_each(core::iter::empty()), []);
    }
}
