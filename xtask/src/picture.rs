//! Draws one batch of a trace as an SVG, for documents: what `tidemill run --trace` wrote.
//!
//! ```text
//!  thread  ┌ batch ──────────────────────────┐
//!          │ construct │ execute │ deliver   │     a row for each depth, a block for each slice
//!  thread         ┌ partition ┐
//!          0 ms         1 ms         2 ms
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub(crate) struct Options {
    /// The file that `tidemill run --trace` wrote.
    trace: PathBuf,
    /// The batch; none: the one of middle length.
    #[arg(long)]
    batch: Option<u64>,
    /// Where the picture goes; none: standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

// In pixels.
const LABELS: f64 = 130.0;
const WIDTH: f64 = 900.0;
const ROW: f64 = 20.0;
const GAP: f64 = 10.0;
const AXIS: f64 = 24.0;
/// Of a letter, about, at the size that the picture writes in.
const LETTER: f64 = 6.9;
const TEXT: &str = "font-family=\"sans-serif\" font-size=\"11\"";

/// Steps of the axis are one of these, times a power of ten.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
const STEPS_MAX: f64 = 10.0;

const COLOURS: [(&str, &[&str]); 6] = [
    ("#d9d9d9", &["batch"]),
    ("#8dd3c7", &["construct", "latest_offset", "start_plan"]),
    ("#fdb462", &["log_plan", "log_state", "log_sync", "commit", "apply_state"]),
    ("#80b1d3", &["deliver", "sink_begin", "sink_write", "sink_prepare", "sink_commit", "handler"]),
    ("#b3de69", &["read", "read_ahead", "partial", "merge_state"]),
    ("#bebada", &["plugin_open", "plugin_call"]),
];
const OTHER: &str = "#eeeeee";

/// A section of a thread's time; times in milliseconds since the trace began.
struct Slice {
    name: String,
    track: u64,
    begin: f64,
    end: f64,
    batch: Option<u64>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let path = &options.trace;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let trace: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is no trace of tidemill run --trace", path.display()))?;
    let picture = draw(&trace, options.batch)?;
    match &options.output {
        Some(output) => std::fs::write(output, picture)?,
        None => print!("{picture}"),
    }
    Ok(())
}

fn draw(trace: &Value, wanted: Option<u64>) -> Result<String> {
    let events = trace["traceEvents"].as_array().context("the trace has no events")?;
    let slices: Vec<Slice> = events.iter().filter_map(slice).collect();
    let batch = pick(&slices, wanted)?;
    let shown: Vec<&Slice> =
        slices.iter().filter(|s| s.end > batch.begin && s.begin < batch.end).collect();
    let names: BTreeMap<u64, &str> = events.iter().filter_map(thread_name).collect();
    let scale = WIDTH / (batch.end - batch.begin);
    let mut body = String::new();
    let mut top = GAP;
    for (track, slices) in tracks(&shown, batch.track) {
        let name = names.get(&track).copied().unwrap_or("thread");
        let rows = slices.iter().map(|(_, depth)| depth + 1).max().unwrap_or(1);
        writeln!(body, "<text x=\"4\" y=\"{:.0}\" {TEXT}>{}</text>", top + 14.0, escaped(name))?;
        for (slice, depth) in slices {
            body += &block(slice, batch, scale, top + depth as f64 * ROW);
        }
        top += rows as f64 * ROW + GAP;
    }
    body += &axis(batch.end - batch.begin, scale, top);
    let (width, height) = (LABELS + WIDTH + GAP, top + AXIS);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    ))
}

fn slice(event: &Value) -> Option<Slice> {
    if event["ph"] != "X" {
        return None;
    }
    let begin = event["ts"].as_f64()? / 1e3;
    Some(Slice {
        name: event["name"].as_str()?.to_owned(),
        track: event["tid"].as_u64()?,
        begin,
        end: begin + event["dur"].as_f64()? / 1e3,
        batch: event["args"]["batch"].as_u64(),
    })
}

fn thread_name(event: &Value) -> Option<(u64, &str)> {
    let name = event["args"]["name"].as_str()?;
    (event["name"] == "thread_name").then_some((event["tid"].as_u64()?, name))
}

/// The batch to draw.
fn pick(slices: &[Slice], wanted: Option<u64>) -> Result<&Slice> {
    let mut batches: Vec<&Slice> = slices.iter().filter(|slice| slice.name == "batch").collect();
    if let Some(wanted) = wanted {
        let found = batches.iter().find(|slice| slice.batch == Some(wanted));
        return found.copied().with_context(|| format!("the trace has no batch {wanted}"));
    }
    batches.sort_by(|a, b| (a.end - a.begin).total_cmp(&(b.end - b.begin)));
    match batches.get(batches.len() / 2) {
        Some(middle) => Ok(middle),
        None => bail!("the trace has no batch"),
    }
}

