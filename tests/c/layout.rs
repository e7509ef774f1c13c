//! The binary interface as a C compiler sees it: every symbol, constant, enumerator, size and offset. A program that is
//! made from the header prints them; `tests/c/layout.txt` holds what they are to be.

use std::fmt::Write;
use std::fs;

use crate::header::{read, root};
use crate::programs::{compile, finish, scratch, start};

/// What the header declares, by name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Declared {
    constants: Vec<String>,
    /// With their enumerators.
    enums: Vec<(String, Vec<String>)>,
    /// With their members.
    structs: Vec<(String, Vec<String>)>,
}

/// The header without its comments.
fn without_comments(header: &str) -> String {
    let mut text = String::new();
    let mut rest = header;
    while let Some(start) = rest.find("/*") {
        text += &rest[..start];
        let end = rest[start..].find("*/").expect("every comment ends");
        rest = &rest[start + end + 2..];
    }
    text += rest;
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The text between the braces that follow `position`.
fn body(text: &str, position: usize) -> &str {
    let open = position + text[position..].find('{').expect("a body follows");
    let close = open + text[open..].find('}').expect("a body ends");
    &text[open + 1..close]
}

/// The name that a member's declaration declares.
fn member(declaration: &str) -> String {
    let name = match declaration.split_once("(*") {
        Some((_, pointer)) => pointer.split(')').next().unwrap_or(""),
        None => declaration.split('[').next().unwrap_or(""),
    };
    let name = name.trim();
    name[name.rfind([' ', '*']).map_or(0, |position| position + 1)..].to_owned()
}

fn declared(header: &str) -> Declared {
    let text = without_comments(header);
    let mut found = Declared::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["#define", name, _, ..] = words.as_slice()
            && line.contains(|c: char| c.is_ascii_digit())
        {
            found.constants.push((*name).to_owned());
        }
    }
    for (position, _) in text.match_indices("\nenum musig_") {
        let name = text[position + 6..].split_whitespace().next().expect("a name").to_owned();
        let values = body(&text, position).split(',').filter_map(|entry| entry.split_once('='));
        found.enums.push((name, values.map(|(value, _)| value.trim().to_owned()).collect()));
    }
    for (position, mark) in text.match_indices("typedef struct musig_") {
        let rest = &text[position + mark.len()..];
        let name = format!("musig_{}", rest.split_whitespace().next().expect("a name"));
        if !rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_').starts_with(" {") {
            continue;
        }
        let members = body(&text, position).split(';').map(str::trim).filter(|text| !text.is_empty());
        found.structs.push((name, members.map(member).collect()));
    }
    found
}

/// The documentation comments in a body: each enumerator and each member has one.
fn comments(header: &str, opens: &str) -> usize {
    let start = header.find(opens).unwrap_or_else(|| panic!("{opens} is in the header")) + opens.len();
    let end = header[start..].find("\n}").expect("a body ends");
    header[start..start + end].matches("/**").count()
}

/// What the list lacks, by another reading of the header than the one that made it.
fn missing(header: &str, list: &Declared) -> Vec<String> {
    let mut missing = Vec::new();
    let plain = without_comments(header);
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with("MUSIG_") && *word != "MUSIG_H") {
        let is_listed = list.enums.iter().any(|(_, values)| values.iter().any(|value| value == word))
            || list.constants.iter().any(|name| name == word);
        let is_macro = || {
            plain.contains(&format!("#define {word}\n"))
                || plain.contains(&format!("#define {word} __attribute__"))
        };
        if !is_listed && !is_macro() {
            missing.push(format!("constant or enumerator {word}"));
        }
    }
    for (kind, all) in [("enum", &list.enums), ("struct", &list.structs)] {
        for (name, entries) in all {
            let opens =
                if kind == "enum" { format!("\nenum {name}\n") } else { format!("typedef struct {name} {{") };
            let documented = comments(header, &opens);
            if documented != entries.len() {
                missing.push(format!("{kind} {name} has {documented} entries, not {}", entries.len()));
            }
        }
        let declared = match kind {
            "enum" => header.matches("\nenum musig_").count(),
            _ => header.lines().filter(|line| line.starts_with("} musig_")).count(),
        };
        if declared != all.len() {
            missing.push(format!("{declared} of kind {kind} are declared, not {}", all.len()));
        }
    }
    missing
}

