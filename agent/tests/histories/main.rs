//! Random histories of one GPU: layouts, processes that come and go, also in the midst of a step, NVML errors of every code at every
//! call, the agent's sudden death at every change of the driver's state, reboots and reloads of the driver.
//!
//! After each event an oracle that reads the simulated driver, and nothing of the agent, checks that no slice in use was touched (I1),
//! that nothing but newer generations is executed (I2), and that what stands is what was wanted or what stood before, with nothing
//! half made (I3). `MICA_HISTORIES` says how many; a failure names the seed, and `MICA_HISTORY=SEED` runs that one alone.

#![cfg(test)]

mod event;
mod oracle;
mod random;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use world::{Tally, World};

/// As many as a debug build takes some seconds for.
const HISTORIES: u64 = 2_000;

#[expect(
    clippy::disallowed_methods,
    reason = "the test runner takes no arguments for one test"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

#[test]
fn nothing_is_lost_whatever_happens() {
    if let Some(seed) = number("MICA_HISTORY") {
        println!("{:?}", World::new().history(seed));
        return;
    }
    let histories = number("MICA_HISTORIES").unwrap_or(HISTORIES);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let work = || {
        let mut world = World::new();
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= histories {
                return tally;
            }
            tally.add(&world.history(seed));
        }
    };
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::default();
        for worker in workers {
            sum.add(&worker.join().unwrap());
        }
        sum
    });
    println!(
        "{histories} histories in {:.1?}: {tally:#?}",
        began.elapsed()
    );
    // Else the histories would show nothing.
    assert!(tally.held > histories && tally.crashes > histories / 4 && tally.rolled_back > 0);
}
