//! Keeps the layers apart, and headlines to the point: reads the sources, and names every import
//! that points up, sideways or around in a circle, and every headline that is a question clause.
//!
//! Paths that begin with `crate::` and `super::` outside of tests, comments and strings count.
//! Macros and re-exports are seen only where they are used.
#![allow(
    clippy::pedantic,
    clippy::int_plus_one,
    reason = "a test fails by panicking"
)]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The layers from the bottom; those of one line don't know each other.
const LAYERS: &[&[&str]] = &[
    &["primitives"],
    &["tickets"],
    &["net"],
    &["discovery"],
    &["streams", "functions", "groups"],
    &["collections"],
    &["status"],
    &["network", "otel"],
];

/// Folders that have a circle between their files. No other may be added; one that has lost its
/// circle must be taken off.
const CIRCULAR: &[&str] = &[];

/// A layer whose public path is a facade above it has this behind its name.
const LAYER_SUFFIX: &str = "_layer";

/// Facades, which re-export and decode but are imported by nobody.
const FACADES: &[&str] = &["lib", "declare", "fuzz", "tee"];

/// Folders of the workspace that have code.
const CODE_FOLDERS: &[&str] = &["benches", "crates", "examples", "fuzz", "sim"];

/// Words that begin a question clause.
const QUESTION_WORDS: &[&str] = &[
    "how", "what", "whatever", "when", "where", "whether", "which", "who", "whoever", "whom",
    "whose", "why",
];

/// Words that may stand before those: "for how long".
const PREPOSITIONS: &[&str] = &[
    "After", "At", "By", "For", "From", "In", "Of", "On", "Since", "To", "Under", "Until", "With",
];

/// One use of an item of this crate.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    line: usize,
    /// Segments behind `crate`.
    path: Vec<String>,
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files of this package except those of tests.
fn sources() -> Vec<PathBuf> {
    let mut files = rust_files(source_root());
    files.retain(|file| is_source(file));
    files
}

