//! The commands.

mod create;
mod event;
mod inject;
mod process;
mod show;
mod smi;

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use nvml_sim::{Node, judge};

use self::create::{Configure, Create};
use self::event::Raise;
use self::inject::Inject;
use self::process::Process;
use self::show::Show;
use crate::output::print;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Makes simulated GPU nodes: folders with a libnvidia-ml.so.1 that any NVML client can load.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Make a node, e.g. `create /tmp/node --gpu a100-40gb*2 --gpu h100-sxm5-80gb --mig`.
    Create(Create),
    /// List the boards that can be simulated.
    Boards,
    /// Show a node in the manner of nvidia-smi.
    Show(Show),
    /// Run an NVML client against a node, e.g. `exec /tmp/node -- python3 script.py`.
    Exec {
        /// Folder of the node.
        dir: PathBuf,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Be the node's `nvidia-smi`, e.g. `nvidia-smi /tmp/node -L`: resets GPUs, lists devices and instances.
    #[command(disable_help_flag = true)]
    NvidiaSmi {
        /// Folder of the node.
        dir: PathBuf,
        /// What `nvidia-smi` takes; `-h` lists what is simulated.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Change how the driver behaves from now on.
    Configure(Configure),
    /// Show the driver and the machine as JSON: version, boot id, behaviour, permission.
    Status {
        /// Folder of the node.
        dir: PathBuf,
    },
    /// Start and stop simulated processes.
    #[command(subcommand)]
    Process(Process),
    /// Let a client hold a GPU without running anything there, as monitoring daemons do, and print its process id.
    Hold {
        /// Folder of the node.
        dir: PathBuf,
        /// GPU index.
        #[arg(long)]
        gpu: u32,
        /// Process id; one that is free when not given.
        #[arg(long)]
        pid: Option<u32>,
    },
    /// Make such a client let go of all GPUs.
    Release {
        /// Folder of the node.
        dir: PathBuf,
        /// Process id.
        pid: u32,
    },
    /// Reset a GPU, or all, as `nvidia-smi -r` does.
    Reset {
        /// Folder of the node.
        dir: PathBuf,
        /// GPU index; all GPUs when not given.
        #[arg(long)]
        gpu: Option<u32>,
    },
    /// Make a GPU fall off the bus: every call on it answers 15 until it is reset, or the machine boots.
    Lose {
        /// Folder of the node.
        dir: PathBuf,
        /// GPU index.
        #[arg(long)]
        gpu: u32,
    },
    /// Reboot the machine: processes end, instances go, and the MIG mode too but on Ampere.
    Reboot {
        /// Folder of the node.
        dir: PathBuf,
    },
    /// Unload the driver: every call answers 9 until `reload`.
    Unload {
        /// Folder of the node.
        dir: PathBuf,
    },
    /// Load the driver anew: instances go, and clients must initialise again.
    Reload {
        /// Folder of the node.
        dir: PathBuf,
        /// Version to load; the same as before when not given.
        #[arg(long)]
        version: Option<String>,
    },
    /// Let the driver tell of an XID error or another event.
    Event(Raise),
    /// Make calls fail, hang or kill their client.
    Inject(Inject),
    /// Print the driver's own log, one JSON object a line.
    Log {
        /// Folder of the node.
        dir: PathBuf,
    },
    /// Judge from the log whether a slice in use was touched; exit code 1 when one was.
    Judge {
        /// Folder of the node.
        dir: PathBuf,
    },
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Cmd::Create(args) => args.run()?,
            Cmd::Boards => print(&crate::show::boards())?,
            Cmd::Show(args) => args.run()?,
            Cmd::Exec { dir, command } => return Err(exec(&dir, &command)?.into()),
            Cmd::NvidiaSmi { dir, arguments } => return smi::run(&dir, &arguments),
            Cmd::Configure(args) => args.run()?,
            Cmd::Status { dir } => {
                let driver = Node::open(&dir)?.driver();
                print(&format!("{}\n", serde_json::to_string_pretty(&driver)?))?;
            }
            Cmd::Process(args) => args.run()?,
            Cmd::Hold { dir, gpu, pid } => process::hold(&dir, gpu, pid)?,
            Cmd::Release { dir, pid } => Node::open(&dir)?.release(pid)?,
            Cmd::Reset { dir, gpu } => reset(&Node::open(&dir)?, gpu)?,
            Cmd::Lose { dir, gpu } => Node::open(&dir)?.lose_gpu(gpu)?,
            Cmd::Reboot { dir } => Node::open(&dir)?.reboot()?,
            Cmd::Unload { dir } => Node::open(&dir)?.unload_driver()?,
            Cmd::Reload { dir, version } => Node::open(&dir)?.reload_driver(version.as_deref())?,
            Cmd::Event(args) => args.run()?,
            Cmd::Inject(args) => args.run()?,
            Cmd::Log { dir } => {
                for event in Node::open(&dir)?.log()? {
                    print(&format!("{}\n", serde_json::to_string(&event)?))?;
                }
            }
            Cmd::Judge { dir } => {
                let verdict = judge::judge(&Node::open(&dir)?.log()?);
                print(&format!("{}\n", serde_json::to_string_pretty(&verdict)?))?;
                if !verdict.is_clean() {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Becomes the command; returns only when it cannot.
fn exec(dir: &Path, command: &[OsString]) -> Result<io::Error> {
    let node = Node::open(dir)?;
    let (program, arguments) = command.split_first().ok_or("no command given")?;
    let error = Command::new(program)
        .args(arguments)
        .env("LD_LIBRARY_PATH", first("LD_LIBRARY_PATH", &node, "lib"))
        .env("PATH", first("PATH", &node, "bin"))
        .env("NVML_SIM_DIR", node.dir())
        .exec();
    Ok(io::Error::new(
        error.kind(),
        format!("cannot run {}: {error}", program.display()),
    ))
}

/// A search path from the environment, with a folder of the node before it.
fn first(variable: &str, node: &Node, folder: &str) -> OsString {
    let mut path = node.dir().join(folder).into_os_string();
    if let Some(others) = std::env::var_os(variable).filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    path
}

/// Resets one GPU, or all; of all it tries each and tells the first that failed.
fn reset(node: &Node, gpu: Option<u32>) -> Result<()> {
    let all = node.gpus().into_iter().map(|view| view.index);
    let chosen = gpu.map_or_else(|| all.collect(), |gpu| vec![gpu]);
    let results: Vec<_> = chosen.into_iter().map(|gpu| node.reset_gpu(gpu)).collect();
    Ok(results.into_iter().collect::<std::result::Result<_, _>>()?)
}
