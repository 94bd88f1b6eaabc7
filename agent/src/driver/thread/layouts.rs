//! Layouts under way: which GPUs have to end before the outcome of a layout is said.

use std::collections::BTreeMap;

use mica_model::{Generation, Layout, MigMode};
use mica_proto::v1;
use tracing::{debug, error, info, warn};

use super::Thread;
use crate::{
    driver::work::{Done, Job},
    outcome::{Ending, Failure, GpuOutcome, Refusal, StepKind},
};

/// Layouts under way.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    /// By generation.
    open: BTreeMap<Generation, Open>,
    /// By UUID, what a busy GPU shall be cut into next.
    waiting: BTreeMap<String, (Generation, Layout)>,
}

/// A layout of which some GPUs have not ended.
#[derive(Debug)]
struct Open {
    /// UUIDs, in the order in which they were asked for.
    asked: Vec<String>,
    ended: Vec<GpuOutcome>,
}

impl Layouts {
    /// The newest generation up to which nothing is under way.
    fn finished(&self, seen: Generation) -> Generation {
        self.open
            .first_key_value()
            .map_or(seen, |(oldest, _)| Generation(oldest.0.saturating_sub(1)))
    }

    /// Notes that one GPU of a layout has ended. Gives all of them with the last, in the order in which they were asked for.
    fn ended(&mut self, generation: Generation, outcome: GpuOutcome) -> Option<Vec<GpuOutcome>> {
        let open = self.open.get_mut(&generation)?;
        open.ended.push(outcome);
        if open.ended.len() < open.asked.len() {
            return None;
        }
        let Open { asked, mut ended } = self.open.remove(&generation)?;
        ended.sort_by_key(|gpu| asked.iter().position(|asked| *asked == gpu.uuid));
        Some(ended)
    }
}

impl Thread {
    /// Begins with a layout of the node. How it ended is said when its last GPU has.
    pub(super) fn execute(&mut self, desired: &v1::Desired) {
        let generation = Generation(desired.generation);
        if let Err(refusal) = self.settings.newest.admit(generation) {
            warn!(%generation, %refusal, "layout refused");
            return self.say(v1::Outcome {
                generation: generation.0,
                refusal: Some((&refusal).into()),
                gpus: Vec::new(),
            });
        }
        if let Err(error) = self.settings.newest.advance(generation) {
            error!(%generation, %error, "layout not executed");
            // Not seen, since it is not kept, but dealt with: the coordinator need not wait for it.
            self.update(|inventory| inventory.finished = generation);
            return self.say(not_kept(desired, &error.to_string()));
        }
        self.update(|inventory| inventory.seen = generation);
        info!(%generation, gpus = desired.gpus.len(), "layout begins");
        if desired.gpus.is_empty() {
            return self.conclude(generation, &[]);
        }
        let open = Open {
            asked: desired.gpus.iter().map(|gpu| gpu.uuid.clone()).collect(),
            ended: Vec::new(),
        };
        self.layouts.open.insert(generation, open);
        for wanted in &desired.gpus {
            match wanted.layout() {
                Ok(layout) => self.make(&wanted.uuid, generation, layout),
                Err(invalid) => {
                    let refusal = Refusal::IllegalLayout(invalid.to_string());
                    self.ended(
                        generation,
                        GpuOutcome::refused(wanted.uuid.clone(), refusal),
                    );
                }
            }
        }
    }

    /// Has a layout made, now or when the GPU is no longer busy. What waits is overtaken by what is newer.
    fn make(&mut self, uuid: &str, generation: Generation, layout: Layout) {
        if self.busy.contains(uuid) || self.reset.is_under_way() {
            let next = (generation, layout);
            let overtaken = self.layouts.waiting.insert(uuid.to_owned(), next);
            if let Some((asked, _)) = overtaken {
                let newest = generation;
                let refusal = Refusal::StaleGeneration { asked, newest };
                self.ended(asked, GpuOutcome::refused(uuid.to_owned(), refusal));
            }
            return;
        }
        if let Some(refusal) = self.sick(uuid, &layout) {
            return self.ended(generation, GpuOutcome::refused(uuid.to_owned(), refusal));
        }
        // What was owed is overtaken.
        self.owing.remove(uuid);
        let switches = !layout.0.is_empty() && self.is_off(uuid);
        if switches {
            self.changes(uuid);
        }
        if let Err(problem) = self.begin(uuid, Job::Make { generation, layout }) {
            self.ended(generation, not_begun(uuid, problem, self.driver.is_some()));
        }
    }

