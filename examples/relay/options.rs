//! What the relay is told on its command line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use libmusig::Multiaddr;
use libp2p::identity::Keypair;

const USAGE: &str = "\
relay: lets signers find and reach each other. It prints a line `listening ADDRESS` for each address, to be given to
nodes as bootstrap peer and as relay.

  --listen ADDRESS           where to listen, such as /ip4/0.0.0.0/tcp/4001 (may be repeated; default: that)
  --external ADDRESS         where it is reached, if that is not where it listens, as /dns4/relay.example/tcp/4001
  --identity FILE            keeps its peer id in this file, which is made if it is not there; default: a new one each time
  --bootstrap ADDRESS        another such server, with its /p2p/..., to share the hash table with (may be repeated)
  --max-connections N        default 4096
  --max-connections-per-ip N default 256; besides, one IP address opens 64 at once, and one a second
  --max-reservations N       nodes that can be reached through it; default 1024
  --max-circuits N           connections through it; default 4096
  --circuit-seconds N        how long one lasts; default 3600
  --circuit-bytes N          how much goes through one, in each direction; default 67108864
  --max-records N            presences it keeps, of at most 4 KiB each; default 65536";

pub struct Options {
    pub listen: Vec<Multiaddr>,
    pub external: Vec<Multiaddr>,
    pub bootstrap: Vec<Multiaddr>,
    identity: Option<PathBuf>,
    pub max_connections: u32,
    pub max_connections_per_ip: u32,
    pub max_reservations: usize,
    pub max_circuits: usize,
    pub circuit_duration: Duration,
    pub circuit_bytes: u64,
    pub max_records: usize,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut this = Self {
            listen: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            identity: None,
            max_connections: 4096,
            max_connections_per_ip: 256,
            max_reservations: 1024,
            max_circuits: 4096,
            circuit_duration: Duration::from_secs(3600),
            circuit_bytes: 64 << 20,
            max_records: 65_536,
        };
        while let Some(option) = arguments.next() {
            if option == "--help" {
                return Err(USAGE.into());
            }
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value\n\n{USAGE}"))?;
            let address =
                || value.parse::<Multiaddr>().map_err(|error| format!("{value} is no address: {error}"));
            let number = || value.parse::<u64>().map_err(|error| format!("{value} is no number: {error}"));
            let size = || number().map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            match option.as_str() {
                "--listen" => this.listen.push(address()?),
                "--external" => this.external.push(address()?),
                "--bootstrap" => this.bootstrap.push(address()?),
                "--identity" => this.identity = Some(value.into()),
                "--max-connections" => this.max_connections = u32::try_from(number()?).unwrap_or(u32::MAX),
                "--max-connections-per-ip" => {
                    this.max_connections_per_ip = u32::try_from(number()?).unwrap_or(u32::MAX);
                }
                "--max-reservations" => this.max_reservations = size()?,
                "--max-circuits" => this.max_circuits = size()?,
                "--circuit-seconds" => this.circuit_duration = Duration::from_secs(number()?),
                "--circuit-bytes" => this.circuit_bytes = number()?,
                "--max-records" => this.max_records = size()?,
                _ => return Err(format!("there is no option {option}\n\n{USAGE}")),
            }
        }
        if this.listen.is_empty() {
            this.listen.push("/ip4/0.0.0.0/tcp/4001".parse().expect("a well-formed address"));
        }
        Ok(this)
    }

    /// The key that the peer id comes from.
    pub fn identity(&self) -> Result<Keypair, String> {
        let Some(path) = &self.identity else { return Ok(Keypair::generate_ed25519()) };
        let name = path.display();
        match std::fs::read(path) {
            Ok(bytes) => Keypair::from_protobuf_encoding(&bytes).map_err(|error| {
                format!("{name} holds no identity ({error}); move it away to get a new one")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Keypair::generate_ed25519();
                let bytes = key.to_protobuf_encoding().expect("an ed25519 key has an encoding");
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let written = options.open(path).and_then(|mut file| file.write_all(&bytes));
                written.map_err(|error| format!("{name} cannot be written: {error}"))?;
                Ok(key)
            }
            Err(error) => Err(format!("{name} cannot be read: {error}")),
        }
    }
}
