//! Flags about GPUs that are sick, held, or whose MIG mode is pending.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use crate::{driver::Care, health::Ignored, holders::Processes, sentinel::Sentinel};

/// Where processes are seen.
#[derive(Debug, Args)]
pub struct ProcArgs {
    /// The node's /proc, where the processes that hold a GPU are looked for; in a container the host's, e.g. /host/proc
    #[arg(
        long,
        env = "MICA_AGENT_PROC",
        value_name = "DIR",
        default_value = "/proc"
    )]
    pub proc: PathBuf,
}

/// What is done about GPUs that are sick or whose MIG mode is pending.
#[derive(Debug, Args)]
pub struct CareArgs {
    /// Where processes are seen
    #[command(flatten)]
    pub proc: ProcArgs,
    /// Reset a GPU that is sick, or whose MIG mode stays pending, once nobody uses it
    #[arg(long, env = "MICA_AGENT_ALLOW_GPU_RESET")]
    pub allow_gpu_reset: bool,
    /// The program that resets a GPU, run as PROGRAM --gpu-reset -i UUID
    #[arg(
        long,
        env = "MICA_AGENT_NVIDIA_SMI",
        value_name = "PROGRAM",
        default_value = "nvidia-smi"
    )]
    pub nvidia_smi: OsString,
    /// File to make while a GPU waits for a reboot of the node, e.g. /var/run/reboot-required, which kured watches
    #[arg(long, env = "MICA_AGENT_REBOOT_SENTINEL", value_name = "FILE")]
    pub reboot_sentinel: Option<PathBuf>,
    /// XIDs that make no GPU sick, beside those that are applications' own faults (13, 31, 43, 45, 68, 109)
    #[arg(
        long,
        env = "MICA_AGENT_IGNORE_XIDS",
        value_name = "XID,…",
        value_delimiter = ','
    )]
    pub ignore_xids: Vec<u64>,
}

impl From<CareArgs> for Care {
    fn from(
        CareArgs {
            proc,
            allow_gpu_reset,
            nvidia_smi,
            reboot_sentinel,
            ignore_xids,
        }: CareArgs,
    ) -> Self {
        Self {
            processes: Processes::below(proc.proc),
            ignored: Ignored::and(&ignore_xids),
            nvidia_smi: allow_gpu_reset.then_some(nvidia_smi),
            sentinel: reboot_sentinel.map(Sentinel::new),
        }
    }
}
