//! A file on a network file system: a real one, sshfs over a pipe to an SFTP server, with the attribute cache that
//! such file systems have. Somebody else writes on the far side, so no watch tells of it and sizes lag behind.

use super::common::{Home, have};
use super::rig::Rig;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A folder seen through sshfs.
struct Mount {
    place: PathBuf,
    program: Child,
}

impl Mount {
    /// `None` where the machine lets nobody mount.
    fn new(home: &Home) -> Option<Mount> {
        let (place, far) = (home.path("feed"), home.path("far"));
        // The mount's own cache takes whole seconds and is off; the kernel's believes for half of one.
        let options = "passive,direct_io,dir_cache=no,attr_timeout=0.5,entry_timeout=0.5";
        let script = format!(
            "mkfifo line && {SERVER} < line | sshfs -f -o {options} far:{} {} > line",
            far.display(),
            place.display()
        );
        let program = Command::new("sh")
            .args(["-c", &script])
            .current_dir(home.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut mount = Mount { place, program };
        for _ in 0..500 {
            if mount.place.join("there").exists() {
                return Some(mount);
            }
            if mount.program.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.place).status();
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// F28: no hints, only looking. F29: sizes that lag behind what can be read, and a rotation that is seen late and in
/// pieces. Here a hundredth of a second stands for one: what the mount believes for half a second, it believes for
/// fifty of the tailer's.
#[test]
fn f28_f29_a_network_file_system_whose_names_and_sizes_lag() {
    if !have(&[("sshfs", &["--version"]), ("fusermount3", &["--version"])]) || !Path::new(SERVER).exists() {
        return;
    }
    let mut rig = Rig::web();
    rig.home.write("far/there", b"");
    let Some(mount) = Mount::new(&rig.home) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let pass = |rig: &mut Rig, seconds: u64| {
        for _ in 0..seconds {
            rig.follow();
            rig.pass(1);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let append = |rig: &Rig, name: &str, numbers: std::ops::Range<u64>| {
        rig.home.append(&format!("far/{name}"), rig.records(numbers).as_bytes());
    };
    append(&rig, "a.log", 0..50);
    pass(&mut rig, 5);
    for step in 0..10 {
        // In pieces that end within a record.
        let records = rig.records(50 + step * 10..60 + step * 10);
        let (one, two) = records.split_at(records.len() - 40);
        rig.home.append("far/a.log", one.as_bytes());
        pass(&mut rig, 2);
        rig.home.append("far/a.log", two.as_bytes());
        pass(&mut rig, 3);
    }
    fs::rename(rig.home.path("far/a.log"), rig.home.path("far/a.log.1")).unwrap();
    append(&rig, "a.log", 150..155);
    pass(&mut rig, 10);
    // Somebody still writes to the one that was renamed.
    append(&rig, "a.log.1", 155..160);
    for step in 0..10 {
        append(&rig, "a.log", 160 + step * 10..170 + step * 10);
        pass(&mut rig, 3);
    }
    pass(&mut rig, 200);
    rig.expect(0..260);
    assert!(rig.gaps().is_empty(), "{:?}", rig.gaps());
    drop(mount);
}
