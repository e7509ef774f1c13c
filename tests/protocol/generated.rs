//! The committed encoding is what the schema gives.

use std::path::Path;

#[test]
fn the_generated_code_is_that_of_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/wire");
    let schema = protox::compile([folder.join("musig.proto")], [&folder]).expect("the schema is valid");
    let out = tempfile::tempdir().expect("a directory");
    let mut config = prost_build::Config::new();
    config.out_dir(out.path());
    config.compile_fds(schema).expect("the schema can be generated");
    let read = |path: &Path| std::fs::read_to_string(path).expect("is there");
    let expected = read(&out.path().join("musig.v1.rs"));
    let committed = folder.join("musig.v1.rs");
    if std::env::var_os("MUSIG_BLESS").is_some() {
        std::fs::write(&committed, &expected).expect("can be written");
    }
    assert!(read(&committed) == expected, "musig.v1.rs is old: run this test once with MUSIG_BLESS=1");
}
