//! What can be done to a GPU: each change is made wholly or answers the driver's return code and changes nothing.

use crate::boards::{self, Board, Profile, Span};
use crate::code::Code;
use crate::rules;
use crate::state::{ComputeInstance, Gpu, GpuInstance, MAX_PROCESSES, Process, WHOLE_GPU};

type Result<T> = std::result::Result<T, Code>;

/// The byte in which the state keeps a number; all tables stay far below its end.
fn byte(number: u32) -> Result<u8> {
    u8::try_from(number).map_err(|_| Code::ERROR_UNKNOWN)
}

/// A board's profile by id: 3 when the board has no MIG or only other boards have it, 2 when none has.
pub(crate) fn profile(board: &'static Board, id: u32) -> Result<&'static Profile> {
    board
        .profile(id)
        .ok_or(if board.has_mig() && !boards::is_known_profile(id) {
            Code::ERROR_INVALID_ARGUMENT
        } else {
            Code::ERROR_NOT_SUPPORTED
        })
}

impl Gpu {
    /// Its board, or 3 when MIG mode is off.
    pub(crate) fn mig_board(&self) -> Result<&'static Board> {
        if self.mig_enabled() {
            self.board().ok_or(Code::ERROR_UNKNOWN)
        } else {
            Err(Code::ERROR_NOT_SUPPORTED)
        }
    }

    /// Counts a change and returns a generation that no instance of this GPU has had.
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        u32::try_from(self.clock & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// Creates a GPU instance, at the given placement or where the driver likes it, and returns its id.
    pub(crate) fn create_gpu_instance(
        &mut self,
        profile_id: u32,
        place: Option<Span>,
    ) -> Result<u8> {
        let board = self.mig_board()?;
        let profile = profile(board, profile_id)?;
        let place = match place {
            Some(place) if !profile.placements().any(|legal| legal == place) => {
                return Err(Code::ERROR_INVALID_ARGUMENT);
            }
            Some(place) => {
                Some(place).filter(|&place| rules::has_room(self, board, profile, place))
            }
            None => rules::choose_placement(self, board, profile),
        };
        let place = place.ok_or(Code::ERROR_INSUFFICIENT_RESOURCES)?;
        let id = rules::id_of(place, board.slots, self.swapped_halves != 0)
            .ok_or(Code::ERROR_UNKNOWN)?;
        let instance = GpuInstance {
            profile: byte(profile.id)?,
            start: byte(place.start)?,
            size: byte(place.size)?,
            reserved: 0,
            generation: self.tick(),
            compute: bytemuck::Zeroable::zeroed(),
        };
        *self
            .instances
            .get_mut(usize::from(id))
            .ok_or(Code::ERROR_UNKNOWN)? = instance;
        Ok(id)
    }

    /// Destroys a GPU instance: 19 while it has compute instances or processes.
    pub(crate) fn destroy_gpu_instance(&mut self, id: u8) -> Result<()> {
        self.mig_board()?;
        let gi = self.instance(id).ok_or(Code::ERROR_INVALID_ARGUMENT)?;
        // A process stands on a compute instance, so this covers both.
        if gi.compute_instances().next().is_some() {
            return Err(Code::ERROR_IN_USE);
        }
        self.tick();
        if let Some(slot) = self.instances.get_mut(usize::from(id)) {
            slot.size = 0;
        }
        Ok(())
    }

    /// Creates a compute instance in a GPU instance, at the given placement or the lowest free one, and returns its id.
    pub(crate) fn create_compute_instance(
        &mut self,
        gi_id: u8,
        profile_id: u32,
        place: Option<Span>,
    ) -> Result<u8> {
        self.mig_board()?;
        let gi = *self.instance(gi_id).ok_or(Code::ERROR_INVALID_ARGUMENT)?;
        let slices = self.profile_of(&gi).map_or(0, |profile| profile.slices);
        let profile = compute_profile(slices, profile_id)?;
        if place.is_some_and(|place| !profile.placements().any(|legal| legal == place)) {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        let place = rules::free_compute_placements(&gi, profile.placements())
            .find(|&free| place.is_none_or(|place| place == free))
            .ok_or(Code::ERROR_INSUFFICIENT_RESOURCES)?;
        let instance = ComputeInstance {
            profile: byte(profile.id)?,
            start: byte(place.start)?,
            size: byte(place.size)?,
            mig_index: (0..=u8::MAX)
                .find(|&index| self.mig_device(index.into()).is_none())
                .ok_or(Code::ERROR_UNKNOWN)?,
            generation: self.tick(),
        };
        let slot = self
            .instances
            .get_mut(usize::from(gi_id))
            .and_then(|gi| (0u8..).zip(&mut gi.compute).find(|(_, ci)| ci.size == 0));
        let (id, slot) = slot.ok_or(Code::ERROR_INSUFFICIENT_RESOURCES)?;
        *slot = instance;
        Ok(id)
    }

    /// Destroys a compute instance: 19 while it has processes.
    pub(crate) fn destroy_compute_instance(&mut self, gi_id: u8, id: u8) -> Result<()> {
        self.mig_board()?;
        if self.processes_on(gi_id, Some(id)).next().is_some() {
            return Err(Code::ERROR_IN_USE);
        }
        self.instances
            .get_mut(usize::from(gi_id))
            .and_then(|gi| gi.compute.get_mut(usize::from(id)))
            .filter(|ci| ci.size > 0)
            .ok_or(Code::ERROR_INVALID_ARGUMENT)?
            .size = 0;
        self.tick();
        Ok(())
    }

    /// Asks for a MIG mode and returns the activation status: success, or 19 while a process is on the GPU; then the mode
    /// stays pending until it is asked for again, or the GPU is reset.
    pub(crate) fn set_mig_mode(&mut self, enable: bool) -> Code {
        let mode = u8::from(enable);
        self.tick();
        self.mig_pending = mode;
        if self.mig_current == mode {
            return Code::SUCCESS;
        }
        if !self.processes().is_empty() {
            return Code::ERROR_IN_USE;
        }
        self.apply_pending_mode();
        Code::SUCCESS
    }

    /// Resets the GPU: 19 while a process is on it. Instances do not survive; a pending mode is applied.
    pub(crate) fn reset(&mut self) -> Result<()> {
        if !self.processes().is_empty() {
            return Err(Code::ERROR_IN_USE);
        }
        self.tick();
        self.apply_pending_mode();
        self.lost = 0;
        Ok(())
    }

    fn apply_pending_mode(&mut self) {
        self.mig_current = self.mig_pending;
        for gi in &mut self.instances {
            gi.size = 0;
        }
    }

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

    /// Ends one entry of a process and returns it; `None` when it has none left on this GPU.
    pub(crate) fn stop_process(&mut self, pid: u32) -> Option<Process> {
        let index = self
            .processes()
            .iter()
            .position(|process| process.pid == pid)?;
        self.tick();
        let last = usize::try_from(self.process_count).ok()?.checked_sub(1)?;
        self.processes.swap(index, last);
        self.process_count -= 1;
        self.processes.get(last).copied()
    }

    /// Memory of a GPU instance, or of the whole GPU.
    pub(crate) fn memory_bytes(&self, gi: u8) -> u64 {
        let mib = match self.instance(gi) {
            Some(instance) => self.profile_of(instance).map(|profile| profile.memory_mib),
            None => self.board().map(|board| board.memory_mib),
        };
        mib.unwrap_or(0) << 20
    }
}

/// A compute instance profile by id: 3 when this GPU instance does not offer it, 2 when none does.
pub(crate) fn compute_profile(slices: u32, id: u32) -> Result<boards::ComputeProfile> {
    boards::compute_profiles(slices)
        .find(|profile| profile.id == id)
        .ok_or(if id <= 8 {
            Code::ERROR_NOT_SUPPORTED
        } else {
            Code::ERROR_INVALID_ARGUMENT
        })
}

#[cfg(test)]
mod tests;
