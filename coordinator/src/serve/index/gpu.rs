use std::{
    fmt,
    time::{Duration, Instant},
};

use mica_model::{Gpu, Holder, Layout, MigMode, Slice, Use, WaitsFor};

use super::{Held, HeldBy, Verdict};

/// First wait after a failure; doubles with each one that follows.
const FIRST_BACK_OFF: Duration = Duration::from_secs(2);
/// Longest wait: a GPU that fails for hours is still tried once a minute, since what ails it may be mended by hand.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// Wait after a refusal that only says our view was old: the next report brings the truth.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// A GPU as its agent last reported it, and what the coordinator thinks of it.
#[derive(Debug)]
pub(crate) struct NodeGpu {
    /// As reported.
    pub(crate) gpu: Gpu,
    /// What of the report matters to a plan.
    pub(crate) view: View,
    hold: Option<Hold>,
    /// Failures and refusals since something last went well.
    failures: u32,
}

/// What of a GPU's report matters to a plan; the memory in use, for example, does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Slices in use, or whose use is unknown, or that are sick: none of them may go, and none is to be given to anybody.
    pub(crate) in_use: Layout,
    /// Complete slices that nobody uses.
    pub(crate) idle: Layout,
    /// Half-made instances that nobody uses. They serve nobody and may be replaced: the agent finishes or removes them.
    pub(crate) half_made: Layout,
    /// Why the GPU cannot be changed, whatever is wanted of it.
    pub(crate) blocked: Option<Blocked>,
}

/// Why a GPU cannot be changed. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The agent says it cannot be read or used.
    Fault(String),
    /// MIG mode waits for a reset, or for a reboot.
    ModePending(MigMode, WaitsFor),
    /// Processes hold the GPU while MIG mode is off.
    Holders(Vec<Holder>),
    /// The GPU as a whole is in use, or may be, while MIG mode is off.
    InUse(Use),
    /// What stands on it is not a layout of its board, so nothing can be planned around it.
    Illegal(String),
}

impl Blocked {
    fn by(&self) -> HeldBy {
        match self {
            Self::Fault(_) => HeldBy::Fault,
            Self::ModePending(..) => HeldBy::ResetRequired,
            Self::Holders(_) | Self::InUse(_) => HeldBy::ModeHeld,
            Self::Illegal(_) => HeldBy::IllegalLayout,
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => f.write_str(fault),
            Self::ModePending(mode, waits_for) => {
                let remedy = match waits_for {
                    WaitsFor::Reboot => "reboot the node",
                    WaitsFor::Agent | WaitsFor::Release | WaitsFor::Reset => "reset the GPU",
                };
                write!(f, "MIG mode is {}: {remedy}", mode.as_str())
            }
            Self::Holders(holders) => {
                let holders: Vec<_> = holders.iter().map(ToString::to_string).collect();
                let holders = holders.join(", ");
                write!(f, "MIG mode is off and processes hold the GPU: {holders}")
            }
            Self::InUse(in_use) => write!(f, "MIG mode is off and the GPU {in_use}"),
            Self::Illegal(why) => write!(f, "its slices are no layout of its board: {why}"),
        }
    }
}

/// Keeps the planner off a GPU for a while.
#[derive(Debug)]
struct Hold {
    held: Held,
    until: Instant,
    /// How the GPU looked when the hold began; once it looks different, trying again makes sense.
    before: View,
}

impl View {
    pub(crate) fn of(gpu: &Gpu) -> Self {
        let pick = |choose: fn(bool, bool) -> bool| -> Layout {
            gpu.instances
                .iter()
                .filter(|instance| choose(instance.is_free(), instance.compute.is_some()))
                .map(|instance| instance.slice)
                .collect()
        };
        let mut view = Self {
            in_use: pick(|idle, _| !idle),
            idle: pick(|idle, complete| idle && complete),
            half_made: pick(|idle, complete| idle && !complete),
            blocked: None,
        };
        view.blocked = view.blocked(gpu);
        view
    }

