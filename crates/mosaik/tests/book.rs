//! Keeps the book true: its links and included code exist, and its tables are complete.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Chapters, and the layers whose close codes and metrics they list.
const CHAPTERS: &[(&str, &[&str])] = &[
    ("discovery.md", &["net", "discovery"]),
    ("streams.md", &["streams"]),
    ("functions.md", &["functions"]),
    ("groups.md", &["groups"]),
    ("collections.md", &["collections"]),
    ("status.md", &["status"]),
];

fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn book() -> PathBuf {
    crate_root().join("../../book/src")
}

fn pages() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(book())
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .map(|file| (file.clone(), fs::read_to_string(file).unwrap()))
        .collect()
}

fn sources(layer: &str) -> String {
    let mut folders = vec![crate_root().join("src").join(layer)];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_str().unwrap().ends_with("_tests.rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

/// The first cells of all table rows, without code marks.
fn first_cells(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" |").next())
        .map(|cell| cell.trim_matches('`').to_owned())
        .collect()
}

/// The names of all metrics that a layer has.
fn metrics(source: &str) -> BTreeSet<String> {
    let quoted = source.split('"').skip(1);
    quoted
        .filter(|text| text.starts_with("mosaik."))
        .filter(|text| {
            text.chars()
                .all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_'))
        })
        // A name has a subsystem and a noun; others are claims and the like.
        .filter(|text| text.matches('.').count() >= 2)
        .map(str::to_owned)
        .collect()
}

/// Code and name of each close reason that a layer makes.
fn close_codes(source: &str) -> BTreeSet<(u32, String)> {
    let made = source
        .lines()
        .filter_map(|line| line.trim().split_once(" struct "));
    made.filter_map(|(_, rest)| {
        let (name, code) = rest.split_once(", ")?;
        let code = code.trim_end_matches([')', ';']).replace('_', "");
        Some((code.parse().ok()?, name.to_owned()))
    })
    .collect()
}

#[test]
fn tables_of_metrics_are_complete() {
    for (chapter, layers) in CHAPTERS {
        let page = fs::read_to_string(book().join(chapter)).unwrap();
        let listed = first_cells(&page);
        let listed: BTreeSet<_> = listed
            .into_iter()
            .filter(|c| c.starts_with("mosaik."))
            .collect();
        let existing = layers
            .iter()
            .flat_map(|layer| metrics(&sources(layer)))
            .collect();
        assert_eq!(
            listed, existing,
            "the metrics in {chapter} and those in the code"
        );
    }
}

#[test]
fn tables_of_close_codes_are_complete() {
    for (chapter, layers) in CHAPTERS {
        let page = fs::read_to_string(book().join(chapter)).unwrap();
        for (code, name) in layers.iter().flat_map(|layer| close_codes(&sources(layer))) {
            let found = page.lines().any(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let number = cells.next().unwrap_or_default().replace(' ', "");
                number == code.to_string() && cells.next() == Some(&format!("`{name}`"))
            });
            // The example of how to make one is not listed.
            assert!(
                found || name == "MarketClosed",
                "{code} {name} is missing in {chapter}"
            );
        }
    }
}

#[test]
fn every_option_of_discovery_is_listed() {
    let source = fs::read_to_string(crate_root().join("src/discovery/config.rs")).unwrap();
    let (_, config) = source.split_once("pub struct Config {").unwrap();
    let (config, _) = config.split_once("\n}").unwrap();
    let fields = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "));
    let page = fs::read_to_string(book().join("discovery.md")).unwrap();
    let listed = first_cells(&page);
    for field in fields.map(|field| field.split(':').next().unwrap()) {
        assert!(listed.contains(field), "{field} is missing in the book");
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string(book().join("SUMMARY.md")).unwrap();
    for (file, _) in pages() {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name}"
        );
    }
}

#[test]
fn links_and_included_code_exist() {
    for (file, text) in pages() {
        let name = file.display();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (page, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if page.is_empty() {
                file.clone()
            } else {
                book().join(page)
            };
            let target = fs::read_to_string(&target).unwrap_or_else(|_| panic!("{name}: {link}"));
            let headings = target.lines().filter_map(|line| line.strip_prefix('#'));
            let mut anchors = headings.map(|text| anchor(text.trim_start_matches('#').trim()));
            assert!(
                heading.is_empty() || anchors.any(|a| a == heading),
                "{name}: {link}"
            );
        }
        for include in text
            .split("{{#include ")
            .skip(1)
            .filter_map(|rest| rest.split("}}").next())
        {
            let (path, part) = include.split_once(':').unwrap_or((include, ""));
            let code = fs::read_to_string(book().join(path));
            let code = code.unwrap_or_else(|_| panic!("{name} includes {path}"));
            for mark in ["ANCHOR: ", "ANCHOR_END: "] {
                let line = format!("// {mark}{part}");
                let found = code.lines().any(|code| code.trim() == line);
                assert!(part.is_empty() || found, "{name}: {path} has no {line}");
            }
        }
    }
}

/// The anchor that mdBook gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
