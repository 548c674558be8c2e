//! The files around the database: lock, version marker, watermark and secret key.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use iroh::SecretKey;

use super::StoreError;

/// The layout that this program reads and writes.
const VERSION: u32 = 1;
const VERSION_PREFIX: &str = "mosaik store ";

const LOCK: &str = "lock";
const MARKER: &str = "version";
const DATABASE: &str = "store.redb";
const WATERMARK: &str = "watermark";
const SECRET: &str = "secret.key";

/// A locked store directory. The lock goes with it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
    /// True if the store was complete when it was opened.
    existed: bool,
}

impl Directory {
    /// Makes the directory if needed, locks it and checks its version.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        make_directory(path).map_err(StoreError::io(path, "make the directory"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(StoreError::io(path, "make the lock file in"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => StoreError::io(path, "lock")(error),
        })?;
        let mut directory = Self {
            path: path.to_owned(),
            _lock: lock,
            existed: false,
        };
        directory.existed = directory.check_version()?;
        Ok(directory)
    }

    /// Returns whether a complete store was found, so that no file of it may be missing.
    pub(super) fn existed(&self) -> bool {
        self.existed
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Returns whether there is a version marker of the version that this program knows.
    fn check_version(&self) -> Result<bool, StoreError> {
        let path = self.path.join(MARKER);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io(&path, "read")(error)),
        };
        let found = String::from_utf8(text)
            .ok()
            .and_then(|text| text.strip_prefix(VERSION_PREFIX)?.trim_end().parse().ok())
            .ok_or_else(|| StoreError::corrupt(&path, "not a version marker"))?;
        if found == VERSION {
            return Ok(true);
        }
        Err(StoreError::Version {
            path: self.path.clone(),
            found,
            supported: VERSION,
        })
    }

    /// Marks the store as complete.
    pub(super) fn mark(&self) -> Result<(), StoreError> {
        let text = format!("{VERSION_PREFIX}{VERSION}\n");
        self.write_new(MARKER, text.as_bytes(), false)
    }

    /// The watermark of a complete store, or a new one. Making it also settles the database's name.
    pub(super) fn watermark(&self) -> Result<Watermark, StoreError> {
        if !self.existed {
            self.write_new(WATERMARK, &Watermark::encode(0), false)?;
        }
        Watermark::open(self.path.join(WATERMARK))
    }

    /// The node's secret key, made on first use.
    pub(super) fn secret_key_or_create(&self) -> Result<SecretKey, StoreError> {
        let path = self.path.join(SECRET);
        match fs::read_to_string(&path) {
            Ok(text) => parse_secret(&text)
                .ok_or_else(|| StoreError::corrupt(&path, "not a secret key with its public key")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = SecretKey::generate();
                let text = zeroize::Zeroizing::new(format!(
                    "{}\n{}\n",
                    hex::encode(key.to_bytes()),
                    hex::encode(key.public().as_bytes())
                ));
                self.write_new(SECRET, text.as_bytes(), true)?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StoreError::corrupt(&path, "not text"))
            }
            Err(error) => Err(StoreError::io(&path, "read")(error)),
        }
    }

    /// Makes a file appear with this content, or not at all.
    fn write_new(&self, name: &str, content: &[u8], private: bool) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let unfinished = self.path.join(format!("{name}.new"));
        let write = || {
            // A crash may have left one behind, with other permissions.
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            options.create_new(true).write(true);
            #[cfg(unix)]
            if private {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            #[cfg(not(unix))]
            let _ = private;
            let mut file = options.open(&unfinished)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            sync_directory(&self.path)
        };
        write().map_err(StoreError::io(&path, "write"))
    }
}

/// Makes new files' names survive a power cut.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Only the owner may enter a directory that is made here.
fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Hex of the secret key, and of its public key as a check.
fn parse_secret(text: &str) -> Option<SecretKey> {
    let mut lines = text.lines();
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    hex::decode_to_slice(lines.next()?, bytes.as_mut_slice()).ok()?;
    let key = SecretKey::from_bytes(&bytes);
    let public = hex::encode(key.public().as_bytes());
    (lines.next() == Some(public.as_str())).then_some(key)
}

/// Remembers which commit was acknowledged last.
///
/// It is written after each commit and before its acknowledgement, without `fsync`: it survives the
/// end of the process in any case, and is at most too low after a power cut. A database that has
/// fallen behind it has lost what others rely on.
#[derive(Debug)]
pub(super) struct Watermark {
    path: PathBuf,
    file: File,
    /// The last commit that is known to have been acknowledged.
    last: u64,
}

/// A number and its checksum.
const WATERMARK_LEN: usize = 16;

impl Watermark {
    fn open(path: PathBuf) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| missing_or_io(&path, error))?;
        let mut content = Vec::new();
        (&mut file)
            .take(WATERMARK_LEN as u64 + 1)
            .read_to_end(&mut content)
            .map_err(StoreError::io(&path, "read"))?;
        let last = content
            .first_chunk()
            .map(|number| u64::from_le_bytes(*number))
            .filter(|last| content == Self::encode(*last))
            .ok_or_else(|| StoreError::corrupt(&path, "checksum mismatch"))?;
        Ok(Self { path, file, last })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn advance(&mut self, commit: u64) -> Result<(), StoreError> {
        self.file
            .rewind()
            .and_then(|()| self.file.write_all(&Self::encode(commit)))
            .map_err(StoreError::io(&self.path, "write"))?;
        self.last = commit;
        Ok(())
    }

    fn encode(commit: u64) -> [u8; WATERMARK_LEN] {
        let mut content = [0; WATERMARK_LEN];
        let (number, checksum) = content.split_at_mut(8);
        number.copy_from_slice(&commit.to_le_bytes());
        checksum.copy_from_slice(&blake3::hash(number).as_bytes()[..8]);
        content
    }
}

/// A file of a complete store: it can't be missing.
pub(super) fn missing_or_io(path: &Path, error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::NotFound {
        return StoreError::corrupt(path, "the file is missing");
    }
    StoreError::io(path, "open")(error)
}

#[cfg(test)]
#[cfg(feature = "storage")]
#[path = "directory_tests.rs"]
mod tests;
