//! Faults of a node.

use super::{Node, NodeError};
use crate::code::Code;
use crate::inject::{Fault, RandomFaults};
use crate::log::{Action, Event};

impl Node {
    /// Injects a fault; it comes on top of those that are there.
    pub fn inject(&self, fault: &Fault) -> Result<(), NodeError> {
        self.add(fault, None)
    }

    /// Injects a fault that hits only calls on one GPU: those whose handle belongs to it.
    pub fn inject_on_gpu(&self, gpu: u32, fault: &Fault) -> Result<(), NodeError> {
        self.index(gpu)?;
        self.add(fault, Some(gpu))
    }

    fn add(&self, fault: &Fault, gpu: Option<u32>) -> Result<(), NodeError> {
        if self.store.add_fault(fault.slot(gpu)?)? {
            Ok(())
        } else {
            Err(NodeError::TooManyFaults)
        }
    }

    /// Lets calls fail at random from now on, in place of earlier random faults.
    pub fn inject_random(&self, faults: &RandomFaults) -> Result<(), NodeError> {
        Ok(self.store.set_random_faults(faults.slot()?)?)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) -> Result<(), NodeError> {
        Ok(self.store.change_node(|node| {
            node.faults = bytemuck::Zeroable::zeroed();
            node.random = bytemuck::Zeroable::zeroed();
            ((), None)
        })?)
    }

    /// Makes a GPU fall off the bus: every call on it answers 15 until it is reset, or the machine boots.
    pub fn lose_gpu(&self, gpu: u32) -> Result<(), NodeError> {
        let event = Event {
            result: Code::ERROR_GPU_IS_LOST.0,
            ..Event::new(Action::Fault)
        };
        Ok(self.store.change_gpu(self.index(gpu)?, |state| {
            state.lost = 1;
            ((), Some(event))
        })?)
    }
}
