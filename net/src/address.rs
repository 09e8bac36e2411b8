//! Host and port, as written in `bootstrap.servers`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host name or address, and a port. Written `broker:9092`, `10.0.0.1:9092` or `[::1]:9092`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The host; an IPv6 address stands here without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// A host and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

/// A text that is no host and port.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not an address: write HOST:PORT, or [HOST]:PORT for IPv6, with a port from 0 to 65535")]
pub struct AddressError {
    text: String,
}

impl FromStr for HostPort {
    type Err = AddressError;

    /// Reads `host:port`. A protocol before it (`PLAINTEXT://host:port`) is passed over, as Java does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError { text: text.to_owned() };
        let plain = text.trim();
        let plain = plain.split_once("://").map_or(plain, |(_, address)| address);
        let (host, port) = plain.rsplit_once(':').ok_or_else(error)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) if inner.contains(':') => inner,
            None if !host.contains(['[', ']']) => host,
            _ => return Err(error()),
        };
        // Java takes `::1:9092` for the address ::1 as well; a host with colons is one only where it is an address.
        let is_host = !host.is_empty()
            && !host.contains(|character: char| character.is_whitespace() || character == '/' || character == ',')
            && (!host.contains(':') || host.split('%').next().unwrap_or("").parse::<std::net::Ipv6Addr>().is_ok());
        if !is_host || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        Ok(Self::new(host, port.parse().map_err(|_| error())?))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, written) in [
            ("broker:9092", "broker", "broker:9092"),
            (" 10.0.0.1:9092 ", "10.0.0.1", "10.0.0.1:9092"),
            ("[::1]:9092", "::1", "[::1]:9092"),
            ("::1:9092", "::1", "[::1]:9092"),
            ("PLAINTEXT://b.example:9092", "b.example", "b.example:9092"),
        ] {
            let address: HostPort = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, 9092));
            assert_eq!(address.to_string(), written);
        }
        for bad in [
            "",
            "broker",
            ":9092",
            "broker:",
            "broker:99999",
            "broker:-1",
            "broker:+1",
            "a b:1",
            "[a]:1",
            "[::1:1",
            "a:b:1",
            "http://x/y:1",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }
}
