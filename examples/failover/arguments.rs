//! The options of the demo.

use std::time::Duration;

use libmusig::{ElectionMethod, Tiers};

use crate::backend::Kind;

const HELP: &str = "\
usage: failover [--signers N] [--kill K] [--timeout-ms T] [--method M] [--tiers S] [--backend B] [--watch]

  --signers N      how many signers, 1 to 32 (default 5)
  --kill K         how many of the first coordinators are killed, 0 to N-1 (default 2)
  --timeout-ms T   how long each turn lasts, 1000 or more (default 2000)
  --method M       lexicographic, hash-based, first-signer, last-signer or session-salted (default lexicographic)
  --tiers S        single, doubling, or how many signers take their turn together (default single)
  --backend B      embedded, or knots: Bitcoin Knots on regtest, fetched once (default embedded)
  --watch          at a terminal one line for each signer, as it is now, instead of a line for each thing that happens";

pub struct Options {
    pub signers: usize,
    pub kill: usize,
    pub timeout: Duration,
    pub method: ElectionMethod,
    pub tiers: Tiers,
    pub backend: Kind,
    pub watch: bool,
}

/// The names of the election methods, in the order of `ElectionMethod::ALL`.
const METHODS: [&str; 5] = ["lexicographic", "hash-based", "first-signer", "last-signer", "session-salted"];

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            signers: 5,
            kill: 2,
            timeout: Duration::from_millis(2000),
            method: ElectionMethod::Lexicographic,
            tiers: Tiers::Single,
            backend: Kind::Embedded,
            watch: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--watch" {
                options.watch = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| HELP.to_owned())?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number\n{HELP}"));
            match name.as_str() {
                "--signers" => options.signers = number()? as usize,
                "--kill" => options.kill = number()? as usize,
                "--timeout-ms" => options.timeout = Duration::from_millis(number()?),
                "--method" => {
                    let position = METHODS.iter().position(|method| *method == value);
                    let position = position.ok_or_else(|| format!("there is no method {value}\n{HELP}"))?;
                    options.method = ElectionMethod::ALL[position];
                }
                "--tiers" => {
                    options.tiers = match value.as_str() {
                        "single" => Tiers::Single,
                        "doubling" => Tiers::Doubling,
                        _ => Tiers::Fixed(number()?.clamp(1, 128) as u16),
                    }
                }
                "--backend" => {
                    options.backend = match value.as_str() {
                        "embedded" => Kind::Embedded,
                        "knots" => Kind::Knots,
                        _ => return Err(format!("there is no backend {value}\n{HELP}")),
                    }
                }
                _ => return Err(HELP.into()),
            }
        }
        let fits = (1..=32).contains(&options.signers)
            && options.kill < options.signers
            && (1000..=3_600_000).contains(&options.timeout.as_millis());
        if fits { Ok(options) } else { Err(HELP.into()) }
    }
}
