//! Java libraries from Maven Central, with all that they need.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::lock;

/// What is in the folder, to see when a newer version is asked for.
const CONTENTS: &str = "contents.txt";

/// Lines of Maven's output that an error repeats: the first say what is wrong, the rest how to
/// get help with Maven.
const ERROR_LINES: usize = 5;

/// Makes `folder` hold the libraries `coordinates` (`group:artifact:version`) and what they need.
pub(super) fn ensure(folder: &Path, coordinates: &[&str]) -> Result<()> {
    let contents = coordinates.join("\n");
    let there = || fs::read_to_string(folder.join(CONTENTS)).is_ok_and(|text| text == contents);
    if there() {
        return Ok(());
    }
    let _held = lock(&folder.with_extension("lock"))?;
    if there() {
        return Ok(());
    }
    eprintln!("setup: fetching {} from Maven Central", coordinates.join(", "));
    let fresh = folder.with_extension("new");
    for old in [&fresh, folder] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::create_dir_all(&fresh)?;
    fs::write(fresh.join("pom.xml"), project(coordinates))?;
    fetch(&fresh).with_context(|| format!("fetching {}", coordinates.join(", ")))?;
    fs::write(fresh.join(CONTENTS), contents)?;
    fs::rename(&fresh, folder)?;
    Ok(())
}

fn fetch(folder: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .current_dir(folder)
        .args(["--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=."]);
    let done = maven.output().context("could not start mvn")?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors: Vec<&str> =
        said.lines().filter(|line| line.contains("ERROR")).take(ERROR_LINES).collect();
    Err(anyhow!(
        "mvn ended with {}:\n{}\nIs Maven Central reachable from here? A proxy or a mirror goes into \
         ~/.m2/settings.xml.",
        done.status,
        errors.join("\n")
    ))
}

fn project(coordinates: &[&str]) -> String {
    let dependencies: String = coordinates.iter().map(|one| dependency(one)).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\
         <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>jars</artifactId>\
         <version>1</version><packaging>pom</packaging>\
         <dependencies>{dependencies}</dependencies></project>\n"
    )
}

fn dependency(coordinate: &str) -> String {
    let names = ["groupId", "artifactId", "version"];
    let parts: String = names
        .iter()
        .zip(coordinate.split(':'))
        .map(|(name, part)| format!("<{name}>{part}</{name}>"))
        .collect();
    format!("<dependency>{parts}</dependency>")
}
