//! The header is what the sources say, and says everything.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The files of `src/ffi/c`, in the order in which their parts stand in the header.
const FILES: [&str; 30] = [
    "version",
    "status",
    "error",
    "bytes",
    "callback",
    "enums",
    "signer",
    "chain",
    "log",
    "config",
    "source",
    "election",
    "keys",
    "key_set",
    "descriptor",
    "proposal",
    "psbt",
    "group",
    "psbt_signer",
    "terms",
    "summary",
    "session",
    "session_status",
    "event",
    "start",
    "node",
    "wallet",
    "delivery",
    "metrics",
    "reputation",
];

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("include/cbindgen.toml")).expect("is valid");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(root().join(format!("src/ffi/c/{file}.rs")));
    }
    let mut bytes = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut bytes);
    // Functions for tests are not part of the promise.
    let text = String::from_utf8(bytes).expect("is text");
    let functions = parse(&text);
    match functions.iter().find(|function| function.name == "musig_test_panic") {
        Some(hook) => text.replace(&format!("{}\n\n", hook.text), ""),
        None => text,
    }
}

/// A parameter of a C function.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub kind: String,
    pub name: String,
}

impl Parameter {
    pub fn is_pointer(&self) -> bool {
        self.kind.ends_with('*')
    }
}

/// A function as the header declares it.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    /// Whether compilers warn if the result is ignored.
    pub must_use: bool,
    pub returns: String,
    pub parameters: Vec<Parameter>,
    pub documentation: String,
    /// Everything, with the comment before it.
    pub text: String,
}

impl Function {
    /// What the documentation says about a parameter.
    pub fn about(&self, parameter: &str) -> Option<String> {
        let mut lines = self.documentation.lines();
        let mark = format!("{parameter}: ");
        let first = lines.find(|line| {
            let line = line.trim_start_matches("Out:").trim_start_matches("In:").trim_start();
            line.starts_with(&mark)
        })?;
        let mut text = first.to_owned();
        for line in lines.take_while(|line| line.starts_with("         ")) {
            let line = line.trim_start();
            let names = line
                .split_once(": ")
                .is_some_and(|(name, _)| self.parameters.iter().any(|parameter| parameter.name == name));
            if names {
                break;
            }
            text += " ";
            text += line;
        }
        Some(text)
    }
}

/// Takes the functions out of the header.
pub fn parse(header: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut rest = header;
    while let Some(end) = rest.find(");\n") {
        let declared = &rest[..end + 2];
        let whole = declared.rfind("/**").map_or(declared, |start| &declared[start..]);
        rest = &rest[end + 3..];
        let Some((comment, declaration)) = whole.split_once("*/\n") else { continue };
        let declaration = declaration.trim();
        let Some((head, parameters)) = declaration.split_once('(') else { continue };
        if !head.contains("musig_") || head.starts_with("typedef") || declaration.contains("(*") {
            continue;
        }
        let split = head.rfind("musig_").expect("was looked for");
        // A type may contain the prefix too: the name is the last word.
        let name_at = head.rfind([' ', '*']).map_or(split, |position| position + 1);
        let parameters = parameters.trim_end_matches(");").trim();
        let parameters = if parameters == "void" || parameters.is_empty() {
            Vec::new()
        } else {
            parameters.split(',').map(|text| parameter(text.trim())).collect()
        };
        functions.push(Function {
            name: head[name_at..].to_owned(),
            must_use: head.contains("MUSIG_MUST_USE"),
            returns: head[..name_at].replace("MUSIG_MUST_USE", "").trim().to_owned(),
            parameters,
            documentation: comment
                .lines()
                .skip(1)
                .map(|line| {
                    line.trim_start().trim_start_matches('*').strip_prefix(' ').unwrap_or("").to_owned()
                })
                .collect::<Vec<_>>()
                .join("\n"),
            text: whole.to_owned(),
        });
    }
    functions
}

