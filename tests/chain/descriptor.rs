//! Descriptors: the vectors of BIP-390 and BIP-328, Bitcoin Core's addresses, what is refused and how.

use bitcoin::hex::FromHex;
use bitcoin::{Network, NetworkKind};
use libmusig::chain::descriptor::{Descriptor, DescriptorError, checksum};
use libmusig::chain::psbt::InputPlan;
use libmusig::error::ProposalError;
use libmusig::protocol::crypto::key_set::synthetic_xpub;
use libmusig::protocol::crypto::key_set::{Derivation, KeySet, Taproot};
use libmusig::protocol::proposal::KeyOrder;
use libmusig::types::SignerKey;

use crate::psbt::{list, psbt, text, vectors};

fn parse(text: &str) -> Result<Descriptor, DescriptorError> {
    text.parse()
}

fn good(text: &str) -> Descriptor {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok(descriptor) => panic!("{text} is taken: {descriptor}"),
        Err(error) => error.to_string(),
    }
}

const A: &str = "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";
const B: &str = "03dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659";
const X: &str = "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL";
const Y: &str = "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y";

#[test]
fn descriptor_vectors_of_bip_390() {
    let Some(vectors) = vectors("descriptor_bip_390", "bitcoin/bip390.json") else { return };
    let (mut scripts, mut trees, mut refused) = (0, 0, 0);
    for case in list(&vectors["cases"]) {
        let given = text(&case["descriptor"]);
        if case["valid"] == false {
            let error = refusal(given);
            let function = given.split('(').next().expect("a name");
            let words = match text(&case["reason"]) {
                "Ranged musig() requires all participants to be xpubs" => "must be an extended key",
                "Cannot have ranged participants if musig() is also ranged"
                | "musig() cannot have participants with child derivation when musig() has derivation steps" => {
                    "the participants have `*` already"
                }
                "Cannot have multipath participants if musig() is also multipath" => {
                    "the participants have `<…;…>` already"
                }
                "musig() cannot have hardened derivation steps"
                | "musig() cannot have hardened child derivation" => {
                    "an aggregate key has no hardened children"
                }
                _ => &format!("{function} is not supported"),
            };
            assert!(error.contains(words), "{given}: {error}");
            refused += 1;
            continue;
        }
        if given.contains(",pk(") {
            assert_eq!(parse(given), Err(DescriptorError::ScriptTree), "{given}");
            trees += 1;
            continue;
        }
        let descriptor = good(given);
        assert_eq!(descriptor.is_ranged(), given.contains('*'), "{given}");
        for (index, script) in list(&case["scripts"]).iter().enumerate() {
            let expected: Vec<u8> = FromHex::from_hex(text(script)).expect("hexadecimal");
            assert_eq!(descriptor.output_script(0, index as u32), Ok(expected), "{given}: {index}");
            scripts += 1;
        }
    }
    assert_eq!((scripts, trees, refused), (6, 2, 14));
}

/// The synthetic extended key of an aggregate is what its children are derived from (BIP-328).
#[test]
fn descriptor_children_are_those_of_the_synthetic_xpub_of_bip_328() {
    let Some(vectors) = vectors("descriptor_bip_328", "bip328.json") else { return };
    for case in list(&vectors) {
        let keys: Vec<SignerKey> = list(&case["keys"])
            .iter()
            .map(|key| {
                let bytes: Vec<u8> = FromHex::from_hex(text(key)).expect("hexadecimal");
                SignerKey::from_bytes(&bytes).expect("a key")
            })
            .collect();
        let key_set = KeySet::ordered(&keys, KeyOrder::AsGiven);
        let aggregate = key_set.aggregate_key().expect("keys");
        assert_eq!(aggregate.to_string(), text(&case["aggregate_pubkey"]).to_lowercase());
        assert_eq!(synthetic_xpub(&aggregate), text(&case["xpub"]));
        // The crate `bitcoin` derives the same children of that xpub.
        let xpub: bitcoin::bip32::Xpub = text(&case["xpub"]).parse().expect("an xpub");
        let context = bitcoin::secp256k1::Secp256k1::verification_only();
        for path in [vec![0], vec![1, 7], vec![2, 0x7fff_ffff, 5]] {
            let children: Vec<bitcoin::bip32::ChildNumber> = path.iter().map(|one| (*one).into()).collect();
            let theirs = xpub.derive_pub(&context, &children).expect("derivable").public_key.serialize();
            let derivation = Derivation { path, taproot: Taproot::None };
            assert_eq!(key_set.final_key(&derivation).expect("derivable").as_bytes(), &theirs);
        }
    }
}

