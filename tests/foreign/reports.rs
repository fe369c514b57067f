//! The signatures of a report, verified by the lines of its own VERIFY.md with ssh-keygen, minisign and sha256sum.

use super::{answer, common, small_trail};
use crate::common::Home;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The report's folder, made by the real program.
fn report() -> (Home, std::path::PathBuf) {
    let home = small_trail().copy();
    home.expect(
        0,
        &["report", "--framework", "pci-dss", "--from", "2026-01-01", "--to", "2027-01-01", "-o", "report"],
    );
    let folder = home.path("report");
    (home, folder)
}

/// Runs the lines of VERIFY.md that begin with a program's name, one shell a line.
fn run(folder: &Path, lines: &[String]) -> Vec<i32> {
    let one = |line: &String| {
        let mut command = Command::new("sh");
        answer(&command.args(["-c", line]).current_dir(folder).output().unwrap()).0
    };
    lines.iter().map(one).collect()
}

fn lines_with(folder: &Path, program: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join("VERIFY.md")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{program} ")));
    lines.map(str::to_owned).collect()
}

/// Changes one byte in the middle of a file, asks, and puts it back.
fn changed<T>(path: &Path, ask: impl FnOnce() -> T) -> T {
    let clean = fs::read(path).unwrap();
    let mut content = clean.clone();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
    let answer = ask();
    fs::write(path, clean).unwrap();
    answer
}

#[test]
fn ssh_keygen_verifies_a_report() {
    if !common::have(&[("ssh-keygen", &["-?"]), ("sha256sum", &["--version"])]) {
        return;
    }
    let (home, folder) = report();
    let lines = lines_with(&folder, "ssh-keygen");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(run(&folder, &lines), [0, 0, 0]);
    assert_eq!(run(&folder, &lines_with(&folder, "sha256sum")), [0]);
    // What the report brings along is what the trail says.
    let signer = fs::read_to_string(folder.join("allowed_signers")).unwrap();
    assert_eq!(signer, home.expect(0, &["keys", "export", "--format", "ssh"]));
    assert!(signer.contains(",valid-after=\"20"), "{signer}");
    for name in ["report.json", "report.json.sig"] {
        let answers = changed(&folder.join(name), || run(&folder, &lines));
        assert!(answers[1] != 0 && answers[0] == 0 && answers[2] == 0, "{name}: {answers:?}");
    }
    assert_ne!(changed(&folder.join("report.json"), || run(&folder, &lines_with(&folder, "sha256sum"))), [0]);
    // A signature is good for the key's deployment, from the trail's beginning on, in its namespace.
    for (from, to) in [
        ("acme.example", "acme.example.org"),
        ("valid-after=\"20", "valid-after=\"29"),
        ("crmwarden-report", "crmwarden-reports"),
    ] {
        fs::write(folder.join("allowed_signers"), signer.replace(from, to)).unwrap();
        assert!(run(&folder, &lines).iter().all(|exit| *exit != 0), "{to}");
    }
    let other = Home::new("");
    other.expect(0, &["run", "--once"]);
    fs::write(folder.join("allowed_signers"), other.expect(0, &["keys", "export", "--format", "ssh"]))
        .unwrap();
    assert!(run(&folder, &lines).iter().all(|exit| *exit != 0), "another deployment's key");
}

#[test]
fn minisign_verifies_a_report() {
    if !common::have(&[("minisign", &["-v"])]) {
        return;
    }
    let (home, folder) = report();
    let lines = lines_with(&folder, "minisign");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let mut command = Command::new("sh");
    let (exit, said) = answer(&command.args(["-c", &lines[0]]).current_dir(&folder).output().unwrap());
    let checkpoint = fs::read_to_string(folder.join("checkpoint")).unwrap();
    let head: Vec<&str> = checkpoint.lines().collect();
    let comment = format!("Trusted comment: log:{}\tsize:{}", head[0], head[1]);
    assert!(exit == 0 && said.contains(&comment), "{exit}: {said}, not {comment}");
    // The key in the manual is the one that the trail names.
    let file = home.expect(0, &["keys", "export", "--format", "minisign"]);
    assert!(lines[0].contains(file.lines().nth(1).unwrap()), "{file}");
    fs::write(folder.join("key"), &file).unwrap();
    let by_file = ["minisign -V -p key -m report.json".to_owned()];
    assert_eq!(run(&folder, &by_file), [0]);
    for name in ["report.json", "report.json.minisig"] {
        assert_ne!(changed(&folder.join(name), || run(&folder, &lines)), [0], "{name}");
    }
    // Every line of the signature but the first, which says itself that it is not trusted.
    let clean = fs::read_to_string(folder.join("report.json.minisig")).unwrap();
    for (from, to) in
        [("size:", "size:1"), ("log:acme", "log:acne"), ("trusted comment: log", "trusted comment: dog")]
    {
        fs::write(folder.join("report.json.minisig"), clean.replace(from, to)).unwrap();
        assert_ne!(run(&folder, &lines), [0], "{to}");
    }
    fs::write(folder.join("report.json.minisig"), clean).unwrap();
    let other = Home::new("");
    other.expect(0, &["run", "--once"]);
    fs::write(folder.join("key"), other.expect(0, &["keys", "export", "--format", "minisign"])).unwrap();
    assert_ne!(run(&folder, &by_file), [0], "another deployment's key");
}
