//! How a GPU gets from one MIG mode to the other, and from sick to well. Pure: no driver, no clock.
//!
//! ```text
//!             asked for                 in force
//! disabled ──────────────► enabling ──────────────► enabled
//!                          │     ▲
//!    somebody holds it (19)│     │ nobody does: asked for again
//!                          ▼     │
//!                       held: waits for release
//!
//!    asked for in vain although nobody is seen ──► waits for a reset ──┐ not possible
//!    the driver cannot reset it here (16) ─────────────────────────────┴──► waits for a reboot
//! ```
//!
//! Ampere changes its mode by resetting the GPU, which every process must have let go of that has it open. Hopper and later change it
//! without; there only processes that compute are in the way.

use mica_model::{Gpu, MigMode, WaitsFor};
use mica_nvml::Code;

use crate::outcome::{Ending, Refusal, StepKind};

/// What decides where a GPU stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is seen for itself, and they combine freely"
)]
pub struct View {
    /// MIG mode, in force and pending.
    pub mode: MigMode,
    /// Somebody uses the GPU or an instance on it, or a source of use does not tell.
    pub used: bool,
    /// A process has the GPU open.
    pub held: bool,
    /// MIG mode changes without a reset.
    pub resetless: bool,
    /// The GPU, or an instance on it, is sick.
    pub sick: bool,
    /// The driver was asked for the pending mode while nobody was seen to hold the GPU, and left it pending.
    pub asked_in_vain: bool,
    /// The GPU cannot be reset here.
    pub no_reset: bool,
}

impl View {
    /// What is seen on a GPU; the rest is known from elsewhere.
    #[must_use]
    pub fn of(gpu: &Gpu) -> Self {
        let idle = gpu.instances.iter().all(|known| known.in_use.is_idle());
        Self {
            mode: gpu.mig_mode,
            used: !idle || !gpu.in_use.is_idle(),
            held: !gpu.holders.is_empty(),
            resetless: false,
            sick: false,
            asked_in_vain: false,
            no_reset: false,
        }
    }

    /// What has to happen next; `None` when the GPU waits for nothing.
    #[must_use]
    pub fn waits_for(self) -> Option<WaitsFor> {
        let pending = is_pending(self.mode);
        if !pending && !self.sick {
            return None;
        }
        let by_reset = self.sick || self.asked_in_vain || !self.resetless;
        let in_the_way = self.used || self.held && by_reset;
        Some(if self.no_reset {
            WaitsFor::Reboot
        } else if in_the_way {
            WaitsFor::Release
        } else if self.sick || self.mode == MigMode::PendingDisable || self.asked_in_vain {
            WaitsFor::Reset
        } else {
            WaitsFor::Agent
        })
    }

    /// What the agent does about it by itself.
    ///
    /// Another's wish to switch the mode off is left to whoever has it: the slices on the GPU would go.
    #[must_use]
    pub fn next(self, allow_reset: bool) -> Move {
        match self.waits_for() {
            Some(WaitsFor::Agent) => Move::Ask,
            Some(WaitsFor::Reset) if allow_reset && (self.sick || self.asked_in_vain) => {
                Move::Reset
            }
            Some(WaitsFor::Release | WaitsFor::Reset | WaitsFor::Reboot) | None => Move::Rest,
        }
    }
}

/// What the agent does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing.
    Rest,
    /// Ask the driver again for the mode that is pending.
    Ask,
    /// Reset the GPU.
    Reset,
}

/// Whether a change of the mode was asked for and is not in force.
#[must_use]
pub fn is_pending(mode: MigMode) -> bool {
    match mode {
        MigMode::PendingEnable | MigMode::PendingDisable => true,
        MigMode::Unsupported | MigMode::Disabled | MigMode::Enabled => false,
    }
}

/// What the driver said to the wish for MIG mode when the work on a GPU ended like this, where it did not put it in force.
#[must_use]
pub fn refused_by_driver(ending: &Ending) -> Option<Code> {
    match ending {
        Ending::Failed(failure) if failure.step == StepKind::EnableMig && failure.rolled_back => {
            let told = [Code::IN_USE, Code::RESET_REQUIRED];
            failure.code.filter(|code| told.contains(code))
        }
        Ending::Failed(_) | Ending::Holds | Ending::Refused(_) => None,
    }
}

