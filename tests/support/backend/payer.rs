//! A chain for programs that spend a coin of it, such as the examples in every language.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Address, Network};
use libmusig::types::{OutPoint, SignerKey};

use super::chain::Chain;
use super::http::Server;

/// Time from one block to the next.
const BLOCK_EVERY: Duration = Duration::from_millis(300);
/// How long the block with a transaction is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A chain that is served, and whose blocks come by themselves.
pub struct Payer {
    pub chain: Arc<Chain>,
    server: Server,
}

impl Payer {
    pub fn start() -> std::io::Result<Self> {
        let chain = Arc::new(Chain::new());
        let server = Server::start(chain.clone(), Some(BLOCK_EVERY))?;
        Ok(Self { chain, server })
    }

    /// The address of its Esplora server.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A coin of 100,000 satoshis of all these signers together, `TXID:VOUT`.
    pub fn coin(&self, signers: &[SignerKey]) -> String {
        let key_set = libmusig::KeySet::new(signers);
        let key = key_set.final_key(&libmusig::Derivation::key_path([])).expect("keys of signers");
        named(&self.chain.fund(&[&[0x51, 0x20], key.x_only().as_slice()].concat(), 100_000))
    }

    /// Runs a program with the server's address as its last argument, until it ends. Each of its lines is passed on; one
    /// that is `pay SATOSHIS ADDRESS` is answered with `TXID:VOUT` on its standard input, a coin that it may spend.
    ///
    /// Errors: it did not end well, or a coin is not spent by a transaction in a block.
    pub fn run(&self, mut command: Command, mut say: impl FnMut(&str)) -> Result<(), String> {
        command.arg(self.url()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let coins = self.pay(&mut child, &mut say);
        if coins.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let coins = coins?;
        if !status.success() {
            return Err(format!("{command:?}: {status}"));
        }
        if coins.is_empty() {
            return Err("the program asked for no coin".into());
        }
        for coin in coins {
            let end = Instant::now() + PATIENCE;
            let spend = loop {
                match self.chain.spend(&coin) {
                    Some(spend) if spend.place.is_some() => break spend,
                    _ if Instant::now() > end => {
                        return Err(format!("no transaction in a block spends {}", named(&coin)));
                    }
                    _ => std::thread::park_timeout(BLOCK_EVERY),
                }
            };
            let attempts = self.chain.submissions(&spend.txid).attempts;
            say(&format!("mined {}, submitted {attempts} times", spend.txid));
        }
        Ok(())
    }

    fn pay(&self, child: &mut Child, say: &mut impl FnMut(&str)) -> Result<Vec<OutPoint>, String> {
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the program has no pipes".into());
        };
        let mut coins = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| error.to_string())?;
            say(&line);
            let Some(asked) = line.strip_prefix("pay ") else { continue };
            let (value, address) = asked.split_once(' ').ok_or("pay SATOSHIS ADDRESS")?;
            let value = value.parse().map_err(|_| format!("{value} is no number of satoshis"))?;
            let address = Address::from_str(address).map_err(|error| error.to_string())?;
            let address = address.require_network(Network::Regtest).map_err(|error| error.to_string())?;
            let coin = self.chain.fund(address.script_pubkey().as_bytes(), value);
            writeln!(input, "{}", named(&coin)).map_err(|error| error.to_string())?;
            coins.push(coin);
        }
        Ok(coins)
    }
}

fn named(coin: &OutPoint) -> String {
    format!("{}:{}", coin.txid, coin.vout)
}
