//! Random faults, the same for the same seed.

use super::FaultError;
use crate::code::Code;
use crate::identity::mix;
use crate::state::{MAX_CODES, RandomFaultSlot};

const MILLION: u32 = 1_000_000;

/// Wrong answers at random. Every call of the node gets a number, and what becomes of number `n` follows from the seed and `n` alone:
/// one client that does the same again meets the same faults. A call that is hit does nothing. `nvmlShutdown` is never hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomFaults {
    /// What the draws follow from.
    pub seed: u64,
    /// Calls of init that fail, in a million.
    pub init_ppm: u32,
    /// Calls that fail, in a million of those that set the MIG mode, or create or destroy an instance.
    pub change_ppm: u32,
    /// Calls that fail, in a million of all others.
    pub read_ppm: u32,
    /// What to answer then, 1 to 8 codes; all are as likely.
    pub codes: Vec<Code>,
}

impl RandomFaults {
    pub(crate) fn slot(&self) -> Result<RandomFaultSlot, FaultError> {
        if !(1..=MAX_CODES).contains(&self.codes.len()) {
            return Err(FaultError::Codes(self.codes.len()));
        }
        let mut codes = [0; MAX_CODES];
        for (slot, code) in codes.iter_mut().zip(&self.codes) {
            *slot = code.0;
        }
        Ok(RandomFaultSlot {
            seed: self.seed,
            rates: [
                rate(self.init_ppm)?,
                rate(self.change_ppm)?,
                rate(self.read_ppm)?,
            ],
            code_count: u32::try_from(self.codes.len()).unwrap_or(1),
            codes,
        })
    }
}

fn rate(ppm: u32) -> Result<u32, FaultError> {
    if ppm > MILLION {
        return Err(FaultError::Rate(ppm));
    }
    Ok(ppm)
}

/// Which of the rates is a call's: init, change, read; `None` when it never fails at random.
fn class(call: &str) -> Option<usize> {
    match call {
        "nvmlShutdown" => None,
        "nvmlDeviceSetMigMode"
        | "nvmlDeviceCreateGpuInstance"
        | "nvmlDeviceCreateGpuInstanceWithPlacement"
        | "nvmlGpuInstanceDestroy"
        | "nvmlGpuInstanceCreateComputeInstance"
        | "nvmlGpuInstanceCreateComputeInstanceWithPlacement"
        | "nvmlComputeInstanceDestroy" => Some(1),
        _ if call.starts_with("nvmlInit") => Some(0),
        _ => Some(2),
    }
}

impl RandomFaultSlot {
    pub(crate) fn is_active(&self) -> bool {
        self.rates.iter().any(|&rate| rate > 0)
    }

    /// What becomes of call number `n`: the code that it answers, or nothing.
    pub(crate) fn draw(&self, n: u64, call: &str) -> Option<Code> {
        let rate = *self.rates.get(class(call)?)?;
        let drawn = mix(self.seed ^ mix(n));
        if drawn % u64::from(MILLION) >= rate.into() {
            return None;
        }
        let count = u64::from(self.code_count).max(1);
        let index = usize::try_from((drawn >> 32) % count).ok()?;
        self.codes.get(index).map(|&code| Code(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64) -> RandomFaults {
        RandomFaults {
            seed,
            init_ppm: MILLION,
            change_ppm: 100_000,
            read_ppm: 0,
            codes: vec![Code(19), Code(999)],
        }
    }

    #[test]
    fn draws_follow_from_the_seed_and_hit_as_often_as_asked() {
        let draws = |seed, call| -> Vec<_> {
            let slot = faults(seed).slot().unwrap();
            (0..10_000).map(|n| slot.draw(n, call)).collect()
        };
        let change = draws(7, "nvmlGpuInstanceDestroy");
        assert_eq!(change, draws(7, "nvmlGpuInstanceDestroy"));
        assert_ne!(change, draws(8, "nvmlGpuInstanceDestroy"));
        for code in [19, 999] {
            let hits = change
                .iter()
                .filter(|&&hit| hit == Some(Code(code)))
                .count();
            assert!((400..600).contains(&hits), "{hits} times {code}");
        }
        assert!(draws(7, "nvmlInit_v2").iter().all(Option::is_some));
        assert!(draws(7, "nvmlDeviceGetName").iter().all(Option::is_none));
        assert!(draws(7, "nvmlShutdown").iter().all(Option::is_none));
    }

    #[test]
    fn rates_and_codes_are_checked() {
        let fails = |faults: RandomFaults| faults.slot().unwrap_err();
        let rate = RandomFaults {
            read_ppm: MILLION + 1,
            ..faults(1)
        };
        assert_eq!(fails(rate), FaultError::Rate(1_000_001));
        let none = RandomFaults {
            codes: Vec::new(),
            ..faults(1)
        };
        assert_eq!(fails(none), FaultError::Codes(0));
        let many = RandomFaults {
            codes: vec![Code(1); 9],
            ..faults(1)
        };
        assert_eq!(fails(many), FaultError::Codes(9));
    }
}
