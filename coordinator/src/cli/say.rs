//! `mica explain` and `mica version`: short answers.

use serde::Serialize;

use super::connect::Connection;
use super::fail::Fail;
use super::format::Format;
use super::output;

/// Prints the coordinator's sentences, a line each.
pub(super) async fn explain(connection: &Connection, subject: String) -> Result<(), Fail> {
    let lines = connection.open().await?.explain(subject).await?;
    output::print(
        &lines
            .into_iter()
            .map(|line| line + "\n")
            .collect::<String>(),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

/// Prints our version, and the coordinator's unless only ours is wanted.
pub(super) async fn version(
    connection: &Connection,
    client_only: bool,
    format: Option<Format>,
) -> Result<(), Fail> {
    let mut versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        server: None,
    };
    let mut failed = None;
    if !client_only {
        match server_version(connection).await {
            Ok(version) => versions.server = Some(version),
            Err(fail) => failed = Some(fail), // told after what is known
        }
    }
    let text = match format {
        Some(format) => format.object("Version", &versions)?,
        None => match &versions.server {
            Some(server) => format!("client: {}\nserver: {server}\n", versions.client),
            None => format!("client: {}\n", versions.client),
        },
    };
    output::print(&text)?;
    failed.map_or(Ok(()), Err)
}

async fn server_version(connection: &Connection) -> Result<String, Fail> {
    connection.open().await?.version().await
}
