//! What is known of GPUs beside what NVML shows: who holds them, what they wait for, what is sick.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mica_model::{Gpu, Holder, MigMode};
use mica_nvml::{Code, Driver};

use crate::{
    driver::Care,
    health::Health,
    holders::Processes,
    mig_mode::{self, Move, View},
};

/// Pause before what did not help is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// What the thread knows.
pub(super) struct Patients {
    pub(super) care: Care,
    pub(super) health: Health,
    /// By UUID.
    known: BTreeMap<String, Known>,
    /// GPUs that have fallen off the bus.
    lost: BTreeSet<String>,
}

/// What is known of one GPU.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Why it cannot be reset.
    pub(super) no_reset: Option<String>,
    /// The driver was asked for MIG mode while nobody held the GPU, and left it pending.
    pub(super) asked_in_vain: bool,
    /// When the agent last moved by itself.
    moved: Option<Instant>,
    resetless: bool,
    /// What the journal says of it.
    noted: Option<(bool, Option<String>)>,
}

impl Patients {
    pub(super) fn new(care: Care) -> Self {
        Self {
            care,
            health: Health::default(),
            known: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    pub(super) fn known(&mut self, uuid: &str) -> &mut Known {
        self.known.entry(uuid.to_owned()).or_default()
    }

    /// Why no less than a reboot helps the GPU.
    pub(super) fn no_reset(&self, uuid: &str) -> Option<&str> {
        self.known.get(uuid)?.no_reset.as_deref()
    }

    /// Completes what was just read. Gives the UUIDs of GPUs that had fallen off the bus and answer again.
    pub(super) fn complete<'gpu>(
        &mut self,
        driver: &Driver,
        gpus: impl IntoIterator<Item = &'gpu mut Gpu>,
    ) -> Vec<String> {
        let mut back = Vec::new();
        let mut unsettled = Vec::new();
        for gpu in gpus {
            if driver.code_at(gpu.index) == Some(Code::GPU_IS_LOST) {
                self.lost.insert(gpu.uuid.clone());
            }
            if gpu.fault.is_some() {
                continue;
            }
            if self.lost.remove(&gpu.uuid) {
                self.started_anew(&gpu.uuid);
                back.push(gpu.uuid.clone());
            }
            self.health.show(gpu);
            let pending = mig_mode::is_pending(gpu.mig_mode);
            let computed_on = gpu.mig_mode == MigMode::Disabled && !gpu.in_use.processes.is_empty();
            if pending || computed_on || self.health.is_sick(&gpu.uuid) {
                unsettled.push(gpu);
            } else {
                self.settled(&gpu.uuid);
            }
        }
        name_holders(
            driver,
            &self.care.processes,
            unsettled.iter_mut().map(|gpu| &mut **gpu),
        );
        for gpu in unsettled {
            let resetless = driver
                .hardware(&gpu.uuid)
                .is_ok_and(|known| known.resetless);
            self.known(&gpu.uuid).resetless = resetless;
            gpu.waits_for = self.view(gpu).waits_for();
        }
        back
    }

    fn view(&self, gpu: &Gpu) -> View {
        let known = self.known.get(&gpu.uuid).cloned().unwrap_or_default();
        View {
            sick: self.health.is_sick(&gpu.uuid),
            resetless: known.resetless,
            asked_in_vain: known.asked_in_vain,
            no_reset: known.no_reset.is_some(),
            ..View::of(gpu)
        }
    }

    /// What its state asks for, whatever was tried before.
    pub(super) fn due(&self, gpu: &Gpu) -> Move {
        self.view(gpu).next(self.care.nvidia_smi.is_some())
    }

    /// What is to be done about a GPU now. What is done is not done again for a while.
    pub(super) fn next(&mut self, gpu: &Gpu) -> Move {
        let next = self.due(gpu);
        let known = self.known(&gpu.uuid);
        let rests = known.moved.is_some_and(|moved| moved.elapsed() < AGAIN);
        // To be asked after the users have let go is new each time.
        let wait = match next {
            Move::Rest => return Move::Rest,
            Move::Ask => known.asked_in_vain && rests,
            Move::Reset => rests,
        };
        if wait {
            return Move::Rest;
        }
        known.moved = Some(Instant::now());
        next
    }

    /// The driver did not put MIG mode in force.
    pub(super) fn refused(&mut self, uuid: &str, code: Code, detail: &str) {
        let known = self.known(uuid);
        if code == Code::RESET_REQUIRED {
            known.no_reset = Some(detail.to_owned());
        } else {
            known.asked_in_vain = true;
        }
    }

    /// The GPU was started anew, and is well.
    pub(super) fn started_anew(&mut self, uuid: &str) {
        self.health.well(uuid);
        self.settled(uuid);
    }

    /// The driver was loaded anew.
    pub(super) fn all_started_anew(&mut self) {
        self.health.all_well();
        self.known.clear();
    }

    fn settled(&mut self, uuid: &str) {
        if let Some(known) = self.known.get_mut(uuid) {
            known.asked_in_vain = false;
            known.no_reset = None;
        }
    }

    /// What the journal is to say of a GPU that nobody works on, when that is something else than before.
    pub(super) fn news(&mut self, gpu: &Gpu) -> Option<(bool, Option<String>)> {
        let on = match gpu.mig_mode {
            MigMode::Enabled => true,
            MigMode::Disabled | MigMode::PendingEnable => false,
            MigMode::Unsupported | MigMode::PendingDisable => return None,
        };
        let known = self.known(&gpu.uuid);
        let now = Some((on, known.no_reset.clone()));
        if known.noted == now {
            return None;
        }
        known.noted.clone_from(&now);
        now
    }
}

/// Names who holds these GPUs: processes that have the device open, and those that NVML shows.
pub(in crate::driver) fn name_holders<'gpu>(
    driver: &Driver,
    processes: &Processes,
    gpus: impl Iterator<Item = &'gpu mut Gpu>,
) {
    let mut minors = BTreeMap::new();
    let gpus: Vec<_> = gpus.collect();
    for gpu in &gpus {
        if let Ok(hardware) = driver.hardware(&gpu.uuid) {
            minors.insert(gpu.uuid.clone(), hardware.minor);
        }
    }
    let wanted: Vec<_> = minors.values().copied().collect();
    let found = processes.holders(&wanted);
    for gpu in gpus {
        let minor = minors.get(&gpu.uuid);
        let mut holders: Vec<Holder> = minor
            .and_then(|minor| found.get(minor))
            .cloned()
            .unwrap_or_default();
        for &pid in &gpu.in_use.processes {
            if holders.iter().all(|known| known.pid != pid) {
                holders.push(processes.named(pid));
            }
        }
        holders.sort();
        gpu.holders = holders;
    }
}
