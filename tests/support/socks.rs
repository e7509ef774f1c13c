//! A small SOCKS 5 proxy (RFC 1928, RFC 1929) that notes what it is asked for. Whatever that is, it is on this machine.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// See the module. Its threads end with the process.
#[derive(Clone)]
pub struct Socks {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Serves at an address those who have this login.
    pub fn start(address: &str, login: (&'static str, &'static str)) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let this = Self { asked: Arc::default() };
        let serving = this.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let this = serving.clone();
                std::thread::spawn(move || this.serve(client, login));
            }
        });
        this
    }

    /// What it was asked for, as `host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn serve(&self, mut client: TcpStream, (user, password): (&str, &str)) -> io::Result<()> {
        let [version, methods] = read(&mut client)?;
        let mut offered = vec![0; usize::from(methods)];
        client.read_exact(&mut offered)?;
        if version != 5 || !offered.contains(&2) {
            return client.write_all(&[5, 0xff]);
        }
        client.write_all(&[5, 2])?;
        let [_, length] = read(&mut client)?;
        let given_user = text(&mut client, length)?;
        let [length] = read(&mut client)?;
        let given_password = text(&mut client, length)?;
        let good = given_user == user && given_password == password;
        client.write_all(&[1, u8::from(!good)])?;
        if !good {
            return Ok(());
        }
        let [_, command, _, kind] = read(&mut client)?;
        let host = match kind {
            1 => Ipv4Addr::from(read::<4>(&mut client)?).to_string(),
            4 => Ipv6Addr::from(read::<16>(&mut client)?).to_string(),
            _ => {
                let [length] = read(&mut client)?;
                text(&mut client, length)?
            }
        };
        let port = u16::from_be_bytes(read(&mut client)?);
        self.asked.lock().unwrap().push(format!("{host}:{port}"));
        let refuse = |mut client: TcpStream, code: u8| client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
        if command != 1 {
            return refuse(client, 7);
        }
        let Ok(target) = TcpStream::connect(("127.0.0.1", port)) else { return refuse(client, 5) };
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        let (mut from, mut to) = (client.try_clone()?, target.try_clone()?);
        std::thread::spawn(move || copy(&mut from, &mut to));
        copy(&mut { target }, &mut client);
        Ok(())
    }
}

/// Copies until the end, and passes that on.
fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(stream: &mut TcpStream, length: u8) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}
