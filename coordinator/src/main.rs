//! The program `mica`: see [`mica_coordinator::cli`].

use std::process::ExitCode;

use clap::Parser;
use mica_coordinator::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse(); // on wrong usage: message on stderr, exit code 2
    // It fails only when a provider is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    cli.log.init();
    cli.run()
}
