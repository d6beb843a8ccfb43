//! Listeners as properties write them: `NAME://host:port` lists and the map from names to security protocols.

use std::fmt;

/// One `NAME://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// The listener's name, upper case.
    pub name: String,
    /// Host name or address, without brackets; empty is every address (only where it is listened).
    pub host: String,
    /// The port; 0 lets the system choose (only where it is listened).
    pub port: u16,
}

/// How a listener's clients are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's word.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    fn parse(word: &str) -> Option<SecurityProtocol> {
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        [Plaintext, Ssl, SaslPlaintext, SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(word))
    }
}

/// Why a list of listeners cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// Not of the form.
    #[error("'{0}' is not a listener: NAME://host:port is expected")]
    Form(String),
    /// The port is not a number up to 65535.
    #[error("'{0}': the port must be a number from 0 to 65535")]
    Port(String),
    /// The same name twice.
    #[error("listener {0} is named twice")]
    Twice(String),
    /// An entry of the map is not `NAME:PROTOCOL`.
    #[error("'{0}': NAME:PROTOCOL is expected, with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")]
    Protocol(String),
}

impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(out, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// Parses a comma-separated list of listeners; names are unique.
pub fn parse_listeners(text: &str) -> Result<Vec<Listener>, ListenerError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let listener = parse_listener(entry)?;
        if listeners.iter().any(|other| other.name == listener.name) {
            return Err(ListenerError::Twice(listener.name));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn parse_listener(entry: &str) -> Result<Listener, ListenerError> {
    let form = || ListenerError::Form(entry.to_string());
    let (name, address) = entry.split_once("://").ok_or_else(form)?;
    let known =
        |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' || letter == '.';
    if name.is_empty() || !name.chars().all(known) {
        return Err(form());
    }
    let (host, port) = split_address(address).ok_or_else(form)?;
    let port = port.parse().map_err(|_| ListenerError::Port(entry.to_string()))?;
    Ok(Listener {
        name: name.to_ascii_uppercase(),
        host: host.to_string(),
        port,
    })
}

/// `host:port`, `[v6]:port` or `:port` as its two parts; a bare IPv6 address is refused, since its last part could be a port.
pub fn split_address(address: &str) -> Option<(&str, &str)> {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split_once("]:");
    }
    let (host, port) = address.rsplit_once(':')?;
    (!host.contains(':')).then_some((host, port))
}

/// Parses `NAME:PROTOCOL,…`.
pub fn parse_protocol_map(text: &str) -> Result<Vec<(String, SecurityProtocol)>, ListenerError> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let parsed = entry.split_once(':').and_then(|(name, protocol)| {
                Some((
                    name.trim().to_ascii_uppercase(),
                    SecurityProtocol::parse(protocol.trim())?,
                ))
            });
            parsed.ok_or_else(|| ListenerError::Protocol(entry.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_printed() {
        let text = "PLAINTEXT://localhost:9092,CONNECTIONS_FROM_HOST://127.0.0.2:19092,V6://[::1]:1,ANY://:0";
        let parsed = parse_listeners(text).expect("a list");
        assert_eq!(parsed.len(), 4);
        assert_eq!((parsed[2].host.as_str(), parsed[3].host.as_str()), ("::1", ""));
        let printed: Vec<String> = parsed.iter().map(Listener::to_string).collect();
        assert_eq!(printed.join(","), text);
    }

    #[test]
    fn broken_lists_are_named() {
        for (text, error) in [
            ("localhost:9092", ListenerError::Form("localhost:9092".into())),
            ("A://::1:9", ListenerError::Form("A://::1:9".into())),
            ("A://h:99999", ListenerError::Port("A://h:99999".into())),
            ("A://h:1,a://h:2", ListenerError::Twice("A".into())),
        ] {
            assert_eq!(parse_listeners(text), Err(error), "{text}");
        }
        assert_eq!(
            parse_protocol_map("A:FOO"),
            Err(ListenerError::Protocol("A:FOO".into()))
        );
        assert_eq!(
            parse_protocol_map("a:ssl"),
            Ok(vec![("A".into(), SecurityProtocol::Ssl)])
        );
    }
}
