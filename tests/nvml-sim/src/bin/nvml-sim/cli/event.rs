//! `event`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use nvml_sim::{EventKind, Node};

use super::Result;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["xid", "kind"])))]
pub(super) struct Raise {
    /// Folder of the node.
    dir: PathBuf,
    /// GPU index.
    #[arg(long)]
    gpu: u32,
    /// An XID error with this number, e.g. 79. 13, 31, 43, 45, 68 and 109 are applications' own faults.
    #[arg(long, value_name = "NUMBER")]
    xid: Option<u64>,
    /// GPU instance that the XID error is of; the whole GPU when not given.
    #[arg(long, requires = "xid", conflicts_with = "kind")]
    gi: Option<u32>,
    /// Compute instance that it is of.
    #[arg(long, requires = "gi")]
    ci: Option<u32>,
    /// An event of another kind, e.g. double-bit-ecc.
    #[arg(long)]
    kind: Option<EventKind>,
    /// Let the GPU fall off the bus as well.
    #[arg(long, requires = "xid", conflicts_with = "kind")]
    lose: bool,
}

impl Raise {
    pub(super) fn run(self) -> Result<()> {
        let Self {
            dir,
            gpu,
            xid,
            gi,
            ci,
            kind,
            lose,
        } = self;
        let node = Node::open(&dir)?;
        if let Some(kind) = kind {
            node.raise_event(gpu, kind)?;
        }
        if let Some(xid) = xid {
            node.raise_xid(gpu, xid, gi, ci)?;
        }
        if lose {
            node.lose_gpu(gpu)?;
        }
        Ok(())
    }
}
