//! A file sink's directory holds what has landed, whatever happens to the sink or to its log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemill_core::{Begin, ConnectorError, Delivery, ReadLimit, Sink, Slice, Source};

use super::{context, open, sink_config, source_config, temp};
use crate::contract;
use crate::{SinkConfig, plan_sink};

fn try_open(path: &Path) -> Result<Box<dyn Sink>, ConnectorError> {
    let config = SinkConfig { path: Some(path.to_owned()), ..sink_config("json", &[]) };
    plan_sink(config).unwrap().open(&context())
}

fn delivery(batch: u64, call: u32) -> Delivery {
    contract::delivery(batch, 0, call)
}

fn prepare(sink: &mut dyn Sink, delivery: Delivery, number: i64) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values([number]));
    assert_eq!(sink.begin(delivery.clone()).unwrap(), Begin::Wanted, "{delivery:?}");
    sink.write(&RecordBatch::try_from_iter([("n", numbers)]).unwrap()).unwrap();
    sink.prepare().unwrap();
}

fn deliver(sink: &mut dyn Sink, delivery: Delivery, number: i64) {
    prepare(sink, delivery, number);
    sink.commit().unwrap();
}

/// The rows of everything that a source has not given out yet.
fn try_rest(source: &mut dyn Source) -> Result<Vec<i64>, ConnectorError> {
    let mut numbers = Vec::new();
    while let Some(range) = source.next_range(ReadLimit::Limited)? {
        for rows in source.reader().read(&range, Slice { index: 0, count: 1 }, &[0])? {
            numbers.extend(rows?.column(0).as_primitive::<Int64Type>().values().iter());
        }
    }
    Ok(numbers)
}

/// What a reader of the log sees, sorted.
fn try_read(path: &Path, given: &[(&str, &str)]) -> Result<Vec<i64>, ConnectorError> {
    let mut numbers = try_rest(open(source_config("json", path, "n BIGINT", given)).as_mut())?;
    numbers.sort_unstable();
    Ok(numbers)
}

fn read(path: &Path) -> Vec<i64> {
    try_read(path, &[]).unwrap()
}

