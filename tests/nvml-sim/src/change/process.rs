//! Who uses a GPU: processes, clients that merely hold it, and processes that ended a moment ago.

use super::Result;
use crate::code::Code;
use crate::state::{Gpu, Lingering, MAX_PROCESSES, Process, WHOLE_GPU};

impl Gpu {
    /// Starts a process on the first compute instance of a GPU instance, or on the whole GPU.
    ///
    /// 29 when the MIG mode does not agree; 6 when the GPU instance is gone, or has no compute instance; 20 when its memory
    /// does not suffice; 5 when this process is there already; 23 when the process table is full.
    pub(crate) fn start_process(
        &mut self,
        gi: Option<u8>,
        pid: u32,
        memory_bytes: u64,
    ) -> Result<Process> {
        if gi.is_some() != self.mig_enabled() {
            return Err(Code::ERROR_INVALID_STATE);
        }
        let (gi, ci) = match gi {
            None => (WHOLE_GPU, WHOLE_GPU),
            Some(id) => {
                let instance = self.instance(id).ok_or(Code::ERROR_NOT_FOUND)?;
                let (ci, _) = instance
                    .compute_instances()
                    .next()
                    .ok_or(Code::ERROR_NOT_FOUND)?;
                (id, ci)
            }
        };
        if self
            .processes_on(gi, Some(ci))
            .any(|process| process.pid == pid)
        {
            return Err(Code::ERROR_ALREADY_INITIALIZED);
        }
        let used: u64 = self
            .processes_on(gi, None)
            .map(|process| process.memory_bytes)
            .sum();
        if used.saturating_add(memory_bytes) > self.memory_bytes(gi) {
            return Err(Code::ERROR_MEMORY);
        }
        let index = usize::try_from(self.process_count).unwrap_or(MAX_PROCESSES);
        if index >= MAX_PROCESSES {
            return Err(Code::ERROR_INSUFFICIENT_RESOURCES);
        }
        self.tick();
        let process = Process {
            pid,
            gi,
            ci,
            reserved: 0,
            memory_bytes,
            started: self.clock,
        };
        if let Some(slot) = self.processes.get_mut(index) {
            *slot = process;
        }
        self.process_count += 1;
        Ok(process)
    }

    /// Ends one entry of a process and returns it; `None` when it has none left on this GPU. What it used stays in use until
    /// `until_ns`, when that is given.
    pub(crate) fn stop_process(&mut self, pid: u32, until_ns: Option<u64>) -> Option<Process> {
        let index = self
            .processes()
            .iter()
            .position(|process| process.pid == pid)?;
        self.tick();
        let last = usize::try_from(self.process_count).ok()?.checked_sub(1)?;
        self.processes.swap(index, last);
        self.process_count -= 1;
        let ended = *self.processes.get(last)?;
        if let Some(until_ns) = until_ns {
            self.linger(&ended, until_ns);
        }
        Some(ended)
    }

    /// Keeps what a process used in use until a moment. With more of them than there is room for, the one that would go first goes.
    fn linger(&mut self, ended: &Process, until_ns: u64) {
        if let Some(slot) = self.lingering.iter_mut().min_by_key(|slot| slot.until_ns) {
            *slot = Lingering {
                until_ns,
                gi: ended.gi,
                ci: ended.ci,
                reserved: [0; 6],
            };
        }
    }

    /// Forgets the ended processes whose time is over.
    pub(crate) fn forget_ended(&mut self, now_ns: u64) {
        for slot in &mut self.lingering {
            if slot.until_ns <= now_ns {
                *slot = bytemuck::Zeroable::zeroed();
            }
        }
    }

    /// Whether a process is on a compute instance, or was until a moment ago.
    pub(super) fn is_used(&self, gi: u8, ci: u8) -> bool {
        self.processes_on(gi, Some(ci)).next().is_some()
            || self
                .lingering
                .iter()
                .any(|ended| ended.until_ns > 0 && (ended.gi, ended.ci) == (gi, ci))
    }

    /// Whether a process is anywhere on the GPU, or was until a moment ago.
    pub(super) fn is_busy(&self) -> bool {
        !self.processes().is_empty() || self.lingering.iter().any(|ended| ended.until_ns > 0)
    }

    /// Whether any client has the GPU open: a process, or one that only holds it.
    pub(super) fn is_held(&self) -> bool {
        self.is_busy() || self.holders().next().is_some()
    }

    /// Lets a client hold the GPU: 5 when it does already, 23 when there are too many.
    pub(crate) fn hold(&mut self, pid: u32) -> Result<()> {
        if self.holders().any(|holder| holder == pid) {
            return Err(Code::ERROR_ALREADY_INITIALIZED);
        }
        let free = self.holders.iter_mut().find(|holder| **holder == 0);
        *free.ok_or(Code::ERROR_INSUFFICIENT_RESOURCES)? = pid;
        self.tick();
        Ok(())
    }

    /// Makes a client let go of the GPU; whether it held it.
    pub(crate) fn release(&mut self, pid: u32) -> bool {
        let held = self.holders.iter_mut().find(|holder| **holder == pid);
        let found = held.map(|holder| *holder = 0).is_some();
        if found {
            self.tick();
        }
        found
    }
}
