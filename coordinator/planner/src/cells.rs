//! The cells: GPUs in equal states are interchangeable, so the search sees each state once, with a number.

use std::collections::BTreeMap;
use std::sync::Arc;

use mica_model::{Board, Layout};

use crate::market::{Kind, Market};
use crate::options::{Choice, Options, options};
use crate::{Availability, GpuState};

/// The GPUs in one state that may be changed.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    /// The GPUs, in ascending order of id.
    pub(crate) gpus: Vec<&'a GpuState>,
    /// What could be made of each.
    pub(crate) options: Options,
}

impl Cell<'_> {
    /// A choice by its position.
    pub(crate) fn choice(&self, position: usize) -> Option<&Choice> {
        self.options.choices.get(position)
    }

    /// What a choice offers: pairs of kind and number, in ascending order of kind.
    pub(crate) fn offers(&self, choice: usize) -> impl Iterator<Item = (Kind, u8)> {
        let offers = self.choice(choice).map(|choice| choice.offers.iter());
        let kinds = self.options.kinds.iter().copied();
        kinds.zip(offers.into_iter().flatten().copied())
    }
}

/// Groups the GPUs that may be changed by state. `gpus` are in ascending order of id, and so are the cells, by their first GPU.
pub(crate) fn cells<'a>(gpus: &[&'a GpuState], market: &Market) -> Vec<Cell<'a>> {
    let mut boards: Vec<&Arc<Board>> = Vec::new();
    let mut states: BTreeMap<(usize, &Layout, &Layout), usize> = BTreeMap::new();
    let mut cells: Vec<Cell<'a>> = Vec::new();
    let free = gpus
        .iter()
        .filter(|gpu| gpu.availability == Availability::Free);
    for &gpu in free {
        let known = boards
            .iter()
            .position(|board| Arc::ptr_eq(board, &gpu.board) || **board == gpu.board);
        let board = known.unwrap_or_else(|| {
            boards.push(&gpu.board);
            boards.len() - 1
        });
        let state = *states
            .entry((board, &gpu.in_use, &gpu.idle))
            .or_insert_with(|| {
                cells.push(Cell {
                    gpus: Vec::new(),
                    options: options(&gpu.board, &gpu.in_use, &gpu.idle, market),
                });
                cells.len() - 1
            });
        if let Some(cell) = cells.get_mut(state) {
            cell.gpus.push(gpu);
        }
    }
    cells
}
