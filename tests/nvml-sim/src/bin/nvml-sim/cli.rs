//! The commands.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nvml_sim::{Code, EVERY_CALL, Effect, Fault, GpuSpec, Node, NodeOptions, judge};

use crate::output::print;
use crate::show;

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
    /// Start and stop simulated processes.
    #[command(subcommand)]
    Process(Process),
    /// Reset a GPU, as `nvidia-smi -r` does.
    Reset {
        /// Folder of the node.
        dir: PathBuf,
        /// GPU index.
        #[arg(long)]
        gpu: u32,
    },
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

#[derive(Debug, Args)]
struct Create {
    /// Folder to make; it must not hold a node yet.
    dir: PathBuf,
    /// Board, with `*N` for N of them; see `boards`.
    #[arg(long = "gpu", required = true, value_name = "KEY[*N]", value_parser = parse_gpus)]
    gpus: Vec<(String, usize)>,
    /// Start with MIG mode on, on boards that have it.
    #[arg(long)]
    mig: bool,
    /// The built library; found beside this program when not given.
    #[arg(long)]
    library: Option<PathBuf>,
    /// What UUIDs are computed from; by default the folder's path.
    #[arg(long)]
    seed: Option<u64>,
    /// Number GPU instances as boards do whose upper half has the lower id.
    #[arg(long)]
    swapped_halves: bool,
}

fn parse_gpus(text: &str) -> std::result::Result<(String, usize), String> {
    let (key, count) = text.split_once('*').unwrap_or((text, "1"));
    let count = count
        .parse()
        .map_err(|_| format!("{count:?} is not a number of GPUs"))?;
    Ok((key.to_owned(), count))
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, as nvidia-smi has them"
)]
struct Show {
    /// Folder of the node.
    dir: PathBuf,
    /// Devices, like `nvidia-smi -L`.
    #[arg(short = 'L')]
    list: bool,
    /// GPU instances, like `nvidia-smi mig -lgi`.
    #[arg(long)]
    lgi: bool,
    /// GPU instance profiles, like `nvidia-smi mig -lgip`.
    #[arg(long)]
    lgip: bool,
    /// Processes.
    #[arg(long)]
    processes: bool,
    /// All of it as JSON.
    #[arg(long, conflicts_with_all = ["list", "lgi", "lgip", "processes"])]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Process {
    /// Start a process and print its id.
    Start {
        /// Folder of the node.
        dir: PathBuf,
        /// GPU index.
        #[arg(long)]
        gpu: u32,
        /// GPU instance id; without it the process uses the whole GPU.
        #[arg(long)]
        gi: Option<u32>,
        /// Process id; one that is free when not given.
        #[arg(long)]
        pid: Option<u32>,
        /// Memory it uses, MiB.
        #[arg(long, default_value_t = 1024)]
        memory_mib: u64,
    },
    /// Stop a process on all GPUs.
    Stop {
        /// Folder of the node.
        dir: PathBuf,
        /// Process id.
        pid: u32,
    },
}

