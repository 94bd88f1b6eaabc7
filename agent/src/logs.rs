//! Logs on standard error: text for people, JSON for programs.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::args::{LogArgs, LogFormat};

/// Begins to log. `--log-level` goes before `RUST_LOG`.
pub fn start(
    LogArgs {
        log_level,
        log_format,
    }: &LogArgs,
) {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = match log_level {
        Some(level) => builder.parse_lossy(level),
        None => builder.from_env_lossy(),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
