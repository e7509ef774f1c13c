//! Where the demo's transaction goes: an embedded chain, or a real Bitcoin node on regtest; and the signers' coins there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::bip32::{Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, NetworkKind};
use libmusig::{Derivation, Descriptor, KeySet, SignerKey, Txid, to_hex};
use serde_json::{Value, json};

use crate::coins::{Coin, fund};
use crate::regtest::Regtest;
use test_support::backend::chain::Chain;
use test_support::backend::http::Server;
use test_support::psbt::{MusigCoin, psbt, unsigned};

/// A block of the embedded chain, while the demo runs.
const BLOCK_EVERY: Duration = Duration::from_millis(300);
/// What the signers of a real node's coins pay for their transaction, in satoshi.
const FEE: u64 = 2_000;
/// What they pay to somebody else.
const PAYMENT: u64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Knots,
}

pub enum Backend {
    Embedded { chain: Arc<Chain>, server: Server },
    Knots(Regtest),
}

/// What a signer's process is told of the chain.
#[derive(Clone)]
pub struct Access {
    pub url: String,
    /// The cookie file of a Bitcoin node.
    pub cookie: Option<PathBuf>,
}

/// The transaction to sign, as the proposer is told, and how many coins it spends.
pub struct Spend {
    pub order: Value,
    pub inputs: usize,
    /// For each signer the extended private key of its account in the wallet, if it has one.
    pub accounts: Vec<Option<String>>,
}

impl Backend {
    pub fn start(kind: Kind) -> Result<Self, String> {
        match kind {
            Kind::Embedded => {
                let chain = Arc::new(Chain::new());
                let server =
                    Server::start(chain.clone(), Some(BLOCK_EVERY)).map_err(|error| error.to_string())?;
                Ok(Self::Embedded { chain, server })
            }
            Kind::Knots => {
                let missing = "there is no Bitcoin node: see above, and tests/bitcoin/fetch.sh";
                Regtest::start("the demo", &[]).map(Self::Knots).ok_or_else(|| missing.into())
            }
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded { .. } => "embedded",
            Self::Knots(_) => "knots",
        }
    }

    pub fn access(&self) -> Access {
        match self {
            Self::Embedded { server, .. } => Access { url: server.url(), cookie: None },
            Self::Knots(node) => Access { url: node.address(), cookie: Some(node.cookie()) },
        }
    }

    /// Gives the signers coins, and says what spends them.
    pub fn spend(&self, signers: &[SignerKey]) -> Result<Spend, String> {
        match self {
            Self::Embedded { chain, .. } => {
                let output_key = KeySet::new(signers).final_key(&Derivation::key_path([]));
                let output_key = *output_key.map_err(|error| error.to_string())?.x_only();
                let script = [&[0x51, 0x20][..], &output_key].concat();
                let value = 100_000;
                // Everything but the fee goes back to the same key.
                let unsigned = unsigned(&[chain.fund(&script, value)], &[(value - 1_000, script.clone())]);
                let (transaction, script) =
                    (to_hex(&bitcoin::consensus::serialize(&unsigned)), to_hex(&script));
                let order = json!({ "transaction": transaction, "value": value, "script": script });
                Ok(Spend { order, inputs: 1, accounts: vec![None; signers.len()] })
            }
            Self::Knots(node) => wallet_spend(node, signers.len()),
        }
    }

    /// Puts what was submitted into a block, where the chain does not do that by itself.
    pub fn mine(&self) {
        if let Self::Knots(node) = self {
            node.mine(1);
        }
    }

    /// The height of the block that has a transaction, by the chain itself.
    pub fn height_of(&self, txid: &Txid) -> Option<u32> {
        match self {
            Self::Embedded { chain, .. } => chain.status(txid)?,
            Self::Knots(node) => node.height_of(txid),
        }
    }

    /// How often the embedded chain was given a transaction; a real node does not count.
    pub fn submissions(&self, txid: &Txid) -> Option<usize> {
        match self {
            Self::Embedded { chain, .. } => Some(chain.submissions(txid).attempts as usize),
            Self::Knots(_) => None,
        }
    }
}

/// A wallet `tr(musig(…)/<0;1>/*)` with two coins at its first addresses, and a PSBT that pays from both, with change.
fn wallet_spend(node: &Regtest, signers: usize) -> Result<Spend, String> {
    let secp = Secp256k1::new();
    let mut accounts = Vec::with_capacity(signers);
    for _ in 0..signers {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| "the system gives no random bytes")?;
        accounts.push(Xpriv::new_master(NetworkKind::Test, &seed).map_err(|error| error.to_string())?);
    }
    let public: Vec<String> =
        accounts.iter().map(|account| Xpub::from_priv(&secp, account).to_string()).collect();
    let text = format!("tr(musig({})/<0;1>/*)", public.join(","));
    let descriptor: Descriptor = text.parse().map_err(|error| format!("{error}"))?;
    let address = |branch, index| {
        descriptor.address(Network::Regtest, branch, index).map_err(|error| error.to_string())
    };
    let mut coins = Vec::new();
    for index in 0..2 {
        let keys = descriptor.keys(0, index).map_err(|error| error.to_string())?;
        let script = descriptor.output_script(0, index).map_err(|error| error.to_string())?;
        // The node reads the address as this library wrote it.
        let known = node.call("validateaddress", json!([address(0, index)?]));
        if known["scriptPubKey"] != to_hex(&script) {
            return Err(format!("the node reads {} otherwise: {known}", address(0, index)?));
        }
        let Coin { at, value, .. } = fund(node, &script, 1).remove(0);
        coins.push(MusigCoin { at, value, key_set: keys.key_set, derivation: keys.derivation });
    }
    let total: u64 = coins.iter().map(|coin| coin.value).sum();
    let change = descriptor.output_script(1, 0).map_err(|error| error.to_string())?;
    let somebody = [&[0x00, 0x14][..], &[0x5a; 20]].concat();
    let outputs = [(PAYMENT, somebody), (total - PAYMENT - FEE, change)];
    let psbt = psbt(&coins, &outputs).to_base64();
    let order = json!({ "psbt": psbt, "descriptor": descriptor.to_string() });
    let accounts = accounts.iter().map(|account| Some(account.to_string())).collect();
    Ok(Spend { order, inputs: coins.len(), accounts })
}
