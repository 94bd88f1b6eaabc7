//! Logs: to stderr, so that stdout is for data.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Log {
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,h2=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVEL", value_parser = level, global = true)]
    log_level: String,
    /// How to write logs
    #[arg(
        long,
        env = "MICA_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        global = true
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

fn level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

impl Log {
    /// Sends the logs of this process to stderr. A second call changes nothing.
    pub fn init(&self) {
        let logs = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(EnvFilter::new(&self.log_level));
        let done = match self.log_format {
            LogFormat::Text => logs.with_ansi(colour()).try_init(),
            LogFormat::Json => logs.json().flatten_event(true).try_init(),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "logs go where they went before");
        }
    }
}

/// On a terminal, unless people asked for none: <https://no-color.org>.
fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}
