//! What released versions wrote, `tests/fixtures/VERSION/`, and what this one would write as its own: stores, exports,
//! recorded frames. The current version opens all of it. `tests/fixtures/make.sh` has this test write a fixture.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use libmusig::protocol::envelope::Envelope;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::wire::{self, pb};
use libmusig::store::Entry;
use libmusig::types::to_hex;

use test_support::fuzz::seeds::seeds;
use test_support::records::{COMMITTED, parse};

use super::records::{SCENES, engine_over, play};

fn write(folder: &Path) {
    let (mut exports, mut frames) = (String::new(), String::new());
    for scene in &SCENES {
        if let Some(export) = play(scene).export {
            writeln!(exports, "[{}]\n{} = {}", scene.name, to_hex(b"export"), to_hex(&export))
                .expect("a string");
        }
    }
    for target in ["envelope", "frame", "proposal"] {
        writeln!(frames, "[{target}]").expect("a string");
        for (_, name, bytes) in seeds().into_iter().filter(|seed| seed.0 == target) {
            // The first byte of a frame's seed is the fuzzer's.
            let bytes = &bytes[usize::from(target == "frame")..];
            writeln!(frames, "{} = {}", to_hex(name.as_bytes()), to_hex(bytes)).expect("a string");
        }
    }
    fs::create_dir_all(folder).expect("can be made");
    for (name, text) in [("records", COMMITTED), ("exports", &exports), ("frames", &frames)] {
        fs::write(folder.join(name).with_extension("txt"), text).expect("can be written");
    }
}

fn read(folder: &Path, name: &str) -> BTreeMap<String, Vec<Entry>> {
    let path = folder.join(name).with_extension("txt");
    parse(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
}

fn open(folder: &Path) {
    let scene =
        |name: &str| SCENES.iter().find(|scene| scene.name == name).expect("a scene is never taken away");
    let (stores, exports) = (read(folder, "records"), read(folder, "exports"));
    assert!(!stores.is_empty(), "{folder:?} has no stores");
    for (name, entries) in stores {
        let scene = scene(&name);
        let (mut engine, now, contents) = engine_over(scene.node, entries);
        let sessions: Vec<_> = contents.sessions.keys().collect();
        let phases = sessions.iter().map(|id| engine.status(id, now).expect("it was loaded").phase);
        assert_eq!(phases.collect::<Vec<_>>(), Vec::from_iter(scene.phase), "{folder:?}: {name}");
        // Everything that is said to others was read, and is said as it was.
        let export = sessions.first().and_then(|id| engine.export(id));
        assert_eq!(export.as_ref(), exports.get(&name).map(|lines| &lines[0].1), "{folder:?}: {name}");
    }
    assert!(!exports.is_empty(), "{folder:?} has no exports");
    for (name, export) in exports {
        // The next signer has nothing yet.
        let (mut engine, now, _) = engine_over((scene(&name).node + 1) % 3, Vec::new());
        let imported =
            engine.import(&export[0].1, now).unwrap_or_else(|error| panic!("{folder:?}: {name}: {error}"));
        assert_eq!(imported.len(), 1, "{folder:?}: {name}");
        assert!(engine.status(&imported[0], now).is_some(), "{folder:?}: {name}");
    }
    let mut frames = read(folder, "frames");
    let mut each = |target: &str, check: &dyn Fn(&[u8]) -> bool| {
        let recorded = frames.remove(target).unwrap_or_default();
        assert!(!recorded.is_empty(), "{folder:?} has no {target}");
        for (name, bytes) in recorded {
            assert!(check(&bytes), "{folder:?}: {target} {}", String::from_utf8_lossy(&name));
        }
    };
    each("envelope", &|bytes| Envelope::decode(bytes).is_ok());
    each("proposal", &|bytes| Proposal::decode(bytes).is_ok());
    each("frame", &|bytes| {
        let frame = wire::decode_within::<pb::Frame>(bytes, "it", limits::FRAME);
        frame.is_ok_and(|frame| frame.envelopes.iter().all(|bytes| Envelope::decode(bytes).is_ok()))
    });
}

#[test]
fn fixtures_open() {
    if let Some(folder) = std::env::var_os("MUSIG_FIXTURE") {
        write(Path::new(&folder));
    }
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixture");
    write(&own);
    let committed =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).expect("is there");
    let mut folders: Vec<PathBuf> = committed.map(|entry| entry.expect("can be listed").path()).collect();
    folders.retain(|path| path.is_dir());
    folders.push(own);
    folders.iter().for_each(|folder| open(folder));
}