/// The slices of each thread with their depths, the batch's own thread first.
fn tracks<'a>(slices: &[&'a Slice], first: u64) -> Vec<(u64, Vec<(&'a Slice, usize)>)> {
    let mut tracks: BTreeMap<(bool, u64), Vec<&Slice>> = BTreeMap::new();
    for slice in slices {
        tracks.entry((slice.track != first, slice.track)).or_default().push(slice);
    }
    let nested = |mut slices: Vec<&'a Slice>| {
        slices.sort_by(|a, b| a.begin.total_cmp(&b.begin).then(b.end.total_cmp(&a.end)));
        let mut around: Vec<f64> = Vec::new();
        let depth = |slice: &'a Slice| {
            around.retain(|end| *end > slice.begin);
            around.push(slice.end);
            (slice, around.len() - 1)
        };
        slices.into_iter().map(depth).collect()
    };
    tracks.into_iter().map(|((_, track), slices)| (track, nested(slices))).collect()
}

fn block(slice: &Slice, batch: &Slice, scale: f64, top: f64) -> String {
    let begin = slice.begin.max(batch.begin) - batch.begin;
    let end = slice.end.min(batch.end) - batch.begin;
    let (left, width) = (LABELS + begin * scale, ((end - begin) * scale).max(0.5));
    let colour = COLOURS.iter().find(|(_, names)| names.contains(&slice.name.as_str()));
    let colour = colour.map_or(OTHER, |(colour, _)| colour);
    let name = escaped(&slice.name);
    let length = format!("{:.2} ms", slice.end - slice.begin);
    let whole = format!("{name} {length}");
    let fits = |text: &str| text.len() as f64 * LETTER < width;
    let text = if fits(&whole) {
        whole.as_str()
    } else if fits(&name) {
        name.as_str()
    } else {
        ""
    };
    format!(
        "<g><title>{whole}</title>\
         <rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{colour}\" stroke=\"#666\" stroke-width=\"0.5\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" {TEXT}>{text}</text></g>\n",
        ROW - 2.0,
        left + 3.0,
        top + 13.0,
    )
}

fn axis(length: f64, scale: f64, top: f64) -> String {
    let power = 10_f64.powf((length / STEPS_MAX).log10().floor());
    let steps = STEPS.iter().map(|step| step * power).chain([power * 10.0]);
    let step = steps.into_iter().find(|step| length / step <= STEPS_MAX).unwrap_or(length);
    let decimals = if step < 0.1 { 2 } else { usize::from(step < 1.0) };
    let mut text = String::new();
    for number in 0..=(length / step) as u32 {
        let at = f64::from(number) * step;
        let x = LABELS + at * scale;
        text += &format!(
            "<line x1=\"{x:.1}\" y1=\"{GAP}\" x2=\"{x:.1}\" y2=\"{top:.1}\" stroke=\"#999\" stroke-width=\"0.3\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" {TEXT}>{at:.decimals$} ms</text>\n",
            top + 14.0
        );
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn event(name: &str, track: u64, begin: f64, length: f64, batch: u64) -> Value {
        json!({ "name": name, "ph": "X", "tid": track, "ts": begin, "dur": length, "args": { "batch": batch } })
    }

    #[test]
    fn a_batch_is_drawn_with_the_slices_of_its_time_and_no_others() {
        let trace = json!({ "traceEvents": [
            { "name": "thread_name", "ph": "M", "tid": 1, "args": { "name": "query <q>" } },
            event("batch", 1, 0.0, 1_000.0, 0),
            event("deliver", 1, 100.0, 500.0, 0),
            event("batch", 1, 2_000.0, 3_000.0, 1),
            event("execute", 1, 2_100.0, 500.0, 1),
            event("partition", 2, 2_200.0, 300.0, 1),
        ] });
        let picture = draw(&trace, Some(1)).unwrap();
        for wanted in ["query &lt;q>", "execute 0.50 ms", "partition 0.30 ms", "3.0 ms"] {
            assert!(picture.contains(wanted), "{wanted}\n{picture}");
        }
        assert!(!picture.contains("deliver"), "{picture}");
        assert!(draw(&trace, Some(7)).unwrap_err().to_string().contains("no batch 7"));
    }
}