/// All Rust files below a folder, except for build products.
fn rust_files(root: PathBuf) -> Vec<PathBuf> {
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn is_source(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    stem != "tests" && !stem.ends_with("_tests")
}

/// The module that a file is, as segments behind `crate`.
fn module_of(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source_root()).unwrap().with_extension("");
    let mut module: Vec<_> = relative
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// The text with comments, strings and inline test modules blanked out, line by line as it was.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if next == '"' {
            string_end(rest)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.extend(
            rest[..end]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        rest = &rest[end..];
    }
    blank_test_modules(&code)
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Blanks out every item behind `#[cfg(test)]`.
fn blank_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let end = start + item_end(&rest[start..]);
        kept.extend(rest[start..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    kept + rest
}

/// End of the first item: at a semicolon, or with the brace that closes its first one.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Everything of this crate that a file uses.
fn imports_of(code: &str, module: &[String], is_front_page: bool) -> Vec<Import> {
    let mut found = Vec::new();
    // Children of a front page say `super` for it; in a leaf, `super` is the folder.
    let folder = if is_front_page {
        module
    } else {
        &module[..module.len().saturating_sub(1)]
    };
    for (start, _) in code
        .match_indices("crate::")
        .chain(code.match_indices("super::"))
    {
        let before = code[..start].chars().next_back();
        // `$crate::` is what a macro's user needs; `super::super::` counts from its first part.
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let (mut base, mut rest) = (Vec::new(), &code[start..]);
        if let Some(tail) = rest.strip_prefix("crate::") {
            rest = tail;
        } else {
            let mut up = if is_front_page {
                &module[..module.len().saturating_sub(1)]
            } else {
                folder
            };
            rest = rest.strip_prefix("super::").unwrap();
            while let Some(tail) = rest.strip_prefix("super::") {
                (rest, up) = (tail, &up[..up.len().saturating_sub(1)]);
            }
            base = up.to_vec();
        }
        expand(rest, &base, line, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

/// Reads one use tree: a path, or a path with a group of trees behind it.
fn expand(tree: &str, base: &[String], line: usize, found: &mut Vec<Import>) {
    let mut path = base.to_vec();
    let mut rest = tree.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            let line_of = |part: &str| {
                let offset = part.as_ptr() as usize - tree.as_ptr() as usize;
                line + tree[..offset].matches('\n').count()
            };
            for part in split_group(group) {
                expand(part, &path, line_of(part), found);
            }
            return;
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        path.push(rest[..end].to_owned());
        match rest[end..].trim_start().strip_prefix("::") {
            Some(tail) => rest = tail.trim_start(),
            None => break,
        }
    }
    if path.len() > base.len() {
        let layer = path[0].trim_end_matches(LAYER_SUFFIX).len();
        path[0].truncate(layer);
        found.push(Import { line, path });
    }
}

/// The parts between the commas of a group that was opened before.
fn split_group(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
        .into_iter()
        .map(str::trim_start)
        .filter(|part| !part.is_empty())
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Objection to an import of a module of another layer, if there is one.
fn objection(from: &str, to: &str) -> Option<&'static str> {
    let (own, other) = (layer(from)?, layer(to)?);
    match own.cmp(&other) {
        _ if from == to => None,
        std::cmp::Ordering::Less => Some("points up"),
        std::cmp::Ordering::Equal => Some("points sideways"),
        std::cmp::Ordering::Greater => None,
    }
}

fn parsed() -> Vec<(PathBuf, Vec<String>, Vec<Import>)> {
    let parse = |file: PathBuf| {
        let module = module_of(&file);
        let is_front_page = file.file_name().is_some_and(|name| name == "mod.rs");
        let code = code_of(&fs::read_to_string(&file).unwrap());
        let imports = imports_of(&code, &module, is_front_page);
        (file, module, imports)
    };
    sources().into_iter().map(parse).collect()
}

#[test]
fn imports_point_down() {
    let mut faults = Vec::new();
    for (file, module, imports) in parsed() {
        let Some(own) = module
            .first()
            .filter(|own| !FACADES.contains(&own.as_str()))
        else {
            continue;
        };
        assert!(
            layer(own).is_some(),
            "{}: {own} is no known layer",
            file.display()
        );
        for Import { line, path } in imports {
            if let Some(objection) = objection(own, &path[0]) {
                let path = path.join("::");
                faults.push(format!(
                    "{}:{line}: crate::{path} {objection}",
                    file.display()
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "imports must point down:\n{}",
        faults.join("\n")
    );
}

/// Every folder's parts import each other in one direction. The front page is no part: it only
/// re-exports what the parts offer, so an import through it is one of the part that has the item.
#[test]
fn files_of_a_folder_form_no_circle() {
    let parsed = parsed();
    let modules: BTreeSet<_> = parsed.iter().map(|(_, module, _)| module.clone()).collect();
    let mut faults = Vec::new();
    for folder in &modules {
        let offered = offered_by(folder);
        let is_listed = CIRCULAR.contains(&folder.join("::").as_str());
        let mut edges = BTreeMap::<&str, BTreeMap<&str, String>>::new();
        for (file, module, imports) in &parsed {
            let Some(own) = child_in(folder, module) else {
                continue;
            };
            for Import { line, path } in imports {
                let target = child_in(folder, path)
                    .map(|child| offered.get(child).map_or(child, |child| child.as_str()))
                    .filter(|child| {
                        modules.contains(&[&folder[..], &[(*child).to_owned()]].concat())
                    });
                if let Some(target) = target.filter(|target| *target != own) {
                    let place = format!("{}:{line}", file.display());
                    edges.entry(own).or_default().entry(target).or_insert(place);
                }
            }
        }
        let circle = find_circle(&edges);
        if is_listed && circle.is_none() {
            faults.push(format!("{} has no circle any more", folder.join("::")));
        }
        if let Some(circle) = circle.filter(|_| !is_listed) {
            let steps = circle.windows(2).map(|step| {
                format!(
                    "  {} -> {} at {}",
                    step[0], step[1], edges[step[0]][step[1]]
                )
            });
            let steps: Vec<_> = steps.collect();
            faults.push(format!(
                "circle in {}:\n{}",
                folder.join("::"),
                steps.join("\n")
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names that a folder's front page re-exports from its parts, with the part.
fn offered_by(folder: &[String]) -> BTreeMap<String, String> {
    let page = source_root().join(folder.join("/")).join("mod.rs");
    let Ok(text) = fs::read_to_string(page) else {
        return BTreeMap::new();
    };
    let code = code_of(&text);
    let mut offered = BTreeMap::new();
    for (start, _) in code.match_indices("use ") {
        let visible = code[..start].trim_end();
        if !visible.ends_with("pub") && !visible.ends_with("pub(crate)") {
            continue;
        }
        let mut found = Vec::new();
        expand(&code[start + "use ".len()..], &[], 0, &mut found);
        for Import { path, .. } in found {
            if let [part, .., name] = &path[..]
                && part != "crate"
                && part != "super"
            {
                offered.insert(name.clone(), part.clone());
            }
        }
    }
    offered
}

/// The part of a folder that a path leads into.
fn child_in<'a>(folder: &[String], path: &'a [String]) -> Option<&'a str> {
    (path.len() > folder.len() && path.starts_with(folder)).then(|| path[folder.len()].as_str())
}

/// A way from a node back to itself, if there is one.
fn find_circle<'a>(edges: &BTreeMap<&'a str, BTreeMap<&'a str, String>>) -> Option<Vec<&'a str>> {
    fn visit<'a>(
        node: &'a str,
        edges: &BTreeMap<&'a str, BTreeMap<&'a str, String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|on_way| *on_way == node) {
            let mut circle = way[start..].to_vec();
            circle.push(node);
            return Some(circle);
        }
        if !done.insert(node) {
            return None;
        }
        way.push(node);
        for target in edges.get(node).into_iter().flat_map(BTreeMap::keys) {
            if let Some(circle) = visit(target, edges, way, done) {
                return Some(circle);
            }
        }
        way.pop();
        None
    }
    let mut done = BTreeSet::new();
    edges
        .keys()
        .find_map(|node| visit(node, edges, &mut Vec::new(), &mut done))
}

/// Files that the documents name, in backquotes, exist: whole paths, or their last parts.
#[test]
fn named_files_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    for page in fs::read_dir(root.join("book/src")).unwrap() {
        documents.push(page.unwrap().path());
    }
    let mut files: Vec<_> = rust_files(source_root());
    for folder in CODE_FOLDERS {
        files.extend(rust_files(root.join(folder)));
    }
    let mut missing = Vec::new();
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(document).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = name.ends_with(".rs")
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
            if is_path && !files.iter().any(|file| file.ends_with(name)) {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

/// Types with an encoding that is not recorded, and the reason.
const UNRECORDED: &[(&str, &str, &str)] = &[
    (
        "discovery/config.rs",
        "Config",
        "a program's settings, which stay with it",
    ),
    (
        "groups/model/config.rs",
        "ConsensusConfig",
        "as above; what members must agree on is recorded with the id of the group",
    ),
    (
        "groups/machine/query.rs",
        "QueryResultAt",
        "the answer of a user's machine, in a message of the user",
    ),
    (
        "tickets/jwt/builder.rs",
        "Header",
        "JSON, as RFC 7515 has it",
    ),
    (
        "status/report.rs",
        "Report",
        "put together from what crosses the network",
    ),
    ("status/findings.rs", "Finding", "JSON for people"),
    ("status/findings.rs", "Severity", "as above"),
];

/// Types of other crates that have an encoding of theirs, which must not become ours.
const FOREIGN: &[&str] = &[
    "DateTime",
    "Duration",
    "EndpointAddr",
    "IpAddr",
    "Instant",
    "NodeAddr",
    "PeerId",
    "PublicKey",
    "RelayUrl",
    "SecretKey",
    "Signature",
    "SocketAddr",
    "SystemTime",
    "TransportAddr",
    "Url",
];

/// Files in which a foreign type is encoded as it is, and the reason.
const FOREIGN_ALLOWED: &[(&str, &str)] = &[(
    "tickets/expiration.rs",
    "no message of ours holds it; for those of users it is recorded",
)];

/// A type with an encoding: its name, and its fields or variants.
#[derive(Debug, PartialEq, Eq)]
struct Encodable {
    name: String,
    is_enum: bool,
    parts: Vec<String>,
}

impl Encodable {
    /// Names under which it is recorded.
    fn names(&self) -> Vec<String> {
        if !self.is_enum {
            return vec![self.name.clone()];
        }
        let variants = self
            .parts
            .iter()
            .map(|part| identifier(without_attributes(part)));
        variants
            .map(|variant| format!("{}::{variant}", self.name))
            .collect()
    }
}

/// The types of a file that derive an encoding, and those that have one by hand.
fn encodables(code: &str) -> Vec<Encodable> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("#[derive(") {
        let derive = &code[start..];
        let end = derive.find(")]").unwrap_or(derive.len());
        let has_encoding = derive[..end]
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| matches!(word, "Serialize" | "Deserialize"));
        if !has_encoding {
            continue;
        }
        let words = ["struct ", "enum "].map(|word| derive.find(word).map(|at| (at, word)));
        let Some((at, word)) = words.into_iter().flatten().min() else {
            continue;
        };
        let item = &derive[at + word.len()..];
        let name = identifier(item);
        // Of a macro: its users are recorded.
        if name.is_empty() {
            continue;
        }
        let open = item.find(['{', '(', ';']).unwrap_or(item.len());
        let parts = match item[open..].chars().next() {
            Some('{' | '(') => fields(&item[open + 1..]),
            _ => Vec::new(),
        };
        found.push(Encodable {
            name: name.to_owned(),
            is_enum: word == "enum ",
            parts,
        });
    }
    for (at, mark) in code.match_indices(" Serialize for ") {
        let name = identifier(&code[at + mark.len()..]).to_owned();
        found.push(Encodable {
            name,
            is_enum: false,
            parts: Vec::new(),
        });
    }
    found
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

/// The parts between the commas of a body that was opened before.
fn fields(body: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in body.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn without_attributes(part: &str) -> &str {
    let mut rest = part.trim_start();
    while rest.starts_with("#[") {
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ']' && depth == 0
        });
        rest = rest[end.map_or(rest.len(), |end| end + 1)..].trim_start();
    }
    rest
}

/// A type of another crate that a field has, if the field doesn't name an encoding of ours.
fn foreign(part: &str) -> Option<&'static str> {
    let part = part.replace("pub(crate)", "").replace("pub(super)", "");
    let body = without_attributes(&part);
    // A variant may have several fields, each with its own encoding.
    let is_variant = body.contains('{') || !body.contains(':');
    if let Some(open) = body.find(['{', '(']).filter(|_| is_variant) {
        let parts = fields(&body[open + 1..]);
        return parts.iter().find_map(|part| foreign_field(part));
    }
    foreign_field(&part)
}

fn foreign_field(part: &str) -> Option<&'static str> {
    if part.contains("#[serde(") {
        return None;
    }
    let mut words = part.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find_map(|word| FOREIGN.iter().copied().find(|foreign| *foreign == word))
}

/// Everything that has an encoding is compared with recorded bytes, in a test of its folder: a change
/// of what peers and disks read is a decision, and never comes with a version of a dependency.
#[test]
fn encodings_are_recorded_and_our_own() {
    let mut faults = Vec::new();
    // Records of all layers, with vectors that earlier versions have sent.
    let records = fs::read_to_string(source_root().join("status/wire_tests.rs")).unwrap();
    for file in sources() {
        let relative = file.strip_prefix(source_root()).unwrap().to_str().unwrap();
        let found = encodables(&code_of(&fs::read_to_string(&file).unwrap()));
        if found.is_empty() {
            continue;
        }
        let folder = file.parent().unwrap();
        let mut recorded = String::new();
        for place in [folder.to_owned(), folder.join("recorded")] {
            for entry in fs::read_dir(place).into_iter().flatten() {
                let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
                if text.contains("vectors::check(") {
                    recorded.push_str(&text);
                }
            }
        }
        for encodable in &found {
            let mut listed = UNRECORDED.iter();
            if listed.any(|(path, name, _)| relative == *path && encodable.name == *name) {
                continue;
            }
            for name in encodable.names() {
                let marks = [format!("\"{name}\""), format!("\"{name} (")];
                let is_recorded = marks.iter().any(|mark| recorded.contains(mark))
                    || records.contains(&format!("{name} {{"));
                if !is_recorded {
                    faults.push(format!("{relative}: {name} is not recorded"));
                }
            }
            if FOREIGN_ALLOWED.iter().any(|(path, _)| relative == *path) {
                continue;
            }
            for (part, foreign) in encodable
                .parts
                .iter()
                .filter_map(|p| Some((p, foreign(p)?)))
            {
                let part = part.trim();
                faults.push(format!(
                    "{relative}: {} has a {foreign} of another crate in `{part}`: name an encoding \
                     of ours with #[serde(with = ...)]",
                    encodable.name
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn encodables_are_found() {
    let code = "#[derive(Debug, Serialize)]\n#[serde(bound = \"\")]\npub(crate) enum A<E> {\n    \
                B { b: Vec<(u8, E)>, #[serde(with = \"x\")] peer: PeerId },\n    #[serde(rename)]\n    \
                C(PeerId),\n    D,\n}\n#[derive(Deserialize)]\nstruct F(#[serde(with)] PeerId, \
                Signature);\n#[derive(Debug)]\nstruct G;\nimpl Serialize for H {}\n\
                #[derive(Serialize)]\npub struct $name(u8);\n";
    let found = encodables(&code_of(code));
    let names: Vec<_> = found.iter().flat_map(Encodable::names).collect();
    assert_eq!(names, ["A::B", "A::C", "A::D", "F", "H"]);
    let foreign = |n: usize| found[n].parts.iter().filter_map(|part| foreign(part));
    assert_eq!(foreign(0).collect::<Vec<_>>(), ["PeerId"]);
    assert_eq!(foreign(1).collect::<Vec<_>>(), ["Signature"]);
}

/// A reader can take in a folder at a glance.
#[test]
fn folders_hold_twenty_files_at_most() {
    const MAX_FILES: usize = 20;
    let mut counts = BTreeMap::<PathBuf, usize>::new();
    for file in sources() {
        *counts.entry(file.parent().unwrap().to_owned()).or_default() += 1;
    }
    counts.retain(|_, count| *count > MAX_FILES);
    assert!(counts.is_empty(), "too many files in {counts:?}");
}

/// Headlines of a file that are question clauses, with their lines. A headline is the first line of
/// a run of documentation: of the file's own (`//!`), or of an item's (`///`).
fn question_headlines(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut above = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        let marks = ["//!", "///"];
        let mark = marks.into_iter().find(|mark| line.starts_with(*mark));
        if let Some(mark) = mark.filter(|mark| above != Some(*mark)) {
            let headline = line[mark.len()..].trim();
            if is_question(headline) {
                found.push((number, headline));
            }
        }
        above = mark;
    }
    found
}

fn is_question(headline: &str) -> bool {
    let mut words = headline.split(|c: char| !c.is_alphabetic());
    let first = words.next().unwrap_or_default();
    let word = if PREPOSITIONS.contains(&first) {
        words.next().unwrap_or_default()
    } else {
        first
    };
    QUESTION_WORDS.contains(&word.to_lowercase().as_str())
}

/// A reader who skims the items learns from a headline what each is; a question makes them guess.
/// Functions begin with a verb: "Returns whether ...".
#[test]
fn headlines_name_their_items() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = CODE_FOLDERS.iter().map(|folder| root.join(folder));
    let mut faults = Vec::new();
    for file in files.flat_map(rust_files) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, headline) in question_headlines(&text) {
            faults.push(format!("{}:{line}: {headline}", file.display()));
        }
    }
    assert!(
        faults.is_empty(),
        "headlines must be noun phrases or begin with a verb:\n{}",
        faults.join("\n")
    );
}

#[test]
fn question_headlines_are_found() {
    let text = [
        "//! Where it is.",
        "//! What else.",
        "",
        "/// Timeout.",
        "/// How long.",
        "struct A {",
        "    /// For how long.",
        "    a: u8,",
        "}",
        "/// Whether so.",
        "/// Returns whether so.",
        "fn b() {}",
        "/// Returns whether so.",
        "fn c() {}",
    ]
    .join("\n");
    let expected = [
        (1, "Where it is."),
        (7, "For how long."),
        (10, "Whether so."),
    ];
    assert_eq!(question_headlines(&text), expected);
}

#[test]
fn the_parser_sees_what_it_should() {
    let text = "//! crate::a::A\nuse crate::{\n    b::{B, c},\n    D,\n};\nfn f() { \
                super::e::E; \"crate::g\"; crate::h::i(); }\n#[cfg(test)]\nmod t { use crate::x; }\n\
                use super::super::j;\n";
    let module = ["m", "n", "o"].map(str::to_owned);
    let imports = imports_of(&code_of(text), &module, false);
    let seen: Vec<_> = imports
        .iter()
        .map(|import| (import.line, import.path.join("::")))
        .collect();
    let expected = [
        (3, "b::B"),
        (3, "b::c"),
        (4, "D"),
        (6, "h::i"),
        (6, "m::n::e::E"),
        (9, "m::j"),
    ];
    assert_eq!(seen, expected.map(|(line, path)| (line, path.to_owned())));
    let front_page = imports_of("use super::a;", &module, true);
    assert_eq!(front_page[0].path.join("::"), "m::n::a");
}

#[test]
fn objections_and_circles_are_found() {
    assert_eq!(objection("primitives", "network"), Some("points up"));
    assert_eq!(objection("streams", "groups"), Some("points sideways"));
    assert_eq!(objection("groups", "discovery"), None);
    assert_eq!(objection("groups", "groups"), None);
    let edge = |to| BTreeMap::from([(to, String::new())]);
    let straight = BTreeMap::from([("a", edge("b")), ("b", edge("c"))]);
    assert_eq!(find_circle(&straight), None);
    let round = BTreeMap::from([("a", edge("b")), ("b", edge("c")), ("c", edge("b"))]);
    assert_eq!(find_circle(&round), Some(vec!["b", "c", "b"]));
}