    fn blocked(&self, gpu: &Gpu) -> Option<Blocked> {
        if let Some(fault) = &gpu.fault {
            return Some(Blocked::Fault(fault.clone()));
        }
        match (gpu.mig_mode, gpu.waits_for) {
            (MigMode::PendingDisable, waits_for) => {
                let waits_for = waits_for.unwrap_or(WaitsFor::Reset);
                return Some(Blocked::ModePending(gpu.mig_mode, waits_for));
            }
            (MigMode::PendingEnable, Some(waits_for @ (WaitsFor::Reset | WaitsFor::Reboot))) => {
                return Some(Blocked::ModePending(gpu.mig_mode, waits_for));
            }
            (MigMode::PendingEnable, Some(WaitsFor::Release)) if !gpu.holders.is_empty() => {
                return Some(Blocked::Holders(gpu.holders.clone()));
            }
            (MigMode::Disabled | MigMode::PendingEnable, _) if !gpu.in_use.is_idle() => {
                return Some(Blocked::InUse(gpu.in_use.clone()));
            }
            // What is pending comes into force when it is asked for again and nobody holds the GPU.
            (
                MigMode::PendingEnable
                | MigMode::Disabled
                | MigMode::Enabled
                | MigMode::Unsupported,
                _,
            ) => {}
        }
        let error = gpu.board.as_ref()?.check(&self.standing()).err()?;
        Some(Blocked::Illegal(error.to_string()))
    }

    /// The complete slices, used or not, and the half-made ones that something uses.
    pub(crate) fn standing(&self) -> Layout {
        union(&self.in_use, &self.idle)
    }
}

/// The slices of either.
pub(crate) fn union(a: &Layout, b: &Layout) -> Layout {
    a.0.union(&b.0).copied().collect()
}

/// The slices of `layout` for which `keep` holds.
pub(crate) fn retain(layout: &Layout, keep: impl Fn(&Slice) -> bool) -> Layout {
    layout
        .0
        .iter()
        .filter(|slice| keep(slice))
        .copied()
        .collect()
}

impl NodeGpu {
    pub(crate) fn new(gpu: Gpu) -> Self {
        Self {
            view: View::of(&gpu),
            gpu,
            hold: None,
            failures: 0,
        }
    }

    /// Takes over what is known of the GPU from before the report.
    pub(crate) fn following(mut self, former: Self) -> Self {
        self.failures = former.failures;
        self.hold = former.hold.filter(|hold| hold.before == self.view);
        self
    }

    /// Which pods hold its slices, or hold it as a whole, by UUID.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (&str, &mica_model::Pod)> {
        let slices = self.gpu.instances.iter().filter_map(|instance| {
            let compute = instance.compute.as_ref()?;
            Some((compute.uuid.as_str(), &instance.in_use))
        });
        slices
            .chain([(self.gpu.uuid.as_str(), &self.gpu.in_use)])
            .flat_map(|(uuid, in_use)| {
                let containers = in_use.containers.iter();
                containers.map(move |container| (uuid, &container.pod))
            })
    }

    /// Why the planner leaves the GPU alone: what the report says, or else a hold.
    pub(crate) fn held(&self) -> Option<Held> {
        let blocked = self.view.blocked.as_ref().map(|blocked| Held {
            by: blocked.by(),
            reason: blocked.to_string(),
        });
        blocked.or_else(|| Some(self.hold.as_ref()?.held.clone()))
    }

    /// Whether a hold keeps the planner off.
    pub(crate) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// When the hold ends.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.hold.as_ref().map(|hold| hold.until)
    }

    /// Ends a hold whose time has come; whether there was one.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        self.hold.take_if(|hold| hold.until <= now).is_some()
    }

    /// Draws the consequence of how an attempt to change the GPU ended.
    pub(crate) fn conclude(&mut self, verdict: &Verdict, now: Instant) {
        let Some(held) = verdict.held() else {
            self.failures = 0;
            self.hold = None;
            return;
        };
        let wait = if verdict.is_misunderstanding() {
            SHORT_WAIT
        } else {
            self.failures = self.failures.saturating_add(1);
            back_off(self.failures)
        };
        self.hold = Some(Hold {
            held,
            until: now + wait,
            before: self.view.clone(),
        });
    }
}

/// Wait after so many failures in a row.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACK_OFF
        .saturating_mul(1 << doublings)
        .min(LONGEST_BACK_OFF)
}
