//! The cold operations of a disk.

use crate::rt::file::{Disk, OpenOptions};
use std::io::ErrorKind;

const WRITE: OpenOptions = OpenOptions {
    create: true,
    write: true,
};

#[test]
fn blocking_files_and_atomic_replacement() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real();
    let file = disk.open_blocking(dir.path().join("a"), WRITE).unwrap();
    file.write_all_at(b"0123456789", 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(5).unwrap();
    file.sync_all().unwrap();
    let mut buffer = [0; 3];
    file.read_exact_at(&mut buffer, 1).unwrap();
    assert_eq!(&buffer, b"123");
    assert_eq!(file.read_at(&mut buffer, 4).unwrap(), 1);
    assert_eq!(
        file.read_exact_at(&mut buffer, 4).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(
        (file.len().unwrap(), disk.len(dir.path().join("a")).unwrap()),
        (5, 5)
    );

    for content in ["a longer first content", "short"] {
        disk.write_atomic(dir.path().join("checkpoint"), content.as_bytes())
            .unwrap();
        assert_eq!(
            disk.read(dir.path().join("checkpoint")).unwrap(),
            content.as_bytes()
        );
    }
    assert_eq!(disk.read_dir(dir.path()).unwrap(), ["a", "checkpoint"]);
    assert_eq!(
        disk.read(dir.path().join("none")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn directories_renames_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real();
    let nested = dir.path().join("x/y/z");
    disk.create_dir_all(&nested).unwrap();
    disk.create_dir_all(&nested).unwrap();
    disk.open_blocking(nested.join("file"), WRITE).unwrap();
    assert_eq!(
        disk.create_dir_all(nested.join("file")).unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
    disk.rename(dir.path().join("x"), dir.path().join("w")).unwrap();
    disk.sync_dir(dir.path()).unwrap();
    assert!(disk.is_dir(dir.path().join("w/y/z")) && !disk.exists(&nested));
    disk.remove_file(dir.path().join("w/y/z/file")).unwrap();
    disk.remove_dir_all(dir.path().join("w")).unwrap();
    assert_eq!(disk.read_dir(dir.path()).unwrap(), [""; 0]);
    assert!(disk.space(dir.path()).unwrap().free > 0);
}

#[test]
fn a_lock_is_exclusive_until_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real();
    let lock = disk.lock(dir.path().join(".lock")).unwrap();
    assert_eq!(
        disk.lock(dir.path().join(".lock")).err().unwrap().kind(),
        ErrorKind::WouldBlock
    );
    drop(lock);
    disk.lock(dir.path().join(".lock")).unwrap();
}
