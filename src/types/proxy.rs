//! Address of a SOCKS 5 proxy, as the network and the ready-made backends read it.

// Plain data: nothing is opened here.
use core::net::SocketAddr;
use std::fmt;

/// A proxy that resolves names, and its login.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyAddress {
    pub address: SocketAddr,
    pub login: Option<(String, String)>,
}

impl ProxyAddress {
    /// Reads `socks5h://[user:password@]ip:port`. Errors say what to write; they do not repeat a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let how = "write the proxy like socks5h://127.0.0.1:9050, or socks5h://user:password@127.0.0.1:9050";
        let Some(rest) = text.trim().strip_prefix("socks5h://") else {
            return Err(format!("the proxy must resolve names, which socks5h does; {how}"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        // The name of the proxy itself would be looked up beside it.
        let host =
            host.strip_prefix("localhost:").map_or(host.to_owned(), |port| format!("127.0.0.1:{port}"));
        let address: SocketAddr =
            host.parse().map_err(|_| format!("the proxy needs an IP address and a port; {how}"))?;
        if address.port() == 0 {
            return Err(format!("port 0 is no proxy's; {how}"));
        }
        let login = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => None,
            Some(Ok((user, password))) => Some((user.to_owned(), password.to_owned())),
            Some(Err(_)) => return Err(format!("the proxy's login needs a user and a password; {how}")),
        };
        if let Some((user, password)) = &login
            && [user, password].iter().any(|part| part.is_empty() || part.len() > 255)
        {
            return Err(format!("user and password of the proxy have 1 to 255 bytes each; {how}"));
        }
        Ok(Self { address, login })
    }
}

/// Without the password.
impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn through_proxy_takes_a_proxy_that_resolves_names_and_whose_own_needs_none() {
        let plain = ProxyAddress::parse(" socks5h://127.0.0.1:9050/ ").unwrap();
        assert_eq!(plain, ProxyAddress { address: "127.0.0.1:9050".parse().unwrap(), login: None });
        assert_eq!(ProxyAddress::parse("socks5h://localhost:9050").unwrap(), plain);
        let login = ProxyAddress::parse("socks5h://me:p@ss:word@[::1]:9050").unwrap();
        assert_eq!(login.login, Some(("me".into(), "p@ss:word".into())));
        assert!(!format!("{login:?}").contains("word"));
        for text in [
            "",
            "127.0.0.1:9050",
            "socks5://127.0.0.1:9050",
            "http://127.0.0.1:9050",
            "socks5h://tor.example:9050",
            "socks5h://127.0.0.1",
            "socks5h://127.0.0.1:0",
            "socks5h://secret@127.0.0.1:9050",
            "socks5h://secret:@127.0.0.1:9050",
        ] {
            let error = ProxyAddress::parse(text).expect_err(text);
            assert!(error.contains("socks5h://127.0.0.1:9050") && !error.contains("secret"), "{error}");
        }
    }
}
