//! Programs made from the header: each pointer NULL, each number, length and text nonsense. As they are made from what
//! the header declares, no function can be missed.

use std::fmt::Write;
use std::fs;

use crate::header::{Function, Parameter, functions, read};
use crate::programs::{compile, finish, scratch, start};

const HELPERS: &str = r#"
#include "prelude.h"
#include "psbt.h"

static musig_signer *g_signer;
static musig_config *g_config;
static musig_node *g_node;
static musig_session *g_session;
static musig_event *g_event;
static musig_bytes *g_bytes;
static musig_error *g_error;
static musig_proposal *g_proposal;
static musig_terms *g_terms;
static musig_summary *g_summary;
static musig_election *g_election;
static musig_key_set *g_key_set;
static const musig_key_set *g_key_sets[1];
static musig_descriptor *g_descriptor;
static musig_source *g_source;
static const musig_source *g_sources[1];
static musig_signer_card *g_signer_card;
static const musig_signer_card *g_signer_cards[1];
static musig_group *g_group;
static musig_psbt_signer *g_psbt_signer;
static const char *const g_texts[1] = {"/ip4/127.0.0.1/tcp/1"};
static musig_metric_samples *g_metric_samples;
static uint8_t g_data[8192];
static uint32_t g_list[256];

static int32_t g_handler(void *u, musig_node *n, musig_event *e) { (void)u, (void)n, (void)e; return 0; }
static int32_t g_submit(void *u, const uint8_t *i, const uint8_t *t, size_t l, char *r, size_t c) {
    (void)u, (void)i, (void)t, (void)l, (void)r, (void)c; return 0; }
static int32_t g_look(void *u, const musig_chain_query *q, musig_chain_answer *a) { (void)u, (void)q, (void)a; return 0; }
static void g_line(void *u, int32_t l, const char *t, const char *m) { (void)u, (void)l, (void)t, (void)m; }
static musig_status g_holds(void *u, int32_t *o, const uint8_t *k, const uint8_t *f, const uint32_t *p, size_t n) {
    (void)u, (void)o, (void)k, (void)f, (void)p, (void)n; return 1; }
static musig_status g_round(void *u, const musig_signing_request *r, uint8_t *o) { (void)u, (void)r, (void)o; return 1; }

static musig_broadcaster g_broadcaster = {sizeof(musig_broadcaster), g_submit};
static musig_chain_observer g_observer = {sizeof(musig_chain_observer), g_look, NULL, NULL, NULL};
static musig_summary_options g_options = {sizeof(musig_summary_options), 0, NULL, 0, 0, 0};
static musig_source_options g_source_options = {sizeof(musig_source_options), 0, 0, NULL, NULL};
static musig_log_sink g_sink = {sizeof(musig_log_sink), 3, g_line};
static musig_status g_psbt(void *u, const musig_psbt_request *r, musig_bytes **a) { (void)u, (void)r, (void)a; return 1; }
static musig_psbt_device g_device = {sizeof(musig_psbt_device), 0, g_psbt, g_psbt};
static musig_signer_callbacks g_callbacks = {sizeof(musig_signer_callbacks), g_holds, g_round, g_round, NULL};
/* Addresses at which nothing but bytes and texts can be. */
static union { uint8_t bytes[64]; uint64_t align; void *pointer; } g_odd;

static musig_derivation g_derivation = {sizeof(musig_derivation), 1, 0, {0}, {0}};
static musig_spent_output g_spent = {1000, g_data, 34};

/* Out-parameters: each has a place of its own, filled with a pattern that must not change. */
static union { uint8_t bytes[8192]; uint64_t align; void *pointer; } g_out[6];

static void fill(size_t slot, uint32_t struct_size) {
    memset(g_out[slot].bytes, 0xA5, sizeof g_out[slot].bytes);
    if (struct_size) memcpy(g_out[slot].bytes, &struct_size, sizeof struct_size);
}

static void untouched(const char *name, size_t slot, uint32_t struct_size) {
    size_t i = struct_size ? sizeof struct_size : 0;
    for (; i < sizeof g_out[slot].bytes; i++)
        if (g_out[slot].bytes[i] != 0xA5) {
            fprintf(stderr, "%s wrote to an out-parameter although it failed\n", name);
            exit(1);
        }
}

