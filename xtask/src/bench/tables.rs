//! What was measured, on which machine.

use std::fmt;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table};

/// Tables with a heading each, and remarks under them.
pub(super) struct Report {
    markdown: bool,
    text: String,
}

impl Report {
    pub(super) fn new(markdown: bool) -> Report {
        Report { markdown, text: format!("{}\n", machine()) }
    }

    /// Adds a table whose first column is text and whose others are figures.
    pub(super) fn table(&mut self, heading: &str, header: &[&str], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_preset(if self.markdown { ASCII_MARKDOWN } else { NOTHING });
        table.set_header(header).add_rows(rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mark = if self.markdown { "### " } else { "" };
        self.text += &format!("\n{mark}{heading}\n\n{table}\n");
    }

    pub(super) fn remark(&mut self, remark: &str) {
        self.text += &format!("\n{remark}\n");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Processor, cores, memory.
fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| {
            line.strip_prefix(name)?.trim().strip_prefix(':').map(str::trim).map(str::to_owned)
        });
        line.unwrap_or("unknown".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal");
    let kib: Option<f64> = memory.split(' ').next().and_then(|kib| kib.parse().ok());
    let memory = kib.map_or(memory, |kib| format!("{:.0} GiB", kib / 1_048_576.0));
    format!(
        "Machine: {cores} cores of {}, {memory} of memory, {}.",
        field("/proc/cpuinfo", "model name"),
        std::env::consts::OS,
    )
}
