//! `mica serve`, asked over real gRPC and HTTP on loopback by scripted agents.

#![cfg(test)]

mod serve {
    mod agent;
    mod agents;
    mod backlog;
    mod clearml;
    mod coordinator;
    mod listen;
    mod questions;
}
