//! Secret keys of nodes, kept in files.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use mosaik::SecretKey;

/// Writes a new file that only its owner can read; one that is there is an error.
pub(crate) fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path)
}

/// The key in a file, made if there is none.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<SecretKey> {
    let at = || format!("the key file {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim();
            anyhow::ensure!(
                text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()),
                "{} does not hold 64 hex digits",
                at()
            );
            Ok(mosaik::Digest::from(text).into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            let mut file = create_private(path).with_context(at)?;
            let text = mosaik::Digest::from_bytes(key.to_bytes());
            writeln!(file, "{text}").with_context(at)?;
            file.sync_all().with_context(at)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(at),
    }
}

/// The key in a file, if one is named.
pub(crate) fn of_option(path: Option<&PathBuf>) -> anyhow::Result<Option<SecretKey>> {
    path.map(|path| of_file(path)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = of_file(&path).unwrap();
        assert_eq!(of_file(&path).unwrap().to_bytes(), made.to_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "not a key").unwrap();
        assert!(of_file(&path).is_err());
    }
}
