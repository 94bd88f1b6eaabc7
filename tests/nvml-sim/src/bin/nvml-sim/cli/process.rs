//! `process`: simulated processes, and clients that only hold a GPU.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use nvml_sim::Node;

use super::Result;
use crate::output::print;

#[derive(Debug, Subcommand)]
pub(super) enum Process {
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

impl Process {
    pub(super) fn run(self) -> Result<()> {
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

/// Lets a client hold a GPU and prints its process id.
pub(super) fn hold(dir: &Path, gpu: u32, pid: Option<u32>) -> Result<()> {
    let node = Node::open(dir)?;
    let pid = pid.unwrap_or_else(|| free_pid(&node));
    node.hold(gpu, pid)?;
    Ok(print(&format!("{pid}\n"))?)
}

/// One more than the highest process id on the node; far above real ones, so that nobody signals a stranger.
fn free_pid(node: &Node) -> u32 {
    let gpus = node.gpus();
    let pids = gpus
        .iter()
        .flat_map(nvml_sim::GpuView::all_processes)
        .map(|(_, process)| process.pid);
    let holders = gpus.iter().flat_map(|gpu| gpu.holders.iter().copied());
    pids.chain(holders).max().unwrap_or(0).max(5_000_000) + 1
}