/// What a reader with a glob sees, sorted.
fn globbed(path: &Path) -> Vec<i64> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("part-") {
            let text = std::fs::read_to_string(&path).unwrap();
            let number = |line: &str| line[5..line.len() - 1].parse::<i64>().unwrap();
            numbers.extend(text.lines().map(number));
        }
    }
    numbers.sort_unstable();
    numbers
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(path: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Makes of `now` the directory as it is when `_owner` alone was written of the last delivery,
/// and before which it was `before`. With `are_named` the files have their names already.
fn crashed(before: &Path, now: &Path, are_named: bool) {
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let entries = |path: &Path| -> BTreeSet<_> {
        let all = files(&path.join("_spark_metadata"));
        all.iter().map(name).filter(|name| name != "_owner").collect()
    };
    for entry in entries(now) {
        std::fs::remove_file(now.join("_spark_metadata").join(entry)).unwrap();
    }
    for entry in entries(before) {
        let entry = Path::new("_spark_metadata").join(entry);
        std::fs::copy(before.join(&entry), now.join(&entry)).unwrap();
    }
    let old: BTreeSet<_> = files(before).iter().map(name).collect();
    for file in files(now).iter().filter(|file| !are_named && !old.contains(&name(file))) {
        let hidden = format!(".{}", name(file).to_str().unwrap());
        std::fs::rename(file, now.join(hidden)).unwrap();
    }
}

/// Deliveries whose entry is new, is a fold, is written once more, and follows a gap.
const LAST: [(u64, u32); 7] = [(3, 1), (9, 1), (8, 2), (9, 2), (12, 1), (19, 1), (25, 1)];

/// Makes what comes before a delivery, the numbers 0, 1, 2, ….
fn all_before(path: &Path, last: (u64, u32)) -> i64 {
    let mut sink = try_open(path).unwrap();
    let mut number = 0;
    // Batch 4 and, before 25, those of a fold are passed over, as a handler may do.
    for batch in (0..=last.0.min(18)).filter(|batch| *batch != 4) {
        let calls = if batch == last.0 { last.1 - 1 } else { 1 };
        for call in 1..=calls {
            deliver(sink.as_mut(), delivery(batch, call), number);
            number += 1;
        }
    }
    number
}

#[test]
fn what_has_landed_is_finished_after_a_crash_at_any_step() {
    for last in LAST {
        for are_named in [false, true] {
            let bench = temp();
            let (before, now) = (bench.path().join("before"), bench.path().join("now"));
            let number = all_before(&now, last);
            copy(&now, &before);
            deliver(try_open(&now).unwrap().as_mut(), delivery(last.0, last.1), number);
            crashed(&before, &now, are_named);
            let all: Vec<i64> = (0..=number).collect();
            // Until the sink comes back, a reader sees the batches before, and all of those.
            assert_eq!(read(&now), all[..all.len() - 1], "{last:?}");
            let mut sink = try_open(&now).unwrap();
            assert_eq!(sink.begin(delivery(last.0, last.1)).unwrap(), Begin::Landed);
            assert_eq!((read(&now), globbed(&now)), (all.clone(), all), "{last:?}");
            // And the log goes on behind it.
            for batch in last.0 + 1..last.0 + 12 {
                deliver(sink.as_mut(), delivery(batch, 1), 1_000);
            }
            assert_eq!(read(&now).len(), 12 + usize::try_from(number).unwrap());
        }
    }
}

#[test]
fn what_has_not_landed_is_removed_after_a_crash() {
    let dir = temp();
    let mut sink = try_open(dir.path()).unwrap();
    deliver(sink.as_mut(), delivery(0, 1), 1);
    prepare(sink.as_mut(), delivery(1, 1), 2);
    drop(sink);
    let mut sink = try_open(dir.path()).unwrap();
    assert_eq!(files(dir.path()).len(), 2, "the log and a file");
    deliver(sink.as_mut(), delivery(1, 1), 3);
    assert_eq!((read(dir.path()), globbed(dir.path())), (vec![1, 3], vec![1, 3]));
}

#[test]
fn a_commit_that_failed_is_settled_by_the_next_begin() {
    let dir = temp();
    let mut sink = try_open(dir.path()).unwrap();
    deliver(sink.as_mut(), delivery(0, 1), 1);
    // A folder stands where the entry is to be written, which is after the batch has landed.
    let entry = dir.path().join("_spark_metadata/1");
    std::fs::create_dir_all(entry.join("in the way")).unwrap();
    prepare(sink.as_mut(), delivery(1, 1), 2);
    assert!(sink.commit().is_err());
    sink.abort().unwrap();
    assert!(sink.begin(delivery(1, 1)).is_err(), "still in the way");
    std::fs::remove_dir_all(&entry).unwrap();
    assert_eq!(sink.begin(delivery(1, 1)).unwrap(), Begin::Landed);
    assert_eq!(read(dir.path()), [1, 2]);

    // And where `_owner` could not be written, nothing has landed.
    let hidden = dir.path().join("_spark_metadata/._owner.tmp");
    std::fs::create_dir(&hidden).unwrap();
    prepare(sink.as_mut(), delivery(2, 1), 3);
    assert!(sink.commit().is_err());
    sink.abort().unwrap();
    std::fs::remove_dir(&hidden).unwrap();
    deliver(sink.as_mut(), delivery(2, 1), 4);
    assert_eq!((read(dir.path()), globbed(dir.path())), (vec![1, 2, 4], vec![1, 2, 4]));
}

#[test]
fn a_reader_beside_the_sink_finds_every_file_that_the_log_names() {
    const BATCHES: i64 = 300;
    let dir = temp();
    let path = dir.path().to_owned();
    try_open(&path).unwrap();
    let writer = std::thread::spawn(move || {
        let mut sink = try_open(&path).unwrap();
        for batch in 0..BATCHES {
            deliver(sink.as_mut(), delivery(batch.unsigned_abs(), 1), batch);
        }
    });
    let mut source = open(source_config("json", dir.path(), "n BIGINT", &[]));
    let mut numbers = Vec::new();
    loop {
        let is_last = writer.is_finished();
        numbers.extend(try_rest(source.as_mut()).unwrap());
        if is_last {
            break;
        }
    }
    writer.join().unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..BATCHES).collect::<Vec<_>>());
}