/// A program that prints the list.
fn program(list: &Declared, symbols: &[&str]) -> String {
    let mut text = String::from(
        "#include \"musig.h\"\n#include <stdio.h>\n\ntypedef void (*symbol)(void);\n\n\
         static void print(const char *name, symbol address) {\n    \
         printf(\"symbol %s%s\\n\", name, address ? \"\" : \" is NULL\");\n}\n\nint main(void) {\n",
    );
    for name in symbols {
        let _ = writeln!(text, "    print(\"{name}\", (symbol){name});");
    }
    for name in &list.constants {
        let _ = writeln!(text, "    printf(\"constant {name} = %llu\\n\", (unsigned long long){name});");
    }
    for (name, values) in &list.enums {
        let _ = writeln!(text, "    printf(\"enum {name} size %zu\\n\", sizeof({name}));");
        for value in values {
            let _ = writeln!(text, "    printf(\"  {value} = %ld\\n\", (long){value});");
        }
    }
    for (name, members) in &list.structs {
        let _ = writeln!(text, "    printf(\"struct {name} size %zu\\n\", sizeof({name}));");
        for member in members {
            let _ = writeln!(
                text,
                "    printf(\"  {member} offset %zu size %zu\\n\", offsetof({name}, {member}), \
                 sizeof((({name} *)0)->{member}));"
            );
        }
    }
    text + "    return 0;\n}\n"
}

/// Bytes that no listed member covers and that no alignment explains: a member is missing there.
fn gaps(layout: &str) -> Vec<String> {
    let mut gaps = Vec::new();
    let (mut name, mut size, mut end) = (String::new(), 0usize, 0usize);
    let mut close = |name: &str, size: usize, end: usize| {
        if size.saturating_sub(end) >= 8 {
            gaps.push(format!("{name} from {end} to {size}"));
        }
    };
    for line in layout.lines().skip_while(|line| !line.starts_with("struct ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<usize>().expect("a number");
        if words[0] == "struct" {
            close(&name, size, end);
            (name, size, end) = (words[1].to_owned(), number(3), 0);
        } else {
            close(&name, number(2), end);
            end = number(2) + number(4);
        }
    }
    close(&name, size, end);
    gaps
}

#[test]
fn the_layout_is_the_committed_one() {
    let header = read("include/musig.h");
    let list = declared(&header);
    let missing = missing(&header, &list);
    assert!(missing.is_empty(), "the program does not print {missing:#?}");
    let symbols = read("include/musig.symbols");
    let source = scratch("programs").join("layout.c");
    fs::write(&source, program(&list, &symbols.lines().collect::<Vec<_>>())).expect("can be written");
    let layout = finish(start(&compile(&source), &[]), "layout.c");
    let gaps = gaps(&layout);
    assert!(gaps.is_empty(), "no member is printed for {gaps:#?}");
    if std::env::var_os("MUSIG_UPDATE").is_some() {
        fs::write(root().join("tests/c/layout.txt"), &layout).expect("can be written");
    }
    let committed = read("tests/c/layout.txt");
    let changes: Vec<String> = committed
        .lines()
        .filter(|line| !layout.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"))
        .chain(
            layout
                .lines()
                .filter(|line| !committed.lines().any(|other| other == *line))
                .map(|line| format!("+ {line}")),
        )
        .collect();
    assert!(
        layout == committed,
        "the binary interface changed; run this test once with MUSIG_UPDATE=1 if that is meant: {changes:#?}"
    );
}

/// Each enumerator, member, enum and struct taken out of the list is noticed, and so is one put into the header.
#[test]
fn a_declaration_that_the_layout_lacks_is_noticed() {
    let header = read("include/musig.h");
    let list = declared(&header);
    let mut taken = 0;
    let mut check = |change: &dyn Fn(&mut Declared)| {
        let mut list = list.clone();
        change(&mut list);
        assert!(!missing(&header, &list).is_empty());
        taken += 1;
    };
    for index in 0..list.constants.len() {
        check(&|list| drop(list.constants.remove(index)));
    }
    for (index, (_, values)) in list.enums.iter().enumerate() {
        check(&|list| drop(list.enums.remove(index)));
        for value in 0..values.len() {
            check(&|list| drop(list.enums[index].1.remove(value)));
        }
    }
    for (index, (_, members)) in list.structs.iter().enumerate() {
        check(&|list| drop(list.structs.remove(index)));
        for member in 0..members.len() {
            check(&|list| drop(list.structs[index].1.remove(member)));
        }
    }
    assert!(taken > 200, "{taken}");
    for (before, added) in [
        ("  MUSIG_PHASE_JOINED = 2,\n", "  /**\n   * New.\n   */\n  MUSIG_PHASE_NEW = 77,\n"),
        ("  uint32_t own_index;\n", "  /**\n   * New.\n   */\n  uint64_t brand_new;\n"),
        ("  MUSIG_PHASE_JOINED = 2,\n", "  MUSIG_PHASE_NEW = 77,\n"),
    ] {
        let changed = header.replacen(before, &format!("{before}{added}"), 1);
        assert!(changed != header, "{before}");
        assert!(declared(&changed) != list || !missing(&changed, &list).is_empty(), "{added}");
        assert!(!missing(&changed, &list).is_empty(), "{added}");
    }
    assert_eq!(gaps("struct s size 24\n  a offset 0 size 4\n  c offset 16 size 8\n"), ["s from 4 to 16"]);
}
