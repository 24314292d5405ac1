//! Golden files: expected output, kept under golden/, so that every change of it shows in a diff.
//! `UPDATE_GOLDEN=1` writes the output to the file instead of comparing it.

use std::fs;
use std::path::Path;

#[track_caller]
pub fn compare(path: &str, got: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        return fs::write(path, got).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    if got == expected {
        return;
    }
    let (mut got_lines, mut expected_lines) = (got.lines(), expected.lines());
    let mut number = 0;
    loop {
        number += 1;
        let (got, expected) = (got_lines.next(), expected_lines.next());
        assert!(
            got == expected,
            "{path}:{number}:\nexpected {expected:?}\nfound    {got:?}"
        );
    }
}