static void setup(void) {
    uint8_t id[32];
    musig_signer *nobody = NULL;
    uint8_t zero[32] = {0};
    memset(g_odd.bytes, 0, sizeof g_odd.bytes);
    g_signer = signer_of(0);
    g_node = start_alone(g_signer);
    g_session = propose_alone(g_node, 1);
    g_event = wait_event(g_node, MUSIG_EVENT_SESSION_COMPLETE);
    OK(musig_config_new(&g_config, NULL));
    OK(musig_session_final_signatures(g_session, &g_bytes, NULL));
    OK(musig_session_terms(g_session, &g_terms, NULL));
    OK(musig_session_election(g_session, &g_election, NULL));
    OK(musig_node_metric_samples(g_node, &g_metric_samples, NULL));
    OK(musig_session_summary(g_session, &g_summary, &g_options, NULL));
    OK(musig_session_id(g_session, id, NULL));
    IS(MUSIG_STATUS_WRONG_SECRET, musig_signer_new(&nobody, zero, &g_error));
    OK(musig_node_signer_key(g_node, g_data, NULL));
    OK(musig_proposal_new_messages(&g_proposal, g_data, 1, g_data, 1, NULL));
    OK(musig_key_set_new(&g_key_set, g_data, 1, MUSIG_KEY_ORDER_SORTED, NULL));
    OK(musig_key_set_set_origin(g_key_set, 0, g_data, g_list, 1, NULL));
    g_key_sets[0] = g_key_set;
    OK(musig_descriptor_new(&g_descriptor, DESCRIPTOR, NULL));
    OK(musig_source_new_electrum(&g_source, "tcp://127.0.0.1:1", NULL, NULL));
    OK(musig_signer_card_parse(&g_signer_card, CARD, NULL));
    g_sources[0] = g_source;
    g_signer_cards[0] = g_signer_card;
    OK(musig_group_new(&g_group, g_signer_cards, 1, NULL));
    OK(musig_psbt_signer_new(&g_psbt_signer, &g_device, 0, NULL, NULL, NULL));
}

static void teardown(void) {
    /* Nothing was harmed. */
    musig_session *session = propose_alone(g_node, 2);
    musig_event_free(wait_event(g_node, MUSIG_EVENT_SESSION_COMPLETE));
    musig_session_free(session);
    musig_error_free(g_error);
    musig_metric_samples_free(g_metric_samples);
    musig_election_free(g_election);
    musig_terms_free(g_terms);
    musig_summary_free(g_summary);
    musig_proposal_free(g_proposal);
    musig_psbt_signer_free(g_psbt_signer);
    musig_group_free(g_group);
    musig_signer_card_free(g_signer_card);
    musig_source_free(g_source);
    musig_descriptor_free(g_descriptor);
    musig_key_set_free(g_key_set);
    musig_bytes_free(g_bytes);
    musig_event_free(g_event);
    musig_session_free(g_session);
    musig_config_free(g_config);
    OK(musig_node_stop(g_node, NULL));
    musig_node_free(g_node);
    musig_signer_free(g_signer);
}
"#;

const SIZED: [&str; 21] = [
    "musig_psbt_device",
    "musig_source_options",
    "musig_summary_options",
    "musig_summary_info",
    "musig_message_summary",
    "musig_input_summary",
    "musig_output_summary",
    "musig_warning",
    "musig_message",
    "musig_metrics",
    "musig_metric_sample",
    "musig_reputation",
    "musig_terms_info",
    "musig_session_status",
    "musig_signer_status",
    "musig_coordinator_status",
    "musig_broadcaster",
    "musig_chain_observer",
    "musig_log_sink",
    "musig_signer_callbacks",
    "musig_derivation",
];

fn is_fallible(function: &Function) -> bool {
    function.parameters.last().is_some_and(|parameter| parameter.kind == "musig_error**")
}

fn may_be_null(function: &Function, parameter: &Parameter) -> bool {
    // The preamble says so of every error.
    let about = function.about(&parameter.name).unwrap_or_default();
    parameter.kind == "musig_error**" || about.contains("may be NULL")
}

/// Where an out-parameter's place is, if this is one.
fn slot(function: &Function, parameter: &Parameter) -> Option<usize> {
    let out = parameter.is_pointer()
        && parameter.name != "error"
        && (!parameter.kind.starts_with("const ") || parameter.kind.ends_with("**"))
        && parameter.kind != "void*"
        && !is_handle(&parameter.kind);
    let position = || function.parameters.iter().position(|other| other.name == parameter.name);
    out.then(position).flatten()
}

/// `musig_node*`, `const musig_node*`.
fn is_handle(kind: &str) -> bool {
    let handles = [
        "signer",
        "config",
        "node",
        "session",
        "event",
        "bytes",
        "error",
        "proposal",
        "terms",
        "election",
        "key_set",
        "descriptor",
        "source",
        "signer_card",
        "group",
        "psbt_signer",
        "metric_samples",
        "summary",
    ];
    let name = kind.trim_start_matches("const ").trim_end_matches('*');
    kind.matches('*').count() == 1 && name.strip_prefix("musig_").is_some_and(|name| handles.contains(&name))
}

fn sized(kind: &str) -> Option<&str> {
    let name = kind.trim_start_matches("const ").trim_end_matches('*');
    SIZED.contains(&name).then_some(name)
}

