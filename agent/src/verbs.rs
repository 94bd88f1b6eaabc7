//! The verbs for people and scripts, in the words of NVIDIA's mig-parted: what stands as a file, whether a file holds, make it hold.

mod apply;
mod assert;
mod export;
mod plan;

use std::{fs, io, path::Path, process::ExitCode};

use anyhow::Context as _;
use mica_nvml::Driver;

use crate::{
    args::ConfigArgs,
    mig_parted::{Entry, File, PciId, Seen},
};

pub use apply::{apply, carry_out};
pub use assert::assert;
pub use export::export;
pub use plan::{Goal, Plan, plan};

/// Why a verb ends before it has done what it should; each has its exit code.
#[derive(Debug)]
pub enum Stop {
    /// 1: `assert` found a difference, and has said which.
    Differs,
    /// 1: something failed.
    Failed(anyhow::Error),
    /// 2: the file cannot be used.
    Usage(anyhow::Error),
    /// 4: nothing was touched.
    Refused(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Says what kept a verb from its end, and what the program ends with.
#[must_use]
pub fn end(result: Result<(), Stop>) -> ExitCode {
    let (code, error) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Differs) => return ExitCode::from(1),
        Err(Stop::Failed(error)) => (1, error),
        Err(Stop::Usage(error)) => (2, error),
        Err(Stop::Refused(error)) => (4, error),
    };
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

/// The config that is meant, and its name.
fn config(args: &ConfigArgs) -> Result<(String, Vec<Entry>), Stop> {
    let path = &args.config_file;
    let (name, text) = if path == Path::new("-") {
        ("standard input".to_owned(), io::read_to_string(io::stdin()))
    } else {
        (path.display().to_string(), fs::read_to_string(path))
    };
    let read = || -> anyhow::Result<_> {
        let text = text.with_context(|| format!("cannot read {name}; name the file with -f"))?;
        let file = File::read(&text, &name)?;
        let (label, entries) = file
            .config(args.selected_config.as_deref())
            .with_context(|| name.clone())?;
        Ok((label.to_owned(), entries.to_vec()))
    };
    read().map_err(Stop::Usage)
}

/// The GPUs of the node. One that cannot be read is among them, with its fault.
fn look(driver: &mut Driver) -> anyhow::Result<Vec<Seen>> {
    let mut node = Vec::new();
    for index in 0..driver.count()? {
        let gpu = driver.gpu_at(index)?;
        let pci = driver.pci_device_id(index).ok().map(PciId);
        node.push(Seen { gpu, pci });
    }
    Ok(node)
}

/// One sentence about several things that are wrong.
fn sentence(problems: &[String]) -> anyhow::Error {
    anyhow::anyhow!("{}", problems.join("\n  "))
}
