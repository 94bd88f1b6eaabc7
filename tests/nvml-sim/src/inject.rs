//! Faults to inject: a wrong answer, a delay or a sudden death, at a call or a change of one's choice, or at random.

mod random;
mod slot;

use std::cell::Cell;
use std::time::Duration;

use crate::code::Code;

pub use random::RandomFaults;

/// Every symbol of the NVML header, one a line.
pub(crate) const SYMBOLS: &str = include_str!("../symbols.txt");

/// Stands for every call.
pub const EVERY_CALL: &str = "*";

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does nothing and returns this code.
    Return(Code),
    /// The client is killed before the call does anything, as by `kill -9`.
    Kill,
    /// It takes this long more.
    Delay(Duration),
    /// The client is treated as if it had been killed before the call: this call and all further ones do nothing and answer 999,
    /// until the client initialises again, as its next process would. For tests that have the client in their own process.
    Vanish,
    /// The client is killed right after a call of this name changed the state (mode, or an instance created or destroyed), before
    /// the call returns. Counted in changes, not in calls.
    KillAfterChange,
    /// As [`Effect::KillAfterChange`], but the client is treated as if it had been killed (see [`Effect::Vanish`]).
    VanishAfterChange,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before a call does anything.
    Call,
    /// Right after a change.
    Change,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the call, e.g. `nvmlDeviceCreateGpuInstance`, or [`EVERY_CALL`].
    pub call: String,
    /// What happens to it.
    pub effect: Effect,
    /// Calls (or changes) to let pass first, by whichever client.
    pub after: u32,
    /// How many calls (or changes) to hit then; `None` means all.
    pub times: Option<u32>,
}

/// Why a fault cannot be injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// NVML has no such call.
    #[error(
        "call {0:?} is no NVML function; names are those of nvml.h, e.g. nvmlDeviceCreateGpuInstance, or * for every call"
    )]
    UnknownCall(String),
    /// More than all calls were to fail.
    #[error("random faults in {0} of a million calls: at most all of them can fail")]
    Rate(u32),
    /// Too many codes, or none.
    #[error("{0} codes: random faults choose from 1 to {max}", max = crate::state::MAX_CODES)]
    Codes(usize),
}

impl Fault {
    /// The next call of this name returns `code`.
    #[must_use]
    pub fn once(call: &str, code: Code) -> Self {
        Self {
            call: call.to_owned(),
            effect: Effect::Return(code),
            after: 0,
            times: Some(1),
        }
    }

    /// Each call of this name takes this long more.
    #[must_use]
    pub fn delay(call: &str, delay: Duration) -> Self {
        Self {
            call: call.to_owned(),
            effect: Effect::Delay(delay),
            after: 0,
            times: None,
        }
    }

    /// The client dies right after the `change`-th change from now, counted from 1.
    #[must_use]
    pub fn crash(change: u32) -> Self {
        Self {
            call: EVERY_CALL.to_owned(),
            effect: Effect::KillAfterChange,
            after: change.saturating_sub(1),
            times: Some(1),
        }
    }

    /// As [`Fault::crash`], for a client in the process of the test: it vanishes.
    #[must_use]
    pub fn vanish(change: u32) -> Self {
        Self {
            effect: Effect::VanishAfterChange,
            ..Self::crash(change)
        }
    }

    /// A loaded node: looking a device up by UUID, or walking the seven MIG devices of a GPU, takes about 10 seconds. The Kubernetes
    /// driver of NVIDIA says so in comments.
    #[must_use]
    pub fn slow_walks() -> [Self; 2] {
        [
            Self::delay("nvmlDeviceGetHandleByUUID", Duration::from_secs(10)),
            Self::delay(
                "nvmlDeviceGetMigDeviceHandleByIndex",
                Duration::from_millis(1_430),
            ),
        ]
    }

    /// Destroying a GPU instance takes a second; from the same comments.
    #[must_use]
    pub fn slow_destroys() -> [Self; 1] {
        [Self::delay(
            "nvmlGpuInstanceDestroy",
            Duration::from_secs(1),
        )]
    }
}

/// What a call has to suffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suffering {
    pub(crate) delay: Duration,
    pub(crate) kill: bool,
    pub(crate) vanish: bool,
    pub(crate) code: Option<Code>,
}

impl Suffering {
    pub(crate) fn add(&mut self, effect: Effect) {
        match effect {
            Effect::Return(code) => self.code = self.code.or(Some(code)),
            Effect::Kill | Effect::KillAfterChange => self.kill = true,
            Effect::Vanish | Effect::VanishAfterChange => self.vanish = true,
            Effect::Delay(delay) => self.delay = self.delay.saturating_add(delay),
        }
    }

    pub(crate) fn is_more_than_a_delay(self) -> bool {
        self.kill || self.vanish || self.code.is_some()
    }
}

thread_local! {
    static CALL: Cell<&'static str> = const { Cell::new("") };
}

/// Remembers which call this thread is in, for the faults that strike at its changes.
pub(crate) fn enter_call(name: &'static str) {
    CALL.set(name);
}

/// The call that this thread is in.
pub(crate) fn current_call() -> &'static str {
    CALL.get()
}
