//! What can be done to a GPU: each change is made wholly or answers the driver's return code and changes nothing.

use crate::behaviour::Behaviour;
use crate::boards::{self, Board, Profile, Span};
use crate::code::Code;
use crate::rules;
use crate::state::{ComputeInstance, Gpu, GpuInstance};

mod mode;
mod process;

pub(crate) use mode::Start;

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
    ///
    /// 2 for a placement that its profile has not, 23 when there is no room, and as a quirk 19 for the first instance of a GPU that a
    /// client holds.
    pub(crate) fn create_gpu_instance(
        &mut self,
        profile_id: u32,
        place: Option<Span>,
        behaviour: Behaviour,
    ) -> Result<u8> {
        let board = self.mig_board()?;
        let profile = profile(board, profile_id)?;
        if place.is_some_and(|place| !profile.placements().any(|legal| legal == place)) {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        let first = self.instances().next().is_none();
        if first && behaviour.first_instance_needs_an_idle_gpu() && self.is_held() {
            return Err(Code::ERROR_IN_USE);
        }
        let place = match place {
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
        behaviour: Behaviour,
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
        let generation = self.tick();
        let instance = ComputeInstance {
            profile: byte(profile.id)?,
            start: byte(place.start)?,
            size: byte(place.size)?,
            mig_index: (0..=u8::MAX)
                .find(|&index| self.mig_device(index.into()).is_none())
                .ok_or(Code::ERROR_UNKNOWN)?,
            generation,
            birth: if behaviour.uuids_come_again() {
                0
            } else {
                generation
            },
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
        if self.is_used(gi_id, id) {
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
