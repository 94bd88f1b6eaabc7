//! Events that the driver tells of: errors of a GPU (XID), ECC errors, changes of the MIG configuration.
//!
//! They lie in a ring in the shared file, numbered from 0; each event set remembers from which number on it wants which. The ring
//! keeps the latest [`RING`] events of the node: a client that falls further behind misses the oldest.

use bytemuck::{Pod, Zeroable};

use crate::behaviour::{UnknownWord, named};
use crate::boards::{Architecture, Board};

/// Events that the ring keeps.
pub(crate) const RING: usize = 128;
/// Instance id of an event that concerns no instance.
pub(crate) const NO_INSTANCE: u8 = u8::MAX;

/// Kind of an event: `nvmlEventType…` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An ECC error that was corrected.
    SingleBitEcc,
    /// An ECC error that could not be corrected.
    DoubleBitEcc,
    /// The performance state changed.
    PerformanceState,
    /// An XID error; the event carries its number. Numbers 13, 31, 43, 45, 68 and 109 are applications' own faults.
    Xid,
    /// The clocks changed; only Kepler tells.
    Clock,
    /// Mains or battery.
    PowerSource,
    /// The MIG mode or the instances changed; the driver raises it by itself.
    MigConfig,
    /// Many corrected ECC errors in short time.
    SingleBitEccStorm,
    /// A page or row of memory was retired.
    DramRetirement,
    /// None was left to retire.
    DramRetirementFailure,
    /// Poisoned data, contained.
    NonFatalPoison,
    /// Poisoned data, not contained.
    FatalPoison,
    /// The GPU does not answer.
    GpuUnavailable,
    /// What has to be done to the GPU changed.
    RecoveryAction,
}

/// Words and bits, in the order of the bits.
const KINDS: [(&str, EventKind, u64); 14] = [
    ("single-bit-ecc", EventKind::SingleBitEcc, 0x1),
    ("double-bit-ecc", EventKind::DoubleBitEcc, 0x2),
    ("performance-state", EventKind::PerformanceState, 0x4),
    ("xid", EventKind::Xid, 0x8),
    ("clock", EventKind::Clock, 0x10),
    ("power-source", EventKind::PowerSource, 0x80),
    ("mig-config", EventKind::MigConfig, 0x100),
    ("single-bit-ecc-storm", EventKind::SingleBitEccStorm, 0x200),
    ("dram-retirement", EventKind::DramRetirement, 0x400),
    (
        "dram-retirement-failure",
        EventKind::DramRetirementFailure,
        0x800,
    ),
    ("non-fatal-poison", EventKind::NonFatalPoison, 0x1000),
    ("fatal-poison", EventKind::FatalPoison, 0x2000),
    ("gpu-unavailable", EventKind::GpuUnavailable, 0x4000),
    ("recovery-action", EventKind::RecoveryAction, 0x8000),
];

impl std::str::FromStr for EventKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(&KINDS.map(|(name, kind, _)| (name, kind)), word)
    }
}

impl EventKind {
    /// Its bit in masks and events.
    #[must_use]
    pub fn bit(self) -> u64 {
        let found = KINDS.iter().find(|(_, kind, _)| *kind == self);
        found.map_or(0, |&(_, _, bit)| bit)
    }
}

/// The bits that the header knows.
pub(crate) fn known() -> u64 {
    KINDS.iter().fold(0, |mask, (_, _, bit)| mask | bit)
}

/// What a board tells of: everything but what the header ties to other hardware (clocks: Kepler; power source: notebooks), and of
/// MIG where there is MIG. Which bits drivers really report is not documented.
pub(crate) fn supported(board: &Board) -> u64 {
    let without = match board.architecture {
        Architecture::Ada => EventKind::MigConfig.bit(),
        Architecture::Ampere | Architecture::Hopper | Architecture::Blackwell => 0,
    };
    known() & !(EventKind::Clock.bit() | EventKind::PowerSource.bit() | without)
}

/// An event in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RingEvent {
    /// One bit.
    pub(crate) kind: u64,
    /// Number of an XID, else 0.
    pub(crate) data: u64,
    /// Index of the GPU.
    pub(crate) gpu: u32,
    pub(crate) gi: u8,
    pub(crate) ci: u8,
    pub(crate) reserved: u16,
}

impl RingEvent {
    /// An event of a whole GPU.
    pub(crate) fn whole(gpu: u32, kind: EventKind) -> Self {
        Self {
            kind: kind.bit(),
            data: 0,
            gpu,
            gi: NO_INSTANCE,
            ci: NO_INSTANCE,
            reserved: 0,
        }
    }

    /// Whether it concerns the whole GPU; others are for privileged callers.
    pub(crate) fn is_of_whole_gpu(&self) -> bool {
        self.gi == NO_INSTANCE
    }
}

