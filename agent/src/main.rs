//! The program `mica-agent`.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use mica_agent::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(problem) = cli.check() {
        Cli::command()
            .error(ErrorKind::ValueValidation, problem)
            .exit();
    }
    mica_agent::main(cli)
}
