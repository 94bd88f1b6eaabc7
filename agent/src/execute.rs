//! Makes a layout true: takes the steps one by one, looks again before each destroy, verifies, and goes back when a step fails.
//!
//! Blocks for as long as the driver takes. Nothing here is remembered between calls: everything is read from the driver, and what is
//! begun is in the journal of the GPU before it is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mica_model::{Generation, Gpu, Layout, Slice};
use mica_nvml::{Code, Driver, Error, ModeChange};
use tracing::{debug, info, warn};

use crate::{
    journal::GpuJournal,
    outcome::{Ending, Failure, GpuOutcome, Refusal, StepKind},
    steps::{self, Step},
    usage::Sources,
};

mod ask;
mod back;
mod look;
mod mode;
mod offers;
mod read;
mod recover;

pub use ask::ask;
pub use mode::switch;
pub use recover::{Recovered, recover};

/// How long to wait before something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Pauses between attempts to destroy what the driver calls in use although no process is on it: it can do so for a while after the
    /// last process has ended (NVIDIA/go-nvml#146).
    pub in_use: [Duration; 5],
    /// Pauses before a GPU that could not be read is read again: a layout is not undone, and its undoing not given up, for one answer
    /// that did not come.
    pub unreadable: [Duration; 3],
}

impl Patience {
    /// As long as hardware needs: 1.55 s and 0.5 s in all.
    pub const USUAL: Self = Self {
        in_use: [
            Duration::from_millis(50),
            Duration::from_millis(100),
            Duration::from_millis(200),
            Duration::from_millis(400),
            Duration::from_millis(800),
        ],
        unreadable: [
            Duration::ZERO,
            Duration::from_millis(100),
            Duration::from_millis(400),
        ],
    };

    /// Everything is tried as often, and nothing waited for: for a driver that is simulated together with its time.
    pub const NONE: Self = Self {
        in_use: [Duration::ZERO; 5],
        unreadable: [Duration::ZERO; 3],
    };
}

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

/// Makes `desired` true on one GPU. `sources` say who uses what beside the processes that NVML shows; `observe` hears of each step.
///
/// With the journal of the GPU, a successor can finish or undo the work should this process be killed: see [`recover()`]. Without, the
/// work of a killed process stays as it is.
pub fn execute(
    driver: &mut Driver,
    sources: &Sources,
    uuid: &str,
    desired: &Layout,
    journal: Option<(Generation, &mut GpuJournal)>,
    patience: Patience,
    observe: &mut dyn FnMut(&Taken),
) -> GpuOutcome {
    let mut run = Run::new(driver, sources, uuid, patience, observe);
    if let Some((generation, journal)) = journal {
        run.generation = generation;
        run.journal = Some(journal);
    }
    let ending = run.make(desired);
    run.outcome(ending)
}

/// A step that failed.
struct Trouble {
    step: StepKind,
    code: Option<Code>,
    detail: String,
    /// Why the step was not tried.
    refusal: Option<Box<Refusal>>,
}

impl Trouble {
    fn new(step: StepKind, detail: String) -> Self {
        Self {
            step,
            code: None,
            detail,
            refusal: None,
        }
    }

