//! The rules of the house that no compiler knows: layers, sizes, edges, characters.
//!
//! Every rule is a function from text to complaints, and is itself tested on small strings at the end: a
//! rule that cannot fail is none. Exceptions are named with their reason, and one that is no longer needed
//! is a complaint too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the lowest to the highest. A module may name modules of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["model", "yaml"],
    &["alert", "clock", "dial", "format", "incident", "inspect", "places", "serve", "source", "trail"],
    &["anchor", "deliver", "error", "listen", "operator", "policy", "stage"],
    &["config", "metrics", "privacy", "report", "search", "state"],
    &["rebuild"],
    &["consequence", "control", "pipeline", "response"],
    &["console"],
    &["daemon"],
    &["cli"],
];

/// Modules of one layer that name each other. The writer's thread is one thing in four files: the flow,
/// what follows from a finding, what people do about it, and the answers to commands.
const PEERS: &[(&str, &str)] = &[
    ("consequence", "pipeline"),
    ("control", "pipeline"),
    ("pipeline", "consequence"),
    ("pipeline", "control"),
    ("pipeline", "response"),
    ("response", "pipeline"),
    ("response", "consequence"),
    ("consequence", "response"),
    ("control", "response"),
];

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Files that are longer, and why.
const LONG_FILES: &[(&str, &str)] = &[("pipeline.rs", "the flow is read from top to bottom in one place")];

/// Functions that are longer, as `file::name`, and why.
const LONG_FUNCTIONS: &[(&str, &str)] = &[(
    "daemon.rs::run",
    "the life of the daemon in its order: what is started where must be seen at a glance",
)];

/// Where the file system is touched.
const FILE_EDGES: &[&str] = &[
    "cli/demo.rs",            // appends to the sample feeds
    "cli/doctor.rs",          // when segments were written
    "cli/scan.rs",            // reads the files that it is given
    "control.rs",             // mode of the socket
    "daemon.rs",              // removes the socket
    "deliver/directory.rs",   // writes alerts as files
    "deliver/probe.rs",       // whether a folder can be written
    "deliver/secret.rs",      // reads the password's file
    "deliver/smtp.rs",        // reads the authority's certificate
    "response.rs",            // how much of the disk is free
    "source/file/content.rs", // unpacks into nameless files
    "source/file/copies.rs",
    "source/file/glob.rs",
    "source/file/hole.rs",
    "source/file/identity.rs",
    "source/file/long.rs",
    "source/file/mod.rs",
    "source/file/packed.rs",
    "source/file/stream.rs",
    "source/file/sweep.rs",
    "source/file/watch.rs",
    "source/syslog.rs",           // the kernel's count of dropped datagrams
    "trail/disk.rs",              // the trail's one seam: nothing else of the trail's own touches files
    "trail/publish/directory.rs", // an export is no part of the trail: one sync for all of its files
];

/// Where a clock is read.
const CLOCK_EDGES: &[&str] = &[
    "clock.rs",
    "console/session.rs",   // how long a session lasts
    "daemon.rs",            // watchdog, health
    "daemon/patience.rs",   // when a long start says how far it is
    "deliver/hook.rs",      // the time that a webhook's signature names
    "deliver/worker.rs",    // when to try again; the date of a mail
    "listen/ingest.rs",     // how many requests a second, how long a sender waits
    "listen/mod.rs",        // how many requests a second
    "source/file/mod.rs",   // how long a file was quiet
    "source/file/sweep.rs", // what a look around costs
    "source/file/watch.rs", // how long to wait
    "source/syslog.rs",     // how long messages are collected
];

/// What may stand in `src/` besides ASCII, tests aside: punctuation of prose, signs of the
/// report's lanes, currencies and the letters of context words that detectors look for.
const CHARACTERS: &str = "§·±³⁵−–—…‖→⟨⟩─▶▲○●◐✓✗£€ãéú";

// ---------------------------------------------------------------------------------------------------------
// The text of a file, as rules see it

/// A source file with its path inside `src/`.
struct Source {
    name: String,
    text: String,
    /// The text with comments, strings and test modules blanked out, line by line the same.
    code: String,
    /// Whether all of it is compiled for tests only.
    test: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    let texts: Vec<(String, String)> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    let tests: Vec<String> = texts.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
    texts
        .into_iter()
        .map(|(name, text)| {
            let stem = name.trim_end_matches(".rs");
            let inside = |module: &String| stem == module || stem.starts_with(&format!("{module}/"));
            let test = tests.iter().any(inside);
            let code = if test { String::new() } else { without_test_modules(&code_of(&text)) };
            Source { name, text, code, test }
        })
        .collect()
}

