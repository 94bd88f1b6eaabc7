//! Makes a layout true: takes the steps one by one, looks again before each destroy, verifies, and goes back when a step fails.
//!
//! Blocks for as long as the driver takes. Nothing here is remembered between calls: everything is read from the driver.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mica_model::{Gpu, Layout, Slice};
use mica_nvml::{Code, Driver, Error, ModeChange};
use tracing::{debug, info, warn};

use crate::{
    outcome::{Busy, Ending, Failure, GpuOutcome, Refusal, StepKind},
    steps::{self, Step},
};

mod back;
mod look;
mod read;

/// Pauses between attempts to destroy what the driver calls in use although no process is on it: it can do so for a while after the
/// last process has ended (NVIDIA/go-nvml#146). 1.55 s in all.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// A step that was taken, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Which kind.
    pub step: StepKind,
    /// How long it took, looks, pauses and repeated attempts included.
    pub duration: Duration,
    /// What NVML answered when the step failed.
    pub result: Result<(), Option<Code>>,
}

/// Makes `desired` true on one GPU. `observe` hears of each step.
pub fn execute(
    driver: &mut Driver,
    uuid: &str,
    desired: &Layout,
    observe: &mut dyn FnMut(&Taken),
) -> GpuOutcome {
    let mut run = Run::new(driver, uuid, observe);
    let ending = run.make(desired);
    GpuOutcome {
        uuid: uuid.to_owned(),
        ending,
        created: run.created,
        destroyed: run.destroyed,
    }
}

/// Gives half-made GPU instances, which nobody can use, their compute instance; where that fails they are destroyed. Everything else
/// is left as it was found. For the start of the agent: a killed predecessor may have left some.
pub fn finish_half_made(driver: &mut Driver, gpu: &Gpu, observe: &mut dyn FnMut(&Taken)) {
    let uuid = &gpu.uuid;
    if gpu.fault.is_some() || gpu.instances.iter().all(|known| known.compute.is_some()) {
        return;
    }
    info!(gpu = uuid, "finishing half-made GPU instances");
    let mut run = Run::new(driver, uuid, observe);
    match steps::steps(gpu, &gpu.layout()) {
        Ok(steps) => run.take_what_can(&steps),
        Err(refusal) => warn!(gpu = uuid, %refusal, "half-made GPU instances are not finished"),
    }
    run.drop_half_made();
}

/// A step that failed.
struct Trouble {
    step: StepKind,
    code: Option<Code>,
    detail: String,
    /// Set when the step was not tried because of these.
    busy: Vec<Busy>,
}

impl Trouble {
    fn new(step: StepKind, detail: String) -> Self {
        Self {
            step,
            code: None,
            detail,
            busy: Vec::new(),
        }
    }

    fn nvml(step: StepKind, error: &Error) -> Self {
        Self {
            code: error.code(),
            ..Self::new(step, error.to_string())
        }
    }
}

/// The work on one GPU.
struct Run<'a> {
    driver: &'a mut Driver,
    uuid: &'a str,
    observe: &'a mut dyn FnMut(&Taken),
    /// GPU instance ids of the slices made, for their compute instances.
    made: BTreeMap<Slice, u32>,
    /// Whether the driver was asked to change anything.
    touched: bool,
    created: u32,
    destroyed: u32,
}

impl<'a> Run<'a> {
    fn new(driver: &'a mut Driver, uuid: &'a str, observe: &'a mut dyn FnMut(&Taken)) -> Self {
        Self {
            driver,
            uuid,
            observe,
            made: BTreeMap::new(),
            touched: false,
            created: 0,
            destroyed: 0,
        }
    }

    fn make(&mut self, desired: &Layout) -> Ending {
        let actual = match self.observed(StepKind::Read, Self::read) {
            Ok(actual) => actual,
            Err(trouble) if trouble.code == Some(Code::NOT_FOUND) => {
                return Ending::Refused(self.not_found());
            }
            Err(trouble) => return failed(trouble, true),
        };
        let steps = match steps::steps(&actual, desired) {
            Ok(steps) if steps.is_empty() => return Ending::Holds,
            Ok(steps) => steps,
            Err(refusal) => return Ending::Refused(refusal),
        };
        let verify = |run: &mut Self| run.verify(desired);
        let made = self.take(&steps);
        let trouble = match made.and_then(|()| self.observed(StepKind::Verify, verify)) {
            Ok(()) => return Ending::Holds,
            Err(trouble) => trouble,
        };
        warn!(gpu = self.uuid, step = trouble.step.as_str(), code = trouble.code.map(|code| code.0), detail = %trouble.detail, "step failed");
        if self.touched {
            let rolled_back = self.roll_back(&steps::usable(&actual));
            failed(trouble, rolled_back)
        } else if trouble.busy.is_empty() {
            failed(trouble, true)
        } else {
            Ending::Refused(Refusal::InUse(trouble.busy))
        }
    }

    /// Does one thing, and tells of it.
    fn observed<T>(
        &mut self,
        step: StepKind,
        run: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let began = Instant::now();
        let result = run(self);
        (self.observe)(&Taken {
            step,
            duration: began.elapsed(),
            result: result.as_ref().map(|_| ()).map_err(|trouble| trouble.code),
        });
        result
    }

