//! Notices that a file changed. Editors replace files or write them in several steps, so the content is what counts, and
//! it is looked at a few times a second: cheaper than explaining why an edit was missed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One watched file.
pub struct Watch {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    content: Option<Vec<u8>>,
}

impl Watch {
    /// Starts with the file as it is now: only later changes are changes.
    pub fn new(path: &Path) -> Watch {
        let mut watch = Watch {
            path: path.to_owned(),
            seen: None,
            content: None,
        };
        watch.changed();
        watch
    }

    /// True when the content is another one than at the last call. A file that is gone for a moment has not changed.
    pub fn changed(&mut self) -> bool {
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return false;
        };
        let stamp = metadata.modified().ok().map(|at| (at, metadata.len()));
        if stamp.is_some() && stamp == self.seen {
            return false;
        }
        let Ok(content) = std::fs::read(&self.path) else {
            return false;
        };
        self.seen = stamp;
        if self.content.as_ref() == Some(&content) {
            return false;
        }
        self.content = Some(content);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.yaml");
        std::fs::write(&path, "a").unwrap();
        let mut watch = Watch::new(&path);
        assert!(!watch.changed());
        std::fs::write(&path, "ab").unwrap();
        assert!(watch.changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watch.changed());
        std::fs::write(&path, "ab").unwrap();
        assert!(!watch.changed());
    }
}
