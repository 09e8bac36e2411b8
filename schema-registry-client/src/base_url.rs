//! A base URL of the registry, taken apart once.

use std::fmt::Write as _;

use crate::error::RegistryError;
use crate::settings::BasicAuth;

/// Where one base URL leads.
#[derive(Clone)]
pub(crate) struct BaseUrl {
    /// Host name or address, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port` as the Host header wants it.
    pub(crate) authority: String,
    /// The path before the registry's own paths, without a slash at its end; often empty.
    pub(crate) path: String,
    /// The Authorization header's value.
    pub(crate) authorization: Option<String>,
}

impl BaseUrl {
    /// Reads a URL; `auth` serves where the URL has no credentials.
    pub(crate) fn parse(text: &str, auth: Option<&BasicAuth>) -> Result<Self, RegistryError> {
        let wrong = |reason: &str| RegistryError::Setting {
            name: "schema.registry.url",
            reason: format!("{:?}: {reason}", without_credentials(text)),
        };
        let uri: hyper::Uri = text.trim().parse().map_err(|error| wrong(&format!("not a URL: {error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "https is not supported by this client yet: it has no TLS; use an http URL, or a local proxy that \
                     speaks TLS to the registry",
                ));
            }
            _ => return Err(wrong("it must begin with http://")),
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("a base URL has no query and no fragment"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let bracketed = authority.host();
        if bracketed.is_empty() {
            return Err(wrong("it names no host"));
        }
        // The URI type reads a port that does not fit as no port.
        let host_and_port = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
        let port = match host_and_port.strip_prefix(bracketed).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port.parse::<u16>().map_err(|_| wrong("the port is not a number up to 65535"))?,
            None => 80,
        };
        let credentials = match authority.as_str().rsplit_once('@') {
            Some((user_info, _)) => {
                let (username, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                let decode = |part| percent_decode(part).ok_or_else(|| wrong("its user or password is not UTF-8"));
                Some(BasicAuth { username: decode(username)?, password: decode(password)? })
            }
            None => auth.cloned(),
        };
        if credentials.as_ref().is_some_and(|credentials| credentials.username.contains(':')) {
            return Err(RegistryError::Setting {
                name: "basic.auth.user.info",
                reason: "a user name for basic authentication cannot have a colon".into(),
            });
        }
        Ok(Self {
            host: bracketed.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority: format!("{bracketed}:{port}"),
            path: uri.path().trim_end_matches('/').to_owned(),
            authorization: credentials
                .map(|auth| format!("Basic {}", base64(format!("{}:{}", auth.username, auth.password).as_bytes()))),
        })
    }
}

/// The URL as it may be shown.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_len);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{tail}"),
        None => text.to_owned(),
    }
}

/// Encodes one segment of a path, or a query value: everything but RFC 3986's unreserved characters, so that a
/// subject with a slash stays one segment.
pub(crate) fn percent_encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for &byte in segment.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `None` where the result is not UTF-8. A percent sign without two digits stays as it is.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)),
            _ => None,
        };
        match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                let index = (group >> (18 - 6 * position)) & 0x3f;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BaseUrl, String> {
        BaseUrl::parse(text, None).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_are_taken_apart() {
        let url = parse("http://user%40x:pa%3Ass@[::1]:9081/apis/ccompat/v7/").expect("a URL");
        assert_eq!((url.host.as_str(), url.port, url.authority.as_str()), ("::1", 9081, "[::1]:9081"));
        assert_eq!(url.path, "/apis/ccompat/v7");
        assert_eq!(url.authorization.as_deref(), Some("Basic dXNlckB4OnBhOnNz"));
        let plain = parse("http://registry").expect("a URL");
        assert_eq!((plain.port, plain.path.as_str(), plain.authorization), (80, "", None));
    }

    #[test]
    fn credentials_of_the_url_win_over_the_setting() {
        let auth = BasicAuth { username: "u".into(), password: "p".into() };
        let url = BaseUrl::parse("http://h", Some(&auth)).expect("a URL");
        assert_eq!(url.authorization.as_deref(), Some("Basic dTpw"));
        let url = BaseUrl::parse("http://a:b@h", Some(&auth)).expect("a URL");
        assert_eq!(url.authorization.as_deref(), Some("Basic YTpi"));
    }

    #[test]
    fn what_cannot_be_reached_is_said_without_the_password() {
        for (text, part) in [
            ("https://u:secret@h", "no TLS"),
            ("localhost:8081", "must begin with http://"),
            ("ftp://h", "must begin with http://"),
            ("http://h?x=1", "no query"),
            ("http://h:99999", "the port is not"),
            ("http://h:", "the port is not"),
            ("http://", "URL"),
            ("", "URL"),
        ] {
            let message = parse(text).err().expect("an error");
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains("schema.registry.url") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn segments_keep_nothing_that_a_path_would_read() {
        assert_eq!(percent_encode("a/b c:.é%?#-_~"), "a%2Fb%20c%3A.%C3%A9%25%3F%23-_~");
        assert_eq!(percent_decode("a%2Fb%zz%2").as_deref(), Some("a/b%zz%2"));
        assert_eq!(percent_decode("%ff"), None);
    }

    #[test]
    fn base64_has_the_rfc_vectors() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
