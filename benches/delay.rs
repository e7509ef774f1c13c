//! A proxy on loopback that hands on each byte later than it came.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Lives as long as the process.
pub struct Proxy {
    port: u16,
}

impl Proxy {
    /// `target`: the multiaddress of a node on loopback.
    pub fn start(target: &str, delay: Duration) -> Self {
        let port = target.split('/').skip_while(|word| *word != "tcp").nth(1);
        let target: u16 = port.and_then(|port| port.parse().ok()).expect("it has a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for incoming in listener.incoming().map_while(Result::ok) {
                let Ok(outgoing) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let (Ok(back), Ok(forth)) = (outgoing.try_clone(), incoming.try_clone()) else { continue };
                hand_on(incoming, outgoing, delay);
                hand_on(back, forth, delay);
            }
        });
        Self { port }
    }

    /// Where it listens, as a multiaddress.
    pub fn address(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.port)
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    let _ = to.set_nodelay(true);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (at, bytes) in receiver {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