fn parameter(text: &str) -> Parameter {
    let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
    let kind = text[..at].trim().replace("struct ", "").replace(" *", "*").replace("* *", "**");
    Parameter { kind, name: text[at..].to_owned() }
}

/// The functions of the committed header.
pub fn functions() -> Vec<Function> {
    parse(&read("include/musig.h"))
}

#[test]
fn the_committed_header_is_generated() {
    let generated = generate();
    let path = root().join("include/musig.h");
    if std::env::var_os("MUSIG_UPDATE").is_some() {
        fs::write(&path, &generated).expect("can be written");
        let mut names: Vec<String> = parse(&generated).into_iter().map(|function| function.name).collect();
        names.sort();
        fs::write(root().join("include/musig.symbols"), names.join("\n") + "\n").expect("can be written");
    }
    assert!(
        generated == read("include/musig.h"),
        "include/musig.h is not what src/ffi/c says; run this test once with MUSIG_UPDATE=1, and look at the difference"
    );
}

#[test]
fn every_function_is_named_in_the_symbols_and_in_the_sources() {
    let header: BTreeSet<String> = functions().into_iter().map(|function| function.name).collect();
    let symbols: BTreeSet<String> = read("include/musig.symbols").lines().map(str::to_owned).collect();
    assert_eq!(header, symbols);
    let mut sources = BTreeSet::new();
    for file in FILES {
        for line in read(&format!("src/ffi/c/{file}.rs")).lines() {
            if let Some((_, rest)) = line.split_once("extern \"C\" fn musig_") {
                let name = rest.split('(').next().expect("a name");
                sources.insert(format!("musig_{name}"));
            }
        }
    }
    sources.remove("musig_test_panic");
    assert_eq!(header, sources);
    assert!(header.len() > 100);
}

/// One block of a function's documentation: `Out:      out: the node.`
#[derive(Debug, PartialEq)]
struct Block {
    name: String,
    text: String,
}

/// The names of the blocks. `In` and `Out` alternate, in the order of the prototype.
const BLOCKS: [&str; 5] = ["Returns", "In", "Out", "Threads", "Blocks"];

/// What holds for every function that does not say otherwise: the preamble has it once.
const DEFAULTS: [&str; 3] = [
    "Threads: any, inside callbacks too.",
    "Blocks:  never.",
    "error:   why the call failed; always written, NULL on success; may be NULL.",
];

/// The paragraphs before the blocks, and the blocks. Lines of a block after its first are indented.
fn blocks(documentation: &str) -> (Vec<String>, Vec<Block>) {
    let (mut before, mut blocks) = (vec![String::new()], Vec::<Block>::new());
    for line in documentation.lines() {
        let begins = line.split_once(':').filter(|(name, _)| BLOCKS.contains(name));
        if let Some((name, text)) = begins {
            blocks.push(Block { name: name.into(), text: text.trim().into() });
        } else if let Some(block) = blocks.last_mut() {
            block.text += "\n";
            block.text += line.trim();
        } else if line.is_empty() {
            before.push(String::new());
        } else if let Some(paragraph) = before.last_mut() {
            *paragraph += line;
            *paragraph += " ";
        }
    }
    before.retain(|paragraph| !paragraph.is_empty());
    (before, blocks)
}

/// Whether the last parameter takes an error.
fn is_fallible(function: &Function) -> bool {
    function.parameters.last().is_some_and(|parameter| parameter.kind == "musig_error**")
}

/// `In` or `Out` with its parameters, one after the other as in the prototype; the error is the preamble's.
fn runs(function: &Function) -> Vec<(&'static str, Vec<String>)> {
    let mut runs: Vec<(&str, Vec<String>)> = Vec::new();
    for parameter in function.parameters.iter().filter(|parameter| parameter.kind != "musig_error**") {
        let block = if is_out(parameter) { "Out" } else { "In" };
        match runs.last_mut().filter(|(name, _)| *name == block) {
            Some((_, names)) => names.push(parameter.name.clone()),
            None => runs.push((block, vec![parameter.name.clone()])),
        }
    }
    runs
}

