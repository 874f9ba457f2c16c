//! What takes bytes from outside, over all that is in the corpora and over bytes that are a little
//! other. `cargo xtask fuzz` looks for more with a fuzzer.

use std::fs;
use std::panic;
use std::path::PathBuf;
use std::time::Instant;

use tidemill_fuzz::{TARGETS, Target, mutated};
use tidemill_tests::repository;

use crate::{long_run_until, planning};

/// Mutants of each file in a usual run.
const MUTANTS: u64 = 20;

/// The files of a target's corpus, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = repository().join("tests/fuzz/corpus").join(target.name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let file = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    paths.into_iter().map(file).collect()
}

/// Runs a target, and leaves what it found where it can be looked at.
fn run(target: &Target, bytes: &[u8], what: &str) {
    let _held = planning();
    let found = panic::catch_unwind(|| (target.run)(bytes)).is_err();
    if found {
        let path = std::env::temp_dir().join(format!("tidemill-found-{}", target.name));
        fs::write(&path, bytes).unwrap();
        panic!("{}: {what}; the bytes are in {}", target.name, path.display());
    }
}

#[test]
fn no_bytes_of_the_corpora_break_what_takes_them() {
    for target in &TARGETS {
        for (name, bytes) in corpus(target) {
            run(target, &bytes, &name);
        }
    }
}

#[test]
fn bytes_that_are_a_little_other_do_not_break_it_either() {
    for target in &TARGETS {
        let files = corpus(target);
        let end = long_run_until();
        let mut round = 0;
        while round < MUTANTS || end.is_some_and(|end| Instant::now() < end) {
            for (number, (name, bytes)) in files.iter().enumerate() {
                let seed = round << 16 | number as u64;
                let bytes = mutated(bytes, &mut fastrand::Rng::with_seed(seed));
                run(target, &bytes, &format!("mutant {seed} of {name}"));
            }
            round += 1;
        }
    }
}
