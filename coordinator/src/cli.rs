//! The command line of `mica`: `serve`, and the commands that ask a running coordinator.
//!
//! ```text
//! connect ── gRPC ──► proto messages ──► view (plain data, pure) ──► table | JSON | YAML ──► output (stdout)
//! ```
//!
//! Data goes to stdout, by way of the one module `output`; everything said to people goes to stderr. `--help` tells the
//! exit codes.

mod adopt;
mod complete;
mod connect;
mod fail;
mod format;
mod get;
mod log;
mod output;
mod plan;
mod say;
mod table;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use complete::Shell;
pub use connect::{Connection, ServerUrl};
pub use format::{Format, Output};
pub use get::Get;
pub use log::Log;

use crate::serve;
use fail::Fail;

/// Shown by `--help`, and true: `fail` maps to them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or what was asked for does not exist
  2  wrong usage
  3  no answer within --request-timeout
  4  refused, by the coordinator or because it would not be safe";

const EXAMPLES: &str = "\
Examples:
  mica serve --standalone --config mica.yaml   run a coordinator
  mica get gpus -w                             see GPUs, and what changes
  mica get slices -o json                      slices for programs
  mica plan                                    what would change, and why
  mica explain gpu-fraction-0_50               why a queue waits
  mica adopt node-a --dry-run                  what taking a node over would change";

/// Cut GPUs into MIG slices as the work needs them.
#[derive(Debug, Parser)]
#[command(name = "mica", version, after_help = EXAMPLES, after_long_help = long_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// How to reach the coordinator.
    #[command(flatten)]
    connection: Connection,
    /// How to log.
    #[command(flatten)]
    pub log: Log,
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the coordinator
    Serve(Box<serve::Args>),
    /// Show nodes, GPUs, slices or queues
    Get(Get),
    /// Show what the coordinator would change now, and why; changes nothing
    Plan {
        #[command(flatten)]
        output: Output,
    },
    /// Tell why a queue waits, or what holds a GPU
    Explain {
        /// QUEUE, TENANT/QUEUE, NODE/INDEX or the UUID of a GPU
        subject: String,
    },
    /// Take a node over from another program that partitions its GPUs; asks the API server, not the coordinator
    Adopt(adopt::Adopt),
    /// Show the versions of this program and of the coordinator
    Version {
        /// This program's only; ask no coordinator
        #[arg(long)]
        client: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Print a script that completes `mica` commands in a shell
    #[command(after_help = complete::HELP)]
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// Worker threads of the coordinator: rounds are short, and threads cost memory.
const SERVE_THREADS: usize = 2;

impl Cli {
    /// Does what was asked, says on stderr what went wrong, and gives the exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.try_run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(fail) => fail.report(),
        }
    }

    fn try_run(self) -> Result<(), Fail> {
        let Self {
            command,
            connection,
            log: _,
        } = self;
        let mut runtime = match command {
            Command::Serve(_) => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(SERVE_THREADS);
                builder
            }
            Command::Get(_)
            | Command::Plan { .. }
            | Command::Explain { .. }
            | Command::Adopt(_)
            | Command::Version { .. }
            | Command::Completion { .. } => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = runtime.enable_all().build().map_err(Fail::Runtime)?;
        runtime.block_on(async {
            match command {
                Command::Serve(args) => serve::run(*args).await.map_err(Fail::Serve),
                Command::Get(get) => get.run(&connection).await,
                Command::Plan { output } => plan::plan(&connection, output.format).await,
                Command::Explain { subject } => say::explain(&connection, subject).await,
                Command::Adopt(adopt) => adopt.run(connection.request_timeout()).await,
                Command::Version { client, output } => {
                    say::version(&connection, client, output.format).await
                }
                Command::Completion { shell } => complete::print::<Self>(shell),
            }
        })
    }
}