/// What the function's body waits for, which `Blocks` has to say.
fn waits(name: &str) -> bool {
    const WAITS: [&str; 12] = [
        ".wait()",
        ".lock();",
        "?.unlock(",
        "?.is_locked(",
        "?.add_key(",
        "?.add_xprv(",
        "?.holds(",
        "SignerCard::new(",
        "next_event_within(",
        "parts.stop()",
        "start_with(",
        "inject_panic",
    ];
    let mark = format!("extern \"C\" fn {name}(");
    let source = FILES.iter().map(|file| read(&format!("src/ffi/c/{file}.rs"))).find(|t| t.contains(&mark));
    let source = source.expect("every function is in the sources");
    let start = source.find(&mark).expect("was looked for");
    let body = &source[start..start + source[start..].find("\n}\n").expect("a body ends")];
    let own_lock = ["proposal.lock()", "key_set.lock()"].iter().any(|lock| body.contains(lock));
    WAITS.iter().any(|wait| body.contains(wait)) && !own_lock
}

/// What the documentation of a function lacks.
fn problems(function: &Function) -> Vec<String> {
    let mut problems = Vec::new();
    let (paragraphs, blocks) = blocks(&function.documentation);
    let first = paragraphs.first().map_or("", |text| text.trim());
    // One sentence, which says what the function does: "Gets …", "Makes …".
    let inside = first.trim_end_matches('.').matches(". ").count();
    let verb = first.split(' ').next().unwrap_or("").trim_end_matches(',');
    if !first.ends_with('.') || inside > 0 || !verb.ends_with('s') || !verb.starts_with(char::is_uppercase) {
        problems.push(format!("does not begin with one sentence that says what it does: {first}"));
    }
    let text = |name: &str| blocks.iter().find(|block| block.name == name).map(|block| block.text.as_str());
    let names: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
    let runs = runs(function);
    let mut wanted: Vec<&str> = runs.iter().map(|(name, _)| *name).collect();
    if function.returns != "void" {
        wanted.insert(0, "Returns");
    }
    // The exceptions to the preamble's defaults: there if they have to be, and never a default repeated.
    const THREADS: [&str; 2] = ["musig_node_stop", "musig_node_next_event"];
    wanted.extend(THREADS.contains(&function.name.as_str()).then_some("Threads"));
    wanted.extend(waits(&function.name).then_some("Blocks"));
    if names != wanted {
        problems.push(format!("has the blocks {names:?}, not {wanted:?}"));
    }
    for (name, default) in [("Threads", "any, inside callbacks too."), ("Blocks", "never.")] {
        if text(name).is_some_and(|text| text == default) {
            problems.push(format!("repeats the default of {name}"));
        }
    }
    if blocks.iter().any(|block| block.text.is_empty() || !block.text.ends_with('.')) {
        problems.push("has a block that is no sentence".into());
    }
    let described = blocks.iter().filter(|block| block.name == "In" || block.name == "Out");
    for (block, (_, all)) in described.zip(&runs) {
        let explained: Vec<&str> = block
            .text
            .lines()
            .filter_map(|line| {
                let (name, words) = line.split_once(": ")?;
                let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                (plain && words.len() > 3).then_some(name)
            })
            .collect();
        if explained != *all {
            problems.push(format!("explains {explained:?} under {}, not {all:?}", block.name));
        }
    }
    problems.extend(unit_problems(function));
    if function.returns == "musig_status" && function.name != "musig_error_status" {
        let statuses = text("Returns").unwrap_or("");
        if !statuses.starts_with("MUSIG_STATUS_") {
            problems.push("does not say which statuses it returns".into());
        }
        let known = read("include/musig.h");
        for word in statuses.split(|c: char| !c.is_ascii_uppercase() && c != '_') {
            if word.starts_with("MUSIG_STATUS_") && !known.contains(&format!("  {word} = ")) {
                problems.push(format!("returns {word}, which does not exist"));
            }
        }
    }
    problems
}

