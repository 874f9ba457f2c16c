//! The memory budget of the process: what a job says, or a part of what the machine gives.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sysinfo::System;
use tidemill_core::{MemoryBudget, bytes_text};

use super::error::PrepareError;
use crate::job::MEMORY_MIN;

/// What the program, its libraries and their fixed buffers take.
const PROGRAM_BYTES: u64 = 64 << 20;

/// The part of what is left for data that a budget counts, in percent. The rest is for what has
/// limits of its own: instances of plugins, the clients' queues, and what a block of rows needs for
/// a moment while it is read or computed.
const COUNTED_PERCENT: u64 = 60;

/// The budget that all queries of a process share. It is fixed when the first of them starts.
#[derive(Debug, Default)]
pub struct ProcessMemory(Mutex<Chosen>);

#[derive(Debug, Default)]
struct Chosen {
    /// Bytes, and the job that asks for them.
    asked: Option<(u64, String)>,
    budget: Option<MemoryBudget>,
}

impl ProcessMemory {
    /// Notes what a job asks for.
    ///
    /// # Errors
    /// Another job of the process asked for something else: there is one budget for all.
    pub(super) fn ask(&self, bytes: Option<u64>, job: &str) -> Result<(), PrepareError> {
        let Some(bytes) = bytes else { return Ok(()) };
        let mut chosen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |other: u64, whose: &str| {
            PrepareError::Invalid(format!(
                "options.memory of \"{job}\" is {}, and {whose} {}: queries of one process share one budget, so write the same for both, or leave one out",
                bytes_text(bytes),
                bytes_text(other)
            ))
        };
        match (&chosen.asked, &chosen.budget) {
            (Some((other, whose)), _) if *other != bytes => {
                Err(refused(*other, &format!("that of \"{whose}\"")))
            }
            (None, Some(budget)) if budget.limit() != bytes => {
                Err(refused(budget.limit(), "that of the queries that run already"))
            }
            _ => {
                chosen.asked = Some((bytes, job.to_owned()));
                Ok(())
            }
        }
    }

    /// The budget.
    pub(super) fn budget(&self) -> MemoryBudget {
        let mut chosen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = chosen.asked.as_ref().map(|(bytes, _)| *bytes);
        let new = || MemoryBudget::new(asked.unwrap_or_else(default_budget));
        chosen.budget.get_or_insert_with(new).clone()
    }
}

/// What is for data where no job says.
fn default_budget() -> u64 {
    share_of(available())
}

fn share_of(available: u64) -> u64 {
    (available.saturating_sub(PROGRAM_BYTES) / 100 * COUNTED_PERCENT).max(MEMORY_MIN)
}

/// What this process may use: of the machine, its control groups, and its address space.
fn available() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    let limits = [group_limit(Path::new("/")), address_space(Path::new("/"))];
    limits.into_iter().flatten().chain([system.total_memory()]).min().unwrap_or(u64::MAX)
}

/// The smallest limit of the control groups that the process is in, and those above them; `None`:
/// there is none. `root` is `/`, but for tests.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        // `0::/a/b` in version 2; `4:memory:/a/b`, with the controllers, in version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the group's path may be one of the outside: then only the root is here.
        for above in Path::new(group.trim_start_matches('/')).ancestors() {
            let path = root.join(mount).join(above).join(file);
            let limit = fs::read_to_string(path).ok();
            limits.extend(limit.and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

/// What `ulimit -v` leaves, and the program's own part; `None`: there is no limit. An address space
/// is not memory: most of what the program has mapped is never touched, and is taken off first.
fn address_space(root: &Path) -> Option<u64> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let mapped: u64 = mapped.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(mapped << 10).saturating_add(PROGRAM_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::TempDir::new().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_control_group_above_the_process_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/jobs/one\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/memory.max", "167772160\n"),
            ("sys/fs/cgroup/jobs/one/memory.max", "max\n"),
        ]);
        assert_eq!(group_limit(root.path()), Some(160 * MIB));
    }

    #[test]
    fn control_groups_of_version_1_are_read_too_and_so_are_those_of_a_container() {
        let root = root(&[
            ("proc/self/cgroup", "9:cpu:/x\n4:hugetlb,memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
            ("sys/fs/cgroup/cpu/x/memory.limit_in_bytes", "1\n"),
        ]);
        assert_eq!(group_limit(root.path()), Some(256 * MIB));
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/\n"),
            (
                "proc/self/limits",
                "Max address space         unlimited            unlimited            bytes\n",
            ),
        ]);
        assert_eq!((group_limit(root.path()), address_space(root.path())), (None, None));
        assert!(default_budget() >= MEMORY_MIN);
    }

    #[test]
    fn a_limited_address_space_counts_less_what_is_mapped() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax address space         1073741824           unlimited            bytes\n";
        let status = "Name:\ttidemill\nVmSize:\t  524288 kB\nVmRSS:\t 80000 kB\n";
        let root = root(&[("proc/self/limits", limits), ("proc/self/status", status)]);
        assert_eq!(address_space(root.path()), Some((512 << 20) + PROGRAM_BYTES));
    }

    #[test]
    fn the_program_has_its_part_and_data_the_rest() {
        assert_eq!(share_of(160 * MIB) / MIB, 57);
        assert_eq!(share_of(8 << 30) / MIB, 4_876);
        assert_eq!(share_of(10 * MIB), MEMORY_MIN);
    }

    #[test]
    fn queries_of_one_process_ask_for_the_same() {
        let memory = ProcessMemory::default();
        memory.ask(Some(64 * MIB), "a").unwrap();
        memory.ask(None, "b").unwrap();
        memory.ask(Some(64 * MIB), "c").unwrap();
        let refused = memory.ask(Some(1 << 30), "d").unwrap_err().to_string();
        for words in ["\"d\" is 1 GiB", "\"c\" 64 MiB", "share one budget"] {
            assert!(refused.contains(words), "no {words} in {refused}");
        }
        assert_eq!(memory.budget().limit(), 64 * MIB);
        assert!(memory.ask(Some(1 << 30), "later").is_err());
    }
}