/// A good value, in C.
fn good(function: &Function, parameter: &Parameter) -> String {
    let kind = parameter.kind.as_str();
    if parameter.name == "error" && kind == "musig_error**" {
        return "&error".into();
    }
    if is_handle(kind) {
        return kind.trim_start_matches("const ").trim_end_matches('*').replace("musig_", "g_");
    }
    if let Some(slot) = slot(function, parameter) {
        return format!("({kind})(void *)g_out[{slot}].bytes");
    }
    match kind {
        "const uint8_t*" if ["psbt", "other"].contains(&parameter.name.as_str()) => "PSBT".into(),
        "const uint8_t*" => "g_data".into(),
        "const musig_key_set*const*" => "g_key_sets".into(),
        "const musig_source*const*" => "g_sources".into(),
        "const musig_signer_card*const*" => "g_signer_cards".into(),
        "const char*const*" => "g_texts".into(),
        "const uint32_t*" => "g_list".into(),
        "const char*" if parameter.name == "address" => "\"/ip4/127.0.0.1/tcp/1\"".into(),
        "const char*" => "\"text\"".into(),
        "const musig_broadcaster*" => "&g_broadcaster".into(),
        "const musig_chain_observer*" => "&g_observer".into(),
        "const musig_summary_options*" => "&g_options".into(),
        "const musig_source_options*" => "&g_source_options".into(),
        "const musig_log_sink*" => "&g_sink".into(),
        "const musig_signer_callbacks*" => "&g_callbacks".into(),
        "const musig_psbt_device*" => "&g_device".into(),
        "const musig_derivation*" => "&g_derivation".into(),
        "const musig_spent_output*" => "&g_spent".into(),
        "void*" | "musig_destroy" => "NULL".into(),
        "musig_event_handler" => "g_handler".into(),
        "size_t" if ["psbt_length", "other_length"].contains(&parameter.name.as_str()) => {
            "sizeof PSBT".into()
        }
        "size_t" => if parameter.name == "out_capacity" { "128" } else { "1" }.into(),
        "uint64_t" => "1000".into(),
        "int64_t" | "uint32_t" => "0".into(),
        "int32_t" | "musig_status" => "1".into(),
        kind => panic!("{}: no good value for {kind} {}", function.name, parameter.name),
    }
}

/// A call with one parameter replaced. The outcome is in `status` if the function is fallible.
fn call(text: &mut String, function: &Function, index: usize, value: &str, wanted: &str) {
    let name =
        format!("{} with {} {value}", function.name, function.parameters[index].name).replace('"', "'");
    let arguments: Vec<String> = function
        .parameters
        .iter()
        .enumerate()
        .map(
            |(position, parameter)| {
                if position == index { value.to_owned() } else { good(function, parameter) }
            },
        )
        .collect();
    let outs: Vec<(usize, String)> = function
        .parameters
        .iter()
        .filter_map(|parameter| {
            let size = sized(&parameter.kind).map_or("0".to_owned(), |name| format!("sizeof({name})"));
            slot(function, parameter).map(|slot| (slot, size))
        })
        .collect();
    let fallible = is_fallible(function);
    let _ = writeln!(text, "    {{\n        const char *name = \"{}\";", name.replace('\\', "\\\\"));
    if !fallible {
        let _ = writeln!(
            text,
            "        (void)name;\n        {}({});\n    }}",
            function.name,
            arguments.join(", ")
        );
        return;
    }
    let _ = writeln!(
        text,
        "        musig_error *error = (musig_error *)(void *)g_data;\n        musig_status status;"
    );
    for (slot, size) in &outs {
        let _ = writeln!(text, "        fill({slot}, {size});");
    }
    let _ = writeln!(text, "        status = {}({});", function.name, arguments.join(", "));
    let _ = writeln!(
        text,
        "        if (!({wanted})) {{ fprintf(stderr, \"%s gives %d\\n\", name, (int)status); exit(1); }}"
    );
    let _ = writeln!(text, "        REQUIRE(error && musig_error_status(error) == status);");
    let _ = writeln!(text, "        REQUIRE(!strstr(musig_error_message(error), \"()\"));");
    let _ = writeln!(text, "        musig_error_free(error);");
    for (slot, size) in &outs {
        let _ = writeln!(text, "        untouched(name, {slot}, {size});");
    }
    let _ = writeln!(text, "        calls++;\n    }}");
}

/// A call whose error cannot be written.
fn call_without_error(text: &mut String, function: &Function, index: usize, value: &str) {
    let arguments: Vec<String> = function
        .parameters
        .iter()
        .enumerate()
        .map(
            |(position, parameter)| {
                if position == index { value.to_owned() } else { good(function, parameter) }
            },
        )
        .collect();
    let _ = writeln!(
        text,
        "    IS(MUSIG_STATUS_INVALID_ARGUMENT, {}({}));\n    calls++;",
        function.name,
        arguments.join(", ")
    );
}

