//! Reading the GPU that is worked on.

use mica_model::{Gpu, Layout};
use mica_nvml::Code;

use super::{Run, Trouble, wait};
use crate::{
    outcome::{Refusal, StepKind},
    steps::{self, Step},
};

impl Run<'_> {
    /// Reads the GPU, again after pauses when that fails. One that is not there, or a session that is stale, comes to nothing else.
    pub(super) fn read(&mut self) -> Result<Gpu, Trouble> {
        let mut pauses = self.patience.unreadable.into_iter();
        loop {
            let read = self.driver.gpu(self.uuid);
            let again = match &read {
                Ok(gpu) => gpu.fault.is_some(),
                Err(error) => !error.is_stale() && error.code() != Some(Code::NOT_FOUND),
            };
            match pauses.next() {
                Some(pause) if again => wait(pause),
                _ => return read.map_err(|error| Trouble::nvml(StepKind::Read, &error)),
            }
        }
    }

    /// The steps from what stands to what is wanted, by what is known of use. They are refused for use only after the kubelet was asked
    /// anew: a pod that has just ended does not hold a layout up.
    pub(super) fn steps(&self, actual: &Gpu, desired: &Layout) -> Result<Vec<Step>, Refusal> {
        match steps::steps(actual, desired, &self.sources.known()) {
            Err(Refusal::InUse(_) | Refusal::GpuInUse(_)) => {
                steps::steps(actual, desired, &self.sources.fresh())
            }
            decided => decided,
        }
    }

    /// Reads the GPU again after the last step.
    pub(super) fn verify(&mut self, desired: &Layout) -> Result<(), Trouble> {
        let trouble = |detail| Err(Trouble::new(StepKind::Verify, detail));
        let gpu = self.read().map_err(|trouble| Trouble {
            step: StepKind::Verify,
            ..trouble
        })?;
        match gpu.fault {
            Some(fault) => trouble(fault),
            None if steps::is_made(&gpu, desired) => Ok(()),
            None => trouble(format!(
                "all steps succeeded, but {} of the {} slices stand: another program changes the instances of this GPU",
                steps::usable(&gpu).0.intersection(&desired.0).count(),
                desired.0.len(),
            )),
        }
    }

    /// A GPU that fell off the bus is not found by its UUID either, but it is still listed.
    pub(super) fn not_found(&mut self) -> Refusal {
        let listed = self.driver.gpus().unwrap_or_default();
        listed
            .into_iter()
            .find(|gpu| gpu.uuid == self.uuid)
            .and_then(|gpu| gpu.fault)
            .map_or_else(
                || Refusal::UnknownGpu(self.uuid.to_owned()),
                Refusal::Faulted,
            )
    }
}
