//! The causes of libp2p's errors, in one line. Its errors print nothing, or not enough, and have the words in `source()`.

use std::error::Error;

use libp2p::TransportError;
use libp2p::swarm::DialError;

use crate::types::beginning;

/// Sources of one error that are shown.
const DEPTH: usize = 16;

/// An error with its sources, each once.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let (mut next, mut depth) = (Some(error), 0);
    while let Some(error) = next.filter(|_| depth < DEPTH) {
        let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        (next, depth) = (error.source(), depth + 1);
    }
    if parts.is_empty() { "no cause is known".into() } else { parts.join(": ") }
}

/// Why a transport did not listen or connect.
pub(super) fn of_transport<E: Error + 'static>(error: &TransportError<E>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(address) => {
            format!("no transport of this build takes {address}")
        }
        TransportError::Other(error) => causes(error),
    }
}

/// Why a dial failed, for each address.
pub(super) fn of_dial(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let reason = |(address, error): &(_, _)| format!("{address}: {}", of_transport(error));
            let mut reasons: Vec<_> = errors.iter().map(reason).collect();
            // In the order of the addresses, not in that of the failures: the same cause has the same words again.
            reasons.sort_unstable();
            reasons.join("; ")
        }
        DialError::LocalPeerId { address } => format!("{address} is this node itself"),
        DialError::NoAddresses => "no address is known".into(),
        DialError::DialPeerConditionFalse(_) => "the peer is connected already, or being dialled".into(),
        DialError::Aborted => "the dial was aborted".into(),
        DialError::WrongPeerId { obtained, address } => format!("{address} is another peer, {obtained}"),
        DialError::Denied { cause } => causes(cause),
    }
}

/// The longest cause that is reported.
const LONGEST: usize = 1024;

/// A cause as it is reported: one line of a limited length, without what controls a terminal.
pub(super) fn one_line(cause: &str) -> String {
    let mut line: String = cause.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if line.len() > LONGEST {
        line.truncate(beginning(&line, LONGEST).len());
        line.push('…');
    }
    line
}

/// Whether a cause is that the process or the system has no file descriptor left, in the words of the standard library.
pub(super) fn is_out_of_descriptors(cause: &str) -> bool {
    // EMFILE and ENFILE have these numbers on every Unix; Windows has its own.
    let numbers: &[u32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    numbers.iter().any(|number| cause.contains(&format!("(os error {number})")))
}

#[cfg(test)]
mod tests {
    use std::io;

    use libp2p::PeerId;
    use libp2p::swarm::dial_opts::PeerCondition;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn layer(text: &'static str, source: Option<Layer>) -> Layer {
        Layer { text, source: source.map(Into::into) }
    }

    #[test]
    fn each_cause_is_named_once_and_in_one_line() {
        let bottom = layer("refused\n  (os error 111)", None);
        let error = layer("outer: inner", Some(layer("inner", Some(layer("", Some(bottom))))));
        assert_eq!(causes(&error), "outer: inner: refused (os error 111)");
        assert_eq!(causes(&layer("", None)), "no cause is known");
    }

    #[test]
    fn a_reported_cause_is_one_line_of_a_limited_length() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a  [31mb");
        let long = one_line(&"ä".repeat(LONGEST));
        assert!(long.len() <= LONGEST + 3 && long.ends_with('…'));
    }

    #[cfg(unix)]
    #[test]
    fn missing_file_descriptors_are_told_from_other_causes() {
        let none = causes(&io::Error::from_raw_os_error(24));
        assert!(is_out_of_descriptors(&none), "{none}");
        assert!(!is_out_of_descriptors(&causes(&io::Error::from_raw_os_error(111))));
    }

    #[test]
    fn an_error_that_is_its_own_source_again_and_again_ends() {
        let deep = (0..1000).fold(layer("a", None), |source, _| layer("b", Some(source)));
        assert_eq!(causes(&deep), "b");
    }

    #[test]
    fn dial_errors_name_address_and_cause_and_no_type() {
        let address: libp2p::Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let refused = || TransportError::Other(io::Error::from(io::ErrorKind::ConnectionRefused));
        let other: libp2p::Multiaddr = "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap();
        let errors = vec![
            (address.clone(), refused()),
            (other.clone(), TransportError::MultiaddrNotSupported(other.clone())),
        ];
        let text = of_dial(&DialError::Transport(errors));
        assert_eq!(
            text,
            format!("{address}: connection refused; {other}: no transport of this build takes {other}")
        );
        let peer = PeerId::random();
        for error in [
            DialError::NoAddresses,
            DialError::Aborted,
            DialError::LocalPeerId { address: address.clone() },
            DialError::WrongPeerId { obtained: peer, address },
            DialError::DialPeerConditionFalse(PeerCondition::Disconnected),
        ] {
            let text = of_dial(&error);
            assert!(!text.is_empty() && !text.contains("::") && !text.contains(['{', '"', '\n']), "{text}");
        }
    }
}
