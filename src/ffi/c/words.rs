//! The wording of errors for C: Rust's calls and events in a text are replaced by those of C.

use super::enums::{Enumeration, musig_event_kind};

/// Rust's calls that an error may name, and the functions of C that do the same.
const CALLS: [(&str, &str); 30] = [
    ("abandon_session", "musig_session_abandon"),
    ("abort", "musig_session_abort"),
    ("add_peer", "musig_node_add_peer"),
    ("announce", "musig_node_announce"),
    ("broadcast_now", "musig_session_broadcast_now"),
    ("close_session", "musig_session_close"),
    ("create_session", "musig_node_create_session"),
    ("decline", "musig_session_decline"),
    ("event_handled", "musig_node_event_handled"),
    ("event_handler", "musig_config_set_event_handler"),
    ("foreign_signer", "musig_config_set_foreign_signer"),
    ("identity", "musig_config_set_signer"),
    ("import", "musig_node_import"),
    ("join", "musig_session_join"),
    ("lock", "musig_signer_lock"),
    ("next_event", "musig_node_next_event"),
    ("notify_broadcast_complete", "musig_session_notify_broadcast_complete"),
    ("observer", "musig_config_set_observer"),
    ("redeliver", "musig_node_redeliver"),
    ("report_broadcast_failed", "musig_session_report_broadcast_failed"),
    ("request_stop", "musig_node_request_stop"),
    ("resume", "musig_node_resume"),
    ("signer", "musig_config_set_signer"),
    ("start", "musig_node_start"),
    ("stop", "musig_node_stop"),
    ("store", "musig_config_set_store_path"),
    ("store_path", "musig_config_set_store_path"),
    ("suspend", "musig_node_suspend"),
    ("unlock", "musig_signer_unlock"),
    ("without_observer", "musig_config_set_without_observer"),
];

/// `SESSION_PROPOSED` for `SessionProposed`.
fn event_name(word: &str) -> Option<String> {
    let mut name = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    let kinds = musig_event_kind::ALL.iter().map(|kind| kind.name().to_bytes());
    let is_kind = word.starts_with(|letter: char| letter.is_ascii_uppercase())
        && kinds.into_iter().any(|kind| kind == name.as_bytes());
    is_kind.then(|| format!("MUSIG_EVENT_{name}"))
}

/// Puts C's names in the place of Rust's: `stop()`, `call resume`, `next_event`, `SessionProposed`.
pub(super) fn for_c(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        out += &rest[..start];
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_call = after.starts_with("()");
        let is_meant = is_call || word.contains('_') || out.ends_with("call ");
        let function =
            CALLS.iter().find(|(name, _)| is_meant && *name == word).map(|(_, function)| *function);
        match (function, event_name(word)) {
            (Some(function), _) => out += function,
            (None, Some(event)) => out += &event,
            (None, None) => out += word,
        }
        rest = if function.is_some() && is_call { &after[2..] } else { after };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::for_c;

    #[test]
    fn calls_and_events_of_rust_become_those_of_c() {
        for (rust, c) in [
            ("a node needs a signer: call signer()", "a node needs a signer: call musig_config_set_signer"),
            (
                "an observer or without_observer(), and not both",
                "an observer or musig_config_set_without_observer, and not both",
            ),
            (
                "the node is suspended; call resume first",
                "the node is suspended; call musig_node_resume first",
            ),
            ("a pending next_event", "a pending musig_node_next_event"),
            ("wait for SessionComplete", "wait for MUSIG_EVENT_SESSION_COMPLETE"),
            ("stop() … call request_stop() there", "musig_node_stop … call musig_node_request_stop there"),
            ("the store is in use by Some_Session", "the store is in use by Some_Session"),
            ("fork()", "fork()"),
            ("", ""),
        ] {
            assert_eq!(for_c(rust), c);
        }
    }
}
