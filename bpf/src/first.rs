//! Finds duplicates in a list from outside without comparing every entry with every other.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;

/// For each entry, whether it is the first of its name. Takes n log n steps.
pub fn first_of_each<'a>(names: impl Iterator<Item = &'a str>) -> Vec<bool> {
    // The standard sorts are made for speed, and 5 KB each.
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
