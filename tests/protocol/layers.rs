//! The protocol is the lowest layer, and inside of it no two files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers above the protocol.
const LAYERS: [&str; 7] = ["node", "net", "store", "chain", "event", "ffi", "signer"];
/// Crates that only they use.
const CRATES: [&str; 4] = ["tokio", "libp2p", "redb", "uniffi"];

/// The code of a file: without comments, and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Each path that a tree of a `use` declaration names.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().to_owned()];
    };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').expect("braces are balanced")]);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().expect("never empty").push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(part)).map(|path| format!("{prefix}{path}")).collect()
}

/// The paths that code names: in its declarations at the top level, and in the middle of it.
fn named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    let mut rest = code;
    while let Some(start) = ["\nuse ", "\npub use ", "\npub(super) use "]
        .iter()
        .filter_map(|word| rest.find(word).map(|at| at + word.len()))
        .min()
    {
        rest = &rest[start..];
        let end = rest.find(';').expect("a declaration ends");
        named.extend(paths(&rest[..end]));
        rest = &rest[end..];
    }
    let separators = |letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':');
    // Inside of a nested module `super` is this file.
    let relative = |word: &str| word.starts_with("super::") || word.starts_with("self::");
    let in_full = code.split(separators).filter(|word| word.contains("::") && !relative(word));
    named.extend(in_full.map(str::to_owned));
    named
}

/// The files of a module tree, by the path of their module.
fn modules(root: &Path) -> BTreeMap<Vec<String>, (PathBuf, String)> {
    let mut modules = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).expect("it is inside").with_extension("");
                let mut module: Vec<String> =
                    relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                match module.last().map(String::as_str) {
                    Some("mod") => drop(module.pop()),
                    // Declared with its path.
                    Some("musig.v1") => *module.last_mut().expect("there is one") = "pb".to_owned(),
                    _ => {}
                }
                let text = fs::read_to_string(&path).expect("can be read");
                modules.insert(module, (path, code(&text)));
            }
        }
    }
    modules
}

type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Which modules each module imports; `layer` is the path of the root in the crate.
fn imports(modules: &BTreeMap<Vec<String>, (PathBuf, String)>, layer: &str) -> Imports {
    let mut imports = Imports::new();
    for (module, (_, code)) in modules {
        for path in named(code) {
            let mut parts: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
            let mut base = module.clone();
            match parts[0].as_str() {
                "crate" if parts.get(1).is_some_and(|part| part == layer) => {
                    base.clear();
                    parts.drain(..2);
                }
                "crate" => continue,
                "self" => drop(parts.remove(0)),
                "super" => {
                    while parts.first().is_some_and(|part| part == "super") {
                        base.pop();
                        parts.remove(0);
                    }
                }
                // A child named without `self`; anything else is another crate.
                child if modules.contains_key(&[&base[..], &[child.to_owned()]].concat()) => {}
                _ => continue,
            }
            if parts.is_empty() {
                continue;
            }
            base.extend(parts);
            while !modules.contains_key(&base) && base.pop().is_some() {}
            if base != *module {
                imports.entry(module.clone()).or_default().insert(base);
            }
        }
    }
    imports
}

/// The modules of a circle, in order.
fn circle(imports: &Imports) -> Option<Vec<Vec<String>>> {
    fn visit(
        module: &Vec<String>,
        imports: &Imports,
        way: &mut Vec<Vec<String>>,
        done: &mut BTreeSet<Vec<String>>,
    ) -> bool {
        if let Some(start) = way.iter().position(|on_it| on_it == module) {
            way.drain(..start);
            return true;
        }
        if !done.contains(module) {
            way.push(module.clone());
            if imports.get(module).into_iter().flatten().any(|next| visit(next, imports, way, done)) {
                return true;
            }
            way.pop();
            done.insert(module.clone());
        }
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    imports.keys().any(|module| visit(module, imports, &mut way, &mut done)).then_some(way)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol")
}

#[test]
fn no_file_of_the_protocol_names_a_layer_above_it() {
    for (path, code) in modules(&root()).values() {
        for name in named(code) {
            let parts: Vec<&str> = name.split("::").collect();
            let above = match parts[..] {
                ["crate", layer, ..] => LAYERS.contains(&layer),
                [first, ..] => CRATES.contains(&first),
                [] => false,
            };
            assert!(!above, "{} names {name}", path.display());
        }
    }
}

#[test]
fn no_files_of_the_protocol_import_each_other_in_a_circle() {
    let imports = imports(&modules(&root()), "protocol");
    assert!(imports.len() > 30, "{} files import others", imports.len());
    assert_eq!(circle(&imports), None);
}

#[test]
fn a_session_has_methods_in_one_file_alone() {
    let session = modules(&root().join("session"));
    let with_methods = session.values().filter(|(_, code)| code.contains("\nimpl Session {"));
    let files: Vec<_> = with_methods.map(|(path, _)| path.file_name().expect("a file")).collect();
    assert_eq!(files, ["mod.rs"]);
}

#[test]
fn a_circle_through_a_parent_a_sibling_and_a_full_path_is_found() {
    let files = [
        ("a", "\nuse super::b::{C, d as e};\n"),
        ("b", "\nfn f() { crate::layer::c::g() }\n"),
        ("c", "\nuse crate::layer::{\n    other::{H, I},\n    a,\n};\n"),
        ("other", "\nuse other_crate::a;\n"),
    ];
    let module = |name: &str| vec![name.to_owned()];
    let modules: BTreeMap<_, _> =
        files.iter().map(|(name, code)| (module(name), (PathBuf::from(name), (*code).to_owned()))).collect();
    let mut imports = imports(&modules, "layer");
    assert_eq!(circle(&imports), Some(vec![module("a"), module("b"), module("c")]));
    imports.remove(&module("b"));
    assert_eq!(circle(&imports), None);
}