/// A length is in bytes and says so, a count is a number of things, and so is the room for them.
fn unit_problems(function: &Function) -> Vec<String> {
    let sizes =
        function.parameters.iter().filter(|parameter| parameter.kind.trim_end_matches('*') == "size_t");
    sizes
        .filter_map(|parameter| {
            let name = parameter.name.as_str();
            let about = function.about(name).unwrap_or_default();
            let fits = match name.rsplit('_').next() {
                Some("length") => about.contains("bytes"),
                Some("count") => about.contains("number of") && !about.contains("in bytes"),
                Some("capacity") => about.contains("room in out"),
                _ => false,
            };
            (!fits).then(|| format!("does not say, or not in its name, what {name} counts: {about}"))
        })
        .collect()
}

/// Whether the function writes there.
fn is_out(parameter: &Parameter) -> bool {
    let handed = parameter.kind.trim_end_matches('*').trim_start_matches("const ");
    let pointers = parameter.kind.matches('*').count();
    let plain =
        ["uint8_t", "uint32_t", "uint64_t", "int32_t", "size_t", "musig_derivation"].contains(&handed);
    // `const T *const *` is an array of what is read.
    pointers == 2 && !parameter.kind.ends_with("*const*")
        || pointers == 1
            && !parameter.kind.starts_with("const ")
            && handed != "void"
            && (plain || parameter.name == "out")
}

#[test]
fn every_function_and_parameter_is_explained() {
    let all: Vec<String> = functions()
        .iter()
        .flat_map(|function| {
            problems(function).into_iter().map(|text| format!("{} {text}", function.name)).collect::<Vec<_>>()
        })
        .collect();
    assert!(all.is_empty(), "{all:#?}");
}

/// Takes each block, and each parameter's explanation, away from each function: that must be noticed.
#[test]
fn a_description_that_lacks_or_repeats_something_is_refused() {
    let mut taken = 0;
    for mut function in functions() {
        let whole = function.documentation.clone();
        let lines: Vec<&str> = whole.lines().collect();
        let begins = |line: &str| {
            let line = BLOCKS.iter().fold(line, |line, name| {
                line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).unwrap_or(line)
            });
            let word = line.trim().split_once(": ").map_or("", |(name, _)| name);
            function.parameters.iter().any(|parameter| parameter.name == word)
        };
        let is_block = |line: &str| BLOCKS.iter().any(|name| line.starts_with(&format!("{name}:")));
        for (index, line) in lines.iter().enumerate() {
            let mut rest = lines.clone();
            if index == 0 {
                rest.drain(..lines.iter().position(|line| is_block(line)).unwrap_or(lines.len()));
            } else if begins(line) || is_block(line) {
                rest.remove(index);
            } else {
                continue;
            }
            function.documentation = rest.join("\n");
            assert!(!problems(&function).is_empty(), "{} without: {line}", function.name);
            taken += 1;
        }
        // A default is not repeated, and parameters do not change places.
        for more in ["Threads: any, inside callbacks too.", "Blocks:  never."] {
            function.documentation = format!("{whole}\n{more}");
            assert!(!problems(&function).is_empty(), "{} with: {more}", function.name);
        }
        if function.parameters.len() > 2 {
            function.documentation = whole.clone();
            function.parameters.swap(0, 1);
            assert!(!problems(&function).is_empty(), "{} with its parameters swapped", function.name);
        }
    }
    assert!(taken > 500, "{taken}");
}

#[test]
fn the_version_is_the_one_of_the_package() {
    let header = read("include/musig.h");
    let number = |name: &str| -> u32 {
        let mark = format!("#define {name} ");
        let line =
            header.lines().find_map(|line| line.strip_prefix(&mark)).unwrap_or_else(|| panic!("{name}"));
        line.parse().expect("a number")
    };
    let package: Vec<u32> =
        env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().expect("a number")).collect();
    assert_eq!(number("MUSIG_VERSION_MAJOR"), package[0]);
    assert_eq!(number("MUSIG_VERSION_MINOR"), package[1]);
    assert_eq!(number("MUSIG_VERSION_PATCH"), package[2]);
    assert_eq!(number("MUSIG_VERSION_NUMBER"), package[0] * 1_000_000 + package[1] * 1_000 + package[2]);
}

