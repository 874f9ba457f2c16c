//! What was to be reached, and whether it was.

use super::load::Latency;
use crate::bench::tables::Report;
use crate::bench::throughput::Cost;

const CPU_S_A_MILLION_MAX: f64 = 1.2;
const ROWS_A_SECOND_MIN: f64 = 1e6;
const PASS_THROUGH_P99_MS_MAX: f64 = 20.0;
const PEAK_MIB_MAX: f64 = 300.0;
const IDLE_MAX: f64 = 0.01;

/// Measured figures beside their goals.
#[derive(Default)]
pub(super) struct Goals {
    rows: Vec<Vec<String>>,
    peak_mib: Option<f64>,
}

impl Goals {
    pub(super) fn throughput(&mut self, case: &str, cost: &Cost) {
        let cpu = cost.cpu_s / cost.rows as f64 * 1e6;
        let goal = format!("{case}: at most {CPU_S_A_MILLION_MAX} CPU s / M rows");
        self.add(&goal, format!("{cpu:.2}"), cpu <= CPU_S_A_MILLION_MAX);
        let speed = cost.rows as f64 / cost.wall_s;
        let goal = format!("{case}: at least {ROWS_A_SECOND_MIN} rows/s, the broker beside it");
        self.add(&goal, format!("{speed:.0}"), speed >= ROWS_A_SECOND_MIN);
    }

    pub(super) fn pass_through(&mut self, latency: &Latency) {
        let p99 = latency.ms[2];
        let goal = format!("pass-through: p99 at most {PASS_THROUGH_P99_MS_MAX} ms");
        self.add(&goal, format!("{p99:.1}"), p99 <= PASS_THROUGH_P99_MS_MAX);
    }

    pub(super) fn idle(&mut self, share: f64) {
        let goal = format!("nothing arriving: less than {} % of a core", IDLE_MAX * 100.0);
        self.add(&goal, format!("{:.2} %", share * 100.0), share < IDLE_MAX);
    }

    /// Notes the peak of a run; the highest of all counts.
    pub(super) fn memory(&mut self, peak_mib: Option<f64>) {
        self.peak_mib = self.peak_mib.into_iter().chain(peak_mib).reduce(f64::max);
    }

    pub(super) fn report(mut self, report: &mut Report) {
        if let Some(peak) = self.peak_mib {
            let goal = format!("peak memory in all runs: at most {PEAK_MIB_MAX} MiB");
            self.add(&goal, format!("{peak:.0}"), peak <= PEAK_MIB_MAX);
        }
        report.table("Against the goals", &["goal", "measured", ""], self.rows);
    }

    fn add(&mut self, goal: &str, measured: String, is_met: bool) {
        let met = if is_met { "met" } else { "MISSED" };
        self.rows.push(vec![goal.to_owned(), measured, met.to_owned()]);
    }
}
