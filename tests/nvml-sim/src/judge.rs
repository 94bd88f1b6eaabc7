//! Judges from the driver's log whether a slice in use was touched.
//!
//! Two checks that know nothing of each other. The first looks at each destroy, mode change and reset and at the processes
//! that the driver saw there. The second takes the life of each process, from its start to its stop, and looks for a
//! destroy, mode change or reset of its instance within.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::code::Code;
use crate::log::{Action, Event, Sight};

/// How a slice in use was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Touch {
    /// An instance was destroyed, or its GPU's mode changed or reset, with a process on it.
    Done,
    /// A client tried to destroy an instance although it had seen the process on it.
    TriedThoughSeen,
    /// A client tried to destroy an instance without ever having looked for processes.
    TriedWithoutLooking,
    /// An instance was destroyed, or its GPU's mode changed or reset, between the start and the stop of a process on it.
    WithinLife,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Index of the event in the log, from 0.
    pub event: usize,
    /// Process id of the client that acted.
    pub client: u32,
    /// What it did, or tried.
    pub action: Action,
    /// GPU index.
    pub gpu: Option<u32>,
    /// GPU instance of the process, `None` when it uses the whole GPU.
    pub gi: Option<u32>,
    /// The process that was hit.
    pub pid: u32,
    /// How; `None` for a lost race.
    pub touch: Option<Touch>,
}

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// GPU instances created.
    pub created: u64,
    /// GPU instances destroyed, not counting those that a mode change or a reset takes away.
    pub destroyed: u64,
    /// Mode changes that took effect, and resets.
    pub mode_changes: u64,
    /// Processes started.
    pub started: u64,
    /// Processes stopped.
    pub stopped: u64,
    /// Refused attempts at all actions.
    pub refused: u64,
    /// Slices in use that were touched. Must be empty.
    pub touched: Vec<Finding>,
    /// Attempts on a process that came after the client's last look: refused by the driver and harmless.
    pub lost_races: Vec<Finding>,
}

impl Verdict {
    /// Whether no slice in use was touched.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.touched.is_empty()
    }
}

/// Judges a log.
#[must_use]
pub fn judge(events: &[Event]) -> Verdict {
    let mut verdict = Verdict::default();
    for (index, event) in events.iter().enumerate() {
        count(&mut verdict, event);
        check_attempt(&mut verdict, index, event);
    }
    check_lives(&mut verdict, events);
    verdict
}

fn count(verdict: &mut Verdict, event: &Event) {
    if event.action != Action::Fault && event.result != Code::SUCCESS.0 {
        verdict.refused += 1;
        return;
    }
    match event.action {
        Action::CreateGpuInstance => verdict.created += 1,
        Action::DestroyGpuInstance => verdict.destroyed += 1,
        Action::SetMigMode | Action::Reset if takes_effect(event) => verdict.mode_changes += 1,
        Action::StartProcess => verdict.started += 1,
        Action::StopProcess => verdict.stopped += 1,
        Action::CreateComputeInstance
        | Action::DestroyComputeInstance
        | Action::SetMigMode
        | Action::Reset
        | Action::Reload
        | Action::Boot
        | Action::Hold
        | Action::Release
        | Action::Fault => {}
    }
}

/// Whether an event takes something away from processes: an instance, or the GPU under all of them.
fn takes_effect(event: &Event) -> bool {
    event.result == Code::SUCCESS.0
        && match event.action {
            Action::DestroyGpuInstance
            | Action::DestroyComputeInstance
            | Action::Reset
            | Action::Reload => true,
            Action::SetMigMode => event.activation == Some(Code::SUCCESS.0),
            Action::CreateGpuInstance
            | Action::CreateComputeInstance
            | Action::StartProcess
            | Action::StopProcess
            | Action::Hold
            | Action::Release
            // Takes everything away, but no client did it.
            | Action::Boot
            | Action::Fault => false,
        }
}

fn check_attempt(verdict: &mut Verdict, index: usize, event: &Event) {
    let destroys = matches!(
        event.action,
        Action::DestroyGpuInstance | Action::DestroyComputeInstance
    );
    for process in &event.processes {
        let touch = match process.sight {
            _ if takes_effect(event) => Some(Touch::Done),
            // A mode change that only becomes pending takes nothing away.
            _ if !destroys => continue,
            Sight::Seen => Some(Touch::TriedThoughSeen),
            Sight::NeverLooked => Some(Touch::TriedWithoutLooking),
            Sight::Newer => None,
        };
        let finding = Finding {
            event: index,
            client: event.client,
            action: event.action,
            gpu: event.gpu,
            gi: process.gi,
            pid: process.pid,
            touch,
        };
        if touch.is_some() {
            verdict.touched.push(finding);
        } else {
            verdict.lost_races.push(finding);
        }
    }
}

/// Where a process is: GPU, GPU instance and compute instance.
type Seat = (Option<u32>, Option<u32>, Option<u32>);

fn check_lives(verdict: &mut Verdict, events: &[Event]) {
    let mut alive: BTreeSet<(Seat, u32)> = BTreeSet::new();
    for (index, event) in events.iter().enumerate() {
        let seat = (event.gpu, event.gi, event.ci);
        match (event.action, event.pid) {
            (Action::StartProcess, Some(pid)) if event.result == Code::SUCCESS.0 => {
                alive.insert((seat, pid));
            }
            (Action::StopProcess, Some(pid)) => {
                alive.remove(&(seat, pid));
            }
            _ if takes_effect(event) => {
                let hit = |&&((gpu, gi, ci), _): &&(Seat, u32)| {
                    gpu == event.gpu
                        && (event.gi.is_none() || gi == event.gi)
                        && (event.ci.is_none() || ci == event.ci)
                };
                verdict
                    .touched
                    .extend(
                        alive
                            .iter()
                            .filter(hit)
                            .map(|&((gpu, gi, _), pid)| Finding {
                                event: index,
                                client: event.client,
                                action: event.action,
                                gpu,
                                gi,
                                pid,
                                touch: Some(Touch::WithinLife),
                            }),
                    );
            }
            _ => {}
        }
    }
}
