//! What somebody is shown before it consents.

use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Address, Amount, Network, ScriptBuf, Sequence, Transaction, Witness};
use libmusig::chain::ChainTip;
use libmusig::chain::summary::{InputKind, Lock, Summary, SummaryOptions, Warning, summarize};
use libmusig::chain::transaction::finalize;
use libmusig::protocol::proposal::{Broadcast, Message, SighashType, Terms};
use libmusig::types::{SessionId, UnixMillis};

use crate::payment::{Payment, SIGNERS, anybody_script, sign, taproot_script, txid};
use test_support::backend::chain::Chain;
use test_support::party::Party;

fn options() -> SummaryOptions {
    SummaryOptions { network: Network::Regtest, ..SummaryOptions::default() }
}

fn payment() -> Payment {
    Payment::new(&Chain::new(), SighashType::All)
}

#[track_caller]
fn shown(payment: &Payment, change: impl FnOnce(&mut Terms)) -> Summary {
    summarize(&payment.party(change).proposal, &options()).expect("makes sense")
}

/// The warnings of a payment, without those that every payment of these tests has.
#[track_caller]
fn warnings(payment: &Payment, change: impl FnOnce(&mut Terms)) -> Vec<Warning> {
    let usual = [Warning::UnverifiedInput { input: 1 }, Warning::HiddenScripts { message: 0 }];
    let mut warnings = shown(payment, change).warnings;
    warnings.retain(|warning| !usual.contains(warning));
    warnings
}