#[test]
fn descriptor_addresses_and_keys_are_those_of_core_sessions() {
    let mut compared = 0;
    for file in ["bip373-core.json", "bip373-core-sighash-all.json"] {
        let Some(vectors) = vectors("descriptor_core", &format!("bitcoin/{file}")) else { return };
        for case in list(&vectors["cases"]) {
            let given = text(&case["descriptor"]);
            if given.contains("pk(") {
                assert_eq!(parse(given), Err(DescriptorError::ScriptTree), "{given}");
                continue;
            }
            let descriptor = good(given);
            let index = case["index"].as_u64().expect("a number") as u32;
            let address = text(&case["address"]);
            assert_eq!(descriptor.address(Network::Regtest, 0, index).as_deref(), Ok(address), "{given}");
            assert_eq!(format!("{descriptor}").split('#').next(), Some(given), "printed as it was read");
            assert_eq!(good(&descriptor.to_string()), descriptor);
            // With a private key in it, it is the same wallet and shows no private key.
            for private in list(&case["private_descriptors"]) {
                let theirs = good(text(private));
                assert_eq!(theirs.address(Network::Regtest, 0, index).as_deref(), Ok(address));
                assert_eq!(theirs.to_string(), descriptor.to_string());
                assert!(!format!("{theirs} {theirs:?}").contains("prv"));
            }
            // What signs is what the PSBT asks for.
            let plan = psbt(&list(&case["steps"])[0]["psbt"]).spend_plan().expect(given);
            let InputPlan::Musig2(spend) = &plan.inputs[0] else { panic!("{given}") };
            let keys = descriptor.keys(0, index).expect(given);
            assert_eq!((keys.key, &keys.derivation), (spend.key, &spend.derivation), "{given}");
            assert_eq!(keys.key_set.order, KeyOrder::Sorted);
            let mut sorted = keys.key_set.keys();
            sorted.sort();
            assert_eq!(sorted, spend.key_set.keys(), "{given}");
            for participant in &keys.key_set.participants {
                let same = spend.key_set.participants.iter().find(|other| other.key == participant.key);
                let theirs = same.expect("the same keys").origin.as_ref();
                if participant.origin.is_some() && theirs.is_some() {
                    assert_eq!(participant.origin.as_ref(), theirs, "{given}");
                }
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 23);
}

#[test]
fn descriptor_branches_are_descriptors_of_their_own() {
    for (both, receive, change) in [
        (
            format!("tr(musig({X},{Y})/<6;7>/*)"),
            format!("tr(musig({X},{Y})/6/*)"),
            format!("tr(musig({X},{Y})/7/*)"),
        ),
        (
            format!("rawtr(musig({X}/<0;1>/*,{Y}/<5;3>/*))"),
            format!("rawtr(musig({X}/0/*,{Y}/5/*))"),
            format!("rawtr(musig({X}/1/*,{Y}/3/*))"),
        ),
        (
            format!("tr(musig({X}/<0;1>,{Y}/4)/9/*)"),
            format!("tr(musig({X}/0,{Y}/4)/9/*)"),
            format!("tr(musig({X}/1,{Y}/4)/9/*)"),
        ),
    ] {
        let descriptor = good(&both);
        assert_eq!(descriptor.branches(), 2);
        for (branch, single) in [receive, change].iter().enumerate() {
            let single = good(single);
            assert_eq!(single.branches(), 1);
            for index in [0, 1, 999, 0x7fff_ffff] {
                assert_eq!(descriptor.keys(branch, index), single.keys(0, index), "{both}");
            }
        }
        assert_eq!(descriptor.keys(2, 0), Err(DescriptorError::Branch { branch: 2, branches: 2 }));
        assert!(matches!(descriptor.keys(0, 1 << 31), Err(DescriptorError::Index { .. })));
        assert_eq!(descriptor.to_string().split('#').next(), Some(both.as_str()));
    }
    let fixed = good(&format!("tr(musig({A},{B}))"));
    assert!(!fixed.is_ranged() && fixed.keys(0, 0).is_ok());
    assert!(matches!(fixed.keys(0, 1), Err(DescriptorError::Index { index: 1, .. })));
}

#[test]
fn descriptor_private_keys_are_made_public_and_name_their_origin() {
    // BIP-32, test vector 1.
    let xprv = "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi";
    let below = "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ";
    let descriptor = good(&format!("tr(musig({xprv}/0h/1/<0;1>/*,{Y}/0/*))"));
    let child = "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw";
    let public = format!("tr(musig([3442193e/0h]{child}/1/<0;1>/*,{Y}/0/*))");
    assert_eq!(descriptor, good(&public), "to the last hardened step");
    let origin = descriptor.keys(1, 5).expect("good").key_set.participants[0].origin.clone().expect("known");
    assert_eq!((origin.fingerprint, origin.path), ([0x34, 0x42, 0x19, 0x3e], vec![1 << 31, 1, 1, 5]));
    // Unhardened steps before a hardened one go into the origin, after the one that is given.
    let descriptor = good(&format!("tr(musig([01020304/7/8']{xprv}/0H/1/2h/2/*,{Y}/0/*))"));
    assert!(descriptor.to_string().starts_with("tr(musig([01020304/7/8h/0h/1/2h]xpub"), "{descriptor}");
    let marks = format!("tr(musig([01020304/7/8h]{below}/2,{Y}/0))");
    assert_eq!(good(&marks), good(&marks.replace("8h", "8'")));
    // A private key without hardened steps is its public one.
    let root = "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8";
    assert_eq!(good(&format!("tr(musig({xprv}/3,{Y}))")), good(&format!("tr(musig({root}/3,{Y}))")));
    let wif = "KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU74sHUHy8S";
    let mut of_wif = good(&format!("tr(musig({wif},{B}))")).to_string();
    of_wif.truncate(of_wif.find('#').expect("a checksum"));
    assert_eq!(of_wif, format!("tr(musig({A},{B}))"), "A is three times the generator");
}

#[test]
fn descriptor_refuses_what_it_cannot_do_by_name() {
    let uncompressed = "04a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd5b8dec5235a0fa8722476c7709c02559e3aa73aa03918ba2d492eea75abea235";
    let tpub = "tpubD6NzVbkrYhZ4XYxGG5zNXe8iHn3tndWYT2xh6EaJYeYEypcsyJRNBzRmZU5NygWKLS6Rtg8BpLmmhf9EsfQdsTKxgaTwcMC9UX7y1m5qGWU";
    let xprv = "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi";
    for (given, words) in [
        (String::new(), "this kind of descriptor is not supported"),
        ("tr".into(), "the key is no musig(…)"),
        (format!("evil\u{41}({A})"), "this kind of descriptor is not supported"),
        (format!("wsh(musig({A},{B}))"), "wsh is not supported"),
        (format!("tr({A})"), "the key is no musig(…)"),
        (format!("tr({A},pk(musig({A},{B})))"), "script trees are not supported"),
        (format!("tr(musig({A},{B}),{{pk({A}),pk({B})}})"), "script trees are not supported"),
        (format!("rawtr(musig({A},{B}),pk({A}))"), "expected `)` after the key"),
        (format!("tr(musig({A},{B}))x"), "expected the end"),
        (format!("tr(musig({A},{B})"), "expected `)` after the key"),
        (format!("tr(musig({A},{B}"), "expected `,` or `)` after a participant"),
        (format!("tr(musig({A},musig({A},{B})))"), "participant 1 is itself a musig(…)"),
        ("tr(musig())".into(), "participant 0: its key is none of"),
        (format!("tr(musig({A},))"), "participant 1: its key is none of"),
        (format!("tr(musig({A},{}))", &B[2..]), "participant 1: x-only keys do not aggregate"),
        (format!("tr(musig({A},{uncompressed}))"), "participant 1: uncompressed keys do not aggregate"),
        (format!("tr(musig({A},{}00))", B), "participant 1: its key has another length"),
        (format!("tr(musig({A},02{:064x}))", 5), "participant 1: its key is no point of the curve"),
        (
            format!("tr(musig({A},5KJvsngHeMpm884wtkJNzQGaCErckhHJBGFsvd3VyK5qMZXj3hS))"),
            "for an uncompressed key",
        ),
        (format!("tr(musig({A}/0,{B}))"), "participant 0: only extended keys (xpub, xprv) have children"),
        (format!("tr(musig({X}/0h,{Y}))"), "participant 0: an xpub has no hardened children"),
        (format!("tr(musig({xprv}/*h,{Y}))"), "participant 0: hardened `*` is not supported"),
        (format!("tr(musig({xprv}/<0h;1h>,{Y}))"), "hardened steps after or in `<…;…>` are not supported"),
        (format!("tr(musig({xprv}/<0;1>/2h,{Y}))"), "hardened steps after or in `<…;…>` are not supported"),
        (format!("tr(musig({X}/*/1,{Y}))"), "`*` is the last step"),
        (format!("tr(musig({X}/*x,{Y}))"), "expected nothing after `*`"),
        (format!("tr(musig({X}/,{Y}))"), "a step is a number from 0 to 2147483647"),
        (format!("tr(musig({X}/+1,{Y}))"), "a step is a number from 0 to 2147483647"),
        (format!("tr(musig({X}/2147483648,{Y}))"), "a step is a number from 0 to 2147483647"),
        (format!("tr(musig({X}/<0>,{Y}))"), "at least two numbers, each once"),
        (format!("tr(musig({X}/<0;1;0>,{Y}))"), "at least two numbers, each once"),
        (format!("tr(musig({X}/<0;1>/<2;3>,{Y}))"), "only one `<…;…>` is allowed"),
        (format!("tr(musig({X}/<0;1>,{Y}/<0;1;2>))"), "different lengths"),
        (format!("tr(musig({X},{Y})/<0;1>/<0;1>)"), "the derivation after musig(…): only one `<…;…>`"),
        (format!("tr(musig({X},{Y}){})", "/1".repeat(9)), "the proposal has 9 child numbers of a derivation"),
        (
            format!("tr(musig({X}{},{Y}))", "/1".repeat(256)),
            "participant 0: its path is deeper than 255 steps",
        ),
        (format!("tr(musig([0102030]{X},{Y}))"), "participant 0: a fingerprint has 8 hexadecimal digits"),
        (format!("tr(musig([01020304/x]{X},{Y}))"), "participant 0: a step is a number"),
        (format!("tr(musig([01020304{X},{Y}))"), "participant 0: a fingerprint has 8"),
        (format!("tr(musig([01020304/1,{Y}))"), "participant 0: its origin has no end"),
        (format!("tr(musig({X},{tpub}))"), "participant 1 is of another network than an earlier one"),
        (format!("tr(musig({},{Y}))", X.replace("EL", "LE")), "participant 0: its key is none of"),
        (format!("tr(musig({A}{A}{A},{Y}))"), "participant 0: its key is longer than any key"),
        (
            format!("tr(musig({}))", vec![A; 129].join(",")),
            "musig(…) has 129 participants; the limits are 1 to 128",
        ),
        (format!("tr(musig({A},é))"), "the character at position"),
        ("(".repeat(70_000), "the descriptor has 70000 characters"),
    ] {
        let error = refusal(&given);
        assert!(error.contains(words), "{given}: {error}");
    }
    let long = format!("{X}{}", "/1".repeat(255));
    let words = "the paths of the participants together are longer than 1024 steps";
    assert!(refusal(&format!("tr(musig({}))", [long.as_str(); 5].join(","))).contains(words));
    good(&format!("tr(musig({}))", [long.as_str(); 4].join(",")));
    // The deepest path that works, and one key too deep for it.
    good(&format!("tr(musig({X},{Y}){})", "/1".repeat(8))).keys(0, 0).expect("deep");
    let deep = good(&format!("tr(musig({X}{},{Y}))", "/1".repeat(255)));
    assert_eq!(
        deep.keys(0, 0).unwrap_err().to_string(),
        "participant 0: it cannot be derived any deeper (BIP-32)"
    );
}

#[test]
fn descriptor_checksums() {
    // Of BIP-380 and of Bitcoin Core.
    assert_eq!(checksum("raw(deadbeef)").as_deref(), Ok("89f8spxm"));
    let body = format!("tr(musig({A},{B}))");
    let sum = checksum(&body).expect("a descriptor");
    let whole = format!("{body}#{sum}");
    assert_eq!(good(&format!(" {whole}\n")).to_string(), whole);
    let wrong = Err(DescriptorError::Checksum { expected: sum.clone() });
    for bad in ["", "#", &sum[1..], &format!("{sum}q"), &sum.to_uppercase()] {
        assert_eq!(parse(&format!("{body}#{bad}")), wrong, "{bad}");
    }
    // Every changed character is found.
    for position in 0..body.len() {
        let mut changed = body.clone().into_bytes();
        changed[position] = if changed[position] == b'q' { b'p' } else { b'q' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(
            matches!(parse(&format!("{changed}#{sum}")), Err(DescriptorError::Checksum { .. })),
            "{changed}"
        );
    }
}

/// BIP-390 allows one key twice. It has an output, but no session signs for it, so it has no address here.
#[test]
fn descriptor_with_one_key_twice_has_no_address() {
    let negated = format!("{}{}", if A.starts_with("02") { "03" } else { "02" }, &A[2..]);
    for twice in [
        format!("tr(musig({A},{B},{A}))"),
        format!("tr(musig({A},{B},{negated}))"),
        format!("tr(musig({X}/1,{Y},{X}/1)/2)"),
    ] {
        let descriptor = good(&twice);
        let repeated = DescriptorError::Keys(ProposalError::DuplicateKey { first: 0, second: 2 });
        assert_eq!(descriptor.address(Network::Bitcoin, 0, 0), Err(repeated.clone()));
        assert_eq!(descriptor.keys(0, 0), Err(repeated));
        assert_eq!(descriptor.output_script(0, 0).expect("for recognizing it").len(), 34);
    }
}

#[test]
fn descriptor_addresses_are_for_the_network_of_the_keys() {
    let descriptor = good(&format!("tr(musig({X},{Y})/0/*)"));
    assert_eq!(descriptor.network(), Some(NetworkKind::Main));
    assert!(descriptor.address(Network::Bitcoin, 0, 0).expect("good").starts_with("bc1p"));
    for network in [Network::Testnet, Network::Signet, Network::Regtest] {
        assert_eq!(descriptor.address(network, 0, 0), Err(DescriptorError::Network { network }));
    }
    let any = good(&format!("tr(musig({A},{B}))"));
    assert_eq!(any.network(), None);
    assert!(any.address(Network::Signet, 0, 0).expect("good").starts_with("tb1p"));
}
