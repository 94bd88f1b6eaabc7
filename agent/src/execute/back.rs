//! The way back when a step has failed.

use mica_model::Layout;
use tracing::{info, warn};

use super::Run;
use crate::steps;

impl Run<'_> {
    /// Undoes what was made and restores what was destroyed, as far as that goes. The steps back are found like those there: from what
    /// stands now. Tells whether the former layout stands again.
    pub(super) fn roll_back(&mut self, former: &Layout) -> bool {
        let Ok(now) = self.read() else {
            return false;
        };
        let target = steps::restorable(&now, former, &self.sources.fresh());
        match self.steps(&now, &target) {
            Ok(steps) => self.take_what_can(&steps),
            Err(refusal) => warn!(gpu = self.uuid, %refusal, "not rolled back"),
        }
        self.drop_half_made();
        let rolled_back = self.read().is_ok_and(|now| steps::is_made(&now, former));
        info!(gpu = self.uuid, rolled_back, "rolled back");
        rolled_back
    }

    /// Destroys GPU instances without compute instance: nobody can use them, and nobody else would see them.
    pub(super) fn drop_half_made(&mut self) {
        let Ok(now) = self.read() else {
            return;
        };
        match self.steps(&now, &steps::usable(&now)) {
            Ok(steps) => self.take_what_can(&steps),
            Err(refusal) => {
                warn!(gpu = self.uuid, %refusal, "half-made GPU instances are left");
            }
        }
    }
}
