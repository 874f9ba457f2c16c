//! Answers in columns, for people.

/// Characters of a cell.
const CELL_CHARS: usize = 100;

/// Lines under a head, in columns.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    lines: impl Iterator<Item = [String; N]>,
) -> String {
    let lines: Vec<[String; N]> = lines.map(|line| line.map(|text| cell(&text))).collect();
    let mut widths = head.map(|name| name.chars().count());
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rest = lines.iter().map(|cells| line(cells.iter().map(String::as_str).collect()));
    line(head.to_vec()) + &rest.collect::<String>()
}

/// In one line, and not longer than a cell.
fn cell(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    match text.char_indices().nth(CELL_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
