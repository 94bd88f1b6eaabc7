//! Devices are taken back from pods before what they stand for goes: a pod that is given one in that moment would come to nothing.

use std::collections::BTreeSet;

use mica_model::Instance;

use super::{Run, Trouble};
use crate::{
    outcome::{Refusal, StepKind},
    steps::{self, Step},
};

impl Run<'_> {
    /// Takes back the slices whose compute instances go in the steps `ahead`, all at once. They stay taken back until the one who gave
    /// the work has read the GPU again.
    pub(super) fn take_back(&mut self, step: Step, ahead: &[Step]) -> Result<(), Trouble> {
        let goes = |step: &Step| match step {
            Step::DestroyComputeInstance { gi, .. } => Some(*gi),
            Step::EnableMig
            | Step::DisableMig
            | Step::DestroyGpuInstance { .. }
            | Step::CreateGpuInstance { .. }
            | Step::CreateComputeInstance { .. } => None,
        };
        let Some(gi) = goes(&step) else {
            return Ok(());
        };
        if !self.sources.offers() || self.taken_back.contains(&gi) {
            return Ok(());
        }
        let going: BTreeSet<_> = ahead.iter().filter_map(goes).collect();
        let gpu = self.read()?;
        let leaving = |known: &&Instance| going.contains(&known.gi);
        let leaving: Vec<_> = gpu.instances.iter().filter(leaving).collect();
        let devices = leaving.iter().filter_map(|known| known.compute.as_ref());
        let devices = devices.map(|compute| compute.uuid.clone()).collect();
        self.sources
            .take_back(self.uuid, &devices)
            .map_err(|unknown| {
                let busy = leaving
                    .iter()
                    .map(|known| steps::as_busy(&gpu, known, unknown.clone()));
                Trouble::refused(step.kind(), Refusal::InUse(busy.collect()))
            })?;
        self.taken_back.extend(going);
        Ok(())
    }

    /// Takes back the GPU as a whole, before its mode changes.
    pub(super) fn take_back_whole(&self) -> Result<(), Trouble> {
        self.sources
            .take_back(self.uuid, &BTreeSet::from([self.uuid.to_owned()]))
            .map_err(|unknown| Trouble::refused(StepKind::EnableMig, Refusal::GpuInUse(unknown)))
    }
}