#[derive(Debug, Args)]
struct Inject {
    /// Folder of the node.
    dir: PathBuf,
    /// NVML function, e.g. nvmlDeviceCreateGpuInstance; every call when not given.
    #[arg(default_value = EVERY_CALL)]
    call: String,
    /// Return this code and do nothing.
    #[arg(long = "return", value_name = "CODE", group = "what")]
    code: Option<u32>,
    /// Take this much longer.
    #[arg(long, value_name = "MS", group = "what")]
    delay_ms: Option<u64>,
    /// Kill the client before the call does anything.
    #[arg(long, group = "what")]
    kill: bool,
    /// Remove all faults.
    #[arg(long, group = "what")]
    clear: bool,
    /// Calls to let pass first.
    #[arg(long, default_value_t = 0)]
    after: u32,
    /// How many calls to hit then; all when not given.
    #[arg(long)]
    times: Option<u32>,
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Cmd::Create(args) => args.run()?,
            Cmd::Boards => print(&show::boards())?,
            Cmd::Show(args) => args.run()?,
            Cmd::Exec { dir, command } => return Err(exec(&dir, &command)?.into()),
            Cmd::Process(args) => args.run()?,
            Cmd::Reset { dir, gpu } => Node::open(&dir)?.reset_gpu(gpu)?,
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

impl Create {
    fn run(self) -> Result<()> {
        let Self {
            dir,
            gpus,
            mig,
            library,
            seed,
            swapped_halves,
        } = self;
        let gpus: Vec<_> = gpus
            .iter()
            .flat_map(|(key, count)| GpuSpec::many(key, *count, mig))
            .collect();
        let node = Node::create(
            &dir,
            &gpus,
            &NodeOptions {
                library,
                seed,
                swapped_halves,
                ..NodeOptions::default()
            },
        )?;
        print(&format!("{}\n", node.library().display()))?;
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<()> {
        let Self {
            dir,
            list,
            lgi,
            lgip,
            processes,
            json,
        } = self;
        let node = Node::open(&dir)?;
        let gpus = node.gpus();
        if json {
            return Ok(print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&gpus)?
            ))?);
        }
        let all = !(list || lgi || lgip || processes);
        if all || list {
            print(&show::devices(&gpus))?;
        }
        if all || lgip {
            print(&show::profiles(&gpus))?;
        }
        if all || lgi {
            print(&show::gpu_instances(&gpus))?;
        }
        if all || processes {
            print(&show::processes(&gpus))?;
        }
        Ok(())
    }
}

/// Becomes the command; returns only when it cannot.
fn exec(dir: &Path, command: &[OsString]) -> Result<io::Error> {
    let node = Node::open(dir)?;
    let (program, arguments) = command.split_first().ok_or("no command given")?;
    let mut path = node.dir().join("lib").into_os_string();
    if let Some(others) = std::env::var_os("LD_LIBRARY_PATH").filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    let error = Command::new(program)
        .args(arguments)
        .env("LD_LIBRARY_PATH", path)
        .env("NVML_SIM_DIR", node.dir())
        .exec();
    Ok(io::Error::new(
        error.kind(),
        format!("cannot run {}: {error}", program.display()),
    ))
}

impl Process {
    fn run(self) -> Result<()> {
        match self {
            Self::Start {
                dir,
                gpu,
                gi,
                pid,
                memory_mib,
            } => {
                let node = Node::open(&dir)?;
                let pid = pid.unwrap_or_else(|| free_pid(&node));
                node.start_process(gpu, gi, pid, memory_mib << 20)?;
                print(&format!("{pid}\n"))?;
            }
            Self::Stop { dir, pid } => Node::open(&dir)?.stop_process(pid)?,
        }
        Ok(())
    }
}

/// One more than the highest process id on the node; far above real ones, so that nobody signals a stranger.
fn free_pid(node: &Node) -> u32 {
    let gpus = node.gpus();
    let pids = gpus
        .iter()
        .flat_map(nvml_sim::GpuView::all_processes)
        .map(|(_, process)| process.pid);
    pids.max().unwrap_or(0).max(5_000_000) + 1
}

impl Inject {
    fn run(self) -> Result<()> {
        let Self {
            dir,
            call,
            code,
            delay_ms,
            kill,
            clear,
            after,
            times,
        } = self;
        let node = Node::open(&dir)?;
        let effect = match (code, delay_ms) {
            _ if clear => return Ok(node.clear_faults()?),
            _ if kill => Effect::Kill,
            (Some(code), _) => Effect::Return(Code(code)),
            (None, Some(delay)) => Effect::Delay(Duration::from_millis(delay)),
            (None, None) => {
                return Err("say what to inject: --return, --delay-ms, --kill or --clear".into());
            }
        };
        Ok(node.inject(&Fault {
            call,
            effect,
            after,
            times,
        })?)
    }
}
