//! What the driver tells by itself: errors of a GPU or of an instance.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nvml_wrapper::Nvml;

use crate::{Code, Driver, Error, call::wrapped, driver, raw::EventSet};

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// An XID error, with its number. 999: the driver does not say which.
    Xid(u64),
    /// An ECC error that could not be corrected.
    DoubleBitEcc,
    /// A page or row of memory was retired.
    DramRetirement,
    /// Memory is broken, and none is left to retire.
    DramRetirementFailure,
    /// Poisoned data, contained.
    NonFatalPoison,
    /// Poisoned data, not contained.
    FatalPoison,
    /// The GPU does not answer.
    GpuUnavailable,
    /// What has to be done for the GPU to recover has changed.
    RecoveryAction,
    /// One that is not known here: its bit in NVML's header.
    Other(u64),
}

/// `nvmlEventTypeXidCriticalError` of the header.
const XID: u64 = 0x8;
/// The other kinds that are asked for, by their bits in the header. Not asked for: corrected errors, clocks and power, which make
/// nothing sick, and changes of MIG, which the inventory shows.
const KINDS: [(u64, EventKind); 7] = [
    (0x2, EventKind::DoubleBitEcc),
    (0x400, EventKind::DramRetirement),
    (0x800, EventKind::DramRetirementFailure),
    (0x1000, EventKind::NonFatalPoison),
    (0x2000, EventKind::FatalPoison),
    (0x4000, EventKind::GpuUnavailable),
    (0x8000, EventKind::RecoveryAction),
];

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// UUID of the GPU; `None` when the driver names none that is known.
    pub gpu: Option<String>,
    /// What happened.
    pub kind: EventKind,
    /// GPU instance id, when it happened to one.
    pub gi: Option<u32>,
    /// Compute instance id, when it happened to one.
    pub ci: Option<u32>,
}

/// Waits for the events of a node's GPUs, on a thread of its own.
pub struct Events {
    nvml: Arc<Nvml>,
    set: EventSet,
    registered: BTreeSet<u32>,
}

impl Driver {
    /// Waits from now on for the events of all GPUs that answer. Shares the open NVML: it begins anew only when both are dropped.
    pub fn events(&self) -> Result<Events, Error> {
        let nvml = Arc::clone(self.nvml());
        // First, since it tells a stale NVML from a lost GPU.
        wrapped("nvmlDeviceGetCount_v2", || nvml.device_count())?;
        let mut events = Events {
            set: EventSet::create(&nvml)?,
            nvml,
            registered: BTreeSet::new(),
        };
        events.register()?;
        Ok(events)
    }
}

impl Events {
    /// Registers the GPUs that were not registered yet, as far as they answer and have events. Whether all are now.
    ///
    /// A GPU that is lost while it is registered makes every wait fail with [`Code::GPU_IS_LOST`]: make other `Events` then.
    pub fn register(&mut self) -> Result<bool, Error> {
        let count = wrapped("nvmlDeviceGetCount_v2", || self.nvml.device_count())?;
        for index in 0..count {
            if self.registered.contains(&index) {
                continue;
            }
            match self.register_one(index) {
                Ok(()) => drop(self.registered.insert(index)),
                Err(error) if error.is_stale() => return Err(error),
                Err(error) => tracing::debug!(index, %error, "no events of this GPU"),
            }
        }
        Ok(self.registered.len() >= usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn register_one(&mut self, index: u32) -> Result<(), Error> {
        let device = driver::at(&self.nvml, index)?;
        let uuid = wrapped("nvmlDeviceGetUUID", || device.uuid())?;
        let kinds = KINDS.iter().fold(XID, |mask, (bit, _)| mask | bit);
        match self.set.register(&device, &uuid, kinds) {
            // It has no events, and never will.
            Err(error) if error.code() == Some(Code::NOT_SUPPORTED) => Ok(()),
            registered => registered,
        }
    }

    /// The next event; `None` when none came within `timeout`. Blocks.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        match self.set.wait(timeout_ms) {
            Ok(event) => Ok(Some(Event {
                gpu: event.gpu,
                kind: kind(event.kind, event.data),
                gi: event.gi,
                ci: event.ci,
            })),
            Err(error) if error.code() == Some(Code::TIMEOUT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn kind(bit: u64, data: u64) -> EventKind {
    if bit == XID {
        return EventKind::Xid(data);
    }
    let known = KINDS.iter().find(|(known, _)| *known == bit);
    known.map_or(EventKind::Other(bit), |&(_, kind)| kind)
}