/// Damages one file of the log in every way that there is, and gives what was done.
fn damages(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut damages = vec![("removed".to_owned(), None)];
    // Enough of them, and not so many that a test takes a minute.
    let step = bytes.len() / 150 + 1;
    for at in (0..bytes.len()).step_by(step) {
        let mut flipped = bytes.to_vec();
        let bit = at / step % 8;
        flipped[at] ^= 1 << bit;
        damages.push((format!("bit {bit} of byte {at} flipped"), Some(flipped)));
    }
    for cut in (0..bytes.len()).step_by(step * 5) {
        damages.push((format!("cut to {cut} bytes"), Some(bytes[..cut].to_vec())));
    }
    damages
}

#[test]
fn damage_of_the_log_is_named_or_made_good() {
    let bench = temp();
    let path = bench.path().join("out");
    all_before(&path, (12, 1));
    let all: Vec<i64> = (0..11).collect();
    assert_eq!(read(&path), all);
    let folder = path.join("_spark_metadata");
    let undamaged: Vec<(PathBuf, Vec<u8>)> = files(&folder)
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect();
    for (file, bytes) in &undamaged {
        let name = file.file_name().unwrap().to_str().unwrap();
        // Readers begin at 9.compact.
        let is_read = ["9.compact", "10", "11", "_owner"].contains(&name);
        for (how, damaged) in damages(bytes) {
            match &damaged {
                Some(damaged) => std::fs::write(file, damaged).unwrap(),
                None => std::fs::remove_file(file).unwrap(),
            }
            match try_read(&path, &[]) {
                // Without the newest entry its batch is not there yet, as before its end.
                Ok(found) if how == "removed" && name == "11" => assert_eq!(found, all[..10]),
                // A log without an `_owner` may be Spark's.
                Ok(found) if how == "removed" && name == "_owner" => assert_eq!(found, all),
                Ok(found) => assert!(!is_read && found == all, "{name} {how}: {found:?}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(file.to_str().unwrap()), "{name} {how}: {message}");
                }
            }
            match try_open(&path).map(drop) {
                // The newest entry is made again.
                Ok(()) => assert_eq!((name, read(&path)), ("11", all.clone()), "{how}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(file.to_str().unwrap()), "{name} {how}: {message}");
                    let is_owner = name == "_owner" && how != "removed";
                    assert!(!is_owner || message.contains("is damaged"), "{how}: {message}");
                }
            }
            std::fs::write(file, bytes).unwrap();
        }
    }
    assert_eq!(read(&path), all);
}

#[test]
fn a_log_of_spark_is_read_strictly_too() {
    let dir = temp();
    all_before(dir.path(), (12, 1));
    // Spark knows no `_owner`.
    let folder = dir.path().join("_spark_metadata");
    std::fs::remove_file(folder.join("_owner")).unwrap();
    assert_eq!(read(dir.path()).len(), 11);
    let refused = |name: &str, text: &str| {
        let file = folder.join(name);
        let undamaged = std::fs::read(&file).unwrap();
        std::fs::write(&file, text).unwrap();
        let message = try_read(dir.path(), &[]).unwrap_err().to_string();
        assert!(message.contains(file.to_str().unwrap()), "{message}");
        std::fs::write(&file, undamaged).unwrap();
    };
    refused("11", "");
    refused("11", "v2\n");
    refused("11", "v1\n{}");
    let line = std::fs::read_to_string(folder.join("11")).unwrap();
    refused("11", &line.replace("\"add\"", "\"adf\""));
    refused("11", &line.replace("\"isDir\":false", "\"isDir\":true"));
    std::fs::write(folder.join("11"), line.replace("\"size\":9", "\"size\":8")).unwrap();
    let message = try_read(dir.path(), &[]).unwrap_err().to_string();
    assert!(
        message.contains("-b00000011.json has 9 bytes") && message.contains("has 8"),
        "{message}"
    );
    std::fs::write(folder.join("11"), line).unwrap();
    std::fs::remove_file(folder.join("10")).unwrap();
    let message = try_read(dir.path(), &[]).unwrap_err().to_string();
    assert!(message.contains("_spark_metadata/10 is gone"), "{message}");
}