/// Modules that a file declares for tests only, as paths without `.rs`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let stem = name.trim_end_matches(".rs");
    let folder = match stem.strip_suffix("mod") {
        Some(folder) => folder.to_owned(),
        None => format!("{stem}/"),
    };
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let names = declared.filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'));
    names.map(|module| format!("{folder}{module}")).collect()
}

/// Blanks out `#[cfg(test)] mod name { … }` at the left margin.
fn without_test_modules(code: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    let mut announced = false;
    for line in code.lines() {
        inside |= announced && line.starts_with("mod ") && line.ends_with('{');
        announced = line == "#[cfg(test)]" || (announced && line.starts_with("#["));
        if !inside {
            out.push_str(line);
        }
        out.push('\n');
        inside &= line != "}";
    }
    out
}

/// The text with comments, strings and character literals blanked out; line ends stay.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let until = |from: usize, found: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|at| found(*at)).unwrap_or(chars.len())
    };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let fresh = at == 0 || !word(get(at - 1)) || (get(at - 1) == 'b' && (at < 2 || !word(get(at - 2))));
    match get(at) {
        '/' if get(at + 1) == '/' => until(at, &|at| get(at) == '\n'),
        '/' if get(at + 1) == '*' => {
            (until(at + 2, &|at| get(at) == '*' && get(at + 1) == '/') + 2).min(chars.len())
        }
        '"' => {
            let mut end = at + 1;
            while end < chars.len() && get(end) != '"' {
                end += if get(end) == '\\' { 2 } else { 1 };
            }
            (end + 1).min(chars.len())
        }
        'r' if fresh && (get(at + 1) == '"' || get(at + 1) == '#') => {
            let quote = until(at + 1, &|at| get(at) != '#');
            if get(quote) != '"' {
                return at;
            }
            let hashes = quote - at - 1;
            let closes = |at: usize| get(at) == '"' && (1..=hashes).all(|more| get(at + more) == '#');
            (until(quote + 1, &closes) + 1 + hashes).min(chars.len())
        }
        '\'' if get(at + 1) == '\\' => until(at + 3, &|at| get(at) == '\'') + 1,
        '\'' if get(at + 2) == '\'' => at + 3,
        _ => at,
    }
}

// ---------------------------------------------------------------------------------------------------------
// The rules

/// Modules of the crate that code names: `crate::x`, `use crate::{x, y::z}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let first_word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => names.extend([first_word(rest)]),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.extend([first_word(&std::mem::take(&mut item))]),
                        _ => {}
                    }
                    if c != ',' {
                        item.push(c);
                    }
                }
                names.extend([first_word(&item)]);
            }
        }
    }
    names.remove("");
    names
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with a module that names these others.
fn layer_complaints(module: &str, names: &BTreeSet<String>) -> Vec<String> {
    let Some(own) = layer(module) else { return vec![format!("{module} is in no layer")] };
    let wrong = |name: &&String| match layer(name) {
        None => true,
        Some(other) if other == own => *name != module && !PEERS.contains(&(module, name)),
        Some(other) => other > own,
    };
    names.iter().filter(wrong).map(|name| format!("{module} names {name}, which is not below it")).collect()
}

/// Functions with their lengths in lines, from the line of `fn` to its closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let words: Vec<&str> = line.split_whitespace().collect();
        let modifier = |word: &&str| {
            matches!(*word, "const" | "async" | "extern" | "default") || word.starts_with("pub")
        };
        let rest: Vec<&str> = words.iter().skip_while(|word| modifier(word)).copied().collect();
        if rest.first() == Some(&"fn")
            && let Some(name) = rest.get(1)
        {
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(lines) = body_lines(&code[start..]) {
                found.push((name, lines));
            }
        }
        start += line.len();
    }
    found
}

/// Lines from here to the brace that closes the first one; `None` for a declaration without a body.
fn body_lines(code: &str) -> Option<usize> {
    let (mut braces, mut others, mut lines) = (0, 0, 1);
    for c in code.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether code uses a name as a whole path segment or macro.
fn uses(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(place, _)| {
        let before = code[..place].chars().next_back();
        name.starts_with('.') || before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    })
}

fn touches_files(code: &str) -> bool {
    ["std::fs", "fs::", "File::open", "File::create", "OpenOptions"].iter().any(|name| uses(code, name))
}

fn reads_a_clock(code: &str) -> bool {
    ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"].iter().any(|name| uses(code, name))
}

const BANNED: &[&str] = &[
    "print!",
    "println!",
    "dbg!",
    "todo!",
    "unimplemented!",
    "panic!",
    ".unwrap()",
    "process::exit",
    "static mut",
];

/// Words of unfinished work. A masked number such as XXX-XX-1234 is none.
fn unfinished(text: &str) -> Option<&'static str> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK"), concat!("X", "XX")];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    marks.into_iter().find(|mark| text.split(|c| !word(c)).any(|found| found == *mark))
}