#[test]
fn summary_shows_all_that_is_signed() {
    let payment = payment();
    let own = SummaryOptions {
        own_scripts: vec![taproot_script(&payment.keys[0].output_key), vec![0x51]],
        ..options()
    };
    let party = payment.party(|terms| {
        terms.replaces = Some(SessionId([5; 32]));
        terms.metadata = b"rent for May".to_vec();
        terms.messages.iter().for_each(|message| assert_eq!(message.sighash_type, SighashType::All));
    });
    let summary = summarize(&party.proposal, &own).expect("makes sense");
    assert_eq!(summary.session, party.proposal.id());
    assert_eq!((summary.proposer, summary.signers.len()), (0, usize::from(SIGNERS)));
    assert_eq!(summary.replaces, Some(SessionId([5; 32])));
    assert_eq!(summary.broadcast, party.proposal.broadcast);
    let keys: Vec<_> = summary.messages.iter().map(|message| (message.input, message.final_key)).collect();
    assert_eq!(keys, [(Some(0), payment.keys[1].output_key), (Some(2), payment.keys[0].output_key)]);

    let transaction = summary.transaction.as_ref().expect("a transaction");
    assert_eq!(transaction.txid, txid(&payment.transaction));
    let finished = finalize(&party.proposal, &sign(&party)).expect("complete");
    let finished: Transaction = deserialize(&finished.bytes).expect("a transaction");
    assert_eq!(transaction.weight, finished.weight().to_wu(), "as long as the finished one");
    assert_eq!((transaction.fee, transaction.version, transaction.lock_time), (1_000, 2, 0));
    assert_eq!(transaction.fee_rate, 1_000 * 4_000 / transaction.weight);
    assert_eq!((transaction.lock, transaction.replaceable), (Lock::None, true));
    let address = |script: &[u8]| {
        Address::from_script(&ScriptBuf::from_bytes(script.to_vec()), Network::Regtest)
            .ok()
            .map(|it| it.to_string())
    };
    for (input, spent) in transaction.inputs.iter().zip(&payment.spent) {
        assert_eq!((input.value, &input.script), (spent.value, &spent.script));
        assert_eq!(input.address, address(&spent.script));
        assert!(input.address.as_ref().is_some_and(|address| address.starts_with("bcrt1")));
        assert_eq!((input.sequence, input.lock), (0xffff_fffd, Lock::None));
    }
    let kinds: Vec<_> = transaction.inputs.iter().map(|input| (input.kind, input.own)).collect();
    assert_eq!(
        kinds,
        [(InputKind::Session, false), (InputKind::Unverified, false), (InputKind::Session, true)]
    );
    let outputs: Vec<_> = transaction.outputs.iter().map(|output| (output.value, output.own)).collect();
    assert_eq!(outputs, [(100_000, false), (19_000, true)]);
    assert_eq!(transaction.outputs[0].address, address(&anybody_script()));
    assert_eq!(transaction.outputs[1].address, None);

    let text = summary.to_text();
    for part in [
        &format!("session {}", summary.session),
        "expires ",
        "\nkey set 0: the signers' keys, sorted\n",
        &format!("replaces the transaction of session {}", SessionId([5; 32])),
        &format!("transaction {}", transaction.txid),
        "input 0: 0.00060000 BTC\n",
        "input 2: 0.00050000 BTC, your own\n",
        "signed by its owner, NOT VERIFIED",
        "(key set 0, path 0/7, BIP-341 with scripts that are not shown)\n",
        "(key set 0, BIP-341 without scripts)\n",
        "sighash All",
        "output 0: 0.00100000 BTC\n",
        "output 1: 0.00019000 BTC, back to yourself\n    to the script 51\n",
        "fee 0.00001000 BTC (1000 sat, ",
        "it can be replaced",
        "broadcast by one signer at a time, the next after 300s",
        "WARNING: the witness of input 1 is not verified",
        "WARNING: message 0: its output can also be spent by scripts",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(text.ends_with("\n> rent for May\n"), "{text}");
}

#[test]
fn summary_warns_of_what_to_look_at_twice() {
    assert_eq!(warnings(&payment(), |_| ()), []);
    // A quarter of the outputs is much.
    let mut dear = payment();
    dear.transaction.output.truncate(1);
    dear.transaction.output[0].value = Amount::from_sat(96_000);
    assert_eq!(warnings(&dear, |_| ()), []);
    dear.transaction.output[0].value = Amount::from_sat(95_999);
    assert_eq!(warnings(&dear, |_| ()), [Warning::HighFee { fee: 24_001, paid: 95_999 }]);
    // What counts as absurd is the application's.
    let party = dear.party(|_| ());
    let mut strict = SummaryOptions { most_fee_percent: 100, most_fee_rate: 50, ..options() };
    let summary = summarize(&party.proposal, &strict).expect("makes sense");
    let fee_rate = summary.transaction.as_ref().expect("one").fee_rate;
    assert!(summary.warnings.contains(&Warning::HighFeeRate { fee_rate }));
    assert!(!summary.warnings.iter().any(|warning| matches!(warning, Warning::HighFee { .. })));
    strict.most_fee_rate = fee_rate / 1000 + 1;
    let summary = summarize(&party.proposal, &strict).expect("makes sense");
    assert!(!summary.warnings.iter().any(|warning| matches!(warning, Warning::HighFeeRate { .. })));

    let mut dust = payment();
    dust.transaction.output[0].value = Amount::from_sat(100_000 + 19_000 - 100);
    dust.transaction.output[1].value = Amount::from_sat(100);
    assert_eq!(warnings(&dust, |_| ()), [Warning::Dust { output: 1 }]);

    let mut unsigned = payment();
    unsigned.transaction.input[1].witness = Witness::new();
    let summary = shown(&unsigned, |terms| terms.broadcast = Broadcast::CoordinatorOnly);
    assert_eq!(summary.transaction.expect("one").inputs[1].kind, InputKind::Unsigned);
    assert!(!summary.warnings.contains(&Warning::UnverifiedInput { input: 1 }));

    let party = Party::new(SIGNERS, |terms| {
        terms.messages = vec![Message::raw([7; 32]), Message::raw([8; 32])];
    });
    let summary = summarize(&party.proposal, &options()).expect("makes sense");
    assert_eq!(summary.warnings, [Warning::Blind { message: 0 }, Warning::Blind { message: 1 }]);
    assert_eq!(summary.transaction, None);
    assert!(summary.to_text().contains(&format!("message 0: the 32 bytes {}, whatever", "07".repeat(32))));
    assert!(summary.to_text().contains("broadcast by one signer at a time, the next after 300s"));
    let party = Party::new(SIGNERS, |terms| terms.broadcast = Broadcast::SignOnly);
    let summary = summarize(&party.proposal, &options()).expect("makes sense");
    assert_eq!(summary.broadcast, Broadcast::SignOnly);
    assert!(summary.to_text().contains("\nsigned only: nobody is asked to broadcast anything\n"));
}

#[test]
fn summary_says_what_a_lock_time_means() {
    let locked = |lock_time: LockTime, sequence: Sequence| {
        let mut payment = payment();
        payment.transaction.lock_time = lock_time;
        payment.transaction.input.iter_mut().for_each(|input| input.sequence = sequence);
        payment
    };
    let lock = |payment: &Payment| {
        let transaction = shown(payment, |_| ()).transaction.expect("one");
        (transaction.lock, transaction.inputs[0].lock, transaction.replaceable)
    };
    let height = LockTime::from_consensus(900_000);
    let time = LockTime::from_consensus(1_800_000_000);
    let blocks = Sequence::from_height(144);
    assert_eq!(lock(&locked(height, Sequence::ZERO)), (Lock::Height(900_000), Lock::None, true));
    assert_eq!(
        lock(&locked(time, Sequence::ENABLE_LOCKTIME_NO_RBF)),
        (Lock::Time(1_800_000_000), Lock::None, false)
    );
    assert_eq!(lock(&locked(time, Sequence::MAX)), (Lock::None, Lock::None, false), "no input asks for it");
    assert_eq!(lock(&locked(LockTime::ZERO, blocks)), (Lock::None, Lock::Blocks(144), true));
    let elapsed = Sequence::from_512_second_intervals(3);
    assert_eq!(lock(&locked(LockTime::ZERO, elapsed)).1, Lock::Elapsed(Duration::from_secs(1536)));
    let mut old = locked(LockTime::ZERO, blocks);
    old.transaction.version = bitcoin::transaction::Version::ONE;
    assert_eq!(lock(&old).1, Lock::None, "before BIP-68");
    let text = shown(&locked(time, blocks), |_| ()).to_text();
    assert!(
        text.contains("lock time 1800000000, can be final in a block after 2027-01-15 08:00:00 UTC"),
        "{text}"
    );
    assert!(text.contains("sequence 0x00000090, can be final 144 blocks after the spent output"), "{text}");

    // Longer than the proposal lives: by a time at once, by a height if the chain's is known.
    let expires = |terms: &mut Terms| terms.expires_at = UnixMillis(1_799_999_999_000);
    assert_eq!(warnings(&locked(time, Sequence::ZERO), expires), [Warning::LockBeyondExpiry]);
    assert_eq!(warnings(&locked(height, Sequence::ZERO), expires), []);
    let party = locked(height, Sequence::ZERO).party(expires);
    for (tip, warns) in [(899_000, true), (899_999, false), (900_001, false)] {
        let tip = Some(ChainTip { height: tip, median_time: 1_799_999_000 });
        let summary = summarize(&party.proposal, &SummaryOptions { tip, ..options() }).expect("makes sense");
        assert_eq!(summary.warnings.contains(&Warning::LockBeyondExpiry), warns, "{tip:?}");
    }
}

/// Nothing that the proposer writes reaches a terminal as anything but visible text, on lines of its own at the end.
#[test]
fn hostile_text_is_escaped_cut_and_last() {
    let hostile = "\x1b[2J\x1b[1;1Hfee 0.00000001 BTC\r\n  output 0: mine\u{202e}CTB 1\u{2066}\u{200b}\u{7f}\u{9b}31m\0\t\\n\
                   \u{feff}\u{e0041}\u{1f4a9}\u{301}\u{2028}WARNING";
    let mut metadata = hostile.as_bytes().to_vec();
    metadata.extend([0xff, 0xc3, 0x28, b'\n', b'o', b'k']);
    let text = shown(&payment(), |terms| terms.metadata.clone_from(&metadata)).to_text();
    let plain = |character: char| {
        character == '\n' || character == ' ' || character.is_ascii_graphic() || "…é".contains(character)
    };
    assert!(text.chars().all(plain), "{text:?}");
    let start = text.find("the proposer writes").expect("it is said whose words these are");
    let (ours, theirs) = text.split_at(start);
    assert!(!ours.contains("mine") && !ours.contains("ok"));
    let mut lines = theirs.lines();
    assert_eq!(
        lines.next(),
        Some(
            format!("the proposer writes ({} bytes, nothing of which is checked):", metadata.len()).as_str()
        )
    );
    let rest: Vec<&str> = lines.collect();
    assert!(rest.iter().all(|line| line.starts_with("> ")), "{rest:#?}");
    assert!(rest[0].starts_with("> \\u{1b}[2J\\u{1b}[1;1Hfee"), "{rest:#?}");
    for escaped in [
        "\\u{202e}",
        "\\u{2066}",
        "\\u{200b}",
        "\\u{7f}",
        "\\u{9b}",
        "\\u{0}",
        "\\\\n",
        "\\u{2028}",
        "\\xff",
        "\\xc3(",
    ] {
        assert!(theirs.contains(escaped), "{escaped} is not in {theirs}");
    }
    // Letters of all languages stay readable.
    let text = shown(&payment(), |terms| terms.metadata = "Miete für März, 家賃".into()).to_text();
    assert!(text.ends_with("> Miete für März, 家賃\n"), "{text}");
    // As much as a screen holds, whatever it is.
    for filler in [b'a', b'\n', 0x1b, 0xff] {
        let text = shown(&payment(), |terms| terms.metadata = vec![filler; 4096]).to_text();
        let theirs = &text[text.find("the proposer writes").expect("is there")..];
        assert!(theirs.contains("… cut after ") && theirs.contains(" of 4096 bytes"), "{theirs}");
        assert!(
            theirs.lines().count() < 80 && theirs.lines().all(|line| line.chars().count() <= 130),
            "{theirs}"
        );
    }
}

/// A script that no address stands for is shown, and cut.
#[test]
fn hostile_text_in_a_script_is_hexadecimal_and_cut() {
    let mut payment = payment();
    payment.transaction.output[1].script_pubkey =
        ScriptBuf::from_bytes([&[0x6a], [0x1b; 600].as_slice()].concat());
    payment.transaction.output[1].value = Amount::ZERO;
    let text = shown(&payment, |_| ()).to_text();
    assert!(text.contains("to a script of 601 bytes that begins with 6a1b1b"), "{text}");
    assert!(text.lines().all(|line| line.len() < 260), "{text}");
    assert!(serialize(&payment.transaction).len() > 600);
}
