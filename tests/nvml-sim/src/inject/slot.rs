//! Faults as they lie in the shared state.

use std::time::Duration;

use super::{EVERY_CALL, Effect, Fault, FaultError, Moment, SYMBOLS};
use crate::code::Code;
use crate::state::FaultSlot;

const RETURN: u32 = 0;
const KILL: u32 = 1;
const DELAY: u32 = 2;
const VANISH: u32 = 3;
const KILL_AFTER_CHANGE: u32 = 4;
const VANISH_AFTER_CHANGE: u32 = 5;

impl Fault {
    /// The fault for the shared state, on one GPU or on all calls.
    pub(crate) fn slot(&self, gpu: Option<u32>) -> Result<FaultSlot, FaultError> {
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
            Effect::Vanish => (VANISH, 0, Duration::ZERO),
            Effect::KillAfterChange => (KILL_AFTER_CHANGE, 0, Duration::ZERO),
            Effect::VanishAfterChange => (VANISH_AFTER_CHANGE, 0, Duration::ZERO),
        };
        Ok(FaultSlot {
            call,
            effect,
            skip: self.after,
            left: self.times.map_or(u32::MAX, |times| times.min(u32::MAX - 1)),
            code,
            delay_us: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
            gpu: gpu.unwrap_or(u32::MAX),
            reserved: 0,
        })
    }
}

impl FaultSlot {
    /// Whether the fault waits for this: the moment, the call, and the GPU that it is on, if any.
    pub(crate) fn matches(&self, moment: Moment, call: &str, gpu: Option<u32>) -> bool {
        let name = self
            .call
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        self.left > 0
            && self.moment() == moment
            && (name == call.as_bytes() || name == EVERY_CALL.as_bytes())
            && (self.gpu == u32::MAX || Some(self.gpu) == gpu)
    }

    fn moment(&self) -> Moment {
        match self.effect {
            KILL_AFTER_CHANGE | VANISH_AFTER_CHANGE => Moment::Change,
            _ => Moment::Call,
        }
    }

    /// Whether a hit changes nothing: every call is delayed, or answered so. Such hits are not logged, else whoever polls would make
    /// the log grow.
    pub(crate) fn is_steady(&self) -> bool {
        matches!(self.effect, RETURN | DELAY) && self.skip == 0 && self.left == u32::MAX
    }

    pub(crate) fn effect(&self) -> Effect {
        match self.effect {
            KILL => Effect::Kill,
            DELAY => Effect::Delay(Duration::from_micros(self.delay_us)),
            VANISH => Effect::Vanish,
            KILL_AFTER_CHANGE => Effect::KillAfterChange,
            VANISH_AFTER_CHANGE => Effect::VanishAfterChange,
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
        let mut slot = fault.slot(None).unwrap();
        let mut hits = Vec::new();
        for _ in 0..6 {
            hits.push(slot.matches(Moment::Call, "nvmlInit_v2", None) && slot.count_down());
        }
        assert_eq!(hits, [false, false, true, true, false, false]);
        assert!(!slot.matches(Moment::Call, "nvmlInit", None));
    }

    #[test]
    fn waits_for_its_gpu_and_its_moment() {
        let slot = Fault::crash(1).slot(Some(2)).unwrap();
        assert!(slot.matches(Moment::Change, "nvmlGpuInstanceDestroy", Some(2)));
        assert!(!slot.matches(Moment::Call, "nvmlGpuInstanceDestroy", Some(2)));
        assert!(!slot.matches(Moment::Change, "nvmlGpuInstanceDestroy", Some(1)));
        assert!(!slot.matches(Moment::Change, "nvmlGpuInstanceDestroy", None));
    }

    #[test]
    fn effects_go_there_and_back() {
        for effect in [
            Effect::Return(Code(19)),
            Effect::Kill,
            Effect::Delay(Duration::from_millis(7)),
            Effect::Vanish,
            Effect::KillAfterChange,
            Effect::VanishAfterChange,
        ] {
            let fault = Fault {
                effect,
                ..Fault::crash(1)
            };
            assert_eq!(fault.slot(None).unwrap().effect(), effect);
        }
    }

    #[test]
    fn a_misspelt_call_is_refused() {
        let error = Fault::once("nvmlDeviceCreateGpuInstanse", Code::ERROR_UNKNOWN).slot(None);
        assert!(
            matches!(error, Err(FaultError::UnknownCall(_))),
            "{error:?}"
        );
    }

    #[test]
    fn presets_name_calls_that_there_are() {
        for fault in Fault::slow_walks()
            .into_iter()
            .chain(Fault::slow_destroys())
        {
            fault.slot(None).unwrap();
        }
    }
}
