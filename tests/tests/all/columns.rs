//! Columns that nobody wrote: those that files show, and those of partition directories.

use tidemill_tests::Workbench;

const JOB: &str = r#"
output_mode = "append"
trigger = { available_now = true }

[source.clicks]
format = "json"
path = "clicks"
schema = "infer"

[static.pages]
format = "csv"
path = "pages"
options = { header = true, inferSchema = true }

[[step]]
name = "named"
sql = "SELECT c.*, p.title FROM clicks c LEFT JOIN pages p ON c.page = p.page"

[sink]
format = "console"
"#;

#[test]
fn columns_are_those_of_the_files_and_of_their_directories() {
    let bench = Workbench::new();
    bench.write_input("clicks/day=2026-01-01/a.json", 0, "{\"page\":1,\"ms\":1.5}\n");
    bench.write_input("clicks/day=2026-01-02/b.json", 1, "{\"page\":2}\n");
    bench.write_input("pages/all.csv", 0, "page,title\n1,start\n2,end\n");
    bench.write("job.toml", JOB);
    let checked = bench.run(&["check", "job.toml"]).expect_success().stdout;
    for line in [
        "  found   in the files of clicks: ms double, page bigint, day date\n",
        "  found   in the files of pages: page int, title string\n",
    ] {
        assert!(checked.contains(line), "{checked}");
    }
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    for line in [
        "|  ms|page|       day|title|",
        "| 1.5|   1|2026-01-01|start|",
        "|NULL|   2|2026-01-02|  end|",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}

#[test]
fn the_columns_of_the_first_start_stay() {
    let bench = Workbench::new();
    bench.write_input("clicks/a.json", 0, "{\"page\":1}\n");
    bench.write_input("pages/all.csv", 0, "page,title\n1,start\n");
    bench.write("job.toml", JOB);
    bench.run(&["run", "job.toml"]).expect_success();
    bench.write_input("clicks/b.json", 1, "{\"page\":2.5,\"user\":\"u\"}\n");
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    assert!(printed.contains("|page|title|"), "{printed}");
    assert!(printed.contains("|NULL| NULL|"), "{printed}");
    // A job that says its columns has these.
    bench.write_input("clicks/c.json", 2, "{\"page\":1,\"user\":\"u\"}\n");
    bench.write("job.toml", JOB.replace("\"infer\"", "\"page BIGINT, user STRING\""));
    let printed = bench.run(&["run", "job.toml"]).expect_success().stdout;
    assert!(printed.contains("|   1|   u|start|"), "{printed}");
}

#[test]
fn partitions_that_were_not_there_at_the_first_start_end_the_query_by_their_name() {
    let bench = Workbench::new();
    bench.write_input("clicks/a.json", 0, "{\"page\":1}\n");
    bench.write_input("pages/all.csv", 0, "page,title\n1,start\n");
    bench.write("job.toml", JOB.replace("\"infer\"", "\"page BIGINT\""));
    bench.run(&["run", "job.toml"]).expect_success();
    std::fs::remove_file(bench.path("clicks/a.json")).unwrap();
    bench.write_input("clicks/day=1/b.json", 1, "{\"page\":1}\n");
    let words = ["lies in a partition of day, which is no column"];
    bench.run(&["run", "job.toml"]).expect_failure(1, &words);
    // A job that said its columns goes on saying them.
    bench.write("job.toml", JOB);
    let words = ["source \"clicks\" had a schema when the query started first"];
    bench.run(&["check", "job.toml"]).expect_failure(2, &words);
}

#[test]
fn files_without_columns_are_refused_before_anything_starts() {
    let bench = Workbench::new();
    std::fs::create_dir(bench.path("clicks")).unwrap();
    bench.write_input("pages/all.csv", 0, "page,title\n1,start\n");
    bench.write("job.toml", JOB);
    let words = ["source \"clicks\" has no schema", "[UNABLE_TO_INFER_SCHEMA]"];
    bench.run(&["check", "job.toml"]).expect_failure(2, &words);
    bench.write("job.toml", JOB.replace("schema = \"infer\"\n", ""));
    let words = ["source \"clicks\" has no schema", "schema = \"infer\""];
    bench.run(&["check", "job.toml"]).expect_failure(2, &words);
}
