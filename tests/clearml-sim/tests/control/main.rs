//! Making a server fail on purpose, and taking its state out and in: from Rust and over `/_sim/…`.

#![cfg(test)]

mod dump;
mod faults;
mod world;
