//! What an agent saw of its GPUs, each board once.

use std::sync::Arc;

use mica_model::{Board, Gpu};

use super::{Invalid, gpu::unpack_gpu, holder, wire_of};
use crate::v1;

impl v1::Report {
    /// Packs what an agent saw. Equal boards are sent once. `driver_version`, `nvml_version` and `generation` are the caller's to set.
    #[must_use]
    pub fn of_gpus(gpus: &[Gpu]) -> Self {
        let mut boards: Vec<&Arc<Board>> = Vec::new();
        let mut wire = Vec::with_capacity(gpus.len());
        for gpu in gpus {
            let board = gpu.board.as_ref().map_or(0, |board| {
                boards
                    .iter()
                    .position(|known| *known == board)
                    .unwrap_or_else(|| {
                        boards.push(board);
                        boards.len() - 1
                    })
            });
            wire.push(v1::Gpu {
                uuid: gpu.uuid.clone(),
                index: gpu.index,
                board: u32::try_from(board).unwrap_or(u32::MAX),
                product: gpu.product.clone(),
                memory_mib: gpu.memory_mib,
                mig_mode: v1::MigMode::from(gpu.mig_mode).into(),
                instances: wire_of(&gpu.instances),
                pids: gpu.in_use.processes.clone(),
                containers: wire_of(&gpu.in_use.containers),
                silences: wire_of(&gpu.in_use.unknown),
                fault: gpu.fault.clone().unwrap_or_default(),
                holders: wire_of(&gpu.holders),
                waits_for: holder::waits_for(gpu.waits_for).into(),
            });
        }
        let boards = boards
            .into_iter()
            .map(|board| Board::clone(board).into())
            .collect();
        Self {
            boards,
            gpus: wire,
            ..Self::default()
        }
    }

    /// Unpacks the GPUs of a report.
    pub fn to_gpus(&self) -> Result<Vec<Gpu>, Invalid> {
        let boards: Vec<Arc<Board>> = self
            .boards
            .iter()
            .cloned()
            .map(|board| Board::try_from(board).map(Arc::new))
            .collect::<Result<_, _>>()?;
        self.gpus
            .iter()
            .map(|gpu| unpack_gpu(gpu, &boards))
            .collect()
    }
}
