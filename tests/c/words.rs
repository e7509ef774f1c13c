//! The words of errors for C.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::header::{read, root};

/// Rust's calls, and C's, that `src/ffi/c/words.rs` translates.
fn calls() -> Vec<(String, String)> {
    let text = read("src/ffi/c/words.rs");
    let start = text.find("const CALLS").expect("the list");
    let end = start + text[start..].find("];").expect("its end");
    let quoted: Vec<&str> = text[start..end].split('"').skip(1).step_by(2).collect();
    quoted.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn sources(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("can be read") {
        let path = entry.expect("can be read").path();
        if path.is_dir() {
            if !path.ends_with("ffi") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The calls that the texts of a file name: `stop()` inside of quotes, in lines that are neither comments nor attributes
/// for the compiler.
fn named_calls(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in
        text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.contains("must_use"))
    {
        for quoted in line.split('"').skip(1).step_by(2) {
            for (position, _) in quoted.match_indices("()") {
                let before = &quoted[..position];
                let from = before
                    .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .map_or(0, |position| position + 1);
                if !before[from..].is_empty() {
                    found.insert(before[from..].to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn every_call_that_an_error_names_has_a_name_in_c() {
    let calls = calls();
    assert!(calls.len() > 20);
    let symbols = read("include/musig.symbols");
    for (_, function) in &calls {
        assert!(symbols.lines().any(|symbol| symbol == function), "{function} is no function of C");
    }
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let texts: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("can be read")).collect();
    let mut named: BTreeSet<String> = texts.iter().flat_map(|text| named_calls(text)).collect();
    // Descriptors have brackets too: a call is a public function's.
    named.retain(|name| texts.iter().any(|text| text.contains(&format!("pub fn {name}("))));
    assert!(named.contains("signer"), "the reading finds what is there: {named:?}");
    let unknown: Vec<&String> =
        named.iter().filter(|name| !calls.iter().any(|(rust, _)| rust == *name)).collect();
    assert!(unknown.is_empty(), "src/ffi/c/words.rs has no function of C for {unknown:?}");
}