/// The latest events of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Ring {
    /// Number of events so far.
    pub(crate) count: u64,
    events: [RingEvent; RING],
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0) % RING
}

impl Ring {
    pub(crate) fn push(&mut self, event: RingEvent) {
        if let Some(slot) = self.events.get_mut(place(self.count)) {
            *slot = event;
        }
        self.count += 1;
    }

    /// The events with a number of at least `first`, oldest first, as far as they are still there.
    pub(crate) fn since(&self, first: u64) -> impl Iterator<Item = (u64, &RingEvent)> {
        let kept = self.count.saturating_sub(u64::try_from(RING).unwrap_or(0));
        (first.max(kept)..self.count)
            .filter_map(|number| Some((number, self.events.get(place(number))?)))
    }
}

/// What a client wants to be told of: kinds of events of GPUs, each from the moment on when it asked for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventSet {
    wanted: Vec<Wanted>,
    /// Number of the first event that it has not looked at.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    gpu: u32,
    kinds: u64,
    since: u64,
}

impl EventSet {
    /// Wants these kinds of events of a GPU, of those that come after the `now`th.
    pub(crate) fn register(&mut self, gpu: u32, kinds: u64, now: u64) {
        self.wanted.push(Wanted {
            gpu,
            kinds,
            since: now,
        });
    }

    /// Indexes of the GPUs that it wants events of.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = u32> {
        self.wanted.iter().map(|wanted| wanted.gpu)
    }

    /// Takes the oldest event that it wants; `privileged` callers also get those of single instances.
    pub(crate) fn take(&mut self, ring: &Ring, privileged: bool) -> Option<RingEvent> {
        let wants = |number: u64, event: &RingEvent| {
            self.wanted.iter().any(|wanted| {
                wanted.gpu == event.gpu && wanted.kinds & event.kind != 0 && number >= wanted.since
            })
        };
        let found = ring.since(self.next).find(|(number, event)| {
            (privileged || event.is_of_whole_gpu()) && wants(*number, event)
        });
        self.next = found.map_or(ring.count, |(number, _)| number + 1);
        found.map(|(_, event)| *event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xid(gpu: u32, number: u64) -> RingEvent {
        RingEvent {
            data: number,
            ..RingEvent::whole(gpu, EventKind::Xid)
        }
    }

    fn ring(events: impl IntoIterator<Item = RingEvent>) -> Ring {
        let mut ring: Ring = Zeroable::zeroed();
        events.into_iter().for_each(|event| ring.push(event));
        ring
    }

    #[test]
    fn the_header_s_mask_of_all_events() {
        assert_eq!(known(), 0xff9f);
        let (mig, no_mig) = (Board::named("h200-141gb"), Board::named("l4-24gb"));
        assert_eq!(supported(mig.unwrap()), 0xff0f);
        assert_eq!(supported(no_mig.unwrap()), 0xfe0f);
        assert_eq!("xid".parse(), Ok(EventKind::Xid));
        assert!("xids".parse::<EventKind>().is_err());
    }

    #[test]
    fn the_ring_keeps_the_latest() {
        let many = u64::try_from(RING).unwrap() + 3;
        let ring = ring((0..many).map(|number| xid(0, number)));
        let kept: Vec<_> = ring.since(0).collect();
        assert_eq!(kept.len(), RING);
        assert!(kept.iter().all(|(number, event)| *number == event.data));
        assert_eq!(ring.since(many - 1).count(), 1);
        assert_eq!(ring.since(many + 9).count(), 0);
    }

    #[test]
    fn a_set_takes_what_it_wants_in_order_and_once() {
        let of_instance = RingEvent {
            gi: 2,
            ci: 0,
            ..xid(0, 13)
        };
        let ring = ring([
            xid(0, 1),
            xid(0, 43),
            RingEvent::whole(0, EventKind::MigConfig),
            of_instance,
            xid(1, 79),
        ]);
        let take_all = |privileged, kinds| {
            let mut set = EventSet::default();
            set.register(0, kinds, 1);
            let taken: Vec<_> = std::iter::from_fn(|| set.take(&ring, privileged)).collect();
            taken.iter().map(|event| event.data).collect::<Vec<_>>()
        };
        assert_eq!(take_all(true, EventKind::Xid.bit()), [43, 13]);
        assert_eq!(take_all(true, known()), [43, 0, 13]);
        assert_eq!(take_all(false, known()), [43, 0], "instances are private");
        let mut set = EventSet::default();
        set.register(0, EventKind::MigConfig.bit(), 0);
        set.register(1, EventKind::Xid.bit(), 5);
        assert_eq!(set.take(&ring, true).map(|event| event.kind), Some(0x100));
        assert_eq!(set.take(&ring, true), None, "before it was asked for");
    }
}
