//! Work on one GPU, on a thread of its own: a change takes seconds on hardware, and GPUs do not wait for each other.
//!
//! The driver takes turns where it must; NVML itself may be called from many threads at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::Sender,
    thread,
};

use mica_model::{Generation, Layout};
use mica_nvml::Driver;

use super::{Command, pulse::Pulse};
use crate::{
    execute::{self, Patience, Recovered, Taken},
    journal::GpuJournal,
    metrics::{DriverMetrics, GpuLabels},
    outcome::{Ending, Failure, GpuOutcome, StepKind},
    usage::Sources,
};

/// What is to be done to a GPU.
#[derive(Debug)]
pub(super) enum Job {
    /// Make a layout.
    Make {
        /// What asked for it.
        generation: Generation,
        /// What shall stand.
        layout: Layout,
    },
    /// Ask again for MIG mode, which is pending.
    Ask,
    /// Bring it to where its journal says it belongs; the driver may have been loaded anew since.
    Recover {
        /// Whether it was.
        reloaded: bool,
    },
}

/// How the work on a GPU ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) uuid: String,
    /// Of [`Job::Make`].
    pub(super) made: Option<(Generation, GpuOutcome)>,
    /// Of [`Job::Ask`].
    pub(super) asked: Option<GpuOutcome>,
    /// Whether the GPU has to be recovered later.
    pub(super) owing: bool,
}

/// What the thread of a worker takes along.
pub(super) struct Tools {
    pub(super) driver: Driver,
    pub(super) journal: GpuJournal,
    pub(super) sources: Sources,
    pub(super) metrics: DriverMetrics,
    pub(super) labels: GpuLabels,
    pub(super) pulse: Pulse,
}

/// Starts the work; its end comes as [`Command::Done`].
pub(super) fn begin(
    uuid: &str,
    job: Job,
    tools: Tools,
    done: Sender<Command>,
) -> std::io::Result<()> {
    let uuid = uuid.to_owned();
    let name = format!("gpu {}", tools.labels.index());
    thread::Builder::new().name(name).spawn(move || {
        let generation = generation(&job);
        let work = AssertUnwindSafe(|| work(uuid.clone(), job, tools));
        // Else the GPU would be busy for ever.
        let ended = catch_unwind(work).unwrap_or_else(|_| Done {
            made: generation.map(|generation| (generation, panicked(&uuid))),
            asked: None,
            uuid,
            owing: true,
        });
        if done.send(Command::Done(Box::new(ended))).is_err() {
            tracing::debug!("nobody waits for the end of the work any more");
        }
    })?;
    Ok(())
}

/// Does one job to its end.
pub(super) fn work(uuid: String, job: Job, mut tools: Tools) -> Done {
    let beat = tools.pulse.begin(&uuid);
    let (metrics, labels) = (&tools.metrics, &tools.labels);
    let mut observe = |taken: &Taken| {
        metrics.taken(labels, taken);
        beat.beat();
    };
    match job {
        Job::Make { generation, layout } => {
            let journal = Some((generation, &mut tools.journal));
            let outcome = execute::execute(
                &mut tools.driver,
                &tools.sources,
                &uuid,
                &layout,
                journal,
                Patience::USUAL,
                &mut observe,
            );
            metrics.ended(labels, &outcome.ending);
            Done {
                uuid,
                made: Some((generation, outcome)),
                asked: None,
                owing: tools.journal.record().work.is_some(),
            }
        }
        Job::Recover { reloaded } => {
            let recovered = execute::recover(
                &mut tools.driver,
                &tools.sources,
                &uuid,
                &mut tools.journal,
                reloaded,
                Patience::USUAL,
                &mut observe,
            );
            if let Recovered::Done(outcome) = &recovered {
                metrics.ended(labels, &outcome.ending);
            }
            Done {
                uuid,
                made: None,
                asked: None,
                owing: matches!(recovered, Recovered::Later(_)),
            }
        }
        Job::Ask => Done {
            asked: Some(execute::ask(
                &mut tools.driver,
                &tools.sources,
                &uuid,
                Patience::USUAL,
                &mut observe,
            )),
            uuid,
            made: None,
            owing: false,
        },
    }
}

fn generation(job: &Job) -> Option<Generation> {
    match job {
        Job::Make { generation, .. } => Some(*generation),
        Job::Recover { .. } | Job::Ask => None,
    }
}

fn panicked(uuid: &str) -> GpuOutcome {
    GpuOutcome {
        uuid: uuid.to_owned(),
        ending: Ending::Failed(Failure {
            step: StepKind::Read,
            code: None,
            detail: "the thread that worked on the GPU panicked: see the log".to_owned(),
            rolled_back: false,
        }),
        created: 0,
        destroyed: 0,
    }
}
