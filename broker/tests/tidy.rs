//! Repository rules that a reviewer should not have to check: which folder may use which, words that are banned per
//! folder, files no `mod` line reaches, and files that grew too long. One table, read top to bottom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One folder (or top-level file) of `broker/src` and what it may name with `crate::`.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    /// Words that must not occur in code (comments and test modules are not looked at).
    never: &'static [&'static str],
}

/// Words only the runtime seam may say: everything below `rt` asks `rt` for time, chance, files and sockets.
const OUTSIDE_RT: &[&str] = &[
    "glommio",
    "Instant::now",
    "SystemTime",
    "rand::",
    "std::fs",
    "std::net::Tcp",
    "tokio::fs",
    "tokio::net",
    "tokio::time",
    "unsafe ",
    "Uuid::new_v4",
];

/// Pure folders: values in, values out.
const PURE: &[&str] = &[
    "glommio",
    "Instant::now",
    "SystemTime",
    "rand::",
    "std::fs",
    "std::net::Tcp",
    "tokio::",
    "async fn",
    "async move",
    ".await",
    "unsafe ",
    "Uuid::new_v4",
    "std::thread",
];

/// The layer table of the broker, from top to bottom. A folder may always use itself.
const LAYERS: &[Layer] = &[
    Layer {
        name: "net",
        may_use: &["api", "security", "shard", "rt"],
        never: OUTSIDE_RT,
    },
    Layer {
        name: "api",
        may_use: &[
            "shard",
            "quorum",
            "metadata",
            "security",
            "group",
            "replication",
            "rt",
        ],
        never: OUTSIDE_RT,
    },
    Layer {
        name: "shard",
        may_use: &[
            "log",
            "metadata",
            "quorum",
            "replication",
            "group",
            "txn",
            "security",
            "state_machine",
            "rt",
        ],
        never: OUTSIDE_RT,
    },
    Layer {
        name: "quorum",
        may_use: &["metadata", "rt"],
        never: OUTSIDE_RT,
    },
    Layer {
        name: "metadata",
        may_use: &[],
        never: PURE,
    },
    Layer {
        name: "replication",
        may_use: &[],
        never: PURE,
    },
    Layer {
        name: "group",
        may_use: &["state_machine"],
        never: PURE,
    },
    Layer {
        name: "state_machine",
        may_use: &[],
        never: PURE,
    },
    Layer {
        name: "log",
        may_use: &["rt"],
        never: OUTSIDE_RT,
    },
    Layer {
        name: "rt",
        may_use: &[],
        never: &[],
    },
];

/// A file longer than this holds more than one noun.
const LONGEST_FILE: usize = 700;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                // The rules are for our own code.
                let theirs = |name: &std::ffi::OsStr| name == "target" || name == "third_party";
                if path.file_name().is_some_and(|name| !theirs(name)) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code of a file: without comments, and without its test module (which by house rule comes last).
fn code_of(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let test_module = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|(_, next)| {
                let next = next.trim_start();
                next.starts_with("mod ") && next.contains('{')
                    || next.starts_with("pub(crate) mod ") && next.contains('{')
            });
        if test_module {
            break;
        }
        let line = match line.find("//") {
            Some(at) if !line[..at].ends_with(':') => &line[..at],
            _ => line,
        };
        code.push((index + 1, line));
    }
    code
}

fn is_test_file(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| {
        let stem = stem.to_string_lossy();
        stem == "tests" || stem.ends_with("_tests") || stem == "fixtures"
    }) || path.components().any(|part| part.as_os_str() == "tests")
}

