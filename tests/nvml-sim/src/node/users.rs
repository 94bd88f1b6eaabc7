//! Who uses the GPUs of a node: simulated processes, and clients that only hold a GPU.

use super::{Node, NodeError};
use crate::code::Code;
use crate::log::{Action, Event};
use crate::state::{Gpu, Process, WHOLE_GPU};
use crate::store::now_ns;

impl Node {
    /// Starts a process on the first compute instance of a GPU instance, or on a whole GPU whose MIG mode is off.
    ///
    /// Fails, and starts nothing, when the instance is gone, half made, or has not that much memory left.
    pub fn start_process(
        &self,
        gpu: u32,
        gi: impl Into<Option<u32>>,
        pid: u32,
        memory_bytes: u64,
    ) -> Result<(), NodeError> {
        let gi = gi.into();
        let index = self.index(gpu)?;
        let reason = |code: Code| match code {
            Code::ERROR_INVALID_STATE if gi.is_some() => "its MIG mode is off",
            Code::ERROR_INVALID_STATE => "its MIG mode is on; name a GPU instance",
            Code::ERROR_NOT_FOUND => "there is no such GPU instance, or it has no compute instance",
            Code::ERROR_ALREADY_INITIALIZED => "this process is there already",
            Code::ERROR_MEMORY => "not enough memory left",
            Code::ERROR_DRIVER_NOT_LOADED => "the driver is not loaded",
            _ => "its process table is full",
        };
        let result = self.store.change_gpu(index, |state| {
            let started = gi.map_or(Ok(None), |gi| {
                u8::try_from(gi)
                    .map(Some)
                    .map_err(|_| Code::ERROR_NOT_FOUND)
            });
            let started = started.and_then(|gi| {
                if !self.store.driver().is_loaded() {
                    return Err(Code::ERROR_DRIVER_NOT_LOADED);
                }
                state.start_process(gi, pid, memory_bytes)
            });
            let event = process_event(Action::StartProcess, pid, started.as_ref().ok());
            let result = started.as_ref().err().copied().unwrap_or(Code::SUCCESS).0;
            let gi = event.gi.or(gi);
            (
                started,
                Some(Event {
                    result,
                    gi,
                    ..event
                }),
            )
        })?;
        result.map(|_| ()).map_err(|code| NodeError::Start {
            pid,
            gpu,
            reason: reason(code),
        })
    }

    /// Ends a process on all GPUs. What it used stays in use for as long as the node lingers (see [`super::NodeOptions::linger`]).
    pub fn stop_process(&self, pid: u32) -> Result<(), NodeError> {
        let linger = u64::from(self.store.driver().linger_ms) * 1_000_000;
        let until = (linger > 0).then(|| now_ns().saturating_add(linger));
        let mut found = false;
        for index in 0..self.store.gpu_count() {
            found |= self.stop_on(index, pid, until)?;
        }
        if found {
            Ok(())
        } else {
            Err(NodeError::NoProcess(pid))
        }
    }

    /// Ends all entries of a process on one GPU; whether there were any.
    fn stop_on(&self, index: usize, pid: u32, until_ns: Option<u64>) -> Result<bool, NodeError> {
        let stop = |state: &mut Gpu| {
            let stopped = state.stop_process(pid, until_ns);
            let event =
                stopped.map(|process| process_event(Action::StopProcess, pid, Some(&process)));
            (stopped, event)
        };
        let mut found = false;
        while self.store.change_gpu(index, stop)?.is_some() {
            found = true;
        }
        Ok(found)
    }

    /// Ends every process on every GPU, as the end of the machine does.
    pub(super) fn stop_all(&self) -> Result<(), NodeError> {
        for index in 0..self.store.gpu_count() {
            let Some(gpu) = self.store.gpu(index) else {
                continue;
            };
            for process in gpu.processes() {
                self.stop_on(index, process.pid, None)?;
            }
        }
        Ok(())
    }

    /// Lets a client hold a GPU without running anything there, as monitoring daemons and persistence daemons do. On Ampere the MIG
    /// mode stays pending while one does, no GPU can be reset, and the driver cannot be unloaded.
    pub fn hold(&self, gpu: u32, pid: u32) -> Result<(), NodeError> {
        let held = self.store.change_gpu(self.index(gpu)?, |state| {
            let held = if pid == 0 {
                Err(Code::ERROR_INVALID_ARGUMENT)
            } else {
                state.hold(pid)
            };
            let event = Event {
                result: held.err().unwrap_or(Code::SUCCESS).0,
                ..process_event(Action::Hold, pid, None)
            };
            (held, Some(event))
        })?;
        held.map_err(|code| NodeError::Hold {
            pid,
            gpu,
            reason: match code {
                Code::ERROR_ALREADY_INITIALIZED => "it does already",
                Code::ERROR_INVALID_ARGUMENT => "0 is no process id",
                _ => "too many clients do",
            },
        })
    }

    /// Makes a client let go of all GPUs that it holds.
    pub fn release(&self, pid: u32) -> Result<(), NodeError> {
        let mut found = false;
        for index in 0..self.store.gpu_count() {
            found |= self.store.change_gpu(index, |state| {
                let released = state.release(pid);
                let event = released.then(|| process_event(Action::Release, pid, None));
                (released, event)
            })?;
        }
        if found {
            Ok(())
        } else {
            Err(NodeError::NoHolder(pid))
        }
    }
}

fn process_event(action: Action, pid: u32, process: Option<&Process>) -> Event {
    let instance = process.filter(|process| process.gi != WHOLE_GPU);
    Event {
        gi: instance.map(|process| process.gi.into()),
        ci: instance.map(|process| process.ci.into()),
        pid: Some(pid),
        ..Event::new(action)
    }
}