/// What is wrong with every address but one: whether an object of this type has to be aligned.
fn is_aligned(kind: &str) -> bool {
    let handed = kind.trim_start_matches("const ").trim_end_matches('*');
    let pointers = kind.matches('*').count();
    pointers == 2 || pointers == 1 && !["uint8_t", "char", "void"].contains(&handed)
}

/// A program with all cases, which prints how many there were.
fn program(name: &str, cases: impl Fn(&mut String, &Function) -> usize) -> (String, usize) {
    let (mut text, mut count) = (HELPERS.to_owned(), 0);
    text += "\nint main(void) {\n    int calls = 0;\n    setup();\n";
    for function in functions() {
        count += cases(&mut text, &function);
    }
    text += "    teardown();\n    printf(\"%d\\n\", calls);\n    return 0;\n}\n";
    let source = scratch("programs").join(name);
    fs::write(&source, text).expect("can be written");
    (finish(start(&compile(&source), &[]), name), count)
}

#[test]
fn a_null_pointer_is_refused_and_changes_nothing() {
    let (output, cases) = program("null.c", |text, function| {
        let mut cases = 0;
        for (index, parameter) in function.parameters.iter().enumerate() {
            let pointer = parameter.is_pointer() || parameter.kind == "musig_event_handler";
            if !pointer || may_be_null(function, parameter) {
                continue;
            }
            call(text, function, index, "NULL", "status == MUSIG_STATUS_NULL_ARGUMENT");

            cases += usize::from(is_fallible(function));
        }
        cases
    });
    assert_eq!(output.trim(), cases.to_string());
    assert!(cases > 150, "{cases} cases");
}

#[test]
fn a_misaligned_pointer_is_refused_and_changes_nothing() {
    let (output, cases) = program("aligned.c", |text, function| {
        if !is_fallible(function) {
            return 0;
        }
        let mut cases = 0;
        for (index, parameter) in function.parameters.iter().enumerate() {
            if !is_aligned(&parameter.kind) {
                continue;
            }
            let value = format!("({})(void *)(g_odd.bytes + 1)", parameter.kind);
            if parameter.name == "error" {
                call_without_error(text, function, index, &value);
            } else {
                call(text, function, index, &value, "status == MUSIG_STATUS_INVALID_ARGUMENT");
            }
            cases += 1;
        }
        cases
    });
    assert_eq!(output.trim(), cases.to_string());
    assert!(cases > 200, "{cases} cases");
}

#[test]
fn an_invalid_number_length_or_text_is_refused_and_changes_nothing() {
    let (output, cases) = program("nonsense.c", |text, function| {
        if !is_fallible(function) {
            return 0;
        }
        let mut cases = 0;
        for (index, parameter) in function.parameters.iter().enumerate() {
            let values: &[&str] = match parameter.kind.as_str() {
                "int32_t" => &["INT32_MAX", "-1", "INT32_MIN"],
                "uint32_t" => &["0xfffffffeu"],
                "int64_t" => &["-2", "INT64_MIN"],
                "uint64_t" => &["UINT64_MAX", "0"],
                "size_t" if parameter.name == "out_capacity" => &["0"],
                "size_t" => &["SIZE_MAX", "SIZE_MAX / 2", "100000000"],
                "const char*" => &["\"\\xff\\xfe\"", "\"\\xed\\xa0\\x80\""],
                _ => &[],
            };
            for value in values {
                call(text, function, index, value, "status > 0");
                cases += 1;
            }
            if let Some(name) = sized(&parameter.kind).filter(|_| slot(function, parameter).is_none()) {
                for size in ["0", "3", "5000"] {
                    let variable = good(function, parameter);
                    let variable = variable.trim_start_matches('&');
                    let _ = writeln!(text, "    {variable}.struct_size = {size};");
                    call(
                        text,
                        function,
                        index,
                        &format!("&{variable}"),
                        "status == MUSIG_STATUS_STRUCT_SIZE",
                    );
                    let _ = writeln!(text, "    {variable}.struct_size = sizeof({name});");
                    cases += 1;
                }
            }
        }
        cases
    });
    assert_eq!(output.trim(), cases.to_string());
    assert!(cases > 80, "{cases} cases");
}

#[test]
fn the_cases_are_made_from_the_whole_header() {
    // Every declaration that looks like a function's is one that the parser found.
    let header = read("include/musig.h");
    let functions = functions();
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    for line in header.lines().filter(|line| !line.starts_with([' ', '*', '/', '#'])) {
        if let Some((head, _)) = line.split_once('(')
            && !line.starts_with("typedef")
            && let Some(at) = head.rfind([' ', '*'])
        {
            assert!(names.contains(&&head[at + 1..]), "{line}");
        }
    }
}
