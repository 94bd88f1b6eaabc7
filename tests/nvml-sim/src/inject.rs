//! Faults to inject: a wrong answer, a delay or a sudden death, at a call of one's choice.

use std::time::Duration;

use crate::code::Code;
use crate::state::FaultSlot;

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
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the call, e.g. `nvmlDeviceCreateGpuInstance`, or [`EVERY_CALL`].
    pub call: String,
    /// What happens to it.
    pub effect: Effect,
    /// Calls to let pass first.
    pub after: u32,
    /// How many calls to hit then; `None` means all.
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
}

const RETURN: u32 = 0;
const KILL: u32 = 1;
const DELAY: u32 = 2;

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

    pub(crate) fn slot(&self) -> Result<FaultSlot, FaultError> {
        let unknown = || FaultError::UnknownCall(self.call.clone());
        if self.call != EVERY_CALL && !SYMBOLS.lines().any(|symbol| symbol == self.call) {
            return Err(unknown());
        }
        let mut call = [0; 72];
        call.get_mut(..self.call.len())
            .ok_or_else(unknown)?
            .copy_from_slice(self.call.as_bytes());
        let (effect, code, delay) = match self.effect {
            Effect::Return(code) => (RETURN, code.0, Duration::ZERO),
            Effect::Kill => (KILL, 0, Duration::ZERO),
            Effect::Delay(delay) => (DELAY, 0, delay),
        };
        Ok(FaultSlot {
            call,
            effect,
            skip: self.after,
            left: self.times.map_or(u32::MAX, |times| times.min(u32::MAX - 1)),
            code,
            delay_us: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

impl FaultSlot {
    pub(crate) fn matches(&self, call: &str) -> bool {
        let name = self
            .call
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        self.left > 0 && (name == call.as_bytes() || name == EVERY_CALL.as_bytes())
    }

    /// Whether a hit changes nothing: every call is delayed, or answered so. Such hits are not logged, else whoever polls would make
    /// the log grow.
    pub(crate) fn is_steady(&self) -> bool {
        self.effect != KILL && self.skip == 0 && self.left == u32::MAX
    }

    pub(crate) fn effect(&self) -> Effect {
        match self.effect {
            KILL => Effect::Kill,
            DELAY => Effect::Delay(Duration::from_micros(self.delay_us)),
            _ => Effect::Return(Code(self.code)),
        }
    }

    /// Counts a call that matches; whether it is hit.
    pub(crate) fn count_down(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.left != u32::MAX {
            self.left -= 1;
        }
        true
    }
}

/// What a call has to suffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suffering {
    pub(crate) delay: Duration,
    pub(crate) kill: bool,
    pub(crate) code: Option<Code>,
}

impl Suffering {
    pub(crate) fn add(&mut self, effect: Effect) {
        match effect {
            Effect::Return(code) => self.code = self.code.or(Some(code)),
            Effect::Kill => self.kill = true,
            Effect::Delay(delay) => self.delay = self.delay.saturating_add(delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_calls() {
        let fault = Fault {
            after: 2,
            times: Some(2),
            ..Fault::once("nvmlInit_v2", Code::ERROR_UNKNOWN)
        };
        let mut slot = fault.slot().unwrap();
        let mut hits = Vec::new();
        for _ in 0..6 {
            hits.push(slot.matches("nvmlInit_v2") && slot.count_down());
        }
        assert_eq!(hits, [false, false, true, true, false, false]);
        assert!(!slot.matches("nvmlInit"));
    }

    #[test]
    fn a_misspelt_call_is_refused() {
        let error = Fault::once("nvmlDeviceCreateGpuInstanse", Code::ERROR_UNKNOWN).slot();
        assert!(
            matches!(error, Err(FaultError::UnknownCall(_))),
            "{error:?}"
        );
    }
}
