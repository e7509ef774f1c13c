//! The tests that docs/security.md names exist.

use std::path::Path;

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/security.md")).expect("it is there");
    let mut named = 0;
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.contains("::")) {
        let (binary, path) = name.split_once('/').unwrap_or_else(|| panic!("{name}: of which binary?"));
        let mut parts: Vec<&str> = path.split("::").collect();
        let test = parts.pop().expect("has parts");
        // A module is a folder, a file, or inside a file.
        let mut file = root.join("tests").join(binary);
        let mut inside = parts.iter();
        for part in inside.by_ref() {
            file.push(part);
            if file.with_extension("rs").is_file() {
                break;
            }
        }
        let path = file.with_extension("rs");
        let code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {path:?}: {error}"));
        let module = |part: &&str| code.contains(&format!("mod {part} {{"));
        assert!(inside.as_slice().iter().all(module), "{name}: no such module in {path:?}");
        assert!(is_test(&code, test), "{name} is no test");
        named += 1;
    }
    assert!(named > 50, "{named}");
}

/// Whether the code has a test of this name: a function, or a row of a table that makes tests.
fn is_test(code: &str, test: &str) -> bool {
    if let Some((_, rows)) = code.split_once("\nfaults! {\n") {
        let (rows, _) = rows.split_once("\n}\n").expect("the table ends");
        if rows.lines().any(|row| row.trim_start().starts_with(&format!("{test}:"))) {
            return true;
        }
    }
    let Some(at) = code.find(&format!("fn {test}(")) else { return false };
    let attributes = code[..at].rsplit("\n\n").next().expect("a part");
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}
