//! MIG mode, reset, and what is left of a GPU after the driver or the machine started anew.
//!
//! Ampere changes its mode by resetting the GPU, which every client must have let go of, and keeps the mode in its `InfoROM`. Later
//! GPUs change it without a reset and forget it with the driver. Instances outlive none of this anywhere.

use super::Result;
use crate::boards::Board;
use crate::code::Code;
use crate::state::Gpu;

/// What a GPU goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The driver is loaded anew: a GPU that fell off the bus stays lost.
    Reload,
    /// The machine boots: nothing stays that needs power.
    Boot,
}

impl Gpu {
    /// Whether a mode change resets the GPU, and whether the mode is kept without power; both are so on Ampere only.
    fn changes_by_reset(&self) -> bool {
        self.board().is_some_and(Board::mode_needs_reset)
    }

    /// Asks for a MIG mode and returns the activation status: success when the mode is in force, else the mode stays pending
    /// until it is asked for again, or a reset or a boot applies it.
    ///
    /// 16 when it takes a reset and the GPU cannot be reset from here; 19 while a process is on the GPU, on Ampere also while a
    /// client merely holds it. When both hold it is 16, since waiting would not help.
    pub(crate) fn set_mig_mode(&mut self, enable: bool, can_reset: bool) -> Code {
        let mode = u8::from(enable);
        if (self.mig_current, self.mig_pending) == (mode, mode) {
            return Code::SUCCESS;
        }
        self.tick();
        self.mig_pending = mode;
        if self.mig_current == mode {
            return Code::SUCCESS;
        }
        let by_reset = self.changes_by_reset();
        if by_reset && !can_reset {
            return Code::ERROR_RESET_REQUIRED;
        }
        if self.is_busy() || by_reset && self.is_held() {
            return Code::ERROR_IN_USE;
        }
        self.apply_pending_mode();
        Code::SUCCESS
    }

    /// Resets the GPU: 16 when it cannot be reset from here, 19 while a client has it open. Instances do not survive; a pending
    /// mode is applied; a lost GPU comes back.
    pub(crate) fn reset(&mut self, can_reset: bool) -> Result<()> {
        if !can_reset {
            return Err(Code::ERROR_RESET_REQUIRED);
        }
        if self.is_held() {
            return Err(Code::ERROR_IN_USE);
        }
        self.tick();
        self.apply_pending_mode();
        self.lost = 0;
        Ok(())
    }

    /// What is left when the driver, or the machine, has started anew; `load` is the driver's new load. Processes and holders must
    /// be gone when the driver is reloaded; they do not outlive a boot.
    pub(crate) fn start_anew(&mut self, start: Start, load: u32) {
        self.tick();
        if !self.changes_by_reset() {
            self.mig_pending = 0;
        }
        self.apply_pending_mode();
        self.load = load;
        self.holders = bytemuck::Zeroable::zeroed();
        self.lingering = bytemuck::Zeroable::zeroed();
        self.process_count = 0;
        match start {
            Start::Reload => {}
            Start::Boot => self.lost = 0,
        }
    }

    fn apply_pending_mode(&mut self) {
        self.mig_current = self.mig_pending;
        for gi in &mut self.instances {
            gi.size = 0;
        }
    }
}
