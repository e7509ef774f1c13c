//! The corpora of the fuzz targets, replayed: what was found once stays found.

use std::path::Path;

use test_support::fuzz::seeds::seeds;
use test_support::fuzz::{TARGETS, run};

#[test]
fn the_corpora_break_no_promise() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (target, _) in TARGETS.iter() {
        let folder = corpora.join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut paths: Vec<_> = files.map(|file| file.expect("can be listed").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{target} has no corpus");
        for path in paths {
            let bytes = std::fs::read(&path).expect("can be read");
            let result = std::panic::catch_unwind(|| run(target, &bytes));
            assert!(result.is_ok(), "{target} fails on {path:?}");
        }
    }
}

#[test]
fn the_seeds_are_what_the_program_makes() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (target, name, bytes) in seeds() {
        let path = corpora.join(target).join(name);
        if std::env::var_os("MUSIG_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("can be made");
            std::fs::write(&path, &bytes).expect("can be written");
        }
        let committed = std::fs::read(&path).unwrap_or_default();
        assert!(committed == bytes, "{path:?} is old: run this test once with MUSIG_BLESS=1");
    }
}
