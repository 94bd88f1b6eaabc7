//! Which edition of the server this is.

use serde::{Deserialize, Serialize};

use crate::path::Version;

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

impl Mode {
    /// The release that is simulated, as tokens and `server.info` name it.
    pub(crate) fn server_version(self) -> &'static str {
        match self {
            Self::Oss => "2.3.0",
            Self::Enterprise => "3.30.0",
        }
    }

    /// The version of the API that it speaks, and that a path without a version means.
    pub(crate) fn api_version(self) -> Version {
        match self {
            Self::Oss => Version(2, 34),
            Self::Enterprise => Version(2, 37),
        }
    }
}
