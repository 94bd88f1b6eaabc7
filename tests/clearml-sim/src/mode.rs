//! Which edition of the server this is.

use serde::{Deserialize, Serialize};

/// An edition of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// The open-source server, as recorded.
    #[default]
    Oss,
    /// The Enterprise server, after its published reference.
    Enterprise,
}
