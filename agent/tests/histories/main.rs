//! Random histories of one GPU: layouts, processes and pods that come and go, slices that are kept for pods, a kubelet and a coordinator
//! that are silent, a kubelet that begins anew, all of that also in the midst of a layout, NVML errors of every code at every call, the agent's sudden death at every
//! change of the driver's state, reboots and reloads of the driver.
//!
//! After each event an oracle that reads the simulated driver, and nothing of the agent, checks that no slice in use was touched (I1),
//! that nothing but newer generations is executed (I2), and that what stands is what was wanted or what stood before, with nothing
//! half made (I3). In the end it goes through the driver's log: within the life of a process, of a pod, of a reservation, or of a silence
//! nothing may have been done to what it is on.
//!
//! `MICA_HISTORIES` says how many (0: without end), `MICA_HISTORIES_FROM` the seed of the first; a failure names the seed, and
//! `MICA_HISTORY=SEED` runs that one alone. `make test` lives through 100,000, `make soak` through others, on and on.

#![cfg(test)]

mod claims;
mod event;
mod oracle;
mod random;
mod world;

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use world::{Tally, World};

/// As many as take some seconds.
const HISTORIES: u64 = 2_000;

/// After so many it is said how far it has come.
const BATCH: u64 = 100_000;

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
    let histories = match number("MICA_HISTORIES") {
        Some(0) => u64::MAX,
        given => given.unwrap_or(HISTORIES),
    };
    let mut from = number("MICA_HISTORIES_FROM").unwrap_or(0);
    let mut left = histories;
    while left > 0 {
        let batch = left.min(BATCH);
        live_through(from..from + batch);
        from += batch;
        left -= batch;
    }
}

/// Lives through the histories of these seeds, on all processors, and prints what they were made of.
fn live_through(seeds: Range<u64>) {
    let histories = seeds.end - seeds.start;
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut world = World::new();
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
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
        "{histories} histories from seed {} on in {:.1?}: {tally:#?}",
        seeds.start,
        began.elapsed()
    );
    // Else the histories would show nothing.
    assert!(tally.held > histories / 2 && tally.crashes > histories / 8 && tally.rolled_back > 0);
    assert!(tally.held_up > histories / 16 && tally.later > 0 && tally.began > histories / 16);
}
