//! A network of the test's own. Each signer's process lives in a network namespace whose only way out is a TUN device;
//! the test passes the packets between them: late, only some of them, or none. So it is TCP itself that has to cope.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const DEVICE: &str = "musig0";
/// Bytes of a packet, at most.
const MTU: usize = 1400;
/// How long a process may take to take a packet before it is lost.
const TAKEN: Duration = Duration::from_millis(100);

/// What happens to packets on their way, in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    pub delay: Duration,
    /// Of a thousand packets, how many are lost.
    pub lost_of_1000: u32,
    pub cut: bool,
}

#[derive(Default)]
struct Links {
    all: Link,
    pairs: HashMap<(usize, usize), Link>,
    passed: u64,
    lost: u64,
}

/// The network, in the test's process.
pub struct Network {
    directory: tempfile::TempDir,
    links: Arc<Mutex<Links>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    pub fn new(all: Link) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let links = Arc::new(Mutex::new(Links { all, ..Links::default() }));
        let end = Arc::new(AtomicBool::new(false));
        let socket = UnixDatagram::bind(directory.path().join("router")).expect("binds");
        let router = Router {
            directory: directory.path().to_path_buf(),
            socket,
            links: links.clone(),
            end: end.clone(),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        let thread = Some(std::thread::spawn(move || router.run()));
        Self { directory, links, end, thread }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.links.lock().expect("nobody panics with it")
    }

    /// Changes what happens between two, in both directions.
    pub fn set(&self, one: usize, other: usize, link: Link) {
        self.links().pairs.extend([((one, other), link), ((other, one), link)]);
    }

    /// Nothing passes to or from a signer.
    pub fn cut_off(&self, signer: usize, n: usize) {
        (0..n).for_each(|other| self.set(signer, other, Link { cut: true, ..Link::default() }));
    }

    /// Everything passes again as it did in the beginning.
    pub fn heal(&self) {
        self.links().pairs.clear();
    }

    /// How many packets passed, and how many were lost.
    pub fn counts(&self) -> (u64, u64) {
        let links = self.links();
        (links.passed, links.lost)
    }

    /// Settings for the process of a signer.
    pub fn place(&self, signer: usize) -> Value {
        json!({
            "socket": self.directory.path().join(signer.to_string()),
            "router": self.directory.path().join("router"),
            "address": address(signer, 0),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where a signer is, after it moved so often.
pub fn address(signer: usize, moves: u8) -> String {
    format!("10.77.{moves}.{}", signer + 1)
}

struct Router {
    directory: PathBuf,
    socket: UnixDatagram,
    links: Arc<Mutex<Links>>,
    end: Arc<AtomicBool>,
    random: u64,
}

impl Router {
    fn run(mut self) {
        self.socket.set_write_timeout(Some(TAKEN)).expect("is possible");
        let mut under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
        let mut number = 0;
        let mut packet = [0; 2 * MTU];
        while !self.end.load(Ordering::SeqCst) {
            let now = Instant::now();
            while let Some(first) = under_way.first_entry().filter(|first| first.key().0 <= now) {
                let (to, bytes) = first.remove();
                // One that is dead, or does not take it in time, loses it.
                let _ = self.socket.send_to(&bytes, self.directory.join(to.to_string()));
            }
            let next = under_way.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now));
            let pause = next.unwrap_or(TAKEN).clamp(Duration::from_millis(1), TAKEN);
            self.socket.set_read_timeout(Some(pause)).expect("is possible");
            let Ok(length) = self.socket.recv(&mut packet) else { continue };
            if let Some((to, delay)) = self.route(&packet[..length]) {
                number += 1;
                under_way.insert((Instant::now() + delay, number), (to, packet[..length].to_vec()));
            }
        }
    }

    /// Where a packet goes, and how long it takes. `None`: it is lost, or none of ours.
    fn route(&mut self, packet: &[u8]) -> Option<(usize, Duration)> {
        let [0x45, .., from, _, _, _, to] = packet.get(..20)? else { return None };
        let (from, to) = (usize::from(*from).checked_sub(1)?, usize::from(*to).checked_sub(1)?);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let mut links = self.links.lock().expect("nobody panics with it");
        let link = links.pairs.get(&(from, to)).copied().unwrap_or(links.all);
        if link.cut || self.random % 1000 < u64::from(link.lost_of_1000) {
            links.lost += 1;
            return None;
        }
        links.passed += 1;
        Some((to, link.delay))
    }
}

/// Where the process of a signer lives.
pub struct Place {
    address: String,
}

impl Place {
    /// Moves this thread, and those that it starts from now on, into a network namespace of their own.
    pub fn enter(settings: &Value) -> Self {
        let path = |name: &str| Path::new(settings[name].as_str().expect("is set")).to_path_buf();
        let device = Arc::new(enter().expect("may have a network of its own"));
        let mut place = Self { address: String::new() };
        ip("link set lo up").expect("works");
        ip(&format!("link set {DEVICE} up mtu {MTU}")).expect("works");
        place.move_to(settings["address"].as_str().expect("is set"));
        let _ = std::fs::remove_file(path("socket"));
        let inbound = UnixDatagram::bind(path("socket")).expect("binds");
        let outbound = UnixDatagram::unbound().expect("a socket");
        outbound.connect(path("router")).expect("is there");
        let (reader, writer) = (device.clone(), device);
        std::thread::spawn(move || {
            let mut packet = [0; 2 * MTU];
            while let Ok(length @ 1..) = (&*reader).read(&mut packet) {
                let _ = outbound.send(&packet[..length]);
            }
        });
        std::thread::spawn(move || {
            let mut packet = [0; 2 * MTU];
            while let Ok(length) = inbound.recv(&mut packet) {
                let _ = (&*writer).write(&packet[..length]);
            }
        });
        place
    }

    /// Takes another address; the one before is gone.
    pub fn move_to(&mut self, address: &str) {
        if !self.address.is_empty() {
            ip(&format!("addr del {}/16 dev {DEVICE}", self.address)).expect("works");
        }
        ip(&format!("addr add {address}/16 dev {DEVICE}")).expect("works");
        self.address = address.to_owned();
    }
}

/// Whether this process may do that.
pub fn available() -> Result<(), String> {
    std::thread::spawn(|| enter().and_then(|_| ip("link set lo up"))).join().expect("no panic")
}

/// A namespace of this thread's own, with a device in it.
fn enter() -> Result<File, String> {
    let failed = |what: &str| Err(format!("{what}: {}; needs root", std::io::Error::last_os_error()));
    // SAFETY: concerns this thread alone, and no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return failed("no network namespace");
    }
    let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") else {
        return failed("no /dev/net/tun");
    };
    // SAFETY: all zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the request is what this ioctl takes.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &request) } != 0 {
        return failed("no TUN device");
    }
    Ok(device)
}

/// Runs iproute2's `ip` in the namespace of this thread.
fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|error| format!("no ip command ({error}): install iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
