//! Events, raised from outside.

use std::sync::Arc;

use super::{Node, NodeError};
use crate::events::{self, EventKind, NO_INSTANCE, RingEvent};
use crate::state::Gpu;

/// What the header has for an XID error whose number is not known.
const UNKNOWN_XID: u64 = 999;

impl Node {
    /// Lets the driver tell of an event of a whole GPU; every client that waits for it gets it. Nothing else happens: counters and
    /// state have calls of their own. An XID error without a number is an unknown one, 999.
    pub fn raise_event(&self, gpu: u32, kind: EventKind) -> Result<(), NodeError> {
        if kind == EventKind::Xid {
            return self.raise_xid(gpu, UNKNOWN_XID, None, None);
        }
        self.tell(gpu, RingEvent::whole(gpu, kind))
    }

    /// Lets the driver tell of an XID error of a GPU, of a GPU instance, or of a compute instance. Nothing else happens: a GPU that
    /// fell off the bus with XID 79 is also lost ([`Node::lose_gpu`]), and the process that an XID 43 is about also ends.
    pub fn raise_xid(
        &self,
        gpu: u32,
        xid: u64,
        gi: Option<u32>,
        ci: Option<u32>,
    ) -> Result<(), NodeError> {
        let state = self.state_of(gpu)?;
        let reason = "it has no such instance";
        let (gi, ci) = instance(&state, gi, ci).ok_or(NodeError::Event { gpu, reason })?;
        self.tell(
            gpu,
            RingEvent {
                data: xid,
                gi,
                ci,
                ..RingEvent::whole(gpu, EventKind::Xid)
            },
        )
    }

    fn tell(&self, gpu: u32, event: RingEvent) -> Result<(), NodeError> {
        let board = self.state_of(gpu)?.board();
        if board.is_none_or(|board| events::supported(board) & event.kind == 0) {
            let reason = "its board does not report this kind";
            return Err(NodeError::Event { gpu, reason });
        }
        Ok(self.store.raise(event)?)
    }

    fn state_of(&self, gpu: u32) -> Result<Arc<Gpu>, NodeError> {
        let state = self.store.gpu(self.index(gpu)?);
        state.ok_or(NodeError::NoGpu(gpu))
    }
}

/// Ids of an instance that is there, as the ring has them; a compute instance needs its GPU instance.
fn instance(gpu: &Gpu, gi: Option<u32>, ci: Option<u32>) -> Option<(u8, u8)> {
    let Some(gi) = gi else {
        return ci.is_none().then_some((NO_INSTANCE, NO_INSTANCE));
    };
    let gi = u8::try_from(gi).ok()?;
    let instance = gpu.instance(gi)?;
    let ci = match ci {
        None => NO_INSTANCE,
        Some(ci) => u8::try_from(ci)
            .ok()
            .filter(|&ci| instance.compute_instance(ci).is_some())?,
    };
    Some((gi, ci))
}
