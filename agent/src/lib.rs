//! The node daemon of Mica: makes the layouts that the coordinator wants true on the GPUs of its node, and reports what is there.
//!
//! It owns what happens to the GPUs of one node. It decides nothing: what a GPU shall be cut into comes from the coordinator, and what
//! may not be touched is read from the driver.
//!
//! ```text
//! coordinator ◄─gRPC─► uplink ◄──────► driver thread ──► execute ──► mica_nvml ──► NVML
//!                        │               │   ▲             │   │
//!                        │/metrics ◄─────┘   generation    │  steps (pure)
//!                        └──────────► usage ◄──────────────┘
//! kubelet ◄─gRPC─► kubelet ───────────► │
//!         ◄─gRPC─► device_plugin ─────► │
//! ```
//!
//! - [`steps`] is the plan of one GPU: the fewest steps from what is there to what is wanted, or why none may be taken.
//! - [`execute`] takes the steps, looks again before each destroy, verifies, and goes back when a step fails.
//! - [`usage`] puts together who uses what, from NVML, the kubelet ([`kubelet`]) and the coordinator; what does not tell counts as a user.
//! - [`device_plugin`] offers slices and GPUs to the kubelet, and takes them back before they go.
//! - [`driver`] is the one thread that calls NVML; [`generation`] keeps what it may not execute again over restarts.
//! - [`verbs`] are export, assert and apply, for people and scripts; [`mig_parted`] is the file format they read and write, and
//!   [`placements`] finds where slices stand of which it says only how many.
//! - [`mig_mode`] and [`health`] say where a GPU stands between modes and between sick and well; [`holders`] who holds it; [`reset`](mod@reset)
//!   and [`sentinel`] are what helps.
//! - [`uplink`] is the stream to the coordinator, [`address`] where that is, [`token`] what the agent shows there; [`http`] and [`metrics`] are for Prometheus and probes; [`inspect`](mod@inspect) is for people.

pub mod address;
pub mod args;
pub mod device_plugin;
pub mod driver;
pub mod execute;
pub mod generation;
pub mod health;
pub mod holders;
pub mod http;
pub mod inspect;
pub mod inventory;
pub mod journal;
pub mod kubelet;
pub mod logs;
pub mod metrics;
pub mod mig_mode;
pub mod mig_parted;
pub mod outcome;
pub mod output;
pub mod placements;
pub mod reset;
pub mod run;
pub mod sentinel;
pub mod steps;
pub mod token;
pub mod uplink;
pub mod usage;
pub mod verbs;

use std::process::ExitCode;

use args::{Cli, Command, InspectArgs, OutputFormat, RunArgs};

/// Does what the command line says. What goes wrong is said once: in the log of a service, as a plain line to the person at a terminal.
#[must_use]
pub fn main(Cli { log, command }: Cli) -> ExitCode {
    logs::start(&log);
    let result = match command {
        Command::Run(args) => serve(args).inspect_err(|error| tracing::error!("{error:#}")),
        Command::Inspect(args) => inspect(args).inspect_err(|error| eprintln!("error: {error:#}")),
        Command::Export(args) => return verbs::end(verbs::export(&args)),
        Command::Assert(args) => return verbs::end(verbs::assert(&args)),
        Command::Apply(args) => return verbs::end(verbs::apply(&args)),
    };
    result.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn serve(args: Box<RunArgs>) -> anyhow::Result<()> {
    // An error says that one is installed already, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    // One thread for everything but NVML: the agent shall be small beside what it serves.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run::run(args))
}

fn inspect(args: InspectArgs) -> anyhow::Result<()> {
    let InspectArgs {
        nvml,
        proc,
        kubelet,
        output,
    } = args;
    let processes = holders::Processes::below(proc.proc);
    let sources = kubelet::sources(kubelet.pod_resources_socket)?;
    let inventory = driver::look(&nvml.nvml_library, &processes, &sources)?;
    let document = inspect::Document::from(&inventory);
    let text = match output {
        OutputFormat::Text => document.text(),
        OutputFormat::Json => document.json()?,
    };
    Ok(output::write(&text)?)
}
