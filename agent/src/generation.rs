//! The newest generation this agent has seen, kept over restarts.
//!
//! It is on disk before the first step of a layout is taken: an agent that is killed in mid-step can then never be moved
//! backwards by a late layout.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use mica_model::Generation;

use crate::outcome::Refusal;

/// The file's name in the state directory.
const FILE: &str = "generation";

/// The file that the agent locks.
const LOCK: &str = "lock";

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is not there and cannot be made.
    #[error("cannot make the state directory {}: {source}; choose another with --state-dir", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another agent has it.
    #[error(
        "another agent holds {}: stop it, or give this one a directory of its own with --state-dir",
        .path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else than it should.
    #[error(
        "{} does not hold {what} but {content:?}: remove the file to begin anew, \
         once no coordinator sends old layouts to this node",
        .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Its first characters.
        content: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}; make its directory writable or choose another with --state-dir", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The newest generation seen, and the file it is kept in. One agent at a time has a state directory.
#[derive(Debug)]
pub struct Newest {
    path: PathBuf,
    /// Locked; the system unlocks it when the agent ends, however it ends.
    _lock: File,
    generation: Generation,
}

impl Newest {
    /// Reads the state directory, which is made when it is missing. Writes it once, so that a directory that cannot be written is found
    /// at start and not at the first layout.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|source| Error::Directory {
            path: directory.to_owned(),
            source,
        })?;
        let lock = lock(directory.join(LOCK))?;
        let path = directory.join(FILE);
        let generation = match fs::read(&path) {
            Ok(content) => parse(&content).ok_or_else(|| Error::Corrupt {
                path: path.clone(),
                what: "a generation",
                content: String::from_utf8_lossy(&content).chars().take(32).collect(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Generation::default(),
            Err(source) => return Err(Error::Read { path, source }),
        };
        write(&path, generation)?;
        Ok(Self {
            path,
            _lock: lock,
            generation,
        })
    }

    /// The newest generation seen; 0 when none was.
    #[must_use]
    pub fn get(&self) -> Generation {
        self.generation
    }

    /// Whether `asked` may be executed: only when it is newer than the newest seen.
    pub fn admit(&self, asked: Generation) -> Result<(), Refusal> {
        if asked > self.generation {
            Ok(())
        } else {
            Err(Refusal::StaleGeneration {
                asked,
                newest: self.generation,
            })
        }
    }

    /// Keeps `generation` as the newest seen. When this fails the layout must not be executed.
    pub fn advance(&mut self, generation: Generation) -> Result<(), Error> {
        write(&self.path, generation)?;
        self.generation = generation;
        Ok(())
    }
}

fn lock(path: PathBuf) -> Result<File, Error> {
    let file = File::create(&path).map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Held { path }),
        Err(TryLockError::Error(source)) => Err(Error::Write { path, source }),
    }
}

fn parse(content: &[u8]) -> Option<Generation> {
    str::from_utf8(content)
        .ok()?
        .trim_end()
        .parse()
        .ok()
        .map(Generation)
}

fn write(path: &Path, generation: Generation) -> Result<(), Error> {
    replace(path, format!("{generation}\n").as_bytes())
}

/// Replaces a file as a whole, and waits until that would outlive the machine. A crash leaves the old one or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let replace = || {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            // The rename itself is on disk only when the directory is.
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    replace().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_over_restarts_and_admits_only_newer_ones() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("made/when/missing");
        let mut newest = Newest::open(&directory).unwrap();
        assert_eq!(newest.get(), Generation(0));
        newest.admit(Generation(1)).unwrap();
        newest.advance(Generation(41)).unwrap();
        drop(newest);
        let newest = Newest::open(&directory).unwrap();
        assert_eq!(newest.get(), Generation(41));
        newest.admit(Generation(42)).unwrap();
        let refusal = newest.admit(Generation(41)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "generation 41 is not newer than 41, the newest this agent has seen"
        );
    }

    #[test]
    fn two_agents_cannot_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = Newest::open(directory.path()).unwrap();
        let error = Newest::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("another agent"), "{error}");
        drop(first);
        Newest::open(directory.path()).unwrap();
    }

    #[test]
    fn a_corrupt_file_is_named_with_the_remedy() {
        for content in ["", "forty-two\n", "-1", "99999999999999999999", "\u{0}"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(FILE);
            fs::write(&path, content).unwrap();
            let error = Newest::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains("remove the file"), "{error}");
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                content,
                "it is left alone"
            );
        }
    }

    #[test]
    fn a_state_that_cannot_be_kept_is_found_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Newest::open(&file).unwrap_err().to_string();
        assert!(error.contains("--state-dir"), "{error}");
        // A directory in the place of the file it would write beside: as good as a read-only disk, also for root.
        fs::create_dir(directory.path().join("generation.new")).unwrap();
        let error = Newest::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("--state-dir"), "{error}");
    }
}