/// The modules of `src/ffi/c` that a file names.
fn imports(file: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let text = read(&format!("src/ffi/c/{file}.rs"));
    // What its tests import is not what it is made of.
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    let mut found = BTreeSet::new();
    for mark in ["super::", "crate::ffi::c::"] {
        for (position, _) in text.match_indices(mark) {
            let name = text[position + mark.len()..].split(|c: char| !c.is_ascii_lowercase() && c != '_');
            found.extend(
                name.take(1).filter(|name| modules.contains(*name) && *name != file).map(str::to_owned),
            );
        }
    }
    found
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let folder = fs::read_dir(root().join("src/ffi/c")).expect("can be read");
    let names = folder.map(|entry| entry.expect("can be read").file_name().to_string_lossy().into_owned());
    let modules: BTreeSet<String> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    let mut left: Vec<(String, BTreeSet<String>)> = modules
        .iter()
        .filter(|name| !["mod", "codes"].contains(&name.as_str()))
        .map(|name| (name.clone(), imports(name, &modules)))
        .collect();
    assert!(left.iter().any(|(name, imports)| name == "config" && imports.contains("settings")));
    // Take away whatever imports only what is gone; a circle stays.
    while let Some(index) =
        left.iter().position(|(_, imports)| imports.iter().all(|name| !left.iter().any(|(n, _)| n == name)))
    {
        left.remove(index);
    }
    assert!(left.is_empty(), "these import each other: {left:#?}");
}

#[test]
fn the_preamble_has_the_defaults() {
    let header = read("include/musig.h");
    let preamble = header.split("*/").next().expect("a preamble").replace("\n * ", "\n");
    for default in DEFAULTS {
        assert!(preamble.contains(default), "{default}");
    }
    // It says what may wait, beside those that say so themselves.
    let exceptions = functions().iter().filter(|function| function.documentation.contains("Blocks:")).count();
    assert!(exceptions > 30 && exceptions < functions().len() / 2, "{exceptions}");
}

/// A status that says whether out-parameters were written, whose user_data it is, or whether something was agreed to must
/// not be ignored.
#[test]
fn a_result_whose_loss_matters_must_be_used() {
    const MAY_BE_IGNORED: [&str; 6] = [
        // It comes again, or the node goes on as before.
        "musig_node_event_handled",
        "musig_node_redeliver",
        "musig_node_announce",
        "musig_node_network_changed",
        "musig_node_request_stop",
        "musig_session_close",
    ];
    for function in functions() {
        let wanted = is_fallible(&function) && !MAY_BE_IGNORED.contains(&function.name.as_str());
        assert_eq!(function.must_use, wanted, "{}", function.name);
    }
}

#[test]
fn the_headers_compile_without_a_warning_in_strict_projects() {
    let folder = crate::programs::scratch("strict");
    let common =
        "-pedantic -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wundef";
    let cpp = "-Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual";
    for (compiler, file, standards, more) in [
        ("cc", "strict.c", ["c99", "c11", "c17"], "-Wstrict-prototypes"),
        ("c++", "strict.cpp", ["c++17", "c++17", "c++20"], cpp),
    ] {
        let header = if compiler == "cc" { "musig.h" } else { "musig.hpp" };
        fs::write(folder.join(file), format!("#include <{header}>\n")).expect("can be written");
        for standard in standards {
            let mut command = std::process::Command::new(compiler);
            command
                .arg(format!("-std={standard}"))
                .arg("-fsyntax-only")
                .arg("-I")
                .arg(root().join("include"));
            command.args(common.split(' ')).args(more.split(' ')).arg(folder.join(file));
            crate::programs::run(&mut command);
        }
    }
}