#[test]
fn a_data_file_that_is_gone_or_cut_is_named_when_the_sink_opens() {
    let dir = temp();
    all_before(dir.path(), (12, 1));
    let file = dir.path().join("part-00000-0f0e0d0c-b00000002.json");
    std::fs::write(&file, "{\"n\"").unwrap();
    let message = try_open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(
        message.contains("b00000002.json has 4 bytes") && message.contains("has 8"),
        "{message}"
    );
    std::fs::remove_file(&file).unwrap();
    let message = try_open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(message.contains("b00000002.json is gone"), "{message}");
}

#[test]
fn a_log_names_no_file_outside_of_its_directory_unless_the_job_lets_it() {
    let bench = temp();
    let (path, secret) = (bench.path().join("in"), bench.path().join("secret.json"));
    std::fs::create_dir_all(path.join("_spark_metadata")).unwrap();
    std::fs::write(&secret, "{\"n\":7}\n").unwrap();
    std::os::unix::fs::symlink(&secret, path.join("link.json")).unwrap();
    std::os::unix::fs::symlink(bench.path(), path.join("above")).unwrap();
    let ways = [
        secret.to_str().unwrap().to_owned(),
        path.join("../secret.json").to_str().unwrap().to_owned(),
        path.join("link.json").to_str().unwrap().to_owned(),
        path.join("above/secret.json").to_str().unwrap().to_owned(),
    ];
    for named in ways {
        let line = serde_json::json!({
            "path": format!("file://{named}"), "size": 8, "isDir": false, "modificationTime": 1,
            "blockReplication": 1, "blockSize": 1, "action": "add",
        });
        std::fs::write(path.join("_spark_metadata/0"), format!("v1\n{line}")).unwrap();
        let message = try_read(&path, &[]).unwrap_err().to_string();
        assert!(message.contains(&named) && message.contains("filesOutsidePath"), "{message}");
        assert_eq!(try_read(&path, &[("filesOutsidePath", "true")]).unwrap(), [7], "{named}");
    }
}

#[test]
fn a_file_of_a_log_that_became_a_link_since_is_not_followed() {
    let bench = temp();
    let (path, secret) = (bench.path().join("in"), bench.path().join("secret.json"));
    std::fs::create_dir_all(path.join("_spark_metadata")).unwrap();
    std::fs::write(&secret, "{\"n\":7}\n").unwrap();
    let named = path.join("a.json");
    std::fs::write(&named, "{\"n\":1}\n").unwrap();
    let line = serde_json::json!({
        "path": format!("file://{}", named.display()), "size": 8, "isDir": false,
        "modificationTime": 1, "blockReplication": 1, "blockSize": 1, "action": "add",
    });
    std::fs::write(path.join("_spark_metadata/0"), format!("v1\n{line}")).unwrap();
    let linked = |given: &[(&str, &str)]| {
        let _ = std::fs::remove_file(&named);
        std::fs::write(&named, "{\"n\":1}\n").unwrap();
        let mut source = open(source_config("json", &path, "n BIGINT", given));
        let range = source.next_range(ReadLimit::Limited).unwrap().unwrap();
        std::fs::remove_file(&named).unwrap();
        std::os::unix::fs::symlink(&secret, &named).unwrap();
        let rows = source.reader().read(&range, Slice { index: 0, count: 1 }, &[0])?;
        rows.map(|rows| Ok(rows?.num_rows())).sum::<Result<usize, ConnectorError>>()
    };
    let message = linked(&[]).unwrap_err().to_string();
    assert!(
        message.contains("a.json is a link to") && message.contains("secret.json"),
        "{message}"
    );
    assert_eq!(linked(&[("filesOutsidePath", "true")]).unwrap(), 1);
}

#[test]
fn a_log_may_name_files_in_partition_directories() {
    let dir = temp();
    std::fs::create_dir_all(dir.path().join("_spark_metadata")).unwrap();
    std::fs::create_dir_all(dir.path().join("day=1")).unwrap();
    let file = dir.path().join("day=1/part.json");
    std::fs::write(&file, "{\"n\":7}\n").unwrap();
    let line = serde_json::json!({
        "path": format!("file://{}", file.display()), "size": 8, "isDir": false,
        "modificationTime": 1, "blockReplication": 1, "blockSize": 1, "action": "add",
    });
    std::fs::write(dir.path().join("_spark_metadata/0"), format!("v1\n{line}")).unwrap();
    assert_eq!(try_read(dir.path(), &[]).unwrap(), [7]);
}
