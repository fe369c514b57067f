//! The C2SP tlog-tiles folder of a trail (c2sp.org/tlog-tiles), made from its lines by the test itself.

use super::writer::{leaf, root};
use std::fs;
use std::path::Path;

/// Entry bundles and tiles of hashes over `lines`, and the checkpoint as it is.
pub fn write(folder: &Path, lines: &[&[u8]], checkpoint: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("checkpoint"), checkpoint).unwrap();
    for (number, bundle) in lines.chunks(256).enumerate() {
        let mut bytes = Vec::new();
        for line in bundle {
            bytes.extend_from_slice(&u16::try_from(line.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(line);
        }
        put(folder, "entries", number, bundle.len(), &bytes);
    }
    let mut hashes: Vec<[u8; 32]> = lines.iter().map(|line| leaf(line)).collect();
    for level in 0.. {
        for (number, tile) in hashes.chunks(256).enumerate() {
            put(folder, &level.to_string(), number, tile.len(), &tile.concat());
        }
        // Only full tiles have a hash on the level above.
        hashes = hashes.chunks_exact(256).map(root).collect();
        if hashes.is_empty() {
            break;
        }
    }
}

fn put(folder: &Path, kind: &str, number: usize, width: usize, bytes: &[u8]) {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < 256 {
        name = format!("{name}.p/{width}");
    }
    let path = folder.join("tile").join(kind).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
