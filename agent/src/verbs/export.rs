//! `mica-agent export`: what stands, as a file that `apply` takes.

use anyhow::anyhow;
use mica_nvml::Driver;

use super::{Stop, look, sentence};
use crate::{
    args::{ExportArgs, FileFormat},
    mig_parted::{name, write},
    output,
};

/// Prints it; a GPU that cannot be read makes it fail, since the file would not say what stands.
pub fn export(args: &ExportArgs) -> Result<(), Stop> {
    let mut driver = Driver::open(&args.nvml.nvml_library).map_err(anyhow::Error::from)?;
    let node = look(&mut driver)?;
    let faults: Vec<_> = node
        .iter()
        .filter_map(|seen| match (&seen.gpu.fault, seen.pci) {
            (Some(fault), _) => Some(format!("{} cannot be read: {fault}", name(&seen.gpu))),
            (None, None) => Some(format!("{}: its PCI id cannot be read", name(&seen.gpu))),
            (None, Some(_)) => None,
        })
        .collect();
    if !faults.is_empty() {
        return Err(Stop::Failed(sentence(&faults)));
    }
    for seen in &node {
        let halves = seen
            .gpu
            .instances
            .iter()
            .filter(|known| known.compute.is_none());
        for half in halves {
            eprintln!(
                "note: {}: GPU instance {} has no compute instance and is left out",
                name(&seen.gpu),
                half.gi
            );
        }
    }
    let document = write::document(&node, &args.config_label);
    let text = match args.output {
        FileFormat::Yaml => document.yaml().map_err(|error| anyhow!("{error}"))?,
        FileFormat::Json => document.json().map_err(anyhow::Error::from)?,
    };
    Ok(output::write(&text)?)
}
