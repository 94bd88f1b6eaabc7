//! Faults of a node, as calls and changes meet them.

use super::lock::Lock;
use super::{AT_CALLS, AT_FAULTS, NODE, Store, StoreError};
use crate::code::Code;
use crate::inject::{self, Moment, Suffering};
use crate::log::{Action, Event};
use crate::state::{FaultSlot, Node, RandomFaultSlot};

impl Store {
    /// What injected faults do to a call on a GPU, or on none; counts the call and logs a hit, unless every call is hit.
    pub(crate) fn suffer(&self, call: &str, gpu: Option<u32>) -> Result<Suffering, StoreError> {
        let mut suffering = Suffering::default();
        if self.words.load(AT_FAULTS) == 0 {
            return Ok(suffering);
        }
        let node = self.node();
        let random = self.draw(&node.random, call);
        let matches = |fault: &&FaultSlot| fault.matches(Moment::Call, call, gpu);
        let hits = || node.faults.iter().filter(matches);
        if random.is_none() && hits().all(FaultSlot::is_steady) {
            hits().for_each(|fault| suffering.add(fault.effect()));
            return Ok(suffering);
        }
        suffering.code = random;
        self.change_node(|node| {
            count_down(node, Moment::Call, call, gpu, &mut suffering);
            let event = suffering.is_more_than_a_delay().then(|| Event {
                gpu,
                ..fault_event(suffering.code, call)
            });
            (suffering, event)
        })
    }

    /// The code that random faults give to a call. The calls of a node are numbered, and each number has its own draw.
    fn draw(&self, random: &RandomFaultSlot, call: &str) -> Option<Code> {
        if !random.is_active() {
            return None;
        }
        random.draw(self.words.add(AT_CALLS, 1), call)
    }

    /// Lets the client die of the faults that wait for a change of state; called with the lock held, right after one.
    pub(super) fn after_change(
        &self,
        lock: &mut Lock<'_>,
        gpu: Option<u32>,
    ) -> Result<(), StoreError> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        let call = inject::current_call();
        let mut node = self.node();
        let waits = |fault: &FaultSlot| fault.matches(Moment::Change, call, gpu);
        if self.words.load(AT_FAULTS) == 0 || !node.faults.iter().any(waits) {
            return Ok(());
        }
        let mut suffering = Suffering::default();
        count_down(&mut node, Moment::Change, call, gpu, &mut suffering);
        if suffering.is_more_than_a_delay() {
            node.log_end = lock.append(Event {
                gpu,
                ..fault_event(None, call)
            })?;
        }
        self.write_node(&node);
        if suffering.kill {
            crate::death::kill_this_process();
        }
        if suffering.vanish {
            client.vanish();
            return Err(StoreError::Gone(Code::ERROR_UNKNOWN));
        }
        Ok(())
    }

    /// Puts the faults in force and counts them, so that a call pays one load when there are none.
    pub(super) fn write_node(&self, node: &Node) {
        NODE.write(&self.words, node);
        let faults = node.faults.iter().filter(|fault| fault.left > 0).count();
        let random = usize::from(node.random.is_active());
        let count = u64::try_from(faults + random).unwrap_or(u64::MAX);
        self.words.store(AT_FAULTS, count);
    }

    /// Adds a fault; `false` when there is no room for one more.
    pub(crate) fn add_fault(&self, fault: FaultSlot) -> Result<bool, StoreError> {
        self.change_node(|node| {
            let slot = node.faults.iter_mut().find(|slot| slot.left == 0);
            (slot.map(|slot| *slot = fault).is_some(), None)
        })
    }

    /// Sets the random faults; calls are numbered from 0 from now on.
    pub(crate) fn set_random_faults(&self, random: RandomFaultSlot) -> Result<(), StoreError> {
        self.change_node(|node| {
            node.random = random;
            self.words.store(AT_CALLS, 0);
            ((), None)
        })
    }
}

fn count_down(
    node: &mut Node,
    moment: Moment,
    call: &str,
    gpu: Option<u32>,
    suffering: &mut Suffering,
) {
    for fault in node
        .faults
        .iter_mut()
        .filter(|fault| fault.matches(moment, call, gpu))
    {
        let effect = fault.effect();
        if fault.count_down() {
            suffering.add(effect);
        }
    }
}

fn fault_event(code: Option<Code>, call: &str) -> Event {
    Event {
        result: code.map_or(0, |code| code.0),
        call: Some(call.to_owned()),
        ..Event::new(Action::Fault)
    }
}
