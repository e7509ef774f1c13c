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
        let (test, file) = (parts.pop().expect("has parts"), parts.remove(0));
        let path = root.join("tests").join(binary).join(file).with_extension("rs");
        let code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {path:?}: {error}"));
        let function = format!("fn {test}(");
        let module = |part: &&str| code.contains(&format!("mod {part} {{"));
        assert!(parts.iter().all(module), "{name}: no such module in {path:?}");
        let before =
            code.find(&function).map(|at| &code[..at]).unwrap_or_else(|| panic!("{name} is no test"));
        let attributes = before.rsplit("\n\n").next().expect("a part");
        assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{name} is no test");
        named += 1;
    }
    assert!(named > 50, "{named}");
}
