//! The configuration file of `mica serve`: which ClearML server to ask, which tenants and queues to serve.
//!
//! [`Config::load`] reads it and is strict: unknown fields are refused, every value is checked, and all mistakes are reported at
//! once, each with line, column, field and remedy. Three steps, each a file: `yaml` turns text into a tree that knows its lines,
//! `reader` takes the fields out of the tree, `rules` says whether a value makes sense. `credentials` reads the files with keys.

mod credentials;
mod reader;
mod rules;
mod yaml;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

/// What the coordinator was told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ClearML server.
    pub clearml: ClearMl,
    /// Whose queues are served; at least one.
    pub tenants: Vec<Tenant>,
}

/// The ClearML server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearMl {
    /// Base URL of the API server, http or https, without a slash at its end.
    pub url: String,
    /// Time between two looks at the queues of a tenant.
    pub poll_interval: Duration,
}

/// A ClearML workspace and the queues served in it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Name for people, logs and metric labels; a DNS label.
    pub name: String,
    /// Keys of a user of the workspace.
    pub credentials: Credentials,
    /// At least one, in the order of the file.
    pub queues: Vec<Queue>,
}

/// API keys of a ClearML user.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The public half; may be logged.
    pub access_key: String,
    /// The secret half. Its `Debug` form does not show it.
    pub secret_key: SecretString,
}

/// A ClearML queue and what serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Name in ClearML, unique within the tenant.
    pub name: String,
    /// MIG profiles that serve one task of the queue, e.g. `3g.20gb`; at least one. Their order says nothing to the plan.
    pub profiles: Vec<String>,
    /// How many of its tasks may run at a time; `None`: as many as there is room for.
    pub max_running: Option<u32>,
    /// 0 to 3; a higher one is served first.
    pub priority: u8,
}

impl Config {
    /// Reads and checks the file and the key files it names; relative paths are relative to its folder.
    ///
    /// Warns in the log when other users of the machine can read a secret key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|mistakes| ConfigError::Mistakes {
            path: path.to_owned(),
            mistakes,
        })
    }

    /// Like [`Config::load`], from text; `folder` is what relative paths are relative to.
    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Mistake>> {
        let tree = yaml::parse(text).map_err(|mistake| vec![mistake])?;
        reader::read(&tree, folder)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, may not be read or is not text.
    #[error("failed to read the configuration {path}; name the right file with --config", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is wrong.
    #[error("{}", list(.path, .mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// In the order of the file; never empty.
        mistakes: Vec<Mistake>,
    },
}

/// One line a mistake, in the form that editors jump to: `file:line:column: …`.
fn list(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("{}:{mistake}", path.display()))
        .collect();
    match lines.as_slice() {
        [line] => line.clone(),
        lines => format!(
            "the configuration has {} mistakes\n  {}",
            lines.len(),
            lines.join("\n  ")
        ),
    }
}

/// Something wrong in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// Path of the field, e.g. `tenants[0].queues[1].profiles[0]`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and the remedy.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}
