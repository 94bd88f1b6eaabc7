//! `show`.

use std::path::PathBuf;

use clap::Args;
use nvml_sim::Node;

use super::Result;
use crate::output::print;
use crate::show;

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, as nvidia-smi has them"
)]
pub(super) struct Show {
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

impl Show {
    pub(super) fn run(self) -> Result<()> {
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
