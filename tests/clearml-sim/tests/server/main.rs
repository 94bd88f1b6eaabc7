//! What no recording shows of the open-source server.

#![cfg(test)]

mod checks;
mod companies;
mod connections;
mod lists;
mod queues;
mod tasks;
mod workers;
mod world;
