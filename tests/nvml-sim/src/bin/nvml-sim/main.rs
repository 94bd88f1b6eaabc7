//! `nvml-sim`: makes simulated GPU nodes, shows them, and acts on them from outside.
//!
//! Exit codes: 0 done; 1 failed, or `judge` found a slice in use that was touched; 2 wrong usage. `exec` passes on its
//! command's.

mod cli;
mod output;
mod show;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            eprintln!("nvml-sim: {message}");
            ExitCode::FAILURE
        }
    }
}
