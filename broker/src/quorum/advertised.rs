//! Advertised addresses change while the broker runs: from the admin API, and from a watched file
//! (`advertised.listeners.file`).
//!
//! The file is JSON, by node id and listener name, so that one file serves all pods of a StatefulSet:
//! `{"0": {"EXTERNAL": "203.0.113.7:31092"}, "1": {…}}`. It is read again every second; mounted ConfigMaps replace
//! files by renaming, which watchers of the kernel lose track of. Listeners and nodes that are not named keep what they
//! have. A file that cannot be used changes nothing and is one warning, not one a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::ErrorCode;
use protocol::ids::NodeId;

use super::handle::{Handle, Refused};
use crate::metadata::{Endpoint, Reply, Request, Updated};
use crate::rt::control;
use crate::rt::file::Disk;

const READ_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Sets advertised addresses of one broker, through the quorum: when it returns, every core hands out the new ones.
pub async fn set(
    quorum: &Handle,
    node: NodeId,
    listeners: Vec<Endpoint>,
) -> Result<Updated<Vec<Endpoint>>, Refused> {
    match quorum
        .request(Request::UpdateListeners { node, listeners }, ANSWER_WITHIN)
        .await?
    {
        Reply::UpdateListeners(Ok(updated)) => Ok(updated),
        Reply::UpdateListeners(Err(error)) => Err(Refused::new(error.code, error.message)),
        other => Err(Refused::new(
            ErrorCode::UnknownServerError,
            format!("answered with {other:?}"),
        )),
    }
}

/// The addresses of `node` in a file that is there: for the first registration. None: there is no file (yet).
pub fn read(disk: &Disk, path: &Path, node: NodeId) -> Result<Option<Vec<Endpoint>>, String> {
    match disk.read(path) {
        Ok(bytes) => parse(&bytes, node).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Follows the file for as long as the task lives.
pub async fn follow_file(disk: Disk, path: PathBuf, node: NodeId, quorum: Handle) {
    let mut every = control::interval(READ_EVERY);
    let mut done = None;
    let mut warned = None;
    loop {
        let (reader, file) = (disk.clone(), path.clone());
        let found = control::blocking(move || read(&reader, &file, node)).await;
        let outcome = match found {
            Ok(Some(listeners)) if done.as_ref() != Some(&listeners) => {
                let set = set(&quorum, node, listeners.clone()).await;
                set.map(|updated| {
                    if updated.changed {
                        tracing::info!(path = %path.display(), addresses = ?updated.value, "advertised addresses changed");
                    }
                    done = Some(listeners);
                })
                .map_err(|refused| refused.to_string())
            }
            Ok(_) => Ok(()),
            Err(words) => Err(words),
        };
        match outcome {
            Ok(()) => warned = None,
            Err(words) if warned.as_ref() != Some(&words) => {
                tracing::warn!(path = %path.display(), words, "advertised.listeners.file was not taken");
                warned = Some(words);
            }
            Err(_) => {}
        }
        every.tick().await;
    }
}

/// The addresses of `node`; none when the file does not name it.
fn parse(bytes: &[u8], node: NodeId) -> Result<Vec<Endpoint>, String> {
    let all: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(bytes).map_err(|error| {
        format!("it is not JSON of the form {{\"<node id>\": {{\"<listener>\": \"host:port\"}}}}: {error}")
    })?;
    let Some(listeners) = all.get(&node.to_string()) else {
        return Ok(Vec::new());
    };
    listeners
        .iter()
        .map(|(name, address)| endpoint(name, address))
        .collect()
}

/// `host:port`, with an IPv6 address in brackets.
fn endpoint(name: &str, address: &str) -> Result<Endpoint, String> {
    let wrong = || format!("listener {name}: {address:?} is not host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)?;
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Endpoint {
        name: name.into(),
        host: host.into(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_files() {
        let good = br#"{"0": {"EXTERNAL": "node-7:31092", "V6": "[fd00::1]:9092"}, "1": {}}"#;
        let found = parse(good, NodeId(0)).unwrap();
        let texts: Vec<String> = found
            .iter()
            .map(|e| format!("{} {} {}", e.name, e.host, e.port))
            .collect();
        assert_eq!(texts, ["EXTERNAL node-7 31092", "V6 fd00::1 9092"]);
        assert_eq!(parse(good, NodeId(1)).unwrap(), []);
        assert_eq!(parse(good, NodeId(2)).unwrap(), []);
        for wrong in [
            &b"nonsense"[..],
            br#"{"0": {"E": "no-port"}}"#,
            br#"{"0": {"E": ":9092"}}"#,
            br#"{"0": {"E": "h:0"}}"#,
            br#"{"0": {"E": "h:70000"}}"#,
            br#"{"0": ["E"]}"#,
        ] {
            assert!(
                parse(wrong, NodeId(0)).is_err(),
                "{}",
                String::from_utf8_lossy(wrong)
            );
        }
    }
}
