//! `-o`: how data is written.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::fail::Fail;

/// Version of the objects that `-o json` and `-o yaml` print. Fields are added within it, never changed or taken away.
pub(super) const API_VERSION: &str = "mica.dev/v1";

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print for programs instead of for people
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    pub(super) format: Option<Format>,
}

/// A form for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// An object with the head that says what it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<'a, T> {
    api_version: &'static str,
    kind: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

impl Format {
    /// The text of an object, with a line end.
    pub(super) fn object<T: Serialize>(self, kind: &str, content: &T) -> Result<String, Fail> {
        let object = Object {
            api_version: API_VERSION,
            kind,
            content,
        };
        match self {
            Self::Json => serde_json::to_string_pretty(&object)
                .map(|text| text + "\n")
                .map_err(anyhow::Error::new),
            Self::Yaml => serde_saphyr::to_string(&object).map_err(anyhow::Error::new),
        }
        .map_err(Fail::Render)
    }

    /// The text of one of several objects in a row: JSON on one line, YAML behind a `---`.
    pub(super) fn document<T: Serialize>(self, kind: &str, content: &T) -> Result<String, Fail> {
        match self {
            Self::Json => {
                let object = Object {
                    api_version: API_VERSION,
                    kind,
                    content,
                };
                serde_json::to_string(&object)
                    .map(|text| text + "\n")
                    .map_err(|error| Fail::Render(error.into()))
            }
            Self::Yaml => Ok(format!("---\n{}", self.object(kind, content)?)),
        }
    }
}