/// Paths that exist on one machine only.
fn machine_path(text: &str) -> Option<&'static str> {
    let paths = [concat!("/wo", "rk/"), concat!("/tmp", "/w/"), concat!("/ro", "ot/")];
    paths.into_iter().find(|path| text.contains(path))
}

/// Characters that reorder or hide what stands around them: nowhere, not even in tests.
fn deceives(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
        || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// Names of exceptions that no file or function needs any more.
fn stale(exceptions: &[&str], needed: &BTreeSet<String>) -> Vec<String> {
    let gone = exceptions.iter().filter(|name| !needed.contains(**name));
    gone.map(|name| format!("{name} needs its exception no longer: take it off the list")).collect()
}

fn nothing_wrong(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// ---------------------------------------------------------------------------------------------------------
// The repository under the rules

#[test]
fn imports_point_down() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| !source.test) {
        let module = source.name.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let wrong = layer_complaints(module, &named_modules(&source.code));
        complaints.extend(wrong.into_iter().map(|wrong| format!("src/{}: {wrong}", source.name)));
    }
    nothing_wrong(&complaints);
}

#[test]
fn every_module_has_a_layer_and_a_place_in_order() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.is_sorted(), "`pub mod` lines in src/lib.rs are sorted");
    let listed: BTreeSet<&str> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    assert_eq!(listed, modules.iter().copied().collect(), "LAYERS and src/lib.rs name the same modules");
    for module in modules {
        assert!(
            ["", "mod@"].iter().any(|kind| lib.contains(&format!("[`{kind}{module}`]"))),
            "the map in src/lib.rs misses {module}"
        );
    }
}

#[test]
fn files_and_functions_are_short() {
    let mut complaints = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            needed.insert(source.name.clone());
            if !LONG_FILES.iter().any(|(name, _)| *name == source.name) {
                complaints.push(format!("src/{} has {lines} lines, at most {FILE_LINES}", source.name));
            }
        }
        for (function, lines) in functions(&source.code) {
            let name = format!("{}::{function}", source.name);
            if lines > FUNCTION_LINES {
                if !LONG_FUNCTIONS.iter().any(|(known, _)| *known == name) {
                    complaints.push(format!("src/{name} has {lines} lines, at most {FUNCTION_LINES}"));
                }
                needed.insert(name);
            }
        }
    }
    let exceptions = LONG_FILES.iter().chain(LONG_FUNCTIONS).map(|(name, _)| *name).collect::<Vec<_>>();
    complaints.extend(stale(&exceptions, &needed));
    nothing_wrong(&complaints);
}

#[test]
fn clock_and_files_enter_at_the_edges() {
    let mut complaints = Vec::new();
    let (mut files, mut clocks) = (BTreeSet::new(), BTreeSet::new());
    for source in sources() {
        if touches_files(&source.code) {
            files.insert(source.name.clone());
        }
        if reads_a_clock(&source.code) {
            clocks.insert(source.name);
        }
    }
    let strange = |found: &BTreeSet<String>, edges: &[&str], what: &str| -> Vec<String> {
        let new = found.iter().filter(|name| !edges.contains(&name.as_str()));
        new.map(|name| format!("src/{name} {what} and is no edge")).collect()
    };
    complaints.extend(strange(&files, FILE_EDGES, "touches files"));
    complaints.extend(strange(&clocks, CLOCK_EDGES, "reads a clock"));
    complaints.extend(stale(FILE_EDGES, &files));
    complaints.extend(stale(CLOCK_EDGES, &clocks));
    nothing_wrong(&complaints);
}

#[test]
fn banned_calls() {
    let mut complaints = Vec::new();
    for source in sources() {
        let found = BANNED.iter().filter(|name| uses(&source.code, name));
        complaints.extend(found.map(|name| format!("src/{} uses {name}", source.name)));
        if !source.name.starts_with("cli/") && uses(&source.code, "eprintln!") {
            complaints.push(format!("src/{} writes to stderr itself; use tracing", source.name));
        }
    }
    nothing_wrong(&complaints);
}

#[test]
fn files_say_what_they_are() {
    let sources = sources();
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    nothing_wrong(
        &silent.map(|source| format!("src/{} has no `//!` at its top", source.name)).collect::<Vec<_>>(),
    );
}

#[test]
fn characters_are_the_listed_ones() {
    let mut complaints = Vec::new();
    for source in sources() {
        // Test modules and test files may hold text of any language.
        let end = source.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
        let own = if source.test { "" } else { &source.text[..end] };
        let strange: BTreeSet<char> =
            own.chars().filter(|c| !c.is_ascii() && !CHARACTERS.contains(*c)).collect();
        let hidden: BTreeSet<char> = source.text.chars().filter(|c| deceives(*c)).collect();
        for c in strange.union(&hidden) {
            complaints.push(format!("src/{} holds U+{:04X} {c:?}", source.name, u32::from(*c)));
        }
    }
    nothing_wrong(&complaints);
}

