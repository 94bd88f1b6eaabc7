//! `mica-agent apply`: makes a config hold, GPU by GPU, once all of them have been found to allow it.

use anyhow::anyhow;
use mica_model::{Generation, Gpu};
use mica_nvml::Driver;

use super::{
    Stop, config, look,
    plan::{Goal, Plan, describe, plan},
    sentence,
};
use crate::{
    args::{ApplyArgs, StateArgs},
    execute::{self, Patience},
    generation::{self, Newest},
    journal::{GpuJournal, Journal},
    kubelet,
    mig_parted::{Chosen, name, select},
    outcome::{Ending, GpuOutcome},
    output, run,
    steps::Step,
    usage::{InUse, Sources},
};

/// Applies it, or prints how that would be done.
pub fn apply(args: &ApplyArgs) -> Result<(), Stop> {
    let (label, entries) = config(&args.config)?;
    // Before the first look: an agent that runs would change what is seen.
    let state = if args.dry_run {
        None
    } else {
        Some(hold(&args.state)?)
    };
    let mut driver = Driver::open(&args.nvml.nvml_library).map_err(anyhow::Error::from)?;
    let node = look(&mut driver)?;
    let refused = |problems: &[String]| {
        Stop::Refused(sentence(problems).context(format!(
            "config {label} is not applied, and nothing was touched"
        )))
    };
    let chosen = select(&entries, &node).map_err(|problems| refused(&problems))?;
    let sources = kubelet::sources(args.kubelet.pod_resources_socket.clone())?;
    let plans = plans(&chosen, &sources.fresh(), args.config.mode_only)
        .map_err(|problems| refused(&problems))?;
    match state {
        None => {
            let text: String = plans.iter().map(|(gpu, plan)| steps(gpu, plan)).collect();
            Ok(output::write(&text)?)
        }
        Some((_lock, journal)) => execute(&mut driver, &sources, &plans, &journal),
    }
}

/// The state directory, which a running agent keeps for itself.
fn hold(StateArgs { state_dir, boot_id }: &StateArgs) -> Result<(Newest, Journal), Stop> {
    let newest = Newest::open(state_dir).map_err(|error| {
        if let generation::Error::Held { path } = error {
            Stop::Refused(anyhow!(
                "an agent runs on this node and makes what its coordinator wants ({} is locked): ask the coordinator for the \
                 layout, or stop the agent before you apply one by hand",
                path.display()
            ))
        } else {
            Stop::Failed(error.into())
        }
    })?;
    let journal = Journal::open(state_dir, &run::boot(boot_id)?).map_err(anyhow::Error::from)?;
    Ok((newest, journal))
}

/// The plans of all GPUs, or everything that stands against one of them.
fn plans<'a>(
    chosen: &[Chosen<'a>],
    in_use: &InUse,
    mode_only: bool,
) -> Result<Vec<(&'a Gpu, Plan)>, Vec<String>> {
    let mut plans = Vec::new();
    let mut problems = Vec::new();
    for &Chosen { gpu, wanted } in chosen {
        match plan(gpu, in_use, wanted, mode_only) {
            Ok(plan) => plans.push((gpu, plan)),
            Err(refusal) => problems.push(format!("{}: {refusal}", name(gpu))),
        }
    }
    if problems.is_empty() {
        Ok(plans)
    } else {
        Err(problems)
    }
}

/// The steps of a GPU for people.
fn steps(gpu: &Gpu, plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return format!("{}: nothing to do\n", name(gpu));
    }
    let board = gpu.board.as_deref();
    let lines = plan
        .steps
        .iter()
        .map(|step| format!("  {}\n", describe(*step, board)));
    format!("{}:\n{}", name(gpu), lines.collect::<String>())
}

/// One GPU after the other; ends at the first that fails.
fn execute(
    driver: &mut Driver,
    sources: &Sources,
    plans: &[(&Gpu, Plan)],
    journal: &Journal,
) -> Result<(), Stop> {
    let mut touched = false;
    for (index, (gpu, plan)) in plans.iter().enumerate() {
        let mut journal = journal.of(&gpu.uuid).map_err(anyhow::Error::from)?;
        let outcome = carry_out(
            driver,
            sources,
            &gpu.uuid,
            plan,
            Some(&mut journal),
            Patience::USUAL,
        );
        let (created, destroyed) = (outcome.created, outcome.destroyed);
        let left = plans.len() - index - 1;
        match &outcome.ending {
            Ending::Holds => {
                touched |= !plan.steps.is_empty();
                output::write(&format!(
                    "{}: {}\n",
                    name(gpu),
                    done(plan, created, destroyed)
                ))?;
            }
            // Something has come since the plans were made.
            Ending::Refused(refusal) if !touched => {
                return Err(Stop::Refused(anyhow!(
                    "{}: {refusal}; nothing was touched",
                    name(gpu)
                )));
            }
            Ending::Refused(refusal) => {
                return Err(Stop::Failed(anyhow!(
                    "{}: {refusal}; it was not touched{}",
                    name(gpu),
                    others(index, left)
                )));
            }
            Ending::Failed(failure) => {
                let stands = if failure.rolled_back {
                    "the instances are those that stood before"
                } else {
                    "not all instances that stood before stand again: see inspect"
                };
                return Err(Stop::Failed(anyhow!(
                    "{}: {}: {}; {stands}{}",
                    name(gpu),
                    failure.step.as_str().replace('_', " "),
                    failure.detail,
                    others(index, left)
                )));
            }
        }
    }
    Ok(())
}

/// Takes the way of one GPU. What stands in its way by now is found again.
pub fn carry_out(
    driver: &mut Driver,
    sources: &Sources,
    uuid: &str,
    plan: &Plan,
    mut journal: Option<&mut GpuJournal>,
    patience: Patience,
) -> GpuOutcome {
    let switch = |driver: &mut Driver, on, journal| {
        execute::switch(driver, sources, uuid, on, journal, patience, &mut |_| {})
    };
    let layout = match &plan.goal {
        Goal::Mode(on) => return switch(driver, *on, journal),
        Goal::Layout(layout) => layout,
        Goal::ModeThenLayout(layout) => {
            let outcome = switch(driver, true, journal.as_deref_mut());
            if outcome.ending != Ending::Holds {
                return outcome;
            }
            layout
        }
    };
    // Of no generation: a person asks.
    let journal = journal.map(|journal| (Generation::default(), journal));
    execute::execute(
        driver,
        sources,
        uuid,
        layout,
        journal,
        patience,
        &mut |_| {},
    )
}

fn done(plan: &Plan, created: u32, destroyed: u32) -> String {
    let mut words = Vec::new();
    for step in &plan.steps {
        match step {
            Step::EnableMig => words.push("MIG mode enabled".to_owned()),
            Step::DisableMig => words.push("MIG mode disabled".to_owned()),
            Step::DestroyComputeInstance { .. }
            | Step::DestroyGpuInstance { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. } => {}
        }
    }
    if destroyed > 0 {
        words.push(format!("{destroyed} destroyed"));
    }
    if created > 0 {
        words.push(format!("{created} created"));
    }
    if words.is_empty() {
        "nothing to do".to_owned()
    } else {
        words.join(", ")
    }
}

/// What became of the GPUs before and behind one that failed.
fn others(before: usize, behind: usize) -> String {
    match (before, behind) {
        (0, 0) => String::new(),
        (before, 0) => format!("; the {before} before it are as wanted"),
        (0, behind) => format!("; {behind} behind it were not begun"),
        (before, behind) => {
            format!("; the {before} before it are as wanted, {behind} behind it were not begun")
        }
    }
}
