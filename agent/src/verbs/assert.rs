//! `mica-agent assert`: whether a config holds. Changes nothing and needs no state directory.

use std::collections::BTreeSet;

use mica_model::{Gpu, MigMode};
use mica_nvml::Driver;

use super::{Stop, config, look};
use crate::{
    args::AssertArgs,
    mig_parted::{Chosen, Wanted, name, select, write},
    output,
    placements::{Counts, place},
};

/// Prints that it holds, or each difference.
pub fn assert(args: &AssertArgs) -> Result<(), Stop> {
    let (label, entries) = config(&args.config)?;
    if args.valid_config {
        return Ok(output::write(&format!("config {label} can be used\n"))?);
    }
    let mut driver = Driver::open(&args.nvml.nvml_library).map_err(anyhow::Error::from)?;
    let node = look(&mut driver)?;
    let differences: Vec<_> = match select(&entries, &node) {
        Err(problems) => problems,
        Ok(chosen) => chosen
            .into_iter()
            .flat_map(|chosen| differences(chosen, args.config.mode_only))
            .collect(),
    };
    if differences.is_empty() {
        return Ok(output::write(&format!("config {label} holds\n"))?);
    }
    let lines: Vec<_> = differences
        .iter()
        .map(|difference| format!("  {difference}\n"))
        .collect();
    output::write(&format!(
        "config {label} does not hold:\n{}",
        lines.concat()
    ))?;
    Err(Stop::Differs)
}

/// What keeps a GPU from being what is wanted.
fn differences(Chosen { gpu, wanted }: Chosen<'_>, mode_only: bool) -> Vec<String> {
    let found = match (&gpu.fault, wanted) {
        (Some(fault), _) => vec![format!("cannot be read: {fault}")],
        (None, Wanted::Off) => mode(gpu, MigMode::Disabled).into_iter().collect(),
        (None, Wanted::On(counts)) => {
            let mode = mode(gpu, MigMode::Enabled);
            match write::stands(gpu) {
                Wanted::On(standing) if !mode_only => mode
                    .into_iter()
                    .chain(instances(gpu, counts, &standing))
                    .collect(),
                Wanted::On(_) | Wanted::Off => mode.into_iter().collect(),
            }
        }
    };
    found
        .into_iter()
        .map(|what| format!("{}: {what}", name(gpu)))
        .collect()
}

fn mode(gpu: &Gpu, wanted: MigMode) -> Option<String> {
    let holds = gpu.mig_mode == wanted
        || (wanted == MigMode::Disabled && gpu.mig_mode == MigMode::Unsupported);
    (!holds).then(|| {
        let (is, wanted) = (gpu.mig_mode.as_str(), wanted.as_str());
        format!("MIG mode is {is}, not {wanted}")
    })
}

fn instances(gpu: &Gpu, counts: &Counts, standing: &Counts) -> Vec<String> {
    let profiles: BTreeSet<_> = counts.keys().chain(standing.keys()).collect();
    let mut found = Vec::new();
    for profile in profiles {
        let of = |counts: &Counts| counts.get(profile).copied().unwrap_or(0);
        let (wanted, stand) = (of(counts), of(standing));
        if wanted != stand {
            found.push(format!("{profile}: {stand} there, {wanted} wanted"));
        }
    }
    let halves = gpu.instances.iter().filter(|known| known.compute.is_none());
    found.extend(halves.map(|half| {
        let (gi, place) = (half.gi, half.slice.placement);
        format!("GPU instance {gi} at {place} has no compute instance")
    }));
    if !found.is_empty()
        && let Some(board) = &gpu.board
        && let Err(impossible) = place(board, counts, &[], |_| true)
    {
        found.push(format!("it cannot be applied: {impossible}"));
    }
    found
}