/// First path segments after `crate::` in a line, braces of `use crate::{a, b}` included.
fn crate_uses(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("crate::") {
        let before_ok = at == 0
            || !rest.as_bytes()[at - 1].is_ascii_alphanumeric()
                && rest.as_bytes()[at - 1] != b'_'
                && rest.as_bytes()[at - 1] != b'$';
        rest = &rest[at + "crate::".len()..];
        if !before_ok {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut at_start = true;
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(std::mem::take(&mut word));
                        at_start = true;
                    }
                    ':' if depth == 0 => at_start = false,
                    letter if depth == 0 && at_start && !letter.is_whitespace() => word.push(letter),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(
                rest.chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect(),
            );
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

/// The layer a file of `broker/src` belongs to: its first folder, or its own name at the top.
fn layer_of(relative: &Path) -> String {
    let first = relative
        .components()
        .next()
        .expect("a file has a name")
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

#[test]
fn folders_use_only_what_the_layer_table_allows() {
    let source = repository().join("broker/src");
    let mut wrong = Vec::new();
    for path in rust_files(&source) {
        let relative = path.strip_prefix(&source).expect("found below it");
        let layer_name = layer_of(relative);
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == layer_name) else {
            continue; // the top row of the table: main, node, config, telemetry may use everything
        };
        if is_test_file(relative) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (number, line) in code_of(&text) {
            for used in crate_uses(line) {
                let known = LAYERS.iter().any(|other| other.name == used) || is_top(&source, &used);
                if known && used != layer.name && !layer.may_use.contains(&used.as_str()) {
                    wrong.push(format!(
                        "{}:{number}: {} may not use crate::{used}",
                        relative.display(),
                        layer.name
                    ));
                }
            }
            for word in layer.never {
                if line.contains(word) {
                    wrong.push(format!(
                        "{}:{number}: `{}` is banned in {}",
                        relative.display(),
                        word.trim(),
                        layer.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "layer table broken:\n{}", wrong.join("\n"));
}

/// What runs a broker (io_uring, threads, a simulated world) is `rt`'s business alone: the same code runs on all three.
#[test]
fn nothing_outside_the_seam_asks_which_engine_runs_it() {
    let words = [
        "Engine::Uring",
        "Engine::Posix",
        "Engine::Sim",
        "rt::sim",
        "is_simulated",
        "cfg(feature",
    ];
    let source = repository().join("broker/src");
    let mut wrong = Vec::new();
    for path in rust_files(&source) {
        let relative = path.strip_prefix(&source).expect("found below it");
        // Tests run on every engine in turn.
        if relative.starts_with("rt") || relative.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (number, line) in code_of(&text) {
            for word in words.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: `{word}`", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "branches on the engine:\n{}", wrong.join("\n"));
}

fn is_top(source: &Path, name: &str) -> bool {
    source.join(format!("{name}.rs")).exists() || source.join(name).is_dir()
}

#[test]
fn every_source_file_is_reached_by_a_mod_line() {
    let mut wrong = Vec::new();
    for package in [
        "broker",
        "broker/protocol",
        "broker/admin",
        "operator",
        "e2e",
        "bench",
    ] {
        let source = repository().join(package).join("src");
        for path in rust_files(&source) {
            let relative = path.strip_prefix(&source).expect("found below it");
            let stem = relative
                .file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .to_string();
            let depth = relative.components().count();
            if depth == 1 && (stem == "main" || stem == "lib") || relative.starts_with("bin") {
                continue;
            }
            let dir = path.parent().expect("below src");
            let (module, parents) = if stem == "mod" {
                let name = dir.file_name().expect("a folder").to_string_lossy().to_string();
                (name, parent_files(dir.parent().expect("below src"), &source))
            } else {
                (stem, parent_files(dir, &source))
            };
            let reached = parents.iter().any(|parent| {
                fs::read_to_string(parent).is_ok_and(|text| {
                    let text = format!("\n{text}");
                    [
                        format!("mod {module};"),
                        format!("mod {module} {{"),
                        format!("/{module}.rs\""),
                    ]
                    .iter()
                    .any(|line| text.contains(line.as_str()))
                        || text
                            .lines()
                            .any(|line| line.trim().trim_end_matches(',').trim_end_matches(';') == module)
                })
            });
            if !reached {
                wrong.push(format!("{package}/src/{}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no `mod` line reaches:\n{}", wrong.join("\n"));
}

fn parent_files(dir: &Path, source: &Path) -> Vec<PathBuf> {
    let mut files = vec![dir.join("mod.rs")];
    if dir == source {
        files.push(dir.join("lib.rs"));
        files.push(dir.join("main.rs"));
    } else {
        files.push(dir.with_extension("rs"));
    }
    files
}

#[test]
fn files_stay_short_enough_to_hold_one_noun() {
    let mut wrong = Vec::new();
    for path in rust_files(&repository()) {
        let text = fs::read_to_string(&path).expect("a source file is readable");
        let lines = code_of(&text).len();
        if lines > LONGEST_FILE && !is_test_file(&path) {
            wrong.push(format!("{} has {lines} lines of code", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "longer than {LONGEST_FILE} lines (tests not counted): cut by noun\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for path in rust_files(&repository()) {
        let text = fs::read_to_string(&path).expect("a source file is readable");
        if !text.trim_start().starts_with("//!") && !text.contains("@generated") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "these files do not open with `//!`:\n{}",
        wrong.join("\n")
    );
}

/// Names of functions in code style in a line of Markdown: `a_name_of_several_words`.
fn functions_named(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        let mut letters = word.chars();
        word.contains('_')
            && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    line.split('`').skip(1).step_by(2).filter(is_name)
}

#[test]
fn every_scenario_names_tests_that_exist() {
    let told = fs::read_to_string(repository().join("docs/reliability.md")).expect("the table of scenarios");
    let mut there = BTreeSet::new();
    for path in rust_files(&repository()) {
        let text = fs::read_to_string(&path).expect("a source file is readable");
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" && line != "#[tokio::test]" {
                continue;
            }
            // Other attributes may stand between.
            let name = lines.find_map(|line| {
                let (_, rest) = line.split_once("fn ")?;
                rest.split('(').next()
            });
            there.extend(name.map(str::to_owned));
        }
    }
    let rows: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let named: Vec<&str> = functions_named(row).collect();
        if named.is_empty() {
            wrong.push(format!("no test: {row}"));
        }
        wrong.extend(
            named
                .iter()
                .filter(|name| !there.contains(**name))
                .map(|name| format!("no such test: {name}")),
        );
    }
    assert!(rows.len() >= 27, "the table has {} scenarios", rows.len());
    assert!(wrong.is_empty(), "docs/reliability.md\n{}", wrong.join("\n"));
}

#[test]
fn the_operator_decides_without_io() {
    let source = repository().join("operator/src");
    let pure = ["validate", "model", "build", "plan", "status", "crd"];
    let never = [
        "kube::Client",
        "kube::Api",
        "Api<",
        ".await",
        "async fn",
        "tokio::",
        "std::fs",
        "Instant::now",
        "SystemTime",
    ];
    let mut wrong = Vec::new();
    for path in rust_files(&source) {
        let relative = path.strip_prefix(&source).expect("found below it");
        let is_pure = relative
            .components()
            .any(|part| pure.contains(&part.as_os_str().to_string_lossy().trim_end_matches(".rs")));
        if !is_pure || is_test_file(relative) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (number, line) in code_of(&text) {
            for word in never {
                if line.contains(word) {
                    wrong.push(format!(
                        "{}:{number}: `{word}` in a pure step",
                        relative.display()
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the pure steps of the operator do IO:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_stays_in_the_runtime_seam() {
    let mut wrong = Vec::new();
    for path in rust_files(&repository()) {
        let relative = path
            .strip_prefix(repository())
            .expect("found below it")
            .to_path_buf();
        if relative.starts_with("broker/src/rt") || relative.ends_with("tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (number, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or(line);
            if ["unsafe {", "unsafe fn", "unsafe impl"]
                .iter()
                .any(|word| line.contains(word))
                && !allows_unsafe(&relative)
            {
                wrong.push(format!("{}:{}", relative.display(), number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "`unsafe` outside broker/src/rt/:\n{}",
        wrong.join("\n")
    );
}

/// A counting allocator in a test cannot be written without `unsafe`: `GlobalAlloc` is an unsafe trait.
fn allows_unsafe(relative: &Path) -> bool {
    let path = relative.to_string_lossy();
    path.starts_with("broker/protocol/tests/") && path.contains("alloc")
}

#[test]
fn the_scanner_finds_what_it_is_for() {
    assert_eq!(crate_uses("use crate::{log::Log, rt};"), ["log", "rt"]);
    assert_eq!(crate_uses("let x: crate::net::Y = 1;"), ["net"]);
    assert_eq!(crate_uses("use mycrate::net;"), Vec::<String>::new());
    let text = "a\n// crate::net\n#[cfg(test)]\nmod tests {\n crate::net\n}";
    assert_eq!(code_of(text), [(1, "a"), (2, "")]);
    let names: BTreeSet<_> = LAYERS.iter().map(|layer| layer.name).collect();
    assert_eq!(names.len(), LAYERS.len(), "one row per layer");
}
