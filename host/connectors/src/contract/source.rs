//! The contract of sources.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use serde_json::Value;
use tidemill_core::{ReadLimit, Slice, Source, SourceRange};

/// An input under test, which does not change while it is read.
pub struct Input<'a> {
    /// Opens the source at the start of the input.
    pub open: &'a dyn Fn() -> Box<dyn Source>,
    /// Called before range number n is made, for a source that goes by a clock.
    pub before_range: &'a dyn Fn(usize),
}

/// More than this of an endless input is not read.
const RANGES_MAX: usize = 5;

/// Numbers of slices that a range is read in.
const SLICE_COUNTS: [usize; 4] = [1, 2, 3, 7];

/// Checks everything that the engine relies on. Gives the rows of each range, for checks of what
/// they are.
pub fn check_source(input: &Input<'_>) -> Vec<RecordBatch> {
    let mut source = (input.open)();
    let mut ranges = Vec::new();
    let mut positions = vec![source.position()];
    while ranges.len() < RANGES_MAX {
        (input.before_range)(ranges.len());
        let Some(range) = source.next_range(ReadLimit::Limited).unwrap() else {
            break;
        };
        assert_eq!(logged(&range), range, "the log gives the same range back");
        ranges.push(range);
        positions.push(source.position());
    }
    ranges_are_made_again_from_every_position(input, &ranges, &positions);
    ranges_are_made_again_after_advancing(input, &ranges);
    ranges.iter().map(|range| range_reads_the_same_in_any_way(&*source, range)).collect()
}

/// As the engine's log keeps a range.
fn logged(range: &SourceRange) -> SourceRange {
    serde_json::from_str(&serde_json::to_string(range).unwrap()).unwrap()
}

fn ranges_are_made_again_from_every_position(
    input: &Input<'_>,
    ranges: &[SourceRange],
    positions: &[Value],
) {
    for (number, range) in ranges.iter().enumerate() {
        let mut source = (input.open)();
        source.restore(&positions[number]).unwrap();
        (input.before_range)(number);
        let again = source.next_range(ReadLimit::Limited).unwrap();
        // Before its first range a source may not have a beginning yet; all later ones have.
        assert_eq!(again.as_ref(), Some(range), "range {number} after a restore");
        assert_eq!(source.position(), positions[number + 1]);
    }
}

fn ranges_are_made_again_after_advancing(input: &Input<'_>, ranges: &[SourceRange]) {
    let mut source = (input.open)();
    let mut moved = (input.open)();
    for (number, range) in ranges.iter().enumerate() {
        (input.before_range)(number);
        assert_eq!(source.next_range(ReadLimit::Limited).unwrap().as_ref(), Some(range));
        moved.advance(&logged(range)).unwrap();
        assert_eq!(moved.position(), source.position(), "after range {number}");
    }
}

fn range_reads_the_same_in_any_way(source: &dyn Source, range: &SourceRange) -> RecordBatch {
    let all: Vec<usize> = (0..source.schema().fields().len()).collect();
    let whole = read(source, range, 1, &all);
    for count in SLICE_COUNTS {
        let rows = read(source, range, count, &all);
        assert_eq!(rows, whole, "{count} slices one after the other are the range in order");
        for index in 0..count {
            let slice = Slice { index, count };
            let (first, second) =
                (batches(source, range, slice, &all), batches(source, range, slice, &all));
            assert_eq!(first, second, "a slice is cut into the same record batches each time");
        }
    }
    for &column in &all {
        let rows = read(source, range, 2, &[column]);
        assert_eq!(rows, whole.project(&[column]).unwrap(), "one column alone");
    }
    let rows: usize = batches(source, range, Slice { index: 0, count: 1 }, &[])
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, whole.num_rows(), "no columns have as many rows");
    whole
}

fn read(
    source: &dyn Source,
    range: &SourceRange,
    count: usize,
    projection: &[usize],
) -> RecordBatch {
    let slices = (0..count).flat_map(|index| {
        // As after a restart: from the log, by another reader.
        batches(source, &logged(range), Slice { index, count }, projection)
    });
    let batches: Vec<RecordBatch> = slices.collect();
    let schema = std::sync::Arc::new(source.schema().project(projection).unwrap());
    concat_batches(&schema, &batches).unwrap()
}

fn batches(
    source: &dyn Source,
    range: &SourceRange,
    slice: Slice,
    projection: &[usize],
) -> Vec<RecordBatch> {
    let rows = source.reader().read(range, slice, projection).unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap()
}
