//! The program `mica`, run as people run it, against a coordinator of the test's own.

#![cfg(test)]

mod cli {
    pub(crate) mod coordinator;
    pub(crate) mod fixture;
    pub(crate) mod golden;
    pub(crate) mod program;

    mod answers;
    mod failures;
    mod tables;
    mod tls;
    mod watch;
}