    /// A worker has ended: what it led to is read and said, and what waits for the GPU begins.
    pub(super) fn done(&mut self, done: Done) {
        let Done {
            uuid,
            made,
            asked,
            owing,
        } = done;
        self.busy.remove(&uuid);
        if owing {
            self.owing.insert(uuid.clone());
        }
        // Others see at once what has changed, also while further GPUs are worked on.
        self.refresh(&uuid);
        self.settings.sources.offer_again(&uuid);
        if let Some(outcome) = asked {
            self.learned(outcome);
        }
        if let Some((generation, outcome)) = made {
            let outcome = self.learned(outcome);
            self.ended(generation, outcome);
        }
        self.go_on_with_reset();
        if self.is_free(&uuid)
            && let Some((generation, layout)) = self.layouts.waiting.remove(&uuid)
        {
            self.make(&uuid, generation, layout);
        }
    }

    /// Learns from an outcome, and tells it in the log and everybody what the GPU waits for now.
    fn learned(&mut self, outcome: GpuOutcome) -> GpuOutcome {
        let failed = matches!(outcome.ending, Ending::Failed(_));
        let outcome = self.learn(outcome);
        tell(&outcome);
        if failed {
            self.refresh(&outcome.uuid);
        }
        outcome
    }

    /// Begins what layouts asked for while no GPU could be worked on.
    pub(super) fn make_what_waits(&mut self) {
        let uuids: Vec<_> = self.layouts.waiting.keys().cloned().collect();
        for uuid in uuids {
            if self.is_free(&uuid)
                && let Some((generation, layout)) = self.layouts.waiting.remove(&uuid)
            {
                self.make(&uuid, generation, layout);
            }
        }
    }

    fn is_off(&self, uuid: &str) -> bool {
        let inventory = self.inventory.borrow();
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == uuid);
        gpu.is_some_and(|gpu| {
            matches!(gpu.mig_mode, MigMode::Disabled | MigMode::PendingEnable)
                && gpu.in_use.is_idle()
        })
    }

    /// One GPU of a layout has ended.
    fn ended(&mut self, generation: Generation, outcome: GpuOutcome) {
        if let Some(gpus) = self.layouts.ended(generation, outcome) {
            self.conclude(generation, &gpus);
        }
    }

    /// The last GPU of a layout has ended.
    fn conclude(&mut self, generation: Generation, gpus: &[GpuOutcome]) {
        let finished = self.layouts.finished(self.settings.newest.get());
        self.update(|inventory| inventory.finished = finished);
        info!(%generation, "layout ends");
        self.say(v1::Outcome {
            generation: generation.0,
            refusal: None,
            gpus: gpus.iter().map(v1::GpuOutcome::from).collect(),
        });
    }

    fn say(&self, outcome: v1::Outcome) {
        if self.channels.outcomes.send(outcome).is_err() {
            debug!("nobody waits for the outcome any more");
        }
    }
}

fn tell(outcome: &GpuOutcome) {
    let GpuOutcome {
        uuid,
        ending,
        created,
        destroyed,
    } = outcome;
    match ending {
        Ending::Holds => info!(gpu = uuid, created, destroyed, "layout holds"),
        Ending::Refused(refusal) => warn!(gpu = uuid, %refusal, "layout refused"),
        Ending::Failed(failure) => warn!(
            gpu = uuid,
            created,
            destroyed,
            step = failure.step.as_str(),
            rolled_back = failure.rolled_back,
            "layout failed"
        ),
    }
}

/// The outcome of a layout that no worker took up: NVML is lost, or what is begun could not be kept.
fn not_begun(uuid: &str, problem: String, open: bool) -> GpuOutcome {
    if !open {
        return GpuOutcome::refused(uuid.to_owned(), Refusal::Faulted(problem));
    }
    let failure = Failure {
        step: StepKind::Journal,
        code: None,
        detail: format!("not executed: {problem}"),
        rolled_back: true,
    };
    GpuOutcome {
        uuid: uuid.to_owned(),
        ending: Ending::Failed(failure),
        created: 0,
        destroyed: 0,
    }
}

/// The outcome of a layout whose generation could not be kept: executing it could be undone by a late one after a restart.
fn not_kept(desired: &v1::Desired, problem: &str) -> v1::Outcome {
    let failed = |layout: &v1::GpuLayout| {
        let outcome = not_begun(&layout.uuid, problem.to_owned(), true);
        v1::GpuOutcome::from(&outcome)
    };
    v1::Outcome {
        generation: desired.generation,
        refusal: None,
        gpus: desired.gpus.iter().map(failed).collect(),
    }
}