    /// Takes the steps in order, and stops at the first that fails.
    fn take(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        for (index, &step) in steps.iter().enumerate() {
            self.take_one(step, steps.get(index..).unwrap_or_default())?;
            match step {
                Step::CreateComputeInstance { .. } => self.created += 1,
                Step::DestroyGpuInstance { .. } => self.destroyed += 1,
                Step::EnableMig
                | Step::DestroyComputeInstance { .. }
                | Step::CreateGpuInstance { .. } => {}
            }
        }
        Ok(())
    }

    /// Takes the steps in order, and goes on after one that fails.
    fn take_what_can(&mut self, steps: &[Step]) {
        for step in steps {
            if let Err(trouble) = self.take_one(*step, &[*step]) {
                let step = trouble.step.as_str();
                warn!(gpu = self.uuid, step, code = trouble.code.map(|code| code.0), detail = %trouble.detail, "step failed");
            }
        }
    }

    /// Takes one step. `ahead` are the steps still to be taken, this one included: the last look before a destroy minds all of them.
    fn take_one(&mut self, step: Step, ahead: &[Step]) -> Result<(), Trouble> {
        let result = self.observed(step.kind(), |run| match step {
            Step::EnableMig => run.enable_mig(),
            Step::DestroyComputeInstance { .. } | Step::DestroyGpuInstance { .. } => {
                run.destroy(step, ahead)
            }
            Step::CreateGpuInstance { slice } => run.create_gpu_instance(slice),
            Step::CreateComputeInstance { slice } => run.create_compute_instance(slice),
        });
        debug!(gpu = self.uuid, ?step, done = result.is_ok(), "step");
        result
    }

    fn enable_mig(&mut self) -> Result<(), Trouble> {
        self.touched = true;
        match self.driver.enable_mig(self.uuid) {
            Ok(ModeChange::Active) => {
                info!(gpu = self.uuid, "MIG mode enabled");
                Ok(())
            }
            Ok(ModeChange::Pending { activation }) => Err(Trouble {
                code: Some(activation),
                ..Trouble::new(
                    StepKind::EnableMig,
                    format!(
                        "MIG mode is pending ({activation}): stop what holds the GPU, then reset it or reboot the node"
                    ),
                )
            }),
            Err(error) => Err(Trouble::nvml(StepKind::EnableMig, &error)),
        }
    }

    fn create_gpu_instance(&mut self, slice: Slice) -> Result<(), Trouble> {
        self.touched = true;
        let gi = self
            .driver
            .create_gpu_instance(self.uuid, slice)
            .map_err(|error| Trouble::nvml(StepKind::CreateGpuInstance, &error))?;
        self.made.insert(slice, gi);
        Ok(())
    }

    /// On the GPU instance just made, or on one that was found without.
    fn create_compute_instance(&mut self, slice: Slice) -> Result<(), Trouble> {
        let step = StepKind::CreateComputeInstance;
        let gi = match self.made.get(&slice) {
            Some(&gi) => gi,
            None => self
                .read()?
                .instances
                .iter()
                .find(|instance| instance.slice == slice && instance.compute.is_none())
                .map(|instance| instance.gi)
                .ok_or_else(|| {
                    let place = slice.placement;
                    Trouble::new(step, format!("no GPU instance at {place} waits for one"))
                })?,
        };
        self.touched = true;
        self.driver
            .create_compute_instance(self.uuid, gi)
            .map_err(|error| Trouble::nvml(step, &error))?;
        info!(gpu = self.uuid, gi, profile = %slice.profile, placement = %slice.placement, "slice created");
        Ok(())
    }

    /// Destroys after a last look, and tries again for a while when the driver says "in use" and no process shows.
    fn destroy(&mut self, step: Step, ahead: &[Step]) -> Result<(), Trouble> {
        let mut pauses = PAUSES.iter();
        loop {
            look::mind(&self.read()?, step, ahead)?;
            self.touched = true;
            let result = match step {
                Step::DestroyComputeInstance { gi, ci, .. } => {
                    self.driver.destroy_compute_instance(self.uuid, gi, ci)
                }
                Step::DestroyGpuInstance { gi, .. } => {
                    self.driver.destroy_gpu_instance(self.uuid, gi)
                }
                Step::EnableMig
                | Step::CreateGpuInstance { .. }
                | Step::CreateComputeInstance { .. } => Ok(()),
            };
            let Err(error) = result else {
                if let Step::DestroyGpuInstance { gi, slice } = step {
                    self.made.remove(&slice);
                    info!(gpu = self.uuid, gi, profile = %slice.profile, placement = %slice.placement, "slice destroyed");
                }
                return Ok(());
            };
            match pauses.next() {
                Some(pause) if error.code() == Some(Code::IN_USE) => wait(*pause),
                _ => return Err(Trouble::nvml(step.kind(), &error)),
            }
        }
    }
}

fn failed(trouble: Trouble, rolled_back: bool) -> Ending {
    Ending::Failed(Failure {
        step: trouble.step,
        code: trouble.code,
        detail: trouble.detail,
        rolled_back,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the driver tells nobody when it lets an instance go; the wait is bounded"
)]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}