/// How the work on a GPU ended, with who holds it and what helps, as `gpu` shows it now.
#[must_use]
pub fn explained(ending: Ending, gpu: &Gpu, reboot: Option<&str>) -> Ending {
    let code = refused_by_driver(&ending);
    match ending {
        Ending::Refused(Refusal::MigModeHeld(_)) if !gpu.holders.is_empty() => {
            Ending::Refused(Refusal::MigModeHeld(gpu.holders.clone()))
        }
        Ending::Failed(_) if code == Some(Code::IN_USE) && !gpu.holders.is_empty() => {
            Ending::Refused(Refusal::MigModeHeld(gpu.holders.clone()))
        }
        Ending::Failed(failure) if code == Some(Code::RESET_REQUIRED) => {
            let why = reboot.unwrap_or(&failure.detail).to_owned();
            Ending::Refused(Refusal::RebootRequired(why))
        }
        ending @ (Ending::Holds | Ending::Refused(_) | Ending::Failed(_)) => ending,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// `mode` and words for what else holds, separated by blanks.
    fn view(mode: MigMode, words: &str) -> View {
        let has = |word| words.split_whitespace().any(|known| known == word);
        View {
            mode,
            used: has("used"),
            held: has("held"),
            resetless: has("hopper"),
            sick: has("sick"),
            asked_in_vain: has("vain"),
            no_reset: has("no-reset"),
        }
    }

    #[rstest]
    #[case::off(MigMode::Disabled, "", None, Move::Rest)]
    #[case::off_and_held(MigMode::Disabled, "held used", None, Move::Rest)]
    #[case::on(MigMode::Enabled, "used held", None, Move::Rest)]
    #[case::none(MigMode::Unsupported, "used held", None, Move::Rest)]
    #[case::off_since_and_no_reset(MigMode::Disabled, "no-reset", None, Move::Rest)]
    #[case::computed_on(MigMode::PendingEnable, "used", Some(WaitsFor::Release), Move::Rest)]
    #[case::held(MigMode::PendingEnable, "held", Some(WaitsFor::Release), Move::Rest)]
    #[case::held_hopper(
        MigMode::PendingEnable,
        "held hopper",
        Some(WaitsFor::Agent),
        Move::Ask
    )]
    #[case::held_hopper_in_vain(
        MigMode::PendingEnable,
        "held hopper vain",
        Some(WaitsFor::Release),
        Move::Rest
    )]
    #[case::computed_on_hopper(
        MigMode::PendingEnable,
        "used hopper",
        Some(WaitsFor::Release),
        Move::Rest
    )]
    #[case::released(MigMode::PendingEnable, "", Some(WaitsFor::Agent), Move::Ask)]
    #[case::in_vain(MigMode::PendingEnable, "vain", Some(WaitsFor::Reset), Move::Reset)]
    #[case::in_vain_and_now_held(
        MigMode::PendingEnable,
        "vain held",
        Some(WaitsFor::Release),
        Move::Rest
    )]
    #[case::no_reset(MigMode::PendingEnable, "no-reset", Some(WaitsFor::Reboot), Move::Rest)]
    #[case::no_reset_and_held(
        MigMode::PendingEnable,
        "no-reset held",
        Some(WaitsFor::Reboot),
        Move::Rest
    )]
    #[case::switched_off(MigMode::PendingDisable, "", Some(WaitsFor::Reset), Move::Rest)]
    #[case::switched_off_in_use(
        MigMode::PendingDisable,
        "used",
        Some(WaitsFor::Release),
        Move::Rest
    )]
    #[case::sick(MigMode::Enabled, "sick", Some(WaitsFor::Reset), Move::Reset)]
    #[case::sick_and_used(MigMode::Enabled, "sick used", Some(WaitsFor::Release), Move::Rest)]
    #[case::sick_and_held(
        MigMode::Enabled,
        "sick held hopper",
        Some(WaitsFor::Release),
        Move::Rest
    )]
    #[case::sick_without_mig(MigMode::Unsupported, "sick", Some(WaitsFor::Reset), Move::Reset)]
    #[case::sick_for_good(
        MigMode::Enabled,
        "sick used no-reset",
        Some(WaitsFor::Reboot),
        Move::Rest
    )]
    fn every_state_has_its_next_move(
        #[case] mode: MigMode,
        #[case] words: &str,
        #[case] waits_for: Option<WaitsFor>,
        #[case] next: Move,
    ) {
        let view = view(mode, words);
        assert_eq!(view.waits_for(), waits_for);
        assert_eq!(view.next(true), next);
        let without_reset = if next == Move::Reset {
            Move::Rest
        } else {
            next
        };
        assert_eq!(view.next(false), without_reset, "not allowed");
    }

    #[test]
    fn nothing_is_moved_under_anybody() {
        let modes = [
            MigMode::Unsupported,
            MigMode::Disabled,
            MigMode::Enabled,
            MigMode::PendingEnable,
            MigMode::PendingDisable,
        ];
        for bits in 0..1 << 5 {
            let bit = |number: u32| bits >> number & 1 == 1;
            for mode in modes {
                let view = View {
                    mode,
                    used: true,
                    held: bit(0),
                    resetless: bit(1),
                    sick: bit(2),
                    asked_in_vain: bit(3),
                    no_reset: bit(4),
                };
                assert_eq!(view.next(true), Move::Rest, "{view:?}");
                let held = View {
                    used: false,
                    held: true,
                    ..view
                };
                assert_ne!(held.next(true), Move::Reset, "{held:?}");
            }
        }
    }
}
