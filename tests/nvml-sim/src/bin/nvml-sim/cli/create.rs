//! `create` and `configure`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nvml_sim::{Behaviour, GpuSpec, Node, NodeOptions, Permission};

use super::Result;
use crate::output::print;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Create {
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
    /// Version of the driver.
    #[arg(long)]
    driver_version: Option<String>,
    /// `strict`, as documented, or `quirks`, as drivers were seen to behave.
    #[arg(long, default_value_t)]
    behaviour: Behaviour,
    /// What clients may do: `root`, `config`, `monitor` or `none`; the environment variable `NVML_SIM_PERMISSION`
    /// overrides it for one client.
    #[arg(long, default_value_t)]
    permission: Permission,
    /// The GPUs cannot be reset from here, as in a virtual machine that they are passed through to.
    #[arg(long)]
    passthrough: bool,
    /// How long an instance stays in use after a process on it ended, milliseconds.
    #[arg(long, default_value_t = 0)]
    linger_ms: u64,
    /// Keep capability files below the folder, in `proc/driver` and `dev/nvidia-caps`, as instances come and go.
    #[arg(long)]
    caps: bool,
}

fn parse_gpus(text: &str) -> std::result::Result<(String, usize), String> {
    let (key, count) = text.split_once('*').unwrap_or((text, "1"));
    let count = count
        .parse()
        .map_err(|_| format!("{count:?} is not a number of GPUs"))?;
    Ok((key.to_owned(), count))
}

impl Create {
    pub(super) fn run(self) -> Result<()> {
        let Self {
            dir,
            gpus,
            mig,
            library,
            seed,
            swapped_halves,
            driver_version,
            behaviour,
            permission,
            passthrough,
            linger_ms,
            caps,
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
                behaviour,
                permission,
                driver_version,
                passthrough,
                linger: Duration::from_millis(linger_ms),
                caps,
            },
        )?;
        print(&format!("{}\n", node.library().display()))?;
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Configure {
    /// Folder of the node.
    dir: PathBuf,
    /// `strict` or `quirks`.
    #[arg(long)]
    behaviour: Option<Behaviour>,
    /// `root`, `config`, `monitor` or `none`.
    #[arg(long)]
    permission: Option<Permission>,
    /// Whether the GPUs cannot be reset from here: `true` or `false`.
    #[arg(long)]
    passthrough: Option<bool>,
    /// How long an instance stays in use after a process on it ended, milliseconds.
    #[arg(long)]
    linger_ms: Option<u64>,
}

impl Configure {
    pub(super) fn run(self) -> Result<()> {
        let Self {
            dir,
            behaviour,
            permission,
            passthrough,
            linger_ms,
        } = self;
        let node = Node::open(&dir)?;
        if let Some(behaviour) = behaviour {
            node.set_behaviour(behaviour)?;
        }
        if let Some(permission) = permission {
            node.set_permission(permission)?;
        }
        if let Some(passthrough) = passthrough {
            node.set_passthrough(passthrough)?;
        }
        if let Some(linger_ms) = linger_ms {
            node.set_linger(Duration::from_millis(linger_ms))?;
        }
        Ok(())
    }
}