    fn refused(step: StepKind, refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        Self {
            refusal: Some(Box::new(refusal)),
            ..Self::new(step, detail)
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
    sources: &'a Sources,
    uuid: &'a str,
    observe: &'a mut dyn FnMut(&Taken),
    patience: Patience,
    journal: Option<&'a mut GpuJournal>,
    /// What asked for the work.
    generation: Generation,
    /// Steps begun.
    begun: usize,
    /// GPU instance ids of the slices made, for their compute instances.
    made: BTreeMap<Slice, u32>,
    /// GPU instance ids of the slices that were taken back from pods.
    taken_back: BTreeSet<u32>,
    /// Whether the driver was asked to change anything.
    touched: bool,
    created: u32,
    destroyed: u32,
}

impl<'a> Run<'a> {
    fn new(
        driver: &'a mut Driver,
        sources: &'a Sources,
        uuid: &'a str,
        patience: Patience,
        observe: &'a mut dyn FnMut(&Taken),
    ) -> Self {
        Self {
            driver,
            sources,
            uuid,
            observe,
            patience,
            journal: None,
            generation: Generation::default(),
            begun: 0,
            made: BTreeMap::new(),
            taken_back: BTreeSet::new(),
            touched: false,
            created: 0,
            destroyed: 0,
        }
    }

    fn make(&mut self, desired: &Layout) -> Ending {
        let actual = match self.actual() {
            Ok(actual) => actual,
            Err(ending) => return ending,
        };
        let steps = match self.steps(&actual, desired) {
            Ok(steps) if steps.is_empty() => {
                self.end(Some(desired));
                return Ending::Holds;
            }
            Ok(steps) => steps,
            Err(refusal) => return Ending::Refused(refusal),
        };
        let former = steps::usable(&actual);
        if let Err(trouble) = self.begin(desired, &former) {
            return failed(trouble, true);
        }
        match self.take_and_verify(&steps, desired) {
            Ok(()) => {
                self.end(Some(desired));
                Ending::Holds
            }
            Err(trouble) => self.give_up(trouble, &former),
        }
    }

    /// What is there before anything is touched, or how the work ends when that cannot be read.
    fn actual(&mut self) -> Result<Gpu, Ending> {
        match self.observed(StepKind::Read, Self::read) {
            Ok(actual) => Ok(actual),
            Err(trouble) if trouble.code == Some(Code::NOT_FOUND) => {
                Err(Ending::Refused(self.not_found()))
            }
            Err(trouble) => Err(failed(trouble, true)),
        }
    }

    fn take_and_verify(&mut self, steps: &[Step], desired: &Layout) -> Result<(), Trouble> {
        self.take(steps)?;
        self.observed(StepKind::Verify, |run| run.verify(desired))
    }

    /// Goes back to the former layout, when anything was touched.
    fn give_up(&mut self, trouble: Trouble, former: &Layout) -> Ending {
        warn!(gpu = self.uuid, step = trouble.step.as_str(), code = trouble.code.map(|code| code.0), detail = %trouble.detail, "step failed");
        if self.touched {
            let rolled_back = self.roll_back(former);
            self.end_as_it_stands();
            return failed(trouble, rolled_back);
        }
        self.end(Some(former));
        match trouble.refusal {
            Some(refusal) => Ending::Refused(*refusal),
            None => failed(trouble, true),
        }
    }

    /// Puts into the journal what is begun. When that fails nothing may be touched: a successor could not finish it.
    fn begin(&mut self, wanted: &Layout, former: &Layout) -> Result<(), Trouble> {
        let Some(journal) = self.journal.as_mut() else {
            return Ok(());
        };
        journal
            .begin(self.generation, wanted, former)
            .map_err(|error| Trouble::new(StepKind::Journal, format!("not executed: {error}")))
    }

    /// Puts into the journal that nothing is under way. Should that fail, a successor does again what is done already: nothing.
    fn end(&mut self, stands: Option<&Layout>) {
        if let Some(journal) = self.journal.as_mut()
            && let Err(error) = journal.end(stands)
        {
            warn!(gpu = self.uuid, %error, "the end of a layout is not in the journal");
        }
    }

    /// Ends the work with what stands. Where that cannot be read, or something is half made, the work stays in the journal, to be
    /// finished later.
    fn end_as_it_stands(&mut self) {
        let whole = |now: &Gpu| now.instances.iter().all(|known| known.compute.is_some());
        if let Ok(now) = self.readable()
            && whole(&now)
        {
            self.end(Some(&steps::usable(&now)));
        }
    }

    fn outcome(&self, ending: Ending) -> GpuOutcome {
        GpuOutcome {
            uuid: self.uuid.to_owned(),
            ending,
            created: self.created,
            destroyed: self.destroyed,
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
                | Step::DisableMig
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
        if let Some(journal) = self.journal.as_mut() {
            journal.step(self.begun, step.kind());
        }
        self.begun += 1;
        let result = self.observed(step.kind(), |run| match step {
            Step::EnableMig => run.enable_mig(),
            Step::DisableMig => run.disable_mig(),
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
        self.take_back_whole()?;
        let (gpu, in_use) = (self.read()?, self.sources.fresh());
        steps::mode_is_free(&gpu, &in_use)
            .map_err(|refusal| Trouble::refused(StepKind::EnableMig, refusal))?;
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
        let mut pauses = self.patience.in_use.into_iter();
        self.take_back(step, ahead)?;
        loop {
            // The kubelet last: its answer is the younger, the better.
            let (gpu, in_use) = (self.read()?, self.sources.fresh());
            look::mind(&gpu, &in_use, step, ahead)?;
            self.touched = true;
            let result = match step {
                Step::DestroyComputeInstance { gi, ci, .. } => {
                    self.driver.destroy_compute_instance(self.uuid, gi, ci)
                }
                Step::DestroyGpuInstance { gi, .. } => {
                    self.driver.destroy_gpu_instance(self.uuid, gi)
                }
                Step::EnableMig
                | Step::DisableMig
                | Step::CreateGpuInstance { .. }
                | Step::CreateComputeInstance { .. } => Ok(()),
            };
            let Err(error) = result else {
                if let Step::DestroyGpuInstance { gi, slice } = step {
                    self.made.remove(&slice);
                    // The id may be of another one next.
                    self.taken_back.remove(&gi);
                    info!(gpu = self.uuid, gi, profile = %slice.profile, placement = %slice.placement, "slice destroyed");
                }
                return Ok(());
            };
            match pauses.next() {
                Some(pause) if error.code() == Some(Code::IN_USE) => wait(pause),
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
    if !pause.is_zero() {
        std::thread::sleep(pause);
    }
}
