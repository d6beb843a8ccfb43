//! Where a configuration comes from on a real machine: the file named on the command line, this process's environment,
//! and what the machine says about itself. The only part of `config` that looks outside.

use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Config, ConfigErrors, Facts, Settings};

/// Reads the file (if one is named), the environment and the overrides.
pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<Config, ConfigErrors> {
    let text = match file {
        None => None,
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Some((path, text)),
            Err(error) => return Err(ConfigErrors(vec![format!("read {}: {error}", path.display())])),
        },
    };
    // Names and values that are not UTF-8 are none of Kafka's.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    Config::new(
        Settings::gather(file, environment, overrides),
        &Facts::of_this_machine(),
    )
}

impl Facts {
    /// The machine's name, if others can resolve it as this machine can, and where data goes by default.
    pub fn of_this_machine() -> Facts {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        let resolves = !name.is_empty()
            && (name, 0)
                .to_socket_addrs()
                .is_ok_and(|mut found| found.next().is_some());
        Facts {
            hostname: if resolves {
                name.to_string()
            } else {
                "localhost".to_string()
            },
            default_log_dir: default_log_dir(),
        }
    }
}

/// `/var/lib/millrace/data` for root and for whoever owns `/var/lib/millrace`; a user's own data folder otherwise. Never
/// a temporary folder: Kafka's default is one, and people have lost data to it.
fn default_log_dir() -> PathBuf {
    const SYSTEM: &str = "/var/lib/millrace";
    let me = std::fs::metadata("/proc/self").map(|process| process.uid()).ok();
    let owner = std::fs::metadata(SYSTEM).map(|folder| folder.uid()).ok();
    if me == Some(0) || (me.is_some() && me == owner) {
        return Path::new(SYSTEM).join("data");
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    from("XDG_DATA_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .map_or_else(
            || Path::new(SYSTEM).join("data"),
            |base| base.join("millrace/data"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Some(Path::new("/nonexistent/server.properties")), &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("read /nonexistent/server.properties: No such file"),
            "{error}"
        );
    }

    #[test]
    fn the_default_folder_is_absolute_and_not_temporary() {
        let facts = Facts::of_this_machine();
        assert!(facts.default_log_dir.is_absolute());
        assert!(!facts.default_log_dir.starts_with(std::env::temp_dir()));
        assert!(!facts.hostname.is_empty());
    }
}
