//! The header is what the sources say, and says everything.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The files of `src/ffi/c`, in the order in which their parts stand in the header.
const FILES: [&str; 15] = [
    "version", "status", "error", "bytes", "callback", "signer", "chain", "log", "config", "network",
    "election", "proposal", "terms", "session", "event",
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
    for file in FILES.iter().chain(&["node"]) {
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
            returns: head[..name_at].trim().to_owned(),
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
    for file in FILES.iter().chain(&["node"]) {
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

#[test]
fn every_function_and_parameter_is_explained() {
    let mut problems = Vec::new();
    for function in functions() {
        let mut wanted = vec!["Threads:", "Blocks:"];
        if function.returns != "void" {
            wanted.push("Returns:");
        }
        for block in wanted {
            if !function.documentation.lines().any(|line| line.starts_with(block)) {
                problems.push(format!("{} lacks {block}", function.name));
            }
        }
        let first = function.documentation.trim_start().lines().next().unwrap_or("");
        if !first.ends_with('.') && !first.ends_with(',') && first.len() < 60 {
            problems.push(format!("{} does not begin with a sentence: {first}", function.name));
        }
        for parameter in &function.parameters {
            if function.about(&parameter.name).is_none() {
                problems.push(format!("{} does not explain {}", function.name, parameter.name));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_missing_block_is_noticed() {
    let header = "/**\n * Does it.\n *\n * In:      here: a thing.\n */\nmusig_status musig_do(const struct musig_node *here,\n                      uint32_t there);\n";
    let functions = parse(header);
    assert_eq!(functions.len(), 1);
    assert_eq!(functions[0].name, "musig_do");
    assert_eq!(functions[0].returns, "musig_status");
    assert_eq!(functions[0].parameters[0].kind, "const musig_node*");
    assert!(functions[0].about("here").is_some());
    assert!(functions[0].about("there").is_none());
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
