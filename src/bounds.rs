//! Tests the length limits of files and functions, in the sources of all packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;
use syn::spanned::Spanned;
use syn::visit::{Visit, visit_impl_item_fn, visit_item_fn, visit_signature};
use syn::{Block, Expr, ImplItemFn, ItemFn, Signature, Stmt};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 70;
const PARAMETERS: usize = 5;
/// A long function may be one flat `match`, whose arms are no longer than this.
const LINES_OF_AN_ARM: usize = 10;

/// Every Rust source file below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() && !path.ends_with("target") => sources(&path, found),
            Some(extension) if extension == "rs" => found.push(path),
            _ => {}
        }
    }
}

fn lines(of: &impl Spanned) -> usize {
    let span = of.span();
    span.end().line - span.start().line + 1
}

/// Whether a body ends with a `match` of short arms and has little before it.
fn is_flat_match(body: &Block) -> bool {
    let Some((Stmt::Expr(Expr::Match(whole), None), before)) = body.stmts.split_last() else {
        return false;
    };
    before.iter().map(lines).sum::<usize>() <= LINES_OF_AN_ARM
        && whole.arms.iter().all(|arm| lines(arm) <= LINES_OF_AN_ARM)
}

/// The limits that one file exceeds.
struct Beyond(Vec<String>);

impl Visit<'_> for Beyond {
    fn visit_signature(&mut self, signature: &Signature) {
        if signature.inputs.len() > PARAMETERS {
            let (name, count) = (&signature.ident, signature.inputs.len());
            self.0.push(format!("{name}: {count} parameters"));
        }
        visit_signature(self, signature);
    }

    fn visit_item_fn(&mut self, function: &ItemFn) {
        self.length(&function.sig, &function.block);
        visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        self.length(&function.sig, &function.block);
        visit_impl_item_fn(self, function);
    }
}

impl Beyond {
    fn length(&mut self, signature: &Signature, body: &Block) {
        let lines = body.span().end().line - signature.span().start().line + 1;
        if lines > LINES_OF_A_FUNCTION && !is_flat_match(body) {
            self.0.push(format!("{}: {lines} lines", signature.ident));
        }
    }
}

/// Returns the limits that the file exceeds.
fn beyond(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut beyond = Beyond(Vec::new());
    let count = text.lines().count();
    if count > LINES_OF_A_FILE {
        beyond.0.push(format!("{count} lines"));
    }
    beyond.visit_file(&syn::parse_file(&text).unwrap());
    beyond.0
}

#[test]
fn files_and_functions_keep_their_bounds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in ["src", "syscalls", "bpf", "tests", "benches"] {
        sources(&root.join(directory), &mut found);
    }
    let mut wrong = Vec::new();
    for path in found {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let beyond = beyond(&path);
        wrong.extend(beyond.iter().map(|what| format!("{name}: {what}")));
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
