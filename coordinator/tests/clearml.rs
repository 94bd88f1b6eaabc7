//! The ClearML client, against the simulated server and against servers that are not ClearML.

#![cfg(test)]

mod clearml {
    mod faults;
    mod login;
    mod sees;
    mod strangers;
    mod stub;
    mod world;
}
