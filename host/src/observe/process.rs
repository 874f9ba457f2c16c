//! What the process itself uses.

/// Figures of `/proc/self/stat`, where there is one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct ProcessUsage {
    pub(super) resident_bytes: i64,
    pub(super) cpu_seconds: f64,
}

impl ProcessUsage {
    #[cfg(target_os = "linux")]
    pub(super) fn now() -> Option<ProcessUsage> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        ProcessUsage::parse(&stat, ticks as f64, rustix::param::page_size() as i64)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Option<ProcessUsage> {
        None
    }

    /// See proc_pid_stat(5). The second field is the command in parentheses and may hold spaces
    /// and parentheses itself, so that fields are counted from the last one on.
    #[cfg(any(target_os = "linux", test))]
    fn parse(stat: &str, ticks_per_second: f64, page_bytes: i64) -> Option<ProcessUsage> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Field 3 is the first of these.
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let (in_user, in_kernel, resident_pages) = (field(14)?, field(15)?, field(24)?);
        Some(ProcessUsage {
            resident_bytes: resident_pages * page_bytes,
            cpu_seconds: (in_user + in_kernel) as f64 / ticks_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 123 9999 25 18";
        let usage = ProcessUsage::parse(stat, 100.0, 4096);
        assert_eq!(usage, Some(ProcessUsage { resident_bytes: 25 * 4096, cpu_seconds: 2.0 }));
    }
}