/// Everything that is part of the repository, as far as it is text.
fn repository() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.as_str() {
            ".git" | "target" | "crmwarden-demo" => {}
            _ if path.is_dir() => walk(&path, &mut files),
            _ => files.push(path),
        }
    }
    let text = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        Some((name, String::from_utf8(fs::read(path).unwrap()).ok()?))
    };
    files.into_iter().filter_map(text).collect()
}

#[test]
fn nothing_unfinished_and_no_path_of_one_machine() {
    let mut complaints = Vec::new();
    let files = repository();
    assert!(
        files.iter().any(|(name, _)| name == "Cargo.toml") && files.len() > 100,
        "the walk finds the files"
    );
    for (name, text) in files {
        for (number, line) in text.lines().enumerate() {
            for found in unfinished(line).into_iter().chain(machine_path(line)) {
                complaints.push(format!("{name}:{}: {found}", number + 1));
            }
        }
    }
    nothing_wrong(&complaints);
}

// ---------------------------------------------------------------------------------------------------------
// The rules under test

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn code_is_told_from_text() {
    let text = "let a = \"{ // }\"; // fn x() {\nlet b = r#\"\"{\"#; let c = '{'; let d: &'a str = b\"\\\"{\"; /* { */";
    let code = code_of(text);
    assert!(!code.contains('{') && !code.contains("fn x"), "{code}");
    assert!(code.contains("let a =") && code.contains("let b =") && code.contains("&'a str ="), "{code}");
    assert_eq!(code.lines().count(), 2);
    let code = "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
    assert_eq!(without_test_modules(code), "fn a() {\n}\n#[cfg(test)]\n\n\n\n\nfn c() {}\n");
    assert_eq!(test_modules("a/mod.rs", "#[cfg(test)]\nmod tests;\nmod b;\n"), ["a/tests"]);
    assert_eq!(test_modules("a/b.rs", "#[cfg(test)]\nmod c;\n"), ["a/b/c"]);
}

#[test]
fn an_import_that_points_up_is_found() {
    let code =
        "use crate::{a, inspect::{dlp, x}, stage};\nfn f(t: &crate::model::Time) {}\nuse crate::trail;";
    assert_eq!(named_modules(code), names("a inspect stage model trail"));
    assert_eq!(layer_complaints("trail", &names("model trail")), Vec::<String>::new());
    assert_eq!(layer_complaints("trail", &names("cli")), ["trail names cli, which is not below it"]);
    assert_eq!(layer_complaints("trail", &names("source")), ["trail names source, which is not below it"]);
    assert_eq!(layer_complaints("control", &names("pipeline")), Vec::<String>::new());
    assert_eq!(layer_complaints("model", &names("nowhere")).len(), 1);
    assert_eq!(layer_complaints("nowhere", &names("")), ["nowhere is in no layer"]);
}

#[test]
fn a_long_function_is_found() {
    let code = "impl A {\n    pub(crate) const fn one(a: [u8; 4]) -> u8 {\n        if a {\n        }\n    }\n    fn two(&self);\n}\n";
    assert_eq!(functions(code), [("one".to_owned(), 4)]);
    let long = format!("async fn long<T>() {{\n{}}}\n", "    call();\n".repeat(FUNCTION_LINES));
    assert_eq!(functions(&long), [("long".to_owned(), FUNCTION_LINES + 2)]);
    assert_eq!(stale(&["a", "b"], &names("a")), ["b needs its exception no longer: take it off the list"]);
}

#[test]
fn banned_calls_are_found() {
    assert!(uses("println!(\"\")", "println!") && !uses("eprintln!(\"\")", "println!"));
    assert!(uses("a.unwrap()", ".unwrap()") && !uses("a.unwrap_or_default()", ".unwrap()"));
    assert!(touches_files("use std::fs::File;") && touches_files("fs::read(a)") && !touches_files("offs::x"));
    assert!(reads_a_clock("std::time::Instant::now()") && !reads_a_clock("clock::now()"));
}

#[test]
fn marks_paths_and_hidden_characters_are_found() {
    assert_eq!(unfinished(concat!("// TO", "DO: later")), Some(concat!("TO", "DO")));
    assert_eq!(unfinished("an SSN is shown as XXX-XX-1234"), None);
    assert_eq!(machine_path(concat!("in /wo", "rk/x")), Some(concat!("/wo", "rk/")));
    assert_eq!(machine_path("network/workshop"), None);
    assert!(deceives('\u{202e}') && deceives('\u{1b}') && !deceives('\n') && !deceives('é'));
}
