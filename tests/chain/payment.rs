//! Transactions to test with: of signers with MuSig2 keys, and of nobody in particular.

use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Transaction, Witness};
use libmusig::chain::transaction::{SigningKey, messages};
use libmusig::protocol::crypto::key_set::{Derivation, KeySet, Taproot};
use libmusig::protocol::proposal::{SighashType, SpentOutput, Terms, TransactionTerms};
use libmusig::types::{OutPoint, Signature, Txid};

use test_support::backend::chain::Chain;
use test_support::party::{Party, key_of, slices};
pub use test_support::psbt::unsigned;

/// An output script of a Taproot key.
pub fn taproot_script(key: &[u8; 32]) -> Vec<u8> {
    [&[0x51, 0x20], key.as_slice()].concat()
}

/// `OP_DROP OP_1` in P2WSH: anybody spends it with any element, so it has many witnesses.
pub const ANYBODY: [u8; 2] = [0x75, 0x51];

pub fn anybody_script() -> Vec<u8> {
    [&[0x00, 0x20], sha256::Hash::hash(&ANYBODY).as_byte_array().as_slice()].concat()
}

pub fn anybody_witness(element: &[u8]) -> Witness {
    Witness::from_slice(&[element, &ANYBODY])
}

/// Spends what anybody can spend.
pub fn anybody_pays(spends: &[OutPoint], value: u64) -> Transaction {
    let mut transaction = unsigned(spends, &[(value, anybody_script())]);
    transaction.input.iter_mut().for_each(|input| input.witness = anybody_witness(&[1]));
    transaction
}

pub fn txid(transaction: &Transaction) -> Txid {
    Txid(transaction.compute_txid().to_byte_array())
}

/// Three signers who spend two of their outputs, of different keys, and one output that anybody can spend (it comes
/// second, with its witness).
pub struct Payment {
    pub transaction: Transaction,
    pub spent: Vec<SpentOutput>,
    pub keys: Vec<SigningKey>,
    pub sighash_type: SighashType,
}

pub const SIGNERS: u8 = 3;

impl Payment {
    pub fn new(chain: &Chain, sighash_type: SighashType) -> Self {
        let signers: Vec<_> = (1..=SIGNERS).map(key_of).collect();
        let key_set = KeySet::new(&signers);
        let with_scripts = Derivation { path: vec![0, 7], taproot: Taproot::MerkleRoot([0x2a; 32]) };
        let keys: Vec<_> = [Derivation::key_path([]), with_scripts]
            .map(|derivation| SigningKey {
                output_key: *key_set.final_key(&derivation).expect("three signers").x_only(),
                key_set: 0,
                derivation,
            })
            .to_vec();
        let spent = [
            (60_000, taproot_script(&keys[1].output_key)),
            (10_000, anybody_script()),
            (50_000, taproot_script(&keys[0].output_key)),
        ]
        .map(|(value, script)| SpentOutput { value, script })
        .to_vec();
        let spends: Vec<_> = spent.iter().map(|output| chain.fund(&output.script, output.value)).collect();
        let mut transaction = unsigned(&spends, &[(100_000, anybody_script()), (19_000, vec![0x51])]);
        transaction.input[1].witness = anybody_witness(&[1]);
        Self { transaction, spent, keys, sighash_type }
    }

    pub fn bytes(&self) -> Vec<u8> {
        serialize(&self.transaction)
    }

    /// The proposal with its signers; `change` may alter the terms before.
    pub fn party(&self, change: impl FnOnce(&mut Terms)) -> Party {
        let messages =
            messages(&self.bytes(), &self.spent, &self.keys, self.sighash_type).expect("has inputs");
        Party::new(SIGNERS, |terms| {
            terms.messages = messages;
            terms.transaction = Some(TransactionTerms { unsigned: self.bytes(), spent: self.spent.clone() });
            change(terms);
        })
    }
}

/// Both rounds.
pub fn sign(party: &Party) -> Vec<Signature> {
    let round = party.round(&party.nonces(0));
    let partials = party.partials(0, &round);
    let signatures = round.aggregate(&slices(&partials)).expect("all are honest");
    assert!(party.keys.verify_signatures(&signatures));
    signatures
}
